//! Where in its text a configuration is wrong.

use std::fmt;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// Line and column, both from 1; columns are characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} column {}", self.line, self.column)
    }
}

impl Place {
    fn of(text: &str, byte: usize) -> Self {
        // Back to a boundary of characters: a place inside one is where it begins.
        let mut byte = byte.min(text.len());
        while !text.is_char_boundary(byte) {
            byte -= 1;
        }
        let before = &text[..byte];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// A configuration that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No TOML, an unknown key, or a value of another type.
    #[error("{place}: {message}")]
    Text {
        /// Where.
        place: Place,
        /// What is wrong there.
        message: String,
    },
    /// A value outside its range.
    #[error("{place}: {key} is {found}, expected {expected}")]
    Value {
        /// Where.
        place: Place,
        /// With its section.
        key: String,
        /// As written.
        found: String,
        /// The range, in words.
        expected: String,
    },
    /// The file cannot be read.
    #[error("cannot be read: {reason}")]
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// A value outside its range, before its place is known.
#[derive(Debug, PartialEq)]
pub(super) struct Problem {
    /// With its sections; those of tables whose keys are free may hold points.
    pub key: Vec<String>,
    pub found: String,
    pub expected: String,
}

pub(super) fn of_toml(text: &str, error: &toml::de::Error) -> ConfigError {
    let byte = error.span().map_or(0, |span| span.start);
    let message = error.message().trim_end();
    ConfigError::Text {
        place: Place::of(text, byte),
        // One line, as every message.
        message: message.replace('\n', "; "),
    }
}

pub(super) fn of_value(text: &str, problem: Problem) -> ConfigError {
    // A default can be refused, too, when another value in the file forbids it: then the last
    // section that is there is the place.
    let byte = span_of(text, &problem.key).map_or(0, |span| span.start);
    ConfigError::Value {
        place: Place::of(text, byte),
        key: problem.key.join("."),
        found: problem.found,
        expected: problem.expected,
    }
}

/// The value of a key, or the innermost of its tables that the text has.
fn span_of(text: &str, key: &[String]) -> Option<Range<usize>> {
    let root = DeTable::parse(text).ok()?;
    let mut table = root.get_ref();
    let mut span = None;
    for part in key {
        let Some((name, value)) = table.get_key_value(part.as_str()) else {
            break;
        };
        match value.get_ref() {
            // A table's own span may be empty where dotted keys make it; its name never is.
            DeValue::Table(inner) => {
                span = Some(name.span());
                table = inner;
            }
            _ => return Some(value.span()),
        }
    }
    span
}
