//! Labelled pictures, whatever format they came in.

use std::path::PathBuf;

use shared::attribute::AttributeSchema;
use shared::cell::Cell;
use shared::class::ClassTable;
use shared::geometry::Size;

/// Which part of a data set a picture belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    /// Learned from.
    Train,
    /// Chosen by.
    Val,
    /// Looked at once.
    Test,
}

/// One picture and its truth.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The file.
    pub image: PathBuf,
    /// Its size, read from the file's header.
    pub size: Size,
    /// Part of the data set.
    pub split: Split,
    /// Patient or slide: pictures of one group stay on one side of a split.
    pub group: String,
    /// The white cells on it.
    pub cells: Vec<Cell>,
}

/// A data set in memory; pictures stay on disk.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Name for tables, usually the folder's.
    pub name: String,
    /// Classes by number.
    pub classes: ClassTable,
    /// Attributes by column; may be empty.
    pub schema: AttributeSchema,
    /// In the order of their paths.
    pub samples: Vec<Sample>,
}
