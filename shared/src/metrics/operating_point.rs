//! Precision and recall against confidence, and the confidence at which YOLOv5 reports them.

use super::matching::Verdict;

/// Confidences at which the curves are read: 0, 1/999, ... 1.
pub const CONFIDENCE_POINTS: usize = 1000;

/// Half the width of the box filter that smooths the mean F1: a tenth of the points in all.
const SMOOTHING_HALF_WIDTH: usize = 50;

/// Where the smoothed mean F1 over the classes is greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OperatingPoint {
    /// Its number among [`CONFIDENCE_POINTS`].
    pub point: usize,
    /// The confidence, 0..=1.
    pub confidence: f64,
}

/// Precision, recall and F1 of a class at one confidence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PrecisionRecall {
    /// Hits among the findings.
    pub precision: f64,
    /// Hits among the truths.
    pub recall: f64,
}

impl PrecisionRecall {
    /// Harmonic mean of the two, 0 when both are.
    pub fn f1(&self) -> f64 {
        2.0 * self.precision * self.recall / (self.precision + self.recall + 1e-16)
    }
}

/// Confidence number `point` of [`CONFIDENCE_POINTS`], 0..=1.
pub fn confidence_at(point: usize) -> f64 {
    if point + 1 == CONFIDENCE_POINTS {
        1.0
    } else {
        point as f64 * (1.0 / (CONFIDENCE_POINTS - 1) as f64)
    }
}

/// The curve of one class at IoU 0.50, read at every confidence from 1 down to 0.
///
/// `verdicts` are those of the class, best first. Between two findings the values lie on a straight
/// line; above the best, precision is 1 and recall 0; below the last they stay. Without findings
/// all is 0.
pub fn curve(verdicts: &[Verdict], truths: u32, mut at: impl FnMut(usize, PrecisionRecall)) {
    let mut rest = verdicts
        .iter()
        .filter(|verdict| !verdict.is_ignored(0))
        .peekable();
    let nothing_found = rest.peek().is_none();
    let (mut findings, mut hits) = (0_u32, 0_u32);
    // The last finding at or above the confidence.
    let mut above: Option<(f64, PrecisionRecall)> = None;
    for point in (0..CONFIDENCE_POINTS).rev() {
        let confidence = confidence_at(point);
        while let Some(verdict) = rest.next_if(|v| f64::from(v.score.get()) >= confidence) {
            findings += 1;
            hits += u32::from(verdict.is_hit(0));
            let value = reached(hits, findings, truths);
            above = Some((f64::from(verdict.score.get()), value));
        }
        let value = match (above, rest.peek()) {
            _ if nothing_found => PrecisionRecall::default(),
            (None, _) => PrecisionRecall {
                precision: 1.0,
                recall: 0.0,
            },
            (Some((_, value)), None) => value,
            (Some((from, value)), Some(next)) => {
                let hits = hits + u32::from(next.is_hit(0));
                let below = reached(hits, findings + 1, truths);
                let part = (from - confidence) / (from - f64::from(next.score.get()));
                PrecisionRecall {
                    precision: value.precision + (below.precision - value.precision) * part,
                    recall: value.recall + (below.recall - value.recall) * part,
                }
            }
        };
        at(point, value);
    }
}

fn reached(hits: u32, findings: u32, truths: u32) -> PrecisionRecall {
    PrecisionRecall {
        precision: f64::from(hits) / f64::from(findings),
        recall: f64::from(hits) / f64::from(truths),
    }
}

/// Where the mean F1 of the classes, smoothed by a box of 101 points with the ends repeated, is
/// greatest (the lowest such confidence).
///
/// `classes` are the verdicts and the number of truths of every class that has truth; `mean_f1` is
/// scratch. `None` without a class.
pub fn best_smoothed_f1<'a>(
    classes: impl IntoIterator<Item = (&'a [Verdict], u32)>,
    mean_f1: &mut [f64; CONFIDENCE_POINTS],
) -> Option<OperatingPoint> {
    mean_f1.fill(0.0);
    let mut n_classes = 0_u32;
    for (verdicts, truths) in classes.into_iter().filter(|&(_, truths)| truths > 0) {
        curve(verdicts, truths, |point, value| {
            mean_f1[point] += value.f1()
        });
        n_classes += 1;
    }
    if n_classes == 0 {
        return None;
    }
    mean_f1
        .iter_mut()
        .for_each(|sum| *sum /= f64::from(n_classes));
    let mut best = (0, f64::NEG_INFINITY);
    for point in 0..CONFIDENCE_POINTS {
        let smoothed = smoothed_at(mean_f1, point);
        if smoothed > best.1 {
            best = (point, smoothed);
        }
    }
    Some(OperatingPoint {
        point: best.0,
        confidence: confidence_at(best.0),
    })
}

/// Mean of the 101 values around `point`, the ends repeated.
fn smoothed_at(values: &[f64; CONFIDENCE_POINTS], point: usize) -> f64 {
    let window = 2 * SMOOTHING_HALF_WIDTH + 1;
    let sum: f64 = (point..point + window)
        .map(|shifted| {
            let index = shifted.saturating_sub(SMOOTHING_HALF_WIDTH);
            values[index.min(CONFIDENCE_POINTS - 1)]
        })
        .sum();
    sum / window as f64
}

/// Precision and recall of a class at `point`.
pub fn precision_recall_at(verdicts: &[Verdict], truths: u32, point: usize) -> PrecisionRecall {
    let mut found = PrecisionRecall::default();
    curve(verdicts, truths, |at, value| {
        if at == point {
            found = value;
        }
    });
    found
}
