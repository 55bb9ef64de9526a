//! Which class was taken for which: rows truth, columns found, the last of both "no cell".

use crate::class::ClassId;

use super::{f1, mean_of_defined, ratio};

/// Entries that a matrix of `n_classes` needs.
pub const fn confusion_len(n_classes: usize) -> usize {
    (n_classes + 1) * (n_classes + 1)
}

/// A confusion matrix over caller's memory.
///
/// Pairs come from [`super::matching::pair_by_overlap`]: one to one, greatest overlap first,
/// whatever the classes. (YOLOv5 pairs in the same order at IoU 0.45, but drops a finding whose
/// truth is taken instead of trying its next.) Pairs with a truth of unsaid class are counted
/// beside the matrix.
#[derive(Debug)]
pub struct ConfusionMatrix<'a> {
    n_classes: usize,
    counts: &'a mut [u32],
    unsaid_found: u32,
    unsaid_missed: u32,
    foreign: u32,
}

/// Hits, misses and extras of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCounts {
    /// Truths found with their class.
    pub hits: u32,
    /// Truths not found or found as another class.
    pub misses: u32,
    /// Findings of the class on no cell or on a cell of another class.
    pub extras: u32,
}

impl ClassCounts {
    /// Truths of the class.
    pub fn truths(&self) -> u32 {
        self.hits + self.misses
    }

    /// Findings of the class, those on cells of unsaid class not counted.
    pub fn findings(&self) -> u32 {
        self.hits + self.extras
    }

    /// Hits among the findings; `None` without findings.
    pub fn precision(&self) -> Option<f64> {
        ratio(self.hits.into(), self.findings().into())
    }

    /// Hits among the truths; `None` without truths.
    pub fn recall(&self) -> Option<f64> {
        ratio(self.hits.into(), self.truths().into())
    }

    /// Harmonic mean of the two; `None` without truths and findings.
    pub fn f1(&self) -> Option<f64> {
        f1(self.hits, self.misses, self.extras)
    }
}

impl<'a> ConfusionMatrix<'a> {
    /// An empty matrix in `counts`, which has [`confusion_len`] entries and is cleared.
    ///
    /// # Panics
    /// When `counts` is of another length.
    pub fn new(n_classes: usize, counts: &'a mut [u32]) -> Self {
        assert_eq!(counts.len(), confusion_len(n_classes), "(classes + 1)^2");
        counts.fill(0);
        Self {
            n_classes,
            counts,
            unsaid_found: 0,
            unsaid_missed: 0,
            foreign: 0,
        }
    }

    /// A truth (of class `truth`, `None` = unsaid) and the class it was found as, if it was found.
    pub fn add_truth(&mut self, truth: Option<ClassId>, found: Option<ClassId>) {
        match truth {
            Some(class) => self.count(class.index(), found.map_or(self.n_classes, ClassId::index)),
            None if found.is_some() => self.unsaid_found += 1,
            None => self.unsaid_missed += 1,
        }
    }

    /// A finding on no truth.
    pub fn add_extra(&mut self, found: ClassId) {
        self.count(self.n_classes, found.index());
    }

    fn count(&mut self, row: usize, column: usize) {
        if row > self.n_classes || column > self.n_classes {
            self.foreign += 1;
        } else {
            self.counts[row * (self.n_classes + 1) + column] += 1;
        }
    }

    /// Classes without "no cell".
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// Truths of row `truth` found as column `found`; `n_classes` is "no cell" in both.
    pub fn at(&self, truth: usize, found: usize) -> u32 {
        self.counts[truth * (self.n_classes + 1) + found]
    }

    /// The rows, from the first class to "no cell".
    pub fn rows(&self) -> impl Iterator<Item = &[u32]> {
        self.counts.chunks(self.n_classes + 1)
    }

    /// White cells of unsaid class that were found and that were missed.
    pub fn unsaid(&self) -> (u32, u32) {
        (self.unsaid_found, self.unsaid_missed)
    }

    /// Entries that had a class number outside the table and are in no cell of the matrix.
    pub fn foreign(&self) -> u32 {
        self.foreign
    }

    /// Hits, misses and extras of `class`, which is below [`Self::n_classes`].
    pub fn class(&self, class: ClassId) -> ClassCounts {
        let (index, all) = (class.index(), 0..=self.n_classes);
        let hits = self.at(index, index);
        ClassCounts {
            hits,
            misses: all.clone().map(|found| self.at(index, found)).sum::<u32>() - hits,
            extras: all.map(|truth| self.at(truth, index)).sum::<u32>() - hits,
        }
    }

    /// Mean F1 of the classes that have truths; `None` when none has.
    ///
    /// A finding of a class without truth still costs: it is a miss of what it was, or an extra.
    pub fn macro_f1(&self) -> Option<f64> {
        let classes = (0..self.n_classes).map(|index| self.class(ClassId(index as u8)));
        let with_truths = classes.filter(|counts| counts.truths() > 0);
        mean_of_defined(with_truths.map(|counts| counts.f1()))
    }
}
