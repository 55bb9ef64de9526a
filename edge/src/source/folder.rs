//! A folder of pictures, read in one order, with every file that is left out named.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Deepest folder below the source.
pub const DEPTH_MAX: usize = 16;

/// Endings of picture files, in lower case.
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

/// The folder cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Missing, no folder, or not to be listed.
    #[error("source {path}: {reason}")]
    Folder {
        /// As given.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Nothing in it could be read.
    #[error(
        "source {path}: no picture could be read ({skipped} skipped, {others} files that are no PNG or JPEG by their names)"
    )]
    NoPicture {
        /// As given.
        path: String,
        /// Pictures left out.
        skipped: usize,
        /// Files of other endings.
        others: u64,
    },
}

/// A picture to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the folder, parts joined by `/`, exactly as on disk.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
}

/// A picture that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Relative to the folder; bytes that are no UTF-8 are written as `\xNN`.
    pub image: String,
    /// Why.
    pub reason: String,
}

/// What lies in a folder and below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Pictures by their names, in byte order.
    pub entries: Vec<Entry>,
    /// What has a picture's ending and cannot be one, in byte order.
    pub skipped: Vec<Skipped>,
    /// Files of other endings.
    pub others: u64,
}

/// Lists the pictures of `folder` and of the folders in it, leaving out the folders of
/// `except` (what an earlier run drew).
///
/// Links to files are followed, links to folders are not: they could lead in a circle.
///
/// # Errors
/// When `folder` itself cannot be listed; what is wrong below it is skipped with its reason.
pub fn list(folder: &Path, except: &[PathBuf]) -> Result<Listing, SourceError> {
    let refuse = |reason: String| SourceError::Folder {
        path: folder.display().to_string(),
        reason,
    };
    let metadata = fs::metadata(folder).map_err(|error| refuse(error.to_string()))?;
    if !metadata.is_dir() {
        return Err(refuse("not a folder".to_owned()));
    }
    let mut walk = Walk {
        except: except.iter().flat_map(|path| path.canonicalize()).collect(),
        listing: Listing::default(),
    };
    walk.folder(folder, "", 0)
        .map_err(|error| refuse(error.to_string()))?;
    let mut listing = walk.listing;
    listing.entries.sort_by(|a, b| a.name.cmp(&b.name));
    listing.skipped.sort_by(|a, b| a.image.cmp(&b.image));
    Ok(listing)
}

struct Walk {
    except: Vec<PathBuf>,
    listing: Listing,
}

impl Walk {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let path = entry.path();
            let pictured = has_picture_ending(&path);
            let Some(name) = name.to_str() else {
                let name = escaped(name.as_encoded_bytes());
                self.skip(format!("{prefix}{name}"), "its name is not UTF-8");
                continue;
            };
            let name = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() && !pictured {
                self.below(&path, &name, depth);
            } else if !pictured {
                self.other(&path, kind.is_symlink(), &name);
            } else {
                self.picture(path, name);
            }
        }
        Ok(())
    }

    fn below(&mut self, path: &Path, name: &str, depth: usize) {
        let canonical = path.canonicalize();
        if canonical.is_ok_and(|path| self.except.contains(&path)) {
            return;
        }
        if depth == DEPTH_MAX {
            let reason = format!("more than {DEPTH_MAX} folders deep");
            self.skip(name.to_owned(), &reason);
        } else if let Err(error) = self.folder(path, &format!("{name}/"), depth + 1) {
            self.skip(name.to_owned(), &format!("cannot be listed: {error}"));
        }
    }

    fn other(&mut self, path: &Path, is_link: bool, name: &str) {
        if is_link && path.is_dir() {
            self.skip(name.to_owned(), "a link to a folder, not followed");
        } else {
            self.listing.others += 1;
        }
    }

    fn picture(&mut self, path: PathBuf, name: String) {
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => {
                self.listing.entries.push(Entry { name, path });
            }
            Ok(metadata) if metadata.is_dir() => self.skip(name, "a folder, expected a picture"),
            Ok(_) => self.skip(name, "a pipe, socket or device, expected a picture"),
            Err(error) => self.skip(name, &format!("cannot be read: {error}")),
        }
    }

    fn skip(&mut self, image: String, reason: &str) {
        let reason = reason.to_owned();
        self.listing.skipped.push(Skipped { image, reason });
    }
}

fn has_picture_ending(path: &Path) -> bool {
    path.extension()
        .and_then(|ending| ending.to_str())
        .is_some_and(|ending| {
            ENDINGS
                .iter()
                .any(|known| ending.eq_ignore_ascii_case(known))
        })
}

fn escaped(bytes: &[u8]) -> String {
    let chunks = bytes.utf8_chunks();
    chunks.fold(String::new(), |mut text, chunk| {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
        text
    })
}

#[cfg(test)]
mod tests;
