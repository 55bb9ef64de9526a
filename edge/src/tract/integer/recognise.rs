//! Which steps on 8-bit maps a quantized graph means.
//!
//! Recognised in the file's own words, before tract lowers them: a `QuantizeLinear` whose input comes,
//! through operations that are known here, from values behind a `DequantizeLinear`; and `QLinearConv`.

use std::collections::HashMap;

use int8::{Add, Kernel, Table};
use tract_onnx::pb::NodeProto;

use super::chain;
use super::constants::{Index, input, int, output, sizes, text};
use super::conv::{self, To};
use super::op::Work;

/// What bytes mean: `(byte - zero_point) * scale`. Signed bytes are moved up by 128 first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) scale: f32,
    pub(super) zero_point: u8,
}

impl Scale {
    pub(super) fn value(self, byte: u8) -> f32 {
        (i32::from(byte) - i32::from(self.zero_point)) as f32 * self.scale
    }

    /// `QuantizeLinear`: half to even, clamped; what is no number becomes zero.
    pub(super) fn byte(self, value: f32) -> u8 {
        let steps = (value / self.scale).round_ties_even() as i32;
        steps.saturating_add(self.zero_point.into()).clamp(0, 255) as u8
    }
}

/// A quantized value and what its bytes mean where it is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bytes<'a> {
    pub(super) name: &'a str,
    pub(super) scale: Scale,
    /// Signed in the file.
    pub(super) signed: bool,
}

/// What a step reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Need<'a> {
    /// The value as the file has it.
    Planes(&'a str),
    /// The value as unsigned bytes, channels innermost.
    ChannelsLast(&'a str),
}

/// A step found for a value.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) work: Work,
    pub(super) inputs: Vec<Need<'a>>,
}

/// The steps by the quantized value they make.
pub(super) type Steps<'a> = HashMap<&'a str, Found<'a>>;

impl<'a> Index<'a> {
    /// Scale and sign of the parameters at places `at` and `at + 1` of a node's inputs.
    pub(super) fn scale(&self, node: &NodeProto, at: usize) -> Option<(Scale, bool)> {
        let scale = self.scalar::<f32>(input(node, at)?)?;
        let (zero_point, signed) = match input(node, at + 1) {
            None => (0, false),
            Some(name) => match self.scalar::<u8>(name) {
                Some(zero_point) => (zero_point, false),
                None => (self.scalar::<i8>(name)? as u8 ^ 128, true),
            },
        };
        let legal = scale.is_finite() && scale > 0.0;
        legal.then_some((Scale { scale, zero_point }, signed))
    }

    /// The computed bytes that a `DequantizeLinear` turns into `value`.
    pub(super) fn dequantized(&self, value: &str) -> Option<Bytes<'a>> {
        let node = self.made_by("DequantizeLinear", value)?;
        let name = input(node, 0)?;
        let (scale, signed) = self.scale(node, 1)?;
        self.constant(name).is_none().then_some(Bytes {
            name,
            scale,
            signed,
        })
    }
}

/// Finds the steps of a graph whose nodes stand in the order of computation.
pub(super) fn steps<'a>(index: &Index<'a>, kernels: &[Kernel]) -> Steps<'a> {
    let mut steps = Steps::new();
    for node in index.nodes {
        let found = match node.op_type.as_str() {
            "QuantizeLinear" => quantized(index, &steps, node, kernels),
            "QLinearConv" => conv::qlinear(index, &steps, node, kernels).ok(),
            "MaxPool" | "Resize" | "Concat" => on_bytes(index, &steps, node),
            _ => None,
        };
        if let (Some(found), Some(name)) = (found, output(node)) {
            steps.insert(name, found);
        }
    }
    steps
}

/// The step that a `QuantizeLinear` ends.
fn quantized<'a>(
    index: &Index<'a>,
    steps: &Steps<'a>,
    node: &'a NodeProto,
    kernels: &[Kernel],
) -> Option<Found<'a>> {
    let x = input(node, 0)?;
    let (to, _) = index.scale(node, 1)?;
    if let Some((from, table)) = chain::table(index, x, to) {
        return Some(Found {
            work: Work::Table(table),
            inputs: vec![Need::ChannelsLast(from.name)],
        });
    }
    let node = index.producer(x)?;
    let (node, range) = match node.op_type.as_str() {
        "Relu" => (index.producer(input(node, 0)?)?, [to.zero_point, 255]),
        "Clip" => {
            let [least, most] = chain::clip(index, node)?;
            let range = [to.byte(least), to.byte(most)];
            (index.producer(input(node, 0)?)?, range)
        }
        _ => (node, [0, 255]),
    };
    if range[0] > range[1] {
        return None;
    }
    match node.op_type.as_str() {
        "Conv" => conv::dequantized(index, steps, node, To::Bytes { to, range }, kernels).ok(),
        "Add" => add(index, node, to, range),
        _ if range != [0, 255] => None,
        "MaxPool" | "Resize" => {
            let from = index.dequantized(input(node, 0)?)?;
            map(index, node, from.name, rescaled(from.scale, to))
        }
        "Concat" => {
            let inputs = node.input.iter().map(|name| index.dequantized(name));
            let inputs = inputs.collect::<Option<Vec<_>>>()?;
            let tables = inputs.iter().map(|from| rescaled(from.scale, to)).collect();
            concat(node, tables, inputs.iter().map(|from| from.name).collect())
        }
        _ => None,
    }
}

/// Poolings, enlargements and joins that a file does on the bytes themselves.
fn on_bytes<'a>(index: &Index<'a>, steps: &Steps<'a>, node: &'a NodeProto) -> Option<Found<'a>> {
    let known = |name: &str| steps.contains_key(name);
    match node.op_type.as_str() {
        "Concat" if node.input.iter().all(|name| known(name)) => {
            let names: Vec<&str> = node.input.iter().map(String::as_str).collect();
            concat(node, names.iter().map(|_| None).collect(), names)
        }
        "MaxPool" | "Resize" => map(
            index,
            node,
            input(node, 0).filter(|name| known(name))?,
            None,
        ),
        _ => None,
    }
}

/// The bytes of one scale on another; `None` when they are the same.
fn rescaled(from: Scale, to: Scale) -> Option<Table> {
    let table = Table::new(|byte| to.byte(from.value(byte)));
    (from != to).then_some(table)
}

fn map<'a>(
    index: &Index<'a>,
    node: &NodeProto,
    from: &'a str,
    table: Option<Table>,
) -> Option<Found<'a>> {
    let work = match node.op_type.as_str() {
        "MaxPool" => max_pool(node, table)?,
        _ => Work::Upsample {
            times: times(index, node)?,
            table,
        },
    };
    Some(Found {
        work,
        inputs: vec![Need::ChannelsLast(from)],
    })
}

fn max_pool(node: &NodeProto, table: Option<Table>) -> Option<Work> {
    let side = sizes(node, "kernel_shape", [0; 2])?;
    let stride = sizes(node, "strides", [1; 2])?;
    let padding = sizes(node, "pads", [0; 4])?;
    let [top, left, bottom, right] = padding;
    let inside = top.max(bottom) < side[0] && left.max(right) < side[1];
    let plain = inside
        && !stride.contains(&0)
        && int(node, "ceil_mode").unwrap_or(0) == 0
        && int(node, "storage_order").unwrap_or(0) == 0
        && matches!(text(node, "auto_pad"), None | Some(b"NOTSET"))
        && sizes(node, "dilations", [1; 2]) == Some([1; 2])
        && output(node).is_some();
    plain.then_some(Work::MaxPool {
        side,
        stride,
        padding,
        table,
    })
}

/// How many times larger a nearest-neighbour `Resize` makes a map.
fn times(index: &Index<'_>, node: &NodeProto) -> Option<[usize; 2]> {
    let plain = text(node, "mode") == Some(b"nearest")
        && text(node, "coordinate_transformation_mode") == Some(b"asymmetric")
        && text(node, "nearest_mode") == Some(b"floor")
        && input(node, 3).is_none();
    let (scales, _) = index.values::<f32>(input(node, 2)?)?;
    let whole = |scale: f32| {
        (scale.fract() == 0.0 && (1.0..=16.0).contains(&scale)).then_some(scale as usize)
    };
    match scales[..] {
        [1.0, 1.0, rows, columns] if plain => Some([whole(rows)?, whole(columns)?]),
        _ => None,
    }
}

fn concat<'a>(
    node: &NodeProto,
    tables: Vec<Option<Table>>,
    names: Vec<&'a str>,
) -> Option<Found<'a>> {
    (int(node, "axis") == Some(1)).then(|| Found {
        work: Work::Concat(tables),
        inputs: names.into_iter().map(Need::ChannelsLast).collect(),
    })
}

fn add<'a>(index: &Index<'a>, node: &NodeProto, to: Scale, range: [u8; 2]) -> Option<Found<'a>> {
    let from = [input(node, 0)?, input(node, 1)?].map(|name| index.dequantized(name));
    let [Some(a), Some(b)] = from else {
        return None;
    };
    let ratios = [a, b].map(|from| from.scale.scale / to.scale);
    ratios.iter().all(|ratio| ratio.is_finite()).then(|| Found {
        work: Work::Add(Add {
            zero_points: [a, b].map(|from| from.scale.zero_point),
            ratios,
            zero_point: to.zero_point,
            range,
        }),
        inputs: [a, b].map(|from| Need::ChannelsLast(from.name)).to_vec(),
    })
}
