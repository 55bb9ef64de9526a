//! Scales the loss so that gradients in fp16 do not vanish, and takes the scale out of them again.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// First scale: 2^16.
const FIRST: f64 = 65536.0;
/// Largest scale, so that its square stays a number of 32 bits.
const LARGEST: f64 = (1_u64 << 60) as f64;
/// After so many good steps the scale is doubled.
const GROW_AFTER: u32 = 2000;

/// The scale and how long it has been good; goes into a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GradScaler {
    scale: f64,
    good_steps: u32,
}

impl Default for GradScaler {
    fn default() -> Self {
        Self {
            scale: FIRST,
            good_steps: 0,
        }
    }
}

impl GradScaler {
    /// Factor of the loss now.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The loss to walk back from.
    pub fn scaled(&self, loss: &Tensor) -> Tensor {
        loss * self.scale
    }

    /// Divides gradients by the scale, in place; false when one of them is not finite.
    ///
    /// Costs one wait for the card. In a group of processes it must run after the gradients are
    /// summed: then every process finds the same.
    pub fn unscale(&self, gradients: &mut [Tensor]) -> bool {
        let Some(device) = gradients.first().map(Tensor::device) else {
            return true;
        };
        let number = |value: f64| Tensor::from(value).to_kind(Kind::Float).to_device(device);
        let mut not_finite = number(0.0);
        let inverse = number(1.0 / self.scale);
        tch::no_grad(|| {
            for gradient in gradients {
                gradient.internal_amp_non_finite_check_and_unscale(&mut not_finite, &inverse);
            }
        });
        not_finite.to_device(Device::Cpu).double_value(&[]) == 0.0
    }

    /// Follows a step: halves after one that was not finite, doubles after 2000 good ones.
    pub fn update(&mut self, finite: bool) {
        if !finite {
            self.scale /= 2.0;
            self.good_steps = 0;
            return;
        }
        self.good_steps += 1;
        if self.good_steps == GROW_AFTER {
            self.scale = (self.scale * 2.0).min(LARGEST);
            self.good_steps = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_come_back_as_if_nothing_had_been_scaled() {
        let scaler = GradScaler::default();
        let weight = Tensor::from_slice(&[1.0_f32, -2.0, 3.0]).set_requires_grad(true);
        scaler
            .scaled(&(&weight * &weight).sum(Kind::Float))
            .backward();
        assert_eq!(weight.grad().double_value(&[2]), 6.0 * 65536.0);
        assert!(scaler.unscale(&mut [weight.grad()]));
        let gradient = Vec::<f32>::try_from(weight.grad()).expect("three numbers");
        assert_eq!(gradient, [2.0, -4.0, 6.0]);
    }

    #[test]
    fn one_number_that_is_none_spoils_the_step() {
        let scaler = GradScaler::default();
        for bad in [f32::INFINITY, f32::NAN] {
            let good = Tensor::from_slice(&[1.0_f32; 4]);
            assert!(!scaler.unscale(&mut [good, Tensor::from_slice(&[0.0, bad])]));
        }
        assert!(scaler.unscale(&mut []));
    }

    #[test]
    fn the_scale_halves_at_once_and_doubles_after_2000_good_steps() {
        let mut scaler = GradScaler::default();
        scaler.update(false);
        assert_eq!(scaler.scale(), 32768.0);
        for _ in 0..1999 {
            scaler.update(true);
        }
        assert_eq!(scaler.scale(), 32768.0);
        scaler.update(true);
        assert_eq!(scaler.scale(), 65536.0);
    }

    #[test]
    fn a_checkpoint_holds_the_scale_and_the_good_steps() {
        let mut scaler = GradScaler::default();
        scaler.update(false);
        scaler.update(true);
        let text = serde_json::to_string(&scaler).expect("numbers");
        assert_eq!(text, r#"{"scale":32768.0,"good_steps":1}"#);
        let back: GradScaler = serde_json::from_str(&text).expect("what was written");
        assert_eq!(back, scaler);
    }
}
