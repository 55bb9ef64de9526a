//! Scale and squeeze from red cells, with what they stand on. Pure.

use serde::Serialize;

use super::record::RedCellBasis;
use field::red_cells::{RED_CELL_UM, RedCells, ScaleError};

/// Standard deviation of a normal distribution over its median difference from the median.
const SIGMA_OF_MEDIAN: f32 = 1.4826;

/// Standard error of a median over that of a mean.
const MEDIAN_OVER_MEAN: f32 = 1.2533;

/// Largest standard deviation of the heights, as a part: drawn red cells have 0.07, those of 13
/// leukaemia patients together (LeukemiaAttri's fields) 0.15; sizes without any rule have 0.2, because
/// only those within a quarter of the median are measured.
const SPREAD_MAX: f32 = 0.17;

/// Largest standard error of the scale, as a part of it.
const ERROR_MAX: f32 = 0.02;

/// How far the method itself is off, as a standard error, whatever the number of cells: `calibrate` says up to
/// 2.8 % too much of the drawn slides 1 to 3, whose scale is known, by 200 cells.
const METHOD_ERROR: f32 = 0.015;

/// Range of a squeeze; outside it is no red cells that were measured.
const SQUEEZE_MIN: f32 = 0.2;
const SQUEEZE_MAX: f32 = 5.0;

/// Why red cells give no scale.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum MeasureError {
    /// Too few of them.
    #[error(transparent)]
    Cells(#[from] ScaleError),
    /// Their sizes differ too much.
    #[error(
        "scale from red cells: heights of {cells} cells are spread by {:.1} %, expected at most {:.0} %: \
         take a slide with even red cells, in focus",
        got * 100.0,
        SPREAD_MAX * 100.0
    )]
    Spread {
        /// Standard deviation, as a part of the height.
        got: f32,
        /// Cells.
        cells: usize,
    },
    /// The scale is not sure enough.
    #[error(
        "scale from red cells: standard error {:.1} % with {cells} cells, expected at most {:.0} %: show \
         more fields",
        got * 100.0,
        ERROR_MAX * 100.0
    )]
    Unsure {
        /// As a part of the scale.
        got: f32,
        /// Cells.
        cells: usize,
    },
    /// A micrometer that no microscope shows so.
    #[error("scale from a micrometer: {got} um a pixel, expected above 0 to 10")]
    Micrometer {
        /// Micrometres a pixel.
        got: f32,
    },
    /// No circle's picture is so wide or narrow.
    #[error("scale from red cells: squeeze {got:.2}, expected {SQUEEZE_MIN} to {SQUEEZE_MAX}")]
    Squeeze {
        /// Width over height.
        got: f32,
    },
}

/// Scale and squeeze.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Micrometres a pixel, downwards.
    pub um_per_px: f32,
    /// What it stands on.
    pub basis: RedCellBasis,
    /// Width of a circle's picture over its height.
    pub squeeze: f32,
    /// Standard error of that.
    pub squeeze_error: f32,
}

/// Measures by red cells of `red_cell_um` micrometres.
///
/// # Errors
/// When they are too few, or too different.
pub fn measure(found: &RedCells, red_cell_um: f32) -> Result<Measured, MeasureError> {
    let scale = found.scale()?;
    let of_median = MEDIAN_OVER_MEAN / (scale.cells as f32).sqrt();
    let spread = SIGMA_OF_MEDIAN * scale.height_spread;
    let cells = scale.cells;
    if spread > SPREAD_MAX {
        return Err(MeasureError::Spread { got: spread, cells });
    }
    let part = spread * of_median;
    if part > ERROR_MAX {
        return Err(MeasureError::Unsure { got: part, cells });
    }
    if !(SQUEEZE_MIN..=SQUEEZE_MAX).contains(&scale.squeeze) {
        return Err(MeasureError::Squeeze { got: scale.squeeze });
    }
    let um_per_px = scale.um_per_px * (red_cell_um / RED_CELL_UM);
    Ok(Measured {
        um_per_px,
        basis: RedCellBasis {
            red_cell_um,
            cells,
            fields: scale.fields,
            spread,
            standard_error: um_per_px * part.hypot(METHOD_ERROR),
        },
        squeeze: scale.squeeze,
        squeeze_error: scale.squeeze * SIGMA_OF_MEDIAN * scale.squeeze_spread * of_median,
    })
}
