//! How many more cells to count: live, while scanning.
//!
//! The 95 % limits cover the error of counting only, and so does every number here.

use serde::{Deserialize, Serialize};
use shared::class::{ClassId, ClassTable};
use shared::differential::{ClassSet, Differential};
use shared::interval;
use thiserror::Error;

use super::event::{Sufficiency, Target};
use super::state::CELLS_MAX;

/// Class names of blasts and what is counted with them, as data sets spell them; any case of letters.
pub const BLASTS: [&str; 6] = [
    "Blast",
    "Myeloblast",
    "Lymphoblast",
    "Monoblast",
    "Promonocyte",
    "Abnormal promyelocyte",
];

/// Other white cells that healthy blood does not hold.
pub const ABNORMAL_BESIDE_BLASTS: [&str; 5] = [
    "Atypical lymphocyte",
    "Promyelocyte",
    "Myelocyte",
    "Metamyelocyte",
    "Abnormal",
];

/// The classes of `table` in [`BLASTS`].
pub fn blasts(table: &ClassTable) -> ClassSet {
    named(table, ClassSet::EMPTY, &BLASTS)
}

/// The classes of `table` in [`BLASTS`] or [`ABNORMAL_BESIDE_BLASTS`].
pub fn abnormal(table: &ClassTable) -> ClassSet {
    named(table, blasts(table), &ABNORMAL_BESIDE_BLASTS)
}

fn named(table: &ClassTable, set: ClassSet, names: &[&str]) -> ClassSet {
    let known = |name: &str| names.iter().any(|other| other.eq_ignore_ascii_case(name));
    let classes = table.iter().filter(|(_, name)| known(name));
    classes.fold(set, |set, (class, _)| set.with(class))
}

/// A wish that no count fulfils.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("{what} is {got} per cent, expected more than 0 and less than 100")]
pub struct WishError {
    /// Which number.
    pub what: &'static str,
    /// As given.
    pub got: f64,
}

/// What is asked of a count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// Widest 95 % limits of the leading abnormal class, upper minus lower, per cent of the white cells.
    /// Default 12: what 200 cells give where 20 % are blasts (14.7-26.2).
    pub width_percent: f64,
    /// The smallest share, per cent, of which one cell would be seen with 95 % confidence while no
    /// abnormal cell was. Default 2, for which 149 cells are needed.
    pub unseen_percent: f64,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            width_percent: 12.0,
            unseen_percent: 2.0,
        }
    }
}

impl Wish {
    /// Checks a wish that was read.
    pub fn check(&self) -> Result<(), WishError> {
        let numbers = [
            ("width_percent", self.width_percent),
            ("unseen_percent", self.unseen_percent),
        ];
        let legal = |got: f64| got > 0.0 && got < 100.0;
        match numbers.into_iter().find(|&(_, got)| !legal(got)) {
            Some((what, got)) => Err(WishError { what, got }),
            None => Ok(()),
        }
    }
}

/// How many more white cells to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum More {
    /// None: the wish is fulfilled.
    Enough,
    /// So many, if the rest of the slide is like what was counted.
    Count(u32),
    /// More than a case holds ([`CELLS_MAX`]).
    BeyondACase,
}

impl More {
    fn to(needed: Option<u32>, counted: u32) -> Self {
        match needed {
            Some(needed) if needed <= counted => Self::Enough,
            Some(needed) if needed as usize <= CELLS_MAX => Self::Count(needed - counted),
            _ => Self::BeyondACase,
        }
    }
}

/// What the abnormal cells ask for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Leading {
    /// Nothing to ask for: no class of the model is abnormal.
    NoSuchClass,
    /// None was seen yet.
    Unseen {
        /// White cells in all after which one would have been seen; `None` beyond what can be counted.
        needed: Option<u32>,
        /// To count.
        more: More,
    },
    /// The abnormal class with the most cells; of equal ones the first in the table.
    Class {
        /// Which.
        class: ClassId,
        /// Its cells.
        count: u32,
        /// Exact 95 % limits in per cent, rounded outward to 0.1.
        limits_percent: [f64; 2],
        /// To count until the limits are as narrow as wished.
        more: More,
    },
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// White cells with a name so far.
    pub white_cells: u32,
    /// White cells left to the target; 0 from then on.
    pub to_target: u32,
    /// What a result of now would be called.
    pub sufficiency: Sufficiency,
    /// Cells of all blast classes together.
    pub blasts: u32,
    /// Their exact 95 % limits in per cent, rounded outward to 0.1; `None` while nothing is counted and
    /// where the model knows no blasts.
    pub blasts_limits_percent: Option<[f64; 2]>,
    /// What the abnormal cells ask for.
    pub leading: Leading,
}

/// What `differential`, over the classes of `table`, asks for. `wish` is one that [`Wish::check`] passed.
pub fn advise(
    differential: &Differential,
    table: &ClassTable,
    target: Target,
    wish: &Wish,
) -> Advice {
    let white_cells = differential.white_cells();
    let blasts = blasts(table);
    let known = table.iter().any(|(class, _)| blasts.contains(class));
    let counts = table.iter().filter(|&(class, _)| blasts.contains(class));
    let blast_cells = counts.map(|(class, _)| differential.count(class)).sum();
    Advice {
        white_cells,
        to_target: target.cells().saturating_sub(white_cells),
        sufficiency: Sufficiency::of(white_cells, target),
        blasts: blast_cells,
        blasts_limits_percent: limits_percent(blast_cells, white_cells).filter(|_| known),
        leading: leading(differential, table, wish),
    }
}

fn leading(differential: &Differential, table: &ClassTable, wish: &Wish) -> Leading {
    let abnormal = abnormal(table);
    let counts = table
        .iter()
        .filter(|&(class, _)| abnormal.contains(class))
        .map(|(class, _)| (class, differential.count(class)));
    let Some((class, count)) = counts.reduce(|a, b| if b.1 > a.1 { b } else { a }) else {
        return Leading::NoSuchClass;
    };
    let counted = differential.white_cells();
    match limits_percent(count, counted) {
        Some(limits_percent) if count > 0 => Leading::Class {
            class,
            count,
            limits_percent,
            more: More::to(needed(count, counted, wish.width_percent), counted),
        },
        _ => {
            let needed = interval::cells_needed(wish.unseen_percent / 100.0);
            Leading::Unseen {
                needed,
                more: More::to(needed, counted),
            }
        }
    }
}

fn limits_percent(count: u32, of: u32) -> Option<[f64; 2]> {
    let range = interval::percent_outward(count, of)?;
    Some([range.lower_tenths, range.upper_tenths].map(|tenths| f64::from(tenths) / 10.0))
}

/// White cells in all, `of` or more, with which the limits of a class that stays `count` of `of` are at
/// most `width` per cent wide, while with one fewer they are not; `None` beyond [`CELLS_MAX`].
fn needed(count: u32, of: u32, width: f64) -> Option<u32> {
    let narrow = |cells: u32| {
        // Rounded half up; at most `cells`, because `count` is at most `of`.
        let (seen, of) = (u64::from(count) * u64::from(cells), u64::from(of));
        let seen = ((2 * seen + of) / (2 * of)) as u32;
        let limits = interval::limits(seen, cells);
        limits.is_some_and(|limits| (limits.upper - limits.lower) * 100.0 <= width)
    };
    if narrow(of) {
        return Some(of);
    }
    let (mut wide, mut enough) = (of, CELLS_MAX as u32);
    if wide >= enough || !narrow(enough) {
        return None;
    }
    while enough - wide > 1 {
        let middle = wide + (enough - wide) / 2;
        if narrow(middle) {
            enough = middle;
        } else {
            wide = middle;
        }
    }
    Some(enough)
}

#[cfg(test)]
mod tests {
    use shared::class::{LEUKEMIA_CLASSES, WBCATT_CLASSES};

    use super::*;

    const MYELOBLAST: ClassId = ClassId(1);
    const LYMPHOBLAST: ClassId = ClassId(2);
    const LYMPHOCYTE: ClassId = ClassId(7);

    fn counted(cells: &[(ClassId, u32)]) -> (ClassTable, Differential) {
        let table = ClassTable::new(LEUKEMIA_CLASSES).unwrap();
        let mut differential = Differential::new(ClassSet::not_white_cells(&table));
        for &(class, count) in cells {
            (0..count).for_each(|_| differential.add(class));
        }
        (table, differential)
    }

    fn advice(cells: &[(ClassId, u32)], target: Target, width_percent: f64) -> Advice {
        let (table, differential) = counted(cells);
        let wish = Wish {
            width_percent,
            ..Wish::default()
        };
        advise(&differential, &table, target, &wish)
    }

    #[test]
    fn more_cells_are_asked_for_until_the_limits_of_the_leading_class_are_narrow() {
        // Published limits of 20 %: 12.7-29.2 of 100, 14.7-26.2 of 200.
        let twenty = |of: u32| {
            [
                (LYMPHOBLAST, of / 5),
                (MYELOBLAST, 0),
                (LYMPHOCYTE, of - of / 5),
            ]
        };
        let Leading::Class {
            class,
            count,
            limits_percent,
            more: More::Count(more),
        } = advice(&twenty(100), Target::TwoHundred, 12.0).leading
        else {
            panic!("100 cells are too few for 12 per cent");
        };
        assert_eq!(
            (class, count, limits_percent),
            (LYMPHOBLAST, 20, [12.6, 29.2])
        );
        assert!((70..=100).contains(&more), "{more}: 200 cells suffice");
        let enough = advice(&twenty(200), Target::TwoHundred, 12.0).leading;
        assert!(
            matches!(
                enough,
                Leading::Class {
                    more: More::Enough,
                    ..
                }
            ),
            "{enough:?}"
        );
    }

    #[test]
    fn with_the_cells_asked_for_the_limits_are_narrow_and_with_one_fewer_they_are_not() {
        let width = |count: u32, of: u32, cells: u32| {
            let seen = (f64::from(count * cells) / f64::from(of)).round() as u32;
            let limits = interval::limits(seen, cells).unwrap();
            (limits.upper - limits.lower) * 100.0
        };
        for (count, of, wish) in [(1, 10, 12.0), (5, 50, 8.0), (50, 100, 10.0), (3, 7, 3.0)] {
            let cells = needed(count, of, wish).unwrap();
            assert!(width(count, of, cells) <= wish, "{count}/{of}: {cells}");
            assert!(width(count, of, cells - 1) > wish, "{count}/{of}: {cells}");
        }
        assert_eq!(needed(50, 100, 0.5), None, "38,000 cells are beyond a case");
        let leading = advice(&[(MYELOBLAST, 50), (LYMPHOCYTE, 50)], Target::Hundred, 0.5).leading;
        assert!(
            matches!(
                leading,
                Leading::Class {
                    more: More::BeyondACase,
                    ..
                }
            ),
            "{leading:?}"
        );
    }

    #[test]
    fn without_abnormal_cells_as_many_are_asked_for_as_one_would_be_seen_among() {
        // 299, 149 and 59 cells for 1, 2 and 5 % (station.md).
        for (percent, needed) in [(1.0, 299), (2.0, 149), (5.0, 59)] {
            let wish = Wish {
                unseen_percent: percent,
                ..Wish::default()
            };
            for (cells, more) in [
                (0, More::Count(needed)),
                (20, More::Count(needed - 20)),
                (needed - 1, More::Count(1)),
                (needed, More::Enough),
                (400, More::Enough),
            ] {
                let (table, differential) = counted(&[(LYMPHOCYTE, cells)]);
                let leading = advise(&differential, &table, Target::Hundred, &wish).leading;
                let needed = Some(needed);
                assert_eq!(
                    leading,
                    Leading::Unseen { needed, more },
                    "{percent} {cells}"
                );
            }
        }
    }

    #[test]
    fn the_leading_class_is_the_one_with_most_cells_and_never_a_normal_one() {
        let leading = |cells: &[(ClassId, u32)]| match advice(cells, Target::Hundred, 12.0).leading
        {
            Leading::Class { class, .. } => Some(class),
            _ => None,
        };
        assert_eq!(
            leading(&[(MYELOBLAST, 2), (LYMPHOBLAST, 3), (LYMPHOCYTE, 90)]),
            Some(LYMPHOBLAST)
        );
        assert_eq!(
            leading(&[(LYMPHOBLAST, 3), (MYELOBLAST, 3)]),
            Some(MYELOBLAST)
        );
        assert_eq!(leading(&[(LYMPHOCYTE, 90), (ClassId(0), 30)]), None);
    }

    #[test]
    fn blasts_are_summed_and_the_rest_to_the_target_is_said() {
        let cells = [
            (MYELOBLAST, 6),
            (LYMPHOBLAST, 4),
            (LYMPHOCYTE, 90),
            (ClassId(0), 50),
        ];
        let at_hundred = advice(&cells, Target::TwoHundred, 12.0);
        assert_eq!((at_hundred.white_cells, at_hundred.to_target), (100, 100));
        assert_eq!(at_hundred.sufficiency, Sufficiency::InsufficientCells);
        assert_eq!(at_hundred.blasts, 10);
        assert_eq!(at_hundred.blasts_limits_percent, Some([4.9, 17.7]));
        let done = advice(&cells, Target::Hundred, 12.0);
        assert_eq!(
            (done.to_target, done.sufficiency),
            (0, Sufficiency::Sufficient)
        );
        let nothing = advice(&[], Target::Hundred, 12.0);
        assert_eq!((nothing.blasts, nothing.blasts_limits_percent), (0, None));
    }

    #[test]
    fn a_model_without_abnormal_classes_asks_for_no_more_than_the_target() {
        let table = ClassTable::new(WBCATT_CLASSES).unwrap();
        let mut differential = Differential::new(ClassSet::EMPTY);
        differential.add(ClassId(0));
        let advice = advise(&differential, &table, Target::Hundred, &Wish::default());
        assert_eq!(advice.leading, Leading::NoSuchClass);
        assert_eq!((advice.blasts_limits_percent, advice.to_target), (None, 99));
    }

    #[test]
    fn a_wish_that_no_count_fulfils_is_refused() {
        assert_eq!(Wish::default().check(), Ok(()));
        for bad in [0.0, -1.0, 100.0, f64::NAN, f64::INFINITY] {
            let narrow = Wish {
                width_percent: bad,
                ..Wish::default()
            };
            assert_eq!(narrow.check().unwrap_err().what, "width_percent", "{bad}");
            let unseen = Wish {
                unseen_percent: bad,
                ..Wish::default()
            };
            assert_eq!(unseen.check().unwrap_err().what, "unseen_percent", "{bad}");
        }
    }
}
