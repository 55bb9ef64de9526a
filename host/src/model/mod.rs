//! The networks, as `tch` modules whose variables are called like YOLOv5's state dict.

mod block;
mod yolov5;

use std::str::FromStr;

use shared::head::{HeadLevel, HeadSpec};

pub use yolov5::{Yolov5, scaled};

/// Side in pixels that the default prior boxes were made for.
const ANCHOR_CANVAS: f32 = 640.0;

/// Prior boxes of the YOLOv5 family in canvas pixels, per stride 8, 16, 32 (attridet.md, 8.2).
pub const ANCHORS: [(u16, [[f32; 2]; 3]); 3] = [
    (8, [[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]]),
    (16, [[30.0, 61.0], [62.0, 45.0], [59.0, 119.0]]),
    (32, [[116.0, 90.0], [156.0, 198.0], [373.0, 326.0]]),
];

/// The default outputs: three strides with three prior boxes each.
pub fn default_levels() -> heapless::Vec<HeadLevel, { shared::head::MAX_LEVELS }> {
    ANCHORS
        .iter()
        .map(|(stride, anchors)| HeadLevel {
            stride: *stride,
            anchors: anchors.iter().copied().collect(),
        })
        .collect()
}

/// A size of the YOLOv5 family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// Nano.
    N,
    /// Small.
    S,
    /// Medium.
    M,
    /// Large.
    L,
    /// Extra large, AttriDet's.
    X,
}

impl Variant {
    /// Multiples of depth and width (attridet.md, 8.1).
    fn multiples(self) -> (f64, f64) {
        match self {
            Self::N => (0.33, 0.25),
            Self::S => (0.33, 0.50),
            Self::M => (0.67, 0.75),
            Self::L => (1.00, 1.00),
            Self::X => (1.33, 1.25),
        }
    }

    /// Channels where the paper's drawing has 64, 128, 256, 512, 1024: `ceil(c * width / 8) * 8`.
    pub fn widths(self) -> [i64; 5] {
        let (_, width) = self.multiples();
        [64.0, 128.0, 256.0, 512.0, 1024.0].map(|c: f64| (c * width / 8.0).ceil() as i64 * 8)
    }

    /// Bottlenecks of the C3 blocks drawn with `n`: rounded half to even, at least one.
    pub fn repeats(self, n: u32) -> usize {
        let (depth, _) = self.multiples();
        ((f64::from(n) * depth).round_ties_even() as usize).max(1)
    }

    /// Its letter.
    pub fn letter(self) -> &'static str {
        match self {
            Self::N => "n",
            Self::S => "s",
            Self::M => "m",
            Self::L => "l",
            Self::X => "x",
        }
    }
}

impl FromStr for Variant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = [Self::N, Self::S, Self::M, Self::L, Self::X];
        let letter = text.strip_prefix("yolov5").unwrap_or(text);
        known
            .into_iter()
            .find(|variant| variant.letter() == letter)
            .ok_or_else(|| format!("model {text:?}, expected one of n, s, m, l, x"))
    }
}

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
