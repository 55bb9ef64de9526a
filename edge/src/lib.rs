//! The station: finds, describes and counts white cells.
//!
//! A picture goes bytes → [`picture`] → [`detector`] → detections; [`network`] is what the detector
//! needs of an engine, [`tract`] the engine. Everything that computes a result lies in `shared`; this
//! crate reads files and clocks, and writes.

pub mod annotated;
pub mod atomic;
pub mod bench;
pub mod calibrate;
pub mod cameras;
pub mod case;
pub mod check;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod count;
pub mod demo;
pub mod detector;
pub mod embedded;
pub mod exit;
pub mod fields;
#[cfg(test)]
mod fixture;
pub mod frame;
pub mod held;
pub mod install;
pub mod keep;
pub mod layers;
pub mod log;
pub mod model;
pub mod network;
pub mod picture;
pub mod regions;
pub mod replay;
pub mod serve;
pub mod service;
pub mod source;
pub mod station;
pub mod store;
pub mod text_file;
pub mod tract;
