//! WBCAtt: single-cell pictures of the PBC set with a class and eleven attributes each.
//!
//! The set has no boxes of its own. `boxes.csv` holds human ones for some pictures; for the rest a
//! detector's findings are taken. The class and the attributes belong to the cell in the middle,
//! because the analyser centres it: the human box nearest to it, or the best finding near it. All
//! others are cells of unknown class. Pictures without a box for the middle are counted and left out.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use csv::StringRecord;
use serde::Deserialize;
use shared::attribute::{AttributeSchema, Attributes, NO_ATTRIBUTES, WBCATT_ATTRIBUTES};
use shared::cell::Cell;
use shared::class::{ClassId, ClassTable, WBCATT_CLASSES};
use shared::geometry::{BBox, Image, Size};
use shared::label::{ColumnLayout, LabelLine};

use super::bounded::{ANNOTATIONS_MAX, SMALL_MAX, read_text};
use super::duplicates::byte_equal_groups;
use super::open::{OpenOptions, folder_name, group_of};
use super::problem::{Collector, DataError};
use super::scan::picture_size;
use super::voc::clip;
use super::{Dataset, Sample, Split};

/// Detections below this are not taken as truth.
const DERIVED_SCORE_MIN: f32 = 0.3;

/// A detection farther from the picture's centre than this part of its shorter side is not its cell.
const DERIVED_OFFSET_MAX: f32 = 0.25;

/// Two boxes of `boxes.csv` that overlap so much were drawn around one cell.
const SAME_CELL_IOU: f32 = 0.5;

/// Whether `folder` is WBCAtt's.
pub(crate) fn is_wbcatt(folder: &Path) -> bool {
    folder.join("attributes.csv").is_file() && folder.join("images").is_dir()
}

struct Row {
    name: String,
    image: PathBuf,
    split: Split,
    class: ClassId,
    attributes: Attributes,
}

/// Reads the official split without the pictures that stand on its other side too.
pub(crate) fn open_wbcatt(folder: &Path, options: &OpenOptions) -> Result<Dataset, DataError> {
    let refuse = |error: String| DataError::file(folder, error);
    let classes = ClassTable::new(WBCATT_CLASSES).map_err(|e| refuse(e.to_string()))?;
    let schema = AttributeSchema::new(WBCATT_ATTRIBUTES).map_err(|e| refuse(e.to_string()))?;
    let mut problems = Collector::new(options.mode);
    let mut rows = read_rows(folder, &classes, &schema, &mut problems)?;
    drop_duplicates(&mut rows, &mut problems)?;
    let human = read_human_boxes(&folder.join("boxes.csv"), &mut problems)?;
    let derived = match &options.boxes {
        Some(path) => read_derived_boxes(path, &mut problems)?,
        None => HashMap::new(),
    };
    let (mut samples, mut without, mut from_human) = (Vec::new(), 0, 0);
    for row in rows {
        let (lines, finding) = (human.get(&row.name), derived.get(&row.name));
        if lines.is_none() && finding.is_none() {
            without += 1;
            continue;
        }
        let Some(size) = picture_size(&row.image, &mut problems) else {
            continue;
        };
        let boxes = match (lines, finding) {
            (Some(lines), _) => human_boxes(&row.name, lines, size, &mut problems),
            (None, Some(finding)) => derived_boxes(&row.name, finding, size, &mut problems),
            (None, None) => Vec::new(),
        };
        from_human += usize::from(lines.is_some() && !boxes.is_empty());
        match cells_of(&row, boxes, &mut problems) {
            Some(cells) => samples.push(sample_of(row, size, cells, options)),
            None => without += 1,
        }
    }
    samples.sort_by(|a, b| a.image.cmp(&b.image));
    problems.leave_out("picture without a box", without);
    let from_derived = samples.len() - from_human;
    let mut report = problems.finish()?;
    report.format =
        format!("WBCAtt, boxes of {from_human} pictures drawn, of {from_derived} derived");
    Ok(Dataset {
        name: folder_name(folder),
        classes,
        schema,
        samples,
        origins: Vec::new(),
        report,
    })
}

fn sample_of(row: Row, size: Size, cells: Vec<Cell>, options: &OpenOptions) -> Sample {
    Sample {
        group: group_of(&row.image, options.group),
        image: row.image,
        size,
        split: row.split,
        cells,
        region: None,
    }
}

fn read_rows(
    folder: &Path,
    classes: &ClassTable,
    schema: &AttributeSchema,
    problems: &mut Collector,
) -> Result<Vec<Row>, DataError> {
    let path = folder.join("attributes.csv");
    let text = read_text(&path, SMALL_MAX)?;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let wrong = |error: csv::Error| DataError::file(&path, error);
    let header = reader.headers().map_err(wrong)?.clone();
    let column = |name: &str| {
        let at = header.iter().position(|known| known == name);
        at.ok_or_else(|| DataError::file(&path, format!("expected a column {name}, found none")))
    };
    let keys = [column("split")?, column("img_name")?, column("label")?];
    let attributes: Result<Vec<usize>, _> = schema
        .iter()
        .map(|(_, attribute)| column(&attribute.name))
        .collect();
    let attributes = attributes?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        let place = place(&path, &record);
        let [split, name, label] = keys.map(|key| record.get(key).unwrap_or_default());
        let class = classes.find(label);
        let (Some(split), Some(class)) = (Split::from_name(split), class) else {
            let detail =
                format!("expected a split and one of the classes, found {split:?} {label:?}");
            problems.refuse("row of unknown split or class", place, detail);
            continue;
        };
        if name.is_empty() || name.contains(['/', '\\']) {
            let detail = format!("expected a file name, found {name:?}");
            problems.refuse("row without a file name", place, detail);
            continue;
        }
        let values = attributes
            .iter()
            .map(|&column| record.get(column).unwrap_or_default());
        rows.push(Row {
            name: name.to_owned(),
            image: folder.join("images").join(split.name()).join(name),
            split,
            class,
            attributes: attributes_of(values, schema, &place, problems),
        });
    }
    let present = |row: &Row| row.image.is_file();
    for row in rows.iter().filter(|row| !present(row)) {
        let detail = "expected a picture, found none";
        problems.refuse("missing picture", row.image.display(), detail);
    }
    rows.retain(present);
    Ok(rows)
}

fn place(path: &Path, record: &StringRecord) -> String {
    let line = record.position().map_or(0, csv::Position::line);
    format!("{}:{line}", path.display())
}

/// Values by name; an empty field is unknown, a name that is no value is refused for that attribute.
fn attributes_of<'a>(
    values: impl Iterator<Item = &'a str>,
    schema: &AttributeSchema,
    place: &str,
    problems: &mut Collector,
) -> Attributes {
    let mut attributes = NO_ATTRIBUTES;
    for (((_, attribute), slot), value) in schema.iter().zip(&mut attributes).zip(values) {
        *slot = attribute.find(value);
        if slot.is_none() && !value.is_empty() {
            let detail = format!(
                "{}: expected one of its values, found {value:?}",
                attribute.name
            );
            problems.refuse("unknown attribute value", place, detail);
        }
    }
    attributes
}

/// Of byte-equal pictures on several sides of the split only those of the last side stay.
fn drop_duplicates(rows: &mut Vec<Row>, problems: &mut Collector) -> Result<(), DataError> {
    let images: Vec<&Path> = rows.iter().map(|row| row.image.as_path()).collect();
    let mut dropped = vec![false; rows.len()];
    for group in byte_equal_groups(&images)? {
        let last = group.iter().map(|&index| rows[index].split).max();
        for &index in group
            .iter()
            .filter(|&&index| Some(rows[index].split) < last)
        {
            dropped[index] = true;
        }
    }
    let count = dropped.iter().filter(|&&dropped| dropped).count();
    problems.leave_out("picture that is byte-equal to one of a later split", count);
    let mut keep = dropped.iter().map(|&dropped| !dropped);
    rows.retain(|_| keep.next().unwrap_or(true));
    Ok(())
}

/// One row of `boxes.csv`, with its place for messages.
type HumanBox = (String, LabelLine);

fn read_human_boxes(
    path: &Path,
    problems: &mut Collector,
) -> Result<HashMap<String, Vec<HumanBox>>, DataError> {
    let mut boxes: HashMap<String, Vec<HumanBox>> = HashMap::new();
    if !path.exists() {
        problems.note(format!("no {}", path.display()));
        return Ok(boxes);
    }
    let text = read_text(path, SMALL_MAX)?;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let wrong = |error: csv::Error| DataError::file(path, error);
    let header = ["img_name", "wbcatt_split", "class", "cx", "cy", "w", "h"];
    if reader.headers().map_err(wrong)? != header[..] {
        let detail = format!("expected the header {}, found another", header.join(","));
        return Err(DataError::file(path, detail));
    }
    let plain = AttributeSchema::default();
    let mut others = 0;
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        let place = place(path, &record);
        let fields: Vec<&str> = record.iter().skip(2).collect();
        // Classes of this file: white cell, red cell, platelet.
        match LabelLine::parse(&fields.join(" "), ColumnLayout::Box, &plain, 3) {
            Ok(line) if line.class.index() == 0 => {
                let name = record.get(0).unwrap_or_default().to_owned();
                boxes.entry(name).or_default().push((place, line));
            }
            Ok(_) => others += 1,
            Err(error) => problems.refuse("box row", place, format!("after 2 columns, {error}")),
        }
    }
    problems.leave_out("box of a red cell or a platelet", others);
    Ok(boxes)
}

fn human_boxes(
    name: &str,
    lines: &[HumanBox],
    size: Size,
    problems: &mut Collector,
) -> Vec<BBox<Image>> {
    let mut boxes = Vec::new();
    for (place, line) in lines {
        match line.bbox(size).and_then(|bbox| clip(bbox, size)) {
            Some(bbox) => boxes.push(bbox),
            None => {
                let detail = format!("expected a box inside {name}, found another");
                problems.refuse("box outside the picture", place, detail);
            }
        }
    }
    boxes.sort_by(|a, b| offset(a, size).total_cmp(&offset(b, size)));
    boxes
}

#[derive(Deserialize)]
struct DerivedLine {
    image: String,
    width: u32,
    height: u32,
    detections: Vec<DerivedBox>,
}

#[derive(Deserialize)]
struct DerivedBox {
    score: f32,
    bbox: [f32; 4],
}

fn read_derived_boxes(
    path: &Path,
    problems: &mut Collector,
) -> Result<HashMap<String, DerivedLine>, DataError> {
    let mut boxes = HashMap::new();
    for (index, text) in read_text(path, ANNOTATIONS_MAX)?.lines().enumerate() {
        if text.trim().is_empty() {
            continue;
        }
        match serde_json::from_str::<DerivedLine>(text) {
            Ok(line) => {
                let name = line.image.rsplit('/').next().unwrap_or_default().to_owned();
                boxes.insert(name, line);
            }
            Err(error) => {
                let place = format!("{}:{}", path.display(), index + 1);
                problems.refuse("detections line", place, error);
            }
        }
    }
    Ok(boxes)
}

/// The best detection near the picture's centre, if there is one, and behind it the others: neighbours,
/// which nobody has classified.
fn derived_boxes(
    name: &str,
    line: &DerivedLine,
    size: Size,
    problems: &mut Collector,
) -> Vec<BBox<Image>> {
    if (line.width, line.height) != (size.width, size.height) {
        let found = Size::new(line.width, line.height);
        let detail = format!("expected detections on {size}, found them on {found}");
        problems.refuse("detections of another picture", name, detail);
        return Vec::new();
    }
    let limit = size.width.min(size.height) as f32 * DERIVED_OFFSET_MAX;
    let usable = line
        .detections
        .iter()
        .filter(|d| d.score >= DERIVED_SCORE_MIN);
    let boxes = usable.filter_map(|detection| {
        let [x0, y0, x1, y1] = detection.bbox;
        let bbox = BBox::from_corners(x0, y0, x1, y1)?.clipped(size)?;
        Some((detection.score, bbox))
    });
    let mut boxes: Vec<(f32, BBox<Image>)> = boxes.collect();
    boxes.sort_by(|a, b| b.0.total_cmp(&a.0));
    let is_near = |(_, bbox): &(f32, BBox<Image>)| offset(bbox, size) <= limit;
    let Some(described) = boxes.iter().position(is_near) else {
        return Vec::new();
    };
    boxes[..=described].rotate_right(1);
    boxes.into_iter().map(|(_, bbox)| bbox).collect()
}

/// Distance of the box's middle from the picture's, in pixels.
fn offset(bbox: &BBox<Image>, size: Size) -> f32 {
    let (x, y) = bbox.centre();
    let (dx, dy) = (x - size.width as f32 / 2.0, y - size.height as f32 / 2.0);
    (dx * dx + dy * dy).sqrt()
}

/// The first box is the described cell; `None` without boxes.
fn cells_of(row: &Row, boxes: Vec<BBox<Image>>, problems: &mut Collector) -> Option<Vec<Cell>> {
    let before = boxes.len();
    let mut kept: Vec<BBox<Image>> = Vec::with_capacity(before);
    for bbox in boxes {
        if kept.iter().all(|other| other.iou(&bbox) < SAME_CELL_IOU) {
            kept.push(bbox);
        }
    }
    problems.leave_out("second box of the same cell", before - kept.len());
    if kept.is_empty() {
        return None;
    }
    let cells = kept.into_iter().enumerate().map(|(index, bbox)| Cell {
        bbox,
        class: (index == 0).then_some(row.class),
        attributes: if index == 0 {
            row.attributes
        } else {
            NO_ATTRIBUTES
        },
    });
    Some(cells.collect())
}
