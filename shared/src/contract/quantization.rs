//! What an 8-bit model was made from.

use heapless::String;
use serde::{Deserialize, Serialize};

/// Where the integers of a quantized file come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantization {
    /// SHA-256 of the float ONNX file, hexadecimal.
    pub parent_sha256: String<64>,
    /// SHA-256 of the calibration set, hexadecimal: of the canvases' bytes, in their order.
    pub calibration_sha256: String<64>,
    /// Canvases that the ranges of the activations were measured on, at least 1.
    pub n_canvases: u32,
    /// Layers with weights that compute in floating point, because integers cost them too much.
    pub n_float_layers: u16,
}

impl Quantization {
    /// Whether it names a file and a set that there can be.
    pub fn is_usable(&self) -> bool {
        self.n_canvases > 0 && is_sha256(&self.parent_sha256) && is_sha256(&self.calibration_sha256)
    }
}

/// Whether `text` is a SHA-256 in hexadecimal.
pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
