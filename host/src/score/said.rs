//! What the network said of each cell it counted, and what it was: where class thresholds come from.

use shared::class::{ClassId, ClassTable};

use super::counting::{above, pairs};
use super::{Losses, ScoreError, ScoreOptions, check, names_of, pictures, prepare, truths_of};
use crate::dataset::Sample;
use crate::detections::PictureFindings;

/// What a finding lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// A cell of this class.
    Cell(ClassId),
    /// A white cell of which nobody said the class.
    Unsaid,
    /// Nothing.
    Nothing,
}

/// A counted finding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Said {
    /// The class it was said to be of.
    pub class: ClassId,
    /// With which score, 0..=1.
    pub score: f32,
    /// Where.
    pub on: On,
}

/// All that was counted on the pictures somebody looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SaidCells {
    /// Picture after picture, best first.
    pub said: Vec<Said>,
    /// Cells in truth of each class.
    pub truths: Vec<u32>,
    /// Pictures with truth and findings.
    pub pictures: usize,
    /// Pictures without a line among the findings; their cells are left out.
    pub missing: usize,
    /// Lines of pictures that are not among the samples; they are left out.
    pub unjudged: usize,
}

/// What was said of the cells of `samples`: findings of at least the options' score, each cell once,
/// paired with the truths by overlap whatever the classes.
///
/// # Errors
/// As for [`super::score()`].
pub fn said_of_samples(
    samples: &[&Sample],
    findings: &[PictureFindings],
    classes: &ClassTable,
    options: &ScoreOptions,
) -> Result<SaidCells, ScoreError> {
    let names = names_of(samples);
    let truths = truths_of(samples, &names);
    check(&truths, findings, classes, options)?;
    let matched = pictures::put_together(&truths, findings)?;
    let mut out = SaidCells {
        truths: vec![0; classes.len()],
        missing: matched.without_findings().count(),
        unjudged: matched.without_truth.len(),
        ..SaidCells::default()
    };
    for (truth, found) in truths.iter().zip(&matched.findings_of_truth) {
        let Some(found) = found.map(|index| &findings[index]) else {
            continue;
        };
        out.pictures += 1;
        let judged = prepare(truth, Some(found), &mut Losses::default());
        for class in truth.cells.iter().filter_map(|cell| cell.class) {
            out.truths[class.index()] += 1;
        }
        let found = above(&judged.once, options.score_min);
        let partners = pairs(judged.truths, found, options.iou_min).of_found;
        out.said
            .extend(found.iter().zip(partners).map(|(finding, partner)| Said {
                class: finding.class,
                score: finding.score.get(),
                on: match partner.map(|index| judged.truths[index].class) {
                    None => On::Nothing,
                    Some(None) => On::Unsaid,
                    Some(Some(class)) => On::Cell(class),
                },
            }));
    }
    Ok(out)
}
