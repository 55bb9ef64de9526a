//! Names that become names of files.

use std::fmt;

use super::error::StoreError;

/// Longest name of a case, bytes.
pub const CASE_ID_BYTES_MAX: usize = 40;
/// Longest name of a picture or of its folder, bytes.
const PICTURE_PART_BYTES_MAX: usize = 80;
/// Folder of a case that no record names: what a crash left, kept for people.
pub(super) const UNRECORDED: &str = "unrecorded";

/// Name of a case and of its folder: 1 to [`CASE_ID_BYTES_MAX`] of `A-Z a-z 0-9 - _`, the first a
/// letter or digit, so that it can neither leave the data root nor be taken for an option.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CaseId(String);

impl CaseId {
    /// Takes a name.
    ///
    /// # Errors
    /// [`StoreError::BadEntry`] when it breaks the rule above.
    pub fn new(name: &str) -> Result<Self, StoreError> {
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if starts_well && name.len() <= CASE_ID_BYTES_MAX && name.chars().all(plain) {
            Ok(Self(name.to_owned()))
        } else {
            Err(StoreError::BadEntry {
                field: "case",
                expected: "1 to 40 of A-Z a-z 0-9 - _, the first a letter or digit",
                found: shown(name),
            })
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both would be one folder on a disk that does not tell `a` from `A` (USB sticks).
    pub(super) fn same_folder(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks the name of a picture: `folder/file`, each of `A-Z a-z 0-9 - _ .`, the first a letter or
/// digit.
///
/// # Errors
/// [`StoreError::BadEntry`] otherwise.
pub(super) fn check_picture_name(name: &str) -> Result<(), StoreError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let part_is_good = |part: &str| {
        part.len() <= PICTURE_PART_BYTES_MAX
            && part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.chars().all(plain)
    };
    match name.split_once('/') {
        Some((folder, file))
            if part_is_good(folder)
                && part_is_good(file)
                && folder != UNRECORDED
                && !file.ends_with(".part") =>
        {
            Ok(())
        }
        _ => Err(StoreError::BadEntry {
            field: "picture",
            expected: "folder/file of A-Z a-z 0-9 - _ . (as fields/0001.jpg)",
            found: shown(name),
        }),
    }
}

/// At most 60 characters of a text that may hold anything, quoted.
pub(super) fn shown(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_cannot_leave_the_data_root() {
        for good in ["A", "0-1", "2026-0001_b", &"x".repeat(40)] {
            assert_eq!(CaseId::new(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(41);
        for bad in [
            "", ".", "..", "-a", "_a", "a/b", "a.b", "a b", "ä", "a\n", "a\0", &long,
        ] {
            let words = CaseId::new(bad).unwrap_err().to_string();
            assert!(words.starts_with("case: \""), "{words}");
        }
    }

    #[test]
    fn a_picture_lies_in_one_folder_of_its_case() {
        for good in ["fields/0001.jpg", "crops/0001-03.png"] {
            check_picture_name(good).unwrap();
        }
        for bad in [
            "",
            "a",
            "/a",
            "a/",
            "a/b/c",
            "../a",
            "a/..",
            "a/.b",
            "unrecorded/a",
            "a/b.part",
            "a/b c",
            "a/b\n",
        ] {
            check_picture_name(bad).unwrap_err();
        }
    }
}
