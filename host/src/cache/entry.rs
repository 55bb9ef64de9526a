//! One file of the cache: what it is of, how it is named, and how damage is told.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};
use shared::geometry::Size;

use crate::augment::Packed;
use crate::dataset::{Sample, hex};

/// Changes with the file's layout and with whatever makes other pixels of the same picture.
const VERSION: &[u8; 8] = b"LKPIX001";

/// Bytes before the pixels: version, key, width, height, CRC-32 of the pixels.
const HEADER: usize = 8 + 32 + 4 + 4 + 4;

/// Ending of the files.
const ENDING: &str = ".pix";

/// What a fitted picture depends on, as a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryKey([u8; 32]);

impl EntryKey {
    /// The picture file's path, length and time of change, the labelled region and the size it is
    /// fitted to; `None` when there is no such file.
    pub fn new(sample: &Sample, inner: Size) -> Option<Self> {
        let file = fs::metadata(&sample.image).ok()?;
        let changed = file.modified().ok()?;
        let region = sample.region.map(|r| r.xyxy().map(f32::to_bits));
        let mut hash = Sha256::new();
        hash.update(VERSION);
        // `Debug` of the path quotes it, so that no two lists of parts look the same.
        hash.update(format!(
            "{:?} {} {changed:?} {region:?} {inner:?} {:?}",
            sample.image,
            file.len(),
            sample.size
        ));
        Some(Self(hash.finalize().into()))
    }

    /// The file's name.
    pub(super) fn file_name(&self) -> String {
        hex(&self.0) + ENDING
    }
}

/// Whether a file of that name can be an entry.
pub(super) fn is_entry(name: &str) -> bool {
    let stem = name.strip_suffix(ENDING);
    stem.is_some_and(|stem| stem.len() == 64 && stem.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Bytes of the file of a picture of that size.
pub(super) fn file_len(size: Size) -> u64 {
    let area = u64::from(size.width) * u64::from(size.height);
    area.saturating_mul(3).saturating_add(HEADER as u64)
}

/// Writes an entry; the caller names it when it is whole.
pub(super) fn write(path: &Path, key: &EntryKey, picture: &Packed) -> io::Result<()> {
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(VERSION);
    header.extend_from_slice(&key.0);
    header.extend_from_slice(&picture.size().width.to_le_bytes());
    header.extend_from_slice(&picture.size().height.to_le_bytes());
    header.extend_from_slice(&crc32fast::hash(picture.pixels()).to_le_bytes());
    let mut file = File::create(path)?;
    file.write_all(&header)?;
    file.write_all(picture.pixels())
}

/// Reads an entry; `Ok(None)` when it is not there, `InvalidData` when it is damaged.
pub(super) fn read(path: &Path, key: &EntryKey) -> io::Result<Option<Packed>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    let mut header = [0; HEADER];
    file.read_exact(&mut header)?;
    let number = |at: usize| {
        let bytes = [0, 1, 2, 3].map(|k| header[at + k]);
        u32::from_le_bytes(bytes)
    };
    let size = Size::new(number(40), number(44));
    let expected = file_len(size);
    if header[..8] != *VERSION || header[8..40] != key.0 || file.metadata()?.len() != expected {
        return Err(damaged());
    }
    let mut pixels = Vec::with_capacity(Packed::capacity(size).ok_or_else(damaged)?);
    file.read_to_end(&mut pixels)?;
    if crc32fast::hash(&pixels) != number(48) {
        return Err(damaged());
    }
    Packed::from_pixels(pixels, size)
        .map(Some)
        .ok_or_else(damaged)
}
