//! One station at a time: a lock that the kernel gives back when its holder dies, however it dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use super::error::StoreError;

/// Held as long as it lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock and writes the number of this process into it.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another holds it, or the disk refuses.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(StoreError::disk(path, "open"))?;
        hold(&mut file, path)?;
        let failed = |error| StoreError::disk(path, "write")(error);
        // Nobody needs the number to be on the disk: it says nothing after a restart.
        file.set_len(0).map_err(failed)?;
        let number = format!("{}\n", std::process::id());
        file.write_all(number.as_bytes()).map_err(failed)?;
        Ok(Self { _file: file })
    }

    /// Takes the lock without writing; `None` when there is no lock file, as on a disk that was
    /// never written by a station and cannot be.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another holds it.
    pub(super) fn take_for_reading(path: &Path) -> Result<Option<Self>, StoreError> {
        let Ok(mut file) = File::open(path) else {
            return Ok(None);
        };
        hold(&mut file, path)?;
        Ok(Some(Self { _file: file }))
    }
}

fn hold(file: &mut File, path: &Path) -> Result<(), StoreError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Who holds it is a courtesy; that it is held is the message.
            let _ = file.take(20).read_to_string(&mut pid);
            let number = pid.trim().parse::<u32>();
            Err(StoreError::Locked {
                path: path.to_owned(),
                pid: number.map_or("(number not written)".to_owned(), |n| n.to_string()),
            })
        }
        Err(TryLockError::Error(error)) => Err(StoreError::disk(path, "lock")(error)),
    }
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
        drop(first);
        Lock::take(&path).unwrap();
    }
}
