//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use shared::head::Thresholds;

use crate::keep::KeepCommand;

/// Finds, describes and counts white cells on smear fields.
///
/// Without a command: finds the cells of the built-in demonstration fields.
/// For research use only. Not for use in diagnostic procedures.
#[derive(Debug, Parser)]
#[command(name = "leuko-edge", version)]
pub struct Cli {
    /// What to do; `demo` when nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Draws fields, finds their cells and writes annotated pictures
    Demo(Demo),
    /// Runs a folder of pictures through a model
    Replay(Replay),
    /// Measures the stages from JPEG to detections
    Bench(Bench),
    /// Says whether a model works on this machine as it did where it was exported
    Check(Check),
    /// Runs the station: looks through the camera, counts, records, serves the page
    Run(Run),
    /// Prints the station's default configuration, with comments, or checks another
    Config(Config),
    /// Exchanges the station's model
    #[command(subcommand)]
    Model(ModelCommand),
    /// Measures how large a pixel is and what a blank field looks like, with the configured source
    Calibrate(crate::calibrate::command::Calibrate),
    /// Lists the cameras with what they offer, for the configuration
    Cameras(crate::cameras::Cameras),
    #[command(flatten)]
    #[allow(missing_docs)]
    Keep(KeepCommand),
}

/// Which model, and how it runs.
#[derive(Args, Clone, Debug)]
pub struct Model {
    /// ONNX file exported by leuko-host [default: the model in this binary]
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Threads that work on one canvas, 1 to 64
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threads: u16,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            model: None,
            threads: 1,
        }
    }
}

/// Arguments of `demo`.
#[derive(Args, Clone, Debug)]
pub struct Demo {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: Model,
    /// Where annotated pictures and detections.jsonl go
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    pub out: PathBuf,
}

impl Default for Demo {
    fn default() -> Self {
        Self {
            model: Model::default(),
            out: PathBuf::from("runs/demo"),
        }
    }
}

/// Arguments of `replay`.
#[derive(Args, Clone, Debug)]
pub struct Replay {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: Model,
    /// Folder of PNG and JPEG pictures, searched with the folders in it
    #[arg(long, value_name = "DIR")]
    pub source: PathBuf,
    /// Where detections.jsonl and annotated pictures go
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Write annotated pictures to OUT/annotated
    #[arg(long)]
    pub annotate: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub thresholds: ThresholdChoice,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

/// Thresholds other than the contract's.
#[derive(Args, Clone, Debug, Default)]
pub struct ThresholdChoice {
    /// Least score of a cell, 0 to 1 [default: the model's]
    #[arg(long, value_name = "SCORE")]
    pub conf: Option<f32>,
    /// Overlap above which the worse of two boxes goes, 0 to 1 [default: the model's]
    #[arg(long, value_name = "IOU")]
    pub iou: Option<f32>,
    /// Most cells of a picture, 1 to 1000 [default: the model's]
    #[arg(long, value_name = "N")]
    pub max_detections: Option<u16>,
    /// Report every class above the score, not only the likeliest
    #[arg(long)]
    pub multi_label: bool,
    /// Score 0.001, IoU 0.6, 300 cells, every class: for average precision
    #[arg(long, conflicts_with_all = ["conf", "iou", "max_detections", "multi_label"])]
    pub evaluate: bool,
}

/// Thresholds that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "--conf {score} and --iou {iou} must be in 0..=1, --max-detections {max_detections} in 1..=1000"
)]
pub struct ThresholdError {
    score: f32,
    iou: f32,
    max_detections: u16,
}

impl ThresholdChoice {
    /// The contract's thresholds with what was chosen otherwise.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn over(&self, contract: Thresholds) -> Result<Thresholds, ThresholdError> {
        if self.evaluate {
            return Ok(Thresholds::EVALUATION);
        }
        let chosen = Thresholds {
            score: self.conf.unwrap_or(contract.score),
            iou: self.iou.unwrap_or(contract.iou),
            max_detections: self.max_detections.unwrap_or(contract.max_detections),
            multi_label: self.multi_label || contract.multi_label,
            across_classes: contract.across_classes && !self.multi_label,
        };
        if chosen.is_legal() {
            return Ok(chosen);
        }
        let Thresholds {
            score,
            iou,
            max_detections,
            ..
        } = chosen;
        Err(ThresholdError {
            score,
            iou,
            max_detections,
        })
    }
}

/// Arguments of `bench`.
#[derive(Args, Clone, Debug)]
pub struct Bench {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: Model,
    /// Folder of pictures [default: drawn fields]
    #[arg(long, value_name = "DIR")]
    pub source: Option<PathBuf>,
    /// Run the network when standard input says so, for edge/benches/versus
    #[arg(long, hide = true, conflicts_with_all = ["source", "repeat", "json"])]
    pub serve: bool,
    /// Pictures to measure
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub repeat: u32,
    /// Time every node of the network instead of the stages
    #[arg(long, conflicts_with = "source")]
    pub layers: bool,
    /// Print the measurement as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `check`.
#[derive(Args, Clone, Debug)]
pub struct Check {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: Model,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `run`.
#[derive(Args, Clone, Debug)]
pub struct Run {
    /// The configuration [default: that of `config`]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Open this case, or go on with it, and count with nobody there: where the place on the slide is
    /// lost and no counted field is recognised, the next one is taken for a new one and recorded as such
    #[arg(long, value_name = "ID")]
    pub case: Option<String>,
    /// End when the folder or the drawn slides are over, instead of staying up for the review
    #[arg(long)]
    pub until_end: bool,
}

/// Arguments of `config`.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Say whether this configuration can be used instead
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,
}

/// What to do with the station's model; it counts from the station's next start on.
#[derive(Clone, Debug, Subcommand)]
pub enum ModelCommand {
    /// Makes a signed model the one that counts, after its self-test
    Install {
        /// ONNX file, with its signature beside it as FILE.minisig
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        #[allow(missing_docs)]
        station: StationChoice,
    },
    /// Goes back to the model that counted before
    Rollback {
        #[command(flatten)]
        #[allow(missing_docs)]
        station: StationChoice,
    },
}

/// Which station.
#[derive(Args, Clone, Debug)]
pub struct StationChoice {
    /// Its configuration, for the data root and the key that is trusted [default: that of `config`]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}
