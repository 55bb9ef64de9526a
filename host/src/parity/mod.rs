//! The parity gate: whether a model file still finds what its checkpoint found.
//!
//! Every stage on the way (the checkpoint in torch, the float file and the 8-bit file in the
//! station's own program) looks at the same pictures and is scored by [`crate::score`]; a number that
//! loses more than the contract's budget against the stage before stops the export.

mod draft;
mod kept;
mod rows;
mod station;
mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::Serialize;
use shared::contract::{ModelContract, ParityBudgets, Quantization};
use shared::head::Thresholds;

use crate::checkpoint::{Checkpoint, sha256_of};
use crate::dataset::{Dataset, Sample, Split, fingerprint_of_split};
use crate::score::{ScoreOptions, ScoreReport, score_samples};
use crate::validate::{Judging, judge as judge_checkpoint};

pub use draft::Draft;
pub use kept::{REPORT_JSON, REPORT_TEXT};
pub use rows::{Measure, Row, Verdict};
pub use station::{STATION, Station};

/// What stages are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Gate<'a> {
    /// Of the model that is being made: its budgets, its names, its least score of a cell.
    pub contract: &'a ModelContract,
    /// Pictures with truth, in the contract's tables of names.
    pub data: &'a Dataset,
    /// The part that is judged.
    pub split: Split,
    /// The program that runs model files.
    pub station: &'a Station,
    /// Folder to work in; it is made, and left for the caller to remove.
    pub scratch: &'a Path,
}

/// A form of the model.
#[derive(Clone, Copy, Debug)]
pub enum Stage<'a> {
    /// In torch, on the CPU.
    Checkpoint {
        /// Where it was read from.
        path: &'a Path,
        /// What was read.
        checkpoint: &'a Checkpoint,
    },
    /// In the station's program.
    File {
        /// Heading of its column; each stage has its own.
        name: &'static str,
        /// An ONNX file with its contract, its second file beside it.
        path: &'a Path,
    },
}

impl Stage<'_> {
    /// Heading of its column.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Checkpoint { .. } => "checkpoint",
            Self::File { name, .. } => name,
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Checkpoint { path, .. } | Self::File { path, .. } => path,
        }
    }
}

/// Why there is no verdict, or a bad one.
#[derive(Debug, thiserror::Error)]
pub enum ParityError {
    /// The station's program is not there.
    #[error(
        "{STATION} is neither beside {} nor in PATH: build it with `cargo build --release -p edge`, or say with --edge where it is",
        .program.display()
    )]
    NoStation {
        /// The running program.
        program: PathBuf,
    },
    /// It ran and failed.
    #[error("{} {call}: expected exit code 0, found {}: {said}", .station.display(), code_text(*.code))]
    Station {
        /// The program.
        station: PathBuf,
        /// What it was to do.
        call: String,
        /// `None` when a signal ended it.
        code: Option<i32>,
        /// The last it said on stderr.
        said: String,
    },
    /// It cannot be started.
    #[error("{} cannot be started", .station.display())]
    NotStarted {
        /// The program.
        station: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A stage did not look at all pictures.
    #[error(
        "stage {stage}: expected findings of {expected} pictures, those of {missing} are missing, the first of {first:?}"
    )]
    Unseen {
        /// Which stage.
        stage: &'static str,
        /// Pictures of the split.
        expected: usize,
        /// Pictures without findings.
        missing: usize,
        /// The first of them.
        first: String,
    },
    /// Findings that are not the model's.
    #[error("stage {stage}: {detail}")]
    Foreign {
        /// Which stage.
        stage: &'static str,
        /// Expected and found.
        detail: String,
    },
    /// Nothing to compare with.
    #[error("expected at least two stages, found {found}")]
    Alone {
        /// Stages given.
        found: usize,
    },
    /// A split without a picture or without a cell: nothing can be lost there.
    #[error(
        "{data}, split {split}: expected pictures with cells, found {pictures} pictures and no cell"
    )]
    NothingToLose {
        /// Name of the data.
        data: String,
        /// Its part.
        split: Split,
        /// Pictures in it.
        pictures: usize,
    },
    /// Numbers beyond their budgets.
    #[error("{0}")]
    Lost(String),
}

fn code_text(code: Option<i32>) -> String {
    code.map_or_else(|| "a signal".to_owned(), |code| code.to_string())
}

impl ParityError {
    /// The code of the process.
    pub fn code(&self) -> u8 {
        match self {
            Self::NoStation { .. } | Self::NotStarted { .. } => 1,
            // The station's codes mean what ours do; its usage is our mistake, not the user's.
            Self::Station { code, .. } => match code {
                Some(code @ (3 | 4 | 6)) => *code as u8,
                _ => 1,
            },
            Self::Alone { .. } => 2,
            Self::Unseen { .. } | Self::NothingToLose { .. } => 3,
            Self::Foreign { .. } | Self::Lost(_) => 4,
        }
    }
}

/// A stage's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StageFile {
    /// Heading of its column.
    pub stage: &'static str,
    /// Name of the file, without its folder.
    pub file: String,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
}

/// What every stage found, and what may be lost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParityReport {
    /// Whether no number lost more than its budget.
    pub passed: bool,
    /// Name of the model in its contract.
    pub model: String,
    /// In the order of the columns.
    pub stages: Vec<StageFile>,
    /// What the integers were made from; `None` for a float model.
    pub quantization: Option<Quantization>,
    /// Name of the data.
    pub data: String,
    /// Part that was judged.
    pub split: &'static str,
    /// Fingerprint of that part, hexadecimal.
    pub data_fingerprint: String,
    /// Pictures looked at, by every stage.
    pub pictures: usize,
    /// Cells on them in truth.
    pub cells: u64,
    /// What findings were made with.
    pub thresholds: Thresholds,
    /// Least score of what counts as a cell.
    pub score_min: f32,
    /// Least overlap of what counts as found.
    pub iou_min: f32,
    /// What may be lost.
    pub budgets: ParityBudgets,
    /// Versions of the program that judges and of the one that runs model files.
    pub software: [String; 2],
    /// The numbers.
    pub rows: Vec<Row>,
}

impl ParityReport {
    /// How many numbers have this verdict.
    fn n(&self, verdict: Verdict) -> usize {
        self.rows
            .iter()
            .filter(|row| row.verdict == verdict)
            .count()
    }

    /// Whether the model may be written.
    ///
    /// # Errors
    /// [`ParityError::Lost`], naming what lost most.
    pub fn verdict(&self) -> Result<(), ParityError> {
        match rows::worst(&self.rows, &self.stages) {
            None => Ok(()),
            Some(worst) => {
                let n_lost = self.n(Verdict::Exceeded);
                let n_judged = n_lost + self.n(Verdict::Within);
                Err(ParityError::Lost(format!(
                    "parity: {n_lost} of {n_judged} numbers lose more than their budgets, most of all {worst}"
                )))
            }
        }
    }
}

/// Runs every stage on the pictures of the gate and compares each with the one before; `tell` hears
/// which stage begins.
///
/// # Errors
/// Fewer than two stages, a split without cells, a stage that cannot run or that leaves out a picture.
/// A loss is no error here: [`ParityReport::verdict`] makes it one.
pub fn judge(
    gate: &Gate<'_>,
    stages: &[Stage<'_>],
    mut tell: impl FnMut(&Stage<'_>),
) -> anyhow::Result<ParityReport> {
    if stages.len() < 2 {
        let found = stages.len();
        return Err(ParityError::Alone { found }.into());
    }
    let samples: Vec<&Sample> = gate.data.split(gate.split).collect();
    if samples.iter().all(|sample| sample.cells.is_empty()) {
        return Err(ParityError::NothingToLose {
            data: gate.data.name.clone(),
            split: gate.split,
            pictures: samples.len(),
        }
        .into());
    }
    let options = options(gate.contract);
    let mut seen = None;
    let mut scored = Vec::with_capacity(stages.len());
    for stage in stages {
        tell(stage);
        let score = match stage {
            Stage::Checkpoint { path, checkpoint } => {
                let how = Judging {
                    options,
                    ..Judging::on_cpu()
                };
                judge_checkpoint(path, checkpoint, gate.data, gate.split, &how)?.report
            }
            Stage::File { name, path } => {
                let pictures = match &mut seen {
                    Some(pictures) => pictures,
                    none => none.insert(station::Pictures::link(&samples, gate.scratch)?),
                };
                let findings = gate
                    .station
                    .find_cells(gate, name, path, pictures, &samples)?;
                let (classes, schema) = (&gate.data.classes, &gate.data.schema);
                score_samples(&samples, &findings, classes, schema, &options)?
            }
        };
        scored.push((file_of(stage)?, score));
    }
    report(gate, scored)
}

/// What a cell is where the model counts.
fn options(contract: &ModelContract) -> ScoreOptions {
    ScoreOptions {
        score_min: contract.thresholds.score,
        ..ScoreOptions::default()
    }
}

fn file_of(stage: &Stage<'_>) -> anyhow::Result<StageFile> {
    let name = stage.path().file_name().unwrap_or_default();
    Ok(StageFile {
        stage: stage.name(),
        file: name.to_string_lossy().into_owned(),
        sha256: sha256_of(stage.path())?,
    })
}

/// Puts the scores of all stages beside each other.
fn report(gate: &Gate<'_>, scored: Vec<(StageFile, ScoreReport)>) -> anyhow::Result<ParityReport> {
    let (stages, scores): (Vec<StageFile>, Vec<ScoreReport>) = scored.into_iter().unzip();
    let budgets = gate.contract.budgets;
    let rows = rows::rows(&scores, &budgets);
    let samples = || gate.data.split(gate.split);
    let cells: usize = samples().map(|sample| sample.cells.len()).sum();
    let options = options(gate.contract);
    Ok(ParityReport {
        passed: rows.iter().all(|row| row.verdict != Verdict::Exceeded),
        model: gate.contract.name.to_string(),
        stages,
        quantization: gate.contract.quantization.clone(),
        data: gate.data.name.clone(),
        split: gate.split.name(),
        data_fingerprint: fingerprint_of_split(gate.data, gate.split)?,
        pictures: samples().count(),
        cells: cells as u64,
        thresholds: Thresholds::EVALUATION,
        score_min: options.score_min,
        iou_min: options.iou_min,
        budgets,
        software: [
            concat!("leuko-host ", env!("CARGO_PKG_VERSION")).to_owned(),
            gate.station.software().to_owned(),
        ],
        rows,
    })
}
