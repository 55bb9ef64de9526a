//! Which class is it? Asked of the places that answer for a cell whose class is known.

use tch::{Kind, Tensor};

use super::Given;
use super::binary::Binary;
use super::term::{Part, Term, known};

/// Binary cross-entropy of every class; a place counts as much as the class weights say of its class.
///
/// # Shapes
/// `rows` `[n, channels]`, raw; `answered[row]` is the target that the row answers for.
pub(super) fn term(given: &Given<'_>, weight: f64, rows: &Tensor, answered: &[usize]) -> Term {
    let mut term = Term {
        part: Part::Class,
        weight,
        sum: Tensor::zeros([], (Kind::Float, rows.device())),
        count: 0,
    };
    let n_classes = given.spec.n_classes as i64;
    let class = |target: usize| given.targets[target].class.map(i64::from);
    // A single class is no question.
    let asked = known(answered, rows.device(), class).filter(|_| n_classes > 1);
    if let Some((index, classes)) = asked {
        let logits = rows.index_select(0, &index).narrow(1, 5, n_classes);
        let truth = classes.one_hot(n_classes).to_kind(Kind::Float);
        let smoothing = given.options.label_smoothing;
        let smoothed = truth * (1.0 - smoothing) + 0.5 * smoothing;
        let binary = Binary {
            positive_weight: given.options.cls_pw,
            focal_gamma: given.options.fl_gamma,
        };
        let elements = binary.elements(&logits, &smoothed);
        term.count = elements.numel() as i64;
        let weighted = match given.class_weights {
            Some(weights) => elements * weights.index_select(0, &classes).unsqueeze(1),
            None => elements,
        };
        term.sum = weighted.sum(Kind::Float);
    }
    term
}
