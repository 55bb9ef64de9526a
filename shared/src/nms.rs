//! Non-maximum suppression with a total order and counted overflow.

use core::cmp::Ordering;

use heapless::vec::VecView;

use crate::class::ClassId;
use crate::geometry::{BBox, Canvas};
use crate::score::Score;

/// Where in the raw heads a candidate was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeadCell {
    /// Which output.
    pub level: u8,
    /// Which prior box.
    pub anchor: u8,
    /// Row of the grid.
    pub gy: u16,
    /// Column of the grid.
    pub gx: u16,
}

/// A box before suppression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Where, in pixels of the canvas.
    pub bbox: BBox<Canvas>,
    /// Objectness times class probability.
    pub score: Score,
    /// The class the score is of.
    pub class: ClassId,
    /// Where it was read, to decode its attributes later.
    pub cell: HeadCell,
}

/// Best first; equal scores by class, then corners, then place in the head: no two sorters disagree.
pub fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    let corners = |c: &Candidate| c.bbox.xyxy();
    b.score
        .cmp(&a.score)
        .then(a.class.cmp(&b.class))
        .then_with(|| {
            let pairs = corners(a).into_iter().zip(corners(b));
            pairs
                .map(|(x, y)| x.total_cmp(&y))
                .find(|o| o.is_ne())
                .unwrap_or(Ordering::Equal)
        })
        .then(a.cell.cmp(&b.cell))
}

/// Keeps the best candidates that fit into `best` and counts the rest in `dropped`.
///
/// `best` is a heap with its worst member first once it is full; [`suppress`] sorts it.
pub fn offer(best: &mut VecView<Candidate>, dropped: &mut u32, candidate: Candidate) {
    if best.capacity() == 0 {
        *dropped += 1;
    } else if best.push(candidate).is_err() {
        *dropped += 1;
        if best_first(&candidate, &best[0]).is_lt() {
            best[0] = candidate;
            sift_down(best, 0);
        }
    } else if best.is_full() {
        for root in (0..best.len() / 2).rev() {
            sift_down(best, root);
        }
    }
}

/// Restores "no child is worse than its parent" below `root`.
fn sift_down(heap: &mut [Candidate], mut root: usize) {
    loop {
        let mut worst = root;
        for child in [2 * root + 1, 2 * root + 2] {
            if child < heap.len() && best_first(&heap[child], &heap[worst]).is_gt() {
                worst = child;
            }
        }
        if worst == root {
            return;
        }
        heap.swap(root, worst);
        root = worst;
    }
}

/// Where [`part`] put what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parted {
    /// Survivors, best first, at the front; the rest stands behind them.
    pub kept: usize,
    /// Of the rest those that no survivor covers: they are beyond `max`.
    pub over: u32,
}

/// Sorts best first, then puts behind the others every candidate that overlaps a better one of its
/// class (of any class with `across_classes`) by more than `iou_max`, and all beyond `max`.
///
/// Those beyond `max` are not compared with each other, which bounds the work by `max` comparisons a
/// candidate.
pub fn part(
    candidates: &mut [Candidate],
    iou_max: f32,
    across_classes: bool,
    max: usize,
) -> Parted {
    candidates.sort_unstable_by(best_first);
    let mut kept = 0;
    let mut over = 0;
    for index in 0..candidates.len() {
        let candidate = candidates[index];
        let covered = candidates[..kept].iter().any(|better| {
            (across_classes || better.class == candidate.class)
                && better.bbox.iou(&candidate.bbox) > iou_max
        });
        if covered {
            continue;
        }
        if kept == max {
            over += 1;
            continue;
        }
        candidates.swap(kept, index);
        kept += 1;
    }
    Parted { kept, over }
}

/// [`part`], with the rest removed; returns how many fell to `max`.
pub fn suppress(
    candidates: &mut VecView<Candidate>,
    iou_max: f32,
    across_classes: bool,
    max: usize,
) -> u32 {
    let Parted { kept, over } = part(candidates, iou_max, across_classes, max);
    candidates.truncate(kept);
    over
}

#[cfg(test)]
mod tests;
