//! How far a quantized output is from the float one.

use serde::Serialize;
use tch::{Kind, Tensor};

/// The error of one output on some canvases.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeadError {
    /// The output.
    pub output: String,
    /// Mean squared error over mean square.
    pub relative: f64,
}

impl HeadError {
    /// Signal to quantization noise in dB; infinite without noise.
    pub fn sqnr(&self) -> f64 {
        -10.0 * self.relative.log10()
    }
}

/// Compares an output.
pub fn head_error(output: &str, reference: &Tensor, found: &Tensor) -> HeadError {
    let square = |x: &Tensor| (x * x).sum(Kind::Double).double_value(&[]);
    let noise = square(&(reference - found).to_kind(Kind::Double));
    let signal = square(&reference.to_kind(Kind::Double));
    let relative = if noise == 0.0 { 0.0 } else { noise / signal };
    HeadError {
        output: output.to_owned(),
        relative,
    }
}

/// The worst of several in dB.
pub fn worst_sqnr(heads: &[HeadError]) -> f64 {
    heads
        .iter()
        .map(HeadError::sqnr)
        .fold(f64::INFINITY, f64::min)
}
