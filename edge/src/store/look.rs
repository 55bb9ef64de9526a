//! Data looked at while a station may be working on them.

use std::path::Path;

use super::Store;
use super::error::StoreError;
use super::folder::Layout;
use super::lock::Lock;

impl Store {
    /// Opens a data root to read it, also while a station works on it; nothing is repaired, and nothing
    /// can be recorded. What a station writes afterwards is not seen, and what it is writing now may be
    /// seen in half.
    ///
    /// # Errors
    /// When there is no such folder, or the disk cannot be read.
    pub fn look(root: &Path) -> Result<Self, StoreError> {
        let cases = Layout::new(root).cases();
        std::fs::metadata(&cases).map_err(StoreError::disk(&cases, "look at"))?;
        Self::read_chains(root, "opened to be looked at".to_owned(), None)
    }
}

/// The number of the station's process that works on the data now, as it wrote itself down.
///
/// # Errors
/// When the lock cannot be asked.
pub fn held_by(root: &Path) -> Result<Option<String>, StoreError> {
    // Taken for a moment only; a station that starts in it is refused and has to start again.
    match Lock::take_for_reading(&Layout::new(root).lock()) {
        Err(StoreError::Locked { pid, .. }) => Ok(Some(pid)),
        outcome => outcome.map(|_| None),
    }
}
