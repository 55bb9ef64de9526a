//! The name of a start of the program.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::atomic::{OutputError, make_folder, write_file};

/// Where Linux names its own start.
const KERNEL_BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// Where Linux gives a new random name each time.
const KERNEL_RANDOM: &str = "/proc/sys/kernel/random/uuid";

/// File in the data root that holds the number of the last start.
const STARTS: &str = "starts";

/// Counters drawn by chance begin here, so that they are told from those that were counted.
const DRAWN_MIN: u64 = 1 << 32;

/// One start of the program: the kernel's name of its own start and a number that grows with each
/// start of the program. Written `0123456789abcdef0123456789abcdef.7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BootId {
    kernel: u128,
    start: u64,
}

impl BootId {
    /// From its parts.
    pub fn new(kernel: u128, start: u64) -> Self {
        Self { kernel, start }
    }

    /// Number of the start of the program, from 1.
    pub fn start(&self) -> u64 {
        self.start
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}.{}", self.kernel, self.start)
    }
}

/// A text that names no start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("boot id {0:?}, expected 32 hexadecimal digits, a point and a number")]
pub struct NoBootId(String);

impl FromStr for BootId {
    type Err = NoBootId;

    fn from_str(text: &str) -> Result<Self, NoBootId> {
        let parts = text.split_once('.').and_then(|(kernel, start)| {
            let kernel = hexadecimal(kernel)?;
            let start = start.parse().ok()?;
            Some(Self { kernel, start })
        });
        // One writing only: a record that is hashed must not have two.
        parts
            .filter(|id| id.to_string() == text)
            .ok_or_else(|| NoBootId(text.chars().take(80).collect()))
    }
}

impl Serialize for BootId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BootId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A start that cannot be named.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The kernel does not say what it should.
    #[error("{path}: {found}, expected a UUID")]
    Kernel {
        /// The kernel's file.
        path: String,
        /// What is there instead.
        found: String,
    },
    /// The number of starts cannot be read.
    #[error("{path}: cannot be read: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's reason.
        error: std::io::Error,
    },
    /// The number of starts cannot be kept.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// A start of the program, named.
#[derive(Debug, PartialEq, Eq)]
pub struct Started {
    /// Its name.
    pub boot: BootId,
    /// What was wrong with the count of starts, in words; it has been mended.
    pub mended: Option<String>,
}

/// Names this start and keeps its number in `root`, which is made when it is not there.
///
/// A count that is damaged does not hold the station up: it goes on from a number drawn by chance.
///
/// # Errors
/// When the kernel names no start, or the data root cannot be written.
pub fn begin(root: &Path) -> Result<Started, BootError> {
    begin_as(root, uuid(Path::new(KERNEL_BOOT))?, || {
        uuid(Path::new(KERNEL_RANDOM))
    })
}

fn begin_as(
    root: &Path,
    kernel: u128,
    draw: impl FnOnce() -> Result<u128, BootError>,
) -> Result<Started, BootError> {
    make_folder(root)?;
    let path = root.join(STARTS);
    let (last, mended) = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => (0, None),
        Err(error) => {
            let path = path.display().to_string();
            return Err(BootError::Unreadable { path, error });
        }
        Ok(bytes) => match counted(&bytes) {
            Some(last) => (last, None),
            None => {
                let last = DRAWN_MIN + (draw()? >> 97) as u64;
                let path = path.display();
                let mended =
                    format!("{path}: no number of starts, goes on from {last} drawn by chance");
                (last, Some(mended))
            }
        },
    };
    let start = last + 1;
    write_file(&path, format!("{start}\n").as_bytes())?;
    let boot = BootId { kernel, start };
    Ok(Started { boot, mended })
}

/// The number in a file of starts.
fn counted(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    // `u64::MAX` has no successor.
    text.parse().ok().filter(|&last| last < u64::MAX)
}

fn uuid(path: &Path) -> Result<u128, BootError> {
    let found = fs::read_to_string(path);
    let refuse = |found: String| BootError::Kernel {
        path: path.display().to_string(),
        found,
    };
    let text = found.map_err(|error| refuse(error.to_string()))?;
    let digits: String = text.trim_end().chars().filter(|&c| c != '-').collect();
    hexadecimal(&digits).ok_or_else(|| refuse(format!("{text:?}")))
}

/// Exactly 32 digits, no sign.
fn hexadecimal(digits: &str) -> Option<u128> {
    let all = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    all.then(|| u128::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_counted_across_starts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("new/data");
        let ids = [(); 3].map(|()| begin(&root).unwrap().boot);
        assert_eq!(ids.map(|id| id.start()), [1, 2, 3]);
        assert_eq!(ids[0].kernel, ids[2].kernel);
        assert_ne!(ids[0].kernel, 0);
    }

    #[test]
    fn a_damaged_count_is_mended_with_a_number_that_was_never_counted() {
        for damage in ["", "x\n", "12", "-1\n", "18446744073709551615\n", "1\n\n"] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(STARTS), damage).unwrap();
            let first = begin_as(folder.path(), 9, || Ok(5 << 97)).unwrap();
            assert_eq!(first.boot.start(), DRAWN_MIN + 6, "{damage:?}");
            let words = first.mended.unwrap();
            assert!(words.contains("starts: no number of starts"), "{words}");
            let next = begin_as(folder.path(), 9, || unreachable!()).unwrap();
            assert_eq!((next.boot.start(), next.mended), (DRAWN_MIN + 7, None));
        }
    }

    #[test]
    fn a_data_root_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let words = begin(&file.join("data")).unwrap_err().to_string();
        assert!(words.contains("file/data: cannot be written: "), "{words}");
    }

    #[test]
    fn a_name_has_one_writing() {
        let id = BootId::new(0xabc, 12);
        let text = "00000000000000000000000000000abc.12";
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse(), Ok(id));
        for bad in [
            "",
            "abc.12",
            "00000000000000000000000000000abc",
            "00000000000000000000000000000ABC.12",
            "00000000000000000000000000000abc.012",
            "00000000000000000000000000000abc.+12",
            "+0000000000000000000000000000abc.12",
        ] {
            let refused = bad.parse::<BootId>().unwrap_err().to_string();
            assert!(refused.contains(&format!("{bad:?}")), "{refused}");
        }
    }
}
