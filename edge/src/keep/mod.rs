//! What is kept, looked at, copied, given away and deleted: the commands on the data of a station.
//!
//! All but a deletion only read, so they work beside a running station. Never repairs anything: that is
//! what a station does when it starts.

mod backup;
mod case;
mod cases;
mod retention;
mod training;
mod verify;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::atomic::OutputError;
use crate::case::text::CaseId;
use crate::commands::config_of;
use crate::exit::{self, Failure};
use crate::store::StoreError;

/// What to do with what is kept.
#[derive(Clone, Debug, Subcommand)]
pub enum KeepCommand {
    /// Says whether every case is as it was recorded: chains, manifests, pictures, database
    Verify(Look),
    /// Lists the cases
    Cases(Look),
    /// Copies cases to another disk or a USB stick, and reads the copies back
    Backup(backup::Backup),
    /// Lists the cases that may go, or deletes one
    Retention(retention::Retention),
    /// Writes reviewed cells and fields as COCO JSON and YOLO labels, for leuko-host
    ExportTraining(training::ExportTraining),
}

/// Which data.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// The station's configuration, for the data root [default: that of `config`]
    #[arg(long, value_name = "FILE", conflicts_with = "root")]
    pub config: Option<PathBuf>,
    /// The data root itself
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

/// Arguments of `verify` and `cases`.
#[derive(Args, Clone, Debug)]
pub struct Look {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub place: Place,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Why a command on kept data did not do all it should.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The store would not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A result could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Something is not as it was recorded; it was printed.
    #[error("{root}: {flaws} not as recorded, first {first}", root = .root.display())]
    Flaws {
        /// The data root.
        root: PathBuf,
        /// How many.
        flaws: usize,
        /// Which file.
        first: String,
    },
    /// Some cases went wrong; how was printed.
    #[error("{failed} of {of} cases went wrong")]
    Cases {
        /// How many.
        failed: usize,
        /// Of how many.
        of: usize,
        /// The code of the first.
        code: u8,
    },
    /// No field can be learned from; why was printed.
    #[error("no field to write")]
    Nothing,
    /// Results would lie among other files.
    #[error("{to}: expected a new or empty folder, found something in it", to = .to.display())]
    Occupied {
        /// Where they should go.
        to: PathBuf,
    },
    /// Results would lie among the data, where only a station writes.
    #[error("{to}: expected a folder outside the data root {root}", to = .to.display(), root = .root.display())]
    Inside {
        /// Where they should go.
        to: PathBuf,
        /// The data root.
        root: PathBuf,
    },
    /// Copies would have no place.
    #[error("{to}: expected a folder that is there, found {found}", to = .to.display())]
    NoFolder {
        /// Where they should go.
        to: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// The station's start cannot be named.
    #[error(transparent)]
    Boot(#[from] crate::clock::BootError),
}

impl KeepError {
    /// The code of the process.
    pub fn code(&self) -> u8 {
        match self {
            Self::Store(error) => error.exit_code(),
            Self::Output(_) | Self::Boot(_) | Self::NoFolder { .. } => exit::DISK,
            Self::Flaws { .. } => exit::BAD_DATA,
            Self::Cases { code, .. } => *code,
            Self::Nothing => exit::FAILURE,
            Self::Occupied { .. } | Self::Inside { .. } => exit::USAGE,
        }
    }
}

/// Does what the command line says.
///
/// # Errors
/// Whatever ended the command early, or was printed and has to end it with a code.
pub fn run(command: &KeepCommand, print: &mut dyn Write) -> Result<(), Failure> {
    match command {
        KeepCommand::Verify(args) => verify::run(args, print),
        KeepCommand::Cases(args) => cases::run(args, print),
        KeepCommand::Backup(args) => backup::run(args, print),
        KeepCommand::Retention(args) => retention::run(args, print),
        KeepCommand::ExportTraining(args) => training::run(args, print),
    }
}

impl Place {
    /// The data root.
    fn root(&self) -> Result<PathBuf, Failure> {
        if let Some(root) = &self.root {
            return Ok(root.clone());
        }
        Ok(config_of(self.config.as_deref())?.store.root)
    }
}

/// Refuses a place for results inside the data root.
fn check_outside(root: &Path, to: &Path) -> Result<(), KeepError> {
    let real = |path: &Path| path.canonicalize().ok();
    // What is not there yet is where the nearest folder above it is.
    let absolute = std::path::absolute(to).unwrap_or_else(|_| to.to_owned());
    let place = absolute.ancestors().find_map(real);
    match (real(root), place) {
        (Some(inside), Some(place)) if place.starts_with(&inside) => Err(KeepError::Inside {
            to: to.to_owned(),
            root: root.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// A name of a case on the command line.
fn case_id(text: &str) -> Result<CaseId, String> {
    CaseId::try_from(text).map_err(|refused| refused.to_string())
}

/// The cases that are named, each once, or `all` when none is.
fn chosen(named: &[CaseId], all: impl IntoIterator<Item = CaseId>) -> Vec<CaseId> {
    if named.is_empty() {
        return all.into_iter().collect();
    }
    let mut chosen: Vec<CaseId> = Vec::new();
    for case in named {
        if !chosen.contains(case) {
            chosen.push(case.clone());
        }
    }
    chosen
}

/// `Ok` when no case failed.
fn all_well(codes: &[u8], of: usize) -> Result<(), Failure> {
    match codes.first() {
        None => Ok(()),
        Some(&code) => Err(KeepError::Cases {
            failed: codes.len(),
            of,
            code,
        }
        .into()),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
