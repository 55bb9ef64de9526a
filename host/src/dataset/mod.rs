//! Labelled pictures, whatever format they came in.
//!
//! [`open`] reads, [`join`] brings several sets to one table of names, [`remove_leaks`] keeps what
//! is judged on out of what is learned from, and [`write`] gives a set to other tools. Pictures
//! stay on disk: only their headers are read here. Nothing a data file says is ever executed, and
//! whatever is left out is counted in [`ReadReport`].

use std::path::PathBuf;

use shared::attribute::AttributeSchema;
use shared::cell::Cell;
use shared::class::ClassTable;
use shared::geometry::{BBox, Image, Size};

mod balance;
mod bounded;
mod coco;
mod coco_fields;
mod crowds;
mod duplicates;
mod fingerprint;
mod join;
mod open;
mod origin;
mod phantom;
mod picture;
mod plot;
mod problem;
#[cfg(test)]
pub(crate) mod real_data;
mod scan;
mod split;
mod stats;
#[cfg(test)]
mod tests;
mod text;
mod voc;
mod wbcatt;
mod write;
mod yaml;

pub use balance::{RARE_BELOW, class_weights, repeat_factors};
pub(crate) use bounded::{read_bytes, read_text};
pub use duplicates::{LeakReport, remove_leaks};
pub use fingerprint::{fingerprint, fingerprint_of_split};
pub(crate) use fingerprint::{hex, shared_folder};
pub use join::join;
pub use open::{GroupRule, OpenOptions, is_data_set, open};
pub use origin::{Domain, Origin};
pub use phantom::{PhantomLook, PhantomPlan, PhantomSchema, draw_phantoms};
pub use picture::{PictureHeader, check_pixels, read_header};
pub use plot::cell_sheet;
pub use problem::{DataError, Mode, Problem, ReadReport};
pub use scan::pictures_of;
pub use split::{SplitPlan, SplitReport, resplit};
pub(crate) use stats::side_ratios;
pub use stats::{SplitStats, Stats};
pub use write::{Format, Placement, WriteReport, coco_truth, write};
pub(crate) use write::{csv_cell, file_names, link as symlink};

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

impl Split {
    /// All three, in order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// `train`, `val` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }

    /// The split of that name; `valid` and `validation` are `val` too.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "train" => Some(Self::Train),
            "val" | "valid" | "validation" => Some(Self::Val),
            "test" => Some(Self::Test),
            _ => None,
        }
    }
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
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
    /// The only part somebody labelled, in sparse sets; `None` = all of it.
    pub region: Option<BBox<Image>>,
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
    /// The sets it was read from.
    pub origins: Vec<Origin>,
    /// What was read, and what was left out.
    pub report: ReadReport,
}

impl Dataset {
    /// The samples of one part.
    pub fn split(&self, split: Split) -> impl Iterator<Item = &Sample> {
        self.samples
            .iter()
            .filter(move |sample| sample.split == split)
    }

    /// Pictures of train, val and test.
    pub fn split_counts(&self) -> [usize; 3] {
        Split::ALL.map(|split| self.split(split).count())
    }
}
