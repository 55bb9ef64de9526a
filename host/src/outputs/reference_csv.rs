//! `predictions.csv`: truth and prediction of every attribute of every labelled cell.
//!
//! For LeukemiaAttri's schema it is the AttriDet reference's file (attridet.md, 5.1): 13 columns, the
//! six attributes that it trains in its spelling, values as codes. For any other schema the columns
//! are the picture, the schema's attributes, and again with `pred_`; values are names.
//!
//! One row a cell in truth, in the order of the pictures. A cell is compared with the finding that
//! overlaps it by IoU >= 0.5 above the least score; where there is none, the predictions are empty.
//! With the reference's matching it is the finding of largest overlap, whatever it is, and cells
//! that the reference leaves out have no row. An unknown value is empty.

use std::path::Path;

use shared::attribute::{Attribute, AttributeSchema, LEUKEMIA_ATTRIBUTES, ValueId};

use super::{OutputError, write_whole};
use crate::dataset::{Sample, csv_cell, shared_folder};
use crate::score::Partner;

/// The reference's spelling of the attributes after the first (attridet.md, 2.1).
const REFERENCE_NAMES: [&str; 6] = [
    "Nuclear Chromatin",
    "Nuclear Shape",
    "Nucleus",
    "Cytoplasm",
    "Cytoplasmic Basophilia",
    "Cytoplasmic Vacuoles",
];

/// A pair of columns.
struct Column<'a> {
    heading: &'a str,
    index: usize,
    attribute: &'a Attribute,
}

/// How a schema's attributes are listed.
struct Layout<'a> {
    columns: Vec<Column<'a>>,
    codes: bool,
}

impl<'a> Layout<'a> {
    fn of(schema: &'a AttributeSchema) -> Self {
        let column = |heading, index, attribute| Column {
            heading,
            index,
            attribute,
        };
        let is_reference = AttributeSchema::new(LEUKEMIA_ATTRIBUTES).is_ok_and(|s| s == *schema);
        if is_reference {
            let attributes = schema.iter().skip(1).zip(REFERENCE_NAMES);
            let columns = attributes.map(|((id, a), name)| column(name, id.index(), a));
            return Self {
                columns: columns.collect(),
                codes: true,
            };
        }
        let columns = schema.iter().map(|(id, a)| column(&a.name, id.index(), a));
        Self {
            columns: columns.collect(),
            codes: false,
        }
    }

    fn header(&self) -> Vec<String> {
        let truths = self.columns.iter().map(|column| csv_cell(column.heading));
        let found = self.columns.iter().map(|c| format!("pred_{}", c.heading));
        let columns = truths.chain(found);
        std::iter::once("filename".to_owned())
            .chain(columns)
            .collect()
    }

    fn value(&self, column: &Column<'_>, value: Option<ValueId>) -> String {
        match value {
            None => String::new(),
            Some(value) if self.codes => value.index().to_string(),
            Some(value) => csv_cell(column.attribute.value_name(value).unwrap_or_default()),
        }
    }
}

/// Writes the file; `partners` are those of [`crate::score::partners_of_samples`].
///
/// Returns the number of rows.
///
/// # Errors
/// What the disk says.
pub fn write_attribute_csv(
    path: &Path,
    samples: &[&Sample],
    partners: &[Vec<Partner>],
    schema: &AttributeSchema,
) -> Result<usize, OutputError> {
    let layout = Layout::of(schema);
    let root = shared_folder(samples.iter().map(|sample| sample.image.as_path()));
    let mut rows = 0;
    write_whole(path, |out| {
        let mut csv = csv::Writer::from_writer(out);
        csv.write_record(layout.header())?;
        for (sample, partners) in samples.iter().zip(partners) {
            let name = sample.image.strip_prefix(&root).unwrap_or(&sample.image);
            let name = csv_cell(&name.to_string_lossy());
            for (cell, partner) in sample.cells.iter().zip(partners) {
                let found = match partner {
                    Partner::LeftOut => continue,
                    Partner::Missed => None,
                    Partner::Found(detection) => Some(detection),
                };
                let truth = |c: &Column<'_>| layout.value(c, cell.attributes[c.index]);
                let said = |c: &Column<'_>| {
                    let finding = found.and_then(|found| found.attributes[c.index]);
                    layout.value(c, finding.map(|finding| finding.value))
                };
                let mut row = vec![name.clone()];
                row.extend(layout.columns.iter().map(truth));
                row.extend(layout.columns.iter().map(said));
                csv.write_record(row)?;
                rows += 1;
            }
        }
        csv.flush()
    })?;
    Ok(rows)
}
