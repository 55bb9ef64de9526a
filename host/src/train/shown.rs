//! Training pictures as they are, shown to a network before its first step.

use tch::{Device, Tensor};

use super::{TrainError, TrainPlan};
use crate::dataset::{Dataset, Sample, Split};
use crate::eval::lay;
use crate::model::{Detector, channels_last, scaled};
use crate::picture::Picture;
use crate::quantize::spaced;

/// Pictures that batch norms are settled on, at once.
const SETTLED: usize = 32;

/// `n` pictures of the train split, the same share of all its parts, in batches: `[batch, 3, height, width]`
/// (0..=1) each.
pub(super) fn shown(
    data: &Dataset,
    plan: &TrainPlan,
    device: Device,
    n: usize,
    batch: usize,
) -> impl Iterator<Item = Result<Tensor, TrainError>> {
    let samples: Vec<&Sample> = data.split(Split::Train).collect();
    let chosen: Vec<&Sample> = spaced(samples.len(), n).map(|at| samples[at]).collect();
    let batches: Vec<Vec<&Sample>> = chosen.chunks(batch).map(<[_]>::to_vec).collect();
    batches.into_iter().map(move |samples| {
        let mut canvases = Vec::new();
        for Sample { image, .. } in samples {
            let (_, canvas) = lay(&Picture::open(image)?, image, plan.fit, plan.canvas)?;
            canvases.extend(canvas);
        }
        let (height, width) = (i64::from(plan.canvas.height), i64::from(plan.canvas.width));
        let canvases = Tensor::from_slice(&canvases).view([-1, 3, height, width]);
        Ok(scaled(&channels_last(&canvases.to_device(device))))
    })
}

/// Gives batch norms that were folded away statistics of training pictures; the network stays the same
/// function.
pub(super) fn settle(
    network: &Detector,
    data: &Dataset,
    plan: &TrainPlan,
    device: Device,
) -> Result<(), TrainError> {
    for canvases in shown(data, plan, device, SETTLED, SETTLED) {
        network.settle(&canvases?);
    }
    Ok(())
}
