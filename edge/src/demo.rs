//! What the binary does without a word: it draws fields, finds their cells and shows them.

use std::path::Path;

use shared::cell::Detection;
use shared::contract::ModelContract;

use crate::detector::Detector;
use crate::fields;
use crate::replay::{Recorder, ReplayError, Summary};

/// Fields that are drawn.
pub const FIELDS: u64 = 4;

/// Runs the drawn fields through the model and writes as a replay does; returns every cell in words,
/// to be printed when all files are in their places.
///
/// # Errors
/// When the model fails or the results cannot be written.
pub fn demo(
    detector: &mut Detector,
    model_sha256: &str,
    out: &Path,
) -> Result<(Summary, String), ReplayError> {
    let contract = detector.contract().clone();
    let mut recorder = Recorder::begin(detector, model_sha256, out, true)?;
    let mut words = String::new();
    for seed in 1..=FIELDS {
        let name = format!("field-{seed}");
        let found = recorder.field(&name, &mut fields::demonstration(seed))?;
        words.push_str(&format!("{name}: {} cells\n", found.len()));
        for cell in &found {
            words.push_str(&format!("  {}\n", words_of(cell, &contract)));
        }
    }
    Ok((recorder.finish()?, words))
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
