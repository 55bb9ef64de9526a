//! What nodes compute, with the attributes that matter.

use std::collections::BTreeMap;

use super::QuantizeError;
use super::network::{Constant, Numbers, foreign};
use crate::onnx::wire;

/// How a window moves over a map; the same on both axes, as the trainer writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Pixels from one place to the next.
    pub stride: i64,
    /// Pixels added on each of the four sides.
    pub padding: i64,
}

/// An operator of ONNX, as far as the networks need it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// Integers to numbers, per tensor or along an axis.
    Dequantize {
        /// `None` for one scale.
        axis: Option<i64>,
    },
    /// Numbers to unsigned bytes, per tensor.
    Quantize,
    /// Convolution of whole groups, with bias.
    Conv(Window),
    /// Logistic function.
    Sigmoid,
    /// Product, value by value.
    Mul,
    /// Negative values to 0.
    Relu,
    /// Negative values times a slope.
    LeakyRelu {
        /// The slope.
        slope: f32,
    },
    /// Largest value of a square window.
    MaxPool {
        /// Side of the window.
        side: i64,
        /// Its way.
        window: Window,
    },
    /// Every value four times.
    Upsample,
    /// Channels one after the other.
    Concat,
    /// Sum, value by value.
    Add,
    /// The same.
    Identity,
}

impl Op {
    /// Its name in ONNX.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dequantize { .. } => "DequantizeLinear",
            Self::Quantize => "QuantizeLinear",
            Self::Conv(_) => "Conv",
            Self::Sigmoid => "Sigmoid",
            Self::Mul => "Mul",
            Self::Relu => "Relu",
            Self::LeakyRelu { .. } => "LeakyRelu",
            Self::MaxPool { .. } => "MaxPool",
            Self::Upsample => "Resize",
            Self::Concat => "Concat",
            Self::Add => "Add",
            Self::Identity => "Identity",
        }
    }

    /// Whether its output has the values of its input and no others, so that it keeps their scale.
    pub fn keeps_values(self) -> bool {
        matches!(self, Self::MaxPool { .. } | Self::Upsample)
    }

    /// The attributes of a node that is made here: quantization alone.
    pub(super) fn attributes(self) -> Vec<wire::Attribute> {
        match self {
            Self::Dequantize { axis: Some(axis) } => vec![wire::Attribute {
                name: "axis".to_owned(),
                i: axis,
                kind: wire::ATTRIBUTE_INT,
                ..wire::Attribute::default()
            }],
            _ => Vec::new(),
        }
    }

    /// What a node of a file computes.
    ///
    /// # Errors
    /// An operator, or a form of one, that the trainer does not write.
    pub(super) fn read(
        node: &wire::Node,
        constants: &BTreeMap<String, Constant>,
    ) -> Result<Self, QuantizeError> {
        let name = node.output.first().map_or("", String::as_str);
        let refuse =
            |expected: &str, found: String| foreign(&format!("node {name:?}"), expected, found);
        if node.output.len() != 1 || name.is_empty() {
            return Err(refuse("one output", format!("{:?}", node.output)));
        }
        let find = |key: &str| node.attribute.iter().find(|a| a.name == key);
        let ints = |key: &str, default: &[i64]| {
            find(key).map_or(default.to_vec(), |attribute| attribute.ints.clone())
        };
        let int = |key: &str, default: i64| find(key).map_or(default, |attribute| attribute.i);
        let window = || {
            let (strides, pads) = (ints("strides", &[1, 1]), ints("pads", &[0; 4]));
            let dilations = ints("dilations", &[1, 1]);
            let square = strides.len() == 2
                && pads.len() == 4
                && strides[0] == strides[1]
                && pads.iter().all(|pad| *pad == pads[0])
                && dilations == [1, 1]
                && find("auto_pad").is_none()
                && int("ceil_mode", 0) == 0;
            square
                .then(|| Window {
                    stride: strides[0],
                    padding: pads[0],
                })
                .ok_or_else(|| {
                    let found =
                        format!("strides {strides:?}, pads {pads:?}, dilations {dilations:?}");
                    refuse("a window that is the same on all sides", found)
                })
        };
        let n_inputs = node.input.len();
        let takes = |n: usize| {
            let right = n_inputs == n;
            right
                .then_some(())
                .ok_or_else(|| refuse(&format!("{n} inputs"), n_inputs.to_string()))
        };
        match node.op_type.as_str() {
            "DequantizeLinear" => takes(3).map(|()| Self::Dequantize {
                axis: find("axis").map(|attribute| attribute.i),
            }),
            "QuantizeLinear" => takes(3).map(|()| Self::Quantize),
            "Conv" => {
                takes(3)?;
                if int("group", 1) != 1 {
                    return Err(refuse("one group", int("group", 1).to_string()));
                }
                window().map(Self::Conv)
            }
            "Sigmoid" => takes(1).map(|()| Self::Sigmoid),
            "Mul" => takes(2).map(|()| Self::Mul),
            "Relu" => takes(1).map(|()| Self::Relu),
            "LeakyRelu" => takes(1).map(|()| Self::LeakyRelu {
                slope: find("alpha").map_or(0.01, |attribute| attribute.f),
            }),
            "MaxPool" => {
                takes(1)?;
                let kernel = ints("kernel_shape", &[]);
                match kernel[..] {
                    [side, other] if side == other => {
                        window().map(|window| Self::MaxPool { side, window })
                    }
                    _ => Err(refuse("a square window", format!("{kernel:?}"))),
                }
            }
            "Resize" => {
                takes(3)?;
                let scales = constants.get(&node.input[2]).map(|scales| &scales.numbers);
                let nearest = find("mode").is_some_and(|mode| mode.s == b"nearest");
                match scales {
                    Some(Numbers::F32(s)) if nearest && s[..] == [1.0, 1.0, 2.0, 2.0] => {
                        Ok(Self::Upsample)
                    }
                    other => Err(refuse("nearest, scales 1, 1, 2, 2", format!("{other:?}"))),
                }
            }
            "Concat" if int("axis", 0) == 1 => Ok(Self::Concat),
            "Concat" => Err(refuse("axis 1", int("axis", 0).to_string())),
            "Add" => takes(2).map(|()| Self::Add),
            "Identity" => takes(1).map(|()| Self::Identity),
            other => Err(refuse("an operator of the trainer's", format!("{other:?}"))),
        }
    }
}
