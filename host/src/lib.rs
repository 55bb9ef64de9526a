//! The trainer: labelled pictures in, a checked model file out.
//!
//! It never talks to a camera and never counts: that is the station's work. It meets the station in
//! two files only, the ONNX model with its contract and `detections.jsonl`.

pub mod adjust;
pub mod allocator;
pub mod anchors;
pub mod assign;
pub mod augment;
pub mod bench;
pub mod cache;
pub mod checkpoint;
pub mod cli;
pub mod dataset;
pub mod describe;
pub mod detections;
pub mod device;
pub mod doctor;
pub mod engine;
pub mod eval;
pub mod exit;
pub mod export;
pub mod hyper;
pub mod loader;
pub mod loss;
pub mod model;
pub mod onnx;
pub mod optim;
pub mod outputs;
pub mod parity;
pub mod picture;
pub mod plot;
pub mod quantize;
pub mod score;
pub mod tensorboard;
pub mod train;
pub mod validate;
pub mod weights;
