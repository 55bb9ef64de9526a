//! A cell as labelled and a cell as found: two types, never mixed.

use crate::attribute::{AttributeFindings, Attributes};
use crate::class::ClassId;
use crate::geometry::{BBox, Image};
use crate::score::Score;

/// Ground truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Where, in pixels of the picture.
    pub bbox: BBox<Image>,
    /// Which class; `None` = a white cell of which nobody said the class (BCCD, for instance).
    pub class: Option<ClassId>,
    /// What is known of its morphology.
    pub attributes: Attributes,
}

/// A finding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Where, in pixels of the picture.
    pub bbox: BBox<Image>,
    /// The likeliest class.
    pub class: ClassId,
    /// Objectness times class probability.
    pub score: Score,
    /// The likeliest value of each attribute.
    pub attributes: AttributeFindings,
}
