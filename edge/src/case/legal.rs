//! Which events a case can take, and why not the others.

use shared::attribute::{AttributeId, SchemaError};
use shared::class::{ClassId, NameError};
use shared::geometry::{BBox, Image, Size};
use thiserror::Error;

use super::decision::{Label, RulesError};
use super::event::{CaseEvent, CaseOpened, CellSeen, FieldCounted, Sufficiency};
use super::state::{
    CELLS_MAX, CaseState, CellState, FIELD_CELLS_MAX, FIELDS_MAX, NOTES_MAX, Phase,
};

/// Why an event did not happen; the case is as it was.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Refused {
    /// Not in this phase.
    #[error("{event} while the case is {found}, expected {expected}")]
    Phase {
        /// The event's name.
        event: &'static str,
        /// Phases that allow it.
        expected: &'static str,
        /// The case's.
        found: Phase,
    },
    /// A number of the event is not the case's.
    #[error("{event}: {what} is {got}, expected {expected}")]
    Number {
        /// The event's name.
        event: &'static str,
        /// Which number.
        what: &'static str,
        /// The case's.
        expected: u32,
        /// The event's.
        got: u32,
    },
    /// No such cell, field, class, attribute or value.
    #[error("{what} {got}, expected below {below}")]
    Unknown {
        /// Of what.
        what: &'static str,
        /// Its number.
        got: usize,
        /// How many there are.
        below: usize,
    },
    /// Another change came first.
    #[error("{place}: the change is from {got}, expected from {expected}: another came first")]
    Stale {
        /// What was to be changed.
        place: String,
        /// As it is.
        expected: String,
        /// As the one who changed it saw it.
        got: String,
    },
    /// Before and after are the same.
    #[error("{place} is {value} already")]
    NoChange {
        /// What was to be changed.
        place: String,
        /// As it is.
        value: String,
    },
    /// A removed cell cannot be changed.
    #[error("cell {cell} is removed, expected one that counts")]
    Removed {
        /// Which.
        cell: u32,
    },
    /// A cell that counts cannot be restored.
    #[error("cell {cell} counts, expected a removed one")]
    NotRemoved {
        /// Which.
        cell: u32,
    },
    /// Too much of something.
    #[error("{got} {what}, expected at most {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
        /// How many there would be.
        got: usize,
    },
    /// Nothing is meant.
    #[error("{event} of no cells, expected at least one")]
    NoCells {
        /// The event's name.
        event: &'static str,
    },
    /// Count on to what is there already.
    #[error(
        "goal of {got} white cells, expected more than the {counted} counted, up to {CELLS_MAX}"
    )]
    Goal {
        /// Counted.
        counted: u32,
        /// Asked for.
        got: u32,
    },
    /// The target is not reached.
    #[error("{got} white cells, expected at least {goal}")]
    TooFew {
        /// The goal.
        goal: u32,
        /// Counted.
        got: u32,
    },
    /// Enough or not is said wrongly.
    #[error("{event} says {got}, expected {expected} with {white_cells} white cells")]
    Sufficiency {
        /// The event's name.
        event: &'static str,
        /// What the case has.
        expected: Sufficiency,
        /// What the event says.
        got: Sufficiency,
        /// Counted.
        white_cells: u32,
    },
    /// Suggestions cannot be signed.
    #[error(
        "{cells} cells are suggestions (the first is cell {first}), expected a decision on each"
    )]
    Undecided {
        /// How many.
        cells: usize,
        /// Number of the first.
        first: u32,
    },
    /// No box of a cell in its field.
    #[error("box {got:?}, expected left < right, top < bottom and a part inside {size}")]
    Box {
        /// As given.
        got: [f32; 4],
        /// The field's picture.
        size: Size,
    },
    /// NaN, infinite or negative where that has no meaning.
    #[error("{what} is {got}, expected a finite number{}", if *.negative { "" } else { " of at least 0" })]
    Real {
        /// Which number.
        what: &'static str,
        /// As given.
        got: f64,
        /// Whether it may be below 0.
        negative: bool,
    },
    /// The suggestion is neither the likeliest class nor unidentified.
    #[error("cell of likeliest class {}: suggestion is {suggestion}, expected that class or unidentified", .class.0)]
    Suggestion {
        /// The likeliest class.
        class: ClassId,
        /// What is suggested.
        suggestion: Label,
    },
    /// The class table.
    #[error("classes: {0}")]
    Classes(NameError),
    /// The attributes.
    #[error("{0}")]
    Attributes(SchemaError),
    /// The thresholds.
    #[error("{0}")]
    Rules(RulesError),
}

/// Checks what a case starts with.
pub(super) fn check_opened(opened: &CaseOpened) -> Result<(), Refused> {
    let model = &opened.model;
    model.classes.check().map_err(Refused::Classes)?;
    model.attributes.check().map_err(Refused::Attributes)?;
    opened.rules.check(&model.classes).map_err(Refused::Rules)
}

/// Phases in which an event can happen, as a list and in words.
fn phases(event: &CaseEvent) -> (&'static [Phase], &'static str) {
    use Phase::{Amended, Review, Scanning, Signed, TargetReached};
    match event {
        CaseEvent::CaseOpened(_) => (&[], "no case"),
        CaseEvent::FieldCounted(_)
        | CaseEvent::NewFieldByHand { .. }
        | CaseEvent::TargetReached { .. } => (&[Scanning], "scanning"),
        CaseEvent::ScanningResumed { .. } => (&[TargetReached, Review], "target reached or review"),
        CaseEvent::CalibrationChanged { .. } | CaseEvent::ReviewBegun { .. } => {
            (&[Scanning, TargetReached], "scanning or target reached")
        }
        CaseEvent::Signed { .. } => (&[Review, Amended], "review or amended"),
        CaseEvent::Amended { .. } => (&[Signed], "signed"),
        CaseEvent::CellReclassified { .. }
        | CaseEvent::CellsConfirmed { .. }
        | CaseEvent::CellAdded { .. }
        | CaseEvent::CellRemoved { .. }
        | CaseEvent::CellRestored { .. }
        | CaseEvent::AttributeChanged { .. }
        | CaseEvent::TotalWhiteCellsEntered { .. }
        | CaseEvent::NoteAdded { .. } => (
            &[Scanning, TargetReached, Review, Amended],
            "not signed, or amended",
        ),
    }
}

impl CaseState {
    /// Whether `event` can happen now.
    pub fn check(&self, event: &CaseEvent) -> Result<(), Refused> {
        let (allowed, expected) = phases(event);
        if !allowed.contains(&self.phase) {
            return Err(Refused::Phase {
                event: event.kind(),
                expected,
                found: self.phase,
            });
        }
        match event {
            CaseEvent::CaseOpened(_)
            | CaseEvent::NewFieldByHand { .. }
            | CaseEvent::Amended { .. } => Ok(()),
            CaseEvent::FieldCounted(field) => self.check_field(field),
            CaseEvent::TargetReached { .. }
            | CaseEvent::ScanningResumed { .. }
            | CaseEvent::ReviewBegun { .. }
            | CaseEvent::Signed { .. } => self.check_step(event),
            CaseEvent::CalibrationChanged { before, after, .. } => changed(
                || "calibration".to_owned(),
                &self.calibration,
                before,
                after,
            ),
            CaseEvent::TotalWhiteCellsEntered { before, after, .. } => {
                let place = || "total white cells".to_owned();
                at_least_0("total white cells", after.unwrap_or(0.0))?;
                changed(place, &self.total_white_cells, before, after)
            }
            CaseEvent::NoteAdded { .. } => at_most("notes", self.notes.len() + 1, NOTES_MAX),
            _ => self.check_cell_event(event),
        }
    }

    /// The events that move the case from phase to phase.
    fn check_step(&self, event: &CaseEvent) -> Result<(), Refused> {
        let counted = self.white_cells();
        let kind = event.kind();
        match event {
            CaseEvent::TargetReached { white_cells } => {
                equal(kind, "white_cells", counted, *white_cells)?;
                if counted < self.goal {
                    let (goal, got) = (self.goal, counted);
                    return Err(Refused::TooFew { goal, got });
                }
                Ok(())
            }
            &CaseEvent::ScanningResumed { goal: got, .. } => {
                if got > counted && got as usize <= CELLS_MAX {
                    Ok(())
                } else {
                    Err(Refused::Goal { counted, got })
                }
            }
            CaseEvent::ReviewBegun {
                white_cells,
                sufficiency,
                ..
            } => self.check_result(kind, counted, *white_cells, *sufficiency),
            CaseEvent::Signed {
                white_cells,
                sufficiency,
                ..
            } => {
                at_most("signatures", self.signatures.len() + 1, NOTES_MAX)?;
                if let Some(first) = self.undecided().next() {
                    let cells = self.undecided().count();
                    return Err(Refused::Undecided { cells, first });
                }
                self.check_result(kind, counted, *white_cells, *sufficiency)
            }
            _ => Ok(()),
        }
    }

    fn check_result(
        &self,
        event: &'static str,
        counted: u32,
        white_cells: u32,
        got: Sufficiency,
    ) -> Result<(), Refused> {
        equal(event, "white_cells", counted, white_cells)?;
        let expected = Sufficiency::of(counted, self.opened.target);
        if got == expected {
            return Ok(());
        }
        Err(Refused::Sufficiency {
            event,
            expected,
            got,
            white_cells,
        })
    }

    /// The events that change one cell, or several alike.
    fn check_cell_event(&self, event: &CaseEvent) -> Result<(), Refused> {
        match event {
            CaseEvent::CellReclassified {
                cell,
                before,
                after,
                ..
            } => {
                let place = || format!("class of cell {cell}");
                self.check_label(*after)?;
                changed(place, &self.counting(*cell)?.label(), before, after)
            }
            CaseEvent::CellsConfirmed { cells, label, .. } => {
                self.check_confirmed(event.kind(), cells, *label)
            }
            CaseEvent::CellAdded {
                cell,
                field,
                bbox,
                label,
                ..
            } => {
                let at = usize::try_from(*field).unwrap_or(usize::MAX);
                below("field", at, self.fields.len())?;
                equal(event.kind(), "cell", self.cells.len() as u32, *cell)?;
                at_most("cells", self.cells.len() + 1, CELLS_MAX)?;
                self.check_label(*label)?;
                check_box(*bbox, self.fields[at].size)
            }
            CaseEvent::CellRemoved { cell, .. } => self.counting(*cell).map(|_| ()),
            CaseEvent::CellRestored { cell, .. } => {
                if self.cell(*cell)?.removed {
                    Ok(())
                } else {
                    Err(Refused::NotRemoved { cell: *cell })
                }
            }
            CaseEvent::AttributeChanged {
                cell,
                attribute,
                before,
                after,
                ..
            } => {
                for &value in [before, after].into_iter().flatten() {
                    self.check_value(usize::from(*attribute), value)?;
                }
                below(
                    "attribute",
                    usize::from(*attribute),
                    self.opened.model.attributes.len(),
                )?;
                let place = || format!("attribute {attribute} of cell {cell}");
                let now = self.counting(*cell)?.attributes[usize::from(*attribute)];
                changed(place, &now, before, after)
            }
            _ => Ok(()),
        }
    }

    fn check_confirmed(
        &self,
        event: &'static str,
        cells: &[u32],
        label: Label,
    ) -> Result<(), Refused> {
        if cells.is_empty() {
            return Err(Refused::NoCells { event });
        }
        at_most("cells", cells.len(), CELLS_MAX)?;
        for &cell in cells {
            let now = self.counting(cell)?.label();
            if now != label {
                return Err(stale(format!("class of cell {cell}"), &now, &label));
            }
        }
        Ok(())
    }

    fn check_field(&self, field: &FieldCounted) -> Result<(), Refused> {
        let event = "field_counted";
        equal(event, "field", self.fields.len() as u32, field.field)?;
        equal(
            event,
            "first_cell",
            self.cells.len() as u32,
            field.first_cell,
        )?;
        at_most("fields", self.fields.len() + 1, FIELDS_MAX)?;
        at_most("cells of a field", field.cells.len(), FIELD_CELLS_MAX)?;
        at_most("cells", self.cells.len() + field.cells.len(), CELLS_MAX)?;
        for (what, got) in [("x_px", field.place.x_px), ("y_px", field.place.y_px)] {
            if !got.is_finite() {
                let negative = true;
                return Err(Refused::Real {
                    what,
                    got,
                    negative,
                });
            }
        }
        let mut meters = field.meters.numbers();
        meters.try_for_each(|got| at_least_0("meter", f64::from(got)))?;
        let mut cells = field.cells.iter();
        cells.try_for_each(|cell| self.check_seen(cell, field.size))
    }

    fn check_seen(&self, seen: &CellSeen, size: Size) -> Result<(), Refused> {
        check_box(seen.bbox, size)?;
        self.check_label(Label::Class(seen.class))?;
        let legal = [Label::Class(seen.class), Label::Unidentified];
        if !legal.contains(&seen.suggestion) {
            return Err(Refused::Suggestion {
                class: seen.class,
                suggestion: seen.suggestion,
            });
        }
        let most = self.opened.model.attributes.len();
        at_most("attributes of a cell", seen.attributes.len(), most)?;
        let values = seen.attributes.iter().enumerate();
        values
            .filter_map(|(attribute, seen)| Some((attribute, (*seen)?.value)))
            .try_for_each(|(attribute, value)| self.check_value(attribute, value))
    }

    fn check_label(&self, label: Label) -> Result<(), Refused> {
        match label {
            Label::Class(class) => below("class", class.index(), self.opened.model.classes.len()),
            Label::Unidentified => Ok(()),
        }
    }

    fn check_value(&self, attribute: usize, value: u8) -> Result<(), Refused> {
        let schema = &self.opened.model.attributes;
        let id = u8::try_from(attribute).ok().map(AttributeId);
        match id.and_then(|id| schema.get(id)) {
            Some(known) => below("value", usize::from(value), known.values.len()),
            None => below("attribute", attribute, schema.len()),
        }
    }

    fn cell(&self, cell: u32) -> Result<&CellState, Refused> {
        let at = cell as usize;
        below("cell", at, self.cells.len())?;
        Ok(&self.cells[at])
    }

    fn counting(&self, cell: u32) -> Result<&CellState, Refused> {
        let found = self.cell(cell)?;
        if found.removed {
            return Err(Refused::Removed { cell });
        }
        Ok(found)
    }
}

fn check_box(got: [f32; 4], size: Size) -> Result<(), Refused> {
    let [x0, y0, x1, y1] = got;
    let inside = BBox::<Image>::from_corners(x0, y0, x1, y1).and_then(|b| b.clipped(size));
    inside.map(|_| ()).ok_or(Refused::Box { got, size })
}

fn at_least_0(what: &'static str, got: f64) -> Result<(), Refused> {
    if got.is_finite() && got >= 0.0 {
        return Ok(());
    }
    let negative = false;
    Err(Refused::Real {
        what,
        got,
        negative,
    })
}

fn below(what: &'static str, got: usize, below: usize) -> Result<(), Refused> {
    if got < below {
        Ok(())
    } else {
        Err(Refused::Unknown { what, got, below })
    }
}

fn at_most(what: &'static str, got: usize, max: usize) -> Result<(), Refused> {
    if got <= max {
        Ok(())
    } else {
        Err(Refused::TooMany { what, max, got })
    }
}

fn equal(event: &'static str, what: &'static str, expected: u32, got: u32) -> Result<(), Refused> {
    if got == expected {
        return Ok(());
    }
    Err(Refused::Number {
        event,
        what,
        expected,
        got,
    })
}

/// A change from what is there to something else.
fn changed<T: PartialEq + Shown>(
    place: impl Fn() -> String,
    now: &T,
    before: &T,
    after: &T,
) -> Result<(), Refused> {
    if before != now {
        return Err(stale(place(), now, before));
    }
    if after == now {
        return Err(Refused::NoChange {
            place: place(),
            value: now.shown(),
        });
    }
    Ok(())
}

fn stale<T: Shown>(place: String, now: &T, before: &T) -> Refused {
    Refused::Stale {
        place,
        expected: now.shown(),
        got: before.shown(),
    }
}

/// How a value stands in a message; nothing known is "none".
trait Shown {
    fn shown(&self) -> String;
}

impl Shown for Label {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl<T: std::fmt::Display> Shown for Option<T> {
    fn shown(&self) -> String {
        match self {
            Some(value) => value.to_string(),
            None => "none".to_owned(),
        }
    }
}
