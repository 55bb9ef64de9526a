//! What a case is: the fold of its events.
//!
//! ```text
//! Scanning ──► TargetReached ──► Review ──► Signed ──► Amended ──► Signed ...
//!    │  ▲            │  │          │ ▲
//!    │  └────────────┴──┼──────────┘ │       count on
//!    └──────────────────┴────────────┘       with fewer cells than asked for: said, not hidden
//! ```
//!
//! Whoever records an event asks [`CaseState::check`], stores it, and then applies it: what is on disk
//! was legal, and what was refused is not on disk.

use std::fmt;

use serde::{Deserialize, Serialize};
use shared::class::ClassId;
use shared::differential::{ClassSet, Differential};
use shared::geometry::Size;
use thiserror::Error;

use super::decision::Label;
use super::event::{
    CaseEvent, CaseOpened, CellSeen, FieldCounted, FieldMeters, FieldPlace, Sufficiency,
};
use super::legal::{Refused, check_opened};
use super::text::{Sha256, Text};

/// Most fields of a case.
pub const FIELDS_MAX: usize = 10_000;

/// Most cells of a case, removed ones included.
pub const CELLS_MAX: usize = 20_000;

/// Most new cells of a field.
pub const FIELD_CELLS_MAX: usize = 1000;

/// Most notes of a case, and most signatures.
pub const NOTES_MAX: usize = 100;

/// How far a case is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Fields are counted.
    Scanning,
    /// As many cells as asked for; nothing is counted, nobody reviews yet.
    TargetReached,
    /// People look at the cells.
    Review,
    /// Final.
    Signed,
    /// Was signed, and is reviewed again.
    Amended,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scanning => "scanning",
            Self::TargetReached => "target reached",
            Self::Review => "review",
            Self::Signed => "signed",
            Self::Amended => "amended",
        })
    }
}

/// A counted field.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldState {
    /// Number of the frame, as the source counts.
    pub frame: u64,
    /// Size of the picture.
    pub size: Size,
    /// Where it lies.
    pub place: FieldPlace,
    /// What the gate measured.
    pub meters: FieldMeters,
    /// Number of its first cell.
    pub first_cell: u32,
    /// Cells that the machine found new in it.
    pub new_cells: u32,
    /// Detections that are cells counted before.
    pub duplicates: u32,
    /// Detections cut by the frame's edge, or nearly.
    pub margin: u32,
    /// Detections left out because a limit was reached.
    pub no_room: u32,
}

/// A person's word on a cell's class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// What it is.
    pub label: Label,
    /// Who said so last.
    pub who: Text,
}

/// A cell of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CellState {
    /// Number of its field.
    pub field: u32,
    /// Left, top, right, bottom in pixels of the field's picture.
    pub bbox: [f32; 4],
    /// What the model saw; `None` for a cell that a person added.
    pub seen: Option<CellSeen>,
    /// `None` while nobody decided: what is said is the model's suggestion.
    pub decision: Option<Decision>,
    /// Numbers of the attributes' values, one a schema's attribute, as changed by people.
    pub attributes: Vec<Option<u8>>,
    /// Out of every count.
    pub removed: bool,
}

impl CellState {
    /// What is said of the cell now: the decision, else the suggestion.
    pub fn label(&self) -> Label {
        let suggestion = self.seen.as_ref().map(|seen| seen.suggestion);
        let decision = self.decision.as_ref().map(|decision| decision.label);
        decision.or(suggestion).unwrap_or(Label::Unidentified)
    }
}

/// A signature.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Signature {
    /// Who signed.
    pub who: Text,
    /// Last hash of the chain before the signature.
    pub head: Sha256,
    /// White cells of the result.
    pub white_cells: u32,
    /// Whether they were enough.
    pub sufficiency: Sufficiency,
    /// Why the case was opened again afterwards.
    pub amended: Option<Text>,
}

/// A remark.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Note {
    /// The remark.
    pub text: Text,
    /// Who wrote it.
    pub who: Text,
}

/// Events that are no case.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum FoldError {
    /// Not even the first.
    #[error("no events, expected case_opened")]
    Empty,
    /// Something happened before the case was there.
    #[error("event 0 is {got}, expected case_opened")]
    NotOpened {
        /// What it is.
        got: &'static str,
    },
    /// An event that could not have happened.
    #[error("event {at}: {refused}")]
    Refused {
        /// Its position, from 0.
        at: usize,
        /// Why.
        refused: Refused,
    },
}

/// A case as it stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseState {
    pub(super) opened: CaseOpened,
    pub(super) phase: Phase,
    pub(super) goal: u32,
    pub(super) calibration: Option<Text>,
    pub(super) total_white_cells: Option<f64>,
    pub(super) fields: Vec<FieldState>,
    pub(super) cells: Vec<CellState>,
    pub(super) fields_by_hand: u32,
    pub(super) signatures: Vec<Signature>,
    pub(super) notes: Vec<Note>,
}

impl CaseState {
    /// The case that `opened` starts; refused where its tables or rules contradict each other.
    pub fn open(opened: CaseOpened) -> Result<Self, Refused> {
        check_opened(&opened)?;
        Ok(Self {
            phase: Phase::Scanning,
            goal: opened.target.cells(),
            calibration: opened.calibration.clone(),
            opened,
            total_white_cells: None,
            fields: Vec::new(),
            cells: Vec::new(),
            fields_by_hand: 0,
            signatures: Vec::new(),
            notes: Vec::new(),
        })
    }

    /// The case that these events, in their order, make; says which of them is illegal.
    pub fn fold(events: impl IntoIterator<Item = CaseEvent>) -> Result<Self, FoldError> {
        let mut events = events.into_iter().enumerate();
        let mut state = match events.next() {
            None => return Err(FoldError::Empty),
            Some((at, CaseEvent::CaseOpened(opened))) => {
                Self::open(*opened).map_err(|refused| FoldError::Refused { at, refused })?
            }
            Some((_, other)) => return Err(FoldError::NotOpened { got: other.kind() }),
        };
        for (at, event) in events {
            let applied = state.apply(&event);
            applied.map_err(|refused| FoldError::Refused { at, refused })?;
        }
        Ok(state)
    }

    /// Lets `event` happen; refused, it leaves the case as it was.
    pub fn apply(&mut self, event: &CaseEvent) -> Result<(), Refused> {
        self.check(event)?;
        self.take(event);
        Ok(())
    }

    /// The legal part of [`CaseState::apply`]: what was checked cannot fail.
    fn take(&mut self, event: &CaseEvent) {
        match event {
            CaseEvent::CaseOpened(_) => {}
            CaseEvent::FieldCounted(field) => self.take_field(field),
            CaseEvent::NewFieldByHand { .. } => self.fields_by_hand += 1,
            CaseEvent::TargetReached { .. } => self.phase = Phase::TargetReached,
            CaseEvent::ScanningResumed { goal, .. } => {
                self.goal = *goal;
                self.phase = Phase::Scanning;
            }
            CaseEvent::CalibrationChanged { after, .. } => self.calibration = after.clone(),
            CaseEvent::CellReclassified {
                cell, after, who, ..
            } => self.decide(&[*cell], *after, who),
            CaseEvent::CellsConfirmed { cells, label, who } => self.decide(cells, *label, who),
            CaseEvent::CellAdded {
                field,
                bbox,
                label,
                who,
                ..
            } => self.cells.push(CellState {
                field: *field,
                bbox: *bbox,
                seen: None,
                decision: Some(Decision {
                    label: *label,
                    who: who.clone(),
                }),
                attributes: vec![None; self.opened.model.attributes.len()],
                removed: false,
            }),
            CaseEvent::CellRemoved { cell, .. } => self.set_removed(*cell, true),
            CaseEvent::CellRestored { cell, .. } => self.set_removed(*cell, false),
            CaseEvent::AttributeChanged {
                cell,
                attribute,
                after,
                ..
            } => self.set_attribute(*cell, *attribute, *after),
            CaseEvent::TotalWhiteCellsEntered { after, .. } => self.total_white_cells = *after,
            CaseEvent::ReviewBegun { .. } => self.phase = Phase::Review,
            CaseEvent::Signed {
                who,
                white_cells,
                sufficiency,
                head,
            } => {
                self.phase = Phase::Signed;
                self.signatures.push(Signature {
                    who: who.clone(),
                    head: head.clone(),
                    white_cells: *white_cells,
                    sufficiency: *sufficiency,
                    amended: None,
                });
            }
            CaseEvent::Amended { reason, .. } => {
                self.phase = Phase::Amended;
                if let Some(last) = self.signatures.last_mut() {
                    last.amended = Some(reason.clone());
                }
            }
            CaseEvent::NoteAdded { text, who } => self.notes.push(Note {
                text: text.clone(),
                who: who.clone(),
            }),
        }
    }

    fn take_field(&mut self, field: &FieldCounted) {
        let attributes = self.opened.model.attributes.len();
        self.fields.push(FieldState {
            frame: field.frame,
            size: field.size,
            place: field.place,
            meters: field.meters,
            first_cell: field.first_cell,
            new_cells: field.cells.len() as u32,
            duplicates: field.duplicates,
            margin: field.margin,
            no_room: field.no_room,
        });
        self.cells.extend(field.cells.iter().map(|seen| {
            let values = seen.attributes.iter().map(|seen| seen.map(|s| s.value));
            CellState {
                field: field.field,
                bbox: seen.bbox,
                seen: Some(seen.clone()),
                decision: None,
                attributes: values
                    .chain(std::iter::repeat(None))
                    .take(attributes)
                    .collect(),
                removed: false,
            }
        }));
    }

    fn decide(&mut self, cells: &[u32], label: Label, who: &Text) {
        for &cell in cells {
            if let Some(cell) = self.cells.get_mut(cell as usize) {
                let who = who.clone();
                cell.decision = Some(Decision { label, who });
            }
        }
    }

    fn set_removed(&mut self, cell: u32, removed: bool) {
        if let Some(cell) = self.cells.get_mut(cell as usize) {
            cell.removed = removed;
        }
    }

    fn set_attribute(&mut self, cell: u32, attribute: u8, value: Option<u8>) {
        let cell = self.cells.get_mut(cell as usize);
        let slot = cell.and_then(|cell| cell.attributes.get_mut(usize::from(attribute)));
        if let Some(slot) = slot {
            *slot = value;
        }
    }

    /// How the case began.
    pub fn opened(&self) -> &CaseOpened {
        &self.opened
    }

    /// How far it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// White cells to count to: the target, or what was asked for since.
    pub fn goal(&self) -> u32 {
        self.goal
    }

    /// Id of the calibration in force.
    pub fn calibration(&self) -> Option<&Text> {
        self.calibration.as_ref()
    }

    /// Total white cells, 10^9 per litre, where entered.
    pub fn total_white_cells(&self) -> Option<f64> {
        self.total_white_cells
    }

    /// The counted fields; a field's number is its position.
    pub fn fields(&self) -> &[FieldState] {
        &self.fields
    }

    /// Every cell, removed ones too; a cell's number is its position.
    pub fn cells(&self) -> &[CellState] {
        &self.cells
    }

    /// The cells that count, with their numbers.
    pub fn counted_cells(&self) -> impl Iterator<Item = (u32, &CellState)> {
        let numbered = (0..).zip(&self.cells);
        numbered.filter(|(_, cell)| !cell.removed)
    }

    /// How often a person said "new field".
    pub fn fields_by_hand(&self) -> u32 {
        self.fields_by_hand
    }

    /// Oldest first; the last one holds unless it was amended.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Remarks, oldest first.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The count of what is said now, decisions and suggestions alike.
    pub fn differential(&self) -> Differential {
        let apart = ClassSet::not_white_cells(&self.opened.model.classes);
        let mut differential = Differential::new(apart);
        for (_, cell) in self.counted_cells() {
            match cell.label() {
                Label::Class(class) => differential.add(class),
                Label::Unidentified => differential.add_unidentified(),
            }
        }
        differential
    }

    /// White cells with a name.
    pub fn white_cells(&self) -> u32 {
        self.differential().white_cells()
    }

    /// Whether they are as many as the case asks for.
    pub fn sufficiency(&self) -> Sufficiency {
        Sufficiency::of(self.white_cells(), self.opened.target)
    }

    /// Cells of `class`, 10^9 per litre: its share of the total white cells; `None` without a total, for
    /// a class shown apart and while nothing is counted.
    pub fn absolute(&self, class: ClassId) -> Option<f64> {
        let share = self.differential().share(class)?;
        let total = self.total_white_cells?;
        Some(total * f64::from(share.count) / f64::from(share.of))
    }

    /// Cells of which nobody decided: the case cannot be signed before there are none.
    pub fn undecided(&self) -> impl Iterator<Item = u32> {
        let undecided = self.counted_cells().filter(|(_, c)| c.decision.is_none());
        undecided.map(|(number, _)| number)
    }

    /// What the machine has to record now: the target was reached. Also right after a restart that came
    /// between the last field and this event.
    pub fn due(&self) -> Option<CaseEvent> {
        let white_cells = self.white_cells();
        let reached = self.phase == Phase::Scanning && white_cells >= self.goal;
        reached.then_some(CaseEvent::TargetReached { white_cells })
    }
}
