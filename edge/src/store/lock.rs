//! One station at a time on a data root.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::error::StoreError;
use crate::held::HeldFile;

/// Held as long as it lives.
#[derive(Debug)]
pub(super) struct Lock {
    held: HeldFile,
}

impl Lock {
    /// Takes the lock and writes the number of this process into it.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another holds it, or the disk refuses.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(StoreError::disk(path, "open"))?;
        let lock = hold(file, path)?;
        let mut file = lock.held.file();
        let failed = |error| StoreError::disk(path, "write")(error);
        // Nobody needs the number to be on the disk: it says nothing after a restart.
        file.set_len(0).map_err(failed)?;
        let number = format!("{}\n", std::process::id());
        file.write_all(number.as_bytes()).map_err(failed)?;
        Ok(lock)
    }

    /// Takes the lock without writing; `None` when there is no lock file, as on a disk that was
    /// never written by a station and cannot be.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another holds it.
    pub(super) fn take_for_reading(path: &Path) -> Result<Option<Self>, StoreError> {
        let Ok(file) = File::open(path) else {
            return Ok(None);
        };
        hold(file, path).map(Some)
    }

    /// Whether the file at `path` is the one that is held: not so when the disk was taken out.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let about = (self.held.file().metadata(), path.metadata());
        let (Ok(held), Ok(found)) = about else {
            return false;
        };
        (held.dev(), held.ino()) == (found.dev(), found.ino())
    }
}

fn hold(file: File, path: &Path) -> Result<Lock, StoreError> {
    let held = HeldFile::take(file).map_err(|refused| match refused {
        TryLockError::WouldBlock => {
            let mut pid = String::new();
            // Who holds it is a courtesy; that it is held is the message.
            let _ = File::open(path).and_then(|it| it.take(20).read_to_string(&mut pid));
            let number = pid.trim().parse::<u32>();
            StoreError::Locked {
                path: path.to_owned(),
                pid: number.map_or("(number not written)".to_owned(), |n| n.to_string()),
            }
        }
        TryLockError::Error(error) => StoreError::disk(path, "lock")(error),
    })?;
    Ok(Lock { held })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_is_refused_by_the_number_of_the_first_until_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        std::fs::write(&path, "999999999 of a dead station").unwrap();
        let first = Lock::take(&path).unwrap();
        let me = std::process::id().to_string();
        for refused in [
            Lock::take(&path).unwrap_err(),
            Lock::take_for_reading(&path).unwrap_err(),
        ] {
            let StoreError::Locked { pid, .. } = &refused else {
                panic!("{refused}")
            };
            assert_eq!(*pid, me);
        }
        assert!(first.is_at(&path));
        std::fs::rename(&path, folder.path().join("elsewhere")).unwrap();
        assert!(!first.is_at(&path));
        std::fs::write(&path, "another").unwrap();
        assert!(!first.is_at(&path));
        std::fs::rename(folder.path().join("elsewhere"), &path).unwrap();
        drop(first);
        Lock::take(&path).unwrap();
    }
}
