//! How well the values of one attribute were told apart.

use crate::attribute::{MAX_VALUES, ValueId};

use super::{f1, mean_of_defined, ratio};

/// Column of the truths for which nothing was found.
const MISSED: usize = MAX_VALUES;

/// Truth against finding for one attribute; cells without a label are ignored.
///
/// A cell that was missed (or found by a model that does not know the attribute) is wrong: it
/// counts against the accuracy, and in F1 as a miss of its true value and an extra of none. So
/// macro-F1 end to end is bounded by the share of cells found, and leaving the missed cells out
/// gives the score on the found ones. Findings on no cell have no true value and do not enter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttributeTally {
    counts: [[u32; MAX_VALUES + 1]; MAX_VALUES],
}

impl AttributeTally {
    /// One cell; nothing happens when its `truth` is not labelled.
    pub fn add(&mut self, truth: Option<ValueId>, found: Option<ValueId>) {
        if let Some(truth) = truth {
            self.counts[truth.index()][found.map_or(MISSED, ValueId::index)] += 1;
        }
    }

    /// Labelled cells of true value `truth` that were found as `found`.
    pub fn at(&self, truth: ValueId, found: ValueId) -> u32 {
        self.counts[truth.index()][found.index()]
    }

    /// Labelled cells of true value `truth` that were missed.
    pub fn missed(&self, truth: ValueId) -> u32 {
        self.counts[truth.index()][MISSED]
    }

    /// Labelled cells.
    pub fn labelled(&self) -> u32 {
        self.counts.iter().flatten().sum()
    }

    /// Labelled cells whose value was told right.
    pub fn right(&self) -> u32 {
        (0..MAX_VALUES).map(|value| self.counts[value][value]).sum()
    }

    /// Right among labelled; `None` without labels.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.right().into(), self.labelled().into())
    }

    /// F1 of one value; `None` when it is neither labelled nor found.
    pub fn f1(&self, value: ValueId) -> Option<f64> {
        let value = value.index();
        let hits = self.counts[value][value];
        let misses = self.counts[value].iter().sum::<u32>() - hits;
        let extras = self.counts.iter().map(|row| row[value]).sum::<u32>() - hits;
        f1(hits, misses, extras)
    }

    /// Mean F1 of the values that are labelled or found; `None` without labels.
    pub fn macro_f1(&self) -> Option<f64> {
        mean_of_defined((0..MAX_VALUES).map(|index| self.f1(ValueId::new(index)?)))
    }
}
