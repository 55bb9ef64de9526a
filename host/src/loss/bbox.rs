//! Complete IoU between the boxes that places of the head say and their targets.

use shared::head::HeadLevel;
use tch::{Device, Tensor};

use super::term::sent;
use crate::assign::anchor::Positive;

/// CIoU of every row with its target, about -1..=1 (attridet.md, 8.3).
///
/// # Shapes
/// `rows` `[n, channels]`, raw → `[n]`.
pub(super) fn anchored(rows: &Tensor, found: &[Positive], level: &HeadLevel) -> Tensor {
    let stride = f32::from(level.stride);
    let priors: Vec<f32> = found
        .iter()
        .flat_map(|p| level.anchors[p.anchor].map(|side| side / stride))
        .collect();
    let truth: Vec<f32> = found.iter().flat_map(|p| p.cxcywh).collect();
    let centre = rows.narrow(1, 0, 2).sigmoid() * 2.0 - 0.5;
    let size = (rows.narrow(1, 2, 2).sigmoid() * 2.0).square() * matrix(&priors, 2, rows.device());
    let said = Tensor::cat(&[centre, size], 1);
    ciou(&said, &matrix(&truth, 4, rows.device()))
}

/// Rows of `width` numbers each, on a device.
pub(super) fn matrix(values: &[f32], width: i64, device: Device) -> Tensor {
    sent(values, device).view([-1, width])
}

/// CIoU of boxes given by centre and size in one unit; no gradient through alpha.
///
/// # Shapes
/// `[n, 4]` each → `[n]`.
pub(super) fn ciou(said: &Tensor, truth: &Tensor) -> Tensor {
    let (centre, size) = (&said.narrow(1, 0, 2), &said.narrow(1, 2, 2));
    let (other_centre, other_size) = (&truth.narrow(1, 0, 2), &truth.narrow(1, 2, 2));
    const EPS: f64 = 1e-7;
    let column = |t: &Tensor, at: i64| t.select(1, at);
    let low = |c: &Tensor, s: &Tensor, at| column(c, at) - column(s, at) / 2.0;
    let high = |c: &Tensor, s: &Tensor, at| column(c, at) + column(s, at) / 2.0;
    let overlap = |axis| {
        let high = high(centre, size, axis).minimum(&high(other_centre, other_size, axis));
        let low = low(centre, size, axis).maximum(&low(other_centre, other_size, axis));
        (high - low).clamp_min(0.0)
    };
    let span = |axis| {
        let high = high(centre, size, axis).maximum(&high(other_centre, other_size, axis));
        let low = low(centre, size, axis).minimum(&low(other_centre, other_size, axis));
        (high - low).square()
    };
    let shared_area = overlap(0) * overlap(1);
    let diagonal = span(0) + span(1) + EPS;
    let (w1, h1) = (column(size, 0), column(size, 1));
    let (w2, h2) = (column(other_size, 0), column(other_size, 1));
    let union = &w1 * &h1 + &w2 * &h2 - &shared_area + EPS;
    let iou = shared_area / union;
    let distance = (centre - other_centre)
        .square()
        .sum_dim_intlist([1i64].as_slice(), false, None);
    let shape = (4.0 / std::f64::consts::PI.powi(2))
        * ((&w2 / (&h2 + EPS)).atan() - (&w1 / (&h1 + EPS)).atan()).square();
    let alpha = tch::no_grad(|| &shape / (&shape - &iou + (1.0 + EPS)));
    iou - (distance / diagonal + shape * alpha)
}
