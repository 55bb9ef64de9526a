//! The pictures of a run and of a validation, under YOLOv5's names, as PNG and JPEG.
//!
//! Numbers come in, files go out: nothing is measured here that is not in a [`ScoreReport`] or in
//! [`crate::score::ScoreDetails`]. No tensor, no system font, no C library.

mod axes;
mod bars;
mod confusion;
mod curves;
mod labels;
mod legend;
mod marks;
mod mosaic;
mod pairs;
mod palette;
mod reliability;
mod results;
mod sheet;
mod splits;

use std::path::{Path, PathBuf};

use shared::attribute::AttributeSchema;
use shared::class::ClassTable;

use crate::dataset::Sample;
use crate::detections::PictureFindings;
use crate::picture::PictureError;
use crate::score::{ScoreError, ScoreOptions, ScoreReport, score_details};

pub use labels::write_labels;
pub use mosaic::{Tile, write_tiles};
pub use results::write_results;
pub use splits::write_splits;

/// Why a picture could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// A picture of the data set.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// Findings that do not fit the truth.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// The table of a run.
    #[error("{}: {detail}", path.display())]
    Table {
        /// Which file.
        path: PathBuf,
        /// Expected and found.
        detail: String,
    },
    /// The drawing itself.
    #[error("{} cannot be drawn: {reason}", path.display())]
    Drawing {
        /// Which file it was to be.
        path: PathBuf,
        /// What the drawing library says.
        reason: String,
    },
    /// The disk.
    #[error("{} cannot be written", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl PlotError {
    fn drawing(path: &Path) -> impl Fn(sheet::DrawError) -> Self {
        move |error| Self::Drawing {
            path: path.to_path_buf(),
            reason: error.to_string(),
        }
    }
}

/// Everything a validation shows: the four curves, the confusion of classes and of every attribute,
/// the reliability, and the worst pictures with truth beside prediction. The files are listed.
///
/// `findings` are those that `report` was made of, of these `samples`; its least score and overlap
/// are used again.
///
/// # Errors
/// Findings that do not fit the samples, a picture that cannot be decoded, or the disk.
pub fn write_validation_pictures(
    out: &Path,
    samples: &[&Sample],
    findings: &[PictureFindings],
    report: &ScoreReport,
    classes: &ClassTable,
    schema: &AttributeSchema,
) -> Result<Vec<PathBuf>, PlotError> {
    let options = ScoreOptions {
        score_min: report.score_min,
        iou_min: report.iou_min,
        reference_matching: false,
    };
    let details = score_details(samples, findings, classes, schema, &options)?;
    let mut written = curves::write(out, &details.curves, report.best_f1_confidence)?;
    written.push(confusion::write_classes(out, report)?);
    for attribute in &details.attributes {
        written.extend(confusion::write_attribute(out, attribute)?);
    }
    written.push(reliability::write(out, report)?);
    written.extend(pairs::write(
        out,
        samples,
        &details.pictures,
        classes,
        schema,
    )?);
    Ok(written)
}

#[cfg(test)]
mod tests;
