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
use shared::detect::{CANDIDATES_MAX, DETECTIONS_MAX, detections};
use shared::fit::Fit;
use shared::head::Thresholds;
use shared::report::DetectionRecord;
use tests::{Dumped, read_dump};

const SCORE: f32 = 0.05;

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
    let mut candidates = Box::new(heapless::Vec::<_, CANDIDATES_MAX>::new());
    let mut found = Box::new(heapless::Vec::<_, DETECTIONS_MAX>::new());
    let mut records = std::io::BufWriter::new(fs::File::create(out)?);
    for Dumped { image, size, heads } in &read_dump(Path::new(pictures), Path::new(dump))? {
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
