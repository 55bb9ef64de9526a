//! What a validation leaves for other tools and for people. Every file is written whole or not at
//! all, and nothing is ever appended.

mod card;
mod coco_predictions;
mod reference_csv;
mod yolo_text;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

pub use card::{Card, SOURCE_COMMIT};
pub use coco_predictions::write_coco_predictions;
pub use reference_csv::write_attribute_csv;
pub use yolo_text::write_yolo_text;

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be written", .path.display())]
pub struct OutputError {
    /// Which one.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Writes a file beside `path` and renames it, so that no reader ever sees half of it.
///
/// # Errors
/// What the disk or `fill` says; an older file at `path` stays.
pub fn write_whole(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), OutputError> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let write = || {
        let mut file = BufWriter::new(File::create(&part)?);
        fill(&mut file)?;
        file.flush()?;
        fs::rename(&part, path)
    };
    write().map_err(|source| OutputError {
        path: path.to_path_buf(),
        source,
    })
}

#[cfg(test)]
mod tests;
