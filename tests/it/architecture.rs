//! Who may depend on whom, and who may name which runtime; kept by a test, not by memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::root;

/// The packages of this project that each of them may depend on.
const MAY_KNOW: [(&str, &[&str]); 6] = [
    ("shared", &[]),
    ("field", &["shared"]),
    ("int8", &[]),
    ("host", &["shared"]),
    ("edge", &["shared", "field", "int8"]),
    ("tests", &["shared", "host", "edge"]),
];

/// What `shared` may depend on beside the project: nothing that needs an allocator or a system.
const SHARED_DEPENDENCIES: [&str; 4] = ["font8x8", "heapless", "libm", "serde"];

/// A foreign runtime, and the only places whose code may name it.
const NAMED_IN: [(&str, &[&str]); 5] = [
    ("tract_onnx", &["edge/src/tract"]),
    ("v4l::", &["edge/src/source/camera"]),
    ("axum::", &["edge/src/service"]),
    ("tokio::", &["edge/src/service"]),
    (
        "tch::",
        &[
            "host/src/adjust.rs",
            "host/src/model",
            "host/src/loss",
            "host/src/train",
            "host/src/optim.rs",
            "host/src/checkpoint.rs",
            "host/src/loader",
            "host/src/eval",
            "host/src/validate",
            "host/src/quantize",
            "host/src/export.rs",
            "host/src/device.rs",
            "host/src/engine",
            "host/src/doctor.rs",
            "host/src/bench.rs",
        ],
    ),
];

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    metadata["packages"].as_array().expect("a list").clone()
}

fn dependencies(package: &Value, kind: Option<&str>) -> Vec<String> {
    let all = package["dependencies"].as_array().expect("a list").iter();
    let of_kind = all.filter(|d| d["kind"].as_str() == kind);
    of_kind
        .map(|d| d["name"].as_str().expect("a name").to_owned())
        .collect()
}

#[test]
fn arrows_between_packages_point_one_way() {
    let packages = packages();
    assert_eq!(packages.len(), MAY_KNOW.len());
    for (name, may_know) in MAY_KNOW {
        let package = packages
            .iter()
            .find(|p| p["name"] == name)
            .expect("the package is there");
        for other in dependencies(package, None) {
            let ours = MAY_KNOW.iter().any(|(known, _)| *known == other);
            assert!(
                !ours || may_know.contains(&other.as_str()),
                "{name} depends on {other}"
            );
        }
    }
}

#[test]
fn shared_depends_on_nothing_that_needs_a_system() {
    let packages = packages();
    let shared = packages
        .iter()
        .find(|p| p["name"] == "shared")
        .expect("the package is there");
    let mut found = dependencies(shared, None);
    found.sort();
    assert_eq!(found, SHARED_DEPENDENCIES);
}

#[test]
fn a_runtime_is_named_only_where_it_belongs() {
    for (runtime, places) in NAMED_IN {
        for file in sources(&root()) {
            let relative = file
                .strip_prefix(root())
                .expect("inside")
                .to_string_lossy()
                .into_owned();
            if relative.starts_with("tests/")
                || places.iter().any(|place| relative.starts_with(place))
            {
                continue;
            }
            let text = fs::read_to_string(&file).expect("a source file is readable");
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            let line = code.enumerate().find(|(_, line)| names(line, runtime));
            assert!(line.is_none(), "{relative} names {runtime}: {line:?}");
        }
    }
}

/// Whether the runtime's name stands there as a word of its own: `watch::` does not name `tch::`.
fn names(line: &str, runtime: &str) -> bool {
    line.match_indices(runtime).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
    })
}

/// Every Rust file of the packages; `field` and `int8` lie inside `edge`.
fn sources(root: &Path) -> Vec<PathBuf> {
    let outer = MAY_KNOW
        .iter()
        .filter(|(name, _)| !matches!(*name, "field" | "int8"));
    let mut folders: Vec<PathBuf> = outer.map(|(name, _)| root.join(name)).collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder is readable") {
            let path = entry.expect("an entry is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files
}
