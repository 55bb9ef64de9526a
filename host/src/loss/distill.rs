//! What a larger network says of the same canvases, as truth beside the truth (distillation): objectness
//! everywhere, class and attributes where it sees a cell. Boxes are not taught: those of the truth are better.

use tch::{Kind, Tensor};

use super::Given;
use super::binary::Binary;
use super::objectness;
use super::term::{Part, Term};

/// Objectness from which on the teacher sees a cell: below, what it says of class and attributes is noise.
const SEEN_FROM: f64 = 0.1;

/// The terms of all levels; none where nobody teaches.
///
/// # Shapes
/// `heads[level]` and what the teacher says are `[batch, boxes * channels, grid, grid]`, raw.
pub(super) fn terms(given: &Given<'_>, heads: &[Tensor]) -> Vec<Term> {
    let Some(teacher) = given.teacher else {
        return Vec::new();
    };
    let levels = heads.iter().zip(teacher).enumerate();
    levels
        .flat_map(|(level, (head, said))| of_level(given, level, head, said))
        .collect()
}

fn of_level(given: &Given<'_>, level: usize, head: &Tensor, said: &Tensor) -> Vec<Term> {
    let spec = given.spec;
    let channels = spec.channels_per_anchor() as i64;
    let rows = |head: &Tensor| {
        let head = head.to_kind(Kind::Float);
        head.permute([0, 2, 3, 1]).reshape([-1, channels])
    };
    let (rows, said) = (rows(head), rows(said));
    let objectness = said.select(1, 4).sigmoid();
    let mut terms = vec![objectness::term(
        level,
        &rows.select(1, 4),
        &objectness,
        given.options,
    )];
    let seen = objectness.ge(SEEN_FROM).nonzero().view(-1);
    let (rows, said) = (rows.index_select(0, &seen), said.index_select(0, &seen));
    let n_classes = spec.n_classes as i64;
    terms.push(class(&rows, &said, n_classes));
    let mut first = 5 + n_classes;
    let share = 1.0 / spec.value_counts.len().max(1) as f64;
    for &values in &spec.value_counts {
        let values = i64::from(values);
        let of = |rows: &Tensor| rows.narrow(1, first, values);
        terms.push(Term {
            part: Part::Attribute,
            weight: share,
            sum: cross_entropy(&of(&rows), &of(&said)),
            count: seen.numel() as i64,
        });
        first += values;
    }
    for term in &mut terms {
        term.weight *= given.options.distill;
    }
    terms
}

/// Binary cross-entropy against the teacher's probabilities; a single class is no question.
fn class(rows: &Tensor, said: &Tensor, n_classes: i64) -> Term {
    let of = |rows: &Tensor| rows.narrow(1, 5, n_classes);
    let binary = Binary {
        positive_weight: 1.0,
        focal_gamma: 0.0,
    };
    let elements = binary.elements(&of(rows), &of(said).sigmoid());
    let asked = n_classes > 1;
    Term {
        part: Part::Class,
        weight: if asked { 1.0 } else { 0.0 },
        count: elements.numel() as i64,
        sum: elements.sum(Kind::Float),
    }
}

/// Sum over the rows of the cross-entropy of the values of an attribute against the teacher's.
fn cross_entropy(rows: &Tensor, said: &Tensor) -> Tensor {
    let wanted = said.softmax(1, Kind::Float);
    (wanted * rows.log_softmax(1, Kind::Float))
        .sum(Kind::Float)
        .neg()
}

#[cfg(test)]
mod tests {
    use shared::geometry::Size;
    use shared::head::{HeadLevel, HeadSpec};

    use super::*;
    use crate::checkpoint::floats;
    use crate::loss::LossOptions;

    /// One place, two classes, one attribute of two values.
    fn gradients(student: [f32; 9], teacher: [f32; 9], distill: f64) -> Vec<f32> {
        let level = HeadLevel {
            stride: 32,
            anchors: heapless::Vec::from_slice(&[[8.0, 8.0]]).unwrap(),
        };
        let spec = HeadSpec {
            levels: heapless::Vec::from_slice(&[level]).unwrap(),
            n_classes: 2,
            value_counts: heapless::Vec::from_slice(&[2]).unwrap(),
        };
        let options = LossOptions {
            distill,
            ..LossOptions::default()
        };
        let said = [Tensor::from_slice(&teacher).view([1, 9, 1, 1])];
        let given = Given {
            spec: &spec,
            canvas: Size::new(32, 32),
            targets: &[],
            options: &options,
            class_weights: None,
            regions: None,
            teacher: Some(&said),
        };
        let head = Tensor::from_slice(&student)
            .view([1, 9, 1, 1])
            .set_requires_grad(true);
        let terms = terms(&given, &[head.shallow_clone()]);
        let total: Tensor = terms.iter().map(|term| term.over(term.count as f64)).sum();
        total.backward();
        floats(&head.grad())
    }

    #[test]
    fn who_says_the_same_learns_nothing_and_no_box_is_taught() {
        let said = [9.0, 9.0, 9.0, 9.0, 1.0, 0.5, -1.0, 2.0, 0.0];
        let same = gradients(said, said, 1.0);
        assert!(same.iter().all(|g| g.abs() < 1e-6), "{same:?}");
        let other = gradients([0.0; 9], said, 1.0);
        assert_eq!(other[..4], [0.0; 4]);
        // Objectness at the coarsest level that there is weighs 4; sigmoid(0) - sigmoid(1).
        assert!(
            (other[4] - 4.0 * (0.5 - 0.731_058_6)).abs() < 1e-5,
            "{other:?}"
        );
        // The mean of two classes: half of sigmoid(0) - sigmoid(0.5).
        assert!(
            (other[5] - 0.5 * (0.5 - 0.622_459_3)).abs() < 1e-5,
            "{other:?}"
        );
        // softmax(0, 0) - softmax(2, 0).
        assert!((other[7] - (0.5 - 0.880_797_1)).abs() < 1e-5, "{other:?}");
        let twice = gradients([0.0; 9], said, 2.0);
        for (once, twice) in other.iter().zip(twice) {
            assert!((2.0 * once - twice).abs() < 1e-5);
        }
    }

    #[test]
    fn where_the_teacher_sees_no_cell_it_says_only_that() {
        let unseen = [0.0, 0.0, 0.0, 0.0, -5.0, 3.0, 3.0, 3.0, -3.0];
        let learned = gradients([0.0; 9], unseen, 1.0);
        assert!(learned[4] > 0.0);
        assert!(learned[5..].iter().all(|&g| g == 0.0), "{learned:?}");
    }
}
