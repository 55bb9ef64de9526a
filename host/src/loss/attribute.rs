//! What does the cell look like? Asked, per attribute, of the places that answer for a cell on which
//! it is known.

use tch::{Device, Kind, Reduction, Tensor};

use super::Given;
use super::term::{Part, Term};

/// Cross-entropy over the values of each attribute, one term an attribute; all attributes together
/// weigh `weight`.
///
/// # Shapes
/// `rows` `[n, channels]`, raw; `answered[row]` is the target that the row answers for.
pub(super) fn terms(
    given: &Given<'_>,
    weight: f64,
    rows: &Tensor,
    answered: &[usize],
) -> Vec<Term> {
    let counts = &given.spec.value_counts;
    let mut channel = 5 + given.spec.n_classes as i64;
    let mut out = Vec::with_capacity(counts.len());
    for (attribute, n_values) in counts.iter().map(|&n| i64::from(n)).enumerate() {
        let mut term = Term {
            part: Part::Attribute,
            weight: weight / counts.len() as f64,
            sum: Tensor::zeros([], (Kind::Float, rows.device())),
            count: 0,
        };
        let value =
            |target: usize| Some(given.targets[target].attributes[attribute]?.index() as i64);
        if let Some((index, values)) = known(answered, rows.device(), value) {
            let logits = rows.narrow(1, channel, n_values).index_select(0, &index);
            let (no_weights, no_label, no_smoothing) = (None::<&Tensor>, -100, 0.0);
            term.count = index.numel() as i64;
            term.sum = logits.cross_entropy_loss(
                &values,
                no_weights,
                Reduction::Sum,
                no_label,
                no_smoothing,
            );
        }
        out.push(term);
        channel += n_values;
    }
    out
}

/// Rows whose target `value` knows an answer of, and the answers; `None` when there is none.
pub(super) fn known(
    answered: &[usize],
    device: Device,
    value: impl Fn(usize) -> Option<i64>,
) -> Option<(Tensor, Tensor)> {
    let (rows, values): (Vec<i64>, Vec<i64>) = answered
        .iter()
        .enumerate()
        .filter_map(|(row, &target)| Some((row as i64, value(target)?)))
        .unzip();
    let tensor = |v: &[i64]| Tensor::from_slice(v).to_device(device);
    (!rows.is_empty()).then(|| (tensor(&rows), tensor(&values)))
}
