//! A data set for other tools: label files with a data YAML, or COCO JSON.
//!
//! What is read back is what was written, box by box: class unknown, groups and labelled regions
//! travel in keys of our own that other tools ignore. A folder is complete or not there: it is
//! filled under another name and renamed at the end.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value, json};
use shared::attribute::AttributeSchema;
use shared::cell::Cell;
use shared::class::ClassId;
use shared::label::{COCO_KEYS, ColumnLayout, LabelLine};

use super::crowds::as_crowds;
use super::problem::DataError;
use super::{Dataset, Sample, Split};

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `images/`, `labels/` and `data.yaml`.
    Yolo,
    /// `images/`, `annotations/{train,val,test}.json`.
    Coco,
}

/// What to do with the pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Symbolic links to where they are.
    Link,
    /// Copies.
    Copy,
    /// Nothing: they must be put there before the set can be read.
    None,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteReport {
    /// Pictures of train, val and test.
    pub pictures: [usize; 3],
    /// Cells in all.
    pub cells: usize,
    /// Pictures that got another name because two had the same.
    pub renamed: usize,
    /// Pictures of a sparse set without any cell: a label file without rows cannot say which part
    /// was looked at, and a reader leaves them out.
    pub sparse_lost: usize,
}

/// Writes `data` to the folder `out`, which must not exist or be empty.
///
/// # Errors
/// A folder with something in it, or whatever the disk says.
pub fn write(
    data: &Dataset,
    out: &Path,
    format: Format,
    placement: Placement,
) -> Result<WriteReport, DataError> {
    // Without a trailing slash: the draft lies beside the folder, not in it.
    let out = &out.components().collect::<PathBuf>();
    let occupied = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if occupied || out.is_file() {
        return Err(DataError::file(
            out,
            "expected a new or empty folder, found something in it",
        ));
    }
    let mut draft = out.as_os_str().to_owned();
    draft.push(".leuko-part");
    let draft = PathBuf::from(draft);
    if draft.exists() {
        fs::remove_dir_all(&draft).map_err(DataError::write(&draft))?;
    }
    let written = fill(data, &draft, format, placement).and_then(|report| {
        if out.exists() {
            fs::remove_dir(out).map_err(DataError::write(out))?;
        }
        fs::rename(&draft, out).map_err(DataError::write(out))?;
        Ok(report)
    });
    if written.is_err() {
        // The first error is the one to tell; a draft that stays is removed by the next attempt.
        let _ = fs::remove_dir_all(&draft);
    }
    written
}

/// The truth of a split as COCO JSON for COCO's own evaluation, with the numbers that [`write`]
/// gives: pictures from 1 in the order of the split, categories in the order of the classes.
///
/// A cell of unsaid class is no category of its own there, but a crowd of every class: what is found
/// on it is neither right nor wrong, as in our own score.
pub fn coco_truth(data: &Dataset, split: Split) -> Value {
    let writer = Writer {
        data,
        folder: Path::new(""),
        names: file_names(&data.samples).0,
        domains: Vec::new(),
        unclassified: unclassified_name(data),
        report: WriteReport::default(),
    };
    let mut file = writer.coco_file(split, &mut 0);
    if let Some(unsaid) = &writer.unclassified {
        as_crowds(&mut file, unsaid, data.classes.len());
    }
    file
}

/// Writes the whole set into the folder `draft`.
fn fill(
    data: &Dataset,
    draft: &Path,
    format: Format,
    placement: Placement,
) -> Result<WriteReport, DataError> {
    let (names, renamed) = file_names(&data.samples);
    let domains = data.domains();
    let number = |sample: &Sample| {
        let name = data.domain_of(sample)?;
        domains.iter().position(|domain| *domain == name)
    };
    // Beside each other, as `domains` of the data YAML tells them apart by the beginnings of paths.
    let within = |(name, sample): (String, &Sample)| match number(sample) {
        Some(number) => format!("{}/{name}", domain_folder(number, domains[number])),
        None => name,
    };
    let names = names.into_iter().zip(&data.samples).map(within).collect();
    let mut writer = Writer {
        data,
        folder: draft,
        names,
        domains,
        unclassified: unclassified_name(data),
        report: WriteReport {
            pictures: data.split_counts(),
            cells: data.samples.iter().map(|sample| sample.cells.len()).sum(),
            renamed,
            sparse_lost: 0,
        },
    };
    writer.pictures(placement)?;
    match format {
        Format::Yolo => writer.yolo()?,
        Format::Coco => writer.coco()?,
    }
    Ok(writer.report)
}

/// A file name for each sample, each once; and how many had to be changed.
pub(crate) fn file_names(samples: &[Sample]) -> (Vec<String>, usize) {
    let mut used = HashSet::new();
    let (mut names, mut renamed) = (Vec::new(), 0);
    // Label files share the stem, so `a.jpg` and `a.png` cannot both be `a`.
    for sample in samples {
        let path = sample.image.as_path();
        let part = |part: Option<&std::ffi::OsStr>| {
            part.unwrap_or_default().to_string_lossy().into_owned()
        };
        let (stem, extension) = (part(path.file_stem()), part(path.extension()));
        let mut unique = stem.clone();
        let mut count = 1;
        while !used.insert(unique.clone()) {
            count += 1;
            unique = format!("{stem}-{count}");
        }
        renamed += usize::from(count > 1);
        names.push(format!("{unique}.{extension}"));
    }
    (names, renamed)
}

/// The folder of a domain's pictures within a split: its name, where that is a plain one.
fn domain_folder(number: usize, name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if !name.is_empty() && name.chars().all(is_plain) {
        name.to_owned()
    } else {
        format!("domain-{number}")
    }
}

/// A class name for cells of unknown class, when there are any.
fn unclassified_name(data: &Dataset) -> Option<String> {
    let mut cells = data.samples.iter().flat_map(|sample| &sample.cells);
    if cells.all(|cell| cell.class.is_some()) {
        return None;
    }
    let free = |name: &&str| data.classes.find(name).is_none();
    let names = ["WBC", "unclassified", "white cell, class unknown"];
    names.iter().copied().find(free).map(str::to_owned)
}

struct Writer<'a> {
    data: &'a Dataset,
    folder: &'a Path,
    /// Of the pictures below their split's folder.
    names: Vec<String>,
    domains: Vec<&'a str>,
    unclassified: Option<String>,
    report: WriteReport,
}

#[derive(Serialize)]
struct DataYaml<'a> {
    name: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    train: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    val: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<&'a str>,
    nc: usize,
    names: Vec<&'a str>,
    columns: ColumnLayout,
    attributes: &'a AttributeSchema,
    #[serde(skip_serializing_if = "Option::is_none")]
    unclassified: Option<&'a str>,
    groups: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    domains: BTreeMap<&'a str, Vec<String>>,
}

impl Writer<'_> {
    fn class_names(&self) -> Vec<&str> {
        let known = self.data.classes.iter().map(|(_, name)| name);
        known.chain(self.unclassified.as_deref()).collect()
    }

    /// The number of a cell's class in the written list of names.
    fn number(&self, cell: &Cell) -> ClassId {
        cell.class.unwrap_or(ClassId(self.data.classes.len() as u8))
    }

    fn save(&self, path: &Path, text: impl AsRef<[u8]>) -> Result<(), DataError> {
        fs::write(path, text).map_err(DataError::write(path))
    }

    fn create(&self, folder: &str) -> Result<PathBuf, DataError> {
        let path = self.folder.join(folder);
        fs::create_dir_all(&path).map_err(DataError::write(&path))?;
        Ok(path)
    }

    /// The folder of a sample's picture or labels, below the set's.
    fn place(&self, kind: &str, (sample, name): (&Sample, &String)) -> String {
        match name.rsplit_once('/') {
            Some((domain, _)) => format!("{kind}/{}/{domain}", sample.split),
            None => format!("{kind}/{}", sample.split),
        }
    }

    /// Where the pictures of each domain lie.
    fn domains(&self) -> BTreeMap<&str, Vec<String>> {
        let numbered = self.domains.iter().enumerate();
        let folders = numbered.map(|(number, name)| {
            let within = |split: Split| {
                let folder = format!("images/{split}/{}/", domain_folder(number, name));
                self.folder.join(&folder).is_dir().then_some(folder)
            };
            (*name, Split::ALL.into_iter().filter_map(within).collect())
        });
        folders
            .filter(|(_, folders): &(_, Vec<_>)| !folders.is_empty())
            .collect()
    }

    fn pictures(&self, placement: Placement) -> Result<(), DataError> {
        fs::create_dir_all(self.folder).map_err(DataError::write(self.folder))?;
        for sample in self.data.samples.iter().zip(&self.names) {
            self.create(&self.place("images", sample))?;
        }
        if placement == Placement::None {
            return Ok(());
        }
        for (sample, name) in self.data.samples.iter().zip(&self.names) {
            let to = self.folder.join("images").join(sample.split.name());
            let to = to.join(name);
            let from = sample
                .image
                .canonicalize()
                .map_err(DataError::io(&sample.image))?;
            match placement {
                Placement::Link => link(&from, &to),
                _ => fs::copy(&from, &to).map(|_| ()),
            }
            .map_err(DataError::write(&to))?;
        }
        Ok(())
    }

    fn yolo(&mut self) -> Result<(), DataError> {
        let data = self.data;
        let columns = if data.samples.iter().any(|sample| sample.region.is_some()) {
            ColumnLayout::PatchAttributes
        } else if data.schema.is_empty() {
            ColumnLayout::Box
        } else {
            ColumnLayout::Attributes
        };
        let mut groups = csv::Writer::from_writer(Vec::new());
        let mut rows = vec![["image".to_owned(), "group".to_owned()]];
        for index in 0..data.samples.len() {
            let (sample, name) = (&data.samples[index], &self.names[index]);
            let folder = self.create(&self.place("labels", (sample, name)))?;
            let file = Path::new(name).file_name().unwrap_or_default();
            let text = self.label_text(sample, columns);
            self.save(&folder.join(file).with_extension("txt"), text)?;
            rows.push([csv_cell(&file.to_string_lossy()), csv_cell(&sample.group)]);
            if columns == ColumnLayout::PatchAttributes && sample.cells.is_empty() {
                self.report.sparse_lost += 1;
            }
        }
        let path = self.folder.join("groups.csv");
        for row in rows {
            groups
                .write_record(row)
                .map_err(|error| DataError::file(&path, error))?;
        }
        let bytes = groups
            .into_inner()
            .map_err(|error| DataError::file(&path, error))?;
        self.save(&path, bytes)?;
        self.data_yaml(columns)
    }

    fn label_text(&self, sample: &Sample, columns: ColumnLayout) -> String {
        let mut text = String::new();
        let whole = [
            0.0,
            sample.size.width as f32,
            0.0,
            sample.size.height as f32,
        ];
        let region = sample.region.map(|r| [r.x0(), r.x1(), r.y0(), r.y1()]);
        for cell in &sample.cells {
            let mut line = LabelLine::from_cell(cell, sample.size, self.number(cell));
            line.patch = Some(region.unwrap_or(whole).map(f64::from));
            // Writing to a string cannot fail.
            let _ = line.write(&mut text, columns, &self.data.schema);
            let _ = writeln!(text);
        }
        text
    }

    fn data_yaml(&self, columns: ColumnLayout) -> Result<(), DataError> {
        let has = |split| self.data.split(split).next().is_some();
        let names = self.class_names();
        let yaml = DataYaml {
            name: &self.data.name,
            path: ".",
            train: has(Split::Train).then_some("images/train"),
            val: has(Split::Val).then_some("images/val"),
            test: has(Split::Test).then_some("images/test"),
            nc: names.len(),
            names,
            columns,
            attributes: &self.data.schema,
            unclassified: self.unclassified.as_deref(),
            groups: "groups.csv",
            domains: self.domains(),
        };
        let path = self.folder.join("data.yaml");
        let text =
            serde_yaml_ng::to_string(&yaml).map_err(|error| DataError::file(&path, error))?;
        self.save(&path, text)
    }

    fn coco(&self) -> Result<(), DataError> {
        if let Some((_, attribute)) = self
            .data
            .schema
            .iter()
            .find(|(_, a)| COCO_KEYS.contains(&a.name.as_str()))
        {
            let detail = format!(
                "expected no attribute called like a key of COCO, found {}",
                attribute.name
            );
            return Err(DataError::file(self.folder, detail));
        }
        let folder = self.create("annotations")?;
        let mut annotations = 0;
        for split in Split::ALL {
            if self.data.split(split).next().is_none() {
                continue;
            }
            let file = self.coco_file(split, &mut annotations);
            let path = folder.join(format!("{split}.json"));
            let text = serde_json::to_vec(&file).map_err(|error| DataError::file(&path, error))?;
            self.save(&path, text)?;
        }
        Ok(())
    }

    /// A split as COCO JSON; so many annotations have their number already.
    fn coco_file(&self, split: Split, n_annotations: &mut u64) -> Value {
        let (mut images, mut annotations) = (Vec::new(), Vec::new());
        let samples = self.data.samples.iter().zip(&self.names);
        for (sample, name) in samples.filter(|(sample, _)| sample.split == split) {
            let image_id = images.len() + 1;
            images.push(image_entry(sample, name, image_id));
            for cell in &sample.cells {
                *n_annotations += 1;
                annotations.push(self.annotation(cell, image_id, *n_annotations));
            }
        }
        let names = self.class_names();
        let categories: Vec<Value> = (0..).zip(names).map(category).collect();
        json!({
            "info": {
                "description": self.data.name,
                "split": split.name(),
                "unclassified": self.unclassified,
                "attributes": self.data.schema,
            },
            "images": images,
            "annotations": annotations,
            "categories": categories,
        })
    }

    fn annotation(&self, cell: &Cell, image_id: usize, id: u64) -> Value {
        // In double precision the sides add up to the corners again.
        let [x0, y0, x1, y1] = cell.bbox.xyxy().map(f64::from);
        let (width, height) = (x1 - x0, y1 - y0);
        let mut map = Map::new();
        map.insert("id".into(), json!(id));
        map.insert("image_id".into(), json!(image_id));
        map.insert("category_id".into(), json!(self.number(cell).0));
        map.insert("bbox".into(), json!([x0, y0, width, height]));
        map.insert("area".into(), json!(width * height));
        map.insert("iscrowd".into(), json!(0));
        map.insert("segmentation".into(), json!([]));
        for ((_, attribute), value) in self.data.schema.iter().zip(&cell.attributes) {
            let code = value.map_or(Value::Null, |value| json!(value.index()));
            map.insert(attribute.name.to_string(), code);
        }
        Value::Object(map)
    }
}

fn image_entry(sample: &Sample, name: &str, id: usize) -> Value {
    json!({
        "id": id,
        "file_name": name,
        "width": sample.size.width,
        "height": sample.size.height,
        "group": sample.group,
        "region": sample.region.map(|region| region.xyxy()),
    })
}

fn category((id, name): (usize, &str)) -> Value {
    json!({"id": id, "name": name, "supercategory": "white cell"})
}

/// First characters that make a spreadsheet calculate, and the quote that stops it.
const GUARDED: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\''];

/// The text that [`csv_cell`] made a cell of.
pub(crate) fn text_of_csv_cell(cell: &str) -> &str {
    let rest = cell
        .strip_prefix('\'')
        .filter(|rest| rest.starts_with(GUARDED));
    rest.unwrap_or(cell)
}

/// A cell that no spreadsheet takes for a formula.
pub(crate) fn csv_cell(text: &str) -> String {
    if text.starts_with(GUARDED) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

#[cfg(unix)]
pub(crate) fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(from, to)
}

#[cfg(not(unix))]
pub(crate) fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::copy(from, to).map(|_| ())
}
