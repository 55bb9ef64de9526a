//! The folder of a cache on disk.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use shared::geometry::Size;

use super::entry::{self, EntryKey};
use super::take;
use crate::augment::Packed;

/// Half-written files older than this are of a process that is gone.
const PART_AGE_MAX: Duration = Duration::from_secs(3600);

/// Ending of files that are not whole yet.
const PART: &str = ".part";

/// A folder of entries within a limit; several processes may share it.
pub(super) struct Disk {
    folder: PathBuf,
    room: AtomicU64,
    /// Half-written files so far: part of their names.
    parts: AtomicU64,
    failure: OnceLock<String>,
    told: AtomicBool,
}

/// What a look into the folder gives.
pub(super) enum Found {
    Whole(Packed),
    Damaged,
    Nothing,
}

/// What became of a picture that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Whole,
    NoRoom,
    /// The cache has stopped to take pictures; the failure says why.
    Stopped,
}

impl Disk {
    /// Makes the folder, and room in it for the `wanted` entries: others go, oldest first.
    pub fn open(folder: &Path, bytes: u64, wanted: impl Iterator<Item = (EntryKey, Size)>) -> Self {
        let disk = Self {
            folder: folder.to_path_buf(),
            room: AtomicU64::new(0),
            parts: AtomicU64::new(0),
            failure: OnceLock::new(),
            told: AtomicBool::new(false),
        };
        let (mut names, mut needed) = (HashSet::new(), 0);
        for (key, size) in wanted {
            if names.insert(key.file_name()) {
                needed += entry::file_len(size);
            }
        }
        match fs::create_dir_all(folder).and_then(|()| make_room(folder, bytes, &names, needed)) {
            Ok(held) => disk
                .room
                .store(bytes.saturating_sub(held), Ordering::Relaxed),
            Err(error) => disk.stop(folder, &error),
        }
        disk
    }

    pub fn read(&self, key: &EntryKey) -> Found {
        match entry::read(&self.folder.join(key.file_name()), key) {
            Ok(Some(picture)) => Found::Whole(picture),
            Ok(None) => Found::Nothing,
            Err(_) => Found::Damaged,
        }
    }

    /// Keeps a picture, in the place of a damaged entry when it `replaces` one.
    pub fn write(&self, key: &EntryKey, picture: &Packed, replaces: bool) -> Kept {
        if self.failure.get().is_some() {
            return Kept::Stopped;
        }
        let bytes = if replaces {
            0
        } else {
            entry::file_len(picture.size())
        };
        if !take(&self.room, bytes) {
            return Kept::NoRoom;
        }
        let name = key.file_name();
        let number = self.parts.fetch_add(1, Ordering::Relaxed);
        let part = self
            .folder
            .join(format!("{name}.{}-{number}{PART}", std::process::id()));
        let path = self.folder.join(name);
        let written = entry::write(&part, key, picture).and_then(|()| fs::rename(&part, &path));
        let Err(error) = written else {
            return Kept::Whole;
        };
        // What is left of it must not fill the disk; that it may not be there is no news.
        let _ = fs::remove_file(&part);
        self.room.fetch_add(bytes, Ordering::Relaxed);
        self.stop(&path, &error);
        Kept::Stopped
    }

    fn stop(&self, path: &Path, error: &io::Error) {
        let reason = format!(
            "{}: {error}; the run goes on without keeping more pictures",
            path.display()
        );
        // Several workers may fail at once: the first says why.
        let _ = self.failure.set(reason);
    }

    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    pub fn failure_to_tell(&self) -> Option<&str> {
        let failure = self.failure()?;
        (!self.told.swap(true, Ordering::Relaxed)).then_some(failure)
    }
}

/// Removes entries that are not wanted, oldest first, while they and the `needed` bytes of the wanted
/// ones are more than the limit, and what dead processes left; returns the bytes that are held.
fn make_room(folder: &Path, bytes: u64, wanted: &HashSet<String>, needed: u64) -> io::Result<u64> {
    let (mut held, mut others) = (0, Vec::new());
    for file in fs::read_dir(folder)? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        // Another process may remove files at the same time.
        let Ok(about) = file.metadata() else { continue };
        let changed = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        if wanted.contains(&name) {
            held += about.len();
        } else if entry::is_entry(&name) {
            others.push((changed, about.len(), file.path()));
        } else if name.ends_with(PART) && changed.elapsed().is_ok_and(|age| age > PART_AGE_MAX) {
            fs::remove_file(file.path())?;
        }
    }
    others.sort();
    let mut kept: u64 = others.iter().map(|(_, len, _)| len).sum();
    for (_, len, path) in others {
        if kept.saturating_add(needed) <= bytes {
            break;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => kept -= len,
        }
    }
    Ok(held + kept)
}
