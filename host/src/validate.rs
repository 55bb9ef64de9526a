//! A split through the network and the score table.

mod judged;

use std::path::Path;

use shared::cell::Detection;
use shared::head::{HeadSpec, Thresholds};
use tch::Device;

use crate::assign::Target;
use crate::dataset::{Dataset, Sample};
use crate::detections::PictureFindings;
use crate::eval::{Answer, Canvases, EvalError, Evaluator, Pipeline, Speed, View};
use crate::loss::{Given, Regions, loss};
use crate::model::Detector;
use crate::picture::PictureError;
use crate::score::{ScoreError, ScoreOptions, ScoreReport, score_samples};
use crate::train::{Taught, TrainPlan};

pub use judged::{Judged, Judging, judge, name_of};

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
    /// Box, objectness, class, attribute, as the training weighs them; `None` on a split that is
    /// labelled in part only.
    pub losses: Option<[f64; 4]>,
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

    fn of(report: &ScoreReport, losses: Option<[f64; 4]>) -> Self {
        Self {
            precision: report.mean.precision,
            recall: report.mean.recall,
            map50: report.mean.yolov5_map50,
            map50_95: report.mean.yolov5_map50_95,
            cell_ap50: report.cell.yolov5.as_ref().map(|ap| ap.ap50),
            cell_ap50_95: report.cell.yolov5.as_ref().map(|ap| ap.ap50_95),
            attribute_f1: report.mean.attribute_macro_f1,
            losses,
        }
    }
}

/// Scores a network on `samples` with the thresholds of average precision, as training does after
/// an epoch.
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
    let pipeline = Pipeline::of(&evaluator, Thresholds::EVALUATION);
    let options = ScoreOptions::default();
    let mut loss = SplitLoss::new(network, head, plan, samples);
    let mut observe = |answer: &Answer, canvases: &Canvases| loss.add(answer, canvases);
    let (findings, _) = find_in_split(&pipeline, samples, &options, "", &mut observe)?;
    let (classes, schema) = (&data.classes, &data.schema);
    let report = score_samples(samples, &findings, classes, schema, &options)?;
    Ok(Validation::of(&report, loss.means()))
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
    let pipeline = Pipeline::of(evaluator, *thresholds);
    let options = ScoreOptions::default();
    let (findings, _) = find_in_split(&pipeline, samples, &options, model_sha256, &mut |_, _| ())?;
    let (classes, schema) = (&data.classes, &data.schema);
    Ok(score_samples(
        samples, &findings, classes, schema, &options,
    )?)
}

/// What is found on every picture of `samples`, in their order, and how fast.
///
/// A region attribute head describes what `options` will look at: what counts as a cell, and what
/// overlaps a cell in truth enough to be compared with it. `observe` sees every batch with what the
/// network says of it.
///
/// # Errors
/// The first picture that cannot be decoded or whose heads are not finite.
pub fn find_in_split(
    pipeline: &Pipeline<'_>,
    samples: &[&Sample],
    options: &ScoreOptions,
    model_sha256: &str,
    observe: &mut dyn FnMut(&Answer, &Canvases),
) -> Result<(Vec<PictureFindings>, Speed), ValidationError> {
    let images: Vec<&Path> = samples.iter().map(|s| s.image.as_path()).collect();
    let described = |picture: usize, found: &Detection| {
        let mut overlaps = samples[picture]
            .cells
            .iter()
            .map(|c| c.bbox.iou(&found.bbox));
        let enough = |iou: f32| match options.reference_matching {
            true => iou > 0.0,
            false => iou >= options.iou_min,
        };
        found.score.get() >= options.score_min || overlaps.any(enough)
    };
    let pipeline = Pipeline {
        described: &described,
        ..*pipeline
    };
    let mut findings = Vec::with_capacity(images.len());
    let speed = pipeline.run(&images, observe, |index, found| {
        let found = found?;
        findings.push(PictureFindings {
            image: images[index].to_string_lossy().into_owned(),
            size: found.size,
            model_sha256: model_sha256.to_owned(),
            thresholds: pipeline.thresholds,
            dropped: found.dropped,
            detections: found.detections,
        });
        Ok::<_, EvalError>(())
    })?;
    Ok((findings, speed))
}

/// The terms of the training loss on pictures as they are; means over the batches.
struct SplitLoss<'a> {
    network: &'a Detector,
    head: &'a HeadSpec,
    plan: &'a TrainPlan,
    samples: &'a [&'a Sample],
    sums: [f64; 4],
    batches: usize,
}

impl<'a> SplitLoss<'a> {
    fn new(
        network: &'a Detector,
        head: &'a HeadSpec,
        plan: &'a TrainPlan,
        samples: &'a [&'a Sample],
    ) -> Self {
        Self {
            network,
            head,
            plan,
            samples,
            sums: [0.0; 4],
            batches: 0,
        }
    }

    fn add(&mut self, answer: &Answer, canvases: &Canvases) {
        let targets = self.targets(canvases);
        let (head, plan) = (self.head, self.plan);
        let weights = plan.weights.scaled(head, plan.canvas);
        let heads = &answer.outputs.heads;
        let parts = tch::no_grad(|| {
            let taught = self.network.regions().map(|head| {
                let taught = Taught::of(&targets, plan.canvas, plan.attributes.regions_max);
                let logits = head.values(&answer.outputs.fine, &taught.regions, None);
                (head, taught, logits)
            });
            let given = Given {
                spec: head,
                canvas: plan.canvas,
                targets: &targets,
                options: &plan.loss,
                class_weights: None,
                regions: taught.as_ref().map(|(head, taught, logits)| Regions {
                    value_counts: head.value_counts(),
                    logits,
                    truths: &taught.truths,
                }),
                teacher: None,
            };
            loss(&given, heads, &weights).values()
        });
        self.sums
            .iter_mut()
            .zip(parts)
            .for_each(|(sum, value)| *sum += value);
        self.batches += 1;
    }

    fn targets(&self, canvases: &Canvases) -> Vec<Target> {
        let (width, height) = (
            self.plan.canvas.width as f32,
            self.plan.canvas.height as f32,
        );
        let of_view = |(image, view): (usize, &View)| {
            let (cells, fit) = (&self.samples[view.picture].cells, view.fit);
            cells.iter().filter_map(move |cell| {
                let [x0, y0, x1, y1] = fit.canvas_from_image(&cell.bbox)?.xyxy();
                Some(Target {
                    image,
                    class: cell.class.map(|class| class.0),
                    cxcywh: [
                        (x0 + x1) / 2.0 / width,
                        (y0 + y1) / 2.0 / height,
                        (x1 - x0) / width,
                        (y1 - y0) / height,
                    ],
                    attributes: cell.attributes,
                })
            })
        };
        canvases
            .views
            .iter()
            .enumerate()
            .flat_map(of_view)
            .collect()
    }

    /// `None` where a sample is labelled in part only: cells that nobody labelled would count as
    /// background, which training paints over.
    fn means(&self) -> Option<[f64; 4]> {
        let whole = self.samples.iter().all(|sample| sample.region.is_none());
        (whole && self.batches > 0).then(|| self.sums.map(|sum| sum / self.batches as f64))
    }
}

#[cfg(test)]
pub(crate) mod tests;
