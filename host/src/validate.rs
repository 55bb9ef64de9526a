//! A split through the network and the score table.

use shared::cell::Cell;
use shared::head::{HeadSpec, Thresholds};
use tch::Device;

use crate::dataset::{Dataset, Sample};
use crate::detections::PictureFindings;
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
