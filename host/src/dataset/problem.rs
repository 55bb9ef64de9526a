//! What is wrong with data, and what was left out because of it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// What to do with a row, a label file or a picture that is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The data set is refused; the first problems are listed.
    Strict,
    /// The row or picture is left out and counted.
    #[default]
    Lenient,
}

/// One thing that is wrong, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `file` or `file:line`, sometimes with the record's name.
    pub place: String,
    /// Few words to count by.
    pub reason: &'static str,
    /// Expected and found.
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.detail)
    }
}

/// Why data could not be read, joined or written; the program ends with exit code 3.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder that cannot be read; the source says why.
    #[error("{} cannot be read", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file or folder that cannot be written; the source says why. Exit code 6, not 3.
    #[error("{} cannot be written", path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Something about a whole file.
    #[error("{}: {detail}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Expected and found.
        detail: String,
    },
    /// Rows and pictures that are wrong, in strict mode.
    #[error("{}", list(shown, *total))]
    Problems {
        /// The first of them.
        shown: Vec<Problem>,
        /// All of them.
        total: usize,
    },
    /// Sets that do not go together.
    #[error("{name}: {detail}")]
    Join {
        /// The part that does not fit.
        name: String,
        /// Expected and found.
        detail: String,
    },
}

fn list(shown: &[Problem], total: usize) -> String {
    let mut text = format!("{total} problem{}", if total == 1 { "" } else { "s" });
    for problem in shown {
        text.push_str(&format!("\n  {problem}"));
    }
    if total > shown.len() {
        text.push_str(&format!("\n  and {} more", total - shown.len()));
    }
    text
}

impl DataError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Write { path, source }
    }

    pub(crate) fn file(path: &Path, detail: impl fmt::Display) -> Self {
        Self::File {
            path: path.to_path_buf(),
            detail: detail.to_string(),
        }
    }
}

/// What was read and what was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadReport {
    /// The format that was recognised, with its layout.
    pub format: String,
    /// Rows, boxes and pictures left out, by reason.
    pub dropped: BTreeMap<String, usize>,
    /// The first problems behind `dropped`.
    pub examples: Vec<Problem>,
    /// What was understood but deserves a look: ignored keys, skipped files.
    pub notes: Vec<String>,
}

impl ReadReport {
    /// Counts `count` things left out for `reason`.
    pub fn drop_many(&mut self, reason: &str, count: usize) {
        if count > 0 {
            *self.dropped.entry(reason.to_owned()).or_default() += count;
        }
    }

    /// Takes over what another part left out.
    pub fn absorb(&mut self, other: Self) {
        for (reason, count) in other.dropped {
            self.drop_many(&reason, count);
        }
        self.examples.extend(other.examples);
        self.examples.truncate(SHOWN_MAX);
        self.notes.extend(other.notes);
    }
}

impl fmt::Display for ReadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read as {}", self.format)?;
        for (reason, count) in &self.dropped {
            write!(f, "\n  left out {count:>6}  {reason}")?;
        }
        for problem in &self.examples {
            write!(f, "\n  for example: {problem}")?;
        }
        for note in &self.notes {
            write!(f, "\n  note: {note}")?;
        }
        Ok(())
    }
}

/// Most problems and notes that are kept with their words.
pub(crate) const SHOWN_MAX: usize = 20;

/// Collects problems while a set is read: strict mode fails at the end, lenient mode counts.
#[derive(Debug)]
pub(crate) struct Collector {
    mode: Mode,
    total: usize,
    pub(crate) report: ReadReport,
}

impl Collector {
    pub(crate) fn new(mode: Mode) -> Self {
        Self {
            mode,
            total: 0,
            report: ReadReport::default(),
        }
    }

    /// Something is wrong and is left out.
    pub(crate) fn refuse(
        &mut self,
        reason: &'static str,
        place: impl fmt::Display,
        detail: impl fmt::Display,
    ) {
        self.total += 1;
        self.report.drop_many(reason, 1);
        if self.report.examples.len() < SHOWN_MAX {
            self.report.examples.push(Problem {
                place: place.to_string(),
                reason,
                detail: detail.to_string(),
            });
        }
    }

    /// Something is left out on purpose; no error in any mode.
    pub(crate) fn leave_out(&mut self, reason: &str, count: usize) {
        self.report.drop_many(reason, count);
    }

    /// Something worth a look; after twenty only counted.
    pub(crate) fn note(&mut self, note: String) {
        if self.report.notes.len() < SHOWN_MAX {
            self.report.notes.push(note);
        } else {
            self.report.drop_many("(further notes not shown)", 1);
        }
    }

    /// The report, or the problems when they are not to be tolerated.
    pub(crate) fn finish(self) -> Result<ReadReport, DataError> {
        if self.mode == Mode::Strict && self.total > 0 {
            return Err(DataError::Problems {
                shown: self.report.examples,
                total: self.total,
            });
        }
        Ok(self.report)
    }
}
