//! The set on the disk: COCO JSON and YOLO labels over the same pictures, in the formats of the trainer.
//!
//! ```text
//! images/train/CASE-FIELD.jpg    pictures, byte for byte as they were recorded
//! labels/train/CASE-FIELD.txt    rows of `shared::label`
//! data.yaml                      names, columns, attributes
//! groups.csv                     image,group
//! annotations/train.json         COCO
//! ```

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use shared::attribute::AttributeSchema;
use shared::cell::Cell;
use shared::class::{ClassId, ClassTable};
use shared::label::{COCO_KEYS, ColumnLayout, LabelLine};

use super::select::Selected;
use crate::atomic::{OutputError, make_folder};
use crate::keep::KeepError;

/// What numbers mean.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tables {
    pub classes: ClassTable,
    pub schema: AttributeSchema,
}

impl Tables {
    /// An attribute that COCO has no room for.
    pub(super) fn reserved(&self) -> Option<&str> {
        let mut names = self.schema.iter().map(|(_, a)| a.name.as_str());
        names.find(|name| COCO_KEYS.contains(name))
    }

    /// The name of cells of unsaid class, none of the classes' own.
    fn unclassified(&self) -> &'static str {
        let names = ["unidentified", "unclassified", "class not known"];
        let free = |name: &&&str| self.classes.find(name).is_none();
        names
            .iter()
            .find(free)
            .unwrap_or(&"white cell, class unknown")
    }
}

/// A set that is not there before it is whole.
pub(super) struct Draft {
    to: PathBuf,
    part: PathBuf,
    fields: Vec<(String, String, Selected)>,
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> KeepError {
    move |error| OutputError::at(path, error).into()
}

fn save(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), KeepError> {
    File::create(path)
        .and_then(|mut file| {
            file.write_all(bytes.as_ref())?;
            file.sync_all()
        })
        .map_err(at(path))
}

impl Draft {
    /// Begins the folder `to`, which must not exist or be empty, under another name.
    pub(super) fn begin(to: &Path) -> Result<Self, KeepError> {
        // Without a trailing slash: the draft lies beside the folder, not in it.
        let to: PathBuf = to.components().collect();
        let is_occupied = fs::read_dir(&to).is_ok_and(|mut entries| entries.next().is_some());
        if is_occupied || to.is_file() {
            return Err(KeepError::Occupied { to });
        }
        let mut part = to.as_os_str().to_owned();
        part.push(".leuko-part");
        let part = PathBuf::from(part);
        if part.exists() {
            fs::remove_dir_all(&part).map_err(at(&part))?;
        }
        for folder in ["images/train", "labels/train", "annotations"] {
            make_folder(&part.join(folder))?;
        }
        Ok(Self {
            to,
            part,
            fields: Vec::new(),
        })
    }

    pub(super) fn fields(&self) -> usize {
        self.fields.len()
    }

    /// Adds a field; `name` with the picture's extension.
    pub(super) fn add(
        &mut self,
        name: String,
        group: String,
        field: Selected,
        picture: &[u8],
    ) -> Result<(), KeepError> {
        save(&self.part.join("images/train").join(&name), picture)?;
        self.fields.push((name, group, field));
        Ok(())
    }

    /// Writes the labels and gives the folder its name.
    pub(super) fn commit(self, tables: &Tables) -> Result<(), KeepError> {
        let mut cells = self.fields.iter().flat_map(|(_, _, field)| &field.cells);
        let unclassified = cells.any(|cell| cell.class.is_none());
        let unclassified = unclassified.then(|| tables.unclassified());
        self.labels(tables, unclassified)?;
        let path = self.part.join("annotations/train.json");
        let coco = self.coco(tables, unclassified);
        save(&path, coco.to_string())?;
        if self.to.exists() {
            fs::remove_dir(&self.to).map_err(at(&self.to))?;
        }
        fs::rename(&self.part, &self.to).map_err(at(&self.to))
    }

    fn labels(&self, tables: &Tables, unclassified: Option<&str>) -> Result<(), KeepError> {
        let has_regions = self.fields.iter().any(|(_, _, f)| f.region.is_some());
        let columns = match (has_regions, tables.schema.is_empty()) {
            (true, _) => ColumnLayout::PatchAttributes,
            (false, true) => ColumnLayout::Box,
            (false, false) => ColumnLayout::Attributes,
        };
        // Names of cases need no quotes in CSV and are no formula.
        let mut groups = "image,group\n".to_owned();
        for (name, group, field) in &self.fields {
            let path = self.part.join("labels/train").join(name);
            save(&path.with_extension("txt"), rows(field, columns, tables))?;
            groups.push_str(&format!("{name},{group}\n"));
        }
        save(&self.part.join("groups.csv"), groups)?;
        let names = names(tables, unclassified);
        // JSON is YAML, with all quotes that are needed.
        let lines = [
            ("name", json!("station")),
            ("path", json!(".")),
            ("train", json!("images/train")),
            ("nc", json!(names.len())),
            ("names", json!(names)),
            ("columns", json!(columns)),
            ("attributes", json!(tables.schema)),
            ("groups", json!("groups.csv")),
        ];
        let mut yaml: String = lines.iter().map(|(k, v)| format!("{k}: {v}\n")).collect();
        if let Some(name) = unclassified {
            yaml.push_str(&format!("unclassified: {}\n", json!(name)));
        }
        save(&self.part.join("data.yaml"), yaml)
    }

    fn coco(&self, tables: &Tables, unclassified: Option<&str>) -> Value {
        let (mut images, mut annotations) = (Vec::new(), Vec::new());
        for (id, (name, group, field)) in (1..).zip(&self.fields) {
            images.push(json!({
                "id": id,
                "file_name": name,
                "width": field.size.width,
                "height": field.size.height,
                "group": group,
                "region": field.region.map(|region| region.xyxy()),
            }));
            for cell in &field.cells {
                annotations.push(annotation(cell, id, annotations.len() + 1, tables));
            }
        }
        let names = names(tables, unclassified);
        let category = |(id, name)| json!({"id": id, "name": name, "supercategory": "white cell"});
        let categories: Vec<Value> = (0..).zip(names).map(category).collect::<Vec<Value>>();
        json!({
            "info": {
                "description": "fields reviewed on a station; for research use only",
                "split": "train",
                "unclassified": unclassified,
                "attributes": tables.schema,
            },
            "images": images,
            "annotations": annotations,
            "categories": categories,
        })
    }
}

impl Drop for Draft {
    /// Without a commit nothing stays behind; after one the draft has another name.
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.part);
    }
}

fn names<'a>(tables: &'a Tables, unclassified: Option<&'a str>) -> Vec<&'a str> {
    let known = tables.classes.iter().map(|(_, name)| name);
    known.chain(unclassified).collect()
}

/// The number of a cell's class in the written list of names.
fn number(cell: &Cell, tables: &Tables) -> ClassId {
    cell.class.unwrap_or(ClassId(tables.classes.len() as u8))
}

fn rows(field: &Selected, columns: ColumnLayout, tables: &Tables) -> String {
    let mut text = String::new();
    let whole = [0.0, 0.0, field.size.width as f32, field.size.height as f32];
    let [x0, y0, x1, y1] = field.region.map_or(whole, |region| region.xyxy());
    for cell in &field.cells {
        let mut line = LabelLine::from_cell(cell, field.size, number(cell, tables));
        line.patch = Some([x0, x1, y0, y1].map(f64::from));
        line.write(&mut text, columns, &tables.schema)
            .expect("writing to a string cannot fail");
        text.push('\n');
    }
    text
}

fn annotation(cell: &Cell, image: usize, id: usize, tables: &Tables) -> Value {
    // In double precision the sides add up to the corners again.
    let [x0, y0, x1, y1] = cell.bbox.xyxy().map(f64::from);
    let (width, height) = (x1 - x0, y1 - y0);
    let mut map = Map::new();
    map.insert("id".into(), json!(id));
    map.insert("image_id".into(), json!(image));
    map.insert("category_id".into(), json!(number(cell, tables).0));
    map.insert("bbox".into(), json!([x0, y0, width, height]));
    map.insert("area".into(), json!(width * height));
    map.insert("iscrowd".into(), json!(0));
    map.insert("segmentation".into(), json!([]));
    for ((_, attribute), value) in tables.schema.iter().zip(&cell.attributes) {
        let code = value.map_or(Value::Null, |value| json!(value.index()));
        map.insert(attribute.name.to_string(), code);
    }
    Value::Object(map)
}
