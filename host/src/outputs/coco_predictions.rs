//! `predictions.json`: detections as COCO has them, with attributes by name.
//!
//! It belongs to `truth.json` beside it, and to what `data convert` writes of the same set: pictures
//! are numbered from 1 in the order of the split, categories from 0 in the order of the classes, and
//! `bbox` is left, top, width and height in pixels. All detections are listed, as average precision
//! wants them; attributes stand only with those that count as cells, since nobody reads the
//! morphology of the hundreds of boxes below the least score (`detections.jsonl` has it).

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use shared::attribute::AttributeSchema;
use shared::cell::Detection;

use super::{OutputError, write_whole};
use crate::detections::PictureFindings;

#[derive(Serialize)]
struct Prediction<'a> {
    image_id: usize,
    category_id: u8,
    bbox: [f64; 4],
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<BTreeMap<&'a str, Said<'a>>>,
}

#[derive(Serialize)]
struct Said<'a> {
    value: &'a str,
    score: f32,
}

/// Writes the file; `findings` are of all pictures of a split, in its order.
///
/// # Errors
/// What the disk says.
pub fn write_coco_predictions(
    path: &Path,
    findings: &[PictureFindings],
    schema: &AttributeSchema,
    score_min: f32,
) -> Result<(), OutputError> {
    write_whole(path, |out| {
        out.write_all(b"[")?;
        let mut separator: &[u8] = b"\n";
        for (image_id, picture) in (1..).zip(findings) {
            for detection in &picture.detections {
                out.write_all(separator)?;
                separator = b",\n";
                let prediction = prediction(image_id, detection, schema, score_min);
                serde_json::to_writer(&mut *out, &prediction).map_err(io::Error::from)?;
            }
        }
        out.write_all(b"\n]\n")
    })
}

fn prediction<'a>(
    image_id: usize,
    detection: &Detection,
    schema: &'a AttributeSchema,
    score_min: f32,
) -> Prediction<'a> {
    // In double precision the sides add up to the corners again.
    let [x0, y0, x1, y1] = detection.bbox.xyxy().map(f64::from);
    let said = |(index, attribute): (usize, &'a shared::attribute::Attribute)| {
        let finding = detection.attributes[index]?;
        let value = attribute.value_name(finding.value)?;
        let score = finding.score.get();
        Some((attribute.name.as_str(), Said { value, score }))
    };
    let counts = detection.score.get() >= score_min && !schema.is_empty();
    let attributes = schema.iter().map(|(id, attribute)| (id.index(), attribute));
    Prediction {
        image_id,
        category_id: detection.class.0,
        bbox: [x0, y0, x1 - x0, y1 - y0],
        score: detection.score.get(),
        attributes: counts.then(|| attributes.filter_map(said).collect()),
    }
}
