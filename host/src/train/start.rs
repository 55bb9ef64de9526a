//! What a run begins with: its state, its prior boxes and the weights of its classes.

use tch::{Device, Kind, Tensor};

use super::{Balance, Progress, Start, TrainError, TrainPlan};
use crate::anchors::{Levels, check_anchors, sizes_on_canvas};
use crate::checkpoint::RunState;
use crate::dataset::{Dataset, Sample, Split, class_weights, fingerprint};
use crate::model::AttributeHead;

/// The state to begin with; a run to go on with must have been trained on this very data.
pub(super) fn state_of(
    data: &Dataset,
    plan: TrainPlan,
    start: &Start,
    tell: &mut impl FnMut(Progress<'_>),
) -> Result<RunState, TrainError> {
    let data_fingerprint = fingerprint(data)?;
    if let Start::Resume(from) = start {
        let trained_on = &from.run.data_fingerprint;
        if *trained_on != data_fingerprint {
            let reason = format!("it was trained on data {trained_on}, this is {data_fingerprint}");
            return Err(TrainError::Resume(reason));
        }
        return Ok(from.run.clone());
    }
    if plan.architecture.attributes == AttributeHead::Roi && data.schema.is_empty() {
        let name = data.name.clone();
        return Err(TrainError::NoAttributes { name });
    }
    let levels = match start {
        Start::Float(from) => from.run.levels.clone(),
        Start::Weights(given) | Start::Narrow(given) => match &given.levels {
            Some(levels) if same_boxes(levels, &plan.architecture.levels()) => levels.clone(),
            _ => levels_of(data, &plan, tell),
        },
        _ => levels_of(data, &plan, tell),
    };
    Ok(RunState {
        version: RunState::version(),
        software: format!("leuko-host {}", env!("CARGO_PKG_VERSION")),
        plan,
        classes: data.classes.clone(),
        schema: data.schema.clone(),
        levels,
        data_fingerprint,
        epochs_done: 0,
        ema_updates: 0,
        best: None,
        scaler: None,
    })
}

/// Whether as many boxes answer at the same strides: weights of one head are no use to another kind.
fn same_boxes(a: &Levels, b: &Levels) -> bool {
    let shape = |levels: &Levels| -> Vec<_> {
        levels
            .iter()
            .map(|level| (level.stride, level.anchors.len()))
            .collect()
    };
    shape(a) == shape(b)
}

/// The family's outputs, with prior boxes made for the training cells where the family's fit them
/// badly and the plan allows it.
fn levels_of(data: &Dataset, plan: &TrainPlan, tell: &mut impl FnMut(Progress<'_>)) -> Levels {
    let levels = plan.architecture.levels();
    let has_anchors = levels.iter().any(|level| !level.anchors.is_empty());
    if !has_anchors || !plan.autoanchor {
        return levels;
    }
    let samples: Vec<&Sample> = data.split(Split::Train).collect();
    let sizes = sizes_on_canvas(&samples, plan.fit, plan.canvas);
    let check = check_anchors(&sizes, &levels, plan.loss.anchor_t, plan.seed);
    tell(Progress::Anchors { check: &check });
    check.levels.unwrap_or(levels)
}

/// How much each class counts in the loss, `[classes]`; `None` = all the same.
pub(super) fn class_weights_of(data: &Dataset, plan: &TrainPlan, device: Device) -> Option<Tensor> {
    if plan.balance != Balance::Weights {
        return None;
    }
    let samples: Vec<&Sample> = data.split(Split::Train).collect();
    let weights = class_weights(&samples, data.classes.len());
    Some(
        Tensor::from_slice(&weights)
            .to_kind(Kind::Float)
            .to_device(device),
    )
}
