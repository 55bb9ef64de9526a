//! Data looked at while a station may be working on them.

use std::collections::BTreeSet;
use std::path::Path;

use super::database::Database;
use super::error::StoreError;
use super::folder::Layout;
use super::lock::Lock;
use super::{ChainState, Store, retention, verify};

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
        let mut store = Self::read_chains(root, "opened to be looked at".to_owned(), None)?;
        store.miss_cases()?;
        Ok(store)
    }

    /// Cases that the database holds and that have no folder any more.
    fn miss_cases(&mut self) -> Result<(), StoreError> {
        let mut deleted = BTreeSet::new();
        retention::each_tombstone(&self.layout, |case| deleted.insert(case))?;
        for (case, head) in Database::heads(&self.layout.database()) {
            let is_there = self.layout.folder(Some(&case)).exists() || deleted.contains(&case);
            if !is_there && !self.chains.contains_key(&Some(case.clone())) {
                let flaw = Some(verify::missing_folder(&self.layout, &case));
                self.chains.insert(Some(case), ChainState { head, flaw });
            }
        }
        Ok(())
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
