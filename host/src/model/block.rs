//! The building blocks of YOLOv5 v6 (attridet.md, 8.2).
//!
//! # Shapes
//! Everything is `[batch, channels, height, width]`, float32.

use tch::nn::{self, Init, Path};
use tch::{Kind, Tensor};

use super::fake_quantize::Pass;
use super::{Activation, LEAKY_SLOPE};
use crate::engine::sync_norm::batch_norm;

/// Added to the variance of a batch norm.
const EPS: f64 = 1e-3;
/// Share of a batch in the running mean and variance.
const MOMENTUM: f64 = 0.03;

/// Convolution without bias, batch norm, activation.
#[derive(Debug)]
pub(super) struct Conv {
    /// In YOLOv5's state dict and the exported graph.
    name: String,
    window: Window,
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
            name: name_of(p),
            window,
            conv,
            bn,
            activation,
        }
    }

    pub(super) fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        let x = if pass.is_fake() {
            let x = self.folded(x, pass);
            pass.value(format_args!("{}.conv", self.name), x)
        } else {
            let x = x.apply(&self.conv);
            if pass.settle {
                self.settle(&x);
            }
            batch_norm(&x, &self.bn, EPS, MOMENTUM, pass.train)
        };
        let x = match self.activation {
            Activation::Silu => x.silu(),
            Activation::Relu => x.relu(),
            Activation::LeakyRelu => x.maximum(&(&x * f64::from(LEAKY_SLOPE))),
        };
        pass.value(format_args!("{}.act", self.name), x)
    }

    /// Mean and variance of `x`, what the convolution says, become the running ones; gain and shift
    /// change with them, so that the same comes out.
    fn settle(&self, x: &Tensor) {
        let (Some(weight), Some(bias)) = (&self.bn.ws, &self.bn.bs) else {
            return;
        };
        let (variance, mean) = x.var_mean_dim([0_i64, 2, 3].as_slice(), true, false);
        let gain = weight / (&self.bn.running_var + EPS).sqrt();
        let shift = bias + (&mean - &self.bn.running_mean) * &gain;
        let set = |variable: &Tensor, value: &Tensor| variable.shallow_clone().copy_(value);
        set(weight, &(gain * (&variance + EPS).sqrt()));
        set(bias, &shift);
        set(&self.bn.running_mean, &mean);
        set(&self.bn.running_var, &variance);
    }

    /// Convolution and batch norm as the exported graph has them: one convolution, whose weights are
    /// computed in `f64` and rounded once.
    fn folded(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        let affine = |tensor: &Option<Tensor>| {
            let tensor = tensor.as_ref().expect("the batch norm is built affine");
            tensor.to_kind(Kind::Double)
        };
        let deviation = (self.bn.running_var.to_kind(Kind::Double) + EPS).sqrt();
        let gain = affine(&self.bn.ws) / deviation;
        let shift = affine(&self.bn.bs) - &self.bn.running_mean * &gain;
        let weight = self.conv.ws.to_kind(Kind::Double) * gain.view([-1, 1, 1, 1]);
        let Window {
            stride, padding, ..
        } = self.window;
        x.conv2d(
            &pass.weight(weight.to_kind(Kind::Float)),
            Some(shift.to_kind(Kind::Float)),
            [stride; 2],
            [padding; 2],
            [1; 2],
            1,
        )
    }
}

/// What the variables in `p` are called by.
pub(super) fn name_of(p: &Path) -> String {
    p.components().collect::<Vec<_>>().join(".")
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
    name: String,
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
            name: name_of(p),
            cv1: conv("cv1", 1),
            cv2: conv("cv2", 3),
            shortcut,
        }
    }

    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        let y = self.cv2.forward(&self.cv1.forward(x, pass), pass);
        match self.shortcut {
            true => pass.value(format_args!("{}", self.name), x + y),
            false => y,
        }
    }
}

/// Cross-stage block: half of the channels go through bottlenecks, half around them.
#[derive(Debug)]
pub(super) struct C3 {
    name: String,
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
            name: name_of(p),
            cv1: pointwise("cv1", c_in, half),
            cv2: pointwise("cv2", c_in, half),
            cv3: pointwise("cv3", 2 * half, c_out),
            bottlenecks: (0..repeats).map(bottleneck).collect(),
        }
    }

    pub(super) fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        let through = self.cv1.forward(x, pass);
        let through = self
            .bottlenecks
            .iter()
            .fold(through, |y, b| b.forward(&y, pass));
        let around = self.cv2.forward(x, pass);
        let both = Tensor::cat(&[through, around], 1);
        let both = pass.value(format_args!("{}.cat", self.name), both);
        self.cv3.forward(&both, pass)
    }
}

/// Spatial pyramid: three chained 5x5 max-pools beside their input.
#[derive(Debug)]
pub(super) struct Sppf {
    name: String,
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
            name: name_of(p),
            cv1: pointwise("cv1", c_in, half),
            cv2: pointwise("cv2", half * 4, c_out),
        }
    }

    pub(super) fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        let pool = |x: &Tensor| x.max_pool2d([5, 5], [1, 1], [2, 2], [1, 1], false);
        let x = self.cv1.forward(x, pass);
        let (once, twice, thrice);
        once = pool(&x);
        twice = pool(&once);
        thrice = pool(&twice);
        let all = Tensor::cat(&[x, once, twice, thrice], 1);
        let all = pass.value(format_args!("{}.cat", self.name), all);
        self.cv2.forward(&all, pass)
    }
}
