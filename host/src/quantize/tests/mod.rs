mod arithmetic;
mod observers;
mod whole;

use shared::geometry::Size;

use super::Canvases;
use crate::model::Activation;
use crate::onnx::{Yolov5Spec, fixture, yolov5_bytes};

/// A small network in floating point.
fn float_bytes(activation: Activation) -> Vec<u8> {
    let spec = Yolov5Spec {
        activation,
        ..fixture::spec()
    };
    yolov5_bytes(&spec, &fixture::contract(), &fixture::tensors(&spec)).unwrap()
}

/// Canvases for it: bytes of a congruential generator, smoothed into something like a picture.
fn canvases(n: usize) -> Canvases {
    let size = Size::new(96, 64);
    let mut state = 7_u64;
    let mut level = 128_i32;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        level = (level + (state >> 58) as i32 - 32).clamp(0, 255);
        level as u8
    };
    let bytes: Vec<u8> = (0..n * 3 * 96 * 64).map(|_| next()).collect();
    Canvases::new(&bytes, size, "made up").unwrap()
}
