//! What the pictures of a score show beyond its numbers; not part of `--json`.

use shared::attribute::{AttributeSchema, MAX_ATTRIBUTES, MAX_VALUES, ValueId};
use shared::cell::Detection;
use shared::class::ClassTable;
use shared::differential::ClassSet;
use shared::metrics::attributes::AttributeTally;

use super::counting::{Pairs, above, pairs, value_of};
use super::curves::{Curves, curves};
use super::{Judged, Losses, ScoreError, ScoreOptions, check, pictures, prepare, truths_of};
use crate::dataset::Sample;
use crate::detections::PictureFindings;

/// Curves, attribute confusions and every picture's verdict.
#[derive(Clone, Debug)]
pub struct ScoreDetails {
    /// Against confidence and recall.
    pub curves: Curves,
    /// Over the cells that were found, in the order of the schema.
    pub attributes: Vec<AttributeConfusion>,
    /// In the order of the samples.
    pub pictures: Vec<JudgedPicture>,
}

/// Which value of an attribute was taken for which, over the labelled cells that were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeConfusion {
    /// Its name.
    pub attribute: String,
    /// Names of rows and columns.
    pub values: Vec<String>,
    /// Counts, rows truth, columns found.
    pub rows: Vec<Vec<u32>>,
    /// Cells found without a value, by their true one; all 0 unless the model lacks the attribute.
    pub unsaid: Vec<u32>,
}

/// What became of the cells of a picture, at the least score and overlap.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgedPicture {
    /// Findings at or above the least score, each cell once, best first.
    pub found: Vec<Detection>,
    /// For every cell of the sample the finding on it.
    pub of_truth: Vec<Option<usize>>,
    /// For every finding the cell it lies on.
    pub of_found: Vec<Option<usize>>,
    /// Cells that were not found.
    pub misses: u32,
    /// Findings on no cell.
    pub extras: u32,
    /// Cells found as another class.
    pub confused: u32,
}

impl JudgedPicture {
    /// Everything that is wrong with the picture.
    pub fn faults(&self) -> u32 {
        self.misses + self.extras + self.confused
    }
}

/// Looks closer at what [`super::score_samples`] counts, with the same options.
///
/// # Errors
/// As for [`super::score`].
pub fn score_details(
    samples: &[&Sample],
    findings: &[PictureFindings],
    classes: &ClassTable,
    schema: &AttributeSchema,
    options: &ScoreOptions,
) -> Result<ScoreDetails, ScoreError> {
    let names = super::names_of(samples);
    let truths = truths_of(samples, &names);
    check(&truths, findings, classes, options)?;
    let matched = pictures::put_together(&truths, findings)?;
    let mut losses = Losses::default();
    let judged: Vec<Judged<'_>> = truths
        .iter()
        .zip(&matched.findings_of_truth)
        .map(|(truth, found)| prepare(truth, found.map(|index| &findings[index]), &mut losses))
        .collect();
    let mut tallies = [AttributeTally::default(); MAX_ATTRIBUTES];
    let pictures = judged.iter().map(|picture| {
        let found = above(&picture.once, options.score_min);
        let pairs = pairs(picture.truths, found, options.iou_min);
        tally(picture, found, &pairs, &mut tallies);
        judge(picture, found, pairs)
    });
    Ok(ScoreDetails {
        pictures: pictures.collect(),
        curves: curves(&judged, classes, ClassSet::not_white_cells(classes)),
        attributes: confusions(schema, &tallies),
    })
}

fn tally(picture: &Judged<'_>, found: &[Detection], pairs: &Pairs, tallies: &mut [AttributeTally]) {
    for (truth, partner) in picture.truths.iter().zip(&pairs.of_truth) {
        let Some(partner) = partner else { continue };
        for (index, tally) in tallies.iter_mut().enumerate() {
            tally.add(truth.attributes[index], value_of(&found[*partner], index));
        }
    }
}

fn judge(picture: &Judged<'_>, found: &[Detection], pairs: Pairs) -> JudgedPicture {
    let partners = picture.truths.iter().zip(&pairs.of_truth);
    let confused = partners.filter(|(truth, partner)| {
        let taken_for = partner.map(|index| found[index].class);
        taken_for.is_some_and(|class| truth.class.is_some_and(|truth| truth != class))
    });
    let none = |partners: &[Option<usize>]| partners.iter().filter(|p| p.is_none()).count() as u32;
    JudgedPicture {
        found: found.to_vec(),
        confused: confused.count() as u32,
        misses: none(&pairs.of_truth),
        extras: none(&pairs.of_found),
        of_truth: pairs.of_truth,
        of_found: pairs.of_found,
    }
}

fn confusions(schema: &AttributeSchema, tallies: &[AttributeTally]) -> Vec<AttributeConfusion> {
    let rows = schema.iter().zip(tallies).map(|((_, attribute), tally)| {
        let n = attribute.values.len().min(MAX_VALUES);
        let values: Vec<ValueId> = (0..n).filter_map(ValueId::new).collect();
        AttributeConfusion {
            attribute: attribute.name.to_string(),
            values: attribute.values.iter().map(ToString::to_string).collect(),
            rows: values
                .iter()
                .map(|&truth| values.iter().map(|&found| tally.at(truth, found)).collect())
                .collect(),
            unsaid: values.iter().map(|&truth| tally.missed(truth)).collect(),
        }
    });
    rows.collect()
}
