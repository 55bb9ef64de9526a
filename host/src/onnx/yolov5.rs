//! YOLOv5's layers as a graph (attridet.md, 8.2), batch norm folded into the convolutions.
//!
//! One image at a time: bytes of the canvas in, raw heads out. Decoding stays outside.

use std::collections::BTreeSet;

use shared::contract::ModelContract;
use shared::geometry::Size;
use shared::roi;

use super::graph::{ElementType, Graph, Value, Window};
use super::head::HeadLayers;
use super::{OnnxError, model_bytes};
use crate::model::{Activation, LEAKY_SLOPE, Stem};
use crate::weights::NamedTensors;

/// Name of the network's input, as YOLOv5's own export has it.
pub const INPUT_NAME: &str = "images";

/// Canvas pixels per grid cell of each output.
pub const STRIDES: [u16; 3] = [8, 16, 32];

/// Real value of one step of a canvas byte.
pub const CANVAS_SCALE: f32 = 1.0 / 255.0;

/// Added to the variance of every batch norm, as the networks were trained.
pub const BATCH_NORM_EPSILON: f64 = 1e-3;

/// A network of the family, described by its sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yolov5Spec {
    /// Channels of layers 0, 1, 3, 5 and 7 (64, 128, 256, 512, 1024 times the width); even.
    pub widths: [usize; 5],
    /// Bottlenecks of layers 2, 4, 6 and 8.
    pub backbone_repeats: [usize; 4],
    /// Bottlenecks of layers 13, 17, 20 and 23.
    pub neck_repeats: usize,
    /// What follows each convolution.
    pub activation: Activation,
    /// How the canvas becomes the first features; [`Stem::Patch4`] has no layer 1.
    pub stem: Stem,
    /// How boxes, classes and attributes are said.
    pub head: HeadLayers,
    /// Whether the features at strides 4 and 8 are further outputs, `features_4` and `features_8`.
    pub fine_outputs: bool,
}

/// The file: the network of `spec` with `tensors` as weights and `contract` inside.
///
/// # Shapes
/// `images` u8 `[1, 3, height, width]` → `head_8`, `head_16`, `head_32` f32
/// `[1, channels, height / stride, width / stride]`
///
/// # Errors
/// When a weight is missing, foreign, misshapen or not finite, or the contract promises another network.
pub fn yolov5_bytes(
    spec: &Yolov5Spec,
    contract: &ModelContract,
    tensors: &NamedTensors,
) -> Result<Vec<u8>, OnnxError> {
    model_bytes(yolov5_graph(spec, contract.canvas, tensors)?, contract)
}

/// The network of `spec` on a canvas, with `tensors` named as in YOLOv5's state dict.
///
/// # Errors
/// When the description makes no network, or a weight is missing, foreign, misshapen or not finite.
pub fn yolov5_graph(
    spec: &Yolov5Spec,
    canvas: Size,
    tensors: &NamedTensors,
) -> Result<Graph, OnnxError> {
    check(spec, canvas)?;
    let mut net = Net {
        graph: Graph::new("yolov5"),
        tensors,
        activation: spec.activation,
        taken: BTreeSet::new(),
    };
    let canvas_shape = [1, 3, canvas.height as usize, canvas.width as usize];
    let images = net
        .graph
        .input(INPUT_NAME, ElementType::U8, &canvas_shape)?;
    let scale = net.graph.constant("canvas.scale", &[], &[CANVAS_SCALE])?;
    let zero_point = net.graph.constant("canvas.zero_point", &[], &[0_u8])?;
    let canvas = net
        .graph
        .dequantize_linear("canvas", &images, &scale, &zero_point)?;
    let (finest, features) = net.backbone(spec, &canvas)?;
    let fine = [finest, features[0].clone()];
    let levels = net.neck(spec, features)?;
    net.heads(&spec.head, &levels)?;
    net.fine_outputs(spec, &fine)?;
    net.refuse_foreign()?;
    Ok(net.graph)
}

fn check(spec: &Yolov5Spec, canvas: Size) -> Result<(), OnnxError> {
    let refuse = |message: String| Err(OnnxError::Spec(message));
    if spec.widths.iter().any(|&w| w == 0 || !w.is_multiple_of(2)) {
        return refuse(format!("widths {:?}, expected even numbers", spec.widths));
    }
    if let Some(fault) = spec.head.fault() {
        return refuse(fault);
    }
    let coarsest = u32::from(STRIDES[2]);
    let fits = |side: u32| side > 0 && side.is_multiple_of(coarsest);
    if !fits(canvas.width) || !fits(canvas.height) {
        return refuse(format!("canvas {canvas}, expected multiples of {coarsest}"));
    }
    Ok(())
}

/// A convolution's geometry: channels out, kernel side, stride; padded by half the kernel.
#[derive(Clone, Copy)]
pub(super) struct Conv {
    pub(super) channels: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
}

impl Conv {
    pub(super) fn pointwise(channels: usize) -> Self {
        Self {
            channels,
            kernel: 1,
            stride: 1,
        }
    }

    fn down(channels: usize) -> Self {
        Self {
            channels,
            kernel: 3,
            stride: 2,
        }
    }
}

/// Features at strides 8, 16 and 32.
pub(super) type Levels = [Value; 3];

/// A graph in the making and the weights it takes.
pub(super) struct Net<'a> {
    pub(super) graph: Graph,
    tensors: &'a NamedTensors,
    activation: Activation,
    taken: BTreeSet<String>,
}

impl<'a> Net<'a> {
    /// Layers 0 to 9: the features at stride 4, and at strides 8, 16 and 32.
    fn backbone(
        &mut self,
        spec: &Yolov5Spec,
        canvas: &Value,
    ) -> Result<(Value, Levels), OnnxError> {
        let [w0, w1, w2, w3, w4] = spec.widths;
        let [n2, n4, n6, n8] = spec.backbone_repeats;
        // The stems alone are not padded by half of their kernel.
        let finest = match spec.stem {
            Stem::Conv6 => {
                let stem = Conv {
                    channels: w0,
                    kernel: 6,
                    stride: 2,
                };
                let x = self.conv_padded("model.0", canvas, stem, 2)?;
                self.conv("model.1", &x, Conv::down(w1))?
            }
            Stem::Patch4 => {
                let stem = Conv {
                    channels: w1,
                    kernel: 4,
                    stride: 4,
                };
                self.conv_padded("model.0", canvas, stem, 0)?
            }
        };
        let x = self.c3("model.2", &finest, w1, n2, true)?;
        let x = self.conv("model.3", &x, Conv::down(w2))?;
        let fine = self.c3("model.4", &x, w2, n4, true)?;
        let x = self.conv("model.5", &fine, Conv::down(w3))?;
        let middle = self.c3("model.6", &x, w3, n6, true)?;
        let x = self.conv("model.7", &middle, Conv::down(w4))?;
        let x = self.c3("model.8", &x, w4, n8, true)?;
        let coarse = self.sppf("model.9", &x, w4)?;
        Ok((finest, [fine, middle, coarse]))
    }

    /// Layers 10 to 23: from coarse to fine and back.
    fn neck(&mut self, spec: &Yolov5Spec, features: Levels) -> Result<Levels, OnnxError> {
        let [_, _, w2, w3, w4] = spec.widths;
        let n = spec.neck_repeats;
        let [fine, middle, coarse] = features;
        let coarse = self.conv("model.10", &coarse, Conv::pointwise(w3))?;
        let x = self.graph.upsample_x2("model.11", &coarse)?;
        let x = self.graph.concat("model.12", &[&x, &middle])?;
        let x = self.c3("model.13", &x, w3, n, false)?;
        let middle = self.conv("model.14", &x, Conv::pointwise(w2))?;
        let x = self.graph.upsample_x2("model.15", &middle)?;
        let x = self.graph.concat("model.16", &[&x, &fine])?;
        let fine_out = self.c3("model.17", &x, w2, n, false)?;
        let x = self.conv("model.18", &fine_out, Conv::down(w2))?;
        let x = self.graph.concat("model.19", &[&x, &middle])?;
        let middle_out = self.c3("model.20", &x, w3, n, false)?;
        let x = self.conv("model.21", &middle_out, Conv::down(w3))?;
        let x = self.graph.concat("model.22", &[&x, &coarse])?;
        let coarse_out = self.c3("model.23", &x, w4, n, false)?;
        Ok([fine_out, middle_out, coarse_out])
    }

    /// The maps that regions are read from.
    fn fine_outputs(&mut self, spec: &Yolov5Spec, fine: &[Value; 2]) -> Result<(), OnnxError> {
        for (map, stride) in fine.iter().zip(roi::STRIDES).filter(|_| spec.fine_outputs) {
            let features = self.graph.identity(&format!("features_{stride}"), map)?;
            self.graph.output(&features)?;
        }
        Ok(())
    }

    /// Two ways, one of them through `n` bottlenecks, joined.
    fn c3(
        &mut self,
        name: &str,
        input: &Value,
        channels: usize,
        n: usize,
        shortcut: bool,
    ) -> Result<Value, OnnxError> {
        let half = Conv::pointwise(channels / 2);
        let mut x = self.conv(&format!("{name}.cv1"), input, half)?;
        for at in 0..n {
            let inner = format!("{name}.m.{at}");
            let y = self.conv(&format!("{inner}.cv1"), &x, half)?;
            let y = self.conv(&format!("{inner}.cv2"), &y, Conv { kernel: 3, ..half })?;
            x = if shortcut {
                self.graph.add(&inner, &x, &y)?
            } else {
                y
            };
        }
        let side = self.conv(&format!("{name}.cv2"), input, half)?;
        let both = self.graph.concat(&format!("{name}.cat"), &[&x, &side])?;
        self.conv(&format!("{name}.cv3"), &both, Conv::pointwise(channels))
    }

    /// Three chained poolings, joined with what went in.
    fn sppf(&mut self, name: &str, input: &Value, channels: usize) -> Result<Value, OnnxError> {
        let window = Window {
            stride: 1,
            padding: 2,
        };
        let half = Conv::pointwise(channels / 2);
        let x = self.conv(&format!("{name}.cv1"), input, half)?;
        let a = self.graph.max_pool(&format!("{name}.m.0"), &x, 5, window)?;
        let b = self.graph.max_pool(&format!("{name}.m.1"), &a, 5, window)?;
        let c = self.graph.max_pool(&format!("{name}.m.2"), &b, 5, window)?;
        let all = self
            .graph
            .concat(&format!("{name}.cat"), &[&x, &a, &b, &c])?;
        self.conv(&format!("{name}.cv2"), &all, Conv::pointwise(channels))
    }

    pub(super) fn conv(
        &mut self,
        name: &str,
        input: &Value,
        conv: Conv,
    ) -> Result<Value, OnnxError> {
        self.conv_padded(name, input, conv, conv.kernel / 2)
    }

    /// Convolution, batch norm (folded) and activation.
    fn conv_padded(
        &mut self,
        name: &str,
        input: &Value,
        conv: Conv,
        padding: usize,
    ) -> Result<Value, OnnxError> {
        let shape = [
            conv.channels,
            self.channels(input)?,
            conv.kernel,
            conv.kernel,
        ];
        let weight = self.take(&format!("{name}.conv.weight"), &shape)?;
        let mut norm = |part: &str| self.take(&format!("{name}.bn.{part}"), &[conv.channels]);
        let (weight, bias) = fold(
            weight,
            &BatchNorm {
                weight: norm("weight")?,
                bias: norm("bias")?,
                mean: norm("running_mean")?,
                variance: norm("running_var")?,
            },
        );
        let window = Window {
            stride: conv.stride,
            padding,
        };
        let weight = self
            .graph
            .constant(&format!("{name}.conv.weight"), &shape, &weight)?;
        let bias = self
            .graph
            .constant(&format!("{name}.conv.bias"), &[conv.channels], &bias)?;
        let x = self
            .graph
            .conv(&format!("{name}.conv"), input, &weight, &bias, window)?;
        let name = format!("{name}.act");
        match self.activation {
            Activation::Silu => self.graph.silu(&name, &x),
            Activation::Relu => self.graph.relu(&name, &x),
            Activation::LeakyRelu => self.graph.leaky_relu(&name, &x, LEAKY_SLOPE),
        }
    }

    pub(super) fn channels(&self, value: &Value) -> Result<usize, OnnxError> {
        match self.graph.shape(value) {
            Some(&[_, channels, _, _]) => Ok(channels),
            other => Err(OnnxError::Mismatch {
                node: value.name().to_owned(),
                expected: "[batch, channels, height, width]".to_owned(),
                found: format!("{other:?}"),
            }),
        }
    }

    pub(super) fn take(&mut self, name: &str, shape: &[usize]) -> Result<&'a [f32], OnnxError> {
        let values = self.tensors.expect(name, shape)?;
        self.taken.insert(name.to_owned());
        Ok(values)
    }

    /// A weight that was not taken means that the description fits another network. Step counters and
    /// the anchors, which stand in the contract, are no weights.
    fn refuse_foreign(&self) -> Result<(), OnnxError> {
        let no_weight = |name: &str| {
            name.ends_with(".num_batches_tracked")
                || ["model.24.anchors", "model.24.anchor_grid"].contains(&name)
        };
        let mut foreign = self
            .tensors
            .names()
            .filter(|&name| !self.taken.contains(name) && !no_weight(name))
            .peekable();
        match foreign.peek().map(|&first| first.to_owned()) {
            None => Ok(()),
            Some(first) => Err(OnnxError::Foreign {
                count: foreign.count(),
                first,
            }),
        }
    }
}

/// A batch norm with stored statistics, one number a channel.
struct BatchNorm<'a> {
    weight: &'a [f32],
    bias: &'a [f32],
    mean: &'a [f32],
    variance: &'a [f32],
}

/// Weight and bias of the convolution that does both: computed in `f64`, rounded once.
fn fold(weight: &[f32], norm: &BatchNorm<'_>) -> (Vec<f32>, Vec<f32>) {
    let per_channel = weight.len() / norm.weight.len();
    let (mut folded, mut bias) = (Vec::with_capacity(weight.len()), Vec::new());
    for (channel, values) in weight.chunks_exact(per_channel).enumerate() {
        let deviation = (f64::from(norm.variance[channel]) + BATCH_NORM_EPSILON).sqrt();
        let gain = f64::from(norm.weight[channel]) / deviation;
        folded.extend(values.iter().map(|&w| (f64::from(w) * gain) as f32));
        let shift = f64::from(norm.bias[channel]) - f64::from(norm.mean[channel]) * gain;
        bias.push(shift as f32);
    }
    (folded, bias)
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::super::{fixture, wire};
    use super::*;

    fn decoded(bytes: &[u8]) -> wire::Graph {
        let model = wire::Model::decode(bytes).unwrap();
        assert_eq!((model.ir_version, model.opset_import[0].version), (8, 13));
        model.graph.unwrap()
    }

    fn whole() -> wire::Graph {
        let (spec, contract) = (fixture::spec(), fixture::contract());
        decoded(&yolov5_bytes(&spec, &contract, &fixture::tensors(&spec)).unwrap())
    }

    fn signature(value: &wire::ValueInfo) -> (&str, i32, Vec<i64>) {
        let tensor = value.value_type.as_ref().unwrap().tensor.as_ref().unwrap();
        let dims = tensor.shape.as_ref().unwrap().dim.iter();
        let dims = dims.map(|dim| dim.value.unwrap()).collect();
        (&value.name, tensor.elem_type, dims)
    }

    fn floats(graph: &wire::Graph, name: &str) -> Vec<f32> {
        let tensor = graph.initializer.iter().find(|t| t.name == name).unwrap();
        let (chunks, rest) = tensor.raw_data.as_chunks::<4>();
        assert!(rest.is_empty());
        chunks.iter().map(|&b| f32::from_le_bytes(b)).collect()
    }

    #[test]
    fn bytes_of_the_canvas_go_in_and_three_raw_heads_come_out() {
        let graph = whole();
        let inputs: Vec<_> = graph.input.iter().map(signature).collect();
        let outputs: Vec<_> = graph.output.iter().map(signature).collect();
        assert_eq!(inputs, [("images", wire::TENSOR_UINT8, vec![1, 3, 64, 96])]);
        let float = wire::TENSOR_FLOAT;
        assert_eq!(
            outputs,
            [
                ("head_8", float, vec![1, 24, 8, 12]),
                ("head_16", float, vec![1, 24, 4, 6]),
                ("head_32", float, vec![1, 24, 2, 3]),
            ]
        );
        assert_eq!(graph.node[0].op_type, "DequantizeLinear");
        assert_eq!(graph.node[0].input[0], "images");
        assert_eq!(floats(&graph, "canvas.scale"), [CANVAS_SCALE]);
    }

    #[test]
    fn the_maps_of_a_region_head_are_further_outputs() {
        let spec = Yolov5Spec {
            head: HeadLayers::Anchor { n_outputs: [14; 3] },
            fine_outputs: true,
            ..fixture::spec()
        };
        let contract = fixture::region_contract();
        let tensors = fixture::tensors(&spec);
        let graph = decoded(&yolov5_bytes(&spec, &contract, &tensors).unwrap());
        let outputs: Vec<_> = graph.output.iter().map(signature).collect();
        let float = wire::TENSOR_FLOAT;
        assert_eq!(
            outputs[3..],
            [
                ("features_4", float, vec![1, 6, 16, 24]),
                ("features_8", float, vec![1, 8, 8, 12]),
            ]
        );
        let refused = yolov5_bytes(&spec, &fixture::contract(), &tensors).unwrap_err();
        let refused = refused.to_string();
        assert!(
            refused.starts_with("contract and graph differ: outputs"),
            "{refused}"
        );
    }

    #[test]
    fn every_node_reads_only_what_stands_before_it() {
        let graph = whole();
        let mut known: BTreeSet<&str> = graph.input.iter().map(|v| v.name.as_str()).collect();
        for constant in &graph.initializer {
            assert!(known.insert(&constant.name), "{}", constant.name);
        }
        for node in &graph.node {
            for input in node.input.iter().filter(|input| !input.is_empty()) {
                assert!(known.contains(input.as_str()), "{input} of {}", node.name);
            }
            assert!(known.insert(&node.output[0]), "{}", node.name);
        }
    }

    /// 1 + 1 for the scale; a convolution, its sigmoid and product each; what the layers add.
    #[test]
    fn the_nodes_are_those_of_the_layers() {
        let graph = whole();
        let count = |op: &str| graph.node.iter().filter(|n| n.op_type == op).count();
        let n_convolutions = fixture::convolutions(&fixture::spec()).len();
        assert_eq!(n_convolutions, 11 + 8 * 3 + 2 * (1 + 2 + 3 + 1 + 4 * 2));
        assert_eq!(count("Conv"), n_convolutions + 3);
        assert_eq!(count("Sigmoid"), n_convolutions);
        assert_eq!(count("Mul"), n_convolutions);
        assert_eq!(
            count("Add"),
            1 + 2 + 3 + 1,
            "shortcuts of the backbone only"
        );
        assert_eq!(count("Concat"), 8 + 1 + 4);
        assert_eq!((count("MaxPool"), count("Resize")), (3, 2));
        assert_eq!(
            graph.node.len(),
            1 + 3 * n_convolutions + 3 + 7 + 13 + 3 + 2
        );
        assert_eq!(graph.value_info.len(), graph.node.len() - 3);
    }

    #[test]
    fn batch_norm_is_folded_as_the_formula_says() {
        let spec = fixture::spec();
        let tensors = fixture::tensors(&spec);
        let graph = whole();
        let get = |name: &str| tensors.get(&format!("model.4.m.1.cv2.{name}")).unwrap();
        let (shape, weight) = get("conv.weight");
        assert_eq!(shape, [4, 4, 3, 3]);
        let folded = floats(&graph, "model.4.m.1.cv2.conv.weight");
        let bias = floats(&graph, "model.4.m.1.cv2.conv.bias");
        // For an input of x the layer gives (conv(x) - mean) / sqrt(var + 1e-3) * gamma + beta.
        for (channel, bias) in bias.into_iter().enumerate() {
            let number = |name: &str| f64::from(get(name).1[channel]);
            let spread = (number("bn.running_var") + 0.001).sqrt();
            let of = |conv: f64| {
                (conv - number("bn.running_mean")) / spread * number("bn.weight")
                    + number("bn.bias")
            };
            let difference = (f64::from(bias) - of(0.0)).abs();
            assert!(difference < 1e-7, "bias {channel}: {difference:e}");
            for tap in channel * 36..(channel + 1) * 36 {
                let expected = of(f64::from(weight[tap])) - of(0.0);
                let difference = (f64::from(folded[tap]) - expected).abs();
                assert!(difference < 1e-7, "weight {tap}: {difference:e}");
            }
        }
    }

    #[test]
    fn the_same_weights_give_the_same_bytes() {
        let (spec, contract) = (fixture::spec(), fixture::contract());
        let write = || yolov5_bytes(&spec, &contract, &fixture::tensors(&spec)).unwrap();
        assert_eq!(write(), write());
    }

    #[test]
    fn the_activation_is_the_one_asked_for() {
        let contract = fixture::contract();
        for (activation, op) in [
            (Activation::Relu, "Relu"),
            (Activation::LeakyRelu, "LeakyRelu"),
        ] {
            let spec = Yolov5Spec {
                activation,
                ..fixture::spec()
            };
            let bytes = yolov5_bytes(&spec, &contract, &fixture::tensors(&spec)).unwrap();
            let graph = decoded(&bytes);
            let count = |op: &str| graph.node.iter().filter(|n| n.op_type == op).count();
            assert_eq!(count(op), fixture::convolutions(&spec).len());
            assert_eq!((count("Sigmoid"), count("Mul")), (0, 0));
        }
    }

    /// The fixture's weights, one tensor replaced or added.
    fn with(name: &str, shape: &[usize], fill: f32) -> NamedTensors {
        let mut out = NamedTensors::new();
        let spec = fixture::spec();
        let values = vec![fill; shape.iter().product()];
        out.insert(name, shape.to_vec(), values).unwrap();
        for (other, shape, values) in fixture::tensors(&spec).iter().filter(|t| t.0 != name) {
            out.insert(other, shape.to_vec(), values.to_vec()).unwrap();
        }
        out
    }

    #[test]
    fn weights_that_do_not_fit_are_refused_by_name() {
        let (spec, contract) = (fixture::spec(), fixture::contract());
        let refusal = |tensors: &NamedTensors| {
            let refused = yolov5_bytes(&spec, &contract, tensors).unwrap_err();
            refused.to_string()
        };
        assert_eq!(
            refusal(&NamedTensors::new()),
            "tensor \"model.0.conv.weight\" is missing"
        );
        assert_eq!(
            refusal(&with("model.24.m.1.weight", &[255, 10, 1, 1], 0.0)),
            "tensor \"model.24.m.1.weight\": expected shape [24, 10, 1, 1], found [255, 10, 1, 1]"
        );
        assert_eq!(
            refusal(&with("model.6.m.3.cv1.conv.weight", &[1], 0.0)),
            "1 weights have no place in this network, the first is \"model.6.m.3.cv1.conv.weight\""
        );
        assert_eq!(
            refusal(&with("model.24.m.2.bias", &[24], f32::NAN)),
            "constant \"model.24.m.2.bias\": value 0 is NaN or infinite"
        );
        assert_eq!(
            refusal(&with("model.1.bn.running_var", &[6], -1.0)),
            "constant \"model.1.conv.weight\": value 0 is NaN or infinite"
        );
    }

    #[test]
    fn a_description_that_makes_no_network_is_refused() {
        let tensors = NamedTensors::new();
        let odd = Yolov5Spec {
            widths: [4, 6, 8, 10, 13],
            ..fixture::spec()
        };
        let refused = |spec: &Yolov5Spec, canvas| {
            let graph = yolov5_graph(spec, canvas, &tensors);
            graph.err().unwrap().to_string()
        };
        assert_eq!(
            refused(&odd, Size::new(64, 64)),
            "network description: widths [4, 6, 8, 10, 13], expected even numbers"
        );
        assert_eq!(
            refused(&fixture::spec(), Size::new(320, 300)),
            "network description: canvas 320x300, expected multiples of 32"
        );
    }
}
