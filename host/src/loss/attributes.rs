//! What the attributes cost, whichever head says them: unknown ones cost nothing.

use serde::{Deserialize, Serialize};
use shared::attribute::Attributes;
use tch::{Kind, Reduction, Tensor};

use super::asymmetric;

/// How the values of an attribute are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum AttributeLoss {
    /// Cross-entropy over the values of each attribute.
    #[default]
    CrossEntropy,
    /// The AttriDet reference's: every value for itself, against its being the true one.
    Asymmetric,
}

/// Sums over the rows of this process, and what they are to be divided by.
#[derive(Debug)]
pub struct AttributeTerms {
    /// Per term its sum and the rows that gave it; with none the sum is 0. A kind and a schema always
    /// have the same terms, so that processes can add theirs up.
    pub sums: Vec<(Tensor, usize)>,
    /// What the sum of the terms' means is divided by, above 0.
    pub divisor: f64,
    zero: Tensor,
}

impl AttributeTerms {
    /// The means of the terms, summed and divided: a scalar, 0 where nothing is known.
    pub fn mean(&self) -> Tensor {
        let means = self
            .sums
            .iter()
            .map(|(sum, count)| sum / (*count).max(1) as f64);
        means.fold(self.zero.shallow_clone(), |a, b| a + b) / self.divisor
    }
}

/// The loss of `logits` where `truths` are known.
///
/// Cross-entropy has a term an attribute, over the rows that know it, and is divided by the number of
/// attributes; the asymmetric loss is one term over the rows that know any.
///
/// # Shapes
/// `logits` `[rows, sum of value_counts]`; one truth a row.
pub fn attribute_terms(
    kind: AttributeLoss,
    value_counts: &[u8],
    logits: &Tensor,
    truths: &[Attributes],
) -> AttributeTerms {
    let (sums, divisor) = match kind {
        AttributeLoss::CrossEntropy => (
            cross_entropies(value_counts, logits, truths),
            value_counts.len().max(1) as f64,
        ),
        AttributeLoss::Asymmetric => (asymmetric_sum(value_counts, logits, truths), 1.0),
    };
    AttributeTerms {
        sums,
        divisor,
        zero: Tensor::zeros([], (Kind::Float, logits.device())),
    }
}

fn cross_entropies(
    value_counts: &[u8],
    logits: &Tensor,
    truths: &[Attributes],
) -> Vec<(Tensor, usize)> {
    let mut first = 0;
    let mut sums = Vec::with_capacity(value_counts.len());
    for (attribute, &count) in value_counts.iter().enumerate() {
        let count = i64::from(count);
        let known = |(row, truth): (usize, &Attributes)| {
            Some((row as i64, truth[attribute]?.index() as i64))
        };
        let (rows, values): (Vec<i64>, Vec<i64>) =
            truths.iter().enumerate().filter_map(known).unzip();
        let on = |v: &[i64]| Tensor::from_slice(v).to_device(logits.device());
        let sum = match rows.len() {
            0 => Tensor::zeros([], (Kind::Float, logits.device())),
            _ => logits
                .narrow(1, first, count)
                .index_select(0, &on(&rows))
                .cross_entropy_loss::<&Tensor>(&on(&values), None, Reduction::Sum, -100, 0.0),
        };
        sums.push((sum, rows.len()));
        first += count;
    }
    sums
}

fn asymmetric_sum(
    value_counts: &[u8],
    logits: &Tensor,
    truths: &[Attributes],
) -> Vec<(Tensor, usize)> {
    let (mut one_hot, mut mask) = (Vec::new(), Vec::new());
    let mut count = 0;
    for truth in truths {
        for (value, &n) in truth.iter().zip(value_counts) {
            let hot = |at| f32::from(value.is_some_and(|value| value.index() == at));
            one_hot.extend((0..usize::from(n)).map(hot));
            mask.extend((0..n).map(|_| f32::from(value.is_some())));
        }
        count += usize::from(knows_any(truth));
    }
    if count == 0 {
        return vec![(Tensor::zeros([], (Kind::Float, logits.device())), 0)];
    }
    let on = |v: &[f32]| {
        Tensor::from_slice(v)
            .view_as(logits)
            .to_device(logits.device())
    };
    let sum = (asymmetric::elements(logits, &on(&one_hot)) * on(&mask)).sum(Kind::Float);
    vec![(sum, count)]
}

/// Whether anything is known of a cell's morphology.
pub fn knows_any(truth: &Attributes) -> bool {
    truth.iter().any(Option::is_some)
}

#[cfg(test)]
mod tests {
    use shared::attribute::{NO_ATTRIBUTES, ValueId};

    use super::*;
    use crate::checkpoint::floats;

    const KINDS: [AttributeLoss; 2] = [AttributeLoss::CrossEntropy, AttributeLoss::Asymmetric];

    fn truth(values: [Option<usize>; 2]) -> Attributes {
        let mut truth = NO_ATTRIBUTES;
        for (slot, value) in truth.iter_mut().zip(values) {
            *slot = value.and_then(ValueId::new);
        }
        truth
    }

    fn logits() -> Tensor {
        let values = [0.5_f32, -1.0, 2.0, 0.0, -0.5, 1.5, 1.0, -2.0, 0.25, 0.75];
        Tensor::from_slice(&values)
            .view([2, 5])
            .set_requires_grad(true)
    }

    #[test]
    fn an_unknown_attribute_teaches_nothing_and_the_others_do() {
        for kind in KINDS {
            let logits = logits();
            let truths = [truth([Some(1), None]), truth([None, None])];
            let terms = attribute_terms(kind, &[2, 3], &logits, &truths);
            let counts: Vec<usize> = terms.sums.iter().map(|(_, count)| *count).collect();
            let expected: &[usize] = match kind {
                AttributeLoss::CrossEntropy => &[1, 0],
                AttributeLoss::Asymmetric => &[1],
            };
            assert_eq!(counts, expected, "{kind:?}: one row knows something");
            terms.mean().backward();
            let gradient = floats(&logits.grad());
            assert!(
                gradient[..2].iter().all(|&g| g != 0.0),
                "{kind:?}: {gradient:?}"
            );
            assert!(
                gradient[2..].iter().all(|&g| g == 0.0),
                "{kind:?}: {gradient:?}"
            );
        }
    }

    #[test]
    fn nothing_known_costs_nothing() {
        for kind in KINDS {
            let truths = [NO_ATTRIBUTES; 2];
            let mean = attribute_terms(kind, &[2, 3], &logits(), &truths).mean();
            assert_eq!(mean.double_value(&[]), 0.0, "{kind:?}");
        }
    }

    /// By hand: `ln(1 + e^(0.5 + 1))` for the first row's value 1 of two, and
    /// `ln(e^-2 + e^0.25 + e^0.75) - 0.75` for the second row's value 2 of three; halved.
    #[test]
    fn cross_entropy_is_a_mean_over_the_attributes() {
        let truths = [truth([Some(1), None]), truth([None, Some(2)])];
        let terms = attribute_terms(AttributeLoss::CrossEntropy, &[2, 3], &logits(), &truths);
        let first = (1.0 + 1.5_f64.exp()).ln();
        let second = ((-2.0_f64).exp() + 0.25_f64.exp() + 0.75_f64.exp()).ln() - 0.75;
        let mean = terms.mean().double_value(&[]);
        assert!((mean - (first + second) / 2.0).abs() < 1e-6, "{mean}");
    }
}
