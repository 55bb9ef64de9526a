//! Whole command lines, with their exit codes.

use clap::Parser;

use super::check::examine;
use super::*;
use crate::exit::code;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: DataCommand,
}

/// The exit code and the words of `data WORDS`.
fn outcome(words: &[&str]) -> (u8, String) {
    let line = Line::try_parse_from(std::iter::once(&"data").chain(words)).unwrap();
    match run(line.command) {
        Ok(()) => (0, String::new()),
        Err(error) => (code(&error), format!("{error:#}")),
    }
}

#[test]
fn a_picture_in_two_splits_is_bad_data_and_stays_counted() {
    let scratch = tempfile::tempdir().unwrap();
    let set = format!("{}/set/", scratch.path().display());
    let phantom = ["phantom", "--out", &set, "--fields", "1,1,1"];
    assert_eq!(outcome(&phantom), (0, String::new()));
    assert_eq!(outcome(&["check", &set, "--pixels"]), (0, String::new()));
    let only = |folder: &str| {
        let folder = Path::new(&set).join(folder);
        let entry = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap();
        entry.path()
    };
    std::fs::copy(only("images/test"), only("images/train")).unwrap();
    let (code, said) = outcome(&["check", &set, "--pixels"]);
    assert_eq!(code, 3);
    let expected = "expected no picture in two splits, found 1";
    assert!(said.ends_with(expected), "{said}");
    let lenient = ["check", &set, "--pixels", "--lenient"];
    assert_eq!(outcome(&lenient), (0, String::new()));
    let input = Input {
        paths: vec![PathBuf::from(&set)],
        lenient: true,
        boxes: None,
        ignore_class: Vec::new(),
        group_by: None,
    };
    let (data, leaks) = examine(&input, true).unwrap();
    assert_eq!(data.split_counts(), [1, 1, 1]);
    assert_eq!(leaks.unwrap().equal.len(), 1);
}

#[test]
fn numbers_that_cannot_be_meant_are_a_usage_error_before_any_data_is_read() {
    for (words, said) in [
        (
            ["split", "absent", "--out", "never", "--ratios", "1,2"],
            "--ratios: expected three numbers, found 2",
        ),
        (
            ["split", "absent", "--out", "never", "--ratios", "0,0,0"],
            "--ratios: expected ratios of 0 and more, not all 0, found [0.0, 0.0, 0.0]",
        ),
        (
            ["phantom", "--seed", "1", "--out", "never", "--fields=1"],
            "--fields: expected three numbers, found 1",
        ),
        (
            ["phantom", "--seed", "1", "--out", "never", "--fields=0,0,0"],
            "--fields: expected a field to draw, found 0,0,0",
        ),
    ] {
        assert_eq!(outcome(&words), (2, said.to_owned()));
    }
}
