//! Why a training ends without a result.

use std::path::PathBuf;

use crate::checkpoint::CheckpointError;
use crate::dataset::DataError;
use crate::engine::EngineError;
use crate::picture::PictureError;
use crate::plot::PlotError;
use crate::tensorboard::EventError;
use crate::validate::ValidationError;

/// Why training stopped early.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Nothing to learn from, or nothing to choose by.
    #[error("{name}: {split} split has no pictures with cells")]
    Empty {
        /// The data set.
        name: String,
        /// Which part.
        split: &'static str,
    },
    /// An attribute head of its own with nothing to say.
    #[error(
        "{name}: the roi attribute head needs attributes, the data set has none; train with --attributes dense"
    )]
    NoAttributes {
        /// The data set.
        name: String,
    },
    /// A picture.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// The data set.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A picture of the run.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// The events of the run.
    #[error(transparent)]
    Events(#[from] EventError),
    /// The journal.
    #[error("{} cannot be written", .path.display())]
    Journal {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The teacher is another one than was asked for, or speaks of other things.
    #[error("teacher {}: {reason}", .path.display())]
    Teacher {
        /// Its checkpoint.
        path: PathBuf,
        /// Expected and found.
        reason: String,
    },
    /// The checkpoint to go on from does not fit.
    #[error("cannot go on from this checkpoint: {0}")]
    Resume(String),
    /// Too many batches without a finite loss.
    #[error(
        "loss or gradient was not finite in {0} batches; the last good checkpoint is kept. Lower lr0?"
    )]
    NotFinite(usize),
    /// The device, libtorch or another process.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The best network on the validation split, at the end.
    #[error("{0:#}")]
    Judged(anyhow::Error),
    /// The validation.
    #[error(transparent)]
    Validation(#[from] ValidationError),
    /// Stopped by the user; every finished epoch is saved.
    #[error("interrupted in epoch {epoch}; {}", if *.epoch > 1 { "go on with --resume" } else { "no epoch was done, nothing to resume" })]
    Interrupted {
        /// Counted from 1.
        epoch: usize,
    },
}
