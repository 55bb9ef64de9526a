//! The binary from outside: what it prints where, and its exit codes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn leuko_edge(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leuko-edge"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .expect("the binary runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn tiny() -> String {
    let path = project().join("tests/fixtures/tiny.onnx");
    path.to_str().expect("a UTF-8 checkout").to_owned()
}

#[test]
fn without_a_word_it_shows_the_demonstration() {
    let folder = tempfile::tempdir().unwrap();
    let output = leuko_edge(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let words = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(words.starts_with("field-1: "), "{words}");
    assert!(words.contains("95 % limits"), "{words}");
    assert!(words.contains("For research use only."), "{words}");
    assert!(stderr(&output).contains("leuko-edge replay --source"));
    let out = folder.path().join("runs/demo");
    let records = fs::read_to_string(out.join("detections.jsonl")).unwrap();
    assert_eq!(records.lines().count(), 4);
    assert_eq!(fs::read_dir(out.join("annotated")).unwrap().count(), 4);
}

#[test]
fn every_failure_has_its_code_and_is_said_once() {
    struct Case<'a> {
        arguments: &'a [&'a str],
        code: i32,
        words: &'a str,
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("none")).unwrap();
    fs::write(folder.path().join("empty.onnx"), b"").unwrap();
    fs::write(folder.path().join("file"), b"").unwrap();
    let pictures = project().join("tests/fixtures/pictures");
    let pictures = pictures.to_str().unwrap();
    let case = |arguments, code, words| Case {
        arguments,
        code,
        words,
    };
    for Case {
        arguments,
        code,
        words,
    } in [
        case(&["fly"], 2, "unrecognized subcommand"),
        case(
            &[
                "replay", "--source", pictures, "--out", "o", "--conf", "1.5",
            ],
            2,
            "leuko-edge: --conf 1.5 and --iou 0.45 must be in 0..=1",
        ),
        case(
            &["cases", "--root", "gone"],
            6,
            "leuko-edge: gone/cases: cannot look at: No such file",
        ),
        case(
            &["cases", "--root", "a", "--config", "b"],
            2,
            "cannot be used with",
        ),
        case(
            &["replay", "--source", "gone", "--out", "o"],
            3,
            "leuko-edge: source gone: No such file",
        ),
        case(
            &["replay", "--source", "none", "--out", "o"],
            3,
            "leuko-edge: source none: no picture could be read",
        ),
        case(
            &["check", "--model", "gone.onnx"],
            4,
            "leuko-edge: gone.onnx: cannot be read: No such file",
        ),
        case(
            &["bench", "--model", "empty.onnx"],
            4,
            "leuko-edge: empty.onnx: empty, expected an ONNX model",
        ),
        case(
            &["replay", "--source", pictures, "--out", "file/o"],
            6,
            "leuko-edge: file/o: cannot be written: ",
        ),
    ] {
        let mut arguments = arguments.to_vec();
        let tiny = tiny();
        if matches!(arguments[0], "replay") {
            arguments.extend(["--model", &tiny]);
        }
        let output = leuko_edge(folder.path(), &arguments);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert_eq!(said.matches(words).count(), 1, "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "stdout is data");
    }
}

#[test]
fn replay_counts_the_bad_pictures_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = project().join("tests/fixtures/pictures");
    let output = leuko_edge(
        folder.path(),
        &[
            "replay",
            "--model",
            &tiny(),
            "--source",
            pictures.to_str().unwrap(),
            "--out",
            "out",
            "--evaluate",
            "--json",
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["fields"], 11);
    let skipped: Vec<&str> = summary["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["image"].as_str())
        .collect();
    assert_eq!(skipped, ["crc.png", "deep.png", "huge.png"]);
    assert_eq!(stderr(&output).matches("skipped \"").count(), 3);
    assert_eq!(summary["thresholds"]["multi_label"], true);
    assert_eq!(summary["thresholds"]["score"], 0.001);
    let words = |key: &str| summary[key].as_str().unwrap_or_default().to_owned();
    assert!(words("note").starts_with("For research use only."));
    assert!(words("limits_note").ends_with("the error of counting only."));
    assert!(
        summary["differential"].is_null(),
        "a cell is listed once a class"
    );
}

#[test]
fn a_self_test_with_nothing_recorded_is_a_no() {
    let folder = tempfile::tempdir().unwrap();
    let output = leuko_edge(folder.path(), &["check", "--model", &tiny()]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(words.contains("nothing can be said"), "{words}");
    assert!(words.ends_with("\nno\n"), "{words}");
    assert!(stderr(&output).contains("records no golden field"));
}

#[test]
fn bench_speaks_the_agreed_json() {
    let folder = tempfile::tempdir().unwrap();
    let output = leuko_edge(
        folder.path(),
        &["bench", "--model", &tiny(), "--repeat", "3", "--json"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<&str> = report["stages"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|stage| stage["name"].as_str())
        .collect();
    assert_eq!(names, ["decode", "canvas", "network", "postprocess"]);
    for stage in report["stages"].as_array().unwrap() {
        assert!(stage["median_ms"].as_f64().unwrap() > 0.0, "{stage}");
        assert!(stage["p95_ms"].as_f64() >= stage["median_ms"].as_f64());
    }
    let keys: Vec<&String> = report.as_object().unwrap().keys().collect();
    let expected = [
        "model_sha256",
        "peak_rss_mb",
        "stages",
        "threads",
        "total_median_ms",
    ];
    let mut sorted: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
}
