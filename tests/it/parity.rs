//! The gate with the station's real program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use edge::model::ModelFile;
use edge::network::Network;
use edge::tract::TractNetwork;
use host::checkpoint::{Checkpoint, sha256_of};
use host::cli::Cli;
use host::dataset::{
    Dataset, Format, OpenOptions, Placement, Sample, Split, join, open, write as write_data,
};
use host::export::{contract_of, onnx_of};
use host::parity::{Gate, ParityReport, Stage, Station, judge};
use host::train::last_checkpoint;
use shared::contract::ModelContract;
use shared::head::Thresholds;
use tests::{root, wbc_data};

use crate::end_to_end::{fields, plan, trained};

const STATION: &str = env!("CARGO_BIN_EXE_station");

fn export(weights: &Path, out: &Path, more: &[&str]) -> anyhow::Result<()> {
    let mut words = vec!["leuko-host", "export"];
    let (weights, out) = (weights.to_str().unwrap(), out.to_str().unwrap());
    words.extend(["--weights", weights, "--out", out]);
    words.extend(more);
    Cli::try_parse_from(words)?.run()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A program that finds what the station finds, and tells of no cell.
fn silent_station(folder: &Path) -> PathBuf {
    let path = folder.join("silent");
    let text = format!(
        "#!/bin/sh\n'{STATION}' \"$@\" || exit $?\n[ \"$1\" = replay ] && sed -i 's/\"detections\":\\[.*\\]/\"detections\":[]/' \"$7/detections.jsonl\"\nexit 0\n"
    );
    // Written by a child: what this process has open for writing, another test's child may inherit.
    let write = r#"printf %s "$0" > "$1" && chmod +x "$1""#;
    let mut sh = Command::new("sh");
    assert!(
        sh.args(["-c", write, &text])
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    path
}

#[test]
fn export_writes_what_the_station_finds_again_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let mut data = fields(&folder.path().join("fields"));
    let checkpoint = trained(&data, plan(), usize::MAX, folder.path());
    let weights = last_checkpoint(folder.path());
    data.samples.retain(|sample| sample.split == Split::Val);
    let set = folder.path().join("set");
    write_data(&data, &set, Format::Yolo, Placement::Link).expect("a data set");
    let set = set.join("data.yaml").to_str().unwrap().to_owned();
    let made = folder.path().join("made");
    let out = made.join("m.onnx");

    let judged = ["--data", &set, "--edge", STATION];
    export(&weights, &out, &judged).expect("a faithful file is kept");
    assert_eq!(names(&made), ["m.onnx", "m.parity.json", "m.parity.md"]);
    let json = fs::read_to_string(made.join("m.parity.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["passed"], true);
    assert_eq!(report["stages"][0]["stage"], "checkpoint");
    assert_eq!(report["stages"][1]["file"], "m.onnx");
    assert_eq!(report["stages"][1]["sha256"], sha256_of(&out).unwrap());
    let rows = report["rows"].as_array().unwrap();
    let cell = rows
        .iter()
        .find(|row| row["of"] == "any white cell")
        .unwrap();
    assert!(cell["values"][1].as_f64().unwrap() > 0.5, "{json}");

    let before = fs::read(&out).unwrap();
    let silent = silent_station(folder.path());
    let judged = ["--data", &set, "--edge", silent.to_str().unwrap()];
    let error = export(&weights, &out, &judged).unwrap_err();
    assert_eq!(host::exit::code(&error), 4, "{error:#}");
    assert!(error.to_string().starts_with("parity: "), "{error:#}");
    assert_eq!(
        fs::read(&out).unwrap(),
        before,
        "the older file is untouched"
    );
    let other = folder.path().join("other");
    export(&weights, &other.join("m.onnx"), &judged).unwrap_err();
    assert_eq!(names(&other), Vec::<String>::new());

    let judged = ["--data", &set, "--edge", STATION, "--split", "test"];
    let error = export(&weights, &out, &judged).unwrap_err();
    assert_eq!(host::exit::code(&error), 3, "{error:#}");

    export(&weights, &out, &[]).expect("without data nobody judges");
    assert_eq!(
        names(&made),
        ["m.onnx"],
        "the old report is not this file's"
    );

    damaged_weights_are_lost(&checkpoint, &weights, &data, folder.path());
}

/// A file whose weights are not the checkpoint's any more.
fn damaged_weights_are_lost(
    checkpoint: &Checkpoint,
    weights: &Path,
    data: &Dataset,
    folder: &Path,
) {
    let sha256 = sha256_of(weights).unwrap();
    let contract = contract_of(checkpoint, "m", &sha256, Thresholds::COUNTING).unwrap();
    let mut damaged = Checkpoint::load(weights).unwrap();
    for tensor in damaged.ema.values_mut() {
        *tensor = &*tensor * 0.9;
    }
    let model = folder.join("damaged.onnx");
    fs::write(&model, onnx_of(&damaged, &contract).unwrap()).unwrap();
    let stages = [
        Stage::Checkpoint {
            path: weights,
            checkpoint,
        },
        Stage::File {
            name: "onnx",
            path: &model,
        },
    ];
    let report = judged(&contract, data, &stages, &folder.join("scratch")).unwrap();
    let error = report.verdict().unwrap_err();
    assert_eq!(error.code(), 4, "{report}");
}

fn judged(
    contract: &ModelContract,
    data: &Dataset,
    stages: &[Stage<'_>],
    scratch: &Path,
) -> anyhow::Result<ParityReport> {
    let station = Station::find(Some(Path::new(STATION)))?;
    let gate = Gate {
        contract,
        data,
        split: Split::Val,
        station: &station,
        scratch,
    };
    judge(&gate, stages, |_| ())
}

#[test]
fn the_shipped_model_is_as_good_as_its_copy_and_no_other_model_is() {
    let Some(folder) = wbc_data("bccd") else {
        return;
    };
    let model = root().join("models/wbc-nano/model.onnx");
    let file = ModelFile::read(&model).expect("the shipped model");
    let network = TractNetwork::load(&file).expect("the station takes it");
    let contract = network.contract();
    let bccd = open(&folder, &OpenOptions::default()).expect("real data");
    let red = ["RBC", "Platelets"].map(str::to_owned);
    let (classes, schema) = (&contract.classes, &contract.attributes);
    let data = join(vec![bccd], Some(classes), Some(schema), &red).expect("joined");
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let copy = scratch.path().join("copy.onnx");
    fs::copy(&model, &copy).expect("a copy");
    let stage = |name, path| Stage::File { name, path };
    let stages = [stage("onnx", &model), stage("copy", &copy)];
    let report = judged(contract, &data, &stages, &scratch.path().join("a")).expect("judged");
    eprintln!("{report}");
    assert!(report.passed, "{report}");
    let changes = report.rows.iter().flat_map(|row| &row.changes).flatten();
    assert!(changes.into_iter().all(|&change| change == 0.0), "{report}");
    let samples: Vec<&Sample> = data.split(Split::Val).collect();
    assert_eq!(report.pictures, samples.len());

    let tiny = root().join("tests/fixtures/tiny.onnx");
    let stages = [stage("onnx", &model), stage("other", &tiny)];
    let report = judged(contract, &data, &stages, &scratch.path().join("b")).expect("judged");
    let error = report.verdict().unwrap_err();
    assert_eq!(error.code(), 4, "{report}");
}
