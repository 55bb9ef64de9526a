//! Whether the prior boxes suit the cells of a data set, and better ones where they do not
//! (attridet.md, 8.8). Pure: no tensors, no files, seeded.

mod evolve;
mod kmeans;
#[cfg(test)]
mod tests;

use std::fmt;

use shared::fit::{Fit, FitKind};
use shared::geometry::Size;
use shared::head::{HeadLevel, MAX_LEVELS};

use crate::augment::Rng;
use crate::dataset::Sample;

/// Best possible recall up to which prior boxes are made anew.
const RECALL_MIN: f64 = 0.98;

/// Cells are looked at up to this much larger or smaller than they are labelled.
const SIZE_JITTER: f32 = 0.1;

/// Cells with no side of this many pixels or more are no model for prior boxes.
const SIDE_MIN: f32 = 2.0;

/// Sets of prior boxes for one data set.
pub type Levels = heapless::Vec<HeadLevel, MAX_LEVELS>;

/// What was found about prior boxes.
#[derive(Clone, Debug, PartialEq)]
pub struct AnchorCheck {
    /// Cells that were looked at.
    pub cells: usize,
    /// Share of the cells that any of the given prior boxes may answer for, 0..=1.
    pub bpr_before: f64,
    /// The same for the prior boxes to use: those of `levels`, or the given ones.
    pub bpr_after: f64,
    /// Prior boxes to use that may answer for a cell, on average.
    pub anchors_per_cell: f64,
    /// New prior boxes, by area, where they are better than the given ones.
    pub levels: Option<Levels>,
}

impl fmt::Display for AnchorCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "prior boxes: best possible recall {:.4}, {:.2} of them a cell, {} cells",
            self.bpr_after, self.anchors_per_cell, self.cells
        )?;
        let Some(levels) = &self.levels else {
            return Ok(());
        };
        write!(f, "; made anew, was {:.4}:", self.bpr_before)?;
        for level in levels {
            for [w, h] in &level.anchors {
                write!(f, " {w:.0},{h:.0}")?;
            }
        }
        Ok(())
    }
}

/// Width and height of the samples' cells in pixels of the canvas.
pub fn sizes_on_canvas(samples: &[&Sample], kind: FitKind, canvas: Size) -> Vec<[f32; 2]> {
    let of_sample = |sample: &&Sample| {
        let fit = Fit::new(kind, sample.size, canvas);
        let ratio = fit.map_or((0.0, 0.0), |fit| fit.ratio());
        let boxes: Vec<[f32; 2]> = sample
            .cells
            .iter()
            .map(|cell| [cell.bbox.width() * ratio.0, cell.bbox.height() * ratio.1])
            .collect();
        boxes
    };
    samples.iter().flat_map(of_sample).collect()
}

/// Looks whether the prior boxes of `levels` may answer for cells of these `sizes` (width and height
/// in canvas pixels), no side differing by a factor of `anchor_t` or more; makes new ones where the
/// best possible recall is 0.98 or less, and proposes them where they are better.
pub fn check_anchors(
    sizes: &[[f32; 2]],
    levels: &[HeadLevel],
    anchor_t: f32,
    seed: u64,
) -> AnchorCheck {
    let mut rng = Rng::new(seed, 0, 0);
    let jittered: Vec<[f32; 2]> = sizes
        .iter()
        .filter(|size| size.iter().all(|side| side.is_finite() && *side > 0.0))
        .map(|size| {
            let ratio = rng.uniform(1.0 - SIZE_JITTER, 1.0 + SIZE_JITTER);
            size.map(|side| side * ratio)
        })
        .collect();
    let given: Vec<[f32; 2]> = levels
        .iter()
        .flat_map(|level| level.anchors.clone())
        .collect();
    let [bpr_before, per_cell] = recall(&jittered, &given, anchor_t);
    let mut check = AnchorCheck {
        cells: jittered.len(),
        bpr_before,
        bpr_after: bpr_before,
        anchors_per_cell: per_cell,
        levels: None,
    };
    if bpr_before > RECALL_MIN || jittered.is_empty() {
        return check;
    }
    if let Some(new) = made_anew(sizes, given.len(), anchor_t, &mut rng) {
        let [bpr_after, per_cell] = recall(&jittered, &new, anchor_t);
        if bpr_after > bpr_before {
            check.bpr_after = bpr_after;
            check.anchors_per_cell = per_cell;
            check.levels = Some(dealt(&new, levels));
        }
    }
    check
}

/// Clusters of the sizes, evolved, by area; `None` when there are fewer cells than prior boxes.
fn made_anew(sizes: &[[f32; 2]], n: usize, anchor_t: f32, rng: &mut Rng) -> Option<Vec<[f32; 2]>> {
    let large = |size: &&[f32; 2]| size.iter().any(|side| *side >= SIDE_MIN);
    let models: Vec<[f32; 2]> = sizes.iter().filter(large).copied().collect();
    let clusters = kmeans::clusters(&models, n, rng)?;
    let mut new = evolve::evolved(&models, clusters, anchor_t, rng);
    new.sort_by(|a, b| (a[0] * a[1]).total_cmp(&(b[0] * b[1])));
    Some(new)
}

/// The prior boxes over the levels, the smallest to the finest.
fn dealt(anchors: &[[f32; 2]], levels: &[HeadLevel]) -> Levels {
    let mut order: Vec<usize> = (0..levels.len()).collect();
    order.sort_by_key(|&level| levels[level].stride);
    let mut out: Levels = levels.iter().cloned().collect();
    let mut rest = anchors.iter();
    for level in order {
        for (slot, anchor) in out[level].anchors.iter_mut().zip(&mut rest) {
            *slot = *anchor;
        }
    }
    out
}

/// How well a prior box fits a cell: the least of its sides' ratios, the smaller over the larger.
fn closeness([w, h]: [f32; 2], [aw, ah]: [f32; 2]) -> f32 {
    let ratio = |a: f32, b: f32| (a / b).min(b / a);
    ratio(w, aw).min(ratio(h, ah))
}

/// Share of the cells for which there is a prior box, and prior boxes a cell.
fn recall(sizes: &[[f32; 2]], anchors: &[[f32; 2]], anchor_t: f32) -> [f64; 2] {
    let (mut found, mut pairs) = (0_usize, 0_usize);
    for &size in sizes {
        let fits = |anchor: &&[f32; 2]| closeness(size, **anchor) > 1.0 / anchor_t;
        let n = anchors.iter().filter(fits).count();
        pairs += n;
        found += usize::from(n > 0);
    }
    [found, pairs].map(|count| count as f64 / sizes.len().max(1) as f64)
}
