//! Is there a cell at this place? Asked of every place.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use super::LossOptions;
use super::binary::Binary;
use super::term::{Part, Term, sent};

/// Weight of the objectness of each level, finest first (attridet.md, 8.3).
const BALANCE: [f64; 3] = [4.0, 1.0, 0.4];

/// The term of a level; `truth` is 0..=1, of the shape of `logits`.
pub(super) fn term(level: usize, logits: &Tensor, truth: &Tensor, options: &LossOptions) -> Term {
    let binary = Binary {
        positive_weight: options.obj_pw,
        focal_gamma: options.fl_gamma,
    };
    Term {
        part: Part::Objectness,
        weight: BALANCE.get(level).copied().unwrap_or(1.0),
        sum: binary.elements(logits, truth).sum(Kind::Float),
        count: logits.numel() as i64,
    }
}

/// What objectness shall be at some places, not below 0; of several targets at one place the last
/// counts.
///
/// # Shapes
/// `index` are places in `truth`, flattened; `wanted` `[n]` has one value for each.
pub(super) fn write_truth(truth: &mut Tensor, index: &[i64], wanted: &Tensor) {
    if index.is_empty() {
        return;
    }
    let last: BTreeMap<i64, i64> = index
        .iter()
        .enumerate()
        .map(|(row, &place)| (place, row as i64))
        .collect();
    let places: Vec<i64> = last.keys().copied().collect();
    let rows: Vec<i64> = last.values().copied().collect();
    let device = truth.device();
    let values = wanted.clamp_min(0.0).index_select(0, &sent(&rows, device));
    let _ = truth
        .view(-1)
        .index_copy_(0, &sent(&places, device), &values);
}
