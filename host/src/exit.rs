//! Exit codes: 0 ok, 1 failure, 2 usage, 3 bad data, 4 bad model, 5 device, 6 disk, 130 interrupted.

use std::io;

use crate::checkpoint::CheckpointError;
use crate::dataset::DataError;
use crate::detections::DetectionsError;
use crate::device::DeviceError;
use crate::onnx::OnnxError;
use crate::picture::PictureError;
use crate::score::ScoreError;
use crate::train::TrainError;

/// Arguments that parse but cannot be meant: expected and found.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The code for `error`: by the first link of its chain that says what kind of failure it is.
pub fn code(error: &anyhow::Error) -> u8 {
    error.chain().find_map(code_of).unwrap_or(1)
}

fn code_of(error: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return is_disk(error).then_some(6);
    }
    if let Some(error) = error.downcast_ref::<TrainError>() {
        return match error {
            TrainError::Interrupted => Some(130),
            TrainError::Empty { .. } | TrainError::Data(_) => Some(3),
            TrainError::Resume(_) => Some(4),
            TrainError::Checkpoint(inner) => code_of(inner),
            TrainError::Picture(inner) => code_of(inner),
            TrainError::Journal { .. } => Some(6),
            TrainError::NotFinite(_) | TrainError::Validation(_) => None,
        };
    }
    if let Some(error) = error.downcast_ref::<CheckpointError>() {
        return match error {
            CheckpointError::Io { source, .. } if is_disk(source) => Some(6),
            _ => Some(4),
        };
    }
    if let Some(DataError::Write { .. }) = error.downcast_ref() {
        return Some(6);
    }
    if error.is::<Usage>() {
        return Some(2);
    }
    let bad_data = error.is::<DataError>()
        || error.is::<PictureError>()
        || error.is::<DetectionsError>()
        || error.is::<ScoreError>();
    let bad_model = error.is::<OnnxError>();
    let device = error.is::<DeviceError>();
    [(bad_data, 3), (bad_model, 4), (device, 5)]
        .into_iter()
        .find_map(|(is, code)| is.then_some(code))
}

fn is_disk(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(
        error.kind(),
        StorageFull | ReadOnlyFilesystem | QuotaExceeded | PermissionDenied
    )
}
