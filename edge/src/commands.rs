//! What each command prints: results on standard output, talk on standard error.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::bench::{BenchReport, bench, drawn, pictures_of};
use crate::case::text::CaseId;
use crate::check::check;
use crate::cli::{Bench, Check, Cli, Command, Config, Demo, Model, ModelCommand, Replay, Run};
use crate::config::{DEFAULT_TEXT, StationConfig, read};
use crate::count::RESEARCH_NOTE;
use crate::demo::demo;
use crate::detector::Detector;
use crate::exit::Failure;
use crate::install::Models;
use crate::keep;
use crate::layers::layers;
use crate::model::ModelFile;
use crate::network::Network;
use crate::replay::{ANNOTATED, Paths, Progress, RECORDS, Summary, replay};
use crate::serve::serve;
use crate::source::folder::Skipped;
use crate::station;
use crate::station::settings::CaseSettings;
use crate::station::start::{Choice, StartError};
use crate::tract::TractNetwork;

/// Least time between two lines about progress.
const TALK_EVERY: Duration = Duration::from_secs(2);

/// Does what the command line says.
///
/// # Errors
/// Whatever ended the command early; it has not been printed yet.
pub fn run(cli: Cli, print: &mut dyn Write) -> Result<(), Failure> {
    match cli.command.unwrap_or(Command::Demo(Demo::default())) {
        Command::Demo(args) => run_demo(&args, print),
        Command::Replay(args) => run_replay(&args, print),
        Command::Bench(args) => run_bench(&args, print),
        Command::Check(args) => run_check(&args, print),
        Command::Run(args) => run_station(&args),
        Command::Config(args) => run_config(&args, print),
        Command::Model(command) => run_model(&command, print),
        Command::Calibrate(args) => crate::calibrate::command::run(&args, print),
        Command::Cameras(args) => crate::cameras::run(&args, print),
        Command::Keep(command) => keep::run(&command, print),
    }
}

fn load(choice: &Model) -> Result<(Detector, ModelFile), Failure> {
    let file = match &choice.model {
        Some(path) => ModelFile::read(path)?,
        None => ModelFile::embedded(),
    };
    let network = TractNetwork::load_threaded(&file, usize::from(choice.threads))?;
    Ok((Detector::new(Box::new(network)), file))
}

fn run_demo(args: &Demo, print: &mut dyn Write) -> Result<(), Failure> {
    let (mut detector, file) = load(&args.model)?;
    let (summary, cells) = demo(&mut detector, file.sha256(), &args.out)?;
    writeln!(print, "{cells}")?;
    print_differential(print, &summary)?;
    let out = args.out.display();
    eprintln!("wrote {out}/{RECORDS} and {out}/{ANNOTATED}/");
    eprintln!(
        "your own pictures: leuko-edge replay --source FOLDER --out runs/replay --annotate (cargo run --release -p edge -- replay ...)"
    );
    Ok(())
}

fn run_replay(args: &Replay, print: &mut dyn Write) -> Result<(), Failure> {
    let (mut detector, file) = load(&args.model)?;
    let thresholds = args.thresholds.over(*detector.thresholds())?;
    detector.set_thresholds(thresholds);
    let paths = Paths {
        source: args.source.clone(),
        out: args.out.clone(),
        annotate: args.annotate,
    };
    let mut talked = Instant::now();
    let summary = replay(
        &mut detector,
        file.sha256(),
        &paths,
        |progress| match progress {
            Progress::Skipped(one) => say_skipped(one),
            Progress::Field { done, of, .. } if talked.elapsed() > TALK_EVERY => {
                talked = Instant::now();
                eprintln!("{done} of {of} pictures");
            }
            Progress::Field { .. } => {}
        },
    )?;
    talk_about(&summary, args);
    if args.json {
        print_json(print, &summary)
    } else {
        Ok(print_differential(print, &summary)?)
    }
}

/// Debug quotes the name: a newline in it stays in one line.
fn say_skipped(one: &Skipped) {
    eprintln!("skipped {:?}: {}", one.image, one.reason);
}

fn print_differential(print: &mut dyn Write, summary: &Summary) -> io::Result<()> {
    match &summary.differential {
        Some(table) => writeln!(print, "{table}")?,
        None => writeln!(
            print,
            "no differential: every class above the score is listed, a cell can stand there several times"
        )?,
    }
    writeln!(print, "{RESEARCH_NOTE}")
}

fn talk_about(summary: &Summary, args: &Replay) {
    for one in &summary.undrawn {
        eprintln!("{:?}: {}", one.image, one.reason);
    }
    let dropped = &summary.dropped;
    eprintln!(
        "{} pictures, {} cells; skipped {} pictures; {} other files; dropped boxes: {} candidates, {} detections, {} outside",
        summary.fields,
        summary.detections,
        summary.skipped.len(),
        summary.other_files,
        dropped.candidates,
        dropped.detections,
        dropped.outside
    );
    eprintln!("wrote {}", args.out.join(RECORDS).display());
    if args.annotate {
        eprintln!("wrote {}/", args.out.join(ANNOTATED).display());
    }
}

fn run_bench(args: &Bench, print: &mut dyn Write) -> Result<(), Failure> {
    if args.serve {
        let load = || load(&args.model).map(|(detector, _)| detector);
        return serve(load, &mut io::stdin().lock(), print);
    }
    let (mut detector, file) = load(&args.model)?;
    if args.layers {
        let layers = layers(&mut detector, args.repeat)?;
        return match args.json {
            true => print_json(print, &layers),
            false => Ok(writeln!(print, "{layers}")?),
        };
    }
    let pictures = match &args.source {
        Some(source) => pictures_of(source, say_skipped)?,
        None => drawn(),
    };
    let mut report = bench(&mut detector, file.sha256(), &pictures, args.repeat)?;
    report.threads = args.model.threads.into();
    if args.json {
        return print_json(print, &report);
    }
    Ok(print_bench(print, &report)?)
}

fn print_bench(print: &mut dyn Write, report: &BenchReport) -> io::Result<()> {
    writeln!(print, "{:<12}{:>11}{:>11}", "stage", "median ms", "p95 ms")?;
    for stage in &report.stages {
        writeln!(
            print,
            "{:<12}{:>11.3}{:>11.3}",
            stage.name, stage.median_ms, stage.p95_ms
        )?;
    }
    writeln!(print, "{:<12}{:>11.3}", "total", report.total_median_ms)?;
    if let Some(peak) = report.peak_rss_mb {
        writeln!(print, "peak memory {peak:.1} MB")?;
    }
    writeln!(print, "threads {}", report.threads)?;
    writeln!(print, "model {}", report.model_sha256)
}

fn run_check(args: &Check, print: &mut dyn Write) -> Result<(), Failure> {
    let (mut detector, file) = load(&args.model)?;
    let report = check(&mut detector, file.name(), file.sha256())?;
    if args.json {
        print_json(print, &report)?;
    } else {
        writeln!(print, "{report}")?;
    }
    match report.passed {
        true => Ok(()),
        false if report.golden.is_empty() => Err(Failure::NothingRecorded),
        false => Err(Failure::Parity),
    }
}

fn run_config(args: &Config, print: &mut dyn Write) -> Result<(), Failure> {
    match &args.check {
        None => Ok(write!(print, "{DEFAULT_TEXT}")?),
        Some(file) => {
            let config = read_config(file)?;
            let model = Models::of(&config.store.root).active()?;
            let network = TractNetwork::load(&model)?;
            CaseSettings::new(&config, network.contract(), model.sha256())
                .map_err(StartError::from)?;
            let file = file.display();
            Ok(writeln!(
                print,
                "{file}: can be used, with model {}",
                network.contract().name
            )?)
        }
    }
}

fn run_station(args: &Run) -> Result<(), Failure> {
    let case = args.case.as_deref().map(CaseId::try_from).transpose();
    station::run::run(&Choice {
        config: args.config.clone(),
        case: case.map_err(StartError::Name)?,
        until_end: args.until_end,
    })
}

fn run_model(command: &ModelCommand, print: &mut dyn Write) -> Result<(), Failure> {
    let installed = match command {
        ModelCommand::Install { file, station } => {
            let config = config_of(station.config.as_deref())?;
            let key = config.model.public_key.as_deref();
            Models::of(&config.store.root).install(file, key)?
        }
        ModelCommand::Rollback { station } => {
            Models::of(&config_of(station.config.as_deref())?.store.root).rollback()?
        }
    };
    let when = match installed.already {
        true => "counts already",
        false => "counts from the station's next start on",
    };
    Ok(writeln!(
        print,
        "model {} {when}\nsha-256 {}",
        installed.name, installed.sha256
    )?)
}

/// Of this file, or the default.
pub(crate) fn config_of(file: Option<&Path>) -> Result<StationConfig, Failure> {
    file.map_or_else(|| Ok(StationConfig::default()), read_config)
}

fn read_config(file: &Path) -> Result<StationConfig, Failure> {
    let config = read(file).map_err(|error| Failure::Config {
        file: file.display().to_string(),
        error,
    })?;
    Ok(config.values)
}

pub(crate) fn print_json(print: &mut dyn Write, value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)?;
    Ok(writeln!(print, "{text}")?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;
    use crate::exit;

    /// What a command prints, and how it ends.
    fn run_words(words: &[&str]) -> (String, Result<(), Failure>) {
        let cli = Cli::try_parse_from([&["leuko-edge"], words].concat()).unwrap();
        let mut printed = Vec::new();
        let outcome = run(cli, &mut printed);
        (String::from_utf8(printed).unwrap(), outcome)
    }

    #[test]
    fn the_default_configuration_is_printed_and_can_be_used() {
        let (text, outcome) = run_words(&["config"]);
        outcome.unwrap();
        assert_eq!(text, DEFAULT_TEXT);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("station.toml");
        fs::write(&file, text).unwrap();
        let (text, outcome) = run_words(&["config", "--check", file.to_str().unwrap()]);
        outcome.unwrap();
        assert!(
            text.ends_with("station.toml: can be used, with model wbc-nano\n"),
            "{text}"
        );
    }

    #[test]
    fn a_bad_configuration_and_a_model_that_is_not_exchanged_have_codes_and_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (bad, good, model) = (path("bad.toml"), path("good.toml"), path("m.onnx"));
        fs::write(&bad, "[gate]\nfocus = 1").unwrap();
        fs::write(&good, format!("store.root = {:?}", path("data"))).unwrap();
        fs::write(&model, "").unwrap();
        for (words, code, expected) in [
            (
                vec!["config", "--check", &bad],
                exit::BAD_DATA,
                "bad.toml: line 2 column 1: unknown field `focus`",
            ),
            (
                vec!["model", "rollback", "--config", &bad],
                exit::BAD_DATA,
                "bad.toml: line 2 column 1: unknown field `focus`",
            ),
            (
                vec!["model", "install", &model, "--config", &good],
                exit::USAGE,
                "model.public_key is not set",
            ),
            (
                vec!["model", "rollback", "--config", &good],
                exit::FAILURE,
                "no model was installed",
            ),
        ] {
            let (printed, outcome) = run_words(&words);
            let failure = outcome.unwrap_err();
            assert_eq!((printed.as_str(), failure.code()), ("", code), "{failure}");
            assert!(failure.to_string().contains(expected), "{failure}");
        }
    }
}
