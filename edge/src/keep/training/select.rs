//! What of a field is truth.

use std::collections::BTreeSet;
use std::fmt;

use shared::attribute::{Attributes, NO_ATTRIBUTES, ValueId};
use shared::cell::Cell;
use shared::differential::ClassSet;
use shared::geometry::{BBox, Image, Size};

use crate::case::decision::Label;
use crate::case::state::{CellState, Phase};
use crate::keep::case::ReadCase;

/// Folder of a case that holds the pictures of fields.
const FIELDS: &str = "fields";

/// Pictures that the trainer reads.
const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// How far a cell that the edge cuts reaches into the picture, as a multiple of the longest side of the
/// case's cells: the cut one may be the largest.
const REACH: f32 = 1.25;

/// Why a field is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LeftOut {
    Unreviewed,
    Undecided,
    Unsigned,
    Elsewhere,
    Removed,
    Twice,
    Edge,
    NoPicture,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreviewed => "of a case that is not in review yet",
            Self::Undecided => "nobody has decided about some of their cells",
            Self::Unsigned => "without cells, and nobody has signed that",
            Self::Elsewhere => {
                "they show cells that were counted in another field (--with-unlabelled takes them)"
            }
            Self::Removed => {
                "a removed cell may be one that was counted twice (--with-unlabelled takes them)"
            }
            Self::Twice => "two of their cells have the same box",
            Self::Edge => {
                "beside the cells that the edge cuts there is none (--with-unlabelled takes them)"
            }
            Self::NoPicture => "no JPEG or PNG of the field's size was recorded with them",
        })
    }
}

/// A field with what is known of it.
#[derive(Debug)]
pub(super) struct Selected {
    /// Name in the case folder.
    pub picture: String,
    pub extension: &'static str,
    pub size: Size,
    pub cells: Vec<Cell>,
    /// The only part that is labelled; `None` = all of it.
    pub region: Option<BBox<Image>>,
    /// Decided cells that lie outside it.
    pub outside: usize,
    /// Attribute values of the cells that only the model said.
    pub unsaid_values: usize,
}

/// Field `number` as truth; `with_unlabelled` takes it whole although it shows cells without a label.
pub(super) fn select(
    found: &ReadCase,
    number: u32,
    with_unlabelled: bool,
) -> Result<Selected, LeftOut> {
    let state = &found.state;
    let field = &state.fields()[number as usize];
    if matches!(state.phase(), Phase::Scanning | Phase::TargetReached) {
        return Err(LeftOut::Unreviewed);
    }
    let cells: Vec<(u32, &CellState)> = (0..)
        .zip(state.cells())
        .filter(|(_, cell)| cell.field == number)
        .collect();
    let counted = cells.iter().filter(|(_, cell)| !cell.removed);
    if counted.clone().any(|(_, cell)| cell.decision.is_none()) {
        return Err(LeftOut::Undecided);
    }
    if counted.clone().next().is_none() && state.phase() != Phase::Signed {
        return Err(LeftOut::Unsigned);
    }
    if !with_unlabelled && field.duplicates + field.no_room > 0 {
        return Err(LeftOut::Elsewhere);
    }
    if !with_unlabelled && cells.iter().any(|(_, cell)| cell.removed) {
        return Err(LeftOut::Removed);
    }
    let mut truths = Vec::new();
    for &(cell, of) in counted {
        truths.extend(truth(found, cell, of, field.size));
    }
    let corners: BTreeSet<[u32; 4]> = truths
        .iter()
        .map(|(cell, _)| cell.bbox.xyxy().map(f32::to_bits))
        .collect();
    if corners.len() < truths.len() {
        return Err(LeftOut::Twice);
    }
    let (picture, extension) = picture_of(found, number).ok_or(LeftOut::NoPicture)?;
    let region = match field.margin > 0 && !with_unlabelled {
        true => Some(labelled(found, field.size, &truths).ok_or(LeftOut::Edge)?),
        false => None,
    };
    let all = truths.len();
    if let Some(region) = &region {
        truths.retain(|(cell, _)| is_inside(&cell.bbox, region));
    }
    Ok(Selected {
        picture,
        extension,
        size: field.size,
        outside: all - truths.len(),
        unsaid_values: truths.iter().map(|(_, unsaid)| unsaid).sum(),
        cells: truths.into_iter().map(|(cell, _)| cell).collect(),
        region,
    })
}

/// A decided cell, and how many of its attributes only the model said.
fn truth(found: &ReadCase, number: u32, cell: &CellState, size: Size) -> Option<(Cell, usize)> {
    let class = match cell.decision.as_ref()?.label {
        Label::Class(class) => Some(class),
        Label::Unidentified => None,
    };
    let [x0, y0, x1, y1] = cell.bbox;
    let bbox = BBox::from_corners(x0, y0, x1, y1)?.clipped(size)?;
    let apart = ClassSet::not_white_cells(&found.state.opened().model.classes);
    let (mut attributes, mut unsaid): (Attributes, usize) = (NO_ATTRIBUTES, 0);
    // An artefact has no morphology, whatever the model saw in it.
    if class.is_none_or(|class| !apart.contains(class)) {
        for ((attribute, now), slot) in (0..).zip(&cell.attributes).zip(&mut attributes) {
            match found.said.get(&(number, attribute)) {
                Some(value) => *slot = value.and_then(|v| ValueId::new(usize::from(v))),
                None => unsaid += usize::from(now.is_some()),
            }
        }
    }
    let cell = Cell {
        bbox,
        class,
        attributes,
    };
    Some((cell, unsaid))
}

/// The one picture of a field, of a kind that the trainer reads.
fn picture_of(found: &ReadCase, number: u32) -> Option<(String, &'static str)> {
    let pictures = found.pictures.get(&number)?;
    let mut of_field = pictures.iter().filter_map(|picture| {
        let file = picture.name.strip_prefix(FIELDS)?.strip_prefix('/')?;
        let (_, extension) = file.rsplit_once('.')?;
        let known = EXTENSIONS
            .iter()
            .find(|e| e.eq_ignore_ascii_case(extension));
        known.map(|&extension| (picture.name.clone(), extension))
    });
    let first = of_field.next();
    first.filter(|_| of_field.next().is_none())
}

/// A part of the field with whole cells only, as far from the edges as a cut cell reaches.
fn labelled(found: &ReadCase, size: Size, truths: &[(Cell, usize)]) -> Option<BBox<Image>> {
    let sides = found.state.counted_cells().map(|(_, cell)| {
        let [x0, y0, x1, y1] = cell.bbox;
        (x1 - x0).max(y1 - y0)
    });
    let reach = (REACH * sides.fold(0.0, f32::max)).ceil();
    let (width, height) = (size.width as f32, size.height as f32);
    let mut region = BBox::from_corners(reach, reach, width - reach, height - reach)?;
    let boxes = || truths.iter().map(|(cell, _)| &cell.bbox);
    // Each step leaves one more cell wholly outside, so it ends.
    while let Some(crossing) = boxes().find(|bbox| crosses(bbox, &region)) {
        region = beside(crossing, &region)?;
    }
    boxes()
        .any(|bbox| is_inside(bbox, &region))
        .then_some(region)
}

fn is_inside(bbox: &BBox<Image>, region: &BBox<Image>) -> bool {
    let ([x0, y0, x1, y1], [left, top, right, bottom]) = (bbox.xyxy(), region.xyxy());
    x0 >= left && y0 >= top && x1 <= right && y1 <= bottom
}

fn crosses(bbox: &BBox<Image>, region: &BBox<Image>) -> bool {
    bbox.iou(region) > 0.0 && !is_inside(bbox, region)
}

/// The largest part of `region` on one side of a box that crosses its border.
fn beside(bbox: &BBox<Image>, region: &BBox<Image>) -> Option<BBox<Image>> {
    let ([x0, y0, x1, y1], [left, top, right, bottom]) = (bbox.xyxy(), region.xyxy());
    let parts = [
        (x0 < left, [x1.ceil(), top, right, bottom]),
        (y0 < top, [left, y1.ceil(), right, bottom]),
        (x1 > right, [left, top, x0.floor(), bottom]),
        (y1 > bottom, [left, top, right, y0.floor()]),
    ];
    let parts = parts.into_iter().filter(|(crosses, _)| *crosses);
    parts
        .filter_map(|(_, [x0, y0, x1, y1])| BBox::from_corners(x0, y0, x1, y1))
        .max_by(|a, b| a.area().total_cmp(&b.area()))
}
