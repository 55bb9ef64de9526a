use super::super::observe::{BINS, Histogram, Observer};
use super::super::places::Activation;
use super::super::rewrite::{Params, WeightBits, integers};

/// A histogram of a density over `lo..hi`; whole numbers, as counts are.
fn histogram(lo: f64, hi: f64, density: impl Fn(f64) -> f64) -> Histogram {
    let width = (hi - lo) / BINS as f64;
    let counts = (0..BINS).map(|bin| density(lo + (bin as f64 + 0.5) * width).floor());
    Histogram {
        lo,
        hi,
        counts: counts.collect(),
    }
}

fn normal(x: f64) -> f64 {
    1e6 * (-x * x / 2.0).exp()
}

const ALL: [Observer; 4] = [
    Observer::MinMax,
    Observer::Percentile,
    Observer::Mse,
    Observer::Kl,
];

#[test]
fn the_full_range_is_that_of_the_values() {
    let range = histogram(-3.0, 5.0, normal).range(Observer::MinMax, Activation::Straight);
    assert_eq!(range, [-3.0, 5.0]);
}

#[test]
fn even_values_need_their_whole_range() {
    for observer in ALL {
        let [lo, hi] = histogram(0.0, 4.0, |_| 1000.0).range(observer, Activation::Straight);
        assert!(lo < 0.01 && hi > 3.7, "{observer:?}: {lo} {hi}");
    }
}

#[test]
fn a_percentile_leaves_out_its_share_at_each_end() {
    let [lo, hi] = histogram(-1.0, 1.0, |_| 1.0).range(Observer::Percentile, Activation::Straight);
    // Half of 0.01 % of a width of 2.
    assert!(
        (lo + 0.9999).abs() < 1e-6 && (hi - 0.9999).abs() < 1e-6,
        "{lo} {hi}"
    );
}

#[test]
fn one_far_value_does_not_coarsen_all_others() {
    let mut far = histogram(-4.0, 100.0, normal);
    far.counts[BINS - 1] = 1.0;
    for observer in [Observer::Percentile, Observer::Mse, Observer::Kl] {
        let [lo, hi] = far.range(observer, Activation::Straight);
        assert!(
            lo < -2.0 && (2.0..20.0).contains(&hi),
            "{observer:?}: {lo} {hi}"
        );
    }
}

#[test]
fn what_an_activation_flattens_gets_few_bytes() {
    let values = histogram(-60.0, 6.0, |_| 1000.0);
    for observer in [Observer::Percentile, Observer::Mse, Observer::Kl] {
        let [straight, _] = values.range(observer, Activation::Straight);
        let [lo, hi] = values.range(observer, Activation::Silu);
        assert!(straight < -30.0, "{observer:?}: {straight}");
        assert!(
            (-12.0..-3.0).contains(&lo) && hi > 5.5,
            "{observer:?}: {lo} {hi}"
        );
    }
}

#[test]
fn a_value_that_never_changes_has_a_scale() {
    for value in [0.0, 3.0, -3.0] {
        let still = histogram(value, value, |_| 1.0);
        for observer in ALL {
            let Params { scale, zero } = Params::of(still.range(observer, Activation::Straight));
            assert!(scale.is_normal());
            let byte = (value / f64::from(scale)).round() + f64::from(zero);
            let back = (byte.clamp(0.0, 255.0) - f64::from(zero)) * f64::from(scale);
            assert!((back - value).abs() < 1e-5, "{value} comes back as {back}");
        }
    }
}

#[test]
fn zero_is_exact_in_every_range() {
    for range in [[-1.0, 2.0], [3.0, 9.0], [-9.0, -3.0], [-0.278, 31.7]] {
        let Params { scale, zero } = Params::of(range);
        let ends = [0.0, 255.0].map(|q: f32| (q - f32::from(zero)) * scale);
        assert!(ends[0] <= range[0].max(0.0) + scale && ends[1] >= range[1].min(0.0) - scale);
        assert!(ends[0] <= 0.0 && ends[1] >= 0.0);
    }
}

#[test]
fn a_dead_channel_keeps_its_bias() {
    let weight = [0.0, 0.0, 0.5, -1.0, 0.0, 0.0, 1e-30, 0.0];
    let bias = [700.0, 0.25, 0.0, -3.0];
    for bits in [WeightBits::Seven, WeightBits::Eight] {
        let layer = integers(&weight, &bias, 1e-4, bits);
        assert!(layer.weight_scale.iter().all(|scale| scale.is_normal()));
        assert!(layer.bias_scale.iter().all(|scale| scale.is_normal()));
        for (channel, expected) in bias.iter().enumerate() {
            let found = layer.bias[channel] as f32 * layer.bias_scale[channel];
            assert!(
                (found - expected).abs() <= expected.abs() * 1e-6 + 1e-5,
                "{channel}: {found}"
            );
        }
        assert_eq!(layer.weight[..2], [0, 0]);
        let steps = bits.steps() as i8;
        assert_eq!(
            layer.weight[3], -steps,
            "the largest weight is the largest step"
        );
    }
}
