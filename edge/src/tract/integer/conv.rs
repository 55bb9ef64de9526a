//! Convolutions of a quantized graph, and why one cannot be computed in integers.

use int8::{Conv, ConvError, ConvSpec, Kernel, Output};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;

use super::constants::{Index, input, int, sizes, text};
use super::op::Work;
use super::recognise::{Bytes, Found, Need, Scale, Steps};

/// What a convolution gives.
#[derive(Clone, Copy, Debug)]
pub(super) enum To {
    Bytes { to: Scale, range: [u8; 2] },
    Floats,
}

/// Why a convolution stays in floating point.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub(super) enum Reason {
    #[error("its input is not quantized")]
    Input,
    #[error(
        "its weights are not 8-bit constants around zero with a scale for all or for each output channel"
    )]
    Weights,
    #[error("its bias is no constant")]
    Bias,
    #[error("groups, dilations or automatic padding")]
    Window,
    #[error(transparent)]
    Conv(#[from] ConvError),
}

/// Weights `[out, in, rows, columns]` and their scale for each output channel.
struct Weights {
    shape: [usize; 4],
    values: Vec<i8>,
    scales: Vec<f32>,
}

/// A `Conv` between dequantized values.
pub(super) fn dequantized<'a>(
    index: &Index<'a>,
    steps: &Steps<'a>,
    node: &'a NodeProto,
    to: To,
    kernels: &[Kernel],
) -> Result<Found<'a>, Reason> {
    let name = |at: usize| input(node, at);
    let from = name(0)
        .and_then(|name| index.dequantized(name))
        .ok_or(Reason::Input)?;
    let weights = name(1)
        .and_then(|name| index.made_by("DequantizeLinear", name))
        .and_then(|node| weights(index, node, [0, 1, 2], int(node, "axis").unwrap_or(1)))
        .ok_or(Reason::Weights)?;
    let bias = match name(2) {
        None => vec![0; weights.shape[0]],
        Some(name) => bias(index, name, from.scale.scale, &weights.scales).ok_or(Reason::Bias)?,
    };
    found(steps, node, from, weights, bias, to, kernels)
}

/// A `QLinearConv`.
pub(super) fn qlinear<'a>(
    index: &Index<'a>,
    steps: &Steps<'a>,
    node: &'a NodeProto,
    kernels: &[Kernel],
) -> Result<Found<'a>, Reason> {
    let (scale, signed) = index.scale(node, 1).ok_or(Reason::Input)?;
    let name = input(node, 0).ok_or(Reason::Input)?;
    let from = Bytes {
        name,
        scale,
        signed,
    };
    let weights = weights(index, node, [3, 4, 5], 0).ok_or(Reason::Weights)?;
    let (to, _) = index.scale(node, 6).ok_or(Reason::Input)?;
    let bias = match input(node, 8) {
        None => vec![0; weights.shape[0]],
        Some(name) => index.values::<i32>(name).ok_or(Reason::Bias)?.0,
    };
    let to = To::Bytes {
        to,
        range: [0, 255],
    };
    found(steps, node, from, weights, bias, to, kernels)
}

/// `at`: places of values, scale and zero point among the node's inputs.
fn weights(index: &Index<'_>, node: &NodeProto, at: [usize; 3], axis: i64) -> Option<Weights> {
    let tensor = index.constant(input(node, at[0])?)?;
    let shape: [usize; 4] = tensor.shape().try_into().ok()?;
    let view = tensor.try_as_plain_ram().ok()?;
    let zero = input(node, at[2]);
    let (values, centred): (Vec<i8>, bool) = match tensor.datum_type() {
        DatumType::I8 => {
            let centred = match zero {
                None => true,
                Some(zero) => index.values::<i8>(zero)?.0.iter().all(|&zero| zero == 0),
            };
            (view.as_slice::<i8>().ok()?.to_vec(), centred)
        }
        DatumType::U8 => {
            let centred = index.values::<u8>(zero?)?.0.iter().all(|&zero| zero == 128);
            let values = view.as_slice::<u8>().ok()?.iter();
            (values.map(|&value| (value ^ 128) as i8).collect(), centred)
        }
        _ => return None,
    };
    let (mut scales, _) = index.values::<f32>(input(node, at[1])?)?;
    if scales.len() == 1 {
        scales = vec![scales[0]; shape[0]];
    } else if axis != 0 {
        return None;
    }
    (centred && scales.len() == shape[0]).then_some(Weights {
        shape,
        values,
        scales,
    })
}

/// On the scale of the products: as the file has it, or rounded to it.
fn bias(index: &Index<'_>, name: &str, scale: f32, scales: &[f32]) -> Option<Vec<i32>> {
    let floats = match index.made_by("DequantizeLinear", name) {
        None => index.values::<f32>(name)?.0,
        Some(node) => {
            let (values, _) = index.values::<i32>(input(node, 0)?)?;
            let (own, _) = index.values::<f32>(input(node, 1)?)?;
            let zeros = input(node, 2).map(|name| index.values::<i32>(name));
            if zeros
                .is_some_and(|zeros| zeros.is_none_or(|(zeros, _)| zeros != vec![0; zeros.len()]))
            {
                return None;
            }
            let own = |at: usize| own.get(if own.len() == 1 { 0 } else { at }).copied();
            let on_scale = scales
                .iter()
                .enumerate()
                .all(|(at, &weight)| own(at) == Some(scale * weight));
            if on_scale {
                return Some(values);
            }
            let floats = values.iter().enumerate();
            floats
                .map(|(at, &value)| Some(value as f32 * own(at)?))
                .collect::<Option<_>>()?
        }
    };
    let steps = |(&bias, &weight): (&f32, &f32)| {
        let steps = (f64::from(bias) / (f64::from(scale) * f64::from(weight))).round_ties_even();
        let fits = steps.abs() <= f64::from(i32::MAX);
        fits.then_some(steps as i32)
    };
    (floats.len() == scales.len()).then(|| floats.iter().zip(scales).map(steps).collect())?
}

fn found<'a>(
    steps: &Steps<'a>,
    node: &NodeProto,
    from: Bytes<'a>,
    weights: Weights,
    bias: Vec<i32>,
    to: To,
    kernels: &[Kernel],
) -> Result<Found<'a>, Reason> {
    let side = [weights.shape[2], weights.shape[3]];
    let plain = int(node, "group").unwrap_or(1) == 1
        && matches!(text(node, "auto_pad"), None | Some(b"NOTSET"))
        && sizes(node, "dilations", [1; 2]) == Some([1; 2])
        && sizes(node, "kernel_shape", side) == Some(side);
    let stride = sizes(node, "strides", [1; 2]);
    let padding = sizes(node, "pads", [0; 4]);
    let (true, Some(stride), Some(padding)) = (plain, stride, padding) else {
        return Err(Reason::Window);
    };
    // Nobody laid the channels innermost yet: the convolution reads planes as well.
    let planar = !steps.contains_key(from.name) && !from.signed;
    let products = weights.scales.iter().map(|&scale| from.scale.scale * scale);
    let spec = ConvSpec {
        shape: weights.shape,
        weights: weights.values,
        bias,
        stride,
        padding,
        zero_point: from.scale.zero_point,
        planar,
        output: match to {
            To::Floats => Output::Floats {
                scale: products.collect(),
            },
            To::Bytes { to, range } => Output::Bytes(int8::Bytes {
                multiplier: products.map(|scale| scale / to.scale).collect(),
                zero_point: to.zero_point,
                range,
                table: None,
            }),
        },
    };
    Ok(Found {
        work: Work::Conv {
            conv: Conv::new(&spec, kernels)?,
            planar,
        },
        inputs: vec![match planar {
            true => Need::Planes(from.name),
            false => Need::ChannelsLast(from.name),
        }],
    })
}
