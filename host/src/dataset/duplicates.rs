//! Pictures that are the same picture.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::problem::DataError;

/// SHA-256 of a file's bytes.
pub(crate) fn content_hash(path: &Path) -> Result<[u8; 32], DataError> {
    let mut file = File::open(path).map_err(DataError::io(path))?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut chunk).map_err(DataError::io(path))?;
        if read == 0 {
            return Ok(hash.finalize().into());
        }
        hash.update(&chunk[..read]);
    }
}

/// Positions of files with equal bytes, two or more a group; only files of equal length are read.
pub(crate) fn byte_equal_groups(paths: &[&Path]) -> Result<Vec<Vec<usize>>, DataError> {
    let mut by_length: HashMap<u64, Vec<usize>> = HashMap::new();
    for (index, path) in paths.iter().enumerate() {
        let length = fs::metadata(path).map_err(DataError::io(path))?.len();
        by_length.entry(length).or_default().push(index);
    }
    let mut groups = Vec::new();
    for candidates in by_length.into_values().filter(|group| group.len() > 1) {
        let mut by_content: HashMap<[u8; 32], Vec<usize>> = HashMap::new();
        for index in candidates {
            by_content
                .entry(content_hash(paths[index])?)
                .or_default()
                .push(index);
        }
        groups.extend(by_content.into_values().filter(|group| group.len() > 1));
    }
    groups.sort();
    Ok(groups)
}
