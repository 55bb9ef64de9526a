//! Average precision in its two published definitions.
//!
//! Both take the verdicts of *one* class, best first ([`super::matching::by_class_then_best`]),
//! and the number of truths of that class; both are `None` for a class without truth (which is
//! not 0) and 0 for a class without findings. Verdicts ignored at the threshold do not exist there.

use super::matching::{IOU_THRESHOLDS, Verdict};

/// Recalls at which precision is read: 0.00, 0.01, ... 1.00.
pub const RECALL_POINTS: usize = 101;

/// Recall number `point` of [`RECALL_POINTS`], rounded as `point * 0.01`.
pub fn recall_at(point: usize) -> f64 {
    if point + 1 == RECALL_POINTS {
        1.0
    } else {
        point as f64 * 0.01
    }
}

/// The area under a curve, at 0.50 and over all thresholds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AveragePrecision {
    /// At each of [`IOU_THRESHOLDS`], 0..=1.
    pub at: [f64; IOU_THRESHOLDS.len()],
}

impl AveragePrecision {
    /// At an overlap of 0.50.
    pub fn ap50(&self) -> f64 {
        self.at[0]
    }

    /// Mean over 0.50, 0.55, ... 0.95.
    pub fn ap50_95(&self) -> f64 {
        self.at.iter().sum::<f64>() / IOU_THRESHOLDS.len() as f64
    }
}

/// YOLOv5's definition: precision made falling, read at 101 recalls with straight lines between the
/// findings and from (0, 1) to (1, 0) at the ends, integrated by trapezoids.
pub fn yolov5(verdicts: &[Verdict], truths: u32) -> Option<AveragePrecision> {
    over_thresholds(verdicts, truths, yolov5_at)
}

/// COCO's definition: precision made falling, read in steps at 101 recalls, their mean.
pub fn coco(verdicts: &[Verdict], truths: u32) -> Option<AveragePrecision> {
    over_thresholds(verdicts, truths, coco_at)
}

fn over_thresholds(
    verdicts: &[Verdict],
    truths: u32,
    area_at: impl Fn(&[Verdict], u32, usize) -> f64,
) -> Option<AveragePrecision> {
    if truths == 0 {
        return None;
    }
    let mut at = [0.0; IOU_THRESHOLDS.len()];
    if !verdicts.is_empty() {
        for (threshold, area) in at.iter_mut().enumerate() {
            *area = area_at(verdicts, truths, threshold);
        }
    }
    Some(AveragePrecision { at })
}

/// What was reached after a finding.
struct Reached {
    recall: f64,
    precision: f64,
    by_hit: bool,
}

/// The curve from its far end: what each counted verdict reached, the last first.
fn backwards(verdicts: &[Verdict], truths: u32, threshold: usize) -> impl Iterator<Item = Reached> {
    let counted = move || {
        verdicts
            .iter()
            .filter(move |verdict| !verdict.is_ignored(threshold))
    };
    let mut findings = counted().count() as u32;
    let mut hits = counted().filter(|v| v.is_hit(threshold)).count() as u32;
    counted().rev().map(move |verdict| {
        let reached = Reached {
            recall: f64::from(hits) / f64::from(truths),
            precision: f64::from(hits) / f64::from(findings),
            by_hit: verdict.is_hit(threshold),
        };
        findings -= 1;
        hits -= u32::from(reached.by_hit);
        reached
    })
}

/// The curve of [`yolov5`] at threshold number `threshold`: precision (0..=1) at each recall.
///
/// Without truths or findings all is 0.
pub fn yolov5_curve(verdicts: &[Verdict], truths: u32, threshold: usize) -> [f64; RECALL_POINTS] {
    let mut curve = [0.0; RECALL_POINTS];
    if truths == 0 || verdicts.is_empty() {
        return curve;
    }
    let mut right = (1.0, 0.0);
    let points = backwards(verdicts, truths, threshold).map(|at| (at.recall, at.precision));
    for (recall, precision) in points.chain([(0.0, 1.0)]) {
        let left = (recall, f64::max(precision, right.1));
        // Between findings that are no hits nothing lies but a vertical step.
        if left.0 < right.0 {
            draw(&mut curve, left, right);
        }
        right = left;
    }
    curve
}

/// One threshold of [`yolov5`]: the area under its curve.
fn yolov5_at(verdicts: &[Verdict], truths: u32, threshold: usize) -> f64 {
    let curve = yolov5_curve(verdicts, truths, threshold);
    let steps = curve.windows(2).enumerate();
    steps
        .map(|(point, y)| (recall_at(point + 1) - recall_at(point)) * (y[0] + y[1]) / 2.0)
        .sum()
}

/// The straight line from `left` up to but without `right`, at the recalls that lie there.
///
/// Lines are drawn from the far end, so the first that holds a recall has the last word.
fn draw(curve: &mut [f64; RECALL_POINTS], left: (f64, f64), right: (f64, f64)) {
    let slope = (right.1 - left.1) / (right.0 - left.0);
    for (point, value) in curve.iter_mut().enumerate() {
        let at = recall_at(point);
        if left.0 <= at && at < right.0 {
            *value = slope * (at - left.0) + left.1;
        }
    }
}

/// One threshold of [`coco`].
fn coco_at(verdicts: &[Verdict], truths: u32, threshold: usize) -> f64 {
    let mut curve = [0.0; RECALL_POINTS];
    let mut best = 0.0;
    for at in backwards(verdicts, truths, threshold) {
        best = f64::max(best, at.precision);
        // Every recall up to this one; a smaller recall overwrites its part with its own best.
        let upto = |point: usize| at.by_hit && recall_at(point) <= at.recall;
        for (point, value) in curve.iter_mut().enumerate() {
            if !upto(point) {
                break;
            }
            *value = best;
        }
    }
    curve.iter().sum::<f64>() / RECALL_POINTS as f64
}
