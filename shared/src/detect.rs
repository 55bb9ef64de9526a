//! From raw heads to the cells of the picture: the one path that training, validation and the station take.

use heapless::vec::VecView;
use serde::{Deserialize, Serialize};

use crate::cell::Detection;
use crate::fit::Fit;
use crate::head::{HeadError, HeadSpec, Thresholds};
use crate::nms::{Candidate, Parted, part};

/// Candidates that both binaries make room for.
pub const CANDIDATES_MAX: usize = 4096;

/// Detections that both binaries make room for.
pub const DETECTIONS_MAX: usize = 1000;

/// Overlap from which on a suppressed box speaks of the same cell: it has a voice in its attributes.
const SAME_CELL_IOU: f32 = 0.6;

/// What did not become a detection although its score was high enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropped {
    /// Boxes beyond the room for candidates (the worst ones), and boxes without a size.
    pub candidates: u32,
    /// Boxes beyond the most detections of a picture (the worst ones).
    pub detections: u32,
    /// Boxes that lie on the padding only.
    pub outside: u32,
}

/// Decodes, suppresses and maps back to the picture; `out` is best first.
///
/// The attributes of a cell are those of all its boxes: the mean of their softmax probabilities,
/// weighted by score, over the best box and those it suppressed that overlap it by more than 0.6. One
/// place of one map alone says less: over WBCAtt's val split the mean is worth about 0.4 points of
/// macro-F1.
///
/// `heads` are those of [`HeadSpec`]; `candidates` is scratch.
///
/// # Errors
/// When the heads are not of the spec or not finite.
pub fn detections(
    spec: &HeadSpec,
    fit: &Fit,
    heads: &[&[f32]],
    thresholds: &Thresholds,
    candidates: &mut VecView<Candidate>,
    out: &mut VecView<Detection>,
) -> Result<Dropped, HeadError> {
    out.clear();
    let mut dropped = Dropped {
        candidates: spec.candidates(fit.canvas(), heads, thresholds, candidates)?,
        ..Dropped::default()
    };
    let max = usize::from(thresholds.max_detections).min(out.capacity());
    let Thresholds {
        iou,
        across_classes,
        ..
    } = *thresholds;
    let Parted { kept, over } = part(candidates, iou, across_classes, max);
    dropped.detections = over;
    let (kept, rest) = candidates.split_at(kept);
    for candidate in kept {
        let Some(bbox) = fit.image_from_canvas(&candidate.bbox) else {
            dropped.outside += 1;
            continue;
        };
        let same = |other: &&Candidate| other.bbox.iou(&candidate.bbox) > SAME_CELL_IOU;
        let voters = core::iter::once(candidate).chain(rest.iter().filter(same));
        let attributes = spec.attributes(fit.canvas(), heads, voters);
        let detection = Detection {
            bbox,
            class: candidate.class,
            score: candidate.score,
            attributes,
        };
        if out.push(detection).is_err() {
            dropped.detections += 1;
        }
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests;
