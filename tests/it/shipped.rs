//! The files of `models/`: what their hashes and contracts say of each other, and how they run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use edge::model::ModelFile;
use edge::network::Network;
use edge::tract::TractNetwork;
use shared::contract::Precision;
use tests::root;

/// Folders of `models/` with a file of that name.
fn folders_with(name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("models")).expect("models are there");
    let folders = entries.map(|entry| entry.expect("readable").path());
    folders.filter(|path| path.join(name).is_file()).collect()
}

fn hashes(folder: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(folder.join("SHA256SUMS")).expect("a model has hashes");
    let pairs = text.lines().filter_map(|line| line.split_once("  "));
    pairs
        .map(|(hash, name)| (name.to_owned(), hash.to_owned()))
        .collect()
}

fn file(path: &Path) -> ModelFile {
    ModelFile::read(path).expect("a shipped file can be read")
}

#[test]
fn hashes_are_those_of_the_files() {
    let folders = folders_with("model.onnx");
    assert!(!folders.is_empty());
    for folder in folders {
        let hashes = hashes(&folder);
        for entry in fs::read_dir(&folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path
                .extension()
                .is_some_and(|extension| extension == "onnx")
            {
                let name = path.file_name().expect("a file").to_string_lossy();
                assert_eq!(
                    hashes.get(&*name).map(String::as_str),
                    Some(file(&path).sha256()),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn every_convolution_of_a_shipped_8_bit_model_runs_in_integers() {
    let folders = folders_with("model.int8.onnx");
    assert!(!folders.is_empty());
    for folder in folders {
        let (float, int8) = (folder.join("model.onnx"), folder.join("model.int8.onnx"));
        let int8 = file(&int8);
        let network = TractNetwork::load(&int8).expect("the station takes it");
        let integers = network.integers().expect("it says how it runs");
        assert!(integers.of() > 0);
        assert_eq!(integers.count(), integers.of(), "{:?}", integers.float);
        let contract = network.contract();
        assert_eq!(contract.precision, Precision::Int8);
        let origin = contract
            .quantization
            .as_ref()
            .expect("it says where it comes from");
        assert_eq!(origin.parent_sha256.as_str(), file(&float).sha256());
        assert_eq!(origin.n_float_layers, 0);
        let sizes = [
            fs::metadata(&float),
            fs::metadata(folder.join("model.int8.onnx")),
        ];
        let [float, int8] = sizes.map(|size| size.expect("readable").len() as f64);
        assert!(int8 / float < 0.3, "{int8} of {float} bytes");
    }
}

#[test]
fn results_are_those_of_the_files_that_lie_there() {
    let folders = folders_with("model.onnx");
    assert!(!folders.is_empty());
    for folder in folders {
        let text = fs::read_to_string(folder.join("results.json")).expect("a model was judged");
        let results: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        for (precision, name) in [("float32", "model.onnx"), ("int8", "model.int8.onnx")] {
            let judged = results["files"][precision]["sha256"].as_str();
            assert_eq!(
                judged,
                Some(file(&folder.join(name)).sha256()),
                "{}",
                folder.join(name).display()
            );
        }
    }
}

#[test]
fn tables_and_plot_of_the_models_page_are_what_the_results_say() {
    let report = Command::new("python3")
        .arg(root().join("models/report"))
        .arg("--check")
        .output()
        .expect("python3 runs");
    let said = String::from_utf8_lossy(&report.stderr);
    assert!(report.status.success(), "{said}");
}
