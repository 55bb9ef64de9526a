//! Text files of people: read whole, bounded, and never from a pipe.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// The text of a regular file of at most `bytes_max` bytes.
///
/// # Errors
/// Why not, in words.
pub fn read(path: &Path, bytes_max: u64) -> Result<String, String> {
    let failed = |error: std::io::Error| error.to_string();
    // Asked before opening: opening a pipe would wait for its writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err("no file, expected one".to_owned());
    }
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(failed)?.take(bytes_max + 1);
    file.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("more than {bytes_max} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("byte {at} is no UTF-8")
    })
}
