//! What the store refuses, and why.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::atomic::OutputError;
use crate::exit;

/// The first thing of a chain, manifest, picture or table that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Flaw {
    /// The file, with its path.
    pub file: PathBuf,
    /// Number of the record (in a chain: of the line, from 1), when one is at fault.
    pub record: Option<u64>,
    /// What would be right.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(record) = self.record {
            write!(f, ", record {record}")?;
        }
        write!(f, ": expected {}, found {}", self.expected, self.found)
    }
}

/// Why the store did not do as asked; nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full, read-only, or gone.
    #[error("{path}: cannot {doing}: {error}", path = .path.display())]
    Disk {
        /// File or folder.
        path: PathBuf,
        /// A verb.
        doing: &'static str,
        /// The system's reason.
        error: io::Error,
    },
    /// The database would not.
    #[error("{path}: cannot {doing}: {error}", path = .path.display())]
    Database {
        /// Its file.
        path: PathBuf,
        /// A verb.
        doing: &'static str,
        /// SQLite's reason.
        error: rusqlite::Error,
    },
    /// A database of a later version of this program.
    #[error("{path}: schema {found}, expected at most {known}: written by a later version", path = .path.display())]
    Newer {
        /// Its file.
        path: PathBuf,
        /// Schema in the file.
        found: i64,
        /// Newest schema known here.
        known: i64,
    },
    /// Another station works on these data.
    #[error("{path}: held by process {pid}, expected no other station on these data", path = .path.display())]
    Locked {
        /// The lock.
        path: PathBuf,
        /// Who holds it, as it wrote itself down.
        pid: String,
    },
    /// Too little room to begin or copy a case.
    #[error("{path}: {free} {what} free, expected at least {floor} to {purpose}", path = .path.display())]
    Floor {
        /// The data root.
        path: PathBuf,
        /// `bytes` or `inodes`.
        what: &'static str,
        /// What is left.
        free: u64,
        /// What has to be left.
        floor: u64,
        /// For what.
        purpose: &'static str,
    },
    /// The data root is not the one that was opened.
    #[error("{root}: the disk of the data was taken out, or another lies there", root = .root.display())]
    Gone {
        /// The data root.
        root: PathBuf,
    },
    /// The store was opened for reading only.
    #[error("nothing can be recorded: {reason}")]
    ReadOnly {
        /// Why it could not be opened for writing.
        reason: String,
    },
    /// There is no such case.
    #[error("case {0}: not found")]
    Unknown(String),
    /// There is or was such a case.
    #[error("case {name}: there is or was a case {taken}, expected a new name")]
    Taken {
        /// As asked for.
        name: String,
        /// As it is.
        taken: String,
    },
    /// Something that cannot be recorded.
    #[error("{field}: {found}, expected {expected}")]
    BadEntry {
        /// Which part.
        field: &'static str,
        /// The rule.
        expected: &'static str,
        /// What was given.
        found: String,
    },
    /// What was written before is not as it was written.
    #[error("{0}")]
    Damaged(Box<Flaw>),
    /// The case has changed since a person agreed to its deletion.
    #[error(
        "case {case}: last hash {found}, expected {agreed}: changed since its deletion was agreed to"
    )]
    NotAgreed {
        /// Which.
        case: String,
        /// Hash that was agreed to.
        agreed: String,
        /// Hash that is.
        found: String,
    },
}

impl StoreError {
    /// A failure of the disk at `path`, while `doing` (a verb).
    pub(super) fn disk(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Disk { path, doing, error }
    }

    /// The code of the process: 6 for the disk, 3 for bad data, 2 for what makes no sense, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Disk { .. } | Self::Floor { .. } | Self::ReadOnly { .. } => exit::DISK,
            Self::Gone { .. } => exit::DISK,
            Self::Database { .. } if self.is_damage() => exit::BAD_DATA,
            Self::Database { .. } => exit::DISK,
            Self::Damaged(_) | Self::Newer { .. } => exit::BAD_DATA,
            Self::Unknown(_) | Self::Taken { .. } | Self::BadEntry { .. } => exit::USAGE,
            Self::Locked { .. } | Self::NotAgreed { .. } => exit::FAILURE,
        }
    }

    /// Whether the bytes of the database are at fault, not the disk.
    pub(super) fn is_damage(&self) -> bool {
        let Self::Database { error, .. } = self else {
            return false;
        };
        match error {
            rusqlite::Error::SqliteFailure(code, _) => matches!(
                code.code,
                ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::Unknown
            ),
            // A column of another type, a text that is no text, a missing table.
            _ => true,
        }
    }

    /// Whether the disk takes no writing now though it can be read: full, or read-only.
    pub(super) fn is_no_room(&self) -> bool {
        match self {
            Self::Disk { error, .. } => matches!(
                error.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::ReadOnlyFilesystem
                    | io::ErrorKind::PermissionDenied
            ),
            Self::Database {
                error: rusqlite::Error::SqliteFailure(code, _),
                ..
            } => matches!(
                code.code,
                ErrorCode::DiskFull
                    | ErrorCode::ReadOnly
                    | ErrorCode::CannotOpen
                    | ErrorCode::SystemIoFailure
            ),
            _ => false,
        }
    }
}

impl StoreError {
    /// Whether files that are open may lead nowhere any more, so that the data have to be opened anew.
    pub(super) fn is_adrift(&self) -> bool {
        match self {
            Self::Gone { .. } => true,
            Self::Disk { .. } => !self.is_no_room(),
            Self::Database {
                error: rusqlite::Error::SqliteFailure(code, _),
                ..
            } => matches!(
                code.code,
                ErrorCode::CannotOpen | ErrorCode::SystemIoFailure
            ),
            _ => false,
        }
    }
}

impl From<OutputError> for StoreError {
    fn from(failed: OutputError) -> Self {
        Self::Disk {
            path: failed.path.into(),
            doing: "write",
            error: failed.error,
        }
    }
}

impl From<Flaw> for StoreError {
    fn from(flaw: Flaw) -> Self {
        Self::Damaged(Box::new(flaw))
    }
}
