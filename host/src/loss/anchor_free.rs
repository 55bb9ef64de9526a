//! The loss of a head without prior boxes, over the places of all levels together.
//!
//! Objectness shall be 1 where a place answers, not the overlap of its box as with the anchor-based
//! head: few places answer, and they are chosen because their boxes are good already.

use shared::head::SIDE_LOGIT_MAX;
use tch::{Kind, Tensor};

use super::term::{Part, Term, sent};
use super::{Given, bbox, class, objectness};
use crate::assign::centre::{Places, answers, candidates};
use crate::checkpoint::floats;

/// The rows of all heads and which of them answer for which cells.
struct Answered {
    /// Of the answering places `[n, channels]`, raw.
    rows: Tensor,
    /// Their positions in `[batch, places]`, flattened.
    index: Vec<i64>,
    /// Their numbers among the places.
    places: Vec<usize>,
    /// The targets they answer for.
    targets: Vec<usize>,
}

/// The terms of all levels: one each for box and class and per attribute, one a level for objectness.
///
/// # Shapes
/// `heads[level]` is `[batch, channels, grid, grid]`, raw.
pub(super) fn terms(given: &Given<'_>, heads: &[Tensor]) -> Vec<Term> {
    let n_levels = heads.len() as f64;
    let places = Places::new(given.spec, given.canvas);
    let flat: Vec<Tensor> = heads
        .iter()
        .map(|head| head.to_kind(Kind::Float).flatten(2, -1))
        .collect();
    let flat = Tensor::cat(&flat, 2);
    let answered = answered(given, &places, &flat);
    let overlap = bbox::ciou(
        &said_boxes(&answered, &places),
        &true_boxes(given, &answered, &places),
    );
    let logits = flat.select(1, 4);
    let mut truth = Tensor::zeros(logits.size(), (Kind::Float, flat.device()));
    let certain = Tensor::ones([answered.index.len() as i64], (Kind::Float, flat.device()));
    objectness::write_truth(&mut truth, &answered.index, &certain);
    let Answered { rows, targets, .. } = &answered;
    let mut terms = vec![
        Term {
            part: Part::Bbox,
            weight: n_levels,
            sum: (overlap.neg() + 1.0).sum(Kind::Float),
            count: targets.len() as i64,
        },
        class::term(given, n_levels, rows, targets),
    ];
    terms.extend(given.attribute_terms(n_levels, rows, targets));
    let mut first = 0;
    for level in 0..heads.len() {
        let grid = given.spec.grid(level, given.canvas);
        let len = i64::from(grid.width) * i64::from(grid.height);
        let (logits, truth) = (logits.narrow(1, first, len), truth.narrow(1, first, len));
        terms.push(objectness::term(level, &logits, &truth, given.options));
        first += len;
    }
    terms
}

/// Asks the network about the candidates (one copy from the device) and gathers the rows of those
/// that answer.
///
/// # Shapes
/// `flat` `[batch, channels, places]`.
fn answered(given: &Given<'_>, places: &Places, flat: &Tensor) -> Answered {
    let &[n_images, channels, n_places] = &flat.size()[..] else {
        unreachable!("flattened heads have three dimensions")
    };
    let of_places = flat.transpose(1, 2).reshape([-1, channels]);
    let candidates = candidates(places, given.canvas, n_images as usize, given.targets);
    let flat_index = |&(image, place): &(usize, usize)| image as i64 * n_places + place as i64;
    let index: Vec<i64> = candidates.places.iter().map(flat_index).collect();
    let rows = |index: &[i64]| {
        let index = sent(index, flat.device());
        of_places.index_select(0, &index)
    };
    let to_classes = 5 + given.spec.n_classes as i64;
    let said = tch::no_grad(|| floats(&rows(&index).narrow(1, 0, to_classes)));
    let answers = answers(places, given.canvas, given.targets, &candidates, &said);
    let index: Vec<i64> = answers.iter().map(|a| index[a.candidate]).collect();
    let place = |candidate: usize| candidates.places[candidate].1;
    Answered {
        rows: rows(&index),
        places: answers.iter().map(|a| place(a.candidate)).collect(),
        targets: answers.iter().map(|a| a.target).collect(),
        index,
    }
}

/// The boxes the answering places say, in strides; see [`shared::head::free_box`].
fn said_boxes(answered: &Answered, places: &Places) -> Tensor {
    let middle = |&number: &usize| {
        let place = places.at(number);
        [place.gx as f32 + 0.5, place.gy as f32 + 0.5]
    };
    let middles: Vec<f32> = answered.places.iter().flat_map(middle).collect();
    let middles = bbox::matrix(&middles, 2, answered.rows.device());
    let centre = answered.rows.narrow(1, 0, 2) + middles;
    let size = answered.rows.narrow(1, 2, 2);
    let size = size.clamp_max(f64::from(SIDE_LOGIT_MAX)).exp();
    Tensor::cat(&[centre, size], 1)
}

/// The boxes of the targets they answer for, in strides of the answering place.
fn true_boxes(given: &Given<'_>, answered: &Answered, places: &Places) -> Tensor {
    let (width, height) = (given.canvas.width as f32, given.canvas.height as f32);
    let pairs = answered.targets.iter().zip(&answered.places);
    let in_strides = |(&target, &number): (&usize, &usize)| {
        let stride = f32::from(places.at(number).stride);
        let [cx, cy, w, h] = given.targets[target].cxcywh;
        let (across, down) = (width / stride, height / stride);
        [cx * across, cy * down, w * across, h * down]
    };
    let boxes: Vec<f32> = pairs.flat_map(in_strides).collect();
    bbox::matrix(&boxes, 4, answered.rows.device())
}

#[cfg(test)]
mod tests {
    use shared::attribute::{NO_ATTRIBUTES, ValueId};
    use shared::geometry::Size;
    use shared::head::{HeadLevel, HeadSpec};

    use super::super::{LossOptions, LossWeights, loss};
    use super::*;
    use crate::assign::Target;

    const CANVAS: Size = Size::new(32, 32);
    const LN2: f64 = std::f64::consts::LN_2;

    /// Grids of 4 x 4 and 2 x 2, two classes, one attribute of two values: 9 channels.
    fn spec() -> HeadSpec {
        let level = |stride| HeadLevel {
            stride,
            anchors: Default::default(),
        };
        HeadSpec {
            levels: [level(8), level(16)].into_iter().collect(),
            n_classes: 2,
            value_counts: [2].into_iter().collect(),
        }
    }

    /// A cell of 8 x 8 pixels on the place in column 1 and row 1 of the finer grid.
    fn cell(class: Option<u8>, value: Option<usize>) -> Target {
        let mut attributes = NO_ATTRIBUTES;
        attributes[0] = value.and_then(ValueId::new);
        Target {
            image: 0,
            class,
            cxcywh: [12.0 / 32.0, 12.0 / 32.0, 8.0 / 32.0, 8.0 / 32.0],
            attributes,
        }
    }

    /// Every logit 0; the four terms and the gradient of the finer head.
    fn judged(targets: &[Target]) -> ([f64; 4], Tensor) {
        let zeros = |side| Tensor::zeros([1, 9, side, side], (Kind::Float, tch::Device::Cpu));
        let heads = [4, 2].map(|side| zeros(side).set_requires_grad(true));
        let (spec, options) = (spec(), LossOptions::default());
        let given = Given {
            spec: &spec,
            canvas: CANVAS,
            targets,
            options: &options,
            class_weights: None,
            regions: None,
            teacher: None,
        };
        let weights = LossWeights {
            bbox: 1.0,
            objectness: 1.0,
            class: 1.0,
            attribute: 1.0,
        };
        let parts = loss(&given, &heads, &weights);
        parts.total().backward();
        (parts.values(), heads[0].grad())
    }

    fn assert_close(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() < 1e-5,
            "{found}, expected {expected}"
        );
    }

    /// The place says the cell's very box, so it answers alone (overlaps 1 and 0.25 of the coarser
    /// place: one answer). Every undecided question costs ln 2: objectness 4 + 1 times, as the levels
    /// are balanced, class and attribute once for each of two levels.
    #[test]
    fn a_cell_costs_what_was_worked_by_hand() {
        let ([bbox, objectness, class, attribute], gradient) = judged(&[cell(Some(1), Some(0))]);
        assert_close(bbox, 0.0);
        assert_close(objectness, 5.0 * LN2);
        assert_close(class, 2.0 * LN2);
        assert_close(attribute, 2.0 * LN2);
        let at = |channel, row, column| gradient.double_value(&[0, channel, row, column]);
        // 4 times a mean over 16 places of (1/2 - truth).
        assert_close(at(4, 1, 1), 4.0 * (0.5 - 1.0) / 16.0);
        assert_close(at(4, 2, 1), 4.0 * 0.5 / 16.0);
        // Twice a mean over two classes; twice a softmax.
        assert_close(at(5, 1, 1), 2.0 * 0.5 / 2.0);
        assert_close(at(6, 1, 1), 2.0 * -0.5 / 2.0);
        assert_close(at(7, 1, 1), 2.0 * -0.5);
        assert_close(at(8, 1, 1), 2.0 * 0.5);
        assert_close(at(5, 1, 2), 0.0);
    }

    #[test]
    fn what_is_unknown_of_a_cell_teaches_nothing() {
        let ([_, objectness, class, attribute], gradient) = judged(&[cell(None, None)]);
        assert_close(objectness, 5.0 * LN2);
        assert_eq!((class, attribute), (0.0, 0.0));
        let kinds = gradient.narrow(1, 5, 4).abs().max().double_value(&[]);
        assert_eq!(kinds, 0.0);
    }

    #[test]
    fn a_canvas_without_cells_teaches_objectness_alone() {
        let (values, gradient) = judged(&[]);
        assert_close(values[1], 5.0 * LN2);
        assert_eq!([values[0], values[2], values[3]], [0.0; 3]);
        let down = gradient.select(1, 4);
        assert_close(down.min().double_value(&[]), 4.0 * 0.5 / 16.0);
    }
}
