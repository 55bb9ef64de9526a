//! The pictures of a folder.

use std::fs;
use std::path::{Path, PathBuf};

use super::picture::read_header;
use super::problem::{Collector, DataError, Mode, ReadReport};
use shared::geometry::Size;

/// Deepest folder below the given one that is looked into.
const DEPTH_MAX: usize = 8;

/// Whether the name ends like a picture this software reads.
pub(crate) fn is_picture_name(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| {
        ["jpg", "jpeg", "png"]
            .iter()
            .any(|p| e.eq_ignore_ascii_case(p))
    })
}

/// Pictures in `folder` and below, without labels, and what was left out.
///
/// # Errors
/// When the folder cannot be listed.
pub fn pictures_of(folder: &Path) -> Result<(Vec<PathBuf>, ReadReport), DataError> {
    let mut problems = Collector::new(Mode::Lenient);
    problems.report.format = "a folder of pictures".to_owned();
    let pictures = list_pictures(folder, &mut problems)?;
    Ok((pictures, problems.finish()?))
}

/// Pictures in `folder` and below, sorted by path. Links to folders are not followed, so no loop
/// can be entered; what looks like a picture and is none is skipped with a note.
pub(crate) fn list_pictures(
    folder: &Path,
    problems: &mut Collector,
) -> Result<Vec<PathBuf>, DataError> {
    let mut found = Vec::new();
    let mut waiting = vec![(folder.to_path_buf(), 0)];
    while let Some((folder, depth)) = waiting.pop() {
        for entry in fs::read_dir(&folder).map_err(DataError::io(&folder))? {
            let entry = entry.map_err(DataError::io(&folder))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(DataError::io(&path))?;
            if kind.is_dir() && !is_picture_name(&path) {
                if depth < DEPTH_MAX {
                    waiting.push((path, depth + 1));
                } else {
                    skip(problems, &path, "folders nested too deep");
                }
            } else if path.to_str().is_none() {
                skip(problems, &path, "name is not UTF-8");
            } else if is_picture_name(&path) {
                match fs::metadata(&path) {
                    Ok(target) if target.is_file() => found.push(path),
                    Ok(_) => skip(problems, &path, "a folder or device, no picture"),
                    Err(error) => skip(problems, &path, &error.to_string()),
                }
            } else if looks_like_another_picture(&path) {
                skip(problems, &path, "only JPEG and PNG are read");
            }
        }
    }
    found.sort();
    Ok(found)
}

fn looks_like_another_picture(path: &Path) -> bool {
    const OTHERS: [&str; 6] = ["bmp", "tif", "tiff", "webp", "gif", "heic"];
    let extension = path.extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| OTHERS.iter().any(|p| e.eq_ignore_ascii_case(p)))
}

fn skip(problems: &mut Collector, path: &Path, why: &str) {
    problems.leave_out("file that is no readable picture", 1);
    problems.note(format!("skipped {:?}: {why}", path.display().to_string()));
}

/// The picture's size, or `None` after the refusal was collected.
pub(crate) fn picture_size(path: &Path, problems: &mut Collector) -> Option<Size> {
    match read_header(path) {
        Ok(header) => Some(header.size),
        Err(error) => {
            problems.refuse("unreadable picture", path.display(), detail_of(error));
            None
        }
    }
}

/// The error without its path: the place says it already.
pub(crate) fn detail_of(error: DataError) -> String {
    match error {
        DataError::Io { source, .. } => source.to_string(),
        DataError::File { detail, .. } => detail,
        other => other.to_string(),
    }
}
