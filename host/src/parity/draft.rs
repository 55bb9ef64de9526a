//! The files of a model before anybody has said that it may be there.

use std::fs;
use std::path::{Path, PathBuf};

use shared::contract::REGIONS_EXTENSION;

use super::{REPORT_JSON, REPORT_TEXT};
use crate::outputs::OutputError;
use crate::quantize::{LAYERS_JSON, LAYERS_TEXT};

/// A folder beside the model's place, removed with everything in it unless [`Draft::commit`] moved
/// the files out.
#[derive(Debug)]
pub struct Draft {
    folder: PathBuf,
    out: PathBuf,
    /// Endings of the files beside the model that were written.
    beside: Vec<&'static str>,
}

impl Draft {
    /// Begins a model that will lie at `out`; makes the folder that it will lie in.
    ///
    /// # Errors
    /// What the disk says.
    pub fn of(out: &Path) -> Result<Self, OutputError> {
        if let Some(parent) = out.parent().filter(|p| !p.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(refused(parent))?;
        }
        let mut folder = out.as_os_str().to_owned();
        folder.push(".leuko-part");
        let folder = PathBuf::from(folder);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(refused(&folder))?;
        }
        fs::create_dir(&folder).map_err(refused(&folder))?;
        Ok(Self {
            folder,
            out: out.to_path_buf(),
            beside: Vec::new(),
        })
    }

    /// Where the model lies until it is committed; its second file lies beside it.
    pub fn model(&self) -> PathBuf {
        self.folder.join(self.out.file_name().unwrap_or_default())
    }

    /// A folder to work in, removed with the draft; nobody has made it yet.
    pub fn scratch(&self) -> PathBuf {
        self.folder.join("scratch")
    }

    /// Writes the model.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write_model(&self, bytes: &[u8]) -> Result<(), OutputError> {
        let path = self.model();
        fs::write(&path, bytes).map_err(refused(&path))
    }

    /// Writes a file that will lie beside the model, with `ending` in place of the model's; returns
    /// where it will lie.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write_beside(
        &mut self,
        ending: &'static str,
        bytes: &[u8],
    ) -> Result<PathBuf, OutputError> {
        let path = self.model().with_extension(ending);
        fs::write(&path, bytes).map_err(refused(&path))?;
        self.beside.push(ending);
        Ok(self.out.with_extension(ending))
    }

    /// Moves everything to its place, the model last: it is never there without what belongs to it.
    /// Returns what was taken away because it belonged to an older model of this name.
    ///
    /// # Errors
    /// What the disk says; an older model may then have lost its second file, which it will say.
    pub fn commit(self) -> Result<Vec<PathBuf>, OutputError> {
        for ending in &self.beside {
            let (from, to) = (
                self.model().with_extension(ending),
                self.out.with_extension(ending),
            );
            fs::rename(from, &to).map_err(refused(&to))?;
        }
        fs::rename(self.model(), &self.out).map_err(refused(&self.out))?;
        let mut removed = Vec::new();
        for ending in [
            REGIONS_EXTENSION,
            REPORT_TEXT,
            REPORT_JSON,
            LAYERS_TEXT,
            LAYERS_JSON,
        ] {
            let path = self.out.with_extension(ending);
            if !self.beside.contains(&ending) && path.is_file() {
                fs::remove_file(&path).map_err(refused(&path))?;
                removed.push(path);
            }
        }
        Ok(removed)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // The error that led here is the one to tell; what stays is removed by the next attempt.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn refused(path: &Path) -> impl FnOnce(std::io::Error) -> OutputError + use<> {
    let path = path.to_path_buf();
    move |source| OutputError { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_draft_that_is_dropped_leaves_the_older_model_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("m.onnx");
        fs::write(&out, "old").unwrap();
        let mut draft = Draft::of(&out).unwrap();
        draft.write_model(b"new").unwrap();
        draft.write_beside(REPORT_TEXT, b"report").unwrap();
        fs::create_dir(draft.scratch()).unwrap();
        drop(draft);
        assert_eq!(names(root.path()), ["m.onnx"]);
        assert_eq!(fs::read(&out).unwrap(), b"old");
    }

    #[test]
    fn a_committed_draft_lies_there_whole_without_what_was_an_older_model_s() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("new/m.int8.onnx");
        let mut first = Draft::of(&out).unwrap();
        first.write_model(b"old").unwrap();
        first.write_beside(REGIONS_EXTENSION, b"old").unwrap();
        first.write_beside(REPORT_JSON, b"old").unwrap();
        assert_eq!(first.commit().unwrap(), Vec::<PathBuf>::new());

        let mut second = Draft::of(&out).unwrap();
        second.write_model(b"new").unwrap();
        let text = second.write_beside(REPORT_TEXT, b"new").unwrap();
        assert_eq!(text, root.path().join("new/m.int8.parity.md"));
        let removed = second.commit().unwrap();
        let stale = [REGIONS_EXTENSION, REPORT_JSON].map(|ending| out.with_extension(ending));
        assert_eq!(removed, stale);
        assert_eq!(
            names(out.parent().unwrap()),
            ["m.int8.onnx", "m.int8.parity.md"]
        );
        assert_eq!(fs::read(&out).unwrap(), b"new");
    }
}
