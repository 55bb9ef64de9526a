//! The differential of a run as data and as a table.

use std::fmt;

use serde::Serialize;
use shared::class::ClassTable;
use shared::differential::{ClassSet, Differential};

/// What the limits do not say.
pub const LIMITS_NOTE: &str = "95 % limits (Clopper-Pearson) cover the error of counting only.";

/// Stands on every result.
pub const RESEARCH_NOTE: &str = "For research use only. Not for use in diagnostic procedures.";

/// A class's line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassLine {
    /// Spelled as in the model's contract.
    pub class: String,
    /// Cells found.
    pub count: u32,
    /// Per cent of the white cells; `None` while no white cell was counted.
    pub percent: Option<f64>,
    /// Exact 95 % limits in per cent, rounded outward to 0.1.
    pub limits_percent: Option<[f64; 2]>,
}

/// The differential by class; what is no white cell stands apart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CountTable {
    /// White cells in all.
    pub white_cells: u32,
    /// Every class of white cells, in the model's order.
    pub classes: Vec<ClassLine>,
    /// Classes that never enter the per cent.
    pub apart: Vec<ClassLine>,
}

impl CountTable {
    /// Of a finished count.
    pub fn new(differential: &Differential, table: &ClassTable) -> Self {
        let line = |(class, name): (_, &str)| {
            let share = differential.share(class);
            ClassLine {
                class: name.to_owned(),
                count: differential.count(class),
                percent: share.map(|share| share.percent()),
                limits_percent: share.map(|share| {
                    let range = share.limits.percent_outward();
                    [range.lower_tenths, range.upper_tenths].map(|tenths| f64::from(tenths) / 10.0)
                }),
            }
        };
        let (apart, classes): (Vec<_>, Vec<_>) = table
            .iter()
            .partition(|&(class, _)| differential.is_apart(class));
        Self {
            white_cells: differential.white_cells(),
            classes: classes.into_iter().map(line).collect(),
            apart: apart.into_iter().map(line).collect(),
        }
    }

    /// An empty count over the classes of a model.
    pub fn counter(table: &ClassTable) -> Differential {
        Differential::new(ClassSet::not_white_cells(table))
    }
}

impl fmt::Display for CountTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.classes.iter().chain(&self.apart);
        let width = names
            .map(|line| line.class.chars().count())
            .fold("white cells".len(), usize::max);
        writeln!(f, "{:width$}  count  per cent  95 % limits", "class")?;
        for line in &self.classes {
            write!(f, "{:width$}  {:>5}", line.class, line.count)?;
            match (line.percent, line.limits_percent) {
                (Some(percent), Some([lower, upper])) => {
                    writeln!(f, "  {percent:>8.1}  {lower:.1}-{upper:.1}")?;
                }
                _ => writeln!(f, "  {:>8}  -", "-")?,
            }
        }
        writeln!(f, "{:width$}  {:>5}", "white cells", self.white_cells)?;
        for line in &self.apart {
            writeln!(f, "{:width$}  {:>5}  (apart)", line.class, line.count)?;
        }
        write!(f, "{LIMITS_NOTE}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::class::{ClassId, LEUKEMIA_CLASSES};

    #[test]
    fn artefacts_stand_apart_and_limits_are_those_of_the_tables() {
        let table = ClassTable::new(LEUKEMIA_CLASSES).unwrap();
        let mut counted = CountTable::counter(&table);
        for (class, times) in [(0, 7), (3, 80), (13, 20)] {
            (0..times).for_each(|_| counted.add(ClassId(class)));
        }
        let count = CountTable::new(&counted, &table);
        assert_eq!((count.white_cells, count.classes.len()), (100, 13));
        assert_eq!((count.apart.len(), count.apart[0].count), (1, 7));
        assert_eq!(count.apart[0].percent, None);
        // 20 of 100: 12.7-29.2 in station.md, which rounds to the nearest; 12.67 goes outward.
        let basophil = &count.classes[12];
        assert_eq!(basophil.percent, Some(20.0));
        assert_eq!(basophil.limits_percent, Some([12.6, 29.2]));
        let words = count.to_string();
        assert!(
            words.contains("Basophil                  20      20.0  12.6-29.2\n"),
            "{words}"
        );
        assert!(
            words.contains("None                       7  (apart)\n"),
            "{words}"
        );
    }
}
