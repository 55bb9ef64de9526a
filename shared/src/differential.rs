//! The differential: how many of each class, in per cent of the white cells.
//!
//! Integers until the last division; a per cent never stands without the count it was made of.
//! Artefacts and unidentified cells are counted apart and never enter the per cent.

use crate::class::{ClassId, ClassTable, MAX_CLASSES};
use crate::interval::{self, Limits};

/// Class names, as data sets spell them, that are no white cells.
///
/// `None` is LeukemiaAttri's class of artefacts and unidentified cells; red cells and platelets
/// are BCCD's. Compared without regard to case.
pub const NOT_WHITE_CELLS: [&str; 8] = [
    "None",
    "Unidentified",
    "Artefact",
    "Artifact",
    "RBC",
    "Platelets",
    "Platelet",
    "Erythroblast",
];

/// A set of classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassSet(u128);

impl ClassSet {
    /// No class.
    pub const EMPTY: Self = Self(0);

    /// The classes of `table` whose names are in [`NOT_WHITE_CELLS`].
    pub fn not_white_cells(table: &ClassTable) -> Self {
        table
            .iter()
            .filter(|(_, name)| {
                let mut known = NOT_WHITE_CELLS.iter();
                known.any(|other| other.eq_ignore_ascii_case(name))
            })
            .fold(Self::EMPTY, |set, (class, _)| set.with(class))
    }

    /// This set and `class`; a class that no table can hold is left out.
    pub fn with(self, class: ClassId) -> Self {
        if class.index() < MAX_CLASSES {
            Self(self.0 | 1 << class.index())
        } else {
            self
        }
    }

    /// Whether `class` belongs to the set.
    pub fn contains(self, class: ClassId) -> bool {
        class.index() < MAX_CLASSES && self.0 >> class.index() & 1 == 1
    }
}

/// A class's part of the white cells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Cells of the class.
    pub count: u32,
    /// White cells in all, at least 1.
    pub of: u32,
    /// Exact 95 % limits of the proportion; they cover the error of counting only.
    pub limits: Limits,
}

impl Share {
    /// Per cent of the white cells, 0..=100.
    pub fn percent(&self) -> f64 {
        f64::from(self.count) * 100.0 / f64::from(self.of)
    }
}

/// Counts of every class, of what is no white cell, and of what nobody could name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differential {
    counts: [u32; MAX_CLASSES],
    unidentified: u32,
    not_white: ClassSet,
}

impl Differential {
    /// Nothing counted yet; the classes of `not_white` will be shown apart.
    pub fn new(not_white: ClassSet) -> Self {
        Self {
            counts: [0; MAX_CLASSES],
            unidentified: 0,
            not_white,
        }
    }

    /// One more of `class`; a number that no table can hold counts as unidentified.
    pub fn add(&mut self, class: ClassId) {
        match self.counts.get_mut(class.index()) {
            Some(count) => *count += 1,
            None => self.unidentified += 1,
        }
    }

    /// One more cell whose class nobody could tell (low confidence, for instance).
    pub fn add_unidentified(&mut self) {
        self.unidentified += 1;
    }

    /// Cells or artefacts of `class`.
    pub fn count(&self, class: ClassId) -> u32 {
        self.counts.get(class.index()).copied().unwrap_or(0)
    }

    /// Cells that were seen but not named; not in the per cent.
    pub fn unidentified(&self) -> u32 {
        self.unidentified
    }

    /// Whether `class` is shown apart.
    pub fn is_apart(&self, class: ClassId) -> bool {
        self.not_white.contains(class)
    }

    /// White cells with a name: the hundred per cent.
    pub fn white_cells(&self) -> u32 {
        self.numbered()
            .filter(|&(class, _)| !self.is_apart(class))
            .map(|(_, count)| count)
            .sum()
    }

    /// What was found of the classes that are no white cells.
    pub fn apart(&self) -> u32 {
        self.numbered()
            .filter(|&(class, _)| self.is_apart(class))
            .map(|(_, count)| count)
            .sum()
    }

    /// The part of `class`; `None` for a class shown apart and while no white cell was counted.
    pub fn share(&self, class: ClassId) -> Option<Share> {
        if self.is_apart(class) {
            return None;
        }
        let (count, of) = (self.count(class), self.white_cells());
        let limits = interval::limits(count, of)?;
        Some(Share { count, of, limits })
    }

    fn numbered(&self) -> impl Iterator<Item = (ClassId, u32)> {
        let numbers = (0..).map(ClassId);
        numbers.zip(self.counts)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;

    use super::*;
    use crate::class::LEUKEMIA_CLASSES;

    fn leukemia() -> (ClassTable, Differential) {
        let table = ClassTable::new(LEUKEMIA_CLASSES).unwrap();
        let differential = Differential::new(ClassSet::not_white_cells(&table));
        (table, differential)
    }

    #[test]
    fn artefacts_and_unidentified_cells_never_enter_the_per_cent() {
        let (table, mut differential) = leukemia();
        let (none, blast) = (ClassId(0), table.find("Lymphoblast").unwrap());
        for _ in 0..20 {
            differential.add(blast);
        }
        for _ in 0..80 {
            differential.add(table.find("Lymphocyte").unwrap());
        }
        for _ in 0..50 {
            differential.add(none);
            differential.add_unidentified();
        }
        assert_eq!(differential.white_cells(), 100);
        assert_eq!(
            (differential.apart(), differential.unidentified()),
            (50, 50)
        );
        assert_eq!(differential.count(none), 50);
        assert_eq!(differential.share(none), None);
        let share = differential.share(blast).unwrap();
        assert_eq!((share.count, share.of, share.percent()), (20, 100, 20.0));
        assert_eq!(share.limits.percent_nearest().to_string(), "12.7-29.2");
        assert_eq!(share.limits.percent_outward().to_string(), "12.6-29.2");
    }

    #[test]
    fn a_class_is_known_in_any_case_of_its_letters() {
        let table = ClassTable::new(["none", "NONE", "rbc", "platelets", "Neutrophil"]).unwrap();
        let apart = ClassSet::not_white_cells(&table);
        let known: std::vec::Vec<bool> = (0..5).map(|n| apart.contains(ClassId(n))).collect();
        assert_eq!(known, [true, true, true, true, false]);
    }

    #[test]
    fn an_empty_count_has_no_per_cent() {
        let (_, mut differential) = leukemia();
        assert_eq!(differential.share(ClassId(1)), None);
        differential.add(ClassId(0));
        assert_eq!(differential.share(ClassId(1)), None);
        assert_eq!(differential.white_cells(), 0);
    }

    #[test]
    fn a_class_outside_every_table_is_counted_as_unidentified() {
        let (_, mut differential) = leukemia();
        differential.add(ClassId(200));
        assert_eq!(
            (differential.white_cells(), differential.unidentified()),
            (0, 1)
        );
        assert!(!ClassSet::EMPTY.with(ClassId(200)).contains(ClassId(200)));
    }

    #[test]
    fn a_class_that_was_not_seen_still_has_limits() {
        let (_, mut differential) = leukemia();
        for _ in 0..100 {
            differential.add(ClassId(3));
        }
        let share = differential.share(ClassId(2)).unwrap();
        assert_eq!(share.percent(), 0.0);
        assert_eq!(share.limits.percent_nearest().to_string(), "0.0-3.6");
    }
}
