//! The flags of `leuko-host train`, and the plan they make.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use shared::fit::FitKind;
use shared::geometry::Size;

use super::data_args::DataArgs;
use crate::cache::CachePlan;
use crate::engine::autocast::AmpChoice;
use crate::exit::Usage;
use crate::hyper::{Hyper, HyperValues};
use crate::loss::{AttributeLoss, LossOptions};
use crate::model::{Activation, Architecture, AttributeHead, DetectionHead, Stem};
use crate::optim::Schedule;
use crate::train::{AttributePlan, Balance, Repeat, TrainPlan};

/// Folder of the runs unless another is named.
pub(super) const PROJECT: &str = "runs/train";

/// Learns from the train split, chooses by the val split, never looks at the test split.
///
/// Everything of a run lies in one folder, PROJECT/NAME; its args.toml repeats the run.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrainArgs {
    #[command(flatten)]
    #[serde(flatten)]
    pub data: DataArgs,
    /// Flags from a file: TOML, keys as the flags here, hyper-parameters in a table [hyp]. A flag on
    /// the command line wins.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Weights to start from: a checkpoint of ours, any .safetensors, a float .onnx of `export`, or
    /// YOLOv5's .pt; what does not fit is listed and starts from nothing.
    #[arg(long, conflicts_with = "resume")]
    pub weights: Option<PathBuf>,
    /// --weights are those of a network with half (a third, ...) of the channels: begin as the same
    /// function (Net2Net), for a large network at little cost.
    #[arg(long, requires = "weights", conflicts_with = "qat")]
    pub widen: bool,
    /// Be taught, beside the truth, what this checkpoint of `train` says of the same canvases
    /// (distillation): one of a larger network with the same classes, attributes and prior boxes
    /// (--no-autoanchor for both). --set distill=GAIN weighs it.
    #[arg(long, value_name = "CHECKPOINT", conflicts_with = "qat")]
    pub teacher: Option<PathBuf>,
    /// Quantization-aware training: go on from the checkpoint in --weights, whose network, canvas,
    /// classes and attributes are kept, computing with the numbers of its 8-bit form; `quantize` takes
    /// the ranges from what comes out. A few epochs with a small rate are enough: --epochs 6
    /// --set lr0=0.001 --set warmup_epochs=0.
    #[arg(long)]
    pub qat: bool,
    /// Size of the network: n, s, m, l or x.
    #[arg(long, default_value = "n")]
    pub model: String,
    /// Multiple of the blocks' depth, instead of the size's.
    #[arg(long)]
    pub depth: Option<f64>,
    /// Multiple of the channels, instead of the size's.
    #[arg(long)]
    pub width: Option<f64>,
    /// What follows each convolution.
    #[arg(long, value_enum, default_value = "silu")]
    pub activation: Activation,
    /// First layers: YOLOv5's, or one cheap 4x4 stride 4.
    #[arg(long, value_enum, default_value = "conv6")]
    pub stem: Stem,
    /// How boxes are said.
    #[arg(long, value_enum, default_value = "anchor")]
    pub head: DetectionHead,
    /// Where attributes are read.
    #[arg(long, value_enum, default_value = "dense")]
    pub attributes: AttributeHead,
    /// How attributes are judged; cross-entropy for dense and asymmetric for roi unless given.
    #[arg(long, value_enum)]
    pub attr_loss: Option<AttributeLoss>,
    /// The attributes' loss teaches their head alone, not the features below.
    #[arg(long)]
    pub attr_detach: bool,
    /// Most cells of a batch that teach the roi attribute head.
    #[arg(long, default_value_t = 256, value_name = "CELLS")]
    pub attr_regions: usize,
    /// Side of the canvas, pixels, a multiple of 32.
    #[arg(long, visible_alias = "img", default_value_t = 640, value_parser = parse_side)]
    pub imgsz: u32,
    /// Fill the canvas, each axis with its own ratio, instead of keeping the aspect.
    #[arg(long)]
    pub stretch: bool,
    /// Times every picture is seen.
    #[arg(long, default_value_t = 100)]
    pub epochs: usize,
    /// Canvases in a batch of this process.
    #[arg(long, visible_alias = "batch", default_value_t = 16)]
    pub batch_size: usize,
    /// Pictures to a step of the optimizer.
    #[arg(long, default_value_t = 64)]
    pub nominal_batch: usize,
    /// Hyper-parameters with YOLOv5's keys; what it does not say is as in YOLOv5's "low" file.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub hyp: Option<PathBuf>,
    /// One hyper-parameter, instead of the file's; may be given several times, the last wins.
    #[arg(long, value_name = "KEY=VALUE")]
    #[serde(skip)]
    pub set: Vec<String>,
    /// Let the rate fall along half a cosine instead of a line.
    #[arg(long)]
    pub cos_lr: bool,
    /// Rare classes: seen more often (repeat), weigh more in the loss (weights), or as they come (none).
    #[arg(long, value_enum, default_value = "none")]
    pub balance: Balance,
    /// Show the pictures below a folder this many times an epoch, 1 or more: a small data set beside a
    /// large one; may be given several times.
    #[arg(long, value_name = "FOLDER=TIMES")]
    pub repeat: Vec<String>,
    /// Keep the family's prior boxes, however badly they fit the cells.
    #[arg(long, visible_alias = "noautoanchor")]
    pub no_autoanchor: bool,
    /// Stop when this many epochs brought nothing better; 0 = never.
    #[arg(long, default_value_t = 100)]
    pub patience: usize,
    /// Begin no epoch that would probably end later than this many hours from the start.
    #[arg(long, value_name = "HOURS")]
    pub time_budget: Option<f64>,
    /// Of weights, order and augmentation.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// auto, cpu, cuda or cuda:N; each of several processes takes its own card.
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Half precision: auto (on a card bf16 where it has it, else fp16), off, bf16 or fp16.
    #[arg(long, default_value = "auto")]
    pub amp: AmpChoice,
    /// Keep all bits of 32-bit products on a card.
    #[arg(long)]
    pub no_tf32: bool,
    /// Only kernels on a card that give the same bits every time; slower.
    #[arg(long)]
    pub deterministic: bool,
    /// Threads that make batches.
    #[arg(long, default_value_t = 1)]
    pub workers: usize,
    /// Where decoded and fitted pictures are kept.
    #[arg(long, value_enum, default_value = "ram")]
    pub cache: CacheKind,
    /// Most room for them, MiB.
    #[arg(long, default_value_t = 4096)]
    pub cache_mb: u64,
    /// Folder of `--cache disk`; PROJECT/cache unless given.
    #[arg(long)]
    pub cache_dir: Option<PathBuf>,
    /// Epochs from one validation to the next.
    #[arg(long, default_value_t = 1)]
    pub val_period: usize,
    /// Folder of the runs.
    #[arg(long, default_value = PROJECT)]
    pub project: PathBuf,
    /// Folder of this run in it: new or, with --resume, the run's own. exp, exp2, ... unless given.
    #[arg(long)]
    pub name: Option<String>,
    /// Go on from this run's last checkpoint, with its plan and, unless given again, its flags.
    #[arg(long, requires = "name")]
    #[serde(skip)]
    pub resume: bool,
}

/// Where decoded and fitted pictures are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum CacheKind {
    /// Nowhere: every picture is decoded each time it is used.
    None,
    /// In memory.
    Ram,
    /// In files that the next run finds again.
    Disk,
}

pub(super) fn parse_side(text: &str) -> Result<u32, String> {
    let side = text
        .parse::<u32>()
        .ok()
        .filter(|s| s.is_multiple_of(32) && (32..=4096).contains(s));
    side.ok_or_else(|| format!("{text:?}, expected a multiple of 32 from 32 to 4096"))
}

impl TrainArgs {
    /// The hyper-parameters; says on stderr what of them has no effect.
    ///
    /// # Errors
    /// A file that cannot be used, or a setting that is no `KEY=VALUE` in its range.
    pub fn hyper(&self) -> anyhow::Result<HyperValues> {
        let mut values = match &self.hyp {
            Some(path) => HyperValues::read(path)?,
            None => HyperValues::default(),
        };
        for setting in &self.set {
            values
                .set(setting)
                .map_err(|reason| Usage(format!("--set: {reason}")))?;
        }
        for warning in values.without_effect() {
            eprintln!("{warning}");
        }
        Ok(values)
    }

    /// What the network looks like.
    ///
    /// # Errors
    /// An unknown size or multiples no network can be built with.
    pub fn architecture(&self) -> Result<Architecture, Usage> {
        let size = Architecture::yolov5(&self.model).ok_or_else(|| {
            Usage(format!(
                "--model {:?}, expected n, s, m, l or x",
                self.model
            ))
        })?;
        let architecture = Architecture {
            depth: self.depth.unwrap_or(size.depth),
            width: self.width.unwrap_or(size.width),
            activation: self.activation,
            stem: self.stem,
            detection: self.head,
            attributes: self.attributes,
        };
        match architecture.fault() {
            Some(fault) => Err(Usage(fault)),
            None => Ok(architecture),
        }
    }

    fn attribute_loss(&self) -> AttributeLoss {
        self.attr_loss.unwrap_or(match self.attributes {
            AttributeHead::Dense => AttributeLoss::CrossEntropy,
            AttributeHead::Roi => AttributeLoss::Asymmetric,
        })
    }

    fn repeats(&self) -> Result<Vec<Repeat>, Usage> {
        let parsed = |text: &String| {
            let (folder, times) = text.rsplit_once('=')?;
            let times = times.parse().ok().filter(|n| (1.0..=1000.0).contains(n))?;
            let folder = PathBuf::from(folder);
            Some(Repeat { folder, times })
        };
        let refuse = |text: &String| {
            Usage(format!(
                "--repeat {text:?}, expected FOLDER=TIMES, 1 to 1000"
            ))
        };
        self.repeat
            .iter()
            .map(|text| parsed(text).ok_or_else(|| refuse(text)))
            .collect()
    }

    /// Where fitted pictures are kept.
    pub fn cache_plan(&self) -> CachePlan {
        let bytes = self.cache_mb << 20;
        match self.cache {
            CacheKind::None => CachePlan::None,
            CacheKind::Ram => CachePlan::Ram { bytes },
            CacheKind::Disk => CachePlan::Disk {
                folder: self
                    .cache_dir
                    .clone()
                    .unwrap_or_else(|| self.project.join("cache")),
                bytes,
            },
        }
    }

    /// What the run's result depends on, beside the data.
    ///
    /// # Errors
    /// Numbers that no training can be made with.
    pub fn plan(&self, values: &HyperValues) -> Result<TrainPlan, Usage> {
        if self.epochs == 0 || self.batch_size == 0 || self.nominal_batch == 0 {
            let expected = "--epochs, --batch-size and --nominal-batch, expected at least 1";
            return Err(Usage(expected.to_owned()));
        }
        let hyper = Hyper::of(values);
        let close_mosaic = hyper.close_mosaic.min(self.epochs / 2);
        if close_mosaic < hyper.close_mosaic {
            let (asked, epochs) = (hyper.close_mosaic, self.epochs);
            eprintln!("close_mosaic {asked}: half of {epochs} epochs is taken");
        }
        Ok(TrainPlan {
            architecture: self.architecture()?,
            canvas: Size::new(self.imgsz, self.imgsz),
            fit: if self.stretch {
                FitKind::Stretch
            } else {
                FitKind::Letterbox
            },
            epochs: self.epochs,
            batch: self.batch_size,
            seed: self.seed,
            close_mosaic,
            schedule: Schedule {
                nominal_batch: self.nominal_batch,
                cosine: self.cos_lr,
                ..hyper.schedule
            },
            augmentation: hyper.augmentation,
            weights: hyper.gains,
            loss: LossOptions {
                attribute: self.attribute_loss(),
                ..hyper.loss
            },
            amp: self.amp,
            attributes: AttributePlan {
                gradient: !self.attr_detach,
                regions_max: self.attr_regions.max(1),
            },
            balance: self.balance,
            repeat: self.repeats()?,
            autoanchor: !self.no_autoanchor,
            patience: self.patience,
            quantized: self.qat,
            teacher: None,
        })
    }

    /// The flags that say what the network and its canvas look like, as they were for `plan`.
    pub fn keep_network(&mut self, plan: &TrainPlan) {
        let Architecture {
            depth,
            width,
            activation,
            stem,
            detection,
            attributes,
        } = plan.architecture;
        (self.depth, self.width) = (Some(depth), Some(width));
        (self.activation, self.stem) = (activation, stem);
        (self.head, self.attributes) = (detection, attributes);
        self.imgsz = plan.canvas.width;
        self.stretch = plan.fit == FitKind::Stretch;
        self.no_autoanchor = true;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn repeats(text: &str) -> Result<Vec<Repeat>, Usage> {
        let argv = ["leuko-host", "train", "--data", "x", "--repeat", text];
        match Cli::try_parse_from(argv).expect("flags").command {
            Command::Train(args) => args.repeats(),
            _ => unreachable!("train was asked for"),
        }
    }

    #[test]
    fn a_small_data_set_is_repeated_and_what_is_no_number_of_times_refused() {
        let (folder, times) = (PathBuf::from("sets/a=b"), 2.5);
        let parsed = repeats("sets/a=b=2.5").expect("a folder and a number");
        assert_eq!(parsed, [Repeat { folder, times }]);
        for text in ["bccd", "bccd=", "bccd=0.5", "bccd=many", "bccd=inf"] {
            let error = repeats(text).expect_err(text).0;
            let expected = format!("--repeat {text:?}, expected FOLDER=TIMES, 1 to 1000");
            assert_eq!(error, expected);
        }
    }
}
