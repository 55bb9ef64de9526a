//! What a training is asked for and what it begins with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::fit::FitKind;
use shared::geometry::Size;
use tch::Device;

use crate::augment::Augmentation;
use crate::cache::CachePlan;
use crate::checkpoint::{Checkpoint, GivenWeights};
use crate::dataset::Sample;
use crate::engine::autocast::AmpChoice;
use crate::engine::group::ProcessGroup;
use crate::loss::{LossOptions, LossWeights};
use crate::model::Architecture;
use crate::optim::Schedule;

/// What a run is: everything that its result depends on, beside the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainPlan {
    /// What the network looks like.
    pub architecture: Architecture,
    /// Size of the canvas.
    pub canvas: Size,
    /// How pictures are laid on it.
    pub fit: FitKind,
    /// Times every picture is seen.
    pub epochs: usize,
    /// Canvases in a batch of one process.
    pub batch: usize,
    /// Of weights, order and augmentation.
    pub seed: u64,
    /// Last epochs without mosaics, so that training ends on pictures as they are.
    pub close_mosaic: usize,
    /// Learning rates.
    pub schedule: Schedule,
    /// How pictures are varied.
    pub augmentation: Augmentation,
    /// Gains of the loss, before they are scaled to levels, classes and canvas.
    pub weights: LossWeights,
    /// Choices of the loss.
    pub loss: LossOptions,
    /// How attributes are learned.
    pub attributes: AttributePlan,
    /// Half precision.
    pub amp: AmpChoice,
    /// What is done for rare classes.
    pub balance: Balance,
    /// Folders whose pictures are shown more often.
    #[serde(default)]
    pub repeat: Vec<Repeat>,
    /// New prior boxes where the family's fit the cells badly.
    pub autoanchor: bool,
    /// Epochs without a better one after which training ends; 0 = never.
    pub patience: usize,
    /// The network computes with the numbers of its quantized form (fake quantization); begun from
    /// [`Start::Float`], by one process.
    #[serde(default)]
    pub quantized: bool,
    /// The network that teaches this one beside the truth.
    #[serde(default)]
    pub teacher: Option<TeacherFile>,
}

/// A checkpoint that teaches: its running mean, at the plan's canvas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherFile {
    /// Where it lies.
    pub checkpoint: PathBuf,
    /// A run goes on with the very same.
    pub sha256: String,
}

/// How attributes are learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttributePlan {
    /// Their loss also teaches the features below the attribute head.
    pub gradient: bool,
    /// Most cells of a batch that teach a region attribute head, above 0; the rest is counted.
    pub regions_max: usize,
}

impl Default for AttributePlan {
    fn default() -> Self {
        Self {
            gradient: true,
            regions_max: 256,
        }
    }
}

/// What is done for rare classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// Nothing.
    None,
    /// Pictures with rare classes are seen more often.
    Repeat,
    /// Rare classes weigh more in the loss.
    Weights,
}

/// A folder whose pictures are shown more often: a small data set beside a large one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// Beginning of the pictures' paths, as they were given.
    pub folder: PathBuf,
    /// How often in an epoch, 1 or more.
    pub times: f64,
}

impl Repeat {
    /// Whether the picture lies in the folder.
    pub fn holds(&self, sample: &Sample) -> bool {
        sample.image.starts_with(&self.folder)
    }
}

/// How a training came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every epoch is done.
    Done,
    /// So many epochs brought nothing better.
    NothingBetter {
        /// [`TrainPlan::patience`].
        epochs: usize,
    },
    /// Another epoch would end after the time budget.
    TimeIsUp,
}

/// What a run does not depend on: where it runs and what it tells.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Folder of this run; must exist.
    pub out: PathBuf,
    /// CPU or a card.
    pub device: Device,
    /// The other processes, where a launcher has started several; each takes its part of every
    /// global batch, of as many times [`TrainPlan::batch`] canvases as there are processes.
    pub group: Option<Arc<ProcessGroup>>,
    /// Threads that make batches.
    pub workers: usize,
    /// Where fitted pictures are kept.
    pub cache: CachePlan,
    /// Epochs from one validation to the next.
    pub validate_every: usize,
    /// Time from the start after which no epoch shall end; `None` = no limit.
    pub time_budget: Option<Duration>,
}

/// What a run begins with.
#[derive(Debug)]
pub enum Start {
    /// Random weights.
    Nothing,
    /// The weights of another run, where they fit.
    Weights(GivenWeights),
    /// The weights of a narrower network, widened to the same function.
    Narrow(GivenWeights),
    /// A network in floating point that goes on fake-quantized, with its prior boxes.
    Float(Box<Checkpoint>),
    /// The last checkpoint of this run.
    Resume(Box<Checkpoint>),
}
