//! Post-training quantization: a float ONNX file to one whose convolutions are integers.
//!
//! [`network`] reads the file, [`run`] computes it on torch, [`calibrate`] measures what values it
//! has on pictures, [`observe`] chooses ranges from them, [`places`] says which values share one,
//! [`rewrite`] puts integers between the layers; [`equalize`] before, [`bias`] after keep the error
//! small, and [`sensitivity`] says which layer makes it. [`model`] is the whole way.

pub mod bias;
pub mod calibrate;
pub mod equalize;
pub mod error;
mod golden;
pub mod model;
pub mod network;
pub mod observe;
pub mod op;
pub mod places;
pub mod rewrite;
pub mod run;
pub mod sensitivity;
#[cfg(test)]
mod tests;

use crate::onnx::OnnxError;

pub use calibrate::{Canvases, Ranges, TRAINED_RANGES, spaced, trained_ranges};
pub use error::{HeadError, worst_sqnr};
pub use model::{Options, Quantized, contract_of, quantize};
pub use observe::Observer;
pub use rewrite::{Params, WeightBits};
pub use sensitivity::{LAYERS_JSON, LAYERS_TEXT, LayerCost, markdown};

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
