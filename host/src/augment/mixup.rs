//! Mixup: two canvases as one, as if two slides lay on each other.

use super::rng::Rng;

/// Both shape parameters of the ratio's Beta distribution (attridet.md, 8.6).
const SHAPE: usize = 32;

/// The share of the first canvas, around a half.
///
/// The k-th smallest of n uniform numbers has the distribution Beta(k, n + 1 - k), so the middle one
/// of 63 has Beta(32, 32).
pub(super) fn ratio(rng: &mut Rng) -> f32 {
    let mut draws: [f32; 2 * SHAPE - 1] = std::array::from_fn(|_| rng.unit());
    draws.sort_by(f32::total_cmp);
    draws[SHAPE - 1]
}

/// `first` becomes `share` of itself and the rest of `second`, rounded; the share has 8 bits.
pub(super) fn mix(first: &mut [u8], second: &[u8], share: f32) {
    let own = (share.clamp(0.0, 1.0) * 256.0).round() as u16;
    let other = 256 - own;
    for (value, &second) in first.iter_mut().zip(second) {
        *value = ((u16::from(*value) * own + u16::from(second) * other + 128) >> 8) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_mixed_and_rounded() {
        let mut first = [0, 255, 255, 100, 1];
        mix(&mut first, &[255, 0, 255, 50, 0], 0.5);
        assert_eq!(first, [128, 128, 255, 75, 1]);
        let mut first = [10, 200];
        mix(&mut first, &[20, 100], 0.75);
        assert_eq!(first, [13, 175]);
    }

    /// Beta(32, 32) has mean 1/2 and variance 1 / (4 * 65) = 0.003846.
    #[test]
    fn the_ratio_has_the_moments_of_its_distribution() {
        let n = 20_000;
        let mut rng = Rng::new(1, 2, 3);
        let draws: Vec<f64> = (0..n).map(|_| f64::from(ratio(&mut rng))).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(n);
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
        assert!((mean - 0.5).abs() < 0.002, "{mean}");
        assert!((variance - 0.003_846).abs() < 0.000_15, "{variance}");
    }
}
