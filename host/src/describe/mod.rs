//! What a model's contract says of its classes and its pictures, measured on data.
//!
//! [`looks`] gathers what the training pictures look like, [`class_scores`] finds for each class the
//! score from which on it may be said. Nothing here names torch: what the model finds was written by
//! whoever ran it.

mod class_scores;
mod looks;
mod table;
#[cfg(test)]
mod tests;

use serde::Serialize;
use shared::contract::{CONTRACT_VERSION, ModelContract};
use shared::domain::{Domain, Gathered};

use crate::dataset::{Dataset, Sample, Split};
use crate::detections::PictureFindings;
use crate::picture::PictureError;
use crate::score::{ScoreError, ScoreOptions, said_of_samples};

pub use class_scores::{ClassScore, PRECISION_MIN, Rule, class_scores};
pub use looks::{SetLook, SplitNearness, look_of};

/// Why a model cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// A picture that cannot be read or judged.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// Findings that cannot be put together with the truth.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// Nothing to learn the domain from.
    #[error("train split of {place}: expected pictures, found none")]
    NoPictures {
        /// Names of the sets.
        place: String,
    },
    /// Findings of other pictures, or of none.
    #[error(
        "findings: expected those of the val split ({expected} pictures), found {found} others"
    )]
    NoFindings {
        /// Pictures of the val split.
        expected: usize,
        /// Pictures of the findings.
        found: usize,
    },
    /// Another model's findings: its scores say nothing of this one's.
    #[error("findings of {image}: expected those of the model {expected}, found those of {found}")]
    OtherModel {
        /// The first such picture.
        image: String,
        /// SHA-256 of the model, and of its float parent where it has one.
        expected: String,
        /// SHA-256 in the findings.
        found: String,
    },
    /// Findings that end above the score that the station counts from.
    #[error(
        "findings of {image}: expected all from score {expected} on, found them cut at {found}"
    )]
    Cut {
        /// The first such picture.
        image: String,
        /// Score of the contract's thresholds.
        expected: f32,
        /// Score of the findings' thresholds.
        found: f32,
    },
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// By class, in the order of the contract.
    pub classes: Vec<ClassScore>,
    /// Val pictures with truth and findings, which the scores stand on.
    pub judged_pictures: usize,
    /// Val pictures without findings, left out.
    pub missing_pictures: usize,
    /// Pictures of the findings that are not of the val split, left out.
    pub unjudged_pictures: usize,
    /// What the training pictures look like.
    pub domain: Domain,
    /// The sets it was measured on.
    pub sets: Vec<SetLook>,
}

/// Measures `contract`'s classes on the val split and its domain on the train split of `sets`.
///
/// `findings` are the model's own on the val pictures, `model_sha256` is the hash of its file;
/// `tell` gets a line on what is being done.
///
/// # Errors
/// Pictures that cannot be read, or findings that are not this model's, not of these pictures, or
/// cut too high.
pub fn describe(
    contract: &ModelContract,
    model_sha256: &str,
    sets: &[Dataset],
    findings: Vec<PictureFindings>,
    tell: &mut dyn FnMut(&str),
) -> Result<Description, DescribeError> {
    check(contract, model_sha256, &findings)?;
    let findings = as_counted(contract, findings);
    let val = sets.iter().flat_map(|set| set.split(Split::Val));
    let val: Vec<&Sample> = val.collect();
    let options = ScoreOptions {
        score_min: contract.thresholds.score,
        ..ScoreOptions::default()
    };
    let said = said_of_samples(&val, &findings, &contract.classes, &options)?;
    if said.pictures == 0 {
        return Err(DescribeError::NoFindings {
            expected: val.len(),
            found: findings.len(),
        });
    }
    let gathered: Vec<Gathered> = sets
        .iter()
        .map(|set| looks::gather(contract, set, tell))
        .collect::<Result<_, _>>()?;
    let domain = Domain::of(&gathered).ok_or_else(|| {
        let names: Vec<&str> = sets.iter().map(|set| set.name.as_str()).collect();
        DescribeError::NoPictures {
            place: names.join(", "),
        }
    })?;
    let sets = sets.iter().zip(&gathered);
    let sets = sets.map(|(set, gathered)| looks::judge(contract, set, gathered, &domain, tell));
    Ok(Description {
        classes: class_scores(&said, &contract.classes, contract.thresholds.score),
        judged_pictures: said.pictures,
        missing_pictures: said.missing,
        unjudged_pictures: said.unjudged,
        domain,
        sets: sets.collect::<Result<_, _>>()?,
    })
}

/// The contract with what was measured.
pub fn described(contract: &ModelContract, description: &Description) -> ModelContract {
    ModelContract {
        version: CONTRACT_VERSION,
        class_scores: description.classes.iter().map(|row| row.score).collect(),
        domain: Some(description.domain),
        ..contract.clone()
    }
}

/// Whether the findings are the model's and reach down to the score it counts from. Those of the float
/// file that an 8-bit model was made from will do: the parity gate has compared the two.
fn check(
    contract: &ModelContract,
    model_sha256: &str,
    findings: &[PictureFindings],
) -> Result<(), DescribeError> {
    let parent = contract.quantization.as_ref();
    let parent = parent.map(|origin| origin.parent_sha256.as_str());
    for picture in findings {
        let (found, image) = (&picture.model_sha256, &picture.image);
        if found != model_sha256 && Some(found.as_str()) != parent {
            let or_parent = parent.map_or_else(String::new, |parent| format!(" or {parent}"));
            return Err(DescribeError::OtherModel {
                image: image.clone(),
                expected: format!("{model_sha256}{or_parent}"),
                found: found.clone(),
            });
        }
        let (expected, found) = (contract.thresholds.score, picture.thresholds.score);
        if found > expected {
            return Err(DescribeError::Cut {
                image: image.clone(),
                expected,
                found,
            });
        }
    }
    Ok(())
}

/// Files made for average precision list a cell once for each class: suppressed as the station does
/// when it counts, whatever their own overlap.
fn as_counted(contract: &ModelContract, findings: Vec<PictureFindings>) -> Vec<PictureFindings> {
    let counted = |mut picture: PictureFindings| {
        picture.thresholds.iou = contract.thresholds.iou;
        picture
    };
    findings.into_iter().map(counted).collect()
}
