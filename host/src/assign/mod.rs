//! Which place of the head answers for which cell. Pure, no tensors.

pub mod anchor;
pub mod centre;

use shared::attribute::Attributes;

/// A cell on a canvas of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Position of the canvas in the batch.
    pub image: usize,
    /// Class number; `None` = unknown, teaches objectness and box only.
    pub class: Option<u8>,
    /// Centre and size, in units of the canvas (0..=1).
    pub cxcywh: [f32; 4],
    /// What is known of its morphology.
    pub attributes: Attributes,
}
