//! What people type into a case, and hashes: strings that are bounded and can be printed.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest [`Text`], bytes.
pub const TEXT_BYTES_MAX: usize = 400;

/// Longest [`CaseId`], bytes.
pub const CASE_ID_BYTES_MAX: usize = 40;

/// Hexadecimal digits of a [`Sha256`].
const SHA256_DIGITS: usize = 64;

/// Why a string was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TextError {
    /// Nothing but white space.
    #[error("text is empty, expected at least one letter")]
    Empty,
    /// Too long.
    #[error("text of {got} bytes, expected at most {TEXT_BYTES_MAX}")]
    Long {
        /// Bytes.
        got: usize,
    },
    /// A line break, a tab or another control character.
    #[error("text has a control character at byte {at}, expected printable characters")]
    Control {
        /// Where.
        at: usize,
    },
    /// No name for a case.
    #[error(
        "case id of {bytes} bytes, expected 1 to {CASE_ID_BYTES_MAX} ASCII letters, digits, '-' or '_', \
         the first a letter or digit"
    )]
    CaseId {
        /// As given; not printed, because it may hold anything.
        bytes: usize,
    },
    /// No hash.
    #[error("hash of {bytes} bytes, expected {SHA256_DIGITS} digits 0-9a-f")]
    Sha256 {
        /// As given.
        bytes: usize,
    },
}

/// One line that a person wrote: 1 to [`TEXT_BYTES_MAX`] bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Text(String);

/// Name of a case, and of its folder: it can neither leave the data root nor be taken for an option.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CaseId(String);

/// A SHA-256 as 64 small hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256(String);

impl TryFrom<String> for Text {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(TextError::Long { got: text.len() });
        }
        if text.trim().is_empty() {
            return Err(TextError::Empty);
        }
        match text.char_indices().find(|(_, c)| c.is_control()) {
            Some((at, _)) => Err(TextError::Control { at }),
            None => Ok(Self(text)),
        }
    }
}

impl TryFrom<String> for CaseId {
    type Error = TextError;

    fn try_from(id: String) -> Result<Self, TextError> {
        let starts_well = id.starts_with(|c: char| c.is_ascii_alphanumeric());
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if starts_well && id.len() <= CASE_ID_BYTES_MAX && id.chars().all(plain) {
            Ok(Self(id))
        } else {
            Err(TextError::CaseId { bytes: id.len() })
        }
    }
}

impl TryFrom<String> for Sha256 {
    type Error = TextError;

    fn try_from(hash: String) -> Result<Self, TextError> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if hash.len() == SHA256_DIGITS && hash.bytes().all(digit) {
            Ok(Self(hash))
        } else {
            Err(TextError::Sha256 { bytes: hash.len() })
        }
    }
}

macro_rules! string_like {
    ($($name:ident)*) => {$(
        impl $name {
            /// As written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = TextError;

            fn try_from(text: &str) -> Result<Self, TextError> {
                text.to_owned().try_into()
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

string_like! { Text CaseId Sha256 }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_id_can_only_name_a_folder_of_its_own() {
        for good in ["a", "C-2026_0001", &"x".repeat(CASE_ID_BYTES_MAX)] {
            assert_eq!(CaseId::try_from(good).map(String::from), Ok(good.into()));
        }
        let long = "x".repeat(CASE_ID_BYTES_MAX + 1);
        for bad in [
            "", ".", "..", "a/b", "../a", "-rf", "_a", "a b", "ä", "a\0", &long,
        ] {
            let refused = TextError::CaseId { bytes: bad.len() };
            assert_eq!(CaseId::try_from(bad), Err(refused), "{bad:?}");
        }
    }

    #[test]
    fn a_text_is_one_printable_line() {
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        let bad = [
            ("", TextError::Empty),
            ("  ", TextError::Empty),
            ("a\nb", TextError::Control { at: 1 }),
            ("é\u{85}", TextError::Control { at: 2 }),
            (&long, TextError::Long { got: long.len() }),
        ];
        for (text, error) in bad {
            assert_eq!(Text::try_from(text), Err(error), "{text:?}");
        }
        assert_eq!(
            Text::try_from("=cmd, Wright's").unwrap().as_str(),
            "=cmd, Wright's"
        );
    }

    #[test]
    fn a_hash_has_64_small_digits() {
        let good = "0123456789abcdef".repeat(4);
        assert!(Sha256::try_from(good.as_str()).is_ok());
        for bad in [
            good.to_uppercase(),
            good[1..].to_owned(),
            good.replace('0', "g"),
        ] {
            assert_eq!(
                Sha256::try_from(bad.as_str()),
                Err(TextError::Sha256 { bytes: bad.len() })
            );
        }
    }

    #[test]
    fn a_bad_text_cannot_be_read_from_json_either() {
        let read = serde_json::from_str::<CaseId>("\"../etc\"").unwrap_err();
        assert!(
            read.to_string().contains("expected 1 to 40 ASCII"),
            "{read}"
        );
        assert!(serde_json::from_str::<Text>("\"\\u0000\"").is_err());
        let id: CaseId = serde_json::from_str("\"C1\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"C1\"");
    }
}
