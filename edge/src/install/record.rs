//! Which model counts, and which did before: one small file, so that both change in one step.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{InstallError, Installed, Models, remove_folder};
use crate::atomic::write_file;

/// The models of the record; none = the built-in one.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Active {
    /// Counts.
    pub current: Option<Entry>,
    /// Counted before.
    pub previous: Option<Entry>,
}

/// A kept model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Of its contract.
    pub name: String,
    /// Of its file; the name of its folder.
    pub sha256: String,
}

impl Entry {
    pub(super) fn installed(&self, already: bool) -> Installed {
        Installed {
            name: self.name.clone(),
            sha256: self.sha256.clone(),
            already,
        }
    }
}

impl Models {
    pub(super) fn record_path(&self) -> PathBuf {
        self.folder.join("active.json")
    }

    /// `None` when no model was ever installed.
    pub(super) fn read_record(&self) -> Result<Option<Active>, InstallError> {
        let path = self.record_path();
        let damaged = |reason: String| InstallError::Record {
            path: path.display().to_string(),
            reason,
        };
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(damaged(error.to_string())),
            Ok(text) => text,
        };
        let record: Active =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        // A hash becomes the name of a folder: nothing else may.
        let entries = [&record.current, &record.previous];
        let foreign = entries
            .into_iter()
            .flatten()
            .find(|it| !is_hash(&it.sha256));
        if let Some(entry) = foreign {
            return Err(damaged(format!("{:?} is no SHA-256", entry.sha256)));
        }
        Ok(Some(record))
    }

    /// Exchanges the models, then removes those that neither count nor did before.
    pub(super) fn write_record(&self, record: &Active) -> Result<(), InstallError> {
        let text = serde_json::to_vec_pretty(record).expect("words only");
        write_file(&self.record_path(), &text)?;
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Ok(());
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let kept = [&record.current, &record.previous];
            let kept = kept.into_iter().flatten().any(|it| it.sha256 == name);
            if is_hash(&name) && !kept {
                // What cannot be removed only takes room, and is tried again next time.
                let _ = remove_folder(&entry.path());
            }
        }
        Ok(())
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
