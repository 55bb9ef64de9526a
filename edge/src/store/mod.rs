//! What happened to every case, on the disk before anyone is told that it happened.
//!
//! An event goes [`Store::record`] → pictures → manifest → chain ([`chain`]) → database; when it
//! returns, all of it survives a power cut, and when it fails, none of it is there. The store does
//! not read events. It knows three kinds by name: `case_opened` is the first of a case, `signed` and
//! `amended` say whether a case is finished.
//!
//! A case folder is the case; the database is an index and a second witness. [`Store::open`] makes
//! them agree again after a crash, and leaves alone what a crash cannot have done: such a case takes
//! no more records until a person has looked ([`verify`] names the first thing that is wrong).
//!
//! Nothing here has a clock: who calls says the time, and order is by sequence.

pub mod backup;
pub mod chain;
mod database;
pub mod disk;
mod error;
mod folder;
mod id;
mod lock;
mod look;
mod record;
mod repair;
mod repaired;
pub mod retention;
mod verify;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use chain::{CHAIN_BYTES_MAX, Head, Record, Tail, hex, manifest_line, scan};
use database::Database;
use folder::Layout;
use lock::Lock;
use sha2::{Digest, Sha256};

use crate::case::text::CaseId;
pub use chain::{Entry, Picture};
pub use disk::{Floor, Free};
pub use error::{Flaw, StoreError};
pub use look::held_by;

pub use record::Acknowledged;
pub use repaired::Repaired;
pub use verify::{Verified, verify, verify_case};

/// Longest picture, bytes: a raw 4K frame has half of it.
pub const PICTURE_BYTES_MAX: u64 = 64 << 20;

/// All cases of a station; at most one at a time on a data root.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    access: Access,
    floor: Floor,
    /// The station's chain under `None`, then the cases.
    chains: BTreeMap<Option<CaseId>, ChainState>,
    /// Names that had a case once.
    deleted: BTreeSet<CaseId>,
    /// `None` where nothing can be held, as on a disk that no station ever wrote.
    lock: Option<Lock>,
    /// The disk went away or failed, so that what is open may lead nowhere.
    adrift: bool,
}

#[derive(Debug)]
enum Access {
    Writing(Database),
    /// And why not writing.
    Reading(String),
}

/// What is known of a chain without reading it.
#[derive(Clone, Debug)]
struct ChainState {
    head: Head,
    flaw: Option<Flaw>,
}

/// One case, in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseSummary {
    /// Its name.
    pub case: CaseId,
    /// Where its chain ends.
    pub head: Head,
    /// What is wrong with it; it takes no records then.
    pub flaw: Option<Flaw>,
}

/// A case, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// In the order in which they were recorded, as far as the chain is good.
    pub records: Vec<Record>,
    /// What stands behind the last good record and does not belong there.
    pub flaw: Option<Flaw>,
}

impl Store {
    /// Opens the data root, or makes it, and repairs what a crash has left.
    ///
    /// On a disk that is full or read-only the store is opened for reading ([`Store::read_only`]):
    /// reviewing goes on, recording is refused with the reason.
    ///
    /// # Errors
    /// [`StoreError::Locked`] for a second station; [`StoreError::Newer`]; or the disk cannot be read.
    pub fn open(root: &Path) -> Result<(Self, Vec<Repaired>), StoreError> {
        fs::create_dir_all(root).map_err(StoreError::disk(root, "make"))?;
        folder::make(&Layout::new(root).cases())?;
        Self::open_existing(root)
    }

    /// Opens the same data anew, and repairs them; the store is for reading only where that fails.
    ///
    /// # Errors
    /// [`StoreError::Gone`] where the disk is not there, and as [`Store::open`].
    pub fn reopen(&mut self) -> Result<Vec<Repaired>, StoreError> {
        // The former lock and database would be in the way.
        self.refuse("the data are being opened anew".to_owned());
        self.lock = None;
        match Self::open_existing(self.layout.root()) {
            Ok((opened, repaired)) => {
                *self = opened.with_floor(self.floor);
                Ok(repaired)
            }
            Err(error) => {
                self.refuse(error.to_string());
                Err(error)
            }
        }
    }

    /// Records nothing any more, because of `reason`, until it is opened anew.
    pub fn refuse(&mut self, reason: String) {
        self.access = Access::Reading(reason);
    }

    fn open_existing(root: &Path) -> Result<(Self, Vec<Repaired>), StoreError> {
        match Self::open_for_writing(root) {
            Err(refused) if refused.is_no_room() => {
                // SQLite's words for a full disk do not name it.
                let free = disk::free(root)
                    .map_or(String::new(), |it| format!(", {} bytes free", it.bytes));
                let reason = format!("{refused}{free}");
                Ok((Self::open_for_reading(root, reason)?, Vec::new()))
            }
            outcome => outcome,
        }
    }

    fn open_for_writing(root: &Path) -> Result<(Self, Vec<Repaired>), StoreError> {
        let layout = Layout::new(root);
        let is_there = || match layout.cases().is_dir() {
            true => Ok(()),
            false => Err(StoreError::Gone {
                root: root.to_owned(),
            }),
        };
        is_there()?;
        let lock = Lock::take(&layout.lock())?;
        // The lock may have been made in the place of a disk that was taken out just now.
        is_there()?;
        folder::make(&layout.folder(None))?;
        let repair::Outcome {
            database,
            chains,
            deleted,
            repaired,
        } = repair::all(&layout)?;
        let store = Self {
            layout,
            access: Access::Writing(database),
            floor: Floor::default(),
            chains,
            deleted,
            lock: Some(lock),
            adrift: false,
        };
        Ok((store, repaired))
    }

    fn open_for_reading(root: &Path, reason: String) -> Result<Self, StoreError> {
        let lock = Lock::take_for_reading(&Layout::new(root).lock())?;
        Self::read_chains(root, reason, lock)
    }

    /// Reads the chains, which need no database.
    fn read_chains(root: &Path, reason: String, lock: Option<Lock>) -> Result<Self, StoreError> {
        let layout = Layout::new(root);
        let (cases, _) = layout.case_folders()?;
        let mut chains = BTreeMap::new();
        for case in std::iter::once(None).chain(cases.into_iter().map(Some)) {
            let path = layout.chain(case.as_ref());
            let scan = scan(&path, case.as_ref(), |_, _, _| Ok(()))?;
            let flaw =
                verify::chain_flaw(&path, &scan).filter(|_| matches!(scan.tail, Tail::Bad(_)));
            if case.is_none() || scan.head.entries > 0 || flaw.is_some() {
                let head = scan.head;
                chains.insert(case, ChainState { head, flaw });
            }
        }
        Ok(Self {
            layout,
            access: Access::Reading(reason),
            floor: Floor::default(),
            chains,
            deleted: BTreeSet::new(),
            lock,
            adrift: false,
        })
    }

    /// The same store with another floor for beginning a case.
    #[must_use]
    pub fn with_floor(mut self, floor: Floor) -> Self {
        self.floor = floor;
        self
    }

    /// The folder of all data.
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// Why nothing can be recorded, if so.
    pub fn read_only(&self) -> Option<&str> {
        match &self.access {
            Access::Writing(_) => None,
            Access::Reading(reason) => Some(reason),
        }
    }

    /// Whether the data should be opened anew as soon as that is possible: the disk took nothing when
    /// they were opened, was taken out since, or failed so that nobody knows what is on it.
    pub fn wants_reopening(&self) -> bool {
        self.read_only().is_some() || self.adrift
    }

    /// Whether data are there, `case` among them, and take writes. Tries it.
    pub fn can_be_reopened(&self, case: Option<&CaseId>) -> bool {
        // Where a disk is missing there may be an empty folder in its place, or the data of a start
        // without it.
        self.layout.cases().is_dir()
            && case.is_none_or(|case| self.layout.chain(Some(case)).is_file())
            && disk::try_writing(self.layout.root()).is_ok()
    }

    /// What is free on the disk of the data.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn free(&self) -> Result<Free, StoreError> {
        disk::free(self.layout.root())
    }

    /// All cases, in order of their names.
    pub fn cases(&self) -> Vec<CaseSummary> {
        let cases = self.chains.keys().flatten();
        cases.filter_map(|case| self.case(case)).collect()
    }

    /// One of them; `None` when there is none of this name.
    pub fn case(&self, case: &CaseId) -> Option<CaseSummary> {
        let state = self.known(case).ok()?;
        Some(CaseSummary {
            case: case.clone(),
            head: state.head.clone(),
            flaw: state.flaw.clone(),
        })
    }

    /// What is wrong with the chain of the station; it takes no records then.
    pub fn station_flaw(&self) -> Option<&Flaw> {
        self.chains.get(&None)?.flaw.as_ref()
    }

    /// Reads a case back.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], or the disk cannot be read.
    pub fn history(&self, case: &CaseId) -> Result<History, StoreError> {
        self.known(case)?;
        self.read(Some(case))
    }

    /// Reads back what belongs to no case.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn station_history(&self) -> Result<History, StoreError> {
        self.read(None)
    }

    fn known(&self, case: &CaseId) -> Result<&ChainState, StoreError> {
        self.chains
            .get(&Some(case.clone()))
            .ok_or_else(|| StoreError::Unknown(case.to_string()))
    }

    fn read(&self, case: Option<&CaseId>) -> Result<History, StoreError> {
        let path = self.layout.chain(case);
        if folder::length(&path)? > CHAIN_BYTES_MAX {
            // Names the file and both lengths.
            folder::read(&path, CHAIN_BYTES_MAX)?;
        }
        let mut records = Vec::new();
        let scan = scan(&path, case, |_, record, _| {
            records.push(record);
            Ok(())
        })?;
        let flaw = verify::chain_flaw(&path, &scan);
        Ok(History { records, flaw })
    }

    /// Reads a recorded picture back and compares it with its hash.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] case or picture; [`StoreError::Damaged`]; or the disk cannot be read.
    pub fn picture(&self, case: &CaseId, name: &str) -> Result<Vec<u8>, StoreError> {
        self.known(case)?;
        id::check_picture_name(name)?;
        let manifest = folder::read(&self.layout.manifest(case), CHAIN_BYTES_MAX)?;
        let manifest = String::from_utf8_lossy(&manifest);
        let wanted = manifest
            .lines()
            .find_map(|line| line.split_once("  ").filter(|(_, n)| *n == name))
            .ok_or_else(|| StoreError::Unknown(format!("{case}, picture {name}")))?
            .0;
        let path = self.layout.folder(Some(case)).join(name);
        let bytes = folder::read(&path, PICTURE_BYTES_MAX)?;
        let found = hex(Sha256::digest(&bytes));
        if found != wanted {
            return Err(verify::picture_flaw(&path, wanted, &found).into());
        }
        Ok(bytes)
    }

    /// Checks everything: see [`verify`].
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn verify(&self) -> Result<Verified, StoreError> {
        verify(self.layout.root())
    }
}

/// The manifest that belongs to `pictures`.
fn manifest_of(pictures: &[Picture]) -> String {
    pictures.iter().map(manifest_line).collect()
}
