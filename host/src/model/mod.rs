//! The networks, as `tch` modules whose variables are called like YOLOv5's state dict.

mod anchor_free;
mod architecture;
mod block;
mod cost;
mod detector;
mod fake_quantize;
mod predictor;
mod roi;

use shared::head::HeadSpec;

pub use architecture::{Activation, Architecture, AttributeHead, DetectionHead, LEAKY_SLOPE, Stem};
pub use cost::{Cost, cost};
pub use detector::{Detector, Outputs, channels_last, scaled};
pub use fake_quantize::{FakeQuantizer, RangePhase};
pub use roi::{PlacedRegion, RegionHead, region_channels, roi_align};

/// Side in pixels that the default prior boxes were made for.
const ANCHOR_CANVAS: f32 = 640.0;

/// Prior boxes of the YOLOv5 family in canvas pixels, per stride 8, 16, 32 (attridet.md, 8.2).
pub const ANCHORS: [(u16, [[f32; 2]; 3]); 3] = [
    (8, [[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]]),
    (16, [[30.0, 61.0], [62.0, 45.0], [59.0, 119.0]]),
    (32, [[116.0, 90.0], [156.0, 198.0], [373.0, 326.0]]),
];

/// Bias of the head before training: few cells, classes about equally rare (attridet.md, 8.2).
///
/// One value per channel of one anchor of a level with `stride`.
fn prior_bias(head: &HeadSpec, stride: u16) -> Vec<f32> {
    let mut bias = vec![0.0; head.channels_per_anchor()];
    let cells_per_side = ANCHOR_CANVAS / f32::from(stride);
    bias[4] = (8.0 / (cells_per_side * cells_per_side)).ln();
    let class = (0.6 / (head.n_classes as f64 - 0.99999)).ln() as f32;
    bias[5..5 + head.n_classes].fill(class);
    bias
}
