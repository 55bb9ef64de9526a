extern crate std;

use std::vec;
use std::vec::Vec;

use super::*;
use crate::fit::FitKind;

/// One golden region.
struct Golden {
    region: Region,
    sum: f64,
    abs_sum: f64,
    values: [f32; 24],
}

/// Flat positions of the golden values in `[4, 24, 30]`.
const INDEX: [usize; 24] = [
    0, 125, 250, 375, 500, 625, 751, 876, 1001, 1126, 1251, 1376, 1502, 1627, 1752, 1877, 2002,
    2127, 2253, 2378, 2503, 2628, 2753, 2879,
];

/// torchvision 0.26 on the CPU in float32, `roi_align` of the golden numbers (`attributes.json`):
///
/// ```python
/// f = torch.tensor([[[[((31*c + 17*h + 7*w) % 101) / 50 - 1 for w in range(40)] for h in range(40)] for c in range(4)]])
/// p = torchvision.ops.roi_align(f, [torch.tensor([[x0, y0, x1, y1]])], (24, 30))[0]
/// p.double().sum(), p.double().abs().sum(), p.flatten()[index]
/// ```
const GOLDEN: [Golden; 5] = [
    Golden {
        region: [3.0, 5.0, 20.0, 25.0],
        sum: -9.799526673508808,
        abs_sum: 1156.7566276702564,
        values: [
            -0.7186667,
            0.63458383,
            0.3213332,
            -0.1686665,
            -0.6586673,
            0.7030023,
            0.264,
            -0.2260001,
            -0.6346391,
            0.30900007,
            0.32399955,
            -0.16600025,
            -0.7733335,
            0.5462499,
            0.26666677,
            -0.22333372,
            -0.7133335,
            0.8166658,
            0.20933324,
            -0.28066668,
            -0.4760836,
            0.75933313,
            0.26933253,
            -0.14133395,
        ],
    },
    Golden {
        region: [0.0, 0.0, 40.0, 40.0],
        sum: 0.08928478322923183,
        abs_sum: 990.2309250663966,
        values: [
            -0.62333333,
            0.5566666,
            -0.28333333,
            0.6441666,
            0.05666657,
            -0.5308333,
            0.58166665,
            -0.09000008,
            -0.34083357,
            0.2499998,
            -0.50583327,
            0.50583345,
            0.10333329,
            -0.24569476,
            0.44333303,
            -0.396667,
            0.5308333,
            -0.05666741,
            -0.54333335,
            0.63666654,
            -0.20333374,
            -0.061388895,
            0.13666624,
            -0.6625,
        ],
    },
    Golden {
        region: [10.0, 10.0, 11.0, 11.0],
        sum: 133.19998135697097,
        abs_sum: 919.5197741826996,
        values: [
            -0.23058346,
            -0.15058334,
            -0.07058363,
            0.009416521,
            0.089416675,
            0.16941637,
            0.40825003,
            0.48824972,
            0.5682499,
            0.64825,
            0.72824967,
            0.80824995,
            0.6858696,
            0.21177122,
            -0.15010354,
            -0.39975643,
            -0.53718746,
            -0.5623959,
            -0.3340834,
            -0.2540834,
            -0.17408358,
            -0.09408343,
            -0.014083404,
            0.07058315,
        ],
    },
    Golden {
        region: [30.0, 2.0, 38.0, 9.0],
        sum: 24.877787136822008,
        abs_sum: 1162.4428074328462,
        values: [
            -0.09175004,
            0.49158332,
            0.10700071,
            -0.3617497,
            0.2215834,
            0.804917,
            0.66475,
            -0.5586946,
            -0.18858288,
            0.39475024,
            0.767667,
            -0.45858303,
            -0.5987501,
            -0.015416693,
            0.567917,
            -0.34972396,
            -0.28541607,
            0.2979167,
            0.15774986,
            0.6400825,
            -0.69558305,
            -0.1122498,
            0.47108385,
            -0.6336653,
        ],
    },
    Golden {
        region: [12.0, 33.0, 39.0, 40.0],
        sum: 3.3034924543462694,
        abs_sum: 1188.0263431943022,
        values: [
            -0.10741712,
            0.28800008,
            -0.07408409,
            -0.2867697,
            -0.040749893,
            0.9859159,
            0.42843795,
            -0.25558412,
            0.771083,
            -0.22224995,
            0.59400433,
            -0.28099966,
            -0.4370842,
            0.5895829,
            -0.40375,
            0.62291574,
            -0.37041712,
            0.465,
            0.4080828,
            -0.5852498,
            0.44141603,
            -0.55191714,
            0.47474968,
            -0.6830001,
        ],
    },
];

fn golden_map() -> Vec<f32> {
    let value = |at: usize| {
        let (c, h, w) = (at / 1600, at / 40 % 40, at % 40);
        ((31 * c + 17 * h + 7 * w) % 101) as f32 / 50.0 - 1.0
    };
    (0..4 * 1600).map(value).collect()
}

fn pooled(feature: &[f32], side: u32, stride: u16, region: Region) -> Vec<f32> {
    let size = Size::new(side, side);
    let channels = feature.len() / (side * side) as usize;
    let mut scratch = vec![f32::NAN; scratch_len(size)];
    let mut out = vec![f32::NAN; channels * ROWS * COLUMNS];
    roi_align(feature, size, stride, region, &mut scratch, &mut out);
    out
}

#[test]
fn regions_are_pooled_as_torchvision_pools_them() {
    let feature = golden_map();
    for golden in GOLDEN {
        let Golden {
            region,
            sum,
            abs_sum,
            values,
        } = golden;
        let out = pooled(&feature, 40, 1, region);
        for (at, expected) in INDEX.into_iter().zip(values) {
            let off = (out[at] - expected).abs();
            assert!(off <= 1e-5, "{region:?} at {at}: {} {expected}", out[at]);
        }
        let total: f64 = out.iter().map(|&v| f64::from(v)).sum();
        let abs_total: f64 = out.iter().map(|&v| f64::from(v.abs())).sum();
        assert!((total - sum).abs() < 1e-3, "{region:?}: {total} {sum}");
        assert!(
            (abs_total - abs_sum).abs() < 1e-3,
            "{region:?}: {abs_total} {abs_sum}"
        );
    }
}

#[test]
fn a_region_on_the_canvas_is_divided_by_the_stride() {
    let feature = golden_map();
    let on_map = pooled(&feature, 40, 1, [3.0, 5.0, 20.0, 25.0]);
    assert_eq!(pooled(&feature, 40, 8, [24.0, 40.0, 160.0, 200.0]), on_map);
}

#[test]
fn the_weights_of_a_bin_inside_the_map_sum_to_one() {
    let mut weights = [f32::NAN; 24 * 40];
    for (lo, hi) in [(3.0, 20.0), (0.5, 39.5), (10.25, 10.26), (0.0, 0.3)] {
        axis_weights(lo, hi, 24, 40, &mut weights);
        for bin in weights.chunks_exact(40) {
            let sum: f32 = bin.iter().sum();
            assert!((sum - 1.0).abs() < 1e-6, "{lo}..{hi}: {sum}");
        }
    }
}

#[test]
fn a_side_below_a_pixel_counts_as_one() {
    let (mut point, mut pixel) = ([0.0; 24 * 40], [0.0; 24 * 40]);
    axis_weights(10.5, 10.5, 24, 40, &mut point);
    axis_weights(10.5, 11.5, 24, 40, &mut pixel);
    assert_eq!(point, pixel);
}

/// By hand: of the four samples at -1.5, -0.5, 0.5, 1.5 the first lies beyond one pixel outside and
/// is lost, the second takes pixel 0, the third is half 0 and half 1, the fourth half 1 and half 2.
#[test]
fn samples_outside_the_map_are_lost_or_take_its_edge() {
    let mut weights = [f32::NAN; 3];
    axis_weights(-2.0, 2.0, 1, 3, &mut weights);
    assert_eq!(weights, [0.375, 0.25, 0.125]);
    axis_weights(50.0, 60.0, 1, 3, &mut weights);
    assert_eq!(weights, [0.0; 3], "nothing of it lies on the map");
    let nothing = pooled(&golden_map(), 40, 1, [50.0, 50.0, 60.0, 60.0]);
    assert!(nothing.iter().all(|&v| v == 0.0));
}

#[test]
fn a_cell_of_the_picture_has_its_region_on_the_canvas() {
    let fit = Fit::new(FitKind::Letterbox, Size::new(640, 480), Size::new(320, 320)).unwrap();
    let bbox = BBox::from_corners(20.0, 0.0, 100.0, 40.0).unwrap();
    assert_eq!(region_of(&fit, &bbox), [10.0, 40.0, 50.0, 60.0]);
}
