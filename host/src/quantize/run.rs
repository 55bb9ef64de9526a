//! Runs a network on torch, float or quantized, and lets somebody look at every value.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use super::QuantizeError;
use super::network::{Constant, Network, Node, Numbers, foreign};
use super::op::{Op, Window};

/// Looks at the value that a node has made and hands it on, changed or not.
pub type Visit<'a> = &'a mut dyn FnMut(&Node, Tensor) -> Tensor;

/// A network whose constants lie in tensors.
///
/// Integers are held as floating point: up to 24 bits they are the same numbers.
pub struct Runner<'a> {
    network: &'a Network,
    constants: BTreeMap<&'a str, Tensor>,
    /// Place of the node that reads a value last.
    last_reader: BTreeMap<&'a str, usize>,
}

impl<'a> Runner<'a> {
    /// Prepares a network.
    pub fn new(network: &'a Network) -> Self {
        let constants = network.constants.iter();
        let constants = constants.map(|(name, constant)| (name.as_str(), tensor(constant)));
        let mut last_reader = BTreeMap::new();
        for (place, node) in network.nodes.iter().enumerate() {
            last_reader.extend(node.inputs().map(|name| (name, place)));
        }
        let outputs = network.output_names();
        last_reader.retain(|name, _| !outputs.contains(name));
        Self {
            network,
            constants: constants.collect(),
            last_reader,
        }
    }

    /// The outputs in their order; `visit` sees the value of every node, in the order of the nodes.
    ///
    /// # Shapes
    /// `u8 [batch, 3, height, width]` → per output `f32 [batch, ...]`
    ///
    /// # Errors
    /// When shapes do not go together.
    pub fn run(&self, canvases: &Tensor, visit: Visit<'_>) -> Result<Vec<Tensor>, QuantizeError> {
        let _no_grad = tch::no_grad_guard();
        let mut values: BTreeMap<&str, Tensor> = BTreeMap::new();
        let input = self.network.input_names()[0];
        values.insert(input, canvases.to_kind(Kind::Float));
        for (place, node) in self.network.nodes.iter().enumerate() {
            let made = self.compute(node, &values)?;
            values.insert(node.output(), visit(node, made));
            for name in node.inputs() {
                if self.last_reader.get(name) == Some(&place) {
                    values.remove(name);
                }
            }
        }
        let outputs = self.network.output_names().into_iter();
        outputs
            .map(|name| {
                let missing = || foreign("output", "a value that is computed", name);
                values
                    .get(name)
                    .map(Tensor::shallow_clone)
                    .ok_or_else(missing)
            })
            .collect()
    }

    /// The outputs alone.
    ///
    /// # Errors
    /// As for [`Runner::run`].
    pub fn outputs(&self, canvases: &Tensor) -> Result<Vec<Tensor>, QuantizeError> {
        self.run(canvases, &mut |_, value| value)
    }

    fn compute(
        &self,
        node: &Node,
        values: &BTreeMap<&str, Tensor>,
    ) -> Result<Tensor, QuantizeError> {
        let get = |index: usize| {
            let name = node.input(index);
            let value = values.get(name).or_else(|| self.constants.get(name));
            value.ok_or_else(|| {
                let place = format!("node {:?}", node.output());
                foreign(&place, "an input that is there", format!("{name:?}"))
            })
        };
        let refuse = |error: tch::TchError| {
            let place = format!("node {:?}", node.output());
            let found = error.to_string();
            let line = found.lines().next().unwrap_or_default();
            foreign(&place, "inputs that go together", line)
        };
        let x = get(0)?;
        match node.op {
            Op::Dequantize { axis } => {
                let (scale, zero) = (get(1)?, get(2)?);
                dequantize(x, scale, zero, axis)
            }
            Op::Quantize => quantize(x, get(1)?, get(2)?),
            Op::Conv(Window { stride, padding }) => {
                x.f_conv2d(get(1)?, Some(get(2)?), [stride; 2], [padding; 2], [1; 2], 1)
            }
            Op::Sigmoid => x.f_sigmoid(),
            Op::Mul => x.f_mul(get(1)?),
            Op::Add => x.f_add(get(1)?),
            Op::Relu => x.f_relu(),
            Op::LeakyRelu { slope } => x.f_maximum(&(x * f64::from(slope))),
            Op::MaxPool { side, window } => x.f_max_pool2d(
                [side; 2],
                [window.stride; 2],
                [window.padding; 2],
                [1; 2],
                false,
            ),
            Op::Upsample => {
                let size = x.size();
                let side = |axis: usize| size.get(axis).map_or(0, |n| 2 * n);
                x.f_upsample_nearest2d([side(2), side(3)], None, None)
            }
            Op::Concat => {
                let parts = (0..node.inputs().count()).map(get);
                Tensor::f_cat(&parts.collect::<Result<Vec<_>, _>>()?, 1)
            }
            Op::Identity => Ok(x.shallow_clone()),
        }
        .map_err(refuse)
    }
}

/// `saturate(round half to even (x / scale) + zero)`, as ONNX says.
fn quantize(x: &Tensor, scale: &Tensor, zero: &Tensor) -> Result<Tensor, tch::TchError> {
    x.f_div(scale)?.f_round()?.f_add(zero)?.f_clamp(0.0, 255.0)
}

fn dequantize(
    x: &Tensor,
    scale: &Tensor,
    zero: &Tensor,
    axis: Option<i64>,
) -> Result<Tensor, tch::TchError> {
    // One parameter a channel, along the axis: [channels, 1, 1, 1] for weights.
    let (scale, zero) = match axis {
        Some(0) if x.dim() > 1 => {
            let mut shape = vec![1; x.dim()];
            shape[0] = -1;
            (scale.f_view(&shape[..])?, zero.f_view(&shape[..])?)
        }
        _ => (scale.shallow_clone(), zero.shallow_clone()),
    };
    x.f_sub(&zero)?.f_mul(&scale)?.f_to_kind(Kind::Float)
}

fn tensor(constant: &Constant) -> Tensor {
    let shape: Vec<i64> = constant.shape.iter().map(|&d| d as i64).collect();
    let flat = match &constant.numbers {
        Numbers::F32(values) => Tensor::from_slice(values),
        Numbers::U8(values) => Tensor::from_slice(values),
        Numbers::I8(values) => Tensor::from_slice(values),
        Numbers::I32(values) => Tensor::from_slice(values),
        Numbers::I64(values) => Tensor::from_slice(values),
    };
    // A bias beyond 24 bits would lose its last digits on the way through f32.
    let kind = match constant.numbers {
        Numbers::I32(_) => Kind::Double,
        _ => Kind::Float,
    };
    flat.to_kind(kind).view(&shape[..])
}
