//! Decoded, fitted pictures, kept in memory or on disk within a limit.
//!
//! A cache never decides what a picture is: whatever it cannot give is made again, and nothing that
//! goes wrong with it ends a run. It is counted and told instead.

mod disk;
mod entry;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use shared::geometry::Size;

use crate::augment::Packed;

use disk::{Disk, Found, Kept};
pub use entry::EntryKey;

/// Where fitted pictures are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CachePlan {
    /// Nowhere: every picture is decoded each time.
    None,
    /// In memory.
    Ram {
        /// Most bytes of pictures.
        bytes: u64,
    },
    /// In files that the next run finds again.
    Disk {
        /// Folder, made when it is not there; entries of other data in it give way when the room is needed.
        folder: PathBuf,
        /// Most bytes of files in it.
        bytes: u64,
    },
}

/// What a cache did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheReport {
    /// Pictures it gave.
    pub hits: u64,
    /// Pictures that were made because it had none.
    pub made: u64,
    /// Entries that were damaged and made again.
    pub damaged: u64,
    /// Pictures for which there was no room.
    pub left_out: u64,
    /// Why it stopped to take pictures.
    pub failure: Option<String>,
}

/// The cache of a loader.
pub struct Cache {
    store: Store,
    hits: AtomicU64,
    made: AtomicU64,
    damaged: AtomicU64,
    left_out: AtomicU64,
}

enum Store {
    None,
    Ram {
        kept: Vec<OnceLock<Arc<Packed>>>,
        room: AtomicU64,
    },
    Disk(Disk),
}

impl Cache {
    /// A cache for pictures of these sizes (`None`: one that cannot be fitted); `key` names them.
    pub fn open(
        plan: &CachePlan,
        sizes: &[Option<Size>],
        key: impl Fn(usize) -> Option<EntryKey>,
    ) -> Self {
        let store = match plan {
            CachePlan::None => Store::None,
            CachePlan::Ram { bytes } => Store::Ram {
                kept: sizes.iter().map(|_| OnceLock::new()).collect(),
                room: AtomicU64::new(*bytes),
            },
            CachePlan::Disk { folder, bytes } => {
                let wanted = (0..sizes.len()).filter_map(|at| Some((key(at)?, sizes[at]?)));
                Store::Disk(Disk::open(folder, *bytes, wanted))
            }
        };
        let zero = || AtomicU64::new(0);
        Self {
            store,
            hits: zero(),
            made: zero(),
            damaged: zero(),
            left_out: zero(),
        }
    }

    /// Picture `index`: kept, or made and kept where there is room.
    ///
    /// # Errors
    /// What `make` says; the cache itself has none.
    pub fn get<E>(
        &self,
        index: usize,
        key: impl FnOnce() -> Option<EntryKey>,
        make: impl FnOnce() -> Result<Packed, E>,
    ) -> Result<Arc<Packed>, E> {
        let new = || {
            count(&self.made);
            Ok(Arc::new(make()?))
        };
        match &self.store {
            Store::None => new(),
            Store::Ram { kept, room } => {
                if let Some(picture) = kept[index].get() {
                    count(&self.hits);
                    return Ok(Arc::clone(picture));
                }
                let picture = new()?;
                let bytes = picture.pixels().len() as u64;
                if !take(room, bytes) {
                    count(&self.left_out);
                } else if kept[index].set(Arc::clone(&picture)).is_err() {
                    // Another worker was faster and made the same picture.
                    room.fetch_add(bytes, Ordering::Relaxed);
                }
                Ok(picture)
            }
            Store::Disk(disk) => {
                // Without a key there is no file either; `make` says so.
                let Some(key) = key() else { return new() };
                let replaces = match disk.read(&key) {
                    Found::Whole(picture) => {
                        count(&self.hits);
                        return Ok(Arc::new(picture));
                    }
                    Found::Damaged => {
                        count(&self.damaged);
                        true
                    }
                    Found::Nothing => false,
                };
                let picture = new()?;
                if disk.write(&key, &picture, replaces) == Kept::NoRoom {
                    count(&self.left_out);
                }
                Ok(picture)
            }
        }
    }

    /// What it did so far.
    pub fn report(&self) -> CacheReport {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheReport {
            hits: number(&self.hits),
            made: number(&self.made),
            damaged: number(&self.damaged),
            left_out: number(&self.left_out),
            failure: match &self.store {
                Store::Disk(disk) => disk.failure().map(str::to_owned),
                _ => None,
            },
        }
    }

    /// Why it stopped to take pictures, the first time it is asked after it did.
    pub fn failure_to_tell(&self) -> Option<&str> {
        match &self.store {
            Store::Disk(disk) => disk.failure_to_tell(),
            _ => None,
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Takes `bytes` of the room; false when there is less.
fn take(room: &AtomicU64, bytes: u64) -> bool {
    let less = |room: u64| room.checked_sub(bytes);
    room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
        .is_ok()
}
