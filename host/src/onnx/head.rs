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

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::super::{Yolov5Spec, fixture, wire, yolov5_bytes};
    use super::*;
    use crate::model::Stem;

    /// The fixture with an anchor-free head of two convolutions a branch, two classes and five values.
    fn spec() -> Yolov5Spec {
        Yolov5Spec {
            stem: Stem::Patch4,
            head: HeadLayers::AnchorFree {
                width: 8,
                repeats: 2,
                n_classes_and_values: 7,
            },
            ..fixture::spec()
        }
    }

    fn contract() -> shared::contract::ModelContract {
        let mut contract = fixture::contract();
        for level in &mut contract.levels {
            level.anchors.clear();
        }
        contract
    }

    #[test]
    fn box_and_objectness_stand_before_classes_and_values() {
        let bytes = yolov5_bytes(&spec(), &contract(), &fixture::tensors(&spec())).unwrap();
        let graph = wire::Model::decode(bytes.as_slice())
            .unwrap()
            .graph
            .unwrap();
        let outputs: Vec<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
        assert_eq!(outputs, ["head_8", "head_16", "head_32"]);
        for (level, name) in outputs.into_iter().enumerate() {
            let node = graph.node.iter().find(|n| n.output[0] == name).unwrap();
            let parts = ["box_out", "cls_out"].map(|p| format!("model.24.{p}.{level}"));
            assert_eq!(
                (node.op_type.as_str(), &node.input[..]),
                ("Concat", &parts[..])
            );
        }
        let convolutions = graph.node.iter().filter(|n| n.op_type == "Conv").count();
        // A stem, twice two convolutions and two answers a level.
        assert_eq!(convolutions, fixture::convolutions(&spec()).len() + 3 * 2);
    }

    #[test]
    fn a_head_that_the_contract_does_not_promise_is_not_written() {
        let tensors = fixture::tensors(&spec());
        let write = |contract: &_| yolov5_bytes(&spec(), contract, &tensors);
        // With two anchors a place has 24 channels, not 12.
        let refused = write(&fixture::contract()).unwrap_err().to_string();
        assert!(
            refused.starts_with("contract and graph differ: outputs"),
            "{refused}"
        );
        assert!(write(&contract()).is_ok());
    }

    #[test]
    fn a_head_without_channels_is_refused() {
        let empty = Yolov5Spec {
            head: HeadLayers::AnchorFree {
                width: 8,
                repeats: 0,
                n_classes_and_values: 7,
            },
            ..fixture::spec()
        };
        let refused = yolov5_bytes(&empty, &contract(), &fixture::tensors(&empty));
        assert_eq!(
            refused.unwrap_err().to_string(),
            "network description: head of width 8, 0 repeats and 7 classes and values, \
             expected at least 1 each"
        );
    }
}
