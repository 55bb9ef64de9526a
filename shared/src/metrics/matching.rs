//! Which finding is of which truth.
//!
//! Three rules, each under its own name: YOLOv5's and COCO's for average precision, and one pairing
//! by overlap alone for everything that counts cells. All need findings sorted [`best_first`].

use core::cmp::Ordering;

use crate::cell::{Cell, Detection};
use crate::class::ClassId;
use crate::score::Score;

/// Overlaps at which average precision is taken: 0.50, 0.55, ... 0.95.
pub const IOU_THRESHOLDS: [f32; 10] = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95];

/// Most findings of a class that COCO looks at on one picture.
pub const COCO_FINDINGS_MAX: u16 = 100;

/// What became of a finding at each of [`IOU_THRESHOLDS`] (bit `k` for threshold `k`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Confidence of the finding.
    pub score: Score,
    /// Its class.
    pub class: ClassId,
    /// Position among all findings of the set: the order of equal scores.
    pub sequence: u32,
    /// Thresholds at which it is a hit.
    pub hits: u16,
    /// Thresholds at which it is neither hit nor extra.
    pub ignored: u16,
}

impl Verdict {
    /// Whether it is a hit at threshold number `threshold`.
    pub fn is_hit(&self, threshold: usize) -> bool {
        self.hits >> threshold & 1 == 1
    }

    /// Whether it is neither hit nor extra at threshold number `threshold`.
    pub fn is_ignored(&self, threshold: usize) -> bool {
        self.ignored >> threshold & 1 == 1
    }
}

/// Best first; equal scores by class, then corners: no two sorters disagree.
pub fn best_first(a: &Detection, b: &Detection) -> Ordering {
    b.score
        .cmp(&a.score)
        .then(a.class.cmp(&b.class))
        .then_with(|| {
            let corners = a.bbox.xyxy().into_iter().zip(b.bbox.xyxy());
            corners
                .map(|(x, y)| x.total_cmp(&y))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        })
}

/// Verdicts class by class, best first within a class, as [`super::average_precision`] wants them.
pub fn by_class_then_best(a: &Verdict, b: &Verdict) -> Ordering {
    a.class
        .cmp(&b.class)
        .then(b.score.cmp(&a.score))
        .then(a.sequence.cmp(&b.sequence))
}

/// Judges the findings of one picture by YOLOv5's rule.
///
/// Of the truths of its class a finding stands for the one it overlaps most. At a threshold that
/// this overlap reaches, the best finding that stands for a truth is its hit, the others are extras
/// (they do not move on to a second truth).
///
/// `taken` is scratch of one entry per truth; `verdicts` has one entry per finding, numbered from
/// `first` on.
///
/// # Panics
/// When `taken` or `verdicts` are of another length than said.
pub fn judge_yolov5(
    truths: &[Cell],
    detections: &[Detection],
    first: u32,
    taken: &mut [u16],
    verdicts: &mut [Verdict],
) {
    assert_eq!(taken.len(), truths.len(), "one scratch entry a truth");
    assert_eq!(verdicts.len(), detections.len(), "one verdict a finding");
    taken.fill(0);
    for (index, (detection, verdict)) in detections.iter().zip(verdicts).enumerate() {
        let mut hits = 0;
        if let Some((truth, iou)) = most_overlapped(truths, detection) {
            hits = reached(iou) & !taken[truth];
            taken[truth] |= hits;
        }
        *verdict = Verdict {
            score: detection.score,
            class: detection.class,
            sequence: first + index as u32,
            hits,
            ignored: overlapped_unsaid(truths, detection) & !hits,
        };
    }
}

/// Judges the findings of one picture by COCO's rule.
///
/// Best first, a finding takes of the truths of its class that are still free the one it overlaps
/// most (the later of two that tie). Only the best [`COCO_FINDINGS_MAX`] of a class are looked at.
///
/// Scratch, result and panics as in [`judge_yolov5`].
pub fn judge_coco(
    truths: &[Cell],
    detections: &[Detection],
    first: u32,
    taken: &mut [u16],
    verdicts: &mut [Verdict],
) {
    assert_eq!(taken.len(), truths.len(), "one scratch entry a truth");
    assert_eq!(verdicts.len(), detections.len(), "one verdict a finding");
    taken.fill(0);
    let mut seen = [0_u16; 256];
    for (index, (detection, verdict)) in detections.iter().zip(verdicts).enumerate() {
        let of_class = &mut seen[detection.class.index()];
        *of_class = of_class.saturating_add(1);
        let (mut hits, mut ignored) = (0, u16::MAX);
        if *of_class <= COCO_FINDINGS_MAX {
            hits = take_free(truths, detection, taken);
            ignored = overlapped_unsaid(truths, detection) & !hits;
        }
        *verdict = Verdict {
            score: detection.score,
            class: detection.class,
            sequence: first + index as u32,
            hits,
            ignored,
        };
    }
}

/// Takes at every threshold the free truth that `detection` overlaps most; the thresholds with one.
fn take_free(truths: &[Cell], detection: &Detection, taken: &mut [u16]) -> u16 {
    let mut hits = 0;
    for (threshold, &iou_min) in IOU_THRESHOLDS.iter().enumerate() {
        let mut best = iou_min;
        let mut found = None;
        for (index, truth) in truths.iter().enumerate() {
            let free = taken[index] >> threshold & 1 == 0;
            if !free || truth.class != Some(detection.class) {
                continue;
            }
            let iou = truth.bbox.iou(&detection.bbox);
            if iou >= best {
                best = iou;
                found = Some(index);
            }
        }
        if let Some(index) = found {
            taken[index] |= 1 << threshold;
            hits |= 1 << threshold;
        }
    }
    hits
}

/// The truth of the finding's class that it overlaps most (the first of two that tie).
fn most_overlapped(truths: &[Cell], detection: &Detection) -> Option<(usize, f32)> {
    let mut best = None;
    for (index, truth) in truths.iter().enumerate() {
        if truth.class != Some(detection.class) {
            continue;
        }
        let iou = truth.bbox.iou(&detection.bbox);
        if best.is_none_or(|(_, most)| iou > most) {
            best = Some((index, iou));
        }
    }
    best
}

/// Thresholds at which the finding lies on a white cell of unsaid class.
fn overlapped_unsaid(truths: &[Cell], detection: &Detection) -> u16 {
    truths
        .iter()
        .filter(|truth| truth.class.is_none())
        .fold(0, |bits, truth| {
            bits | reached(truth.bbox.iou(&detection.bbox))
        })
}

/// The thresholds that `iou` reaches, one bit each.
fn reached(iou: f32) -> u16 {
    IOU_THRESHOLDS
        .iter()
        .enumerate()
        .filter(|&(_, &threshold)| iou >= threshold)
        .fold(0, |bits, (index, _)| bits | 1 << index)
}

/// Pairs truths and findings one to one, the greatest overlap first, whatever their classes.
///
/// `partner_of_truth` and `partner_of_detection` have one entry per truth and per finding and hold
/// the index of the other afterwards, `None` for misses and extras. Returns the number of pairs.
/// Ties go to the better finding, then to the earlier truth.
///
/// # Panics
/// When one of the two is of another length than said.
pub fn pair_by_overlap(
    truths: &[Cell],
    detections: &[Detection],
    iou_min: f32,
    partner_of_truth: &mut [Option<usize>],
    partner_of_detection: &mut [Option<usize>],
) -> usize {
    assert_eq!(partner_of_truth.len(), truths.len(), "one entry a truth");
    assert_eq!(
        partner_of_detection.len(),
        detections.len(),
        "one entry a finding"
    );
    partner_of_truth.fill(None);
    partner_of_detection.fill(None);
    let mut pairs = 0;
    loop {
        let mut best: Option<(usize, usize, f32)> = None;
        for (found, detection) in detections.iter().enumerate() {
            if partner_of_detection[found].is_some() {
                continue;
            }
            for (index, truth) in truths.iter().enumerate() {
                let iou = truth.bbox.iou(&detection.bbox);
                let counts = partner_of_truth[index].is_none() && iou > 0.0 && iou >= iou_min;
                if counts && best.is_none_or(|(_, _, most)| iou > most) {
                    best = Some((index, found, iou));
                }
            }
        }
        let Some((index, found, _)) = best else {
            return pairs;
        };
        partner_of_truth[index] = Some(found);
        partner_of_detection[found] = Some(index);
        pairs += 1;
    }
}

/// The finding that overlaps `truth` most, without a threshold and whatever its class: how the
/// AttriDet reference matches attributes. The first when none overlaps, `None` without findings.
pub fn largest_overlap_without_threshold(truth: &Cell, detections: &[Detection]) -> Option<usize> {
    let mut best = None;
    for (index, detection) in detections.iter().enumerate() {
        let iou = truth.bbox.iou(&detection.bbox);
        if best.is_none_or(|(_, most)| iou > most) {
            best = Some((index, iou));
        }
    }
    best.map(|(index, _)| index)
}

/// Leaves out every finding that overlaps a better one by more than `iou_max`, whatever the
/// classes; `kept` holds the indices of the others afterwards, best first. Returns how many.
///
/// Files made for average precision hold a cell once per class; whoever counts cells calls this.
///
/// # Panics
/// When `kept` is shorter than `detections`.
pub fn one_finding_a_cell(detections: &[Detection], iou_max: f32, kept: &mut [usize]) -> usize {
    assert!(kept.len() >= detections.len(), "one entry a finding");
    let mut n = 0;
    for (index, detection) in detections.iter().enumerate() {
        let covered = kept[..n]
            .iter()
            .any(|&better| detections[better].bbox.iou(&detection.bbox) > iou_max);
        if !covered {
            kept[n] = index;
            n += 1;
        }
    }
    n
}
