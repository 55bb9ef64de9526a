//! The loss of a head without prior boxes, over the places of all levels together.
//!
//! Objectness shall be the overlap of the place's own box, as with the anchor-based head: the score
//! of a detection then means the same for both, also where a cell's class is unknown.

use shared::head::SIDE_LOGIT_MAX;
use tch::{Kind, Tensor};

use super::term::{Part, Term};
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
    objectness::write_truth(&mut truth, &answered.index, &overlap.detach());
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
        let index = Tensor::from_slice(index).to_device(flat.device());
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
