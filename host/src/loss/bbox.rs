//! Complete IoU between decoded places of the head and their targets.

use shared::head::HeadLevel;
use tch::Tensor;

use crate::assign::Positive;

/// CIoU of every row with its target, about -1..=1 (attridet.md, 8.3); no gradient through alpha.
///
/// # Shapes
/// `rows` `[n, channels]`, raw → `[n]`.
pub(super) fn ciou(rows: &Tensor, found: &[Positive], level: &HeadLevel) -> Tensor {
    let device = rows.device();
    let stride = f32::from(level.stride);
    let priors: Vec<f32> = found
        .iter()
        .flat_map(|p| level.anchors[p.anchor].map(|side| side / stride))
        .collect();
    let truth: Vec<f32> = found.iter().flat_map(|p| p.cxcywh).collect();
    let matrix = |values: &[f32], width| {
        Tensor::from_slice(values)
            .view([-1, width])
            .to_device(device)
    };
    let (priors, truth) = (matrix(&priors, 2), matrix(&truth, 4));
    let centre = rows.narrow(1, 0, 2).sigmoid() * 2.0 - 0.5;
    let size = (rows.narrow(1, 2, 2).sigmoid() * 2.0).square() * priors;
    ciou_of(
        &centre,
        &size,
        &truth.narrow(1, 0, 2),
        &truth.narrow(1, 2, 2),
    )
}

/// CIoU of boxes given by centre and size, `[n, 2]` each.
fn ciou_of(centre: &Tensor, size: &Tensor, other_centre: &Tensor, other_size: &Tensor) -> Tensor {
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
