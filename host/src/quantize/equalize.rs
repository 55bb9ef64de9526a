//! Cross-layer equalization: channels of very different size share one scale badly, so their size is
//! moved into the next layer's weights.
//!
//! Only where nothing but positively homogeneous functions stand between two convolutions
//! (`f(s x) = s f(x)` for `s > 0`): SiLU is none, so networks with SiLU have no such pairs.

use super::QuantizeError;
use super::network::{Constant, Network, Node, Numbers};
use super::op::Op;

/// Scales the channels between two convolutions so that the largest weights before and after are
/// equal; returns how many pairs of convolutions were changed.
///
/// # Errors
/// A convolution without constant floating-point weights.
pub fn equalize(network: &mut Network) -> Result<usize, QuantizeError> {
    let pairs = pairs(network);
    for (first, second) in &pairs {
        let (shape, weight) = network.floats(first.input(1))?;
        let (next_shape, next) = network.floats(second.input(1))?;
        let (n_channels, n_after) = (shape[0], next_shape[0]);
        let area = next.len() / (n_channels * n_after).max(1);
        let row = weight.len() / n_channels.max(1);
        let largest = |w: &mut dyn Iterator<Item = f32>| w.fold(0.0, |m: f32, w| m.max(w.abs()));
        let factor = |channel: usize| {
            let before = largest(&mut weight[channel * row..][..row].iter().copied());
            let of_channel = next.iter().enumerate();
            let of_channel = of_channel.filter(|(i, _)| (i / area) % n_channels == channel);
            let after = largest(&mut of_channel.map(|(_, w)| *w));
            let factor = (after / before).sqrt();
            // A dead channel stays as it is.
            if factor.is_normal() { factor } else { 1.0 }
        };
        let factors: Vec<f32> = (0..n_channels).map(factor).collect();
        let scaled = |values: &[f32], factor: &dyn Fn(usize) -> f32| {
            let values = values.iter().enumerate();
            Numbers::F32(values.map(|(i, value)| value * factor(i)).collect())
        };
        let (bias_shape, bias) = network.floats(first.input(2))?;
        let changed = [
            (first.input(1), shape, scaled(weight, &|i| factors[i / row])),
            (first.input(2), bias_shape, scaled(bias, &|i| factors[i])),
            (
                second.input(1),
                next_shape,
                scaled(next, &|i| 1.0 / factors[(i / area) % n_channels]),
            ),
        ];
        let changed = changed.map(|(name, shape, numbers)| {
            let shape = shape.to_vec();
            (name.to_owned(), Constant { shape, numbers })
        });
        network.constants.extend(changed);
    }
    Ok(pairs.len())
}

/// Convolutions with nothing but homogeneous functions between, nobody else reading on the way.
fn pairs(network: &Network) -> Vec<(Node, Node)> {
    let readers = network.readers();
    let outputs = network.output_names();
    let next = |name: &str| match readers.get(name).map(Vec::as_slice) {
        Some([only]) if !outputs.contains(&name) => Some(*only),
        _ => None,
    };
    let convolutions = network
        .nodes
        .iter()
        .filter(|node| matches!(node.op, Op::Conv(_)));
    let pair = |first: &Node| {
        let mut node = next(first.output())?;
        while matches!(
            node.op,
            Op::Relu | Op::LeakyRelu { .. } | Op::MaxPool { .. } | Op::Upsample
        ) {
            node = next(node.output())?;
        }
        matches!(node.op, Op::Conv(_)).then(|| (first.clone(), node.clone()))
    };
    convolutions.filter_map(pair).collect()
}
