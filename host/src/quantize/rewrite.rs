//! Integers between the layers: a float network to one that quantizes and dequantizes.

use std::collections::{BTreeMap, BTreeSet};

use super::QuantizeError;
use super::network::{Constant, Network, Node, Numbers};
use super::op::Op;

/// Least scale of a tensor: what is smaller is nothing, and products of two stay normal numbers.
const SCALE_MIN: f64 = 1e-12;

/// Largest bias in steps: leaves half of 32 bits to the sum of products, which takes less.
const BIAS_MAX: f64 = (1 << 30) as f64;

/// How values become unsigned bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// A step.
    pub scale: f32,
    /// The byte that means 0.
    pub zero: u8,
}

impl Params {
    /// The parameters of a range, which is widened to hold 0: padding must be exact.
    pub fn of([lo, hi]: [f32; 2]) -> Self {
        let (lo, hi) = (f64::from(lo).min(0.0), f64::from(hi).max(0.0));
        let scale = ((hi - lo) / 255.0).max(SCALE_MIN) as f32;
        let zero = (-lo / f64::from(scale)).round_ties_even().clamp(0.0, 255.0) as u8;
        Self { scale, zero }
    }
}

/// Bits that weights use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
pub enum WeightBits {
    /// -63..=63: the sum of two products fits 16 bits, so that older vector units are exact.
    #[default]
    #[value(name = "7")]
    Seven,
    /// -127..=127.
    #[value(name = "8")]
    Eight,
}

impl WeightBits {
    /// Largest weight in steps.
    pub fn steps(self) -> f32 {
        match self {
            Self::Seven => 63.0,
            Self::Eight => 127.0,
        }
    }
}

/// What becomes integers, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Parameters of values; a value without any stays in floating point.
    pub params: BTreeMap<String, Params>,
    /// Convolutions that keep floating-point weights.
    pub float_layers: BTreeSet<String>,
    /// Of all weights.
    pub bits: WeightBits,
}

/// Ending of the value that a quantized value is read as.
const READ: &str = ".dequantized";

/// The network with integers in it.
///
/// # Errors
/// A convolution without constant floating-point weights.
pub fn rewrite(network: &Network, plan: &Plan) -> Result<Network, QuantizeError> {
    let mut out = network.clone();
    out.nodes = Vec::with_capacity(3 * network.nodes.len());
    let canvas = canvas_scale(network)?;
    for node in &network.nodes {
        let mut copy = node.clone();
        for name in &mut copy.wire.input {
            if plan.params.contains_key(name.as_str()) {
                name.push_str(READ);
            }
        }
        if matches!(node.op, Op::Conv(_)) && !plan.float_layers.contains(node.output()) {
            let scale = match plan.params.get(node.input(0)) {
                Some(params) => Some(params.scale),
                None => canvas
                    .filter(|(name, _)| *name == node.input(0))
                    .map(|(_, s)| s),
            };
            if let Some(scale) = scale {
                quantize_layer(network, &mut out, node, scale, plan.bits)?;
            }
        }
        out.nodes.push(copy);
        if let Some(params) = plan.params.get(node.output()) {
            quantize_value(&mut out, node.output(), *params);
        }
    }
    Ok(out)
}

/// The canvas in floating point, with its step: the one value that is bytes from the beginning.
fn canvas_scale(network: &Network) -> Result<Option<(&str, f32)>, QuantizeError> {
    let input = network.input_names()[0];
    let first = network.nodes.iter().find(|node| node.input(0) == input);
    match first {
        Some(node) if matches!(node.op, Op::Dequantize { .. }) => {
            let (_, scale) = network.floats(node.input(1))?;
            Ok(scale.first().map(|&scale| (node.output(), scale)))
        }
        _ => Ok(None),
    }
}

fn quantize_value(out: &mut Network, name: &str, params: Params) {
    let part = |part: &str| format!("{name}.{part}");
    let (scale, zero, bytes) = (part("scale"), part("zero_point"), part("quantized"));
    let single = |numbers| Constant {
        shape: Vec::new(),
        numbers,
    };
    let step = single(Numbers::F32(vec![params.scale]));
    out.constants.insert(scale.clone(), step);
    let origin = single(Numbers::U8(vec![params.zero]));
    out.constants.insert(zero.clone(), origin);
    let read = format!("{name}{READ}");
    let of_scalar = Op::Dequantize { axis: None };
    out.nodes.extend([
        Node::new(Op::Quantize, &[name, &scale, &zero], &bytes),
        Node::new(of_scalar, &[&bytes, &scale, &zero], &read),
    ]);
}

/// Weights and bias of a convolution as integers, dequantized under the names they had.
fn quantize_layer(
    network: &Network,
    out: &mut Network,
    node: &Node,
    input_scale: f32,
    bits: WeightBits,
) -> Result<(), QuantizeError> {
    let (weight_name, bias_name) = (node.input(1), node.input(2));
    let (shape, weight) = network.floats(weight_name)?;
    let (_, bias) = network.floats(bias_name)?;
    let layer = integers(weight, bias, input_scale, bits);
    let n = bias.len();
    let shape = shape.to_vec();
    let zeros = Numbers::I8(vec![0; n]);
    parts(
        out,
        weight_name,
        (shape, Numbers::I8(layer.weight)),
        (layer.weight_scale, zeros),
    );
    let zeros = Numbers::I32(vec![0; n]);
    parts(
        out,
        bias_name,
        (vec![n], Numbers::I32(layer.bias)),
        (layer.bias_scale, zeros),
    );
    Ok(())
}

/// Replaces a constant by integers that are dequantized along the first axis.
fn parts(
    out: &mut Network,
    name: &str,
    (shape, numbers): (Vec<usize>, Numbers),
    (scale, zeros): (Vec<f32>, Numbers),
) {
    let part = |part: &str| format!("{name}.{part}");
    let names = [part("quantized"), part("scale"), part("zero_point")];
    let n = scale.len();
    let constants = [
        Constant { shape, numbers },
        Constant {
            shape: vec![n],
            numbers: Numbers::F32(scale),
        },
        Constant {
            shape: vec![n],
            numbers: zeros,
        },
    ];
    out.constants.remove(name);
    out.constants.extend(names.iter().cloned().zip(constants));
    let inputs = names.each_ref().map(String::as_str);
    out.nodes
        .push(Node::new(Op::Dequantize { axis: Some(0) }, &inputs, name));
}

/// A layer in steps.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layer {
    pub weight: Vec<i8>,
    pub weight_scale: Vec<f32>,
    pub bias: Vec<i32>,
    /// `input scale * weight scale`: a step of the sums.
    pub bias_scale: Vec<f32>,
}

/// Symmetric integers, one scale an output channel: its largest weight is the largest step.
pub(super) fn integers(weight: &[f32], bias: &[f32], input_scale: f32, bits: WeightBits) -> Layer {
    let steps = bits.steps();
    let per_channel = weight.len() / bias.len().max(1);
    let mut layer = Layer {
        weight: Vec::with_capacity(weight.len()),
        weight_scale: Vec::new(),
        bias: Vec::new(),
        bias_scale: Vec::new(),
    };
    for (weights, &bias) in weight.chunks(per_channel.max(1)).zip(bias) {
        let largest = weights.iter().fold(0.0, |m: f32, w| m.max(w.abs()));
        // A channel without weights still has its bias, which must fit: it widens the step.
        let least = f64::from(bias.abs()) / (BIAS_MAX * f64::from(input_scale));
        let scale = f64::from(largest / steps).max(least).max(SCALE_MIN) as f32;
        let step = |w: &f32| (w / scale).round_ties_even().clamp(-steps, steps) as i8;
        layer.weight.extend(weights.iter().map(step));
        layer.weight_scale.push(scale);
        let sum_scale = input_scale * scale;
        let steps_of_bias = (f64::from(bias) / f64::from(sum_scale)).round_ties_even();
        layer.bias.push(steps_of_bias as i32);
        layer.bias_scale.push(sum_scale);
    }
    layer
}
