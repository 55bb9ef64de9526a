//! Findings against truth: one table for a checkpoint, an ONNX file and the station alike.
//!
//! Everything that is measured comes from [`shared::metrics`]; here pictures are put together with
//! their findings, and the numbers get names. No file is opened: [`crate::detections`] reads.

mod counting;
mod curves;
mod details;
mod partners;
mod pictures;
mod precision;
mod report;
mod said;
mod table;

use shared::attribute::AttributeSchema;
use shared::cell::{Cell, Detection};
use shared::class::{ClassId, ClassTable};
use shared::detect::Dropped;
use shared::differential::ClassSet;
use shared::geometry::{BBox, Image, Size};
use shared::metrics::matching::{best_first, one_finding_a_cell};

use crate::dataset::Sample;
use crate::detections::PictureFindings;

pub use curves::{Curve, Curves};
pub use details::{AttributeConfusion, JudgedPicture, ScoreDetails, score_details};
pub use partners::{Partner, counted, partners};
pub use report::{
    AtThreshold, AttributeRow, AttributeScore, ClassRow, Coco, Confusion, Counts, Losses, Means,
    Proportion, ReliabilityRow, ScoreReport, Yolov5,
};
pub use said::{On, Said, SaidCells, said_of_samples};
pub(crate) use table::{aligned, class_rows, number, percent, signed};

/// A picture and the white cells on it.
#[derive(Clone, Copy, Debug)]
pub struct TruthPicture<'a> {
    /// Path of the picture, as absolute as is known.
    pub name: &'a str,
    /// Its size; a finding's picture of another size is refused.
    pub size: Size,
    /// What is on it.
    pub cells: &'a [Cell],
    /// The only part somebody labelled; findings whose centre lies outside are left out and counted.
    pub region: Option<BBox<Image>>,
}

/// How findings are judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreOptions {
    /// Least score of a finding that counts as a cell, 0..=1; average precision takes all.
    pub score_min: f32,
    /// Least overlap of a finding with its cell, above 0 and up to 1.
    pub iou_min: f32,
    /// Adds the attribute score by the AttriDet reference's matching: the finding of largest overlap,
    /// without a threshold, over all findings; cells with any unlabelled attribute and pictures
    /// without findings left out.
    pub reference_matching: bool,
}

impl Default for ScoreOptions {
    fn default() -> Self {
        Self {
            score_min: 0.25,
            iou_min: 0.5,
            reference_matching: false,
        }
    }
}

/// Why there is no score.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScoreError {
    /// Nothing to judge by.
    #[error("expected at least one picture with truth, found none")]
    NoTruth,
    /// The same picture twice.
    #[error("{what}: expected every picture once, found {name:?} twice")]
    Twice {
        /// `truth` or `findings`.
        what: &'static str,
        /// Which picture.
        name: String,
    },
    /// Findings of another picture of the same name.
    #[error("{name}: expected the findings of a picture of {expected}, found {found}")]
    Size {
        /// Which picture.
        name: String,
        /// Size of the picture of the data set.
        expected: Size,
        /// Size in the findings.
        found: Size,
    },
    /// A class that the table does not have.
    #[error("{name}: expected a class below {n_classes}, found {class}")]
    Class {
        /// Which picture.
        name: String,
        /// Classes of the table.
        n_classes: usize,
        /// The number.
        class: u8,
    },
    /// Limits that make no sense.
    #[error(
        "expected a least score in 0..=1 and a least overlap above 0 up to 1, found {score_min} and {iou_min}"
    )]
    Options {
        /// [`ScoreOptions::score_min`] as written.
        score_min: String,
        /// [`ScoreOptions::iou_min`] as written.
        iou_min: String,
    },
}

/// One picture, ready to be judged.
struct Judged<'a> {
    truths: &'a [Cell],
    /// All findings, best first.
    all: Vec<Detection>,
    /// Every cell once, best first (in a multi-label file a cell stands once per class).
    once: Vec<Detection>,
}

/// Scores `findings` against `truths`.
///
/// Pictures are put together by path: equal, else one the end of the other, else by a file name
/// that only one picture of each side has. A truth without findings counts as all missed; findings
/// without truth are not judged; both are listed.
///
/// # Errors
/// No truth, a picture that stands twice or has two sizes, a class outside `classes`, or options
/// outside their range.
pub fn score(
    truths: &[TruthPicture<'_>],
    findings: &[PictureFindings],
    classes: &ClassTable,
    schema: &AttributeSchema,
    options: &ScoreOptions,
) -> Result<ScoreReport, ScoreError> {
    check(truths, findings, classes, options)?;
    let matched = pictures::put_together(truths, findings)?;
    let mut losses = Losses::default();
    let judged: Vec<Judged<'_>> = truths
        .iter()
        .zip(&matched.findings_of_truth)
        .map(|(truth, found)| prepare(truth, found.map(|index| &findings[index]), &mut losses))
        .collect();

    let not_white = ClassSet::not_white_cells(classes);
    let average = precision::average_precision(&judged, classes, not_white);
    let counting = counting::count(&judged, classes, schema, not_white, options);
    let name = |index: usize| truths[index].name.to_owned();
    Ok(ScoreReport {
        pictures: truths.len(),
        missing: matched.without_findings().map(name).collect(),
        unjudged: matched
            .without_truth
            .iter()
            .map(|&index| findings[index].image.clone())
            .collect(),
        model_sha256: distinct(findings.iter().map(|f| f.model_sha256.clone())),
        thresholds: distinct(findings.iter().map(|f| f.thresholds)),
        losses,
        score_min: options.score_min,
        iou_min: options.iou_min,
        best_f1_confidence: average.best_f1_confidence,
        mean: report::means(&average, &counting),
        classes: report::class_rows(classes, &average, &counting),
        cell: report::cell_row(average.cell, &counting),
        confusion: counting.confusion,
        counts: counting.agreement,
        attributes: counting.attributes,
        reliability: counting.reliability,
    })
}

/// Scores findings against the samples of a data set; their pictures are known by their paths.
///
/// # Errors
/// As for [`score`].
pub fn score_samples(
    samples: &[&Sample],
    findings: &[PictureFindings],
    classes: &ClassTable,
    schema: &AttributeSchema,
    options: &ScoreOptions,
) -> Result<ScoreReport, ScoreError> {
    let names = names_of(samples);
    let truths = truths_of(samples, &names);
    score(&truths, findings, classes, schema, options)
}

/// [`partners`] of the samples of a data set.
///
/// # Errors
/// As for [`partners`].
pub fn partners_of_samples(
    samples: &[&Sample],
    findings: &[PictureFindings],
    schema: &AttributeSchema,
    options: &ScoreOptions,
) -> Result<Vec<Vec<Partner>>, ScoreError> {
    let names = names_of(samples);
    partners(&truths_of(samples, &names), findings, schema, options)
}

fn names_of(samples: &[&Sample]) -> Vec<String> {
    let name = |sample: &&Sample| sample.image.to_string_lossy().into_owned();
    samples.iter().map(name).collect()
}

fn truths_of<'a>(samples: &[&'a Sample], names: &'a [String]) -> Vec<TruthPicture<'a>> {
    let truth = |(sample, name): (&&'a Sample, &'a String)| TruthPicture {
        name,
        size: sample.size,
        cells: &sample.cells,
        region: sample.region,
    };
    samples.iter().zip(names).map(truth).collect()
}

fn check(
    truths: &[TruthPicture<'_>],
    findings: &[PictureFindings],
    classes: &ClassTable,
    options: &ScoreOptions,
) -> Result<(), ScoreError> {
    let legal =
        (0.0..=1.0).contains(&options.score_min) && options.iou_min > 0.0 && options.iou_min <= 1.0;
    if !legal {
        return Err(ScoreError::Options {
            score_min: options.score_min.to_string(),
            iou_min: options.iou_min.to_string(),
        });
    }
    if truths.is_empty() {
        return Err(ScoreError::NoTruth);
    }
    let in_table = |name: &str, class: ClassId| {
        if class.index() < classes.len() {
            return Ok(());
        }
        Err(ScoreError::Class {
            name: name.to_owned(),
            n_classes: classes.len(),
            class: class.0,
        })
    };
    for truth in truths {
        let classes = truth.cells.iter().filter_map(|cell| cell.class);
        classes
            .into_iter()
            .try_for_each(|c| in_table(truth.name, c))?;
    }
    for picture in findings {
        let classes = picture.detections.iter().map(|found| found.class);
        classes
            .into_iter()
            .try_for_each(|c| in_table(&picture.image, c))?;
    }
    Ok(())
}

/// The findings of a picture, sorted, inside its labelled part, and each cell once.
fn prepare<'a>(
    truth: &TruthPicture<'a>,
    found: Option<&PictureFindings>,
    losses: &mut Losses,
) -> Judged<'a> {
    let mut all = Vec::new();
    let mut once = Vec::new();
    if let Some(found) = found {
        losses.add(found.dropped);
        let inside = |detection: &&Detection| {
            let (x, y) = detection.bbox.centre();
            truth.region.is_none_or(|part| {
                (part.x0()..part.x1()).contains(&x) && (part.y0()..part.y1()).contains(&y)
            })
        };
        all = found.detections.iter().filter(inside).copied().collect();
        losses.outside_region += (found.detections.len() - all.len()) as u64;
        all.sort_by(best_first);
        once = all.clone();
        if !found.thresholds.across_classes {
            let mut kept = vec![0; all.len()];
            let n = one_finding_a_cell(&all, found.thresholds.iou, &mut kept);
            once = kept[..n].iter().map(|&index| all[index]).collect();
            losses.same_cell += (all.len() - n) as u64;
        }
    }
    Judged {
        truths: truth.cells,
        all,
        once,
    }
}

/// Every value once, in the order of the first.
fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut out = Vec::new();
    for value in values {
        if !out.contains(&value) {
            out.push(value);
        }
    }
    out
}

impl Losses {
    fn add(&mut self, dropped: Dropped) {
        self.candidates += u64::from(dropped.candidates);
        self.detections += u64::from(dropped.detections);
        self.outside_picture += u64::from(dropped.outside);
    }
}

#[cfg(test)]
mod tests;
