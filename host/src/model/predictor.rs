//! The last 1x1 convolution of a head, whose attribute channels may be cut off from the features.

use tch::nn::{self, Path};
use tch::{Kind, Tensor};

use super::block::weight_init;
use super::fake_quantize::Pass;

/// A 1x1 convolution with bias and no activation.
#[derive(Debug)]
pub(super) struct Predictor {
    conv: nn::Conv2D,
    /// True for channels of attribute logits, `[1, channels, 1, 1]`; `None` when their gradient may
    /// reach the features.
    detached: Option<Tensor>,
}

impl Predictor {
    /// One output channel per value of `bias`, which it starts with.
    pub(super) fn new(p: Path, c_in: i64, bias: &[f32]) -> Self {
        let config = nn::ConvConfig {
            ws_init: weight_init(c_in),
            ..Default::default()
        };
        let mut conv = nn::conv2d(p, c_in, bias.len() as i64, 1, config);
        if let Some(variable) = conv.bs.as_mut() {
            tch::no_grad(|| variable.copy_(&Tensor::from_slice(bias)));
        }
        Self {
            conv,
            detached: None,
        }
    }

    /// From now on the last `n_attributes` of every `n_channels` channels teach this convolution
    /// alone, not the features below.
    pub(super) fn detach(&mut self, n_attributes: usize, n_channels: usize) {
        let c_out = self.conv.ws.size()[0] as usize;
        let mask: Vec<bool> = (0..c_out)
            .map(|channel| channel % n_channels >= n_channels - n_attributes)
            .collect();
        let mask = Tensor::from_slice(&mask).view([1, -1, 1, 1]);
        self.detached = Some(mask.to_kind(Kind::Bool).to_device(self.conv.ws.device()));
    }

    pub(super) fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        let weight = pass.weight(self.conv.ws.shallow_clone());
        let bias = self.conv.bs.as_ref();
        let answer = |x: &Tensor| x.conv2d(&weight, bias, [1; 2], [0; 2], [1; 2], 1);
        let y = answer(x);
        match &self.detached {
            Some(mask) if pass.train => answer(&x.detach()).where_self(mask, &y),
            _ => y,
        }
    }
}
