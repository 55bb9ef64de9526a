//! Raw heads to candidates: YOLOv5's formula (attridet.md, 8.2) or, without prior boxes, the grid's own,
//! with attribute logits behind the classes.

use core::fmt;

use heapless::Vec;
use heapless::vec::VecView;
use serde::{Deserialize, Serialize};

use crate::attribute::{AttributeFindings, MAX_ATTRIBUTES, Votes};
use crate::class::ClassId;
use crate::geometry::{BBox, Size};
use crate::nms::{Candidate, HeadCell, offer};
use crate::score::{Score, sigmoid};

/// Most outputs of a network.
pub const MAX_LEVELS: usize = 4;

/// Most prior boxes of a level.
pub const MAX_ANCHORS: usize = 4;

/// Largest logit of a side that an anchor-free head is taken at its word for: `e^8` = 2981 strides,
/// wider than any canvas from stride 2 on. Beyond it the exponential would overflow.
pub const SIDE_LOGIT_MAX: f32 = 8.0;

/// One output of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadLevel {
    /// Canvas pixels per grid cell.
    pub stride: u16,
    /// Prior boxes, width and height in canvas pixels; none = anchor-free: one box per place, from
    /// the grid alone ([`free_box`]).
    pub anchors: Vec<[f32; 2], MAX_ANCHORS>,
}

impl HeadLevel {
    /// Boxes that each place of the grid says.
    pub fn boxes(&self) -> usize {
        self.anchors.len().max(1)
    }
}

/// Centre and size in canvas pixels of the anchor-free box that the logits x, y, w, h say at a place.
///
/// The centre is `(grid + 0.5 + t) * stride`: a logit of 0 is the middle of the place. The size is
/// `exp(t) * stride`, `t` at most [`SIDE_LOGIT_MAX`].
pub fn free_box([x, y, w, h]: [f32; 4], gx: usize, gy: usize, stride: u16) -> [f32; 4] {
    let stride = f32::from(stride);
    let centre = |logit: f32, grid: usize| (logit + (grid as f32 + 0.5)) * stride;
    let side = |logit: f32| libm::expf(logit.min(SIDE_LOGIT_MAX)) * stride;
    [centre(x, gx), centre(y, gy), side(w), side(h)]
}

/// What the channels of the raw heads mean.
///
/// # Shapes
/// Level `l` is `[boxes * (5 + classes + values), canvas.height / stride, canvas.width / stride]`;
/// per box (one per anchor, or one where there are none) the channels are x, y, w, h, objectness, classes, then the values of each attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadSpec {
    /// Outputs, finest first.
    pub levels: Vec<HeadLevel, MAX_LEVELS>,
    /// Classes in all.
    pub n_classes: usize,
    /// Values of each attribute.
    pub value_counts: Vec<u8, MAX_ATTRIBUTES>,
}

/// What a count is made with; kept beside every result.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// Least objectness times class probability, 0..=1.
    pub score: f32,
    /// Overlap above which the worse of two boxes of a class goes, 0..=1.
    pub iou: f32,
    /// Most detections of a picture.
    pub max_detections: u16,
    /// Every class above the score (for average precision), not only the likeliest.
    pub multi_label: bool,
    /// A box also removes worse ones of other classes: a counted cell has one class.
    pub across_classes: bool,
}

impl Thresholds {
    /// For average precision, as YOLOv5's validation has them (attridet.md, 8.9).
    pub const EVALUATION: Self = Self {
        score: 0.001,
        iou: 0.6,
        max_detections: 300,
        multi_label: true,
        across_classes: false,
    };

    /// For counting, until a model's contract says better.
    pub const COUNTING: Self = Self {
        score: 0.25,
        iou: 0.45,
        max_detections: 300,
        multi_label: false,
        across_classes: true,
    };

    /// Both limits inside 0..=1 and room for a detection.
    pub fn is_legal(&self) -> bool {
        let unit = 0.0..=1.0;
        unit.contains(&self.score)
            && unit.contains(&self.iou)
            && (1..=1000).contains(&self.max_detections)
    }
}

/// The raw heads are not what the contract promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// Another number of outputs.
    Levels {
        /// By the contract.
        expected: usize,
        /// As the network gave.
        got: usize,
    },
    /// Another number of values in an output.
    Length {
        /// Which output.
        level: usize,
        /// By the contract.
        expected: usize,
        /// As the network gave.
        got: usize,
    },
    /// NaN or infinity: the network is broken, and nothing it says can be counted.
    NotFinite {
        /// Which output.
        level: usize,
    },
    /// NaN or infinity among the values of an attribute head of its own.
    AttributesNotFinite,
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Levels { expected, got } => {
                write!(
                    f,
                    "network gave {got} outputs, the contract says {expected}"
                )
            }
            Self::Length {
                level,
                expected,
                got,
            } => {
                write!(
                    f,
                    "output {level} has {got} values, the contract says {expected}"
                )
            }
            Self::NotFinite { level } => write!(f, "output {level} holds NaN or infinity"),
            Self::AttributesNotFinite => {
                write!(f, "the attribute head's values hold NaN or infinity")
            }
        }
    }
}

impl core::error::Error for HeadError {}

impl HeadSpec {
    /// Whether boxes are said from the grid alone; all levels of a network agree.
    pub fn is_anchor_free(&self) -> bool {
        self.levels.iter().all(|level| level.anchors.is_empty())
    }

    /// Channels of a level's output.
    pub fn channels(&self, level: usize) -> usize {
        self.levels[level].boxes() * self.channels_per_anchor()
    }

    /// Channels of one anchor, or of the one box of an anchor-free place.
    pub fn channels_per_anchor(&self) -> usize {
        5 + self.n_classes + self.n_values()
    }

    /// Values of all attributes.
    pub fn n_values(&self) -> usize {
        self.value_counts.iter().map(|&n| usize::from(n)).sum()
    }

    /// Grid of a level on a canvas.
    pub fn grid(&self, level: usize, canvas: Size) -> Size {
        let stride = u32::from(self.levels[level].stride);
        Size::new(canvas.width / stride, canvas.height / stride)
    }

    /// Values of a level's output on a canvas.
    pub fn level_len(&self, level: usize, canvas: Size) -> usize {
        let grid = self.grid(level, canvas);
        self.channels(level) * grid.width as usize * grid.height as usize
    }

    /// Checks that `heads` have the promised lengths and are finite.
    pub fn check(&self, canvas: Size, heads: &[&[f32]]) -> Result<(), HeadError> {
        if heads.len() != self.levels.len() {
            return Err(HeadError::Levels {
                expected: self.levels.len(),
                got: heads.len(),
            });
        }
        for (level, head) in heads.iter().enumerate() {
            let expected = self.level_len(level, canvas);
            if head.len() != expected {
                return Err(HeadError::Length {
                    level,
                    expected,
                    got: head.len(),
                });
            }
            if !head.iter().all(|logit| logit.is_finite()) {
                return Err(HeadError::NotFinite { level });
            }
        }
        Ok(())
    }

    /// Offers every box whose score is above `thresholds.score` to `best`; counts what had no room
    /// and what is so thin that its edges fall together.
    ///
    /// # Errors
    /// When the heads are not of this spec or not finite.
    pub fn candidates(
        &self,
        canvas: Size,
        heads: &[&[f32]],
        thresholds: &Thresholds,
        best: &mut VecView<Candidate>,
    ) -> Result<u32, HeadError> {
        self.check(canvas, heads)?;
        best.clear();
        let mut dropped = 0;
        for (level, head) in heads.iter().enumerate() {
            let grid = self.grid(level, canvas);
            let plane = grid.width as usize * grid.height as usize;
            for anchor in 0..self.levels[level].boxes() {
                let first = anchor * self.channels_per_anchor() * plane;
                let reader = AnchorReader {
                    head: &head[first..],
                    plane,
                    prior: self.levels[level].anchors.get(anchor).copied(),
                    stride: self.levels[level].stride,
                    grid,
                    level,
                    anchor,
                };
                self.read_anchor(&reader, thresholds, best, &mut dropped);
            }
        }
        Ok(dropped)
    }

    fn read_anchor(
        &self,
        reader: &AnchorReader<'_>,
        thresholds: &Thresholds,
        best: &mut VecView<Candidate>,
        dropped: &mut u32,
    ) {
        let objectness = &reader.head[4 * reader.plane..5 * reader.plane];
        for (at, &logit) in objectness.iter().enumerate() {
            let objectness = sigmoid(logit);
            if objectness <= thresholds.score {
                continue;
            }
            let mut take = |(class, logit): (usize, f32)| {
                let score = objectness * sigmoid(logit);
                if score > thresholds.score {
                    match reader.candidate(at, class, score) {
                        Some(candidate) => offer(best, dropped, candidate),
                        None => *dropped += 1,
                    }
                }
            };
            let classes = (0..self.n_classes).map(|class| (class, reader.logit(5 + class, at)));
            if thresholds.multi_label {
                classes.for_each(take);
            } else {
                // Of equal logits the first class wins.
                let likeliest = classes.reduce(|a, b| if b.1 > a.1 { b } else { a });
                likeliest.into_iter().for_each(&mut take);
            }
        }
    }

    /// The likeliest value of each attribute by the mean of its softmax probabilities over the places of
    /// `voters`, weighted by their scores; nothing where there are none.
    pub fn attributes<'a>(
        &self,
        canvas: Size,
        heads: &[&[f32]],
        voters: impl Iterator<Item = &'a Candidate>,
    ) -> AttributeFindings {
        let mut votes = Votes::new(&self.value_counts);
        for voter in voters {
            let HeadCell {
                level,
                anchor,
                gy,
                gx,
            } = voter.cell;
            let level = usize::from(level);
            let grid = self.grid(level, canvas);
            let plane = grid.width as usize * grid.height as usize;
            let at = usize::from(gy) * grid.width as usize + usize::from(gx);
            let first = usize::from(anchor) * self.channels_per_anchor() + 5 + self.n_classes;
            votes.add(voter.score.get(), |value| {
                heads[level][(first + value) * plane + at]
            });
        }
        votes.findings()
    }
}

/// Centre and size in canvas pixels of the box that the logits x, y, w, h say of a prior box.
fn anchored_box(logits: [f32; 4], gx: usize, gy: usize, stride: u16, prior: [f32; 2]) -> [f32; 4] {
    let stride = f32::from(stride);
    let [x, y, w, h] = logits.map(|logit| sigmoid(logit) * 2.0);
    let centre = |offset: f32, grid: usize| (offset - 0.5 + grid as f32) * stride;
    [
        centre(x, gx),
        centre(y, gy),
        w * w * prior[0],
        h * h * prior[1],
    ]
}

/// One anchor's channels of one level.
struct AnchorReader<'a> {
    head: &'a [f32],
    plane: usize,
    /// `None` = anchor-free.
    prior: Option<[f32; 2]>,
    stride: u16,
    grid: Size,
    level: usize,
    anchor: usize,
}

impl AnchorReader<'_> {
    fn logit(&self, channel: usize, at: usize) -> f32 {
        self.head[channel * self.plane + at]
    }

    /// `None` when the box has no size: its side is below the resolution of its place.
    fn candidate(&self, at: usize, class: usize, score: f32) -> Option<Candidate> {
        let (gx, gy) = (at % self.grid.width as usize, at / self.grid.width as usize);
        let logits = [0, 1, 2, 3].map(|channel| self.logit(channel, at));
        let [cx, cy, width, height] = match self.prior {
            Some(prior) => anchored_box(logits, gx, gy, self.stride, prior),
            None => free_box(logits, gx, gy, self.stride),
        };
        Some(Candidate {
            bbox: BBox::from_centre(cx, cy, width, height)?,
            score: Score::new(score)?,
            class: ClassId(class as u8),
            cell: HeadCell {
                level: self.level as u8,
                anchor: self.anchor as u8,
                gy: gy as u16,
                gx: gx as u16,
            },
        })
    }
}

#[cfg(test)]
mod tests;
