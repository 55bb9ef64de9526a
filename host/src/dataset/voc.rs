//! Pascal VOC: `Annotations/*.xml`, `ImageSets/Main/{train,val,test}.txt`, `JPEGImages/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use roxmltree::{Document, Node};
use shared::attribute::{AttributeSchema, NO_ATTRIBUTES};
use shared::cell::Cell;
use shared::class::ClassTable;
use shared::geometry::{BBox, Image, Size};

use super::bounded::{SMALL_MAX, read_text};
use super::open::{OpenOptions, folder_name, group_of};
use super::problem::{Collector, DataError};
use super::scan::{detail_of, picture_size};
use super::{Dataset, Sample, Split};

/// Boxes that reach out of the picture by more than this are refused, by less are clipped; pixels.
pub(crate) const OVERHANG_MAX: f32 = 1.0;

/// Why boxes of ignored classes are left out.
pub(crate) const IGNORED: &str = "box of an ignored class";

struct Object {
    name: String,
    /// `None` = the class is ignored.
    bbox: Option<BBox<Image>>,
}

struct Picture {
    image: PathBuf,
    size: Size,
    split: Split,
    objects: Vec<Object>,
}

/// Whether `folder` has VOC's two folders.
pub(crate) fn is_voc(folder: &Path) -> bool {
    folder.join("Annotations").is_dir() && folder.join("ImageSets").is_dir()
}

/// Reads the official splits; classes are the names that occur, in alphabetical order.
pub(crate) fn open_voc(folder: &Path, options: &OpenOptions) -> Result<Dataset, DataError> {
    let mut problems = Collector::new(options.mode);
    let mut pictures = Vec::new();
    let mut listed = BTreeSet::new();
    for (stem, split) in read_splits(folder, &mut problems)? {
        let found = read_picture(folder, &stem, split, options, &mut problems);
        pictures.extend(found);
        listed.insert(stem);
    }
    count_unlisted(folder, &listed, &mut problems)?;
    let mut report = problems.finish()?;
    report.format = "Pascal VOC".to_owned();
    let names: BTreeSet<&str> = pictures
        .iter()
        .flat_map(|p| &p.objects)
        .map(|o| o.name.as_str())
        .collect();
    let classes = ClassTable::new(names).map_err(|error| DataError::file(folder, error))?;
    let mut samples: Vec<Sample> = pictures
        .iter()
        .map(|picture| sample_of(picture, &classes, options))
        .collect();
    samples.sort_by(|a, b| a.image.cmp(&b.image));
    Ok(Dataset {
        name: folder_name(folder),
        classes,
        schema: AttributeSchema::default(),
        samples,
        origins: Vec::new(),
        report,
    })
}

fn sample_of(picture: &Picture, classes: &ClassTable, options: &OpenOptions) -> Sample {
    let cells = picture.objects.iter().filter_map(|object| {
        Some(Cell {
            bbox: object.bbox?,
            class: classes.find(&object.name),
            attributes: NO_ATTRIBUTES,
        })
    });
    Sample {
        image: picture.image.clone(),
        size: picture.size,
        split: picture.split,
        group: group_of(&picture.image, options.group),
        cells: cells.collect(),
        region: None,
    }
}

/// File stem -> split; a picture that is listed twice is refused the second time.
fn read_splits(
    folder: &Path,
    problems: &mut Collector,
) -> Result<BTreeMap<String, Split>, DataError> {
    let mut splits = BTreeMap::new();
    for split in Split::ALL {
        let path = folder.join("ImageSets/Main").join(format!("{split}.txt"));
        if !path.exists() {
            problems.note(format!("no {}", path.display()));
            continue;
        }
        for (index, line) in read_text(&path, SMALL_MAX)?.lines().enumerate() {
            let Some(stem) = line.split_whitespace().next() else {
                continue;
            };
            let place = format!("{}:{}", path.display(), index + 1);
            if stem.contains(['/', '\\']) || stem == ".." {
                problems.refuse(
                    "path in a split",
                    place,
                    "expected a file stem, found a path",
                );
            } else if let Some(other) = splits.insert(stem.to_owned(), split) {
                splits.insert(stem.to_owned(), other);
                let detail = format!("expected {stem} in one split, found it in {other} too");
                problems.refuse("picture in two splits", place, detail);
            }
        }
    }
    if splits.is_empty() {
        let detail = "expected train.txt, val.txt or test.txt in ImageSets/Main, found no picture";
        return Err(DataError::file(folder, detail));
    }
    Ok(splits)
}

fn count_unlisted(
    folder: &Path,
    listed: &BTreeSet<String>,
    problems: &mut Collector,
) -> Result<(), DataError> {
    let annotations = folder.join("Annotations");
    let mut unlisted = 0;
    for entry in fs::read_dir(&annotations).map_err(DataError::io(&annotations))? {
        let path = entry.map_err(DataError::io(&annotations))?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let is_xml = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("xml"));
        unlisted += usize::from(is_xml && !stem.is_some_and(|stem| listed.contains(stem)));
    }
    problems.leave_out("annotated picture in no split", unlisted);
    Ok(())
}

fn read_picture(
    folder: &Path,
    stem: &str,
    split: Split,
    options: &OpenOptions,
    problems: &mut Collector,
) -> Option<Picture> {
    let xml = folder.join("Annotations").join(format!("{stem}.xml"));
    let candidates = ["jpg", "jpeg", "png", "JPG"].map(|extension| {
        folder
            .join("JPEGImages")
            .join(format!("{stem}.{extension}"))
    });
    let Some(image) = candidates.into_iter().find(|path| path.exists()) else {
        let detail = format!("expected JPEGImages/{stem}.jpg or .png, found none");
        problems.refuse("missing picture", xml.display(), detail);
        return None;
    };
    let size = picture_size(&image, problems)?;
    let text = match read_text(&xml, SMALL_MAX) {
        Ok(text) => text,
        Err(error) => {
            problems.refuse("unreadable annotation", xml.display(), detail_of(error));
            return None;
        }
    };
    let document = match Document::parse(&text) {
        Ok(document) => document,
        Err(error) => {
            problems.refuse("unreadable annotation", xml.display(), error);
            return None;
        }
    };
    if let Err(detail) = check_size(document.root_element(), size) {
        problems.refuse("size of another picture", xml.display(), detail);
        return None;
    }
    Some(Picture {
        image,
        size,
        split,
        objects: read_objects(&document, &xml, size, options, problems),
    })
}

/// The size an annotation says, where it says one, is the picture's.
fn check_size(root: Node<'_, '_>, size: Size) -> Result<(), String> {
    let root_says = |name| child(root, "size").and_then(|node| number(node, name));
    for (name, side) in [("width", size.width), ("height", size.height)] {
        if let Some(said) = root_says(name).filter(|&said| said != side as f32) {
            return Err(format!(
                "expected {name} {side} as in the picture, found {said}"
            ));
        }
    }
    Ok(())
}

fn read_objects(
    document: &Document<'_>,
    xml: &Path,
    size: Size,
    options: &OpenOptions,
    problems: &mut Collector,
) -> Vec<Object> {
    let mut objects = Vec::new();
    let root = document.root_element();
    for node in root.children().filter(|node| node.has_tag_name("object")) {
        let line = document.text_pos_at(node.range().start).row;
        match read_object(node, size, options) {
            Ok(object) => {
                problems.leave_out(IGNORED, usize::from(object.bbox.is_none()));
                objects.push(object);
            }
            Err((reason, detail)) => {
                problems.refuse(reason, format!("{}:{line}", xml.display()), detail);
            }
        }
    }
    objects
}

fn read_object(
    node: Node<'_, '_>,
    size: Size,
    options: &OpenOptions,
) -> Result<Object, (&'static str, String)> {
    let name = child(node, "name")
        .and_then(|name| name.text())
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .ok_or((
            "object without a name",
            "expected <name>, found none".to_owned(),
        ))?;
    if options.ignores(name) {
        return Ok(Object {
            name: name.to_owned(),
            bbox: None,
        });
    }
    let bndbox = child(node, "bndbox").ok_or((
        "object without a box",
        "expected <bndbox>, found none".to_owned(),
    ))?;
    let mut sides = [0.0f32; 4];
    for (side, tag) in sides.iter_mut().zip(["xmin", "ymin", "xmax", "ymax"]) {
        *side = number(bndbox, tag)
            .filter(|value| value.is_finite())
            .ok_or((
                "box that is no number",
                format!("expected a number in <{tag}>, found none"),
            ))?;
    }
    let [xmin, ymin, xmax, ymax] = sides;
    let found = format!("{name} {xmin} {ymin} {xmax} {ymax}");
    if xmin >= xmax || ymin >= ymax {
        let detail = format!("expected xmin < xmax and ymin < ymax, found {found}");
        return Err(("box without area", detail));
    }
    // VOC counts pixels from 1 and includes the last one.
    let bbox = BBox::from_corners(xmin - 1.0, ymin - 1.0, xmax, ymax);
    let bbox = bbox.and_then(|bbox| clip(bbox, size)).ok_or_else(|| {
        let detail = format!("expected a box inside {size}, found {found}");
        ("box outside the picture", detail)
    })?;
    Ok(Object {
        name: name.to_owned(),
        bbox: Some(bbox),
    })
}

/// The box inside the picture; `None` when it hangs over by more than [`OVERHANG_MAX`].
pub(crate) fn clip(bbox: BBox<Image>, size: Size) -> Option<BBox<Image>> {
    let (width, height) = (size.width as f32, size.height as f32);
    let overhang = (-bbox.x0())
        .max(-bbox.y0())
        .max(bbox.x1() - width)
        .max(bbox.y1() - height);
    (overhang <= OVERHANG_MAX)
        .then(|| bbox.clipped(size))
        .flatten()
}

fn child<'a, 'd>(node: Node<'a, 'd>, name: &str) -> Option<Node<'a, 'd>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn number(node: Node<'_, '_>, name: &str) -> Option<f32> {
    child(node, name)?.text()?.trim().parse().ok()
}
