//! Elementwise operations between two quantized values, as a table of what each byte becomes.

use int8::Table;
use tract_onnx::pb::NodeProto;

use super::constants::{Index, float, input};
use super::recognise::{Bytes, Scale};

/// Operations one behind the other; more are no activation.
const DEPTH_MAX: usize = 12;

/// A value computed from the bytes of another one, for each of them.
struct Chain<'a> {
    from: Bytes<'a>,
    values: Vec<f32>,
}

impl Chain<'_> {
    fn map(mut self, function: impl Fn(f32) -> f32) -> Self {
        for value in &mut self.values {
            *value = function(*value);
        }
        self
    }
}

/// The quantized value that `value` is computed from, and the bytes it becomes on the scale `to`.
pub(super) fn table<'a>(
    index: &Index<'a>,
    value: &'a str,
    to: Scale,
) -> Option<(Bytes<'a>, Table)> {
    let chain = chain(index, value, DEPTH_MAX)?;
    let table = Table::new(|byte| to.byte(chain.values[usize::from(byte)]));
    Some((chain.from, table))
}

fn chain<'a>(index: &Index<'a>, value: &'a str, depth: usize) -> Option<Chain<'a>> {
    let depth = depth.checked_sub(1)?;
    if let Some(from) = index.dequantized(value) {
        let values = (0..=255).map(|byte| from.scale.value(byte)).collect();
        return Some(Chain { from, values });
    }
    let node = index.producer(value)?;
    if let Some(function) = pairwise(&node.op_type) {
        return both(index, node, depth, function);
    }
    let x = chain(index, input(node, 0)?, depth)?;
    Some(match node.op_type.as_str() {
        "Identity" => x,
        "Relu" => x.map(|x| x.max(0.0)),
        "LeakyRelu" => {
            let slope = float(node, "alpha").unwrap_or(0.01);
            x.map(|x| if x < 0.0 { slope * x } else { x })
        }
        "Sigmoid" => x.map(sigmoid),
        "Tanh" => x.map(|x| libm::tanh(x.into()) as f32),
        "HardSigmoid" => {
            let slope = float(node, "alpha").unwrap_or(0.2);
            let middle = float(node, "beta").unwrap_or(0.5);
            x.map(|x| (slope * x + middle).clamp(0.0, 1.0))
        }
        "HardSwish" => x.map(|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        "Clip" => {
            let [least, most] = clip(index, node)?;
            x.map(|x| x.max(least).min(most))
        }
        _ => return None,
    })
}

/// Through the pinned library and in 64 bits: the same table on every machine.
fn sigmoid(x: f32) -> f32 {
    (1.0 / (1.0 + libm::exp(-f64::from(x)))) as f32
}

fn pairwise(op_type: &str) -> Option<fn(f32, f32) -> f32> {
    Some(match op_type {
        "Mul" => |a, b| a * b,
        "Add" => |a, b| a + b,
        "Sub" => |a, b| a - b,
        _ => return None,
    })
}

/// Both sides from the same bytes, or one of them a number.
fn both<'a>(
    index: &Index<'a>,
    node: &'a NodeProto,
    depth: usize,
    function: fn(f32, f32) -> f32,
) -> Option<Chain<'a>> {
    let (a, b) = (input(node, 0)?, input(node, 1)?);
    match (index.scalar::<f32>(a), index.scalar::<f32>(b)) {
        (None, None) => {
            let (mut a, b) = (chain(index, a, depth)?, chain(index, b, depth)?);
            if a.from != b.from {
                return None;
            }
            for (a, &b) in a.values.iter_mut().zip(&b.values) {
                *a = function(*a, b);
            }
            Some(a)
        }
        (Some(a), None) => Some(chain(index, b, depth)?.map(|b| function(a, b))),
        (None, Some(b)) => Some(chain(index, a, depth)?.map(|a| function(a, b))),
        (Some(_), Some(_)) => None,
    }
}

/// The limits of a `Clip`; a missing one is none.
pub(super) fn clip(index: &Index<'_>, node: &NodeProto) -> Option<[f32; 2]> {
    let limit = |at: usize, none: f32| match input(node, at) {
        None => Some(none),
        Some(name) => index.scalar::<f32>(name).filter(|limit| !limit.is_nan()),
    };
    Some([limit(1, f32::NEG_INFINITY)?, limit(2, f32::INFINITY)?])
}
