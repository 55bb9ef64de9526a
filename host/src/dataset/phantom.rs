//! Data sets of drawn fields, with exact truth: for trials and tests without any real picture.

use std::fs;
use std::path::Path;

use image::RgbImage;
use shared::attribute::{AttributeSchema, LEUKEMIA_ATTRIBUTES, WBCATT_ATTRIBUTES};
use shared::cell::Cell;
use shared::class::{ClassTable, LEUKEMIA_CLASSES, WBCATT_CLASSES};
use shared::phantom::{FieldSpec, PhantomCell, draw_field, leukemia_attributes, wbcatt_attributes};
use shared::pixels::RgbViewMut;

use super::problem::{DataError, ReadReport};
use super::{Dataset, Sample, Split};

/// Whose classes and attributes the truth is told in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhantomSchema {
    /// Fourteen classes, seven attributes.
    Leukemia,
    /// Five classes, eleven attributes; other cells are of unknown class.
    Wbcatt,
}

/// What the fields look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhantomLook {
    /// 640x480, few classes, well stained.
    Demo,
    /// 640x640, squeezed as LeukemiaAttri's.
    Wide,
    /// 224x224, one cell, as the analyser's.
    Analyser,
    /// Stain, camera and size differ from field to field.
    Randomised,
}

/// A set of drawn fields.
#[derive(Clone, Copy, Debug)]
pub struct PhantomPlan {
    /// Fields of train, val and test.
    pub fields: [usize; 3],
    /// First seed: field `i` has seed `seed + i`, and every seed is another slide.
    pub seed: u64,
    /// What they look like.
    pub look: PhantomLook,
    /// What the truth is told in.
    pub schema: PhantomSchema,
}

/// Most white cells of a field that are told; a field has fewer.
const CELLS_MAX: usize = 256;

/// Draws the fields as PNGs into `folder` and returns them as a data set.
///
/// # Errors
/// A field that cannot be drawn, or whatever the disk says.
pub fn draw_phantoms(plan: &PhantomPlan, folder: &Path) -> Result<Dataset, DataError> {
    fs::create_dir_all(folder).map_err(DataError::write(folder))?;
    let refuse = |error: String| DataError::file(folder, error);
    let (classes, schema) = match plan.schema {
        PhantomSchema::Leukemia => (
            ClassTable::new(LEUKEMIA_CLASSES),
            AttributeSchema::new(LEUKEMIA_ATTRIBUTES),
        ),
        PhantomSchema::Wbcatt => (
            ClassTable::new(WBCATT_CLASSES),
            AttributeSchema::new(WBCATT_ATTRIBUTES),
        ),
    };
    let mut data = Dataset {
        name: "phantom".to_owned(),
        classes: classes.map_err(|error| refuse(error.to_string()))?,
        schema: schema.map_err(|error| refuse(error.to_string()))?,
        samples: Vec::new(),
        origins: Vec::new(),
        report: ReadReport {
            format: "drawn fields".to_owned(),
            ..ReadReport::default()
        },
    };
    let splits = Split::ALL.iter().zip(plan.fields);
    let splits = splits.flat_map(|(&split, fields)| std::iter::repeat_n(split, fields));
    for (split, seed) in splits.zip(plan.seed..) {
        let (sample, lost) = draw_one(plan, split, seed, folder)?;
        data.samples.push(sample);
        data.report.drop_many("drawn cell cut by the edge", lost);
    }
    Ok(data)
}

fn draw_one(
    plan: &PhantomPlan,
    split: Split,
    seed: u64,
    folder: &Path,
) -> Result<(Sample, usize), DataError> {
    let spec = match plan.look {
        PhantomLook::Demo => FieldSpec::demo(seed),
        PhantomLook::Wide => FieldSpec::wide(seed),
        PhantomLook::Analyser => FieldSpec::analyser(seed),
        PhantomLook::Randomised => FieldSpec::randomised(seed),
    };
    let path = folder.join(format!("phantom_{seed:06}.png"));
    let refuse = |error: &dyn std::fmt::Display| DataError::file(&path, error);
    let mut picture = RgbImage::new(spec.size.width, spec.size.height);
    let mut view = RgbViewMut::new(&mut picture, spec.size).map_err(|error| refuse(&error))?;
    let mut truth: Box<heapless::Vec<PhantomCell, CELLS_MAX>> = Box::default();
    let drawn =
        draw_field(&spec, &mut view, truth.as_mut_view()).map_err(|error| refuse(&error))?;
    picture.save(&path).map_err(|error| refuse(&error))?;
    let cells = truth.iter().map(|cell| {
        let (class, attributes) = match plan.schema {
            PhantomSchema::Leukemia => {
                let (class, attributes) = leukemia_attributes(&cell.morphology);
                (Some(class), attributes)
            }
            PhantomSchema::Wbcatt => wbcatt_attributes(&cell.morphology),
        };
        Cell {
            bbox: cell.bbox,
            class,
            attributes,
        }
    });
    // WBCAtt has no artefacts: a drawn one is background there, not a white cell.
    let is_truth = |cell: &PhantomCell| {
        plan.schema == PhantomSchema::Leukemia || cell.morphology.artefact.is_none()
    };
    let sample = Sample {
        size: spec.size,
        split,
        group: format!("phantom_{seed:06}"),
        cells: cells
            .zip(truth.iter())
            .filter(|(_, t)| is_truth(t))
            .map(|(cell, _)| cell)
            .collect(),
        region: None,
        image: path,
    };
    Ok((sample, usize::from(drawn.cut) + usize::from(drawn.no_room)))
}
