//! What the attributes cost, whichever head says them: unknown ones cost nothing.

use serde::{Deserialize, Serialize};
use shared::attribute::Attributes;
use tch::{Kind, Reduction, Tensor};

use super::asymmetric;
use super::term::{Part, Term, sent};

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

/// The terms of `logits` where `truths` are known; all together weigh `weight`.
///
/// Cross-entropy has a term an attribute, over the rows that know it; the asymmetric loss is one term
/// over the rows that know any.
///
/// # Shapes
/// `logits` `[rows, sum of value_counts]`; one truth a row.
pub(super) fn terms(
    kind: AttributeLoss,
    weight: f64,
    value_counts: &[u8],
    logits: &Tensor,
    truths: &[Attributes],
) -> Vec<Term> {
    let term = |weight: f64, (sum, count): (Tensor, usize)| Term {
        part: Part::Attribute,
        weight,
        sum,
        count: count as i64,
    };
    match kind {
        AttributeLoss::CrossEntropy => {
            let weight = weight / value_counts.len().max(1) as f64;
            let sums = cross_entropies(value_counts, logits, truths);
            sums.into_iter().map(|sum| term(weight, sum)).collect()
        }
        AttributeLoss::Asymmetric => {
            vec![term(weight, asymmetric_sum(value_counts, logits, truths))]
        }
    }
}

/// Stands for a value that nobody said: such rows cost nothing.
const UNKNOWN: i64 = -100;

/// Per attribute the sum over the rows that know it, and how many those are.
fn cross_entropies(
    value_counts: &[u8],
    logits: &Tensor,
    truths: &[Attributes],
) -> Vec<(Tensor, usize)> {
    let value = |truth: &Attributes, attribute: usize| {
        truth[attribute].map_or(UNKNOWN, |value| value.index() as i64)
    };
    let of = |attribute: usize| truths.iter().map(move |truth| value(truth, attribute));
    let values: Vec<i64> = (0..value_counts.len()).flat_map(of).collect();
    let on_device = sent(&values, logits.device());
    let mut first = 0;
    let mut sums = Vec::with_capacity(value_counts.len());
    for (attribute, &count) in value_counts.iter().enumerate() {
        let count = i64::from(count);
        let rows = attribute * truths.len()..(attribute + 1) * truths.len();
        let known = values[rows.clone()]
            .iter()
            .filter(|&&v| v != UNKNOWN)
            .count();
        let sum = if known == 0 {
            zero(logits)
        } else {
            let values = on_device.narrow(0, rows.start as i64, rows.len() as i64);
            let logits = logits.narrow(1, first, count);
            logits.cross_entropy_loss::<&Tensor>(&values, None, Reduction::Sum, UNKNOWN, 0.0)
        };
        sums.push((sum, known));
        first += count;
    }
    sums
}

fn asymmetric_sum(value_counts: &[u8], logits: &Tensor, truths: &[Attributes]) -> (Tensor, usize) {
    let (mut one_hot, mut mask) = (Vec::new(), Vec::new());
    for truth in truths {
        for (value, &n) in truth.iter().zip(value_counts) {
            let hot = |at| f32::from(value.is_some_and(|value| value.index() == at));
            one_hot.extend((0..usize::from(n)).map(hot));
            mask.extend((0..n).map(|_| f32::from(value.is_some())));
        }
    }
    let count = truths.iter().filter(|truth| knows_any(truth)).count();
    if count == 0 {
        return (zero(logits), 0);
    }
    let on = |v: &[f32]| sent(v, logits.device()).view_as(logits);
    let sum = (asymmetric::elements(logits, &on(&one_hot)) * on(&mask)).sum(Kind::Float);
    (sum, count)
}

fn zero(logits: &Tensor) -> Tensor {
    Tensor::zeros([], (Kind::Float, logits.device()))
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

    fn mean(terms: &[Term]) -> Tensor {
        terms.iter().map(|t| t.over(t.count as f64)).sum()
    }

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
            let terms = terms(kind, 1.0, &[2, 3], &logits, &truths);
            let counts: Vec<i64> = terms.iter().map(|term| term.count).collect();
            assert_eq!(
                counts.iter().sum::<i64>(),
                1,
                "{kind:?}: one row knows something"
            );
            mean(&terms).backward();
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
            let mean = mean(&terms(kind, 1.0, &[2, 3], &logits(), &truths));
            assert_eq!(mean.double_value(&[]), 0.0, "{kind:?}");
        }
    }

    /// By hand: `ln(1 + e^(0.5 + 1))` for the first row's value 1 of two, and
    /// `ln(e^-2 + e^0.25 + e^0.75) - 0.75` for the second row's value 2 of three; halved.
    #[test]
    fn cross_entropy_is_a_mean_over_the_attributes() {
        let truths = [truth([Some(1), None]), truth([None, Some(2)])];
        let terms = terms(
            AttributeLoss::CrossEntropy,
            1.0,
            &[2, 3],
            &logits(),
            &truths,
        );
        let first = (1.0 + 1.5_f64.exp()).ln();
        let second = ((-2.0_f64).exp() + 0.25_f64.exp() + 0.75_f64.exp()).ln() - 0.75;
        let mean = mean(&terms).double_value(&[]);
        assert!((mean - (first + second) / 2.0).abs() < 1e-6, "{mean}");
    }
}
