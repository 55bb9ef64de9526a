//! The zip archive around a `.pt` file: entries stored as they are, found by the central directory.
//!
//! Reads only what torch writes. Every number of the file is checked before it is used; contents are
//! borrowed, so nothing is allocated that the file did not bring. No zip64, no compression.

use std::collections::BTreeMap;

const END_SIGNATURE: &[u8] = b"PK\x05\x06";
const ENTRY_SIGNATURE: &[u8] = b"PK\x01\x02";
const LOCAL_SIGNATURE: &[u8] = b"PK\x03\x04";
const END_LENGTH: usize = 22;
const ENTRY_LENGTH: usize = 46;
const LOCAL_LENGTH: usize = 30;
const COMMENT_MAX: usize = 65_535;
const FLAG_ENCRYPTED: u16 = 1;
const METHOD_STORED: u16 = 0;

/// Files of an archive by name.
pub(super) struct Archive<'a> {
    files: BTreeMap<&'a str, &'a [u8]>,
}

impl<'a> Archive<'a> {
    /// Reads the central directory, finds every file's content and compares its checksum.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let end = find_end(bytes)?;
        let n_entries = u16_at(bytes, end + 10)?;
        let mut at = u32_at(bytes, end + 16)? as usize;
        let mut files = BTreeMap::new();
        let mut left = bytes.len();
        for index in 0..n_entries {
            if bytes.get(at..at.saturating_add(4)) != Some(ENTRY_SIGNATURE) {
                return Err(format!("entry {index} of {n_entries} is not at byte {at}"));
            }
            let name_length = usize::from(u16_at(bytes, at + 28)?);
            let name = std::str::from_utf8(slice(bytes, at + ENTRY_LENGTH, name_length)?)
                .map_err(|_| format!("the name of entry {index} is not UTF-8"))?;
            let content = read_entry(bytes, at, left).map_err(|why| format!("{name}: {why}"))?;
            left -= content.len();
            if files.insert(name, content).is_some() {
                return Err(format!("{name} stands twice"));
            }
            let extra = usize::from(u16_at(bytes, at + 30)?);
            let comment = usize::from(u16_at(bytes, at + 32)?);
            at += ENTRY_LENGTH + name_length + extra + comment;
        }
        Ok(Self { files })
    }

    /// Names in order.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.files.keys().copied()
    }

    /// The content of a file.
    pub fn content(&self, name: &str) -> Result<&'a [u8], String> {
        let content = self.files.get(name).copied();
        content.ok_or_else(|| format!("{name} is missing"))
    }
}

/// The end record: behind it stands its comment and nothing else.
fn find_end(bytes: &[u8]) -> Result<usize, String> {
    let first = bytes.len().saturating_sub(END_LENGTH + COMMENT_MAX);
    let last = bytes.len().saturating_sub(END_LENGTH);
    let is_end = |&at: &usize| {
        let comment = u16_at(bytes, at + END_LENGTH - 2).map(usize::from);
        bytes[at..].starts_with(END_SIGNATURE)
            && comment.is_ok_and(|comment| at + END_LENGTH + comment == bytes.len())
    };
    (first..=last).rev().find(is_end).ok_or_else(|| {
        "no zip archive, or one that was cut (torch before 1.6 wrote none: load and save it there)"
            .to_owned()
    })
}

/// The content of the entry at `at`; `left` bytes are not yet another entry's.
fn read_entry(bytes: &[u8], at: usize, left: usize) -> Result<&[u8], String> {
    let flags = u16_at(bytes, at + 8)?;
    let method = u16_at(bytes, at + 10)?;
    if flags & FLAG_ENCRYPTED != 0 || method != METHOD_STORED {
        return Err(format!("compressed or encrypted (method {method})"));
    }
    let packed = u32_at(bytes, at + 20)? as usize;
    let length = u32_at(bytes, at + 24)? as usize;
    if packed != length {
        return Err(format!("stored in {packed} bytes, but {length} long"));
    }
    let local = u32_at(bytes, at + 42)? as usize;
    if slice(bytes, local, 4)? != LOCAL_SIGNATURE {
        return Err(format!("no content at byte {local}"));
    }
    let name_length = usize::from(u16_at(bytes, local + 26)?);
    let extra_length = usize::from(u16_at(bytes, local + 28)?);
    let start = local + LOCAL_LENGTH + name_length + extra_length;
    let content = slice(bytes, start, length)?;
    // Entries that overlap would make a small file an endless one.
    if length > left {
        return Err(format!("{length} bytes, of which other entries have some"));
    }
    let (expected, found) = (u32_at(bytes, at + 16)?, crc32(content));
    if found != expected {
        return Err(format!(
            "checksum expected {expected:08x}, found {found:08x}"
        ));
    }
    Ok(content)
}

fn slice(bytes: &[u8], at: usize, length: usize) -> Result<&[u8], String> {
    at.checked_add(length)
        .and_then(|end| bytes.get(at..end))
        .ok_or_else(|| {
            let size = bytes.len();
            format!("{length} bytes at {at} lie beyond the file's {size}")
        })
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, String> {
    let bytes = slice(bytes, at, 2)?;
    Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, String> {
    let bytes = slice(bytes, at, 4)?;
    Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// The archive's checksum: CRC-32 with the reflected polynomial 0xEDB88320.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = index as u32;
            let mut bit = 0;
            while bit < 8 {
                value = (value >> 1) ^ (0xedb8_8320 * (value & 1));
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc: u32, &byte| {
        (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)]
    })
}

/// A small archive for tests: every file stored.
#[cfg(test)]
pub(super) fn stored(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in files {
        let local = out.len() as u32;
        // Versions, flags, method (stored), time and date are all 0.
        let mut fields = vec![0_u8; 10];
        fields.extend(crc32(content).to_le_bytes());
        fields.extend((content.len() as u32).to_le_bytes());
        fields.extend((content.len() as u32).to_le_bytes());
        fields.extend((name.len() as u16).to_le_bytes());
        fields.extend([0; 2]);
        out.extend(LOCAL_SIGNATURE);
        out.extend(&fields);
        out.extend(name.as_bytes());
        out.extend(*content);
        directory.extend(ENTRY_SIGNATURE);
        directory.extend([0; 2]);
        directory.extend(&fields);
        directory.extend([0; 10]);
        directory.extend(local.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let start = out.len() as u32;
    out.extend(&directory);
    out.extend(END_SIGNATURE);
    out.extend([0; 4]);
    out.extend((files.len() as u16).to_le_bytes());
    out.extend((files.len() as u16).to_le_bytes());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0; 2]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_zip() {
        // python3 -c "import zlib; print(hex(zlib.crc32(b'123456789')))"
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn stored_files_come_back_and_others_are_named_as_missing() {
        let bytes = stored(&[("a/one", b"first"), ("a/two", b"")]);
        let archive = Archive::open(&bytes).unwrap();
        assert_eq!(archive.names().collect::<Vec<_>>(), ["a/one", "a/two"]);
        assert_eq!(archive.content("a/one"), Ok(&b"first"[..]));
        assert_eq!(archive.content("a/two"), Ok(&b""[..]));
        assert_eq!(archive.content("b"), Err("b is missing".to_owned()));
    }

    #[test]
    fn a_cut_or_changed_archive_is_refused_and_never_panics() {
        let whole = stored(&[("one", b"first"), ("two", b"second")]);
        for length in 0..whole.len() {
            assert!(Archive::open(&whole[..length]).is_err(), "cut to {length}");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            // A changed date or version hurts nobody; a changed content must be seen.
            if let Ok(archive) = Archive::open(&changed) {
                let mut contents = archive.files.values();
                let same = contents.all(|content| [&b"first"[..], b"second"].contains(content));
                assert!(same, "byte {at}");
            }
        }
    }

    #[test]
    fn what_torch_never_writes_is_refused_with_its_reason() {
        let mut packed = stored(&[("one", b"first")]);
        let at = packed.len() - END_LENGTH - ENTRY_LENGTH - "one".len();
        packed[at + 10] = 8;
        let refused = Archive::open(&packed).err();
        assert_eq!(
            refused.as_deref(),
            Some("one: compressed or encrypted (method 8)")
        );
        let twice = stored(&[("one", b"a"), ("one", b"b")]);
        let refused = Archive::open(&twice).err();
        assert_eq!(refused.as_deref(), Some("one stands twice"));
    }

    #[test]
    fn entries_that_share_their_content_are_refused() {
        let mut bytes = stored(&[("a", &[7; 1000]), ("b", b""), ("c", b"")]);
        let record = ENTRY_LENGTH + 1;
        let first = bytes.len() - END_LENGTH - 3 * record;
        for fields in [16..28, 42..46] {
            for copy in [first + record, first + 2 * record] {
                bytes.copy_within(
                    first + fields.start..first + fields.end,
                    copy + fields.start,
                );
            }
        }
        let refused = Archive::open(&bytes).err();
        let expected = "b: 1000 bytes, of which other entries have some";
        assert_eq!(refused.as_deref(), Some(expected));
    }
}
