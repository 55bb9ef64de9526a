//! Where everything lies, and how it gets onto the disk.
//!
//! ```text
//! lock                            held by the station that runs
//! station.sqlite                  index of all records, and their second witness
//! station/audit.jsonl             chain of what belongs to no case
//! cases/<id>/audit.jsonl          chain of a case
//! cases/<id>/manifest.sha256      its pictures, for `sha256sum --check`
//! cases/<id>/fields/…, crops/…    its pictures
//! cases/<id>/unrecorded/…         what a crash left and no record names
//! ```
//! A case folder alone is the whole case: the database can be made again from the folders.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::id::UNRECORDED;
use crate::case::text::CaseId;

/// Name of a chain's file.
pub(super) const CHAIN: &str = "audit.jsonl";
/// Name of a manifest's file.
pub(super) const MANIFEST: &str = "manifest.sha256";

/// The data root.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(super) fn database(&self) -> PathBuf {
        self.root.join("station.sqlite")
    }

    pub(super) fn cases(&self) -> PathBuf {
        self.root.join("cases")
    }

    /// Folder of a case; of the station for `None`.
    pub(super) fn folder(&self, case: Option<&CaseId>) -> PathBuf {
        match case {
            Some(case) => self.cases().join(case.as_str()),
            None => self.root.join("station"),
        }
    }

    pub(super) fn chain(&self, case: Option<&CaseId>) -> PathBuf {
        self.folder(case).join(CHAIN)
    }

    pub(super) fn manifest(&self, case: &CaseId) -> PathBuf {
        self.folder(Some(case)).join(MANIFEST)
    }

    /// The cases that have a folder, in order of their names; and what lies there and is none.
    pub(super) fn case_folders(&self) -> Result<(Vec<CaseId>, Vec<PathBuf>), StoreError> {
        let mut cases = Vec::new();
        let mut strange = Vec::new();
        for (path, kind) in entries(&self.cases())? {
            let name = path.file_name().and_then(|n| n.to_str());
            match name.map(CaseId::try_from) {
                Some(Ok(case)) if kind.is_dir() => cases.push(case),
                _ => strange.push(path),
            }
        }
        cases.sort();
        strange.sort();
        Ok((cases, strange))
    }
}

fn entries(folder: &Path) -> Result<Vec<(PathBuf, fs::FileType)>, StoreError> {
    let failed = |error| StoreError::disk(folder, "list")(error);
    let list = match fs::read_dir(folder) {
        Ok(list) => list,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    list.map(|entry| {
        let entry = entry.map_err(failed)?;
        // Of the entry itself: a link is not followed out of the data root.
        Ok((entry.path(), entry.file_type().map_err(failed)?))
    })
    .collect()
}

/// What a case folder holds besides its chain and manifest.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// `folder/file`, files only.
    pub files: BTreeSet<String>,
    /// Half-written parts.
    pub parts: Vec<PathBuf>,
    /// Neither a picture nor anything the store makes.
    pub strange: Vec<PathBuf>,
}

/// Lists a case folder.
pub(super) fn contents(folder: &Path) -> Result<Contents, StoreError> {
    let mut found = Contents::default();
    let is_part = |path: &Path| path.extension().is_some_and(|e| e == "part");
    for (path, kind) in entries(folder)? {
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        match name {
            CHAIN | MANIFEST if kind.is_file() => {}
            UNRECORDED if kind.is_dir() => {}
            _ if kind.is_file() && is_part(&path) => found.parts.push(path),
            _ if kind.is_dir() && !name.is_empty() => list_pictures(&path, name, &mut found)?,
            _ => found.strange.push(path),
        }
    }
    found.strange.sort();
    Ok(found)
}

fn list_pictures(folder: &Path, name: &str, found: &mut Contents) -> Result<(), StoreError> {
    for (path, kind) in entries(folder)? {
        match path.file_name().and_then(|n| n.to_str()) {
            Some(_) if kind.is_file() && path.extension().is_some_and(|e| e == "part") => {
                found.parts.push(path);
            }
            Some(file) if kind.is_file() => {
                found.files.insert(format!("{name}/{file}"));
            }
            _ => found.strange.push(path),
        }
    }
    Ok(())
}

/// Makes a folder whose name is on the disk when this returns; one that is there is well.
pub(super) fn make(folder: &Path) -> Result<(), StoreError> {
    match fs::create_dir(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {
            return Ok(());
        }
        Err(error) => return Err(StoreError::disk(folder, "make")(error)),
    }
    sync_names(folder.parent().unwrap_or(Path::new(".")))
}

/// Brings the names in a folder onto the disk.
pub(super) fn sync_names(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(StoreError::disk(folder, "flush"))
}

/// Makes a new file and waits for its bytes, not for its name ([`sync_names`]): a crash can leave half
/// of it, so only for files that count when something written later says so.
pub(super) fn create(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    File::create_new(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(StoreError::disk(path, "write"))
}

/// Length of a file, 0 when there is none.
pub(super) fn length(path: &Path) -> Result<u64, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(about) => Ok(about.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(StoreError::disk(path, "look at")(error)),
    }
}

/// Appends to a file and waits for the disk. After an error the file may be longer: [`cut`] it.
pub(super) fn append(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let is_new = !path.exists();
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map_err(StoreError::disk(path, "open"))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(StoreError::disk(path, "append to"))?;
    match path.parent() {
        Some(folder) if is_new => sync_names(folder),
        _ => Ok(()),
    }
}

/// Makes a file shorter and waits for the disk; cut to nothing, it goes.
pub(super) fn cut(path: &Path, bytes: u64) -> Result<(), StoreError> {
    let failed = |error| StoreError::disk(path, "cut")(error);
    if bytes == 0 {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        };
    }
    let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
    file.set_len(bytes)
        .and_then(|()| file.sync_all())
        .map_err(failed)
}

/// Reads a file that the store wrote, at most `most` bytes.
pub(super) fn read(path: &Path, most: u64) -> Result<Vec<u8>, StoreError> {
    let failed = |error| StoreError::disk(path, "read")(error);
    let long = fs::metadata(path).map_err(failed)?.len();
    if long > most {
        let words = format!("{long} bytes, expected at most {most}");
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, words)));
    }
    fs::read(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_folder_tells_pictures_parts_and_strangers_apart() {
        let folder = tempfile::tempdir().unwrap();
        let case = folder.path();
        for name in ["fields", "unrecorded", "fields/deep"] {
            make(&case.join(name)).unwrap();
        }
        let files = [
            CHAIN,
            MANIFEST,
            "fields/1.jpg",
            "fields/2.jpg.part",
            "manifest.sha256.part",
            "unrecorded/x",
            "notes.txt",
        ];
        for name in files {
            fs::write(case.join(name), "x").unwrap();
        }
        std::os::unix::fs::symlink("/etc", case.join("link")).unwrap();
        let found = contents(case).unwrap();
        assert_eq!(
            found.files.into_iter().collect::<Vec<_>>(),
            ["fields/1.jpg"]
        );
        assert_eq!(found.parts.len(), 2);
        let strange = ["fields/deep", "link", "notes.txt"].map(|n| case.join(n));
        assert_eq!(found.strange, strange);
    }

    #[test]
    fn a_file_grows_and_is_cut_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert_eq!(length(&path).unwrap(), 0);
        append(&path, b"one").unwrap();
        append(&path, b"two").unwrap();
        cut(&path, 3).unwrap();
        assert_eq!(read(&path, 3).unwrap(), b"one");
        assert!(
            read(&path, 2)
                .unwrap_err()
                .to_string()
                .contains("3 bytes, expected at most 2")
        );
        cut(&path, 0).unwrap();
        cut(&path, 0).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_full_device_is_named() {
        let said = append(Path::new("/dev/full"), b"x").unwrap_err();
        assert!(said.is_no_room());
        assert_eq!(said.exit_code(), crate::exit::DISK);
        assert!(
            said.to_string()
                .starts_with("/dev/full: cannot append to: "),
            "{said}"
        );
    }
}
