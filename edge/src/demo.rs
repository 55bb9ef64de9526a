//! What the binary does without a word: it draws fields, finds their cells and shows them.

use std::io::{self, Write};
use std::path::Path;

use shared::cell::Detection;
use shared::contract::ModelContract;

use crate::detector::Detector;
use crate::fields;
use crate::replay::{Recorder, ReplayError, Summary};

/// Fields that are drawn.
pub const FIELDS: u64 = 4;

/// Runs the drawn fields through the model, writes as a replay does, and prints every cell.
///
/// # Errors
/// When the model fails or the results cannot be written; the outer error is that of `print`.
pub fn demo(
    detector: &mut Detector,
    model_sha256: &str,
    out: &Path,
    print: &mut dyn Write,
) -> io::Result<Result<Summary, ReplayError>> {
    let contract = detector.contract().clone();
    let mut recorder = match Recorder::begin(detector, model_sha256, out, true) {
        Ok(recorder) => recorder,
        Err(error) => return Ok(Err(error.into())),
    };
    for seed in 1..=FIELDS {
        let name = format!("field-{seed}");
        let mut picture = fields::demonstration(seed);
        match recorder.field(&name, &mut picture) {
            Ok(found) => {
                writeln!(print, "{name}: {} cells", found.len())?;
                for cell in &found {
                    writeln!(print, "  {}", words_of(cell, &contract))?;
                }
            }
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(recorder.finish().map_err(ReplayError::from))
}

/// Class, score and box; the attributes on a line below.
fn words_of(cell: &Detection, contract: &ModelContract) -> String {
    let [x0, y0, x1, y1] = cell.bbox.xyxy();
    let mut line = format!(
        "{} {:.2} at {x0:.0},{y0:.0} to {x1:.0},{y1:.0}",
        contract.classes.name(cell.class).unwrap_or("?"),
        cell.score.get()
    );
    let mut separator = "\n      ";
    for ((_, attribute), finding) in contract.attributes.iter().zip(&cell.attributes) {
        let value = finding.and_then(|finding| attribute.value_name(finding.value));
        if let Some(value) = value {
            line.push_str(&format!("{separator}{} {value}", attribute.name));
            separator = ", ";
        }
    }
    line
}
