//! The model that is part of the binary: the station works with nothing but itself.

/// The 8-bit ONNX file with its contract inside: a quarter of the floating-point one, and faster.
pub static MODEL: &[u8] = include_bytes!("../../models/wbc-nano/model.int8.onnx");
