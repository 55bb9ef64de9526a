//! One line of label text: `class cx cy w h [x1 x2 y1 y2] a1 .. aK`.
//!
//! Numbers are fractions of the picture's sides, except the patch, which is in pixels. How many
//! columns a file has is declared by whoever opens it ([`ColumnLayout`]) and never guessed: sixteen
//! columns are a patch and seven attributes in one data set and eleven attributes in another.
//! Reads lines only; files, byte order marks and line numbers are the host's.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::attribute::{Attribute, AttributeSchema, Attributes, NO_ATTRIBUTES, ValueId};
use crate::cell::Cell;
use crate::class::ClassId;
use crate::geometry::{BBox, Image, Size};

/// Keys of a COCO annotation that an attribute may not be called.
pub const COCO_KEYS: [&str; 8] = [
    "id",
    "image_id",
    "category_id",
    "category_name",
    "bbox",
    "area",
    "iscrowd",
    "segmentation",
];

/// What stands in the columns of a label file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnLayout {
    /// `class cx cy w h`: 5 columns.
    Box,
    /// The box, then every attribute: 5 + K columns (LeukemiaAttri: 12).
    Attributes,
    /// The box, then every attribute but the first: 4 + K columns (LeukemiaAttri without cell size: 11).
    AttributesWithoutFirst,
    /// The box, the labelled patch `x1 x2 y1 y2` in pixels, then every attribute: 9 + K columns
    /// (Sparse-LeukemiaAttri: 16).
    PatchAttributes,
}

impl ColumnLayout {
    /// Columns of a line for `schema`.
    pub fn columns(self, schema: &AttributeSchema) -> usize {
        match self {
            Self::Box => 5,
            Self::Attributes => 5 + schema.len(),
            Self::AttributesWithoutFirst => 5 + schema.len().saturating_sub(1),
            Self::PatchAttributes => 9 + schema.len(),
        }
    }

    /// Columns before the first attribute.
    pub fn lead(self) -> usize {
        match self {
            Self::PatchAttributes => 9,
            _ => 5,
        }
    }

    /// Attributes of the schema that have no column.
    fn skipped(self, schema: &AttributeSchema) -> usize {
        match self {
            Self::Box => schema.len(),
            Self::AttributesWithoutFirst => 1,
            Self::Attributes | Self::PatchAttributes => 0,
        }
    }
}

impl fmt::Display for ColumnLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Box => "box",
            Self::Attributes => "attributes",
            Self::AttributesWithoutFirst => "attributes_without_first",
            Self::PatchAttributes => "patch_attributes",
        })
    }
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LabelReason {
    /// Too few or too many columns.
    Columns {
        /// What the layout asks for.
        expected: usize,
        /// What the line has.
        got: usize,
    },
    /// No number at all.
    NotANumber,
    /// NaN, infinite, or too large for a double.
    NotFinite,
    /// A class or an attribute code that is no whole number.
    NotWhole,
    /// A class the data set does not have.
    NoSuchClass {
        /// Classes in all.
        classes: usize,
    },
    /// A fraction outside 0..=1.
    OutsideUnit {
        /// As written.
        got: f64,
    },
    /// A box without width or height.
    NoSide,
    /// A patch that is empty, negative or upside down.
    Patch,
}

/// Where and why a line was refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelError {
    /// Column, counted from 1; for a wrong column count, the first that is missing or too many.
    pub field: usize,
    /// What is wrong there.
    pub reason: LabelReason,
}

impl fmt::Display for LabelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "field {}", self.field)?;
        match self.field {
            1 => write!(f, " (class): ")?,
            2 => write!(f, " (cx): ")?,
            3 => write!(f, " (cy): ")?,
            4 => write!(f, " (width): ")?,
            5 => write!(f, " (height): ")?,
            _ => write!(f, ": ")?,
        }
        match self.reason {
            LabelReason::Columns { expected, got } => {
                write!(f, "expected {expected} columns, found {got}")
            }
            LabelReason::NotANumber => write!(f, "expected a number, found something else"),
            LabelReason::NotFinite => write!(f, "expected a finite number, found NaN or infinity"),
            LabelReason::NotWhole => write!(f, "expected a whole number, found something else"),
            LabelReason::NoSuchClass { classes } => {
                write!(f, "expected a class in 0..{classes}, found none of them")
            }
            LabelReason::OutsideUnit { got } => {
                write!(f, "expected a fraction in 0..=1, found {got}")
            }
            LabelReason::NoSide => write!(f, "expected more than 0, found a box without area"),
            LabelReason::Patch => {
                write!(
                    f,
                    "expected a patch x1 < x2, y1 < y2 in pixels, found another"
                )
            }
        }
    }
}

impl core::error::Error for LabelError {}

/// A line as it stands in the file; printing it gives the line back, digit by digit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelLine {
    /// Class number in the file's own list of names.
    pub class: ClassId,
    /// Middle of the box as fractions of width and height.
    pub centre: [f64; 2],
    /// Size of the box as fractions of width and height.
    pub size: [f64; 2],
    /// Labelled patch `[x1, x2, y1, y2]` in pixels: outside it nobody looked.
    pub patch: Option<[f64; 4]>,
    /// What is known of the cell.
    pub attributes: Attributes,
}

impl LabelLine {
    /// Reads `line`, fields separated by blanks or tabs; a code outside an attribute's range is
    /// "unknown" for that attribute alone.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn parse(
        line: &str,
        layout: ColumnLayout,
        schema: &AttributeSchema,
        classes: usize,
    ) -> Result<Self, LabelError> {
        let expected = layout.columns(schema);
        let got = line.split_ascii_whitespace().count();
        if got != expected {
            let field = got.min(expected) + 1;
            let reason = LabelReason::Columns { expected, got };
            return Err(LabelError { field, reason });
        }
        let mut fields = line.split_ascii_whitespace().enumerate();
        let mut next = || {
            fields
                .next()
                .map_or((0, ""), |(index, text)| (index + 1, text))
        };
        let class = parse_class(next(), classes)?;
        let centre = [parse_fraction(next())?, parse_fraction(next())?];
        let size = [parse_side(next())?, parse_side(next())?];
        let patch = if layout == ColumnLayout::PatchAttributes {
            Some(parse_patch([next(), next(), next(), next()])?)
        } else {
            None
        };
        let mut attributes = NO_ATTRIBUTES;
        let skipped = layout.skipped(schema);
        for ((id, attribute), slot) in schema.iter().zip(&mut attributes).skip(skipped) {
            debug_assert!(id.index() >= skipped);
            *slot = parse_code(next(), attribute)?;
        }
        Ok(Self {
            class,
            centre,
            size,
            patch,
            attributes,
        })
    }

    /// The line that says `cell`, on a picture of `size`, in a file where its class has the number
    /// `class`.
    pub fn from_cell(cell: &Cell, size: Size, class: ClassId) -> Self {
        let [x0, y0, x1, y1] = cell.bbox.xyxy().map(f64::from);
        let (width, height) = (f64::from(size.width), f64::from(size.height));
        Self {
            class,
            centre: [(x0 + x1) / 2.0 / width, (y0 + y1) / 2.0 / height],
            size: [(x1 - x0) / width, (y1 - y0) / height],
            patch: None,
            attributes: cell.attributes,
        }
    }

    /// The box on a picture of `size`, not clipped; `None` when it has no area in single precision.
    pub fn bbox(&self, size: Size) -> Option<BBox<Image>> {
        let (width, height) = (f64::from(size.width), f64::from(size.height));
        let ([cx, cy], [w, h]) = (self.centre, self.size);
        BBox::from_corners(
            pixel((cx - w / 2.0) * width),
            pixel((cy - h / 2.0) * height),
            pixel((cx + w / 2.0) * width),
            pixel((cy + h / 2.0) * height),
        )
    }

    /// The patch as a box, if the line has one.
    pub fn patch_bbox(&self) -> Option<BBox<Image>> {
        let [x1, x2, y1, y2] = self.patch?.map(|side| side as f32);
        BBox::from_corners(x1, y1, x2, y2)
    }

    /// Prints the line in `layout`; unknown attributes get the first code their attribute has no
    /// value for.
    ///
    /// # Errors
    /// Whatever `out` says.
    pub fn write(
        &self,
        out: &mut impl fmt::Write,
        layout: ColumnLayout,
        schema: &AttributeSchema,
    ) -> fmt::Result {
        let ([cx, cy], [w, h]) = (self.centre, self.size);
        write!(out, "{} {cx} {cy} {w} {h}", self.class.0)?;
        if layout.lead() == 9 {
            let [x1, x2, y1, y2] = self.patch.unwrap_or_default();
            write!(out, " {x1} {x2} {y1} {y2}")?;
        }
        let skipped = layout.skipped(schema);
        for ((_, attribute), value) in schema.iter().zip(&self.attributes).skip(skipped) {
            let code = value.map_or(attribute.values.len(), ValueId::index);
            write!(out, " {code}")?;
        }
        Ok(())
    }
}

/// Rounds to 2^-32 pixel: the noise of the division by the picture's side goes, and every corner of
/// 2^-8 pixel or more comes back bit by bit.
fn pixel(side: f64) -> f32 {
    const STEPS: f64 = (1u64 << 32) as f64;
    (libm::round(side * STEPS) / STEPS + 0.0) as f32
}

type Field<'a> = (usize, &'a str);

fn parse_number((field, text): Field<'_>) -> Result<f64, LabelError> {
    let refuse = |reason| LabelError { field, reason };
    let number: f64 = text.parse().map_err(|_| refuse(LabelReason::NotANumber))?;
    if number.is_finite() {
        Ok(number)
    } else {
        Err(refuse(LabelReason::NotFinite))
    }
}

fn parse_fraction(field: Field<'_>) -> Result<f64, LabelError> {
    let got = parse_number(field)?;
    if (0.0..=1.0).contains(&got) {
        Ok(got)
    } else {
        let reason = LabelReason::OutsideUnit { got };
        Err(LabelError {
            field: field.0,
            reason,
        })
    }
}

fn parse_side(field: Field<'_>) -> Result<f64, LabelError> {
    let side = parse_fraction(field)?;
    if side > 0.0 {
        Ok(side)
    } else {
        let reason = LabelReason::NoSide;
        Err(LabelError {
            field: field.0,
            reason,
        })
    }
}

fn parse_whole((field, text): Field<'_>) -> Result<i64, LabelError> {
    text.parse().map_err(|_| match parse_number((field, text)) {
        Ok(_) => LabelError {
            field,
            reason: LabelReason::NotWhole,
        },
        Err(error) => error,
    })
}

fn parse_class(field: Field<'_>, classes: usize) -> Result<ClassId, LabelError> {
    let number = parse_whole(field)?;
    u8::try_from(number)
        .ok()
        .map(ClassId)
        .filter(|class| class.index() < classes)
        .ok_or(LabelError {
            field: field.0,
            reason: LabelReason::NoSuchClass { classes },
        })
}

fn parse_code(field: Field<'_>, attribute: &Attribute) -> Result<Option<ValueId>, LabelError> {
    Ok(usize::try_from(parse_whole(field)?)
        .ok()
        .filter(|&code| code < attribute.values.len())
        .and_then(ValueId::new))
}

fn parse_patch(fields: [Field<'_>; 4]) -> Result<[f64; 4], LabelError> {
    let [a, b, c, d] = fields;
    let patch @ [x1, x2, y1, y2] = [
        parse_number(a)?,
        parse_number(b)?,
        parse_number(c)?,
        parse_number(d)?,
    ];
    if 0.0 <= x1 && x1 < x2 && 0.0 <= y1 && y1 < y2 {
        Ok(patch)
    } else {
        Err(LabelError {
            field: a.0,
            reason: LabelReason::Patch,
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::String;

    use super::*;
    use crate::attribute::{LEUKEMIA_ATTRIBUTES, WBCATT_ATTRIBUTES};

    fn leukemia() -> AttributeSchema {
        AttributeSchema::new(LEUKEMIA_ATTRIBUTES).unwrap()
    }

    fn codes(line: &LabelLine) -> [Option<usize>; 7] {
        core::array::from_fn(|index| line.attributes[index].map(ValueId::index))
    }

    #[test]
    fn each_layout_reads_its_own_columns_and_refuses_the_others() {
        let schema = leukemia();
        let wbcatt = AttributeSchema::new(WBCATT_ATTRIBUTES).unwrap();
        assert_eq!(ColumnLayout::Box.columns(&schema), 5);
        assert_eq!(ColumnLayout::AttributesWithoutFirst.columns(&schema), 11);
        assert_eq!(ColumnLayout::Attributes.columns(&schema), 12);
        assert_eq!(ColumnLayout::PatchAttributes.columns(&schema), 16);
        // Sixteen columns again, with another meaning.
        assert_eq!(ColumnLayout::Attributes.columns(&wbcatt), 16);
        let parse = |line: &str, layout| LabelLine::parse(line, layout, &schema, 14);
        let twelve = parse("3 .5 .5 .1 .2 2 0 1 0 1 0 1", ColumnLayout::Attributes).unwrap();
        let expected = [2, 0, 1, 0, 1, 0, 1].map(Some);
        assert_eq!((twelve.class, codes(&twelve)), (ClassId(3), expected));
        let without = ColumnLayout::AttributesWithoutFirst;
        let eleven = parse("3\t.5\t.5\t.1\t.2\t0 1 0 1 0 1\r", without).unwrap();
        assert_eq!(codes(&eleven)[..3], [None, Some(0), Some(1)]);
        let patch = ColumnLayout::PatchAttributes;
        let sixteen = parse("3 .5 .5 .1 .2 128 256 0 640 2 0 1 0 1 0 1", patch).unwrap();
        assert_eq!(
            sixteen.patch_bbox().unwrap().xyxy(),
            [128.0, 0.0, 256.0, 640.0]
        );
        assert_eq!(codes(&sixteen), expected);
    }

    #[test]
    fn a_code_without_a_value_is_unknown_for_that_attribute_alone() {
        let line = "0 .5 .5 .1 .2 3 2 1 4 -1 0 1";
        let line = LabelLine::parse(line, ColumnLayout::Attributes, &leukemia(), 14).unwrap();
        assert_eq!(
            codes(&line),
            [None, None, Some(1), None, None, Some(0), Some(1)]
        );
    }

    #[test]
    fn a_wrong_field_is_named_with_its_place() {
        struct Case {
            line: &'static str,
            field: usize,
            reason: LabelReason,
        }
        let case = |line, field, reason| Case {
            line,
            field,
            reason,
        };
        let columns = |got| LabelReason::Columns { expected: 5, got };
        let outside = |got| LabelReason::OutsideUnit { got };
        let no_class = LabelReason::NoSuchClass { classes: 14 };
        for Case {
            line,
            field,
            reason,
        } in [
            case("0 NaN .5 .1 .1", 2, LabelReason::NotFinite),
            case("0 .5 inf .1 .1", 3, LabelReason::NotFinite),
            case("0 .5 1e400 .1 .1", 3, LabelReason::NotFinite),
            case("0 .5 -0.1 .1 .1", 3, outside(-0.1)),
            case("0 .5 .5 1.37 .1", 4, outside(1.37)),
            case("0 .5 .5 0 .1", 4, LabelReason::NoSide),
            case("0 .5 .5 .1 0.0", 5, LabelReason::NoSide),
            case("14 .5 .5 .1 .1", 1, no_class),
            case("-1 .5 .5 .1 .1", 1, no_class),
            case("300 .5 .5 .1 .1", 1, no_class),
            case("3.7 .5 .5 .1 .1", 1, LabelReason::NotWhole),
            case("nan .5 .5 .1 .1", 1, LabelReason::NotFinite),
            case("WBC .5 .5 .1 .1", 1, LabelReason::NotANumber),
            case("0 .5 .5 .1 0,1", 5, LabelReason::NotANumber),
            case("0 .5 .5 .1", 5, columns(4)),
            case("0 .5 .5 .1 .1 1", 6, columns(6)),
            case("", 1, columns(0)),
        ] {
            let got = LabelLine::parse(line, ColumnLayout::Box, &leukemia(), 14);
            assert_eq!(got, Err(LabelError { field, reason }), "{line:?}");
        }
        let patch = |line| LabelLine::parse(line, ColumnLayout::PatchAttributes, &leukemia(), 14);
        let wrong = patch("3 .5 .5 .1 .2 256 128 0 640 2 0 1 0 1 0 1").unwrap_err();
        assert_eq!(
            wrong,
            LabelError {
                field: 6,
                reason: LabelReason::Patch
            }
        );
        let wrong = patch("3 .5 .5 .1 .2 0 128 0 640 2 0 1.5 0 1 0 1").unwrap_err();
        assert_eq!(
            wrong,
            LabelError {
                field: 12,
                reason: LabelReason::NotWhole
            }
        );
        let said = std::format!(
            "{}",
            LabelError {
                field: 4,
                reason: outside(1.37)
            }
        );
        assert_eq!(
            said,
            "field 4 (width): expected a fraction in 0..=1, found 1.37"
        );
    }

    /// Xorshift: enough for lines that nobody would write by hand.
    fn random(state: &mut u64) -> f64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 11) as f64 / (1u64 << 53) as f64
    }

    #[test]
    fn what_is_written_is_read_again_digit_by_digit() {
        let schema = leukemia();
        let mut state = 7;
        for round in 0..2000 {
            let layout = [ColumnLayout::Attributes, ColumnLayout::PatchAttributes][round % 2];
            let mut next = || random(&mut state);
            let mut line = LabelLine {
                class: ClassId((next() * 14.0) as u8),
                centre: [next(), next()],
                size: [next().max(1e-9), next().max(1e-9)],
                patch: (layout == ColumnLayout::PatchAttributes)
                    .then(|| [next(), 1.0 + next(), next(), 1.0 + next()]),
                attributes: NO_ATTRIBUTES,
            };
            for ((_, attribute), slot) in schema.iter().zip(&mut line.attributes) {
                let code = (next() * (attribute.values.len() + 1) as f64) as usize;
                *slot = ValueId::new(code).filter(|_| code < attribute.values.len());
            }
            let mut text = String::new();
            line.write(&mut text, layout, &schema).unwrap();
            assert_eq!(
                LabelLine::parse(&text, layout, &schema, 14),
                Ok(line),
                "{text}"
            );
        }
    }

    #[test]
    fn a_box_goes_through_text_and_comes_back_as_it_was() {
        let mut state = 11;
        for _ in 0..2000 {
            let size = Size::new(640 - (random(&mut state) * 300.0) as u32, 480);
            let mut side = |limit: u32| {
                // Steps of 1/64 pixel, as any annotation tool's and finer.
                libm::round(random(&mut state) * f64::from(limit) * 64.0) as f32 / 64.0
            };
            let (a, b, c, d) = (
                side(size.width),
                side(size.height),
                side(size.width),
                side(480),
            );
            let Some(bbox) = BBox::from_corners(a.min(c), b.min(d), a.max(c), b.max(d)) else {
                continue;
            };
            let cell = Cell {
                bbox,
                class: None,
                attributes: NO_ATTRIBUTES,
            };
            let line = LabelLine::from_cell(&cell, size, ClassId(0));
            assert_eq!(line.bbox(size), Some(bbox));
        }
    }
}
