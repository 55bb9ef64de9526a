//! A split through the network and the score table.

use shared::head::{HeadSpec, Thresholds};
use tch::Device;

use crate::dataset::{Dataset, Sample};
use crate::detections::PictureFindings;
use crate::eval::{EvalError, Evaluator};
use crate::model::Detector;
use crate::picture::{Picture, PictureError};
use crate::score::{ScoreError, ScoreOptions, ScoreReport, score_samples};
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
    /// The score table.
    #[error(transparent)]
    Score(#[from] ScoreError),
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
    /// Any white cell, whatever its class.
    pub cell_ap50_95: Option<f64>,
    /// Mean over the attributes, end to end with misses counted.
    pub attribute_f1: Option<f64>,
}

impl Validation {
    /// What the best epoch is chosen by: a tenth mAP50 and nine tenths mAP50-95 as the reference has
    /// it, over the classes where they are known, else over any white cell; where attributes are
    /// labelled their macro-F1 counts as much.
    pub fn fitness(&self) -> f64 {
        let detection = 0.1 * self.map50.or(self.cell_ap50).unwrap_or(0.0)
            + 0.9 * self.map50_95.or(self.cell_ap50_95).unwrap_or(0.0);
        self.attribute_f1
            .map_or(detection, |f1| (detection + f1) / 2.0)
    }

    fn of(report: &ScoreReport) -> Self {
        Self {
            precision: report.mean.precision,
            recall: report.mean.recall,
            map50: report.mean.yolov5_map50,
            map50_95: report.mean.yolov5_map50_95,
            cell_ap50: report.cell.yolov5.as_ref().map(|ap| ap.ap50),
            cell_ap50_95: report.cell.yolov5.as_ref().map(|ap| ap.ap50_95),
            attribute_f1: report.mean.attribute_macro_f1,
        }
    }
}

/// Scores a network on `samples` with the thresholds of average precision.
///
/// # Errors
/// A picture that cannot be decoded, heads that are not finite, or truth that cannot be scored.
pub fn validate(
    network: &Detector,
    head: &HeadSpec,
    plan: &TrainPlan,
    device: Device,
    samples: &[&Sample],
    data: &Dataset,
) -> Result<Validation, ValidationError> {
    let evaluator = Evaluator {
        network,
        head,
        fit: plan.fit,
        canvas: plan.canvas,
        device,
    };
    score_split(&evaluator, samples, data, &Thresholds::EVALUATION, "").map(|r| Validation::of(&r))
}

/// The whole score table of a network on `samples`; `model_sha256` is passed into it.
///
/// # Errors
/// As [`validate`].
pub fn score_split(
    evaluator: &Evaluator<'_>,
    samples: &[&Sample],
    data: &Dataset,
    thresholds: &Thresholds,
    model_sha256: &str,
) -> Result<ScoreReport, ValidationError> {
    let options = ScoreOptions::default();
    let mut findings = Vec::with_capacity(samples.len());
    for sample in samples {
        let image = sample.image.to_string_lossy().into_owned();
        let picture = Picture::open(&sample.image)?;
        let (cells, iou_min) = (&sample.cells, options.iou_min);
        let found = evaluator.detect_judged(&picture, &image, thresholds, cells, iou_min)?;
        findings.push(PictureFindings {
            image,
            size: found.size,
            model_sha256: model_sha256.to_owned(),
            thresholds: *thresholds,
            dropped: found.dropped,
            detections: found.detections,
        });
    }
    Ok(score_samples(
        samples,
        &findings,
        &data.classes,
        &data.schema,
        &options,
    )?)
}
