//! Binary cross-entropy on logits with the choices of [`LossOptions`](super::LossOptions).

use tch::{Reduction, Tensor};

/// Share of the positive side in the focal loss (attridet.md, 8.3; RetinaNet's value).
const FOCAL_ALPHA: f64 = 0.25;

/// Weight of the positive side and focal exponent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Binary {
    pub(super) positive_weight: f64,
    pub(super) focal_gamma: f64,
}

impl Binary {
    /// Loss of every element; `truth` is 0..=1, of the shape of `logits`.
    pub(super) fn elements(&self, logits: &Tensor, truth: &Tensor) -> Tensor {
        let weight = (self.positive_weight != 1.0)
            .then(|| Tensor::from(self.positive_weight as f32).to_device(logits.device()));
        let loss = logits.binary_cross_entropy_with_logits(
            truth,
            None::<&Tensor>,
            weight.as_ref(),
            Reduction::None,
        );
        if self.focal_gamma == 0.0 {
            return loss;
        }
        let p = logits.sigmoid();
        let inverse = |t: &Tensor| t.neg() + 1.0;
        // Probability of, and weight for, the side that is true.
        let of_truth = truth * &p + inverse(truth) * inverse(&p);
        let alpha = truth * FOCAL_ALPHA + inverse(truth) * (1.0 - FOCAL_ALPHA);
        loss * alpha * inverse(&of_truth).pow_tensor_scalar(self.focal_gamma)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::floats;

    /// By hand: logit 0 and truth 1 cost ln 2, times 0.25 times 0.5^1.5 with the focal loss.
    #[test]
    fn an_unsure_positive_costs_little_with_the_focal_loss() {
        let (logits, truth) = (
            Tensor::from_slice(&[0.0_f32]),
            Tensor::from_slice(&[1.0_f32]),
        );
        let cost = |positive_weight, focal_gamma| {
            let binary = Binary {
                positive_weight,
                focal_gamma,
            };
            f64::from(floats(&binary.elements(&logits, &truth))[0])
        };
        let ln2 = std::f64::consts::LN_2;
        assert!((cost(1.0, 0.0) - ln2).abs() < 1e-6);
        assert!((cost(3.0, 0.0) - 3.0 * ln2).abs() < 1e-6);
        assert!((cost(1.0, 1.5) - ln2 * 0.25 * 0.5_f64.powf(1.5)).abs() < 1e-6);
    }
}
