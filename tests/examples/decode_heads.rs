//! Heads that any runtime made of the canvases of `dump_canvases`, decoded by the one path that the
//! station takes: what then differs comes from the runtime.
//!
//!     cargo run --release -p tests --example decode_heads -- MODEL PICTURES.json DUMP OUT.jsonl
//!
//! Cells from a score of 0.05 on, so that the threshold of a comparison does not part two equal ones.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use edge::model::ModelFile;
use edge::network::Network;
use edge::tract::TractNetwork;
use serde::Deserialize;
use shared::detect::{CANDIDATES_MAX, DETECTIONS_MAX, detections};
use shared::fit::Fit;
use shared::geometry::Size;
use shared::head::Thresholds;
use shared::report::DetectionRecord;
use tests::Heads;

const SCORE: f32 = 0.05;

#[derive(Deserialize)]
struct Pictured {
    image: String,
    size: Size,
}

#[derive(Deserialize)]
struct Index {
    fields: Vec<Field>,
}

#[derive(Deserialize)]
struct Field {
    heads: Vec<String>,
}

fn heads_of(folder: &Path, field: &Field) -> std::io::Result<Heads> {
    let values = |name: &String| {
        let bytes = fs::read(folder.join(name))?;
        let values = bytes.chunks_exact(4);
        Ok(values
            .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            .collect())
    };
    field.heads.iter().map(values).collect()
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, pictures, dump, out] = arguments.as_slice() else {
        eprintln!("usage: decode_heads MODEL PICTURES.json DUMP OUT.jsonl");
        return Ok(ExitCode::from(2));
    };
    let file = ModelFile::read(Path::new(model))?;
    let contract = TractNetwork::load(&file)?.contract().clone();
    let spec = contract.head();
    let thresholds = Thresholds {
        score: SCORE,
        ..contract.thresholds
    };
    let pictures: Vec<Pictured> = serde_json::from_slice(&fs::read(pictures)?)?;
    let dump = Path::new(dump);
    let index: Index = serde_json::from_slice(&fs::read(dump.join("index.json"))?)?;
    if index.fields.len() != pictures.len() {
        let (got, expected) = (index.fields.len(), pictures.len());
        return Err(format!("{}: {got} fields, expected {expected}", dump.display()).into());
    }
    let mut candidates = Box::new(heapless::Vec::<_, CANDIDATES_MAX>::new());
    let mut found = Box::new(heapless::Vec::<_, DETECTIONS_MAX>::new());
    let mut records = std::io::BufWriter::new(fs::File::create(out)?);
    for (Pictured { image, size }, field) in pictures.iter().zip(&index.fields) {
        let heads = heads_of(dump, field)?;
        let views: Vec<&[f32]> = heads.iter().map(Vec::as_slice).collect();
        let fit = Fit::new(contract.fit, *size, contract.canvas).ok_or("a picture of no size")?;
        let (candidates, found) = (candidates.as_mut_view(), found.as_mut_view());
        let dropped = detections(&spec, &fit, &views, &thresholds, candidates, found)?;
        let record = DetectionRecord {
            image,
            size: *size,
            model_sha256: file.sha256(),
            thresholds: &thresholds,
            dropped,
            detections: found,
            classes: &contract.classes,
            schema: &contract.attributes,
        };
        serde_json::to_writer(&mut records, &record)?;
        records.write_all(b"\n")?;
    }
    records.flush()?;
    Ok(ExitCode::SUCCESS)
}
