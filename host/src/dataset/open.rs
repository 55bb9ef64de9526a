//! Opens a data set by what it contains, not by what it is called.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use shared::attribute::AttributeSchema;
use shared::label::ColumnLayout;

use super::coco::{coco_files, open_coco};
use super::join::join;
use super::problem::{Collector, DataError, Mode};
use super::text::{YoloSpec, open_yolo};
use super::voc::{is_voc, open_voc};
use super::wbcatt::{is_wbcatt, open_wbcatt};
use super::yaml::read_data_yaml;
use super::{Dataset, Split};

/// What tells which pictures belong together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupRule {
    /// By patient when the name is LeukemiaAttri's (`15_20_1000_AML`), else every picture by itself.
    #[default]
    Auto,
    /// Every picture by itself.
    Picture,
    /// The part of the file name before the first `_`.
    Prefix,
    /// The folder the picture lies in.
    Folder,
}

/// Names of the file that describes a folder.
const YAML_NAMES: [&str; 3] = ["data.yaml", "data.yml", "dataset.yaml"];

/// How to read.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Refuse or count what is wrong.
    pub mode: Mode,
    /// Boxes found by a detector (`detections.jsonl`) for a set that has none of its own (WBCAtt).
    pub boxes: Option<PathBuf>,
    /// What tells which pictures belong together, where the set does not say.
    pub group: GroupRule,
    /// Class names of a folder of label files without a data YAML; empty = one class, `WBC`.
    pub names: Vec<String>,
    /// Columns of label files whose data YAML does not declare them.
    pub columns: Option<ColumnLayout>,
    /// Attributes of label files whose data YAML does not declare them.
    pub schema: Option<AttributeSchema>,
    /// Classes whose boxes are left out unread, so that what is wrong with them does not matter.
    pub ignore_classes: Vec<String>,
}

impl OpenOptions {
    /// Whether boxes of that class are left out.
    pub(crate) fn ignores(&self, class: &str) -> bool {
        self.ignore_classes.iter().any(|ignored| ignored == class)
    }

    /// Refuses anything that is wrong.
    pub fn strict() -> Self {
        Self {
            mode: Mode::Strict,
            ..Self::default()
        }
    }
}

/// Reads a data YAML, a COCO JSON, or a folder of Pascal VOC, WBCAtt, COCO or label files.
///
/// # Errors
/// Nothing recognisable at `path`, something unreadable, or, in strict mode, anything wrong in it.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Dataset, DataError> {
    let kind = fs::metadata(path).map_err(DataError::io(path))?;
    let is = |extensions: &[&str]| {
        let extension = path.extension().and_then(|e| e.to_str());
        extension.is_some_and(|e| extensions.iter().any(|p| e.eq_ignore_ascii_case(p)))
    };
    if kind.is_file() && is(&["yaml", "yml"]) {
        open_data_yaml(path, options)
    } else if kind.is_file() && is(&["json"]) {
        open_coco(path, options)
    } else if kind.is_dir() {
        open_folder(path, options)
    } else {
        let detail = "expected a folder, a data YAML or a COCO JSON, found something else";
        Err(DataError::file(path, detail))
    }
}

/// Whether [`open`] would know what lies there; a plain folder of pictures is none.
pub fn is_data_set(path: &Path) -> bool {
    !path.is_dir()
        || YAML_NAMES.iter().any(|name| path.join(name).is_file())
        || is_voc(path)
        || is_wbcatt(path)
        || !coco_files(path).is_empty()
        || (path.join("images").is_dir() && path.join("labels").is_dir())
}

fn open_data_yaml(path: &Path, options: &OpenOptions) -> Result<Dataset, DataError> {
    let spec = read_data_yaml(path, options)?;
    open_yolo(spec, options)
}

fn open_folder(folder: &Path, options: &OpenOptions) -> Result<Dataset, DataError> {
    for name in YAML_NAMES {
        let yaml = folder.join(name);
        if yaml.is_file() {
            return open_data_yaml(&yaml, options);
        }
    }
    if is_voc(folder) {
        open_voc(folder, options)
    } else if is_wbcatt(folder) {
        open_wbcatt(folder, options)
    } else if let files @ [_, ..] = coco_files(folder).as_slice() {
        open_coco_files(folder, files, options)
    } else if folder.join("images").is_dir() && folder.join("labels").is_dir() {
        open_yolo(YoloSpec::of_folder(folder, options)?, options)
    } else {
        let detail = "expected data.yaml, Annotations/ and ImageSets/ (Pascal VOC), attributes.csv (WBCAtt), \
                      a COCO JSON, or images/ and labels/; found none of them";
        Err(DataError::file(folder, detail))
    }
}

/// Several JSON files, one a split; a picture that stands in two of them is refused.
fn open_coco_files(
    folder: &Path,
    files: &[PathBuf],
    options: &OpenOptions,
) -> Result<Dataset, DataError> {
    let parts: Result<Vec<_>, _> = files.iter().map(|file| open_coco(file, options)).collect();
    let mut data = join(parts?, None, None, &[])?;
    data.name = folder_name(folder);
    let mut problems = Collector::new(options.mode);
    let mut last: HashMap<PathBuf, Split> = HashMap::new();
    for sample in &data.samples {
        let split = last.entry(sample.image.clone()).or_insert(sample.split);
        *split = sample.split.max(*split);
    }
    data.samples.retain(|sample| {
        let split = last[&sample.image];
        if split != sample.split {
            let detail = format!(
                "expected in one split, found in {} and {split}",
                sample.split
            );
            problems.refuse("picture in two splits", sample.image.display(), detail);
        }
        split == sample.split
    });
    data.report.absorb(problems.finish()?);
    Ok(data)
}

/// The folder's own name, for tables.
pub(crate) fn folder_name(folder: &Path) -> String {
    let absolute = folder
        .canonicalize()
        .unwrap_or_else(|_| folder.to_path_buf());
    let name = absolute
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "data".to_owned())
}

/// Diagnoses that end a LeukemiaAttri file name.
const DIAGNOSES: [&str; 5] = ["ALL", "AML", "CLL", "CML", "APML"];

/// The group of a picture by `rule`.
pub(crate) fn group_of(image: &Path, rule: GroupRule) -> String {
    let stem = image
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned());
    let stem = stem.unwrap_or_default();
    let prefix = stem.split('_').next().unwrap_or_default();
    let is_leukemia = || {
        let numbered = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
        let diagnosis = stem.rsplit('_').next().unwrap_or_default();
        numbered && stem.matches('_').count() >= 3 && DIAGNOSES.contains(&diagnosis)
    };
    match rule {
        GroupRule::Auto if is_leukemia() => prefix.to_owned(),
        GroupRule::Auto | GroupRule::Picture => stem,
        GroupRule::Prefix => prefix.to_owned(),
        GroupRule::Folder => {
            let parent = image.parent().and_then(Path::file_name);
            parent.map_or(stem, |name| name.to_string_lossy().into_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leukemia_field_belongs_to_its_patient_and_any_other_to_itself() {
        for (name, rule, group) in [
            ("15_20_1000_AML.png", GroupRule::Auto, "15"),
            ("7_1_2_3_APML.png", GroupRule::Auto, "7"),
            ("BloodImage_00001.jpg", GroupRule::Auto, "BloodImage_00001"),
            ("15_20_1000_XYZ.png", GroupRule::Auto, "15_20_1000_XYZ"),
            ("15_20_1000_AML.png", GroupRule::Picture, "15_20_1000_AML"),
            ("slide7_x.png", GroupRule::Prefix, "slide7"),
            ("s3/x.png", GroupRule::Folder, "s3"),
        ] {
            assert_eq!(group_of(Path::new(name), rule), group, "{name} {rule:?}");
        }
    }
}
