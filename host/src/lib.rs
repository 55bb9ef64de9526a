//! The trainer: labelled pictures in, a checked model file out.
//!
//! It never talks to a camera and never counts: that is the station's work. It meets the station in
//! two files only, the ONNX model with its contract and `detections.jsonl`.

pub mod dataset;
pub mod onnx;
pub mod weights;
