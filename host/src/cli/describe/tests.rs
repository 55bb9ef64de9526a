use std::io::BufWriter;

use clap::Parser;
use shared::contract::{AttributeHead, REGIONS_EXTENSION, RegionHead};
use shared::detect::Dropped;
use shared::head::Thresholds;
use shared::score::Score;

use super::super::Cli;
use super::*;
use crate::dataset::{Mode, OpenOptions, Sample, Split, open};
use crate::detections::write_detections;
use crate::onnx::{fixture, yolov5_bytes};
use crate::parity::REPORT_TEXT;

/// A folder with a drawn data set, a model that has its tables and a second file, and findings on its
/// val pictures.
fn folder() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    let set = path("set").display().to_string();
    let argv = ["leuko-host", "data", "phantom", "--out", &set];
    let argv = argv.into_iter().chain(["--fields", "2,2,1", "--seed", "5"]);
    Cli::try_parse_from(argv).expect("arguments").run().unwrap();

    let options = OpenOptions {
        mode: Mode::Strict,
        ..OpenOptions::default()
    };
    let data = open(&path("set/data.yaml"), &options).unwrap();
    let regions = b"second file";
    let contract = ModelContract {
        classes: data.classes.clone(),
        attributes: data.schema.clone(),
        attribute_head: AttributeHead::Roi(RegionHead {
            channels: [6, 8],
            sha256: sha256_hex(regions).as_str().try_into().unwrap(),
        }),
        ..fixture::contract()
    };
    let spec = fixture::spec();
    let bytes = yolov5_bytes(&spec, &fixture::contract(), &fixture::tensors(&spec)).unwrap();
    let bytes = with_contract(&bytes, &contract).unwrap();
    fs::write(path("m.onnx"), &bytes).unwrap();
    fs::write(path("m.onnx").with_extension(REGIONS_EXTENSION), regions).unwrap();

    let found = |sample: &Sample| PictureFindings {
        image: sample.image.display().to_string(),
        size: sample.size,
        model_sha256: sha256_hex(&bytes),
        thresholds: Thresholds::EVALUATION,
        dropped: Dropped::default(),
        detections: sample
            .cells
            .iter()
            .filter_map(|cell| {
                Some(shared::cell::Detection {
                    bbox: cell.bbox,
                    class: cell.class?,
                    score: Score::ONE,
                    attributes: shared::attribute::NO_FINDINGS,
                })
            })
            .collect(),
    };
    let findings: Vec<PictureFindings> = data.split(Split::Val).map(found).collect();
    let file = BufWriter::new(fs::File::create(path("val.jsonl")).unwrap());
    write_detections(file, &findings, &contract.classes, &contract.attributes).unwrap();
    root
}

/// Runs the command in a folder; its exit code, 0 when it went well.
fn code(folder: &Path, data: &str, detections: &str, out: &str) -> u8 {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut argv = ["leuko-host", "describe"].map(str::to_owned).to_vec();
    for (flag, name) in [
        ("--model", "m.onnx"),
        ("--data", data),
        ("--detections", detections),
        ("--out", out),
    ] {
        argv.extend([flag.to_owned(), path(name)]);
    }
    let done = Cli::try_parse_from(argv).expect("arguments").run();
    done.map_or_else(|error| crate::exit::code(&error), |()| 0)
}

#[test]
fn the_contract_is_described_and_the_network_stays_as_it_is() {
    let root = folder();
    let path = |name: &str| root.path().join(name);
    fs::write(path("out.onnx").with_extension(REPORT_TEXT), "stale").unwrap();
    assert_eq!(
        code(root.path(), "set/data.yaml", "val.jsonl", "out.onnx"),
        0
    );
    let (before, after) = (
        fs::read(path("m.onnx")).unwrap(),
        fs::read(path("out.onnx")).unwrap(),
    );
    let contracts = [&before, &after].map(|bytes| contract_of(bytes).unwrap());
    assert_eq!(contracts[1].class_scores.len(), contracts[0].classes.len());
    assert_eq!(contracts[1].domain.map(|domain| domain.pictures), Some(2));
    assert_eq!(with_contract(&after, &contracts[0]).unwrap(), before);
    let second = fs::read(path("out.onnx").with_extension(REGIONS_EXTENSION)).unwrap();
    assert_eq!(second, b"second file");
    assert!(!path("out.onnx").with_extension(REPORT_TEXT).exists());
}

#[test]
fn what_does_not_belong_together_is_refused_and_leaves_no_file() {
    let root = folder();
    let path = |name: &str| root.path().join(name);
    let foreign = fs::read_to_string(path("val.jsonl")).unwrap();
    let hash = sha256_hex(&fs::read(path("m.onnx")).unwrap());
    let foreign = foreign.replace(&hash, &"0".repeat(64));
    fs::write(path("foreign.jsonl"), foreign).unwrap();
    let good = fs::read(path("m.onnx")).unwrap();
    for (data, detections, out, expected) in [
        ("set/data.yaml", "val.jsonl", "m.onnx", 2),
        ("set/data.yaml", "val.jsonl", "./m.onnx", 2),
        ("set/data.yaml", "foreign.jsonl", "out.onnx", 3),
        ("set/data.yaml", "nowhere.jsonl", "out.onnx", 3),
        ("nowhere", "val.jsonl", "out.onnx", 3),
    ] {
        let found = code(root.path(), data, detections, out);
        assert_eq!(found, expected, "{data} {detections} {out}");
        assert!(!path("out.onnx").exists());
    }
    assert_eq!(fs::read(path("m.onnx")).unwrap(), good);
    fs::write(
        path("m.onnx").with_extension(REGIONS_EXTENSION),
        "another's",
    )
    .unwrap();
    assert_eq!(
        code(root.path(), "set/data.yaml", "val.jsonl", "out.onnx"),
        4
    );
    fs::write(path("m.onnx"), &good[..good.len() / 2]).unwrap();
    assert_eq!(
        code(root.path(), "set/data.yaml", "val.jsonl", "out.onnx"),
        4
    );
    assert!(!path("out.onnx").exists());
}
