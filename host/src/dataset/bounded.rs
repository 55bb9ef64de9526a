//! Files read whole, with a limit on their size.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::problem::DataError;

/// Largest annotation file that is read, in bytes.
pub(crate) const ANNOTATIONS_MAX: u64 = 1 << 30;

/// Largest label file, XML or YAML that is read, in bytes.
pub(crate) const SMALL_MAX: u64 = 64 << 20;

/// The bytes of a plain file of at most `limit` bytes; anything that could block is not opened.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>, DataError> {
    let kind = std::fs::metadata(path).map_err(DataError::io(path))?;
    if !kind.is_file() {
        return Err(DataError::file(
            path,
            "expected a plain file, found a folder or a device",
        ));
    }
    let file = File::open(path).map_err(DataError::io(path))?;
    let mut bytes = Vec::with_capacity(kind.len().min(limit) as usize);
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(DataError::io(path))?;
    if bytes.len() as u64 > limit {
        let detail = format!("expected at most {limit} bytes, found more");
        return Err(DataError::file(path, detail));
    }
    Ok(bytes)
}

/// The text of such a file, without a byte order mark.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String, DataError> {
    let text = String::from_utf8(read_bytes(path, limit)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        DataError::file(
            path,
            format!("expected UTF-8, found something else at byte {at}"),
        )
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}
