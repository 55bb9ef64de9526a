//! The arithmetic that host and edge have in common, written once, with the same bits everywhere.
//!
//! What goes in and out are slices and small values; what is promised is that a picture gives the
//! same canvas, a raw head the same detections and a score table the same numbers on a server, on
//! the station and on a microcontroller: integers where it can be, `libm` where not, total orders
//! everywhere, no parallel sums.
//!
//! This crate never allocates, opens a file, reads a clock, knows a tensor library or logs.
#![no_std]

pub mod annotate;
pub mod attribute;
pub mod cell;
pub mod class;
pub mod contract;
pub mod detect;
pub mod differential;
pub mod domain;
pub mod fit;
pub mod geometry;
pub mod head;
pub mod interval;
pub mod jpeg;
pub mod label;
pub mod metrics;
pub mod nms;
pub mod phantom;
pub mod pixels;
pub mod report;
pub mod resize;
pub mod roi;
pub mod score;
