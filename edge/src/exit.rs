//! Which failure ends the process with which code.

use std::io;

use crate::atomic::OutputError;
use crate::bench::BenchError;
use crate::calibrate::CalibrateError;
use crate::cameras::CamerasError;
use crate::cli::ThresholdError;
use crate::config::ConfigError;
use crate::detector::DetectError;
use crate::install::InstallError;
use crate::keep::KeepError;
use crate::model::ModelError;
use crate::replay::ReplayError;
use crate::station::start::StartError;

/// Everything that can end a command early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A model that was refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A replay or the demonstration.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A benchmark.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// The network, outside of a replay.
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// A file of `bench --serve`.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A line that `bench --serve` cannot follow.
    #[error("order {0:?}, expected `canvas SEED FILE`, `run COUNT` or `heads FILE`")]
    Order(String),
    /// Thresholds of the command line.
    #[error(transparent)]
    Thresholds(#[from] ThresholdError),
    /// A configuration that cannot be used.
    #[error("{file}: {error}")]
    Config {
        /// Its file.
        file: String,
        /// Where, and why.
        error: ConfigError,
    },
    /// A model that was not exchanged.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// The station did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A thread of the station ended by a mistake of the program.
    #[error("thread {0} has stopped by a mistake of the program, what it said stands above")]
    Thread(&'static str),
    /// Ended by Ctrl-C, everything in order; the log says so.
    #[error("interrupted")]
    Interrupted,
    /// Nothing was calibrated.
    #[error(transparent)]
    Calibrate(#[from] CalibrateError),
    /// No camera can be listed.
    #[error(transparent)]
    Cameras(#[from] CamerasError),
    /// Something with what is kept.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// The self-test's answer is no; it was printed.
    #[error("the model does not find here what it found where it was exported")]
    Parity,
    /// The self-test has nothing to compare with; it was printed.
    #[error("the model's contract records no golden field to compare with")]
    NothingRecorded,
    /// Results that nobody takes.
    #[error("standard output")]
    Print(#[from] io::Error),
    /// Results that cannot be put into words.
    #[error("JSON")]
    Json(#[from] serde_json::Error),
}

/// Done.
pub const OK: u8 = 0;
/// A failure without a code of its own.
pub const FAILURE: u8 = 1;
/// Arguments that make no sense.
pub const USAGE: u8 = 2;
/// A source that is missing or holds nothing readable.
pub const BAD_DATA: u8 = 3;
/// A model that is broken, foreign, or does not do what it did.
pub const BAD_MODEL: u8 = 4;
/// A camera that is missing, in use, silent or refuses.
pub const DEVICE: u8 = 5;
/// A disk that is full, read-only or gone.
pub const DISK: u8 = 6;
/// Ended by Ctrl-C.
pub const INTERRUPTED: u8 = 130;

impl Failure {
    /// The code of the process.
    pub fn code(&self) -> u8 {
        match self {
            // Whoever closed the pipe has seen enough.
            Self::Print(error) if error.kind() == io::ErrorKind::BrokenPipe => OK,
            Self::Print(_) | Self::Output(_) => DISK,
            Self::Thresholds(_) | Self::Order(_) => USAGE,
            Self::Model(_) | Self::Detect(_) | Self::Parity => BAD_MODEL,
            Self::Config { .. } => BAD_DATA,
            Self::Install(error) => install_code(error),
            Self::Calibrate(error) => error.code(),
            Self::Cameras(error) => error.code(),
            Self::Keep(error) => error.code(),
            Self::Replay(error) => match error {
                ReplayError::Source(_) => BAD_DATA,
                ReplayError::Output(OutputError { .. }) => DISK,
                ReplayError::Detect { .. } => BAD_MODEL,
            },
            Self::Bench(error) => match error {
                BenchError::Source(_) | BenchError::Picture { .. } => BAD_DATA,
                BenchError::Detect(_) => BAD_MODEL,
            },
            Self::Start(error) => error.exit_code(),
            Self::Interrupted => INTERRUPTED,
            Self::Json(_) | Self::NothingRecorded | Self::Thread(_) => FAILURE,
        }
    }

    /// Whether there is anything left to say.
    pub fn is_silent(&self) -> bool {
        matches!(self, Self::Interrupted) || self.code() == OK
    }
}

/// The code of a model that was not exchanged, or is not as it was installed.
pub fn install_code(error: &InstallError) -> u8 {
    match error {
        InstallError::NoKey | InstallError::Key(_) => USAGE,
        InstallError::NoSignature { .. }
        | InstallError::Signature { .. }
        | InstallError::Model(_)
        | InstallError::Detect { .. }
        | InstallError::Golden { .. }
        | InstallError::Damaged { .. } => BAD_MODEL,
        InstallError::Record { .. } => BAD_DATA,
        InstallError::Output(_) => DISK,
        InstallError::CaseOpen { .. }
        | InstallError::Busy { .. }
        | InstallError::NothingBefore { .. }
        | InstallError::Exchanged { .. } => FAILURE,
    }
}
