//! Which data a run saw, in 64 hexadecimal digits.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::duplicates::content_hash;
use super::problem::DataError;
use super::{Dataset, Sample, Split};

/// SHA-256 over class and attribute names and, for each picture in the order of its name: path
/// below the folder all pictures share, contents, split, group, region and cells. The same data
/// elsewhere on the disk has the same fingerprint; one box moved has another.
///
/// # Errors
/// A picture that cannot be read any more.
pub fn fingerprint(data: &Dataset) -> Result<String, DataError> {
    let mut hash = Sha256::new();
    // `Debug` of names quotes them, so that no two lists look the same.
    let names: Vec<&str> = data.classes.iter().map(|(_, name)| name).collect();
    hash.update(format!("{names:?}\n{:?}\n", data.schema));
    let root = shared_folder(data.samples.iter().map(|sample| sample.image.as_path()));
    let mut lines = Vec::with_capacity(data.samples.len());
    for sample in &data.samples {
        lines.push(line_of(sample, &root)?);
    }
    lines.sort();
    lines.iter().for_each(|line| hash.update(line));
    Ok(hex(&hash.finalize()))
}

/// [`fingerprint`] of one part of `data`.
///
/// # Errors
/// A picture that cannot be read any more.
pub fn fingerprint_of_split(data: &Dataset, split: Split) -> Result<String, DataError> {
    fingerprint(&Dataset {
        samples: data.split(split).cloned().collect(),
        ..data.clone()
    })
}

fn line_of(sample: &Sample, root: &Path) -> Result<String, DataError> {
    let path = sample.image.strip_prefix(root).unwrap_or(&sample.image);
    let contents = hex(&content_hash(&sample.image)?);
    let mut line = format!("{path:?} {contents} {} {:?}", sample.split, sample.group);
    for bbox in sample
        .region
        .iter()
        .chain(sample.cells.iter().map(|cell| &cell.bbox))
    {
        let bits = bbox.xyxy().map(f32::to_bits);
        // Writing to a string cannot fail.
        let _ = write!(line, " {bits:08x?}");
    }
    for cell in &sample.cells {
        let values = cell
            .attributes
            .map(|value| value.map_or(-1, |value| value.index() as i8));
        let _ = write!(line, " {:?} {values:?}", cell.class.map(|class| class.0));
    }
    line.push('\n');
    Ok(line)
}

/// The deepest folder that holds all pictures.
pub(crate) fn shared_folder<'a>(images: impl Iterator<Item = &'a Path>) -> PathBuf {
    let mut folders = images.filter_map(Path::parent);
    let mut shared = folders.next().unwrap_or(Path::new("")).to_path_buf();
    for folder in folders {
        while !folder.starts_with(&shared) && shared.pop() {}
    }
    shared
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
