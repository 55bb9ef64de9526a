//! COCO JSON, as LeukemiaAttri ships it and as this software writes it.
//!
//! LeukemiaAttri repeats an image's entry once per box: entries are grouped by `file_name`. Its
//! seven attributes stand in each annotation as whole numbers; any code outside an attribute's range
//! (4 there) is unknown. Boxes that carry two categories are refused.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};
use shared::attribute::{AttributeSchema, Attributes, LEUKEMIA_ATTRIBUTES, NO_ATTRIBUTES};
use shared::cell::Cell;
use shared::class::ClassId;
use shared::geometry::Size;

use super::bounded::{ANNOTATIONS_MAX, read_bytes};
use super::coco_fields::{bbox_of, find_picture, region_of, value_of};
use super::open::{OpenOptions, folder_name, group_of};
use super::problem::{Collector, DataError};
use super::scan::picture_size;
use super::text::ClassMap;
use super::voc::IGNORED;
use super::yaml::known_schema;
use super::{Dataset, Sample, Split};

/// Folders of a data set that may hold its JSON files.
const JSON_FOLDERS: [&str; 5] = [
    "",
    "json_labels",
    "annotations",
    "WBC_detection",
    "WBC_Detection",
];

/// The name LeukemiaAttri's files do not use, but others that correct its spelling do.
const RESPELT: (&str, &str) = ("nuclear_chromatio", "nuclear_chromatin");

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    info: Value,
    images: Vec<Entry>,
    annotations: Vec<Map<String, Value>>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Entry {
    id: Value,
    file_name: String,
    width: Option<u32>,
    height: Option<u32>,
    group: Option<String>,
    #[serde(default)]
    region: Value,
}

#[derive(Deserialize)]
struct Category {
    id: Value,
    name: String,
}

/// What this software adds under `info`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Info {
    split: Option<String>,
    unclassified: Option<String>,
    attributes: Option<AttributeSchema>,
}

/// JSON files of `folder` that are called after a split.
pub(crate) fn coco_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for sub in JSON_FOLDERS {
        let entries = std::fs::read_dir(folder.join(sub))
            .into_iter()
            .flatten()
            .flatten();
        let files = entries.map(|entry| entry.path()).filter(|path| {
            path.extension().is_some_and(|e| e == "json") && split_of_name(path).is_some()
        });
        found.extend(files);
    }
    found.sort();
    found
}

/// `instances_val2017.json` is val.
fn split_of_name(path: &Path) -> Option<Split> {
    let stem = path.file_stem()?.to_str()?.to_ascii_lowercase();
    stem.split(|c: char| !c.is_ascii_alphabetic())
        .find_map(Split::from_name)
}

struct Reader<'a> {
    path: &'a Path,
    schema: AttributeSchema,
    classes: HashMap<String, (String, Option<ClassId>)>,
    /// Places of the boxes read so far, by picture and corners.
    boxes: HashMap<(usize, [u32; 4]), String>,
    problems: Collector,
}

/// Reads one JSON file: all its pictures are of one split.
pub(crate) fn open_coco(path: &Path, options: &OpenOptions) -> Result<Dataset, DataError> {
    let (file, info) = parse(path)?;
    let refuse = |detail: String| DataError::file(path, detail);
    let mut problems = Collector::new(options.mode);
    let split = split_of(path, &info, &mut problems);
    let (names, ids) = categories(&file.categories).map_err(refuse)?;
    let map = ClassMap::new(&names, info.unclassified.as_deref()).map_err(refuse)?;
    let schema = match info.attributes {
        Some(schema) => schema,
        None => schema_of_annotations(&file.annotations, options),
    };
    schema
        .check()
        .map_err(|error| refuse(format!("info: {error}")))?;
    let classes = ids
        .into_iter()
        .zip(names.into_iter().zip(map.classes))
        .collect();
    let mut reader = Reader {
        path,
        schema,
        classes,
        boxes: HashMap::new(),
        problems,
    };
    let (mut samples, by_id) = reader.samples(file.images, split, options);
    let mut seen = HashSet::new();
    for (index, annotation) in file.annotations.iter().enumerate() {
        if reader.is_ignored(annotation, options) {
            reader.problems.leave_out(IGNORED, 1);
            continue;
        }
        reader.annotate(index, annotation, &mut samples, &by_id, &mut seen);
    }
    let mut report = reader.problems.finish()?;
    report.format = format!("COCO JSON, {} attributes", reader.schema.len());
    let mut samples: Vec<Sample> = samples.into_iter().flatten().collect();
    samples.sort_by(|a, b| a.image.cmp(&b.image));
    Ok(Dataset {
        name: folder_name(path.parent().unwrap_or(Path::new("."))),
        classes: map.table,
        schema: reader.schema,
        samples,
        origins: Vec::new(),
        report,
    })
}

/// The file, and what stands under its `info`.
fn parse(path: &Path) -> Result<(File, Info), DataError> {
    let bytes = read_bytes(path, ANNOTATIONS_MAX)?;
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut file: File =
        serde_json::from_slice(text).map_err(|error| DataError::file(path, error))?;
    let info = match file.info.take() {
        info @ Value::Object(_) => info,
        _ => Value::Object(Map::new()),
    };
    let info = serde_json::from_value(info)
        .map_err(|error| DataError::file(path, format!("info: {error}")))?;
    Ok((file, info))
}

/// The split the file says, else the one it is called after, else train with a note.
fn split_of(path: &Path, info: &Info, problems: &mut Collector) -> Split {
    let said = info.split.as_deref().and_then(Split::from_name);
    said.or(split_of_name(path)).unwrap_or_else(|| {
        problems.note(format!(
            "{}: no split in its name, read as train",
            path.display()
        ));
        Split::Train
    })
}

/// Names in the order of their ids, and the ids as text.
fn categories(list: &[Category]) -> Result<(Vec<String>, Vec<String>), String> {
    let mut sorted = BTreeMap::new();
    for category in list {
        let id = category.id.as_i64();
        let id =
            id.ok_or_else(|| format!("categories: expected whole ids, found {}", category.id))?;
        if sorted.insert(id, category.name.clone()).is_some() {
            return Err(format!(
                "categories: expected each id once, found {id} twice"
            ));
        }
    }
    let ids = sorted.keys().map(i64::to_string).collect();
    Ok((sorted.into_values().collect(), ids))
}

/// LeukemiaAttri's schema when its keys occur, else what the caller declared.
fn schema_of_annotations(
    annotations: &[Map<String, Value>],
    options: &OpenOptions,
) -> AttributeSchema {
    if let Some(schema) = &options.schema {
        return schema.clone();
    }
    let known =
        |key: &String| key == RESPELT.1 || LEUKEMIA_ATTRIBUTES.iter().any(|(name, _)| name == key);
    let has_leukemia = annotations
        .iter()
        .any(|annotation| annotation.keys().any(known));
    let schema = has_leukemia
        .then(|| known_schema("leukemiaattri"))
        .flatten();
    schema.unwrap_or_default()
}

impl Reader<'_> {
    fn is_ignored(&self, annotation: &Map<String, Value>, options: &OpenOptions) -> bool {
        let id = annotation.get("category_id").map(Value::to_string);
        let known = id.and_then(|id| self.classes.get(&id));
        known.is_some_and(|(name, _)| options.ignores(name))
    }

    /// One sample a file name (`None` = refused), and the sample's position by image id.
    #[allow(clippy::type_complexity)]
    fn samples(
        &mut self,
        entries: Vec<Entry>,
        split: Split,
        options: &OpenOptions,
    ) -> (Vec<Option<Sample>>, HashMap<String, usize>) {
        let mut samples = Vec::new();
        let mut by_name: HashMap<String, usize> = HashMap::new();
        let mut by_id = HashMap::new();
        for entry in entries {
            let id = entry.id.to_string();
            let at = match by_name.get(&entry.file_name) {
                Some(&at) => at,
                None => {
                    let at = samples.len();
                    by_name.insert(entry.file_name.clone(), at);
                    samples.push(self.sample(entry, split, options));
                    at
                }
            };
            if let Some(other) = by_id.insert(id.clone(), at).filter(|&other| other != at) {
                by_id.insert(id.clone(), other);
                let place = format!("{} image {id}", self.path.display());
                let detail = "expected one file name for an id, found two";
                self.problems.refuse("image id of two files", place, detail);
            }
        }
        (samples, by_id)
    }

    fn sample(&mut self, entry: Entry, split: Split, options: &OpenOptions) -> Option<Sample> {
        let place = format!("{} image {}", self.path.display(), entry.id);
        let Some(image) = find_picture(self.path, &entry.file_name, split) else {
            let detail = format!(
                "expected a JPEG or PNG file, found none called {:?}",
                entry.file_name
            );
            self.problems.refuse("missing picture", place, detail);
            return None;
        };
        let size = picture_size(&image, &mut self.problems)?;
        let said = Size::new(
            entry.width.unwrap_or(size.width),
            entry.height.unwrap_or(size.height),
        );
        if said != size {
            let detail = format!("expected {size} as in the picture, found {said}");
            self.problems
                .refuse("size of another picture", place, detail);
            return None;
        }
        let region = match region_of(&entry.region, size) {
            Ok(region) => region,
            Err(detail) => {
                self.problems.refuse("region that is no box", place, detail);
                return None;
            }
        };
        Some(Sample {
            group: entry
                .group
                .unwrap_or_else(|| group_of(&image, options.group)),
            image,
            size,
            split,
            cells: Vec::new(),
            region,
        })
    }

    fn annotate(
        &mut self,
        index: usize,
        annotation: &Map<String, Value>,
        samples: &mut [Option<Sample>],
        by_id: &HashMap<String, usize>,
        seen: &mut HashSet<String>,
    ) {
        let id = annotation.get("id").map(Value::to_string);
        let place = match &id {
            Some(id) => format!("{} annotation {index} (id {id})", self.path.display()),
            None => format!("{} annotation {index}", self.path.display()),
        };
        if let Some(id) = id.filter(|id| !seen.insert(id.clone())) {
            let detail = format!("expected each id once, found {id} again");
            self.problems
                .refuse("annotation id that stands twice", place, detail);
            return;
        }
        let image = annotation
            .get("image_id")
            .and_then(|id| by_id.get(&id.to_string()).copied());
        let Some((at, slot)) = image.and_then(|at| Some((at, samples.get_mut(at)?))) else {
            let detail = format!(
                "expected the id of an image, found {:?}",
                annotation.get("image_id")
            );
            self.problems
                .refuse("annotation of an unknown image", place, detail);
            return;
        };
        let Some(sample) = slot else {
            self.problems
                .leave_out("box of a picture that was left out", 1);
            return;
        };
        match self.cell(annotation, sample.size) {
            Ok(cell) if self.is_new(at, &cell, &place) => sample.cells.push(cell),
            Ok(_) => {}
            Err((reason, detail)) => self.problems.refuse(reason, place, detail),
        }
    }

    /// Whether no box of the picture has the same corners; the second one is refused.
    fn is_new(&mut self, picture: usize, cell: &Cell, place: &str) -> bool {
        let corners = cell.bbox.xyxy();
        let key = (picture, corners.map(f32::to_bits));
        if let Some(first) = self.boxes.get(&key) {
            let detail = format!("expected each box once, found {corners:?} as in {first}");
            self.problems.refuse("box that stands twice", place, detail);
            return false;
        }
        self.boxes.insert(key, place.to_owned());
        true
    }

    fn cell(
        &self,
        annotation: &Map<String, Value>,
        size: Size,
    ) -> Result<Cell, (&'static str, String)> {
        let id = annotation.get("category_id").map(Value::to_string);
        let known = id.as_ref().and_then(|id| self.classes.get(id));
        let (name, class) = known.ok_or_else(|| {
            (
                "unknown category",
                format!("category_id: expected one of categories, found {id:?}"),
            )
        })?;
        let said = annotation.get("category_name").and_then(Value::as_str);
        if let Some(said) = said.filter(|said| said != name) {
            let detail = format!("category_name: expected {name:?} as its id says, found {said:?}");
            return Err(("box of two categories", detail));
        }
        Ok(Cell {
            bbox: bbox_of(annotation.get("bbox"), size)?,
            class: *class,
            attributes: self.attributes(annotation)?,
        })
    }

    fn attributes(
        &self,
        annotation: &Map<String, Value>,
    ) -> Result<Attributes, (&'static str, String)> {
        let mut attributes = NO_ATTRIBUTES;
        for ((_, attribute), slot) in self.schema.iter().zip(&mut attributes) {
            let value = annotation.get(attribute.name.as_str()).or_else(|| {
                (attribute.name == RESPELT.0)
                    .then(|| annotation.get(RESPELT.1))
                    .flatten()
            });
            *slot = value_of(value, attribute)
                .map_err(|detail| ("attribute that is no value", detail))?;
        }
        Ok(attributes)
    }
}
