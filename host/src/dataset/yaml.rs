//! The data YAML: which folders, which names, and what stands in the label columns.
//!
//! Keys beyond those below are listed and ignored; nothing is downloaded or executed.
//!
//! `labels` names the folder of the label files where it is not called that: `labels: txt_labels/AttriDet`
//! makes `images/train/a.png` have `txt_labels/AttriDet/train/a.txt`.
//!
//! For model cards a set may say more of itself: `licence`, `citation`, and `domains`, the
//! microscopes, cameras or sites that results are told apart by. A domain is a name and the
//! beginnings of the paths of its pictures below `path`, one or a list:
//!
//! ```yaml
//! licence: CC BY 4.0
//! citation: doi 10.1016/j.dib.2020.105474
//! domains:
//!   H_100X_C2: [images/train/H_100X_C2, images/test/H_100X_C2]
//!   phone: images/test/phone_
//! ```

use std::path::{Path, PathBuf};

use serde_yaml_ng::Value;
use shared::attribute::{AttributeSchema, LEUKEMIA_ATTRIBUTES, WBCATT_ATTRIBUTES};
use shared::label::ColumnLayout;

use super::Split;
use super::bounded::read_text;
use super::open::{OpenOptions, folder_name};
use super::origin::{Domain, Origin, plain};
use super::problem::{DataError, Problem};
use super::text::{LABELS, YoloSpec};

/// Largest data YAML that is read, in bytes.
const YAML_MAX: u64 = 1 << 20;

/// Keys that mean something here.
const KNOWN: [&str; 17] = [
    "path",
    "train",
    "val",
    "test",
    "labels",
    "names",
    "nc",
    "attributes",
    "columns",
    "unclassified",
    "groups",
    "name",
    "valid",
    "licence",
    "license",
    "citation",
    "domains",
];

/// Reads and checks the YAML; folders are not looked into yet.
pub(crate) fn read_data_yaml(path: &Path, options: &OpenOptions) -> Result<YoloSpec, DataError> {
    let text = read_text(path, YAML_MAX)?;
    let root: Value =
        serde_yaml_ng::from_str(&text).map_err(|error| DataError::file(path, error))?;
    spec_of(path, &root, options).map_err(|detail| DataError::file(path, detail))
}

fn spec_of(path: &Path, root: &Value, options: &OpenOptions) -> Result<YoloSpec, String> {
    if !root.is_mapping() {
        return Err("expected keys and values, found something else".to_owned());
    }
    let key = |name: &str| root.get(name).filter(|value| !value.is_null());
    let text = |name: &str| key(name).map(|value| string(value, name)).transpose();
    let folder = path.parent().unwrap_or(Path::new("."));
    let base = text("path")?.map_or(folder.to_path_buf(), |base| folder.join(base));
    let name = text("name")?.unwrap_or_else(|| folder_name(folder));
    let licence = text("licence")?.map_or_else(|| text("license"), |said| Ok(Some(said)))?;
    let origin = Origin {
        name: name.clone(),
        licence,
        citation: text("citation")?,
        domains: key("domains").map_or(Ok(Vec::new()), |value| domains(value, &base))?,
        ..Origin::default()
    };
    let mut notes = Vec::new();
    let folders = split_folders(root, &base, folder, &mut notes)?;
    let names = names(key("names").ok_or("expected names, found none")?)?;
    let schema = match key("attributes") {
        Some(value) => schema(value)?,
        None => options.schema.clone().unwrap_or_default(),
    };
    let columns = match key("columns") {
        Some(value) => columns(value)?,
        None => options.columns.unwrap_or(ColumnLayout::Box),
    };
    notes.extend(ignored_keys(root));
    Ok(YoloSpec {
        file: path.to_path_buf(),
        name,
        origin,
        folders,
        labels: text("labels")?.unwrap_or_else(|| LABELS.to_owned()),
        problem: key("nc").and_then(|nc| wrong_count(path, nc, names.len())),
        names,
        schema,
        columns,
        unclassified: text("unclassified")?,
        groups: text("groups")?.map(|groups| folder.join(groups)),
        notes,
    })
}

/// Folders or list files of each split.
fn split_folders(
    root: &Value,
    base: &Path,
    folder: &Path,
    notes: &mut Vec<String>,
) -> Result<Vec<(Split, PathBuf)>, String> {
    let mut folders = Vec::new();
    for (name, split) in [
        ("train", Split::Train),
        ("val", Split::Val),
        ("valid", Split::Val),
        ("test", Split::Test),
    ] {
        let Some(value) = root.get(name).filter(|value| !value.is_null()) else {
            continue;
        };
        for entry in strings(value, name)? {
            folders.push((split, resolve(base, folder, &entry, name, notes)?));
        }
    }
    Ok(folders)
}

/// Names, and where the pictures of each lie.
fn domains(value: &Value, base: &Path) -> Result<Vec<Domain>, String> {
    let Some(dict) = value.as_mapping() else {
        return Err(format!(
            "domains: expected names with beginnings of paths, found {value:?}"
        ));
    };
    let domain = |(name, prefixes): (&Value, &Value)| {
        let name = scalar(name).map_err(|error| format!("domains: {error}"))?;
        let prefixes = strings(prefixes, &format!("domains: {name}"))?;
        if prefixes.is_empty() || prefixes.iter().any(String::is_empty) {
            return Err(format!(
                "domains: {name}: expected beginnings of paths, found an empty one or none"
            ));
        }
        Ok(Domain {
            name,
            prefixes: prefixes.iter().map(|p| plain(&base.join(p))).collect(),
        })
    };
    dict.iter().map(domain).collect()
}

fn ignored_keys(root: &Value) -> Vec<String> {
    let keys = root
        .as_mapping()
        .into_iter()
        .flat_map(|mapping| mapping.keys());
    let unknown = keys.filter_map(|key| match key.as_str() {
        Some(name) if KNOWN.contains(&name) => None,
        Some("download") => Some("key download: ignored, nothing is executed".to_owned()),
        Some(name) => Some(format!("key {name:?}: ignored")),
        None => Some(format!("key {key:?}: ignored")),
    });
    unknown.collect()
}

fn wrong_count(path: &Path, nc: &Value, names: usize) -> Option<Problem> {
    (nc.as_u64() != Some(names as u64)).then(|| Problem {
        place: path.display().to_string(),
        reason: "nc differs from the names",
        detail: format!("nc: expected {names} as there are names, found {nc:?}"),
    })
}

/// Where a split lies: beside `path`, or, for `../train` written beside `train`, one level down.
fn resolve(
    base: &Path,
    folder: &Path,
    entry: &str,
    key: &str,
    notes: &mut Vec<String>,
) -> Result<PathBuf, String> {
    let plain = base.join(entry);
    if plain.exists() {
        return Ok(plain);
    }
    let stripped = entry.trim_start_matches("../");
    for base in [base, folder] {
        let below = base.join(stripped);
        if below.exists() {
            notes.push(format!(
                "{key}: {entry:?} read as {:?}",
                below.display().to_string()
            ));
            return Ok(below);
        }
    }
    Err(format!(
        "{key}: expected a folder or a list, found nothing at {}",
        plain.display()
    ))
}

fn string(value: &Value, key: &str) -> Result<String, String> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| format!("{key}: expected text, found {value:?}"))
}

fn strings(value: &Value, key: &str) -> Result<Vec<String>, String> {
    match value.as_sequence() {
        Some(list) => list.iter().map(|entry| string(entry, key)).collect(),
        None => Ok(vec![string(value, key)?]),
    }
}

/// A scalar as the text it stands for: names may be numbers or `no`.
fn scalar(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        other => Err(format!("expected a name, found {other:?}")),
    }
}

/// Names as a list or as a dict from 0 upwards.
fn names(value: &Value) -> Result<Vec<String>, String> {
    let wrong = |error| format!("names: {error}");
    if let Some(list) = value.as_sequence() {
        return list
            .iter()
            .map(|name| scalar(name).map_err(wrong))
            .collect();
    }
    let Some(dict) = value.as_mapping() else {
        return Err(format!("names: expected a list or a dict, found {value:?}"));
    };
    let mut names = vec![None; dict.len()];
    for (key, name) in dict {
        let number = match key {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64().and_then(|n| usize::try_from(n).ok()),
        };
        let slot = number
            .and_then(|n| names.get_mut(n))
            .filter(|slot| slot.is_none());
        let Some(slot) = slot else {
            let count = dict.len();
            return Err(format!(
                "names: expected each key in 0..{count} once, found {key:?}"
            ));
        };
        *slot = Some(scalar(name).map_err(wrong)?);
    }
    Ok(names.into_iter().flatten().collect())
}

fn columns(value: &Value) -> Result<ColumnLayout, String> {
    serde_yaml_ng::from_value(value.clone()).map_err(|_| {
        format!(
            "columns: expected box, attributes, attributes_without_first or patch_attributes, found {value:?}"
        )
    })
}

/// A list of `{name, values}`, or the name of a schema this software knows.
fn schema(value: &Value) -> Result<AttributeSchema, String> {
    if let Some(name) = value.as_str() {
        return known_schema(name).ok_or_else(|| {
            format!("attributes: expected leukemiaattri, wbcatt or a list, found {name:?}")
        });
    }
    let list = value.as_sequence();
    let list = list.ok_or_else(|| format!("attributes: expected a list, found {value:?}"))?;
    let mut attributes: Vec<(String, Vec<String>)> = Vec::new();
    for (index, entry) in list.iter().enumerate() {
        let wrong = |detail: String| format!("attributes: entry {index}: {detail}");
        let name = entry
            .get("name")
            .ok_or_else(|| wrong("expected name, found none".into()))?;
        let values = entry.get("values").and_then(Value::as_sequence);
        let values = values.ok_or_else(|| wrong("expected a list of values, found none".into()))?;
        let values: Result<Vec<_>, _> = values.iter().map(scalar).collect();
        attributes.push((scalar(name).map_err(wrong)?, values.map_err(wrong)?));
    }
    schema_of(&attributes)
}

/// A schema from owned names.
pub(crate) fn schema_of(attributes: &[(String, Vec<String>)]) -> Result<AttributeSchema, String> {
    let borrowed: Vec<(&str, Vec<&str>)> = attributes
        .iter()
        .map(|(name, values)| (name.as_str(), values.iter().map(String::as_str).collect()))
        .collect();
    let entries = borrowed
        .iter()
        .map(|(name, values)| (*name, values.as_slice()));
    AttributeSchema::new(entries).map_err(|error| error.to_string())
}

/// The schema of that name, if this software knows it.
pub(crate) fn known_schema(name: &str) -> Option<AttributeSchema> {
    match name {
        "leukemiaattri" => AttributeSchema::new(LEUKEMIA_ATTRIBUTES).ok(),
        "wbcatt" => AttributeSchema::new(WBCATT_ATTRIBUTES).ok(),
        _ => None,
    }
}
