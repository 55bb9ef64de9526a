//! The loss of a head with prior boxes: YOLOv5's (attridet.md, 8.3), level by level.

use tch::{Kind, Tensor};

use super::term::{Part, Term, sent};
use super::{Given, bbox, class, objectness};
use crate::assign::anchor::{Positive, positives};

/// The terms of all levels.
///
/// # Shapes
/// `heads[level]` is `[batch, anchors * channels, grid, grid]`, raw.
pub(super) fn terms(given: &Given<'_>, heads: &[Tensor]) -> Vec<Term> {
    heads
        .iter()
        .enumerate()
        .flat_map(|(level, head)| of_level(given, level, head))
        .collect()
}

fn of_level(given: &Given<'_>, level: usize, head: &Tensor) -> Vec<Term> {
    let Given { spec, canvas, .. } = *given;
    let channels = spec.channels_per_anchor() as i64;
    let grid = spec.grid(level, canvas);
    let (gh, gw) = (i64::from(grid.height), i64::from(grid.width));
    let anchors = spec.levels[level].boxes() as i64;
    let head = head.to_kind(Kind::Float);
    // A row a prior box: no copy where the network has computed with the channels innermost.
    let all = head.permute([0, 2, 3, 1]).reshape([-1, channels]);
    let logits = all.select(1, 4);
    let mut truth = Tensor::zeros(logits.size(), (Kind::Float, head.device()));
    let found = positives(spec, level, canvas, given.targets, given.options.anchor_t);
    let index = flat_indices(&found, [gh, gw, anchors]);
    let rows = all.index_select(0, &sent(&index, head.device()));
    let overlap = bbox::anchored(&rows, &found, &spec.levels[level]);
    objectness::write_truth(&mut truth, &index, &overlap.detach());
    let answered: Vec<usize> = found.iter().map(|positive| positive.target).collect();
    let mut terms = vec![
        Term {
            part: Part::Bbox,
            weight: 1.0,
            sum: (overlap.neg() + 1.0).sum(Kind::Float),
            count: found.len() as i64,
        },
        objectness::term(level, &logits, &truth, given.options),
        class::term(given, 1.0, &rows, &answered),
    ];
    terms.extend(given.attribute_terms(1.0, &rows, &answered));
    terms
}

/// Positions in `[batch, gh, gw, anchors]`, flattened.
fn flat_indices(found: &[Positive], [gh, gw, anchors]: [i64; 3]) -> Vec<i64> {
    let flat = |p: &Positive| {
        ((p.image as i64 * gh + p.gy as i64) * gw + p.gx as i64) * anchors + p.anchor as i64
    };
    found.iter().map(flat).collect()
}
