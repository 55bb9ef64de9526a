//! Findings drawn on the picture: box outlines, class, score and the attributes that have room.
//!
//! A finding is drawn with a solid line in the colour of its class, a labelled cell with a dashed
//! white one. Every line has a dark halo, because a smear has dark purple, pink and white side by
//! side. Names are always written: the colour alone never carries the class.

mod label;
mod paint;

use core::fmt::Write;

use heapless::{String, Vec};

use crate::attribute::{AttributeFindings, AttributeSchema, MAX_ATTRIBUTES};
use crate::cell::{Cell, Detection};
use crate::class::{ClassId, ClassTable};
use crate::geometry::{BBox, Image, Size};
use crate::pixels::RgbViewMut;

use label::{Label, Line, Places};
use paint::{Rect, outline};

pub use paint::{GLYPH, text};

/// Colours of Okabe and Ito that stand out on a smear, the ones nearest to its stains last.
pub const CLASS_COLOURS: [[u8; 3]; 7] = [
    [0xf0, 0xe4, 0x42],
    [0x56, 0xb4, 0xe9],
    [0x00, 0x9e, 0x73],
    [0xe6, 0x9f, 0x00],
    [0xd5, 0x5e, 0x00],
    [0x00, 0x72, 0xb2],
    [0xcc, 0x79, 0xa7],
];

/// Line colour of labelled cells.
pub const TRUTH_COLOUR: [u8; 3] = [0xff, 0xff, 0xff];

/// Values that say "nothing there"; a line for each would bury what was seen.
pub const ABSENCES: [&str; 3] = ["no", "nil", "absent"];

/// The colour of a class; with more classes than colours they repeat.
pub fn class_colour(class: ClassId) -> [u8; 3] {
    CLASS_COLOURS[class.index() % CLASS_COLOURS.len()]
}

/// Draws every detection with its class, its score and the attributes that have room beside it.
///
/// `detections` are best first; the better ones get the better places.
pub fn annotate(
    picture: &mut RgbViewMut<'_>,
    detections: &[Detection],
    classes: &ClassTable,
    schema: &AttributeSchema,
) {
    let scale = scale_of(picture.size());
    let mut places = Places::new(picture.size(), scale);
    for detection in detections {
        let rect = rect_of(&detection.bbox);
        outline(picture, rect, scale, class_colour(detection.class), false);
        places.take(rect);
    }
    for detection in detections {
        let name = classes.name(detection.class).unwrap_or("?");
        let label = Label {
            colour: class_colour(detection.class),
            title: titled(name, Some(detection.score.get())),
            lines: attribute_lines(&detection.attributes, schema),
        };
        label.draw(picture, &mut places, rect_of(&detection.bbox));
    }
}

/// Draws labelled cells with a dashed line and their class.
pub fn annotate_truth(picture: &mut RgbViewMut<'_>, cells: &[Cell], classes: &ClassTable) {
    let scale = scale_of(picture.size());
    let mut places = Places::new(picture.size(), scale);
    for cell in cells {
        let rect = rect_of(&cell.bbox);
        outline(picture, rect, scale, TRUTH_COLOUR, true);
        places.take(rect);
    }
    for cell in cells {
        let name = cell.class.and_then(|class| classes.name(class));
        let label = Label {
            colour: TRUTH_COLOUR,
            title: titled(name.unwrap_or("white cell"), None),
            lines: Vec::new(),
        };
        label.draw(picture, &mut places, rect_of(&cell.bbox));
    }
}

/// Letters of 8 pixels on a 480-line field, larger on larger ones.
fn scale_of(size: Size) -> i32 {
    (size.width.min(size.height) / 480).clamp(1, 8) as i32
}

/// The pixels a box covers, half-open.
fn rect_of(bbox: &BBox<Image>) -> Rect {
    Rect {
        x0: libm::floorf(bbox.x0()) as i32,
        y0: libm::floorf(bbox.y0()) as i32,
        x1: libm::ceilf(bbox.x1()) as i32,
        y1: libm::ceilf(bbox.y1()) as i32,
    }
}

fn titled(name: &str, score: Option<f32>) -> Line {
    let mut line = Line::new();
    push_clipped(&mut line, name);
    if let Some(score) = score {
        let mut number: String<8> = String::new();
        if write!(number, " {score:.2}").is_ok() {
            push_clipped(&mut line, &number);
        }
    }
    line
}

/// "nucl shape: irregular", for every attribute that says something is there.
fn attribute_lines(
    findings: &AttributeFindings,
    schema: &AttributeSchema,
) -> Vec<Line, MAX_ATTRIBUTES> {
    let mut lines = Vec::new();
    for ((_, attribute), finding) in schema.iter().zip(findings) {
        let Some(value) = finding.and_then(|finding| attribute.value_name(finding.value)) else {
            continue;
        };
        if ABSENCES.contains(&value) {
            continue;
        }
        let line = attribute_line(&attribute.name, value);
        // A schema has no more attributes than there is room for lines.
        let _ = lines.push(line);
    }
    lines
}

/// "nucl shape: irregular", clipped to 48 bytes.
pub fn attribute_line(attribute: &str, value: &str) -> String<48> {
    let mut line = Line::new();
    push_short(&mut line, attribute);
    push_clipped(&mut line, ": ");
    push_clipped(&mut line, value);
    line
}

/// The last word of an attribute's name whole, the ones before it as four letters.
fn push_short(line: &mut Line, name: &str) {
    let (first, last) = name.rsplit_once('_').unwrap_or(("", name));
    for word in first.split('_').filter(|word| !word.is_empty()) {
        word.chars()
            .take(4)
            .for_each(|letter| push_letter(line, letter));
        push_clipped(line, " ");
    }
    push_clipped(line, last);
}

fn push_clipped(line: &mut Line, words: &str) {
    words.chars().for_each(|letter| push_letter(line, letter));
}

/// What does not fit into the line is not drawn; the record holds the whole name.
fn push_letter(line: &mut Line, letter: char) {
    let _ = line.push(letter);
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;
    use crate::attribute::{AttributeFinding, NO_FINDINGS, WBCATT_ATTRIBUTES};
    use crate::class::WBCATT_CLASSES;
    use crate::score::Score;

    fn finding(class: u8, corners: [f32; 4]) -> Detection {
        let [x0, y0, x1, y1] = corners;
        Detection {
            bbox: BBox::from_corners(x0, y0, x1, y1).unwrap(),
            class: ClassId(class),
            score: Score::new(0.931).unwrap(),
            attributes: NO_FINDINGS,
        }
    }

    fn names() -> (ClassTable, AttributeSchema) {
        (
            ClassTable::new(WBCATT_CLASSES).unwrap(),
            AttributeSchema::new(WBCATT_ATTRIBUTES).unwrap(),
        )
    }

    #[test]
    fn a_box_has_the_colour_of_its_class_and_a_dark_halo() {
        let (classes, schema) = names();
        let size = Size::new(320, 240);
        let mut bytes = vec![200; size.area().unwrap() * 3];
        let mut picture = RgbViewMut::new(&mut bytes, size).unwrap();
        let found = [finding(1, [100.0, 80.0, 180.0, 160.0])];
        annotate(&mut picture, &found, &classes, &schema);
        assert_eq!(*picture.pixel_mut(140, 80), class_colour(ClassId(1)));
        assert_eq!(*picture.pixel_mut(140, 81), class_colour(ClassId(1)));
        assert_eq!(*picture.pixel_mut(140, 79), [0, 0, 0]);
        assert_eq!(*picture.pixel_mut(140, 82), [0, 0, 0]);
        assert_eq!(*picture.pixel_mut(140, 83), [200; 3], "the cell itself");
        assert_eq!(*picture.pixel_mut(140, 120), [200; 3], "the cell itself");
    }

    #[test]
    fn boxes_beyond_the_picture_and_tiny_pictures_are_drawn_as_far_as_they_go() {
        let (classes, schema) = names();
        for size in [Size::new(1, 1), Size::new(5, 400), Size::new(64, 48)] {
            let mut bytes = vec![200; size.area().unwrap() * 3];
            let mut picture = RgbViewMut::new(&mut bytes, size).unwrap();
            let found = [
                finding(4, [-1e9, -5.0, 1e9, 20.0]),
                finding(200, [0.0, 0.0, 0.5, 0.5]),
            ];
            annotate(&mut picture, &found, &classes, &schema);
        }
    }

    #[test]
    fn a_line_shortens_the_attribute_and_leaves_absences_out() {
        let (_, schema) = names();
        let mut findings = NO_FINDINGS;
        for (attribute, value) in [
            ("nucleus_shape", "segmented-bilobed"),
            ("granularity", "no"),
        ] {
            let (id, attribute) = schema.find(attribute).unwrap();
            findings[id.index()] = Some(AttributeFinding {
                value: attribute.find(value).unwrap(),
                score: Score::ONE,
            });
        }
        let lines = attribute_lines(&findings, &schema);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0], "nucl shape: segmented-bilobed");
    }

    #[test]
    fn truth_is_dashed() {
        let (classes, _) = names();
        let size = Size::new(320, 240);
        let mut bytes = vec![100; size.area().unwrap() * 3];
        let mut picture = RgbViewMut::new(&mut bytes, size).unwrap();
        let cell = Cell {
            bbox: BBox::from_corners(20.0, 20.0, 300.0, 220.0).unwrap(),
            class: None,
            attributes: crate::attribute::NO_ATTRIBUTES,
        };
        annotate_truth(&mut picture, &[cell], &classes);
        let drawn = (40..290)
            .filter(|&x| *picture.pixel_mut(x, 219) == TRUTH_COLOUR)
            .count();
        assert!((100..200).contains(&drawn), "{drawn} of 250 pixels");
    }
}
