//! The numbers of a score, with their names; what `--json` writes.

use serde::Serialize;
use shared::attribute::{Attribute, ValueId};
use shared::class::ClassTable;
use shared::head::Thresholds;
use shared::interval::limits;
use shared::metrics::agreement::CountAgreement;
use shared::metrics::attributes::AttributeTally;
use shared::metrics::confusion::ClassCounts;
use shared::metrics::mean_of_defined;
use shared::metrics::reliability::Reliability;

use super::counting::Counting;
use super::precision::{Averages, ClassAverage};

/// Everything that was measured; `null` is "nothing to measure it on", never 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoreReport {
    /// Pictures with truth, all of them judged.
    pub pictures: usize,
    /// Pictures with truth that are not among the findings: all their cells count as missed.
    pub missing: Vec<String>,
    /// Pictures of the findings that have no truth: not judged.
    pub unjudged: Vec<String>,
    /// Hashes of the models that made the findings.
    pub model_sha256: Vec<String>,
    /// Thresholds the findings were made with.
    pub thresholds: Vec<Thresholds>,
    /// What was left out, by reason.
    pub losses: Losses,
    /// Least score of what counts as a cell (average precision takes all).
    pub score_min: f32,
    /// Least overlap of what counts as found.
    pub iou_min: f32,
    /// Confidence at which YOLOv5's precision, recall and F1 are read.
    pub best_f1_confidence: Option<f64>,
    /// Over the classes that have truth.
    pub mean: Means,
    /// In the order of the class table.
    pub classes: Vec<ClassRow>,
    /// Any white cell, also those of unsaid class.
    pub cell: ClassRow,
    /// Rows truth, columns found, the last "no cell".
    pub confusion: Confusion,
    /// White cells a picture, found against truth.
    pub counts: Counts,
    /// In the order of the schema.
    pub attributes: Vec<AttributeRow>,
    /// Confidence against outcome (a cell of the right class) of what counts as a cell; pictures with
    /// cells of unsaid class are left out, because only their extras could be judged.
    pub reliability: ReliabilityRow,
}

/// What was left out before judging.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Losses {
    /// Boxes beyond the room for candidates, when the findings were made.
    pub candidates: u64,
    /// Boxes beyond the most detections of a picture, when the findings were made.
    pub detections: u64,
    /// Boxes on the padding only, when the findings were made.
    pub outside_picture: u64,
    /// Findings outside the labelled part of their picture.
    pub outside_region: u64,
    /// Further classes of a cell in multi-label findings; average precision by class keeps them.
    pub same_cell: u64,
}

/// Means over the classes that have truth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Means {
    /// mAP50 by YOLOv5's definition.
    pub yolov5_map50: Option<f64>,
    /// mAP50-95 by YOLOv5's definition.
    pub yolov5_map50_95: Option<f64>,
    /// mAP50 by COCO's definition.
    pub coco_map50: Option<f64>,
    /// mAP50-95 by COCO's definition.
    pub coco_map50_95: Option<f64>,
    /// Precision at the best F1, YOLOv5's definition.
    pub precision: Option<f64>,
    /// Recall at the best F1, YOLOv5's definition.
    pub recall: Option<f64>,
    /// Mean F1 above the least score.
    pub macro_f1: Option<f64>,
    /// Mean over the attributes of macro-F1 end to end.
    pub attribute_macro_f1: Option<f64>,
}

/// YOLOv5's numbers for a class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Yolov5 {
    /// At an overlap of 0.50.
    pub ap50: f64,
    /// Mean over 0.50, 0.55, ... 0.95.
    pub ap50_95: f64,
    /// At the confidence of the best smoothed mean F1.
    pub precision: f64,
    /// At the confidence of the best smoothed mean F1.
    pub recall: f64,
    /// At the confidence of the best smoothed mean F1.
    pub f1: f64,
}

/// COCO's numbers for a class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Coco {
    /// At an overlap of 0.50.
    pub ap50: f64,
    /// Mean over 0.50, 0.55, ... 0.95.
    pub ap50_95: f64,
}

/// A count of a count with its exact 95 % limits (of counting, nothing else).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Proportion {
    /// Part of.
    pub k: u32,
    /// This many.
    pub n: u32,
    /// `k / n`.
    pub value: f64,
    /// Lower and upper limit.
    pub limits: [f64; 2],
}

impl Proportion {
    /// `None` when `n` is 0 or `k` is more.
    pub fn of(k: u32, n: u32) -> Option<Self> {
        limits(k, n).map(|limits| Self {
            k,
            n,
            value: f64::from(k) / f64::from(n),
            limits: [limits.lower, limits.upper],
        })
    }
}

/// A class above the least score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AtThreshold {
    /// Truths found with their class.
    pub hits: u32,
    /// Truths not found, or found as another class.
    pub misses: u32,
    /// Findings on no cell, or on a cell of another class.
    pub extras: u32,
    /// Hits among the findings.
    pub precision: Option<Proportion>,
    /// Hits among the truths.
    pub recall: Option<Proportion>,
    /// Harmonic mean of the two.
    pub f1: Option<f64>,
}

impl AtThreshold {
    fn of(counts: ClassCounts) -> Self {
        Self {
            hits: counts.hits,
            misses: counts.misses,
            extras: counts.extras,
            precision: Proportion::of(counts.hits, counts.findings()),
            recall: Proportion::of(counts.hits, counts.truths()),
            f1: counts.f1(),
        }
    }
}

/// All that is known of a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassRow {
    /// Its name; `any white cell` for all of them.
    pub class: String,
    /// Cells in truth.
    pub truths: u32,
    /// `None` without truth.
    pub yolov5: Option<Yolov5>,
    /// `None` without truth.
    pub coco: Option<Coco>,
    /// Above the least score.
    pub at_threshold: AtThreshold,
}

impl ClassRow {
    fn of(class: &str, average: ClassAverage, counts: ClassCounts) -> Self {
        Self {
            class: class.to_owned(),
            truths: average.truths,
            yolov5: average.yolov5,
            coco: average.coco,
            at_threshold: AtThreshold::of(counts),
        }
    }
}

pub(super) fn class_rows(
    classes: &ClassTable,
    averages: &Averages,
    counting: &Counting,
) -> Vec<ClassRow> {
    let numbers = averages.classes.iter().zip(&counting.by_class);
    let rows = classes.iter().zip(numbers);
    rows.map(|((_, name), (&average, &counts))| ClassRow::of(name, average, counts))
        .collect()
}

pub(super) fn cell_row(average: ClassAverage, counting: &Counting) -> ClassRow {
    ClassRow::of("any white cell", average, counting.cell)
}

pub(super) fn means(averages: &Averages, counting: &Counting) -> Means {
    let yolov5 = |number: fn(Yolov5) -> f64| {
        mean_of_defined(
            averages
                .classes
                .iter()
                .map(|class| class.yolov5.map(number)),
        )
    };
    let coco = |number: fn(Coco) -> f64| {
        mean_of_defined(averages.classes.iter().map(|class| class.coco.map(number)))
    };
    let attributes = counting.attributes.iter();
    Means {
        yolov5_map50: yolov5(|class| class.ap50),
        yolov5_map50_95: yolov5(|class| class.ap50_95),
        coco_map50: coco(|class| class.ap50),
        coco_map50_95: coco(|class| class.ap50_95),
        precision: yolov5(|class| class.precision),
        recall: yolov5(|class| class.recall),
        macro_f1: counting.macro_f1,
        attribute_macro_f1: mean_of_defined(attributes.map(|row| row.end_to_end.macro_f1)),
    }
}

/// Which class was taken for which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// Names of rows and columns.
    pub names: Vec<String>,
    /// Counts, rows truth, columns found.
    pub rows: Vec<Vec<u32>>,
    /// White cells of unsaid class that were found, in no row.
    pub unsaid_found: u32,
    /// White cells of unsaid class that were missed, in no row.
    pub unsaid_missed: u32,
}

/// Cells counted a picture, found minus truth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Counts {
    /// Pictures.
    pub pictures: u32,
    /// Cells in truth.
    pub truths: u64,
    /// Cells found.
    pub found: u64,
    /// Mean difference.
    pub bias: Option<f64>,
    /// Mean absolute difference.
    pub mean_absolute_error: Option<f64>,
    /// Limits of agreement: bias -+ 1.96 standard deviations.
    pub limits_of_agreement: Option<[f64; 2]>,
}

impl Counts {
    pub(super) fn of(agreement: &CountAgreement) -> Self {
        let (truths, found) = agreement.totals();
        Self {
            pictures: agreement.pictures(),
            truths,
            found,
            bias: agreement.bias(),
            mean_absolute_error: agreement.mean_absolute_error(),
            limits_of_agreement: agreement.limits().map(|(lower, upper)| [lower, upper]),
        }
    }
}

/// How well one attribute was told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AttributeRow {
    /// Its name.
    pub attribute: String,
    /// All labelled cells; a missed one is wrong.
    pub end_to_end: AttributeScore,
    /// Only the cells that were found.
    pub on_found: AttributeScore,
    /// On the ground-truth boxes: what the finding of any score says that overlaps the box most, at
    /// the least IoU; whether the detector would have reported the cell does not matter. A box that
    /// no finding overlaps enough is left out, so the file should be made with a low least score.
    pub on_truth: AttributeScore,
    /// By the AttriDet reference's matching, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_matching: Option<AttributeScore>,
}

/// Accuracy and F1 of an attribute.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AttributeScore {
    /// Labelled cells that were looked at.
    pub labelled: u32,
    /// Those whose value was told right.
    pub accuracy: Option<Proportion>,
    /// Mean of the values that are labelled or found.
    pub macro_f1: Option<f64>,
    /// F1 by value name.
    pub f1: Vec<(String, Option<f64>)>,
}

impl AttributeScore {
    pub(super) fn of(attribute: &Attribute, tally: &AttributeTally) -> Self {
        let values = attribute.values.iter().enumerate();
        let f1 = values.map(|(index, name)| {
            let f1 = ValueId::new(index).and_then(|value| tally.f1(value));
            (name.to_string(), f1)
        });
        Self {
            labelled: tally.labelled(),
            accuracy: Proportion::of(tally.right(), tally.labelled()),
            macro_f1: tally.macro_f1(),
            f1: f1.collect(),
        }
    }
}

/// Whether confidences mean what they say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReliabilityRow {
    /// Expected calibration error over fifteen bins of equal width.
    pub expected_error: Option<f64>,
    /// Findings, mean confidence and share right of each bin.
    pub bins: Vec<(u32, Option<(f64, f64)>)>,
}

impl ReliabilityRow {
    pub(super) fn of(reliability: &Reliability) -> Self {
        let bins = reliability.bins().iter();
        Self {
            expected_error: reliability.expected_error(),
            bins: bins.map(|bin| (bin.n, bin.means())).collect(),
        }
    }
}
