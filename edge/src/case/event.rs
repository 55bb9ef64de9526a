//! Everything that happens to a case. A case is its events, in order; nothing else is kept of it.
//!
//! Their JSON is a promise: old cases must be readable, so variants and fields are added, never renamed.
//! When something happened stands beside the event in the store's chain, not in it.

use std::fmt;

use serde::{Deserialize, Serialize};
use shared::attribute::AttributeSchema;
use shared::cell::Detection;
use shared::class::{ClassId, ClassTable};
use shared::geometry::Size;
use shared::score::Score;

use super::decision::{DecisionRules, Label};
use super::text::{CaseId, Sha256, Text};

/// How many white cells a case is counted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub enum Target {
    /// Routine.
    Hundred,
    /// Leukaemia work-up.
    TwoHundred,
    /// Reference (CLSI H20).
    FourHundred,
}

impl Target {
    /// White cells.
    pub fn cells(self) -> u32 {
        match self {
            Self::Hundred => 100,
            Self::TwoHundred => 200,
            Self::FourHundred => 400,
        }
    }
}

/// A number that is no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("target of {0} cells, expected 100, 200 or 400")]
pub struct TargetError(
    /// As given.
    pub u32,
);

impl TryFrom<u32> for Target {
    type Error = TargetError;

    fn try_from(cells: u32) -> Result<Self, TargetError> {
        match cells {
            100 => Ok(Self::Hundred),
            200 => Ok(Self::TwoHundred),
            400 => Ok(Self::FourHundred),
            other => Err(TargetError(other)),
        }
    }
}

impl From<Target> for u32 {
    fn from(target: Target) -> Self {
        target.cells()
    }
}

/// Whether as many white cells were counted as the case asks for; both are legal, printed results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sufficiency {
    /// The target or more.
    Sufficient,
    /// Fewer: the result says so.
    InsufficientCells,
}

impl Sufficiency {
    /// Of a count.
    pub fn of(white_cells: u32, target: Target) -> Self {
        if white_cells >= target.cells() {
            Self::Sufficient
        } else {
            Self::InsufficientCells
        }
    }
}

impl fmt::Display for Sufficiency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sufficient => "sufficient cells",
            Self::InsufficientCells => "insufficient cells",
        })
    }
}

/// The model a case is counted with; it does not change in an open case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelUsed {
    /// Its name.
    pub name: Text,
    /// Its version, where it has one.
    pub version: Option<Text>,
    /// Of the ONNX file.
    pub sha256: Sha256,
    /// What class numbers mean, and in which order classes are shown.
    pub classes: ClassTable,
    /// What attribute and value numbers mean; may be empty.
    pub attributes: AttributeSchema,
}

/// The start of a case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseOpened {
    /// Unique on the station.
    pub case: CaseId,
    /// Pseudonym of the patient; `None` where not entered.
    pub patient: Option<Text>,
    /// Id of the specimen or slide.
    pub specimen: Option<Text>,
    /// The stain, for instance `May-Gruenwald-Giemsa`.
    pub stain: Option<Text>,
    /// White cells to count.
    pub target: Target,
    /// The model.
    pub model: ModelUsed,
    /// From which score on a class is said.
    pub rules: DecisionRules,
    /// Id of the calibration; `None` = counted without a scale, because told so.
    pub calibration: Option<Text>,
    /// Version of the station's program.
    pub software: Text,
    /// Who opened it.
    pub who: Text,
}

/// Where a field lies: its upper left corner on an island of the map, pixels of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldPlace {
    /// Fields whose distance is known share an island; from 0.
    pub island: u32,
    /// To the right of the island's first field.
    pub x_px: f64,
    /// Below the island's first field.
    pub y_px: f64,
}

/// What the gate measured of a counted field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldMeters {
    /// Sharpness as a part of the slide's best, 0..=1.
    pub focus_share: f32,
    /// Bytes of the compressed frame as a part of the slide's most, 0..=1.
    pub compressed_share: Option<f32>,
    /// Shift against the frame before, pixels of the frame.
    pub motion_px: Option<f32>,
    /// Height of the correlation peak the place stands on, 0..=1.
    pub peak: Option<f32>,
    /// Mean brightness, 0..=255.
    pub brightness: f32,
    /// Largest difference of a background channel from their mean, as a part of it.
    pub white_balance: f32,
    /// Part of the pixels that is black, 0..=1.
    pub clipped_low: f32,
    /// Part of the pixels that is white, 0..=1.
    pub clipped_high: f32,
    /// Part of the field covered with cells, 0..=1.
    pub covered: f32,
}

impl FieldMeters {
    /// Every number, for checks that treat them alike; an unmeasured one is left out.
    pub fn numbers(&self) -> impl Iterator<Item = f32> {
        let always = [
            self.focus_share,
            self.brightness,
            self.white_balance,
            self.clipped_low,
            self.clipped_high,
            self.covered,
        ];
        let measured = [self.compressed_share, self.motion_px, self.peak];
        always.into_iter().chain(measured.into_iter().flatten())
    }
}

/// A value of an attribute as the model saw it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueSeen {
    /// Number of the value in its attribute, from 0.
    pub value: u8,
    /// Softmax over the attribute's values.
    pub score: Score,
}

/// A cell as the model saw it; never changed afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellSeen {
    /// Left, top, right, bottom in pixels of the field's picture.
    pub bbox: [f32; 4],
    /// The likeliest class, whatever its score.
    pub class: ClassId,
    /// Objectness times class probability.
    pub score: Score,
    /// What follows from class, score and the case's rules.
    pub suggestion: Label,
    /// By attribute, in the order of the schema; shorter where the model says no more.
    pub attributes: Vec<Option<ValueSeen>>,
}

impl CellSeen {
    /// What `rules` make of a finding of a model with `attributes` attributes.
    pub fn new(found: &Detection, rules: &DecisionRules, attributes: usize) -> Self {
        let seen = found.attributes.iter().take(attributes);
        Self {
            bbox: found.bbox.xyxy(),
            class: found.class,
            score: found.score,
            suggestion: rules.suggest(found.class, found.score),
            attributes: seen
                .map(|finding| {
                    finding.map(|finding| ValueSeen {
                        value: finding.value.index() as u8,
                        score: finding.score,
                    })
                })
                .collect(),
        }
    }
}

/// A field that passed the gate, with its new cells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldCounted {
    /// Number in the case, from 0 without gaps.
    pub field: u32,
    /// Number of the frame, as the source counts.
    pub frame: u64,
    /// Size of the picture.
    pub size: Size,
    /// Where it lies.
    pub place: FieldPlace,
    /// What the gate measured.
    pub meters: FieldMeters,
    /// Number of the first cell: the case's cells so far.
    pub first_cell: u32,
    /// The new ones, numbered on from `first_cell`; may be none.
    pub cells: Vec<CellSeen>,
    /// Detections that are cells counted before.
    pub duplicates: u32,
    /// Detections cut by the frame's edge, or nearly.
    pub margin: u32,
    /// Detections left out because a limit was reached.
    pub no_room: u32,
}

/// One thing that happened. `before` is what the one who acted saw: a change that came in between
/// makes the event stale, and it is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CaseEvent {
    /// First of every case.
    CaseOpened(Box<CaseOpened>),
    /// The machine counted a field.
    FieldCounted(Box<FieldCounted>),
    /// The stage was moved with registration lost, and a person said: this is a new place.
    NewFieldByHand {
        /// Who said so.
        who: Text,
    },
    /// As many white cells as asked for.
    TargetReached {
        /// White cells at that moment.
        white_cells: u32,
    },
    /// Count on, until so many.
    ScanningResumed {
        /// White cells to count to, more than there are.
        goal: u32,
        /// Who asked.
        who: Text,
    },
    /// Another scale, or none.
    CalibrationChanged {
        /// Id so far.
        before: Option<Text>,
        /// Id from now on.
        after: Option<Text>,
        /// Who changed it.
        who: Text,
    },
    /// A person says of what class a cell is.
    CellReclassified {
        /// Which.
        cell: u32,
        /// What was said.
        before: Label,
        /// What is right.
        after: Label,
        /// Who decided.
        who: Text,
    },
    /// A person agrees with what is said of these cells.
    CellsConfirmed {
        /// Which, all with the same label.
        cells: Vec<u32>,
        /// What is said of them.
        label: Label,
        /// Who decided.
        who: Text,
    },
    /// A person found a cell that the model missed.
    CellAdded {
        /// Number in the case: the cells so far.
        cell: u32,
        /// Number of the field.
        field: u32,
        /// Left, top, right, bottom in pixels of the field's picture.
        bbox: [f32; 4],
        /// What it is.
        label: Label,
        /// Who decided.
        who: Text,
    },
    /// Not a cell, or counted twice: out of every count, but not out of the record.
    CellRemoved {
        /// Which.
        cell: u32,
        /// Who removed it.
        who: Text,
    },
    /// The removal was wrong.
    CellRestored {
        /// Which.
        cell: u32,
        /// Who restored it.
        who: Text,
    },
    /// A person says what an attribute is; `None` = nobody can tell.
    AttributeChanged {
        /// Which cell.
        cell: u32,
        /// Number of the attribute in the schema.
        attribute: u8,
        /// Number of the value so far.
        before: Option<u8>,
        /// Number of the right one.
        after: Option<u8>,
        /// Who decided.
        who: Text,
    },
    /// The total white cell count came from elsewhere.
    TotalWhiteCellsEntered {
        /// 10^9 per litre, so far.
        before: Option<f64>,
        /// 10^9 per litre.
        after: Option<f64>,
        /// Who entered it.
        who: Text,
    },
    /// Counting is over; from here on people look.
    ReviewBegun {
        /// White cells at that moment.
        white_cells: u32,
        /// Whether they are enough: who begins a review with too few says so.
        sufficiency: Sufficiency,
        /// Who begins.
        who: Text,
    },
    /// The result is final.
    Signed {
        /// Who signs.
        who: Text,
        /// White cells of the result.
        white_cells: u32,
        /// Whether they are enough.
        sufficiency: Sufficiency,
        /// Last hash of the store's chain before the signature: what was signed.
        head: Sha256,
    },
    /// A signed result is opened again.
    Amended {
        /// Why.
        reason: Text,
        /// Who opened it.
        who: Text,
    },
    /// A remark for the report.
    NoteAdded {
        /// The remark.
        text: Text,
        /// Who wrote it.
        who: Text,
    },
}

impl CaseEvent {
    /// Name of the variant, as in the JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::CaseOpened(_) => "case_opened",
            Self::FieldCounted(_) => "field_counted",
            Self::NewFieldByHand { .. } => "new_field_by_hand",
            Self::TargetReached { .. } => "target_reached",
            Self::ScanningResumed { .. } => "scanning_resumed",
            Self::CalibrationChanged { .. } => "calibration_changed",
            Self::CellReclassified { .. } => "cell_reclassified",
            Self::CellsConfirmed { .. } => "cells_confirmed",
            Self::CellAdded { .. } => "cell_added",
            Self::CellRemoved { .. } => "cell_removed",
            Self::CellRestored { .. } => "cell_restored",
            Self::AttributeChanged { .. } => "attribute_changed",
            Self::TotalWhiteCellsEntered { .. } => "total_white_cells_entered",
            Self::ReviewBegun { .. } => "review_begun",
            Self::Signed { .. } => "signed",
            Self::Amended { .. } => "amended",
            Self::NoteAdded { .. } => "note_added",
        }
    }

    /// Who acted; `None` where the machine did.
    pub fn who(&self) -> Option<&Text> {
        match self {
            Self::CaseOpened(opened) => Some(&opened.who),
            Self::FieldCounted(_) | Self::TargetReached { .. } => None,
            Self::NewFieldByHand { who }
            | Self::ScanningResumed { who, .. }
            | Self::CalibrationChanged { who, .. }
            | Self::CellReclassified { who, .. }
            | Self::CellsConfirmed { who, .. }
            | Self::CellAdded { who, .. }
            | Self::CellRemoved { who, .. }
            | Self::CellRestored { who, .. }
            | Self::AttributeChanged { who, .. }
            | Self::TotalWhiteCellsEntered { who, .. }
            | Self::ReviewBegun { who, .. }
            | Self::Signed { who, .. }
            | Self::Amended { who, .. }
            | Self::NoteAdded { who, .. } => Some(who),
        }
    }
}
