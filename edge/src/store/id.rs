//! Names that become names of files.

use super::error::StoreError;
use crate::case::text::CaseId;

/// Longest name of a picture or of its folder, bytes.
const PICTURE_PART_BYTES_MAX: usize = 80;
/// Folder of a case that no record names: what a crash left, kept for people.
pub(super) const UNRECORDED: &str = "unrecorded";

/// Whether both would be one folder on a disk that does not tell `a` from `A` (USB sticks).
pub(super) fn same_folder(a: &CaseId, b: &CaseId) -> bool {
    a.as_str().eq_ignore_ascii_case(b.as_str())
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
