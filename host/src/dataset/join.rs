//! Several data sets under one table of classes and one schema.

use shared::attribute::{AttributeId, AttributeSchema, Attributes, NO_ATTRIBUTES, ValueId};
use shared::cell::Cell;
use shared::class::{ClassId, ClassTable};

use super::problem::{DataError, ReadReport};
use super::{Dataset, Origin};

/// The class name that says no more than "white cell".
const WHITE_CELL: &str = "WBC";

/// What becomes of a class of a part.
#[derive(Clone, Copy)]
enum ClassFate {
    Known(ClassId),
    Unclassified,
    Ignored,
}

/// Joins `parts` under `classes` and `schema` (the first part's unless given).
///
/// Names must be equal letter by letter. A class `WBC` that the table does not have becomes "white
/// cell, class unknown"; boxes of `ignore_classes` are left out and counted; attributes and values
/// the schema does not have are forgotten and counted.
///
/// # Errors
/// No parts, a class that is neither in the table nor ignored, or nothing left in the table.
pub fn join(
    parts: Vec<Dataset>,
    classes: Option<&ClassTable>,
    schema: Option<&AttributeSchema>,
    ignore_classes: &[String],
) -> Result<Dataset, DataError> {
    let Some(first) = parts.first() else {
        return Err(DataError::Join {
            name: "join".to_owned(),
            detail: "expected at least one data set, found none".to_owned(),
        });
    };
    let classes = match classes {
        Some(classes) => classes.clone(),
        None => without_ignored(first, ignore_classes)?,
    };
    let schema = schema.unwrap_or(&first.schema).clone();
    let mut joined = Dataset {
        name: String::new(),
        classes,
        schema,
        samples: Vec::new(),
        origins: Vec::new(),
        report: ReadReport::default(),
    };
    let mut formats = Vec::new();
    for mut part in parts {
        let fates = class_fates(&part, &joined.classes, ignore_classes)?;
        let values = ValueMap::new(&part.schema, &joined.schema);
        let mut report = std::mem::take(&mut part.report);
        formats.push(format!("{} ({})", part.name, report.format));
        let (mut boxes, mut forgotten) = (0, 0);
        for sample in &mut part.samples {
            let before = sample.cells.len();
            sample
                .cells
                .retain_mut(|cell| keep(cell, &fates, &values, &mut forgotten));
            boxes += before - sample.cells.len();
        }
        report.drop_many(&format!("{}: box of an ignored class", part.name), boxes);
        report.drop_many(
            &format!("{}: attribute value not in the schema", part.name),
            forgotten,
        );
        joined.report.absorb(report);
        if !joined.name.is_empty() {
            joined.name.push('+');
        }
        joined.name.push_str(&part.name);
        joined.origins.append(&mut origins_of(&mut part));
        joined.samples.append(&mut part.samples);
    }
    joined.report.format = formats.join(" + ");
    joined.samples.sort_by(|a, b| a.image.cmp(&b.image));
    Ok(joined)
}

/// Where a part comes from: itself, unless it is joined already.
fn origins_of(part: &mut Dataset) -> Vec<Origin> {
    let mut origins = std::mem::take(&mut part.origins);
    if origins.is_empty() {
        origins.push(Origin {
            name: part.name.clone(),
            ..Origin::default()
        });
    }
    if let [only] = origins.as_mut_slice() {
        only.pictures = part.split_counts();
    }
    origins
}

fn without_ignored(first: &Dataset, ignore: &[String]) -> Result<ClassTable, DataError> {
    let names = first.classes.iter().map(|(_, name)| name);
    let kept = names.filter(|name| !ignore.iter().any(|ignored| ignored == name));
    ClassTable::new(kept).map_err(|error| DataError::Join {
        name: first.name.clone(),
        detail: format!("after the ignored classes: {error}"),
    })
}

fn class_fates(
    part: &Dataset,
    target: &ClassTable,
    ignore: &[String],
) -> Result<Vec<ClassFate>, DataError> {
    let fate = |name: &str| {
        if ignore.iter().any(|ignored| ignored == name) {
            Ok(ClassFate::Ignored)
        } else if let Some(class) = target.find(name) {
            Ok(ClassFate::Known(class))
        } else if name == WHITE_CELL {
            Ok(ClassFate::Unclassified)
        } else {
            let known: Vec<&str> = target.iter().map(|(_, name)| name).collect();
            Err(DataError::Join {
                name: part.name.clone(),
                detail: format!(
                    "expected a class of {known:?} or one that is ignored, found {name:?}"
                ),
            })
        }
    };
    part.classes.iter().map(|(_, name)| fate(name)).collect()
}

/// Where each value of a part stands in the target.
struct ValueMap {
    /// By attribute of the part: its place in the target and the target's value by the part's.
    attributes: Vec<Option<(AttributeId, Vec<Option<ValueId>>)>>,
}

impl ValueMap {
    fn new(part: &AttributeSchema, target: &AttributeSchema) -> Self {
        let place = |attribute: &shared::attribute::Attribute| {
            let (id, known) = target.find(&attribute.name)?;
            let values = attribute
                .values
                .iter()
                .map(|value| known.find(value))
                .collect();
            Some((id, values))
        };
        Self {
            attributes: part.iter().map(|(_, attribute)| place(attribute)).collect(),
        }
    }

    fn map(&self, attributes: &Attributes, forgotten: &mut usize) -> Attributes {
        let mut mapped = NO_ATTRIBUTES;
        for (place, value) in self.attributes.iter().zip(attributes) {
            let Some(value) = value else {
                continue;
            };
            let found = place
                .as_ref()
                .and_then(|(id, values)| Some((id, (*values.get(value.index())?)?)));
            match found {
                Some((id, value)) => mapped[id.index()] = Some(value),
                None => *forgotten += 1,
            }
        }
        mapped
    }
}

/// Renames a cell; `false` when its class is ignored.
fn keep(cell: &mut Cell, fates: &[ClassFate], values: &ValueMap, forgotten: &mut usize) -> bool {
    let fate = match cell.class {
        Some(class) => fates.get(class.index()).copied(),
        None => None,
    };
    cell.class = match fate {
        Some(ClassFate::Ignored) => return false,
        Some(ClassFate::Known(class)) => Some(class),
        Some(ClassFate::Unclassified) | None => None,
    };
    cell.attributes = values.map(&cell.attributes, forgotten);
    true
}
