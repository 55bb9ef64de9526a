//! `labels/`: what counts as a cell, one text file a picture, as YOLO tools read it.
//!
//! A line is class, centre x, centre y, width, height, in units of the picture, and the score with
//! `confidence`. A picture without cells has an empty file: it was looked at.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::{OutputError, write_whole};
use crate::detections::PictureFindings;
use crate::score::counted;

/// Writes the files of pictures that will be called like `names` (their extension is replaced).
/// Only what counts as a cell is written: findings of at least `score_min`, every cell once.
///
/// Returns the number of lines.
///
/// # Errors
/// What the disk says.
pub fn write_yolo_text(
    folder: &Path,
    names: &[&str],
    findings: &[PictureFindings],
    score_min: f32,
    confidence: bool,
) -> Result<usize, OutputError> {
    fs::create_dir_all(folder).map_err(|source| OutputError {
        path: folder.to_path_buf(),
        source,
    })?;
    let mut lines = 0;
    for (name, picture) in names.iter().zip(findings) {
        let path = folder.join(Path::new(name).with_extension("txt"));
        let (width, height) = (
            f64::from(picture.size.width),
            f64::from(picture.size.height),
        );
        write_whole(&path, |out| {
            for found in counted(picture, score_min) {
                let [x0, y0, x1, y1] = found.bbox.xyxy().map(f64::from);
                let (cx, cy) = ((x0 + x1) / 2.0 / width, (y0 + y1) / 2.0 / height);
                let (w, h) = ((x1 - x0) / width, (y1 - y0) / height);
                write!(out, "{} {cx:.6} {cy:.6} {w:.6} {h:.6}", found.class.0)?;
                if confidence {
                    write!(out, " {:.6}", found.score.get())?;
                }
                writeln!(out)?;
                lines += 1;
            }
            Ok(())
        })?;
    }
    Ok(lines)
}
