//! The calibration of a station: how large a pixel is, whether the frame is squeezed, and what a blank
//! field looks like.
//!
//! A person makes it (`leuko-edge calibrate`); it lies in the data root as `calibration.json`, and each
//! one that ever was as `calibrations/ID.json`. [`measure`] and [`blank`] are pure, [`keep`] is the disk,
//! [`standing`] says whether a calibration still fits.
//!
//! How a station uses it: [`load`] at its start and before each case; [`Calibration::stands`] with the
//! identity of the open source and the size of its frames gives the banner; only when it is no
//! [`Standing::Mismatch`], [`InForce::of`] gives scale, squeeze (for
//! [`WatchOptions::squeeze`](field::WatchOptions)) and the id that goes into the record of the case,
//! and [`load_blank`] the picture for
//! [`FieldWatch::recall_blank`](field::FieldWatch::recall_blank), to be shown before the first
//! frame. Nothing here is read again while a case is open.

pub mod blank;
pub mod command;
mod frames;
pub mod keep;
pub mod measure;
pub mod record;
pub mod standing;
#[cfg(test)]
mod tests;

pub use keep::{KeepError, load, load_blank};
pub use record::{Calibration, Content, InForce};
pub use standing::Standing;

use crate::atomic::OutputError;
use crate::exit;
use crate::source::SourceError;
use crate::source::chosen::NoCameras;
use field::FieldError;

/// Why nothing was calibrated; what was kept before is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    /// The program was built without cameras.
    #[error(transparent)]
    NoCameras(#[from] NoCameras),
    /// The source cannot be opened or failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The source is silent.
    #[error("{source_name}: no whole frame for {seconds} s; {last}")]
    NoFrame {
        /// Which.
        source_name: String,
        /// How long it was waited for.
        seconds: u64,
        /// What came instead.
        last: String,
    },
    /// The source is over before it showed anything.
    #[error("{source_name}: over before its first frame")]
    Nothing {
        /// Which.
        source_name: String,
    },
    /// Its frames cannot be judged, or changed their size.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The blank field is none.
    #[error(transparent)]
    Blank(#[from] blank::BlankError),
    /// The red cells give no scale.
    #[error(transparent)]
    Measure(#[from] measure::MeasureError),
    /// The record of calibrations.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// This start of the program cannot be named.
    #[error(transparent)]
    Boot(#[from] crate::clock::BootError),
    /// There is nothing to show.
    #[error("{root}: no calibration, expected one made by `leuko-edge calibrate`")]
    NotThere {
        /// The data root.
        root: String,
    },
}

impl CalibrateError {
    /// The code of the process.
    pub fn code(&self) -> u8 {
        use crate::clock::BootError;
        match self {
            Self::NoCameras(NoCameras) | Self::NotThere { .. } => exit::FAILURE,
            Self::Source(SourceError::Folder(_)) => exit::BAD_DATA,
            Self::Source(SourceError::Phantom(_) | SourceError::Rate { .. }) => exit::USAGE,
            Self::Source(_) | Self::NoFrame { .. } => exit::DEVICE,
            Self::Nothing { .. } | Self::Field(_) | Self::Blank(_) | Self::Measure(_) => {
                exit::BAD_DATA
            }
            Self::Keep(error) => match error {
                KeepError::Output(OutputError { .. }) => exit::DISK,
                KeepError::Busy { .. } => exit::FAILURE,
                _ => exit::BAD_DATA,
            },
            Self::Boot(error) => match error {
                BootError::Kernel { .. } => exit::FAILURE,
                BootError::Unreadable { .. } | BootError::Output(_) => exit::DISK,
            },
        }
    }
}
