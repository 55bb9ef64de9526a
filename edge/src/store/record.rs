//! One event onto the disk, whole or not at all.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use super::chain::{Entry, Head, PICTURES_MAX, Picture, Record, seal, sha256};
use super::database::NotAdded;
use super::error::{Flaw, StoreError};
use super::folder::{self, Layout};
use super::id::{check_picture_name, same_folder, shown};
use super::{Access, ChainState, PICTURE_BYTES_MAX, Store, disk, manifest_of};
use crate::case::text::CaseId;

/// Kind of the first record of every case, and of no other.
pub(super) const OPENED: &str = "case_opened";

/// A record that is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Its number in its chain, from 1.
    pub sequence: u64,
    /// Its hash, which stands for everything up to it.
    pub hash: String,
}

impl Store {
    /// Records an event of a case with its pictures (name in the case folder as `fields/0001.jpg`,
    /// bytes). When this returns, they are on the disk.
    ///
    /// # Errors
    /// Any [`StoreError`]; nothing of the event is there then. Only where the disk refuses even to have it
    /// taken back, the chain takes no more records until the store is opened again, and the event is
    /// there whole or not at all.
    pub fn record(
        &mut self,
        case: &CaseId,
        entry: Entry<'_>,
        pictures: &[(&str, &[u8])],
    ) -> Result<Acknowledged, StoreError> {
        let recorded = self.record_of(case, &entry, pictures);
        self.noted(recorded)
    }

    fn record_of(
        &mut self,
        case: &CaseId,
        entry: &Entry<'_>,
        pictures: &[(&str, &[u8])],
    ) -> Result<Acknowledged, StoreError> {
        self.writable()?;
        let is_new = self.check_opening(case, entry, pictures)?;
        if is_new {
            let root = self.layout.root();
            disk::check(root, disk::free(root)?, self.floor, "begin a case")?;
        }
        let named = check_pictures(&self.layout, case, pictures)?;
        self.write(Some(case), entry, named, pictures, is_new)
    }

    /// Records an event of no case: a start, a stop, another model.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn record_station(&mut self, entry: Entry<'_>) -> Result<Acknowledged, StoreError> {
        let writable = self.writable();
        let recorded = writable.and_then(|()| self.write(None, &entry, Vec::new(), &[], false));
        self.noted(recorded)
    }

    /// Whether records are taken, as far as that is known without trying one.
    ///
    /// # Errors
    /// [`StoreError::ReadOnly`]; [`StoreError::Gone`].
    pub fn check_writable(&mut self) -> Result<(), StoreError> {
        let writable = self.writable();
        self.noted(writable)
    }

    fn noted<T>(&mut self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        self.adrift |= outcome.as_ref().is_err_and(StoreError::is_adrift);
        outcome
    }

    pub(super) fn writable(&self) -> Result<(), StoreError> {
        if let Some(reason) = self.read_only() {
            return Err(StoreError::ReadOnly {
                reason: reason.to_owned(),
            });
        }
        let lock = self.layout.lock();
        match self.lock.as_ref().is_none_or(|held| held.is_at(&lock)) {
            true => Ok(()),
            false => Err(StoreError::Gone {
                root: self.layout.root().to_owned(),
            }),
        }
    }

    /// Whether the event begins a case.
    fn check_opening(
        &self,
        case: &CaseId,
        entry: &Entry<'_>,
        pictures: &[(&str, &[u8])],
    ) -> Result<bool, StoreError> {
        if entry.kind != OPENED {
            return self.known(case).map(|_| false);
        }
        let cases = self.chains.keys().flatten();
        if let Some(taken) = cases.chain(&self.deleted).find(|c| same_folder(c, case)) {
            return Err(StoreError::Taken {
                name: case.to_string(),
                taken: taken.to_string(),
            });
        }
        match pictures.first() {
            None => Ok(true),
            Some((name, _)) => Err(StoreError::BadEntry {
                field: "picture",
                expected: "none with case_opened",
                found: shown(name),
            }),
        }
    }

    fn write(
        &mut self,
        case: Option<&CaseId>,
        entry: &Entry<'_>,
        named: Vec<Picture>,
        pictures: &[(&str, &[u8])],
        is_new: bool,
    ) -> Result<Acknowledged, StoreError> {
        let key = case.cloned();
        let before = match self.chains.get(&key) {
            Some(ChainState {
                flaw: Some(flaw), ..
            }) => return Err(flaw.clone().into()),
            Some(state) => state.head.clone(),
            None => Head::empty(),
        };
        let (line, record) = seal(&before, case, entry, named)?;
        let step = Step {
            layout: &self.layout,
            case,
            before: &before,
            after: before.followed_by(&record, line.len()),
            is_new,
        };
        step.check_untouched()?;
        let Access::Writing(database) = &mut self.access else {
            unreachable!("checked by `writable`");
        };
        let placed = step.place_pictures(pictures).map_err(|error| NotAdded {
            error,
            may_return: false,
        });
        let written = placed.and_then(|()| {
            database.add(case, &line, [&before, &step.after], || {
                step.extend_files(&record, &line)
            })
        });
        let Err(NotAdded { error, may_return }) = written else {
            let (head, flaw) = (step.after, None);
            self.chains.insert(key, ChainState { head, flaw });
            return Ok(Acknowledged {
                sequence: record.sequence,
                hash: record.hash,
            });
        };
        // What the database may still hold stays whole in the folder: taken back from there alone, it
        // would be copied out of the database again.
        let stuck = match may_return {
            true => Some(error.to_string()),
            false => step.undo(pictures).err().map(|stuck| stuck.to_string()),
        };
        if let Some(stuck) = stuck {
            self.adrift = true;
            let flaw = Some(stuck_flaw(&self.layout, case, stuck));
            let head = before.clone();
            self.chains.insert(key, ChainState { head, flaw });
        }
        Err(error)
    }
}

/// The change of the files of one chain by one record.
struct Step<'a> {
    layout: &'a Layout,
    case: Option<&'a CaseId>,
    before: &'a Head,
    after: Head,
    is_new: bool,
}

impl Step<'_> {
    /// Somebody else's bytes at the end of the files would be sealed in.
    fn check_untouched(&self) -> Result<(), StoreError> {
        let mut files = vec![(self.layout.chain(self.case), self.before.bytes)];
        if let Some(case) = self.case {
            files.push((self.layout.manifest(case), self.before.manifest_bytes));
        }
        for (file, expected) in files {
            let found = folder::length(&file)?;
            if found != expected {
                return Err(Flaw {
                    file,
                    record: None,
                    expected: format!("{expected} bytes, as this station wrote it"),
                    found: format!("{found} bytes"),
                }
                .into());
            }
        }
        Ok(())
    }

    fn place_pictures(&self, pictures: &[(&str, &[u8])]) -> Result<(), StoreError> {
        let home = self.layout.folder(self.case);
        if self.is_new {
            folder::make(&home)?;
        }
        let mut folders = BTreeSet::new();
        for (name, bytes) in pictures {
            let path = home.join(name);
            let folder = path.parent().expect("a checked name has a folder");
            folder::make(folder)?;
            folder::create(&path, bytes)?;
            folders.insert(folder.to_owned());
        }
        for folder in folders {
            folder::sync_names(&folder)?;
        }
        Ok(())
    }

    fn extend_files(&self, record: &Record, line: &str) -> Result<(), StoreError> {
        if let (Some(case), false) = (self.case, record.pictures.is_empty()) {
            let lines = manifest_of(&record.pictures);
            folder::append(&self.layout.manifest(case), lines.as_bytes())?;
        }
        folder::append(
            &self.layout.chain(self.case),
            format!("{line}\n").as_bytes(),
        )
    }

    /// Takes everything back; the chain first, because a record without its pictures is damage while
    /// pictures without a record are only left over.
    fn undo(&self, pictures: &[(&str, &[u8])]) -> Result<(), StoreError> {
        let shorten = |path: PathBuf, bytes| match folder::length(&path)? {
            long if long > bytes => folder::cut(&path, bytes),
            _ => Ok(()),
        };
        shorten(self.layout.chain(self.case), self.before.bytes)?;
        let Some(case) = self.case else { return Ok(()) };
        shorten(self.layout.manifest(case), self.before.manifest_bytes)?;
        let home = self.layout.folder(self.case);
        for (name, _) in pictures {
            let path = home.join(name);
            if path.exists() {
                fs::remove_file(&path).map_err(StoreError::disk(&path, "remove"))?;
            }
        }
        if self.is_new && home.exists() {
            fs::remove_dir_all(&home).map_err(StoreError::disk(&home, "remove"))?;
            folder::sync_names(&self.layout.cases())?;
        }
        Ok(())
    }
}

/// After a failure that could not be undone nobody knows what is on the disk until it is read again.
fn stuck_flaw(layout: &Layout, case: Option<&CaseId>, found: String) -> Flaw {
    Flaw {
        file: layout.chain(case),
        record: None,
        expected: "a failed record to be taken back (open the store again)".to_owned(),
        found,
    }
}

fn check_pictures(
    layout: &Layout,
    case: &CaseId,
    pictures: &[(&str, &[u8])],
) -> Result<Vec<Picture>, StoreError> {
    let bad = |expected, found| {
        Err(StoreError::BadEntry {
            field: "picture",
            expected,
            found,
        })
    };
    if pictures.len() > PICTURES_MAX {
        return bad("at most 4096 with a record", pictures.len().to_string());
    }
    let mut seen = BTreeSet::new();
    for (name, bytes) in pictures {
        check_picture_name(name)?;
        if bytes.len() as u64 > PICTURE_BYTES_MAX {
            return bad(
                "at most 64 MiB",
                format!("{name} with {} bytes", bytes.len()),
            );
        }
        let is_there = layout
            .folder(Some(case))
            .join(name)
            .symlink_metadata()
            .is_ok();
        if is_there || !seen.insert(*name) {
            return bad("a name that is new in its case", shown(name));
        }
    }
    let picture = |(name, bytes): &(&str, &[u8])| Picture {
        name: (*name).to_owned(),
        sha256: sha256(bytes),
    };
    Ok(pictures.iter().map(picture).collect())
}
