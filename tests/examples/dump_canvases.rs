//! Canvases of real pictures as the station lays them, with the station's heads, for runtimes that shall
//! see the same pixels; `tests/int8-parity` is the whole comparison.
//!
//!     cargo run --release -p tests --example dump_canvases -- MODEL OUT COUNT SOURCE [SOURCE ...]
//!
//! Takes COUNT pictures, the same number from each SOURCE as far as it has them, evenly spread over its
//! names. Writes `OUT/pictures.json` (name and size of each) and the dump `OUT/edge`.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use edge::detector::Detector;
use edge::model::ModelFile;
use edge::network::HeadBuffers;
use edge::picture;
use edge::source::folder::{self, Entry};
use edge::tract::TractNetwork;
use serde_json::json;
use tests::{Heads, dump_heads};

/// Pictures of each source, evenly spread; what a small source lacks the others give.
fn chosen(sources: &[String], count: usize) -> Result<Vec<Entry>, Box<dyn Error>> {
    let mut lists = Vec::new();
    for source in sources {
        let listing = folder::list(Path::new(source), &[])?;
        for one in &listing.skipped {
            eprintln!("skipped {:?}: {}", one.image, one.reason);
        }
        lists.push(listing.entries);
    }
    lists.sort_by_key(Vec::len);
    let (mut left, mut chosen) = (count, Vec::new());
    let of = lists.len();
    for (index, list) in lists.into_iter().enumerate() {
        let take = (left / (of - index)).min(list.len());
        let len = list.len();
        chosen.extend((0..take).map(|i| list[i * len / take].clone()));
        left -= take;
    }
    Ok(chosen)
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, out, count, sources @ ..] = arguments.as_slice() else {
        eprintln!("usage: dump_canvases MODEL OUT COUNT SOURCE [SOURCE ...]");
        return Ok(ExitCode::from(2));
    };
    let network = TractNetwork::load(&ModelFile::read(Path::new(model))?)?;
    let mut detector = Detector::new(Box::new(network));
    let mut buffers = HeadBuffers::new(detector.contract());
    let (mut pictures, mut canvases, mut heads) = (Vec::new(), Vec::new(), Vec::new());
    for entry in chosen(sources, count.parse()?)? {
        let picture = match picture::read(&entry.path) {
            Ok(picture) => picture,
            Err(error) => {
                eprintln!("skipped {:?}: {error}", entry.name);
                continue;
            }
        };
        detector.detect(picture.view())?;
        let canvas = detector.canvas().to_vec();
        detector.network().run(&canvas, &mut buffers)?;
        let levels: Heads = buffers.views().iter().map(|level| level.to_vec()).collect();
        // The number keeps apart what is called the same in two sources.
        let image = format!("{:03}-{}", pictures.len(), entry.name.replace('/', "-"));
        pictures.push(json!({ "image": image, "size": picture.size() }));
        canvases.push(canvas);
        heads.push(levels);
    }
    dump_heads("edge", &Path::new(out).join("edge"), &canvases, &heads)?;
    fs::write(
        Path::new(out).join("pictures.json"),
        serde_json::to_vec(&pictures)?,
    )?;
    println!("{} pictures", pictures.len());
    Ok(ExitCode::SUCCESS)
}
