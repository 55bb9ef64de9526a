//! `leuko-host val` and `leuko-host test`: one command, another split unless one is given.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use shared::head::Thresholds;

use super::data_args::{DataArgs, parse_split};
use super::say;
use crate::checkpoint::Checkpoint;
use crate::dataset::{Split, coco_truth, file_names};
use crate::detections::write_detections;
use crate::device;
use crate::eval::{BATCH, Speed, Symmetry, default_workers};
use crate::exit::Usage;
use crate::outputs::{write_attribute_csv, write_coco_predictions, write_whole, write_yolo_text};
use crate::score::{ScoreOptions, partners_of_samples};
use crate::validate::{Judged, Judging, judge, name_of};

/// Scores a checkpoint on a split and writes, into a folder: `report.json`, `predictions.csv` (truth
/// and prediction of every attribute), `predictions.json` and `truth.json` (COCO), `labels/` (YOLO
/// text) and `MODEL_CARD.md`.
#[derive(Debug, Args)]
pub struct ValArgs {
    /// A checkpoint of `train`.
    #[arg(long)]
    weights: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// train, val or test; what the command is called unless given.
    #[arg(long, alias = "task", value_parser = parse_split)]
    split: Option<Split>,
    /// Folder for the results; runs/val/NAME-SPLIT unless given, NAME being the checkpoint's folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write into a folder that has files in it; those of the same names are replaced.
    #[arg(long)]
    exist_ok: bool,
    /// Canvases that go through the network at once.
    #[arg(long, default_value_t = BATCH, value_parser = at_least_one)]
    batch_size: usize,
    /// Threads that decode pictures.
    #[arg(long, default_value_t = default_workers(), value_parser = at_least_one)]
    workers: usize,
    /// Look at every picture as it is, mirrored and turned both ways, and merge what is found.
    #[arg(long)]
    augment: bool,
    /// Least score of a detection; average precision wants them all.
    #[arg(long, default_value_t = Thresholds::EVALUATION.score)]
    conf_thres: f32,
    /// Overlap above which the worse of two boxes of a class goes.
    #[arg(long, default_value_t = Thresholds::EVALUATION.iou)]
    iou_thres: f32,
    /// Most detections of a picture.
    #[arg(long, default_value_t = Thresholds::EVALUATION.max_detections)]
    max_det: u16,
    /// Least score of what counts as a cell: in counts, confusion, attributes, `labels/`.
    #[arg(long, default_value_t = ScoreOptions::default().score_min)]
    score: f32,
    /// Adds the attribute score by the AttriDet reference's matching, and writes `predictions.csv` by it.
    #[arg(long)]
    reference_matching: bool,
    /// A sixth column in `labels/`: the score.
    #[arg(long)]
    save_conf: bool,
    /// Writes `detections.jsonl` too; it is large.
    #[arg(long)]
    save_jsonl: bool,
    /// auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: String,
    /// The report on stdout as JSON.
    #[arg(long)]
    json: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (1..=4096).contains(n));
    number.ok_or_else(|| format!("{text:?}, expected 1 to 4096"))
}

/// Runs the command; `split` is judged unless another is asked for.
pub fn run(args: &ValArgs, split: Split) -> anyhow::Result<()> {
    let split = args.split.unwrap_or(split);
    let thresholds = args.thresholds()?;
    let out = args.folder(split)?;
    let device = device::parse(&args.device)?;
    let checkpoint = Checkpoint::load(&args.weights)?;
    let run = &checkpoint.run;
    let data = args.data.load(Some((&run.classes, &run.schema)))?;
    let how = Judging {
        thresholds,
        options: args.options(),
        batch: args.batch_size,
        workers: args.workers,
        views: if args.augment {
            &Symmetry::AUGMENT
        } else {
            &[Symmetry::IDENTITY]
        },
        device,
    };
    let judged = judge(&args.weights, &checkpoint, &data, split, &how)?;
    let started = Instant::now();
    args.write(&out, &judged)?;
    tell_times(&judged.speed, judged.metrics, started.elapsed());
    let text = if args.json {
        serde_json::to_string_pretty(&judged.report)?
    } else {
        judged.report.to_string()
    };
    say(&text.trim_end())?;
    eprintln!("written to {}", out.display());
    Ok(())
}

fn tell_times(speed: &Speed, metrics: Duration, files: Duration) {
    let seconds = |time: Duration| time.as_secs_f64();
    eprintln!("{speed}");
    eprintln!(
        "time: {:.1} s for {} pictures, of which network {:.1} s; then metrics {:.1} s, files {:.1} s",
        seconds(speed.wall),
        speed.pictures,
        seconds(speed.inference),
        seconds(metrics),
        seconds(files)
    );
}

impl ValArgs {
    fn thresholds(&self) -> Result<Thresholds, Usage> {
        let thresholds = Thresholds {
            score: self.conf_thres,
            iou: self.iou_thres,
            max_detections: self.max_det,
            ..Thresholds::EVALUATION
        };
        let (conf, iou, most) = (self.conf_thres, self.iou_thres, self.max_det);
        if thresholds.is_legal() && (0.0..=1.0).contains(&self.score) {
            return Ok(thresholds);
        }
        Err(Usage(format!(
            "--conf-thres {conf}, --iou-thres {iou}, --score {}, --max-det {most}, expected 0..=1 and 1 to 1000 detections",
            self.score
        )))
    }

    fn options(&self) -> ScoreOptions {
        ScoreOptions {
            score_min: self.score,
            reference_matching: self.reference_matching,
            ..ScoreOptions::default()
        }
    }

    /// The folder for the results, made; refused when it has something in it.
    fn folder(&self, split: Split) -> anyhow::Result<PathBuf> {
        let out = self.out.clone().unwrap_or_else(|| {
            let run = name_of(&self.weights);
            PathBuf::from("runs/val").join(format!("{run}-{split}"))
        });
        let occupied = fs::read_dir(&out).is_ok_and(|mut entries| entries.next().is_some());
        if occupied && !self.exist_ok {
            let reason = format!(
                "{} has files in it: choose another --out, or replace them with --exist-ok",
                out.display()
            );
            return Err(Usage(reason).into());
        }
        fs::create_dir_all(&out).with_context(|| format!("{}", out.display()))?;
        Ok(out)
    }

    fn write(&self, out: &Path, judged: &Judged<'_>) -> anyhow::Result<()> {
        let Judged {
            data,
            samples,
            findings,
            ..
        } = judged;
        let schema = &data.schema;
        write_whole(&out.join("report.json"), |file| {
            Ok(serde_json::to_writer_pretty(file, &judged.report)?)
        })?;
        let partners = partners_of_samples(samples, findings, schema, &self.options())?;
        write_attribute_csv(&out.join("predictions.csv"), samples, &partners, schema)?;
        write_coco_predictions(&out.join("predictions.json"), findings, schema, self.score)?;
        write_whole(&out.join("truth.json"), |file| {
            Ok(serde_json::to_writer(
                file,
                &coco_truth(data, judged.split),
            )?)
        })?;
        let (names, _) = file_names(&data.samples);
        let names = data
            .samples
            .iter()
            .zip(&names)
            .filter(|(s, _)| s.split == judged.split);
        let names: Vec<&str> = names.map(|(_, name)| name.as_str()).collect();
        write_yolo_text(
            &out.join("labels"),
            &names,
            findings,
            self.score,
            self.save_conf,
        )?;
        if self.save_jsonl {
            write_whole(&out.join("detections.jsonl"), |file| {
                write_detections(file, findings, &data.classes, schema)
            })?;
        }
        judged.write_pictures(out)?;
        judged.write_card(out)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: ValArgs,
    }

    fn args(words: &[&str]) -> ValArgs {
        let words = [
            &["val", "--weights", "runs/train/a/best.safetensors"],
            words,
        ]
        .concat();
        Command::try_parse_from(words)
            .expect("words of the command")
            .args
    }

    #[test]
    fn results_never_mix_with_older_ones_unless_asked_to() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new").to_string_lossy().into_owned();
        let plain = args(&["--out", &out]);
        assert!(plain.folder(Split::Val).unwrap().is_dir());
        plain
            .folder(Split::Val)
            .expect("an empty folder is as good as none");
        fs::write(Path::new(&out).join("report.json"), "{}").unwrap();
        let error = plain.folder(Split::Val).unwrap_err();
        assert_eq!(crate::exit::code(&error), 2);
        assert!(
            error
                .to_string()
                .ends_with("choose another --out, or replace them with --exist-ok")
        );
        args(&["--out", &out, "--exist-ok"])
            .folder(Split::Val)
            .unwrap();
    }

    #[test]
    fn limits_that_make_no_sense_are_usage_errors() {
        assert_eq!(args(&[]).thresholds().unwrap(), Thresholds::EVALUATION);
        for words in [
            ["--conf-thres", "1.5"],
            ["--iou-thres", "nan"],
            ["--score", "-0.1"],
            ["--max-det", "0"],
            ["--max-det", "1001"],
        ] {
            let wrong = match words[1].strip_prefix('-') {
                Some(_) => args(&[&words.join("=")]),
                None => args(&words),
            };
            let error = anyhow::Error::from(wrong.thresholds().unwrap_err());
            assert_eq!(crate::exit::code(&error), 2, "{words:?}");
        }
    }

    #[test]
    fn a_run_is_called_like_its_folder() {
        assert_eq!(name_of(Path::new("runs/train/a/best.safetensors")), "a");
    }
}
