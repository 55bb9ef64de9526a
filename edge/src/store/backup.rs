//! Copies of cases on another disk or a USB stick: copied, flushed, read back, then named.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::chain::scan;
use super::error::{Flaw, StoreError};
use super::folder::{self, CHAIN, MANIFEST};
use super::{PICTURE_BYTES_MAX, Store, disk, verify_case};
use crate::case::text::CaseId;

/// What a copy's folders and a FAT's clusters need beside the bytes of its files.
const MARGIN_BYTES: u64 = 4 << 20;

/// A copy that was read back and is right.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Exported {
    /// Folder of the copy: `<case>-<records>`, so that a later state of the case lies beside it.
    pub folder: PathBuf,
    /// Bytes of its files.
    pub bytes: u64,
    /// Whether it was there already, with the same last hash.
    pub was_there: bool,
}

impl Store {
    /// Copies a case into `target`, an existing folder.
    ///
    /// # Errors
    /// [`StoreError::Floor`] when the target has too little room, [`StoreError::Damaged`] when the case
    /// or its copy is not right, or a disk refuses. No half copy stays under its name.
    pub fn export(&self, case: &CaseId, target: &Path) -> Result<Exported, StoreError> {
        let state = self.known(case)?;
        if let Some(flaw) = &state.flaw {
            return Err(flaw.clone().into());
        }
        let from = self.layout.folder(Some(case));
        let to = target.join(format!("{case}-{}", state.head.entries));
        let files = files_of(&from)?;
        let bytes = bytes_of(&from, &files)?;
        if to.exists() {
            check_copy(&to, case, &state.head.hash)?;
            return Ok(Exported {
                folder: to,
                bytes,
                was_there: true,
            });
        }
        // Half a cluster a file is lost on a FAT; its clusters are at most 32 KiB on sticks.
        let needed = bytes + MARGIN_BYTES + files.len() as u64 * (16 << 10);
        let floor = super::Floor {
            bytes: needed,
            inodes: files.len() as u64 + 16,
        };
        disk::check(target, disk::free(target)?, floor, "copy the case")?;

        let part = target.join(format!("{case}-{}.part", state.head.entries));
        remove(&part)?;
        let copied = copy(&from, &part, &files)
            .and_then(|()| check_copy(&part, case, &state.head.hash))
            .and_then(|()| {
                fs::rename(&part, &to).map_err(StoreError::disk(&part, "rename"))?;
                folder::sync_names(target)
            });
        if let Err(refused) = copied {
            // The first refusal is the one to tell; what stays is called `.part`.
            let _ = remove(&part);
            return Err(refused);
        }
        Ok(Exported {
            folder: to,
            bytes,
            was_there: false,
        })
    }

    /// Bytes of the files of a case.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], or the disk cannot be read.
    pub fn bytes(&self, case: &CaseId) -> Result<u64, StoreError> {
        self.known(case)?;
        let folder = self.layout.folder(Some(case));
        bytes_of(&folder, &files_of(&folder)?)
    }

    /// Copies all cases into `target`, and says for each how it went: one that is damaged does not
    /// keep the others from being saved.
    pub fn export_all(&self, target: &Path) -> Vec<(CaseId, Result<Exported, StoreError>)> {
        let copy = |case: &CaseId| (case.clone(), self.export(case, target));
        self.chains.keys().flatten().map(copy).collect()
    }
}

/// Bytes of some files of a folder.
fn bytes_of(folder: &Path, files: &[String]) -> Result<u64, StoreError> {
    files
        .iter()
        .map(|name| folder::length(&folder.join(name)))
        .sum()
}

/// Names of the files that make a case, the chain last: a copy without it is none.
fn files_of(folder: &Path) -> Result<Vec<String>, StoreError> {
    let mut files: Vec<String> = folder::contents(folder)?.files.into_iter().collect();
    if folder.join(MANIFEST).exists() {
        files.push(MANIFEST.to_owned());
    }
    files.push(CHAIN.to_owned());
    Ok(files)
}

fn copy(from: &Path, to: &Path, files: &[String]) -> Result<(), StoreError> {
    folder::make(to)?;
    let mut folders = BTreeSet::from([to.to_owned()]);
    for name in files {
        let path = to.join(name);
        let folder = path.parent().unwrap_or(to);
        folder::make(folder)?;
        folders.insert(folder.to_owned());
        let most = PICTURE_BYTES_MAX.max(super::CHAIN_BYTES_MAX);
        folder::create(&path, &folder::read(&from.join(name), most)?)?;
    }
    for folder in folders {
        folder::sync_names(&folder)?;
    }
    Ok(())
}

/// Whether a copy is right and ends as the case does.
fn check_copy(folder: &Path, case: &CaseId, hash: &str) -> Result<(), StoreError> {
    if let Some(flaw) = verify_case(folder, case)?.first_flaw() {
        return Err(flaw.clone().into());
    }
    let file = folder.join(CHAIN);
    let head = scan(&file, Some(case), |_, _, _| Ok(()))?.head;
    if head.hash == hash {
        return Ok(());
    }
    Err(Flaw {
        file,
        record: Some(head.entries),
        expected: format!("the hash of the case, {hash}"),
        found: head.hash,
    }
    .into())
}

fn remove(folder: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::disk(folder, "remove")(error))
        }
        _ => Ok(()),
    }
}
