//! Exit codes: 0 ok, 1 failure, 2 usage, 3 bad data, 4 bad model, 5 device, 6 disk, 130 interrupted.

use std::io;

use shared::contract::ContractError;

use crate::adjust::AdjustError;
use crate::checkpoint::CheckpointError;
use crate::dataset::DataError;
use crate::describe::DescribeError;
use crate::detections::DetectionsError;
use crate::device::DeviceError;
use crate::doctor::NotReady;
use crate::engine::EngineError;
use crate::engine::memory::OutOfMemory;
use crate::eval::EvalError;
use crate::hyper::HyperError;
use crate::onnx::OnnxError;
use crate::parity::ParityError;
use crate::picture::PictureError;
use crate::plot::PlotError;
use crate::quantize::QuantizeError;
use crate::score::ScoreError;
use crate::tensorboard::EventError;
use crate::train::TrainError;
use crate::validate::ValidationError;

/// The command line asks for something that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(
    /// What was expected and found.
    pub String,
);

/// The code for `error`: by the first link of its chain that says what kind of failure it is.
pub fn code(error: &anyhow::Error) -> u8 {
    error.chain().find_map(code_of).unwrap_or(1)
}

// An error that passes another one on unchanged hides it from the chain: such are looked into here.
fn code_of(error: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if let Some(error) = error.downcast_ref::<TrainError>() {
        return match error {
            TrainError::Interrupted { .. } => Some(130),
            TrainError::Empty { .. } | TrainError::NoAttributes { .. } => Some(3),
            TrainError::Resume(_) | TrainError::Teacher { .. } => Some(4),
            TrainError::Journal { .. } => Some(6),
            TrainError::NotFinite(_) => None,
            TrainError::Judged(inner) => Some(code(inner)),
            TrainError::Checkpoint(inner) => code_of(inner),
            TrainError::Data(inner) => code_of(inner),
            TrainError::Engine(inner) => code_of(inner),
            TrainError::Picture(inner) => code_of(inner),
            TrainError::Validation(inner) => code_of(inner),
            TrainError::Plot(inner) => code_of(inner),
            TrainError::Events(inner) => code_of(inner),
        };
    }
    if let Some(error) = error.downcast_ref::<AdjustError>() {
        return match error {
            AdjustError::Checkpoint(inner) => code_of(inner),
            AdjustError::Validation(inner) => code_of(inner),
            AdjustError::Head => Some(4),
            AdjustError::NoCells(_) => Some(3),
        };
    }
    if let Some(error) = error.downcast_ref::<DescribeError>() {
        return match error {
            DescribeError::Picture(inner) => code_of(inner),
            DescribeError::Score(inner) => code_of(inner),
            DescribeError::NoPictures { .. }
            | DescribeError::NoFindings { .. }
            | DescribeError::OtherModel { .. }
            | DescribeError::Cut { .. } => Some(3),
        };
    }
    if let Some(error) = error.downcast_ref::<ValidationError>() {
        return match error {
            ValidationError::Picture(inner) => code_of(inner),
            ValidationError::Eval(inner) => code_of(inner),
            ValidationError::Score(inner) => code_of(inner),
        };
    }
    if let Some(error) = error.downcast_ref::<PlotError>() {
        return match error {
            PlotError::Picture(inner) => code_of(inner),
            PlotError::Score(inner) => code_of(inner),
            PlotError::Table { .. } => Some(3),
            PlotError::Write { .. } => Some(6),
            PlotError::Drawing { .. } => None,
        };
    }
    if let Some(EventError::Write { .. }) = error.downcast_ref::<EventError>() {
        return Some(6);
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return is_disk(error).then_some(6);
    }
    kind_of(error)
}

/// The errors that say by themselves what they are.
fn kind_of(error: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if let Some(error) = error.downcast_ref::<EvalError>() {
        return Some(if matches!(error, EvalError::Picture(_)) {
            3
        } else {
            4
        });
    }
    if let Some(error) = error.downcast_ref::<DataError>() {
        return Some(if matches!(error, DataError::Write { .. }) {
            6
        } else {
            3
        });
    }
    if let Some(error) = error.downcast_ref::<ScoreError>() {
        return Some(if matches!(error, ScoreError::Options { .. }) {
            2
        } else {
            3
        });
    }
    if let Some(error) = error.downcast_ref::<EngineError>() {
        return Some(match error {
            EngineError::Libtorch(_) => 1,
            EngineError::Launch(_) => 2,
            EngineError::Missing(_) | EngineError::Peer(_) | EngineError::Memory(_) => 5,
        });
    }
    if let Some(error) = error.downcast_ref::<NotReady>() {
        return Some(error.code);
    }
    if let Some(error) = error.downcast_ref::<ParityError>() {
        return Some(error.code());
    }
    if let Some(error) = error.downcast_ref::<CheckpointError>() {
        let full = matches!(error, CheckpointError::Io { source, .. } if is_disk(source));
        return Some(if full { 6 } else { 4 });
    }
    let quantize = error.downcast_ref::<QuantizeError>();
    let kinds = [
        (error.is::<Usage>() || error.is::<HyperError>(), 2),
        (
            error.is::<PictureError>() || error.is::<DetectionsError>(),
            3,
        ),
        (error.is::<OnnxError>() || error.is::<ContractError>(), 4),
        (
            matches!(quantize, Some(QuantizeError::NoPictures { .. })),
            3,
        ),
        (quantize.is_some(), 4),
        (error.is::<DeviceError>() || error.is::<OutOfMemory>(), 5),
    ];
    kinds.into_iter().find_map(|(is, code)| is.then_some(code))
}

fn is_disk(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(
        error.kind(),
        StorageFull | ReadOnlyFilesystem | QuotaExceeded | PermissionDenied
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::dataset::Split;

    #[test]
    fn every_kind_of_failure_has_its_code_however_deep_it_lies() {
        let picture = || PictureError {
            path: PathBuf::from("a.jpg"),
            reason: String::new(),
        };
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let path = || PathBuf::from("x");
        let cases: Vec<(anyhow::Error, u8)> = vec![
            (anyhow::anyhow!("something"), 1),
            (Usage(String::new()).into(), 2),
            (picture().into(), 3),
            (AdjustError::Head.into(), 4),
            (AdjustError::NoCells(Split::Val).into(), 3),
            (EvalError::Picture(picture()).into(), 3),
            (
                TrainError::Validation(ValidationError::Eval(EvalError::Picture(picture()))).into(),
                3,
            ),
            (TrainError::Plot(PlotError::Picture(picture())).into(), 3),
            (
                TrainError::Plot(PlotError::Write {
                    path: path(),
                    source: full(),
                })
                .into(),
                6,
            ),
            (
                TrainError::Events(EventError::Write {
                    path: path(),
                    source: full(),
                })
                .into(),
                6,
            ),
            (ContractError::Levels.into(), 4),
            (
                CheckpointError::Format {
                    path: path(),
                    reason: String::new(),
                }
                .into(),
                4,
            ),
            (
                crate::device::parse("tpu")
                    .expect_err("no such device")
                    .into(),
                5,
            ),
            (
                CheckpointError::Io {
                    path: path(),
                    source: full(),
                }
                .into(),
                6,
            ),
            (anyhow::Error::from(full()).context("out"), 6),
            (TrainError::Interrupted { epoch: 2 }.into(), 130),
            (EngineError::Launch(String::new()).into(), 2),
            (EngineError::Peer(String::new()).into(), 5),
            (
                EngineError::of_libtorch("CUDA out of memory. Tried").into(),
                5,
            ),
        ];
        for (error, expected) in cases {
            assert_eq!(code(&error), expected, "{error:#}");
        }
    }
}
