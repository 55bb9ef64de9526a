//! Label files, one a picture: `images/train/a.jpg` has `labels/train/a.txt`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};

use shared::attribute::{AttributeSchema, NO_ATTRIBUTES};
use shared::cell::Cell;
use shared::class::{ClassId, ClassTable, LEUKEMIA_CLASSES};
use shared::geometry::{BBox, Image, Size};
use shared::label::{ColumnLayout, LabelLine};

use super::bounded::{SMALL_MAX, read_text};
use super::open::{OpenOptions, folder_name, group_of};
use super::origin::Origin;
use super::problem::{Collector, DataError, Problem};
use super::scan::{detail_of, is_picture_name, list_pictures, picture_size};
use super::voc::{IGNORED, clip};
use super::write::text_of_csv_cell;
use super::{Dataset, Sample, Split};

/// The code of every attribute of an artefact in LeukemiaAttri's label files (attridet.md, 2.1).
const NOT_APPLICABLE: &str = "2";

/// Where label files lie unless the data YAML says otherwise.
pub(crate) const LABELS: &str = "labels";

/// What a data YAML, or the options in its place, say.
#[derive(Debug)]
pub(crate) struct YoloSpec {
    /// The YAML or the folder, for messages.
    pub file: PathBuf,
    /// For tables.
    pub name: String,
    /// Folders or list files of each split.
    pub folders: Vec<(Split, PathBuf)>,
    /// What stands for the folder `images` in the paths of label files.
    pub labels: String,
    /// Class names by the numbers in the label files.
    pub names: Vec<String>,
    /// Attributes in the order of their columns.
    pub schema: AttributeSchema,
    /// What the columns are.
    pub columns: ColumnLayout,
    /// The class name that means "white cell, class unknown".
    pub unclassified: Option<String>,
    /// CSV `image,group`.
    pub groups: Option<PathBuf>,
    /// A count that contradicts itself.
    pub problem: Option<Problem>,
    /// Licence, citation and domains.
    pub origin: Origin,
    /// Ignored keys.
    pub notes: Vec<String>,
}

impl YoloSpec {
    /// A folder with `images/{train,val,valid,test}` and no YAML: everything else from the options.
    pub(crate) fn of_folder(folder: &Path, options: &OpenOptions) -> Result<Self, DataError> {
        let mut folders = Vec::new();
        for name in ["train", "val", "valid", "test"] {
            let pictures = folder.join("images").join(name);
            if let (true, Some(split)) = (pictures.is_dir(), Split::from_name(name)) {
                folders.push((split, pictures));
            }
        }
        if folders.is_empty() {
            let detail = "expected images/train, images/val or images/test, found none";
            return Err(DataError::file(folder, detail));
        }
        let names = if options.names.is_empty() {
            vec!["WBC".to_owned()]
        } else {
            options.names.clone()
        };
        Ok(Self {
            file: folder.to_path_buf(),
            name: folder_name(folder),
            folders,
            labels: LABELS.to_owned(),
            names,
            schema: options.schema.clone().unwrap_or_default(),
            columns: options.columns.unwrap_or(ColumnLayout::Box),
            unclassified: None,
            groups: None,
            problem: None,
            origin: Origin {
                name: folder_name(folder),
                ..Origin::default()
            },
            notes: Vec::new(),
        })
    }
}

/// Class numbers of the files -> classes of the table; `None` = class unknown.
pub(crate) struct ClassMap {
    pub(crate) table: ClassTable,
    pub(crate) classes: Vec<Option<ClassId>>,
}

impl ClassMap {
    /// `unclassified` stays out of the table, unless nothing else is in it.
    pub(crate) fn new(names: &[String], unclassified: Option<&str>) -> Result<Self, String> {
        if let Some(name) = unclassified.filter(|u| !names.iter().any(|name| name == u)) {
            return Err(format!(
                "unclassified: expected one of the names, found {name:?}"
            ));
        }
        // All names together must be usable, so that no two numbers mean the same.
        let all = ClassTable::new(names.iter().map(String::as_str));
        let all = all.map_err(|error| format!("names: {error}"))?;
        let known = names.iter().map(String::as_str);
        let known = known.filter(|name| Some(*name) != unclassified);
        let table = ClassTable::new(known).unwrap_or(all);
        let find = |name: &String| {
            let name = Some(name.as_str()).filter(|name| Some(*name) != unclassified);
            name.and_then(|name| table.find(name))
        };
        let classes = names.iter().map(find).collect();
        Ok(Self { table, classes })
    }
}

struct Reader<'a> {
    spec: &'a YoloSpec,
    classes: &'a [Option<ClassId>],
    options: &'a OpenOptions,
    problems: Collector,
}

/// Reads every picture of every split with its label file.
pub(crate) fn open_yolo(spec: YoloSpec, options: &OpenOptions) -> Result<Dataset, DataError> {
    let mut problems = Collector::new(options.mode);
    spec.notes
        .iter()
        .for_each(|note| problems.note(note.clone()));
    if let Some(problem) = &spec.problem {
        problems.refuse(problem.reason, &problem.place, &problem.detail);
    }
    let map = ClassMap::new(&spec.names, spec.unclassified.as_deref());
    let map = map.map_err(|detail| DataError::file(&spec.file, detail))?;
    let groups = spec.groups.as_deref().map(read_groups).transpose()?;
    let mut reader = Reader {
        spec: &spec,
        classes: &map.classes,
        options,
        problems,
    };
    let pictures = reader.pictures()?;
    reader.count_orphans(&pictures);
    let mut samples = Vec::new();
    for (image, split) in pictures {
        let Some(mut sample) = reader.sample(&image, split) else {
            continue;
        };
        let name = image.file_name().and_then(|name| name.to_str());
        let group = groups
            .as_ref()
            .zip(name)
            .and_then(|(groups, name)| groups.get(name));
        if let Some(group) = group {
            sample.group.clone_from(group);
        }
        samples.push(sample);
    }
    let mut report = reader.problems.finish()?;
    let columns = spec.columns.columns(&spec.schema);
    report.format = format!("label files, columns: {} ({columns})", spec.columns);
    Ok(Dataset {
        name: spec.name,
        classes: map.table,
        schema: spec.schema,
        samples,
        origins: vec![spec.origin],
        report,
    })
}

impl Reader<'_> {
    /// Picture -> split; one that stands in two splits is refused in the earlier one.
    fn pictures(&mut self) -> Result<BTreeMap<PathBuf, Split>, DataError> {
        let mut pictures = BTreeMap::new();
        for (split, source) in &self.spec.folders {
            let found = if source.is_dir() {
                list_pictures(source, &mut self.problems)?
            } else {
                self.listed(source)?
            };
            for image in found {
                let place = image.display().to_string();
                let earlier = pictures.insert(image, *split);
                if let Some(earlier) = earlier.filter(|earlier| earlier != split) {
                    let detail = format!("expected in one split, found in {earlier} and {split}");
                    self.problems.refuse("picture in two splits", place, detail);
                }
            }
        }
        Ok(pictures)
    }

    /// Pictures named in a list file, one a line.
    fn listed(&mut self, list: &Path) -> Result<Vec<PathBuf>, DataError> {
        let folder = list.parent().unwrap_or(Path::new("."));
        let mut found = Vec::new();
        for (index, line) in read_text(list, SMALL_MAX)?.lines().enumerate() {
            let line = line.trim();
            let path = folder.join(line.strip_prefix("./").unwrap_or(line));
            if line.is_empty() {
                continue;
            }
            if is_picture_name(&path) && path.is_file() {
                found.push(path);
            } else {
                let place = format!("{}:{}", list.display(), index + 1);
                let detail = format!("expected a JPEG or PNG file, found none at {line:?}");
                self.problems.refuse("missing picture", place, detail);
            }
        }
        Ok(found)
    }

    fn labels_of(&self, image: &Path) -> Option<PathBuf> {
        labels_of(image, &self.spec.labels)
    }

    /// Label files to which there is no picture.
    fn count_orphans(&mut self, pictures: &BTreeMap<PathBuf, Split>) {
        let labels: BTreeSet<PathBuf> = pictures.keys().filter_map(|i| self.labels_of(i)).collect();
        let folders: BTreeSet<&Path> = labels.iter().filter_map(|label| label.parent()).collect();
        for entry in folders
            .into_iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
        {
            let Ok(path) = entry.map(|entry| entry.path()) else {
                continue;
            };
            let is_text = path.extension().is_some_and(|e| e == "txt");
            if is_text && !labels.contains(&path) {
                let detail = "expected a picture of that name, found none";
                self.problems
                    .refuse("label file without a picture", path.display(), detail);
            }
        }
    }

    fn sample(&mut self, image: &Path, split: Split) -> Option<Sample> {
        let size = picture_size(image, &mut self.problems)?;
        let Some(labels) = self.labels_of(image) else {
            let detail = "expected a folder called images in the path, found none";
            self.problems
                .refuse("missing label file", image.display(), detail);
            return None;
        };
        if !labels.exists() {
            let detail = "expected a label file (an empty one means: no cells), found none";
            self.problems
                .refuse("missing label file", labels.display(), detail);
            return None;
        }
        let (cells, region) = self.cells(&labels, size)?;
        Some(Sample {
            image: image.to_path_buf(),
            size,
            split,
            group: group_of(image, self.options.group),
            cells,
            region,
        })
    }

    #[allow(clippy::type_complexity)]
    fn cells(&mut self, labels: &Path, size: Size) -> Option<(Vec<Cell>, Option<BBox<Image>>)> {
        let text = match read_text(labels, SMALL_MAX) {
            Ok(text) => text,
            Err(error) => {
                self.problems
                    .refuse("unreadable label file", labels.display(), detail_of(error));
                return None;
            }
        };
        let mut rows: HashMap<&str, usize> = HashMap::new();
        let (mut cells, mut region) = (Vec::new(), None);
        for (index, row) in text.lines().enumerate() {
            let row = row.trim();
            if row.is_empty() {
                continue;
            }
            let place = format!("{}:{}", labels.display(), index + 1);
            if let Some(first) = rows.insert(row, index + 1) {
                let detail = format!("expected each row once, found the same on line {first}");
                self.problems.refuse("row that stands twice", place, detail);
                continue;
            }
            if self.is_ignored(row) {
                self.problems.leave_out(IGNORED, 1);
            } else if let Some((cell, patch)) = self.cell(row, size, &place) {
                if patch.is_some() && *region.get_or_insert(patch) != patch {
                    let detail =
                        "fields 6 to 9: expected the same patch on every row, found another";
                    self.problems.refuse("another patch", place, detail);
                    continue;
                }
                cells.push(cell);
            }
        }
        let region = region.flatten();
        if self.spec.columns == ColumnLayout::PatchAttributes && region.is_none() {
            self.problems
                .leave_out("picture of a sparse set without a patch", 1);
            return None;
        }
        let whole = BBox::from_corners(0.0, 0.0, size.width as f32, size.height as f32);
        let region = region.and_then(|region| region.clipped(size));
        Some((cells, region.filter(|_| region != whole)))
    }

    fn cell(&mut self, row: &str, size: Size, place: &str) -> Option<(Cell, Option<BBox<Image>>)> {
        let (columns, schema) = (self.spec.columns, &self.spec.schema);
        let line = match LabelLine::parse(row, columns, schema, self.classes.len()) {
            Ok(line) => line,
            Err(error) => {
                self.problems
                    .refuse("label row", place, format!("{error}{}", self.hint(row)));
                return None;
            }
        };
        let Some(bbox) = line.bbox(size).and_then(|bbox| clip(bbox, size)) else {
            let [cx, cy] = line.centre;
            let [w, h] = line.size;
            let detail = format!(
                "fields 2 to 5: expected a box inside the picture, found {cx} {cy} {w} {h}"
            );
            self.problems
                .refuse("box outside the picture", place, detail);
            return None;
        };
        let class = self.classes.get(line.class.index()).copied().flatten();
        let attributes = if self.is_artefact(line.class) && says_nothing(row, columns) {
            NO_ATTRIBUTES
        } else {
            line.attributes
        };
        Some((
            Cell {
                bbox,
                class,
                attributes,
            },
            line.patch_bbox(),
        ))
    }

    fn is_artefact(&self, class: ClassId) -> bool {
        let name = self.spec.names.get(class.index());
        name.is_some_and(|name| name == LEUKEMIA_CLASSES[0])
    }

    fn is_ignored(&self, row: &str) -> bool {
        let class = row
            .split_ascii_whitespace()
            .next()
            .and_then(|class| class.parse().ok());
        let name = class.and_then(|class: usize| self.spec.names.get(class));
        name.is_some_and(|name| self.options.ignores(name))
    }

    /// What to do about columns that nobody declared.
    fn hint(&self, row: &str) -> String {
        let got = row.split_ascii_whitespace().count();
        if self.spec.columns == ColumnLayout::Box && [11, 12, 16].contains(&got) {
            let file = self.spec.file.display();
            format!(" (declare columns and attributes in {file}: {got} columns are never guessed)")
        } else {
            String::new()
        }
    }
}

/// Whether every attribute's code is LeukemiaAttri's "not applicable", which as a size means "large".
fn says_nothing(row: &str, columns: ColumnLayout) -> bool {
    let mut codes = row.split_ascii_whitespace().skip(columns.lead()).peekable();
    codes.peek().is_some() && codes.all(|code| code == NOT_APPLICABLE)
}

/// `.../images/a/b.jpg` -> `.../labels/a/b.txt`, or another `folder` instead of `labels`: the last one called
/// `images` (LeukemiaAttri has `Images` too) counts.
fn labels_of(image: &Path, folder: &str) -> Option<PathBuf> {
    let parts: Vec<Component<'_>> = image.components().collect();
    let at = parts
        .iter()
        .rposition(|part| part.as_os_str().eq_ignore_ascii_case("images"))?;
    let mut labels: PathBuf = parts[..at].iter().collect();
    labels.push(folder);
    labels.extend(&parts[at + 1..]);
    labels.set_extension("txt");
    Some(labels)
}

fn read_groups(path: &Path) -> Result<HashMap<String, String>, DataError> {
    let text = read_text(path, SMALL_MAX)?;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let mut groups = HashMap::new();
    for row in reader.records() {
        let row = row.map_err(|error| DataError::file(path, error))?;
        if let (Some(image), Some(group)) = (row.get(0), row.get(1)) {
            let text = |cell| text_of_csv_cell(cell).to_owned();
            groups.insert(text(image), text(group));
        }
    }
    Ok(groups)
}
