//! Which place of an anchor-free head answers for which cell: the places near its centre that already
//! say it best, as many as already say it well (the rule known as SimOTA).
//!
//! Two steps, because only the candidates' logits need to leave the device: [`candidates`] looks at
//! the geometry alone, [`answers`] at what the network says there.

use std::cmp::Ordering;

use shared::geometry::Size;
use shared::head::{HeadSpec, free_box};

use super::Target;

/// How far from the cell's centre a place's may lie, each axis, in strides.
const REACH: f32 = 2.5;

/// Overlaps that are added up to the number of places that shall answer for a cell.
const TOP_OVERLAPS: usize = 10;

/// How much the overlap counts beside the class.
const OVERLAP_WEIGHT: f32 = 3.0;

/// Below this an overlap is as good as none.
const OVERLAP_MIN: f32 = 1e-8;

/// Logits of x, y, w, h and objectness stand before those of the classes.
const FIRST_CLASS: usize = 5;

/// A place of the grid of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Column of the grid.
    pub gx: usize,
    /// Row of the grid.
    pub gy: usize,
    /// Canvas pixels to the next place.
    pub stride: u16,
}

/// The places of a canvas, level by level, row by row: a place is known by its number.
#[derive(Clone, Debug)]
pub struct Places {
    all: Vec<Place>,
    levels: Vec<Level>,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    first: usize,
    stride: u16,
    grid: Size,
}

impl Places {
    /// Of all levels of `head`.
    pub fn new(head: &HeadSpec, canvas: Size) -> Self {
        let mut out = Self {
            all: Vec::new(),
            levels: Vec::new(),
        };
        for (index, level) in head.levels.iter().enumerate() {
            let (grid, stride) = (head.grid(index, canvas), level.stride);
            let first = out.all.len();
            out.levels.push(Level {
                first,
                stride,
                grid,
            });
            let rows = 0..grid.height as usize;
            out.all.extend(
                rows.flat_map(|gy| {
                    (0..grid.width as usize).map(move |gx| Place { gx, gy, stride })
                }),
            );
        }
        out
    }

    /// Places in all.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is no place at all.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The place of a number.
    pub fn at(&self, number: usize) -> Place {
        self.all[number]
    }
}

/// Places that may answer for a cell.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    /// Canvas of the batch and number of the place, each pair once.
    pub places: Vec<(usize, usize)>,
    /// Which of them may answer for which target, target by target.
    pairs: Vec<Pair>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    target: usize,
    candidate: usize,
    /// The place's centre lies outside the cell's box: it answers only when there are not enough others.
    outside: bool,
}

/// A place that shall answer for a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Position in [`Candidates::places`].
    pub candidate: usize,
    /// Position of the target in the list.
    pub target: usize,
}

/// Every place whose centre lies within 2.5 strides of a cell's centre, at most 36 a cell and level.
pub fn candidates(
    places: &Places,
    canvas: Size,
    n_images: usize,
    targets: &[Target],
) -> Candidates {
    let mut out = Candidates::default();
    let mut known = vec![usize::MAX; n_images * places.len()];
    for (target, cell) in targets.iter().enumerate() {
        let [cx, cy, w, h] = on_canvas(cell, canvas);
        for level in &places.levels {
            let stride = f32::from(level.stride);
            let near = |centre: f32, side: u32| {
                let at = centre / stride - 0.5;
                let first = (at - REACH).ceil().max(0.0) as usize;
                let last = (at + REACH).floor().min(side as f32 - 1.0);
                first..(last + 1.0).max(0.0) as usize
            };
            for gy in near(cy, level.grid.height) {
                for gx in near(cx, level.grid.width) {
                    let off =
                        |grid: usize, centre: f32| ((grid as f32 + 0.5) * stride - centre).abs();
                    let place = level.first + gy * level.grid.width as usize + gx;
                    let candidate = &mut known[cell.image * places.len() + place];
                    if *candidate == usize::MAX {
                        *candidate = out.places.len();
                        out.places.push((cell.image, place));
                    }
                    out.pairs.push(Pair {
                        target,
                        candidate: *candidate,
                        outside: off(gx, cx) >= w / 2.0 || off(gy, cy) >= h / 2.0,
                    });
                }
            }
        }
    }
    out
}

/// The candidates that shall answer, ordered by target, then candidate.
///
/// `said` holds the raw logits x, y, w, h, objectness and classes of every candidate. A pair costs the
/// binary cross-entropy of its classes (unless the target's is unknown, or there is but one) plus
/// three times the negative logarithm of its overlap; places inside the cell's box come first. As many
/// places answer for a cell as its ten best overlaps add up to, at least one; a place
/// answers for one cell, to which it is cheapest, and the others take their next. Of equal costs the
/// earlier target, then the earlier candidate wins.
pub fn answers(
    places: &Places,
    canvas: Size,
    targets: &[Target],
    candidates: &Candidates,
    said: &[f32],
) -> Vec<Answer> {
    if candidates.places.is_empty() {
        return Vec::new();
    }
    let n_channels = said.len() / candidates.places.len();
    let findings: Vec<Finding<'_>> = candidates
        .places
        .iter()
        .zip(said.chunks_exact(n_channels))
        .map(|(&(_, place), logits)| Finding::new(places.at(place), logits))
        .collect();
    let boxes: Vec<[f32; 4]> = targets.iter().map(|t| on_canvas(t, canvas)).collect();
    let overlap = |pair: &Pair| iou(&findings[pair.candidate].cxcywh, &boxes[pair.target]);
    let mut offers: Vec<Offer> = candidates
        .pairs
        .iter()
        .map(|&pair| {
            let overlap = overlap(&pair);
            let class = targets[pair.target].class;
            let cost = findings[pair.candidate].class_cost(class)
                - OVERLAP_WEIGHT * overlap.max(OVERLAP_MIN).ln();
            Offer {
                pair,
                overlap,
                cost,
            }
        })
        .collect();
    let mut wanted = wanted(&offers, targets.len());
    offers.sort_unstable_by(Offer::cheapest_first);
    let mut free = vec![true; candidates.places.len()];
    let mut out = Vec::new();
    for Offer { pair, .. } in offers {
        let Pair {
            target, candidate, ..
        } = pair;
        if wanted[target] > 0 && free[candidate] {
            wanted[target] -= 1;
            free[candidate] = false;
            out.push(Answer { candidate, target });
        }
    }
    out.sort_unstable_by_key(|answer| (answer.target, answer.candidate));
    out
}

/// What the network says at a candidate.
struct Finding<'a> {
    /// Canvas pixels.
    cxcywh: [f32; 4],
    classes: &'a [f32],
    /// Cross-entropy of all classes if none of them were true.
    none_true: f32,
}

impl<'a> Finding<'a> {
    fn new(place: Place, logits: &'a [f32]) -> Self {
        let classes = &logits[FIRST_CLASS..];
        let coordinates = [logits[0], logits[1], logits[2], logits[3]];
        // ln(1 + e^x), written so that it does not overflow.
        let softplus = |x: &f32| x.max(0.0) + (-x.abs()).exp().ln_1p();
        Self {
            cxcywh: free_box(coordinates, place.gx, place.gy, place.stride),
            classes,
            none_true: classes.iter().map(softplus).sum(),
        }
    }

    /// One class is no choice, and its logit is not trained.
    fn class_cost(&self, class: Option<u8>) -> f32 {
        match class {
            Some(class) if self.classes.len() > 1 => {
                self.none_true - self.classes[usize::from(class)]
            }
            _ => 0.0,
        }
    }
}

/// A pair and what it costs.
struct Offer {
    pair: Pair,
    overlap: f32,
    cost: f32,
}

impl Offer {
    fn cheapest_first(a: &Self, b: &Self) -> Ordering {
        let place = |o: &Self| (o.pair.target, o.pair.candidate);
        (a.pair.outside.cmp(&b.pair.outside))
            .then(a.cost.total_cmp(&b.cost))
            .then(place(a).cmp(&place(b)))
    }
}

/// How many places shall answer for each target.
fn wanted(offers: &[Offer], n_targets: usize) -> Vec<usize> {
    let mut out = vec![0; n_targets];
    for offers in offers.chunk_by(|a, b| a.pair.target == b.pair.target) {
        let mut overlaps: Vec<f32> = offers.iter().map(|offer| offer.overlap).collect();
        overlaps.sort_unstable_by(|a, b| b.total_cmp(a));
        let sum: f32 = overlaps.iter().take(TOP_OVERLAPS).sum();
        out[offers[0].pair.target] = (sum as usize).max(1);
    }
    out
}

/// Centre and size in canvas pixels.
fn on_canvas(target: &Target, canvas: Size) -> [f32; 4] {
    let [cx, cy, w, h] = target.cxcywh;
    let (width, height) = (canvas.width as f32, canvas.height as f32);
    [cx * width, cy * height, w * width, h * height]
}

/// Of two boxes given by centre and size; 0 where both are empty.
fn iou(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let overlap = |axis: usize| {
        let high = (a[axis] + a[axis + 2] / 2.0).min(b[axis] + b[axis + 2] / 2.0);
        let low = (a[axis] - a[axis + 2] / 2.0).max(b[axis] - b[axis + 2] / 2.0);
        (high - low).max(0.0)
    };
    let both = overlap(0) * overlap(1);
    let either = a[2] * a[3] + b[2] * b[3] - both;
    if either > 0.0 { both / either } else { 0.0 }
}

#[cfg(test)]
mod tests;
