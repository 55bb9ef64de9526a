//! Files that are whole or not there: written beside their place, then renamed into it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A result could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: cannot be written: {error}")]
pub struct OutputError {
    /// The file or folder.
    pub path: String,
    /// The system's reason.
    pub error: io::Error,
}

impl OutputError {
    /// Names the place.
    pub fn at(path: &Path, error: io::Error) -> Self {
        Self {
            path: path.display().to_string(),
            error,
        }
    }
}

/// Makes a folder and those above it.
///
/// # Errors
/// When the system refuses.
pub fn make_folder(path: &Path) -> Result<(), OutputError> {
    fs::create_dir_all(path).map_err(|error| OutputError::at(path, error))
}

/// Writes a whole file: under its name it is there with all its bytes, or as it was before.
///
/// # Errors
/// When the disk is full or gone.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    let mut file = AtomicFile::create(path)?;
    file.write(bytes)?;
    file.commit()
}

/// A file that appears under its name on [`AtomicFile::commit`] and not before.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    part: PathBuf,
    file: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Begins `path` as `path.part`.
    ///
    /// # Errors
    /// When the part cannot be created.
    pub fn create(path: &Path) -> Result<Self, OutputError> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part).map_err(|error| OutputError::at(&part, error))?;
        Ok(Self {
            path: path.to_owned(),
            part,
            file: Some(BufWriter::new(file)),
        })
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// When the disk is full or gone.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), OutputError> {
        let file = self
            .file
            .as_mut()
            .expect("open until `commit`, which consumes it");
        file.write_all(bytes)
            .map_err(|error| OutputError::at(&self.part, error))
    }

    /// Forces the bytes to the disk, gives the file its name, and forces the name to the disk.
    ///
    /// # Errors
    /// When the disk is full or gone; nothing lies under the name then.
    pub fn commit(mut self) -> Result<(), OutputError> {
        let failed = |error| OutputError::at(&self.path, error);
        let writer = self
            .file
            .take()
            .expect("open until `commit`, which consumes it");
        let file = writer
            .into_inner()
            .map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        fs::rename(&self.part, &self.path).map_err(failed)?;
        match self.path.parent().filter(|p| !p.as_os_str().is_empty()) {
            Some(folder) => sync_folder(folder).map_err(failed),
            None => sync_folder(Path::new(".")).map_err(failed),
        }
    }
}

impl Drop for AtomicFile {
    /// Without a commit nothing stays behind; after one the part has another name.
    fn drop(&mut self) {
        drop(self.file.take());
        let _ = fs::remove_file(&self.part);
    }
}

/// Forces the names in a folder to the disk. Only Unix lets a folder be opened.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
pub(crate) fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write(b"half").unwrap();
        assert!(!path.exists());
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

        let mut file = AtomicFile::create(&path).unwrap();
        file.write(b"whole").unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_refusal_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing/a.jsonl");
        let words = AtomicFile::create(&path).unwrap_err().to_string();
        assert!(
            words.contains("missing/a.jsonl.part: cannot be written: "),
            "{words}"
        );
    }
}
