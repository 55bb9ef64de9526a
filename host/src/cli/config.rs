//! `--config FILE`: a training's flags from a file, so that a run can be written down and repeated.
//!
//! The file is TOML; its keys are the names of the flags, and a table `hyp` holds hyper-parameters.
//! `args.toml` of a finished run is such a file, and `--resume` reads that of its run. A flag on the
//! command line wins over the file's.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use clap::CommandFactory;
use toml::{Table, Value};

use super::Cli;
use super::train::ARGS;
use super::train_args::PROJECT;
use crate::exit::Usage;

/// The table of hyper-parameters.
const HYPER: &str = "hyp";

/// `argv` with the flags of the `--config` file of `train` put before its own.
///
/// # Errors
/// A file that cannot be read, is no TOML, or names no flag of `train`.
pub fn expand(argv: Vec<OsString>) -> anyhow::Result<Vec<OsString>> {
    let Some(at) = argv.iter().position(|a| a == "train").filter(|&at| at == 1) else {
        return Ok(argv);
    };
    let own: Vec<String> = argv[at + 1..]
        .iter()
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    let resumed = own.iter().any(|word| word == "--resume");
    let of_run = || args_of_run(&own).filter(|_| resumed);
    let Some(path) = value_of(&own, "config").or_else(of_run) else {
        return Ok(argv);
    };
    let text = fs::read_to_string(&path)
        .map_err(|e| Usage(format!("{path}: {e}, expected a file of flags")))?;
    // A resumed run has its weights.
    let settled = |key: &str| is_given(&own, key) || (resumed && key == "weights");
    let flags = flags(&path, &text, settled)?;
    let mut out = argv[..=at].to_vec();
    out.extend(flags.into_iter().map(OsString::from));
    out.extend_from_slice(&argv[at + 1..]);
    Ok(out)
}

/// The file of flags in the folder of the run that the words name; `None` where there is none.
fn args_of_run(own: &[String]) -> Option<String> {
    let project = value_of(own, "project").unwrap_or_else(|| PROJECT.to_owned());
    let path = Path::new(&project).join(value_of(own, "name")?).join(ARGS);
    path.is_file().then(|| path.to_string_lossy().into_owned())
}

/// The value behind `--name` or `--name=`.
fn value_of(own: &[String], name: &str) -> Option<String> {
    let (flag, joined) = (format!("--{name}"), format!("--{name}="));
    own.iter().enumerate().find_map(|(at, word)| match word {
        word if *word == flag => own.get(at + 1).cloned(),
        word => word.strip_prefix(&joined).map(str::to_owned),
    })
}

fn is_given(own: &[String], name: &str) -> bool {
    let (flag, joined) = (format!("--{name}"), format!("--{name}="));
    own.iter()
        .any(|word| *word == flag || word.starts_with(&joined))
}

/// The words that say the same as the file; keys that `given` knows are left to the command line.
fn flags(path: &str, text: &str, given: impl Fn(&str) -> bool) -> Result<Vec<String>, Usage> {
    let table: Table = text
        .parse()
        .map_err(|e: toml::de::Error| Usage(format!("{path}: {e}")))?;
    let command = Cli::command();
    let train = command.find_subcommand("train");
    let known: Vec<&str> = train
        .into_iter()
        .flat_map(clap::Command::get_arguments)
        .filter_map(clap::Arg::get_long)
        .filter(|name| *name != "config" && *name != "resume" && *name != "set")
        .collect();
    let mut out = Vec::new();
    for (key, value) in &table {
        if let (HYPER, Value::Table(hyper)) = (key.as_str(), value) {
            for (name, value) in hyper {
                out.push(format!("--set={name}={}", word(path, name, value)?));
            }
            continue;
        }
        if !known.contains(&key.as_str()) {
            let known = known.join(", ");
            return Err(Usage(format!(
                "{path}: key {key:?}, expected [{HYPER}] or one of {known}"
            )));
        }
        if given(key) {
            continue;
        }
        match value {
            Value::Boolean(true) => out.push(format!("--{key}")),
            Value::Boolean(false) => (),
            Value::Array(values) => {
                for value in values {
                    out.push(format!("--{key}={}", word(path, key, value)?));
                }
            }
            value => out.push(format!("--{key}={}", word(path, key, value)?)),
        }
    }
    Ok(out)
}

fn word(path: &str, key: &str, value: &Value) -> Result<String, Usage> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(yes) => Ok(yes.to_string()),
        other => Err(Usage(format!(
            "{path}: key {key:?} is {}, expected text, a number or true or false",
            other.type_str()
        ))),
    }
}

/// Writes the file that repeats a run.
///
/// # Errors
/// When the disk refuses.
pub fn write(path: &Path, flags: Table, hyper: Table) -> std::io::Result<()> {
    let mut table = flags;
    table.insert(HYPER.to_owned(), Value::Table(hyper));
    let text = format!(
        "# What this run was made with, all defaults written out. To repeat it:\n\
         #     leuko-host train --config {} --name NEW\n{table}",
        path.display()
    );
    fs::write(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_its_flags_would() {
        let text =
            "epochs = 5\ndata = [\"a\", \"b\"]\ncos-lr = true\nimgsz = 320\n[hyp]\nlr0 = 0.02\n";
        let words = flags("f.toml", text, |key| key == "imgsz").unwrap();
        let expected = [
            "--cos-lr",
            "--data=a",
            "--data=b",
            "--epochs=5",
            "--set=lr0=0.02",
        ];
        let mut words = words;
        words.sort();
        assert_eq!(words, expected);
    }

    #[test]
    fn every_shipped_recipe_is_a_training() {
        use clap::Parser;
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
        for recipe in [
            "leukemiaattri/phase1",
            "leukemiaattri/phase2",
            "small/relu",
            "small/patch4",
            "small/half",
        ] {
            let path = models.join(recipe).with_extension("toml");
            let path = path.to_string_lossy();
            let words = ["leuko-host", "train", "--config", &path, "--data", "x"];
            let argv = expand(words.iter().map(OsString::from).collect()).expect(recipe);
            assert!(argv.len() > words.len(), "{recipe}");
            Cli::try_parse_from(argv).expect(recipe);
        }
    }

    #[test]
    fn a_resumed_run_needs_its_name_alone() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("exp");
        fs::create_dir(&run).unwrap();
        fs::write(run.join(ARGS), "epochs = 5\nweights = \"a.pt\"\n").unwrap();
        let project = folder.path().to_string_lossy().into_owned();
        let words = [
            "leuko-host",
            "train",
            "--project",
            &project,
            "--name",
            "exp",
            "--resume",
        ];
        let argv: Vec<OsString> = words.iter().map(OsString::from).collect();
        let expanded = expand(argv.clone()).unwrap();
        assert_eq!(
            expanded[..3],
            ["leuko-host", "train", "--epochs=5"].map(OsString::from)
        );
        assert_eq!(expanded[3..], argv[2..]);
    }

    #[test]
    fn a_key_that_is_no_flag_is_named() {
        let error = flags("f.toml", "epoch = 5\n", |_| false)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("f.toml: key \"epoch\", expected [hyp] or one of "),
            "{error}"
        );
        let error = flags("f.toml", "epochs = {a = 1}\n", |_| false)
            .unwrap_err()
            .to_string();
        assert!(error.contains("\"epochs\" is table"), "{error}");
    }
}
