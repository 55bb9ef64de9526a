//! Which class is it? Asked of the places that answer for a cell whose class is known; where it is not,
//! the cell may be asked to be of any.

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
    let binary = Binary {
        positive_weight: given.options.cls_pw,
        focal_gamma: given.options.fl_gamma,
    };
    // A single class is no question.
    let asked = known(answered, rows.device(), class).filter(|_| n_classes > 1);
    if let Some((index, classes)) = asked {
        let logits = rows.index_select(0, &index).narrow(1, 5, n_classes);
        let truth = classes.one_hot(n_classes).to_kind(Kind::Float);
        let smoothing = given.options.label_smoothing;
        let smoothed = truth * (1.0 - smoothing) + 0.5 * smoothing;
        let elements = binary.elements(&logits, &smoothed);
        term.count = elements.numel() as i64;
        let weighted = match given.class_weights {
            Some(weights) => elements * weights.index_select(0, &classes).unsqueeze(1),
            None => elements,
        };
        term.sum = weighted.sum(Kind::Float);
    }
    let unsaid = |target: usize| given.targets[target].class.is_none().then_some(0);
    let asked = known(answered, rows.device(), unsaid)
        .filter(|_| n_classes > 1 && given.options.cls_any > 0.0);
    if let Some((index, _)) = asked {
        // The likeliest one: a finding's score is objectness times that, and must not stay low where
        // the picture alone is strange.
        let logits = rows.index_select(0, &index).narrow(1, 5, n_classes);
        let likeliest = logits.amax([1], false);
        let elements = binary.elements(&likeliest, &likeliest.ones_like());
        term.count += elements.numel() as i64;
        term.sum += elements.sum(Kind::Float) * given.options.cls_any;
    }
    term
}

#[cfg(test)]
mod tests {
    use shared::attribute::NO_ATTRIBUTES;
    use shared::geometry::Size;
    use shared::head::HeadSpec;

    use super::*;
    use crate::assign::Target;
    use crate::checkpoint::floats;
    use crate::loss::LossOptions;

    /// Gradients of two rows of three classes: the first is of class 1, the second's is unsaid.
    fn gradients(cls_any: f64) -> Vec<f32> {
        let spec = HeadSpec {
            levels: Default::default(),
            n_classes: 3,
            value_counts: Default::default(),
        };
        let target = |class| Target {
            image: 0,
            class,
            cxcywh: [0.5; 4],
            attributes: NO_ATTRIBUTES,
        };
        let options = LossOptions {
            cls_any,
            ..LossOptions::default()
        };
        let given = Given {
            spec: &spec,
            canvas: Size::new(32, 32),
            targets: &[target(Some(1)), target(None)],
            options: &options,
            class_weights: None,
            regions: None,
            teacher: None,
        };
        let logits = [[0.0_f32, 0.5, 1.0], [-1.0, 0.0, -2.0]];
        let rows: Vec<f32> = logits
            .iter()
            .flat_map(|l| [[0.0; 5].as_slice(), l].concat())
            .collect();
        let rows = Tensor::from_slice(&rows)
            .view([2, 8])
            .set_requires_grad(true);
        let term = term(&given, 1.0, &rows, &[0, 1]);
        assert_eq!(term.count, if cls_any > 0.0 { 4 } else { 3 });
        term.sum.backward();
        floats(&rows.grad())
    }

    #[test]
    fn a_cell_of_unsaid_class_teaches_no_class_and_where_asked_only_its_likeliest() {
        let silent = gradients(0.0);
        assert!(silent[5..8].iter().all(|&g| g != 0.0) && silent[8..].iter().all(|&g| g == 0.0));
        let asked = gradients(2.0);
        assert_eq!(asked[..8], silent[..8]);
        // Twice the gradient of -ln sigmoid(0).
        assert_eq!(asked[13..], [0.0, -1.0, 0.0]);
    }
}
