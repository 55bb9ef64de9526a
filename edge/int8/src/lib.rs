//! Integer convolutions and their neighbours on 8-bit maps: what a quantized network is made of.
//!
//! Maps have their channels innermost, `[height][width][channels]`, one byte each, from layer to
//! layer; only a canvas comes in planes. Every processor gives the same integers: `scalar` is the
//! definition, the others are tested against it.
//!
//! Knows neither a model format nor an engine, never reads a file.

// Registers are indexed by two constants; iterators over them were not always inlined.
#![allow(clippy::needless_range_loop)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
mod conv;
#[cfg(target_arch = "aarch64")]
mod dotprod;
mod kernel;
mod lines;
mod map;
#[cfg(target_arch = "aarch64")]
mod neon;
mod ops;
mod pack;
mod scalar;
mod share;
mod spec;
mod table;

pub use conv::{Conv, OutMap};
pub use kernel::{Kernel, available};
pub use map::Shape;
pub use ops::{Add, concat, dequantize_planes, max_pool, quantize_planes, upsample};
pub use spec::{Bytes, ConvError, ConvSpec, Output};
pub use table::Table;
