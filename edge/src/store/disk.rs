//! Room on a disk.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::error::StoreError;

/// What is free on a disk for a process without privileges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Free {
    /// Bytes.
    pub bytes: u64,
    /// Files that can still be made; `None` on file systems without a fixed number of them (FAT, btrfs).
    pub inodes: Option<u64>,
}

/// What has to be free to begin a case, so that the cases that are open can be finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Bytes.
    pub bytes: u64,
    /// Files.
    pub inodes: u64,
}

impl Default for Floor {
    /// Ten cases of 200 fields at 200 KiB, roughly: 512 MiB and 4,000 files.
    fn default() -> Self {
        Self {
            bytes: 512 << 20,
            inodes: 4_000,
        }
    }
}

/// Bytes that [`try_writing`] writes: the database's shared memory, its log, and some records.
const ROOM_TRIED: usize = 256 << 10;

/// What is free where `path` lies.
///
/// # Errors
/// When the system does not say.
pub fn free(path: &Path) -> Result<Free, StoreError> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|error| StoreError::disk(path, "ask for the room at")(error.into()))?;
    Ok(Free {
        bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        inodes: (stat.f_files > 0).then_some(stat.f_favail),
    })
}

/// Whether `free` is enough at `path` for a purpose.
///
/// # Errors
/// [`StoreError::Floor`] when not.
pub fn check(
    path: &Path,
    free: Free,
    floor: Floor,
    purpose: &'static str,
) -> Result<(), StoreError> {
    let refused = |what, free, floor| {
        Err(StoreError::Floor {
            path: path.to_owned(),
            what,
            free,
            floor,
            purpose,
        })
    };
    if free.bytes < floor.bytes {
        return refused("bytes", free.bytes, floor.bytes);
    }
    match free.inodes {
        Some(inodes) if inodes < floor.inodes => refused("inodes", inodes, floor.inodes),
        _ => Ok(()),
    }
}

/// Whether a folder's disk takes as much as a start of the station writes.
///
/// # Errors
/// Why not.
pub fn try_writing(folder: &Path) -> Result<(), StoreError> {
    let path = folder.join(".room");
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&[0; ROOM_TRIED])?;
        file.sync_all()
    });
    // Where it was not made there is nothing to remove.
    let removed = std::fs::remove_file(&path);
    let written = written.map_err(StoreError::disk(&path, "write"));
    written.and(removed.map_err(StoreError::disk(&path, "remove")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_tried_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        try_writing(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let error = try_writing(&folder.path().join("none")).unwrap_err();
        assert!(error.to_string().contains("none/.room"), "{error}");
    }

    #[test]
    fn a_case_needs_both_bytes_and_files() {
        let floor = Floor {
            bytes: 100,
            inodes: 10,
        };
        let table = [
            (100, Some(10), None),
            (99, Some(10), Some("99 bytes free, expected at least 100")),
            (100, Some(9), Some("9 inodes free, expected at least 10")),
            (100, None, None),
        ];
        for (bytes, inodes, refusal) in table {
            let answer = check(Path::new("/data"), Free { bytes, inodes }, floor, "do it");
            match refusal {
                None => answer.unwrap(),
                Some(words) => {
                    let said = answer.unwrap_err().to_string();
                    assert!(said.contains(words), "{said}");
                }
            }
        }
    }

    #[test]
    fn the_room_of_a_missing_folder_is_an_error_that_names_it() {
        let said = free(Path::new("/nowhere/at/all")).unwrap_err().to_string();
        assert!(said.starts_with("/nowhere/at/all: cannot ask"), "{said}");
        assert!(free(Path::new("/")).unwrap().bytes > 0);
    }
}
