//! What a network looks like: sizes, activation, stem and heads. Pure, no tensors.

use serde::{Deserialize, Serialize};
use shared::head::{HeadLevel, MAX_LEVELS};

use super::ANCHORS;

/// What follows each convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `x * sigmoid(x)`, the family's own.
    Silu,
    /// `max(x, 0)`, free on most devices.
    Relu,
    /// `max(x, 0.1 x)`.
    LeakyRelu,
}

/// Slope of [`Activation::LeakyRelu`] below zero.
pub const LEAKY_SLOPE: f32 = 0.1;

/// How the canvas becomes the first features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Stem {
    /// YOLOv5's: 6x6 stride 2, then 3x3 stride 2.
    Conv6,
    /// One 4x4 stride 4: few operations at high resolution, for small devices.
    Patch4,
}

/// How a place of the grid says where a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum DetectionHead {
    /// Relative to prior boxes, YOLOv5's.
    Anchor,
    /// From the grid alone, by a decoupled head.
    AnchorFree,
}

/// Where the attributes of a cell are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum AttributeHead {
    /// From further channels of the detection head.
    Dense,
    /// From the backbone's features of each cell, by a network of their own.
    Roi,
}

/// A network of the family, but for the number of classes and attributes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Multiple of the bottlenecks of a block, above 0.
    pub depth: f64,
    /// Multiple of the channels, above 0.
    pub width: f64,
    /// What follows each convolution.
    pub activation: Activation,
    /// How the canvas becomes the first features.
    pub stem: Stem,
    /// How boxes are said.
    pub detection: DetectionHead,
    /// Where attributes are read.
    pub attributes: AttributeHead,
}

/// Names and multiples of depth and width of YOLOv5's sizes (attridet.md, 8.1).
const SIZES: [(&str, f64, f64); 5] = [
    ("n", 0.33, 0.25),
    ("s", 0.33, 0.50),
    ("m", 0.67, 0.75),
    ("l", 1.00, 1.00),
    ("x", 1.33, 1.25),
];

impl Architecture {
    /// YOLOv5 of a size: n, s, m, l or x, or those letters behind `yolov5`.
    pub fn yolov5(size: &str) -> Option<Self> {
        let letter = size.strip_prefix("yolov5").unwrap_or(size);
        let (_, depth, width) = *SIZES.iter().find(|(name, ..)| *name == letter)?;
        Some(Self {
            depth,
            width,
            activation: Activation::Silu,
            stem: Stem::Conv6,
            detection: DetectionHead::Anchor,
            attributes: AttributeHead::Dense,
        })
    }

    /// The letter of YOLOv5's size with these multiples; `None` for others.
    pub fn size(&self) -> Option<&'static str> {
        let same =
            |(_, depth, width): &&(&str, f64, f64)| (*depth, *width) == (self.depth, self.width);
        SIZES.iter().find(same).map(|(name, ..)| *name)
    }

    /// Channels where the family's drawing has 64, 128, 256, 512, 1024: `ceil(c * width / 8) * 8`.
    pub fn widths(&self) -> [i64; 5] {
        [64.0, 128.0, 256.0, 512.0, 1024.0].map(|c: f64| (c * self.width / 8.0).ceil() as i64 * 8)
    }

    /// Bottlenecks of the C3 blocks drawn with `n`: rounded half to even, at least one.
    pub fn repeats(&self, n: u32) -> usize {
        ((f64::from(n) * self.depth).round_ties_even() as usize).max(1)
    }

    /// 3x3 convolutions in each branch of the decoupled head.
    pub fn branch_repeats(&self) -> usize {
        self.repeats(2)
    }

    /// Outputs with the family's prior boxes, or none for the anchor-free head.
    pub fn levels(&self) -> heapless::Vec<HeadLevel, MAX_LEVELS> {
        ANCHORS
            .iter()
            .map(|(stride, anchors)| HeadLevel {
                stride: *stride,
                anchors: match self.detection {
                    DetectionHead::Anchor => anchors.iter().copied().collect(),
                    DetectionHead::AnchorFree => heapless::Vec::new(),
                },
            })
            .collect()
    }

    /// Multiples that no network can be built with, in words; `None` when all is well.
    pub fn fault(&self) -> Option<String> {
        let legal = |multiple: f64| multiple.is_finite() && (0.01..=4.0).contains(&multiple);
        (!legal(self.depth) || !legal(self.width)).then(|| {
            let (depth, width) = (self.depth, self.width);
            format!("depth {depth} and width {width}, expected 0.01 to 4")
        })
    }
}
