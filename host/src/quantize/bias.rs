//! Bias correction: what quantization adds to the mean of a channel is taken from its bias.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use super::QuantizeError;
use super::network::{Constant, Network, Numbers};
use super::op::Op;
use super::rewrite::{Plan, rewrite};
use super::run::Runner;
use crate::checkpoint::floats;

/// The float network with other biases: quantized by `plan`, every channel of every convolution has
/// the mean over the canvases that it has in floating point.
///
/// Layer after layer in one pass: a layer is corrected on what the corrected ones before it make.
///
/// # Shapes
/// canvases `u8 [n, 3, height, width]`
///
/// # Errors
/// A network that cannot be rewritten or run.
pub fn correct(float: &Network, plan: &Plan, canvases: &Tensor) -> Result<Network, QuantizeError> {
    let mut means: BTreeMap<String, Tensor> = BTreeMap::new();
    Runner::new(float).run(canvases, &mut |node, value| {
        if matches!(node.op, Op::Conv(_)) {
            means.insert(node.output().to_owned(), channel_means(&value));
        }
        value
    })?;
    let mut surplus: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    let quantized = rewrite(float, plan)?;
    Runner::new(&quantized).run(canvases, &mut |node, value| {
        let Some(mean) = means.get(node.output()) else {
            return value;
        };
        let delta = channel_means(&value) - mean;
        let corrected = value - delta.to_kind(Kind::Float).view([1, -1, 1, 1]);
        surplus.insert(node.output().to_owned(), floats(&delta));
        corrected
    })?;
    let mut out = float.clone();
    for node in &float.nodes {
        if let Some(surplus) = surplus.get(node.output()) {
            let (shape, bias) = float.floats(node.input(2))?;
            let less = bias
                .iter()
                .zip(surplus)
                .map(|(bias, surplus)| bias - surplus);
            let constant = Constant {
                shape: shape.to_vec(),
                numbers: Numbers::F32(less.collect()),
            };
            out.constants.insert(node.input(2).to_owned(), constant);
        }
    }
    Ok(out)
}

/// `[n, channels, height, width]` → `f64 [channels]`
fn channel_means(value: &Tensor) -> Tensor {
    value.mean_dim([0, 2, 3].as_slice(), false, Kind::Double)
}
