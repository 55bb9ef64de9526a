//! Post-training quantization: a float ONNX file to one whose convolutions are integers.
//!
//! [`network`] reads the file, [`run`] computes it on torch, `observe` measures what values
//! it has on calibration pictures, [`rewrite`] puts integers between the layers.

pub mod calibrate;
pub mod error;
pub mod model;
pub mod network;
pub mod observe;
pub mod op;
pub mod places;
pub mod rewrite;
pub mod run;

use crate::onnx::OnnxError;

pub use calibrate::{Canvases, Ranges, spaced, trained_ranges};
pub use model::{Options, Quantized, contract_of, quantize};
pub use observe::Observer;
pub use rewrite::WeightBits;

/// Why a model cannot be quantized.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// The file is not one that the trainer writes.
    #[error("{place}: expected {expected}, found {found}")]
    Foreign {
        /// Where in the file.
        place: String,
        /// What the trainer writes.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// The file is no ONNX file, or its contract cannot be honoured.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The file was quantized before.
    #[error("the model is quantized already: expected one in floating point")]
    Quantized,
    /// A value that no scale can hold.
    #[error("value {name:?} is NaN or infinite on calibration canvas {canvas}")]
    NotFinite {
        /// The value.
        name: String,
        /// Number of the canvas, from 0.
        canvas: usize,
    },
    /// Nothing to measure on.
    #[error("{place}: expected calibration pictures, found none")]
    NoPictures {
        /// Where they were looked for.
        place: String,
    },
}
