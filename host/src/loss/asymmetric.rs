//! The asymmetric loss of the AttriDet reference (attridet.md, 1.4): wrong values that are already held
//! for unlikely count for little or nothing.

use tch::Tensor;

/// Focal exponent of the values that are not the true one.
const GAMMA_NEGATIVE: f64 = 4.0;

/// Focal exponent of the true value.
const GAMMA_POSITIVE: f64 = 1.0;

/// Probability below which a value that is not the true one costs nothing.
const MARGIN: f64 = 0.08;

/// Least probability whose logarithm is taken.
const EPSILON: f64 = 1e-8;

/// Loss of every logit; the focal weight has no gradient.
///
/// # Shapes
/// `logits` and `truth` (0 or 1) of one shape, which is that of the result.
pub(super) fn elements(logits: &Tensor, truth: &Tensor) -> Tensor {
    let inverse = |t: &Tensor| t.neg() + 1.0;
    let other = inverse(truth);
    let p = logits.sigmoid();
    let q = (inverse(&p) + MARGIN).clamp_max(1.0);
    let cost = truth * p.clamp_min(EPSILON).log() + &other * q.clamp_min(EPSILON).log();
    let weight = tch::no_grad(|| {
        let of_truth = &p * truth + &q * &other;
        let exponent = truth * GAMMA_POSITIVE + &other * GAMMA_NEGATIVE;
        inverse(&of_truth).pow(&exponent)
    });
    (cost * weight).neg()
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::checkpoint::floats;
    use crate::loss::attributes::{AttributeLoss, terms};
    use shared::attribute::{NO_ATTRIBUTES, ValueId};

    /// `asymmetric_loss` of the golden numbers (`attributes.json`), by the formula of the AttriDet
    /// sources in PyTorch in float32: the sum over 4 cells of 6 attributes with 2 values, and its
    /// gradient.
    const SUM: f64 = 26.924833297729492;
    const DIVIDED: f64 = 6.731208324432373;
    const TRUTH: [[usize; 6]; 4] = [
        [0, 1, 1, 0, 0, 1],
        [1, 1, 0, 0, 1, 0],
        [0, 0, 0, 1, 1, 1],
        [1, 0, 1, 0, 1, 1],
    ];
    const GRADIENT: [[f64; 12]; 4] = [
        [
            -0.854038119,
            0.118090302,
            0.00412023347,
            -0.751751006,
            0.19640559,
            -0.191689402,
            -0.604195058,
            0.229136407,
            -0.0865624472,
            0.00161729369,
            4.969476564e-08,
            -0.0332790837,
        ],
        [
            0.000556458544,
            -0.837043762,
            0.135199428,
            -0.316042364,
            -0.725823581,
            0.207703143,
            -0.165920481,
            0.000164589903,
            0.228387907,
            -0.0723294839,
            -0.387455583,
            2.581101910e-07,
        ],
        [
            -0.102926292,
            0.000965345651,
            -0.818392515,
            0.152069613,
            -0.282183379,
            7.660586562e-06,
            0.216748938,
            -0.142536938,
            0.000308934512,
            -0.854038119,
            0.118090302,
            -0.351253748,
        ],
        [
            0.229136407,
            -0.0865624472,
            -0.424263209,
            4.969476564e-08,
            0.168201685,
            -0.25,
            -0.668428063,
            0.223372057,
            0.0564582385,
            -0.498132557,
            5.290281754e-11,
            -0.0495953448,
        ],
    ];

    /// `((13i + 29j) mod 41) / 8 - 2.5`
    fn logits() -> Tensor {
        let values: Vec<f32> = (0..48)
            .map(|at| ((13 * (at / 12) + 29 * (at % 12)) % 41) as f32 / 8.0 - 2.5)
            .collect();
        Tensor::from_slice(&values)
            .view([4, 12])
            .set_requires_grad(true)
    }

    #[test]
    fn sum_and_gradient_are_the_reference_s() {
        let logits = logits();
        let truths = TRUTH.map(|values| {
            let mut truth = NO_ATTRIBUTES;
            for (slot, value) in truth.iter_mut().zip(values) {
                *slot = ValueId::new(value);
            }
            truth
        });
        let terms = terms(AttributeLoss::Asymmetric, 1.0, &[2; 6], &logits, &truths);
        let mean = terms[0].over(terms[0].count as f64).double_value(&[]);
        assert!((mean / DIVIDED - 1.0).abs() < 1e-4, "{mean}");
        let one_hot: Vec<f32> = TRUTH
            .iter()
            .flatten()
            .flat_map(|&value| [f32::from(value == 0), f32::from(value == 1)])
            .collect();
        let loss = elements(&logits, &Tensor::from_slice(&one_hot).view([4, 12]));
        let sum = loss.sum(Kind::Float);
        let got = sum.double_value(&[]);
        assert!((got / SUM - 1.0).abs() < 1e-4, "{got}");
        sum.backward();
        let gradient = floats(&logits.grad());
        for (at, (&got, &expected)) in gradient.iter().zip(GRADIENT.as_flattened()).enumerate() {
            let off = (f64::from(got) - expected).abs();
            assert!(
                off <= 1e-4 * expected.abs() + 1e-10,
                "{at}: {got} {expected}"
            );
        }
    }
}
