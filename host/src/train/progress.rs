//! What a training tells while it runs.

use super::EpochRow;
use crate::anchors::AnchorCheck;

/// What training tells while it runs.
pub enum Progress<'a> {
    /// The prior boxes were compared with the cells.
    Anchors {
        /// How well they fit, and those made anew.
        check: &'a AnchorCheck,
    },
    /// The weights it was to start from lack these, or have them in another shape.
    Unfit {
        /// Names.
        weights: &'a [String],
    },
    /// Cells beyond the most that a batch may teach the attribute head with were left out.
    LeftOut {
        /// Epoch, from 1.
        epoch: usize,
        /// Cells of all its batches.
        regions: usize,
    },
    /// A batch is done.
    Batch {
        /// Epoch, from 1.
        epoch: usize,
        /// Batches done in it.
        done: usize,
        /// Batches in it.
        of: usize,
    },
    /// An epoch is done.
    Epoch {
        /// Its line in the journal.
        row: &'a EpochRow,
        /// Epochs in all.
        epochs: usize,
        /// The best so far.
        is_best: bool,
    },
}
