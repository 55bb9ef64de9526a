//! What is said of each truth: the rows behind the attribute scores, for files that list them.

use shared::attribute::AttributeSchema;
use shared::cell::Detection;
use shared::metrics::matching::{best_first, one_finding_a_cell};

use super::counting::{above, pairs, reference_partner};
use super::{Losses, ScoreError, ScoreOptions, TruthPicture, pictures, prepare};
use crate::detections::PictureFindings;

/// Whose attributes are compared with a cell's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Partner {
    /// This finding's.
    Found(Detection),
    /// Nobody's: the cell was missed.
    Missed,
    /// The reference's matching looks at no such cell: one of its attributes is not labelled, or
    /// nothing was found on the picture.
    LeftOut,
}

/// Of each cell of each picture the partner that [`score`](super::score()) compares it with: end to
/// end, or, with [`ScoreOptions::reference_matching`], by the reference's rule.
///
/// # Errors
/// A picture that stands twice or has two sizes.
pub fn partners(
    truths: &[TruthPicture<'_>],
    findings: &[PictureFindings],
    schema: &AttributeSchema,
    options: &ScoreOptions,
) -> Result<Vec<Vec<Partner>>, ScoreError> {
    let matched = pictures::put_together(truths, findings)?;
    let pictures = truths.iter().zip(&matched.findings_of_truth);
    let of_picture = |(truth, found): (&TruthPicture<'_>, &Option<usize>)| {
        let found = found.map(|index| &findings[index]);
        let judged = prepare(truth, found, &mut Losses::default());
        if options.reference_matching {
            let partner = |cell| {
                let index = reference_partner(cell, &judged.all, schema.len());
                index.map_or(Partner::LeftOut, |index| Partner::Found(judged.all[index]))
            };
            return judged.truths.iter().map(partner).collect();
        }
        let found = above(&judged.once, options.score_min);
        let partners = pairs(judged.truths, found, options.iou_min).of_truth;
        let partner =
            |index: Option<usize>| index.map_or(Partner::Missed, |i| Partner::Found(found[i]));
        partners.into_iter().map(partner).collect()
    };
    Ok(pictures.map(of_picture).collect())
}

/// What counts as a cell of a picture: of at least `score_min`, every cell once, best first.
pub fn counted(found: &PictureFindings, score_min: f32) -> Vec<Detection> {
    let mut all = found.detections.clone();
    all.sort_by(best_first);
    if found.thresholds.across_classes {
        return above(&all, score_min).to_vec();
    }
    let mut kept = vec![0; all.len()];
    let n = one_finding_a_cell(&all, found.thresholds.iou, &mut kept);
    let once: Vec<Detection> = kept[..n].iter().map(|&index| all[index]).collect();
    above(&once, score_min).to_vec()
}
