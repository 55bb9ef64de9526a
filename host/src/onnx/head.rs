//! Layer 24 as a graph: the heads of [`crate::model::DetectionHead`], raw.

use super::OnnxError;
use super::graph::{Value, Window};
use super::yolov5::{Conv, Levels, Net, STRIDES};

/// x, y, w, h and objectness.
const BOX_CHANNELS: usize = 5;

/// The layers of the heads, described by their sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadLayers {
    /// One 1x1 convolution a level.
    Anchor {
        /// Channels of each output: anchors times (5 + classes + attribute values).
        n_outputs: [usize; 3],
    },
    /// A stem and two branches a level, their answers one behind the other.
    AnchorFree {
        /// Channels of stem and branches.
        width: usize,
        /// 3x3 convolutions of a branch.
        repeats: usize,
        /// Classes and attribute values, the channels behind box and objectness.
        n_classes_and_values: usize,
    },
}

impl HeadLayers {
    /// Sizes that no head can be built with, in words; `None` when all is well.
    pub(super) fn fault(&self) -> Option<String> {
        match *self {
            Self::Anchor { n_outputs } => n_outputs
                .contains(&0)
                .then(|| format!("outputs of {n_outputs:?} channels, expected at least 1")),
            Self::AnchorFree {
                width,
                repeats,
                n_classes_and_values: kinds,
            } => [width, repeats, kinds].contains(&0).then(|| {
                format!("head of width {width}, {repeats} repeats and {kinds} classes and values, expected at least 1 each")
            }),
        }
    }
}

impl Net<'_> {
    /// The heads of all levels, which are the outputs of the graph.
    pub(super) fn heads(&mut self, head: &HeadLayers, levels: &Levels) -> Result<(), OnnxError> {
        for (at, (level, stride)) in levels.iter().zip(STRIDES).enumerate() {
            let name = format!("head_{stride}");
            let output = match *head {
                HeadLayers::Anchor { n_outputs } => {
                    self.predictor(&format!("model.24.m.{at}"), &name, level, n_outputs[at])?
                }
                HeadLayers::AnchorFree {
                    width,
                    repeats,
                    n_classes_and_values,
                } => {
                    let part = |part: &str| format!("model.24.{part}.{at}");
                    let stem = self.conv(&part("stem"), level, Conv::pointwise(width))?;
                    let place = self.branch(&part("box"), &stem, width, repeats)?;
                    let out = part("box_out");
                    let place = self.predictor(&out, &out, &place, BOX_CHANNELS)?;
                    let kind = self.branch(&part("cls"), &stem, width, repeats)?;
                    let out = part("cls_out");
                    let kind = self.predictor(&out, &out, &kind, n_classes_and_values)?;
                    self.graph.concat(&name, &[&place, &kind])?
                }
            };
            self.graph.output(&output)?;
        }
        Ok(())
    }

    fn branch(
        &mut self,
        name: &str,
        input: &Value,
        width: usize,
        repeats: usize,
    ) -> Result<Value, OnnxError> {
        let conv = Conv {
            kernel: 3,
            ..Conv::pointwise(width)
        };
        (0..repeats).try_fold(input.clone(), |x, n| {
            self.conv(&format!("{name}.{n}"), &x, conv)
        })
    }

    /// A 1x1 convolution with bias and no activation, its weights under `weights`.
    fn predictor(
        &mut self,
        weights: &str,
        name: &str,
        input: &Value,
        n_outputs: usize,
    ) -> Result<Value, OnnxError> {
        let shape = [n_outputs, self.channels(input)?, 1, 1];
        let named = |part: &str| format!("{weights}.{part}");
        let weight = self.take(&named("weight"), &shape)?;
        let bias = self.take(&named("bias"), &[n_outputs])?;
        let weight = self.graph.constant(&named("weight"), &shape, weight)?;
        let bias = self.graph.constant(&named("bias"), &[n_outputs], bias)?;
        let window = Window {
            stride: 1,
            padding: 0,
        };
        self.graph.conv(name, input, &weight, &bias, window)
    }
}
