//! What a start has put right, in words.

use std::fmt;
use std::path::PathBuf;

/// Something that [`Store::open`](super::Store::open) put right.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Repaired {
    /// The database was unreadable; it lies beside the new one as `station.sqlite.damaged`.
    DatabaseSetAside {
        /// What was wrong.
        reason: String,
    },
    /// The database did not hold the records of a chain from one on; they were read from the chain.
    Indexed {
        /// Which chain.
        chain: PathBuf,
        /// First record that was missing or different.
        from: u64,
        /// Records read.
        records: u64,
    },
    /// A half record at the end of a chain was cut off; its bytes lie in `unrecorded`.
    HalfRecord {
        /// Which chain.
        chain: PathBuf,
        /// The record that it would have been.
        record: u64,
        /// Length.
        bytes: u64,
    },
    /// Records at the end of a chain were missing and were copied from the database.
    Restored {
        /// Which chain.
        chain: PathBuf,
        /// First record.
        from: u64,
        /// Records copied.
        records: u64,
    },
    /// A manifest was longer or shorter than its chain says, and was written again.
    Manifest {
        /// Which.
        manifest: PathBuf,
    },
    /// A picture that no record names was moved out of the way.
    Unrecorded {
        /// Where it lay.
        picture: PathBuf,
        /// Where it lies.
        moved: PathBuf,
    },
    /// A file that was half written was removed.
    Part {
        /// Where it lay.
        file: PathBuf,
    },
    /// A case whose first record was never finished was removed.
    NeverOpened {
        /// Its folder.
        folder: PathBuf,
    },
    /// A deletion that was agreed to and recorded was finished.
    DeletionFinished {
        /// Its folder.
        folder: PathBuf,
    },
    /// Something among the case folders is none; it was left alone.
    Ignored {
        /// Where it lies.
        path: PathBuf,
    },
}

impl fmt::Display for Repaired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DatabaseSetAside { reason } => write!(
                f,
                "station.sqlite: {reason}; kept as station.sqlite.damaged, made again from the case folders"
            ),
            Self::Indexed {
                chain,
                from,
                records,
            } => write!(
                f,
                "{}: {records} records from {from} on read into the database",
                chain.display()
            ),
            Self::HalfRecord {
                chain,
                record,
                bytes,
            } => write!(
                f,
                "{}: {bytes} bytes of an unfinished record {record} cut off",
                chain.display()
            ),
            Self::Restored {
                chain,
                from,
                records,
            } => write!(
                f,
                "{}: {records} records from {from} on were missing, copied from the database",
                chain.display()
            ),
            Self::Manifest { manifest } => {
                write!(f, "{}: written again from the chain", manifest.display())
            }
            Self::Unrecorded { picture, moved } => write!(
                f,
                "{}: in no record, moved to {}",
                picture.display(),
                moved.display()
            ),
            Self::Part { file } => write!(f, "{}: half written, removed", file.display()),
            Self::NeverOpened { folder } => {
                write!(f, "{}: no record was finished, removed", folder.display())
            }
            Self::DeletionFinished { folder } => {
                write!(f, "{}: deletion finished", folder.display())
            }
            Self::Ignored { path } => write!(f, "{}: not a case folder, ignored", path.display()),
        }
    }
}
