//! The building blocks of YOLOv5 v6 (attridet.md, 8.2).
//!
//! # Shapes
//! Everything is `[batch, channels, height, width]`, float32.

use tch::Tensor;
use tch::nn::{self, Init, Path};

use super::{Activation, LEAKY_SLOPE};
use crate::engine::sync_norm::batch_norm;

/// Added to the variance of a batch norm.
const EPS: f64 = 1e-3;
/// Share of a batch in the running mean and variance.
const MOMENTUM: f64 = 0.03;

/// Convolution without bias, batch norm, activation.
#[derive(Debug)]
pub(super) struct Conv {
    conv: nn::Conv2D,
    bn: nn::BatchNorm,
    activation: Activation,
}

/// Kernel side, stride and padding of a convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) kernel: i64,
    pub(super) stride: i64,
    pub(super) padding: i64,
}

impl Window {
    /// Padded by half the kernel.
    pub(super) fn new(kernel: i64, stride: i64) -> Self {
        Self {
            kernel,
            stride,
            padding: kernel / 2,
        }
    }
}

impl Conv {
    pub(super) fn new(
        p: &Path,
        c_in: i64,
        c_out: i64,
        window: Window,
        activation: Activation,
    ) -> Self {
        let config = nn::ConvConfig {
            stride: window.stride,
            padding: window.padding,
            bias: false,
            ws_init: weight_init(c_in * window.kernel * window.kernel),
            ..Default::default()
        };
        let conv = nn::conv2d(p / "conv", c_in, c_out, window.kernel, config);
        let norm = nn::BatchNormConfig {
            eps: EPS,
            momentum: MOMENTUM,
            ws_init: Init::Const(1.0),
            ..Default::default()
        };
        let bn = nn::batch_norm2d(p / "bn", c_out, norm);
        Self {
            conv,
            bn,
            activation,
        }
    }

    pub(super) fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let x = batch_norm(&x.apply(&self.conv), &self.bn, EPS, MOMENTUM, train);
        match self.activation {
            Activation::Silu => x.silu(),
            Activation::Relu => x.relu(),
            Activation::LeakyRelu => x.maximum(&(&x * f64::from(LEAKY_SLOPE))),
        }
    }
}

/// PyTorch's default: uniform within one over the root of the fan-in.
pub(super) fn weight_init(fan_in: i64) -> Init {
    let bound = 1.0 / (fan_in as f64).sqrt();
    Init::Uniform {
        lo: -bound,
        up: bound,
    }
}

/// 1x1 then 3x3, added to its input where `shortcut`.
#[derive(Debug)]
struct Bottleneck {
    cv1: Conv,
    cv2: Conv,
    shortcut: bool,
}

impl Bottleneck {
    fn new(p: &Path, channels: i64, shortcut: bool, activation: Activation) -> Self {
        let conv = |name: &str, kernel| {
            Conv::new(
                &(p / name),
                channels,
                channels,
                Window::new(kernel, 1),
                activation,
            )
        };
        Self {
            cv1: conv("cv1", 1),
            cv2: conv("cv2", 3),
            shortcut,
        }
    }

    fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let y = self.cv2.forward(&self.cv1.forward(x, train), train);
        if self.shortcut { x + y } else { y }
    }
}

/// Cross-stage block: half of the channels go through bottlenecks, half around them.
#[derive(Debug)]
pub(super) struct C3 {
    cv1: Conv,
    cv2: Conv,
    cv3: Conv,
    bottlenecks: Vec<Bottleneck>,
}

impl C3 {
    pub(super) fn new(
        p: &Path,
        c_in: i64,
        c_out: i64,
        repeats: usize,
        shortcut: bool,
        activation: Activation,
    ) -> Self {
        let half = c_out / 2;
        let bottleneck =
            |index| Bottleneck::new(&(p / "m" / index as i64), half, shortcut, activation);
        let pointwise = |name: &str, c_in, c_out| {
            Conv::new(&(p / name), c_in, c_out, Window::new(1, 1), activation)
        };
        Self {
            cv1: pointwise("cv1", c_in, half),
            cv2: pointwise("cv2", c_in, half),
            cv3: pointwise("cv3", 2 * half, c_out),
            bottlenecks: (0..repeats).map(bottleneck).collect(),
        }
    }

    pub(super) fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let through = self.cv1.forward(x, train);
        let through = self
            .bottlenecks
            .iter()
            .fold(through, |y, b| b.forward(&y, train));
        let around = self.cv2.forward(x, train);
        self.cv3.forward(&Tensor::cat(&[through, around], 1), train)
    }
}

/// Spatial pyramid: three chained 5x5 max-pools beside their input.
#[derive(Debug)]
pub(super) struct Sppf {
    cv1: Conv,
    cv2: Conv,
}

impl Sppf {
    pub(super) fn new(p: &Path, c_in: i64, c_out: i64, activation: Activation) -> Self {
        let half = c_in / 2;
        let pointwise = |name: &str, c_in, c_out| {
            Conv::new(&(p / name), c_in, c_out, Window::new(1, 1), activation)
        };
        Self {
            cv1: pointwise("cv1", c_in, half),
            cv2: pointwise("cv2", half * 4, c_out),
        }
    }

    pub(super) fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let pool = |x: &Tensor| x.max_pool2d([5, 5], [1, 1], [2, 2], [1, 1], false);
        let x = self.cv1.forward(x, train);
        let (once, twice, thrice);
        once = pool(&x);
        twice = pool(&once);
        thrice = pool(&twice);
        self.cv2
            .forward(&Tensor::cat(&[x, once, twice, thrice], 1), train)
    }
}
