//! The model that is part of the binary: the station works with nothing but itself.

/// An ONNX file with its contract inside.
pub static MODEL: &[u8] = include_bytes!("../../models/wbc-nano/model.onnx");
