//! `leuko-host train`.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use shared::fit::FitKind;
use shared::geometry::Size;

use super::data_args::DataArgs;
use super::say;
use crate::augment::Augmentation;
use crate::checkpoint::{Checkpoint, weights_of};
use crate::dataset::{Split, remove_leaks};
use crate::device;
use crate::exit::Usage;
use crate::loss::{AttributeLoss, LossOptions, LossWeights};
use crate::model::{Architecture, AttributeHead};
use crate::optim::Schedule;
use crate::train::{
    AttributePlan, EpochRow, Progress, Start, TrainOptions, TrainPlan, best_checkpoint, train,
};

/// Learns from the train split, chooses by the val split, never looks at the test split.
#[derive(Debug, Args)]
pub struct TrainArgs {
    #[command(flatten)]
    data: DataArgs,
    /// A checkpoint of ours or of YOLOv5 (.pt) to start from; what does not fit is listed and starts
    /// from nothing.
    #[arg(long, conflicts_with = "resume")]
    weights: Option<PathBuf>,
    /// Size of the network: n, s, m, l or x.
    #[arg(long, default_value = "n", value_parser = parse_model)]
    model: Architecture,
    /// Side of the canvas, pixels, a multiple of 32.
    #[arg(long, default_value_t = 640, value_parser = parse_side)]
    imgsz: u32,
    /// Fill the canvas, each axis with its own ratio, instead of keeping the aspect.
    #[arg(long)]
    stretch: bool,
    /// Times every picture is seen.
    #[arg(long, default_value_t = 100)]
    epochs: usize,
    /// Canvases in a batch.
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Pictures to a step of the optimizer.
    #[arg(long, default_value_t = 64)]
    nominal_batch: usize,
    /// First learning rate.
    #[arg(long, default_value_t = 0.01)]
    lr0: f64,
    /// Last learning rate, as a share of the first.
    #[arg(long, default_value_t = 0.01)]
    lrf: f64,
    /// Half a cosine instead of a line.
    #[arg(long)]
    cos_lr: bool,
    /// Epochs in which the rate rises; at least 100 batches unless 0.
    #[arg(long, default_value_t = 3.0)]
    warmup_epochs: f64,
    /// Gain of the boxes.
    #[arg(long, default_value_t = 0.05)]
    box_gain: f64,
    /// Gain of the objectness.
    #[arg(long, default_value_t = 1.0)]
    obj_gain: f64,
    /// Gain of the classes, for 80 of them: it is scaled to their number.
    #[arg(long, default_value_t = 0.5)]
    cls_gain: f64,
    /// Gain of the attributes.
    #[arg(long, default_value_t = 0.05)]
    attr_gain: f64,
    /// Where attributes are read: from the detection head's channels or from regions of the backbone's
    /// maps.
    #[arg(long, value_enum, default_value = "dense")]
    attributes: AttributeHead,
    /// How attributes are judged; cross-entropy for dense and asymmetric for roi unless given.
    #[arg(long, value_enum)]
    attr_loss: Option<AttributeLoss>,
    /// The attributes' loss teaches their head alone, not the features below.
    #[arg(long)]
    attr_detach: bool,
    /// Most cells of a batch that teach the roi attribute head.
    #[arg(long, default_value_t = 256, value_name = "CELLS")]
    attr_regions: usize,
    /// Probability of four pictures on a canvas.
    #[arg(long, default_value_t = 1.0)]
    mosaic: f32,
    /// Last epochs without mosaics.
    #[arg(long, default_value_t = 10)]
    close_mosaic: usize,
    /// Smallest size, 1 = as fitted.
    #[arg(long, default_value_t = 0.5)]
    scale_min: f32,
    /// Largest size, 1 = as fitted.
    #[arg(long, default_value_t = 1.5)]
    scale_max: f32,
    /// Rotation, degrees each way.
    #[arg(long, default_value_t = 0.0)]
    degrees: f32,
    /// Of weights, order and augmentation.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Threads that make batches.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Room for fitted pictures, MiB.
    #[arg(long, default_value_t = 4096)]
    cache_mb: usize,
    /// Epochs from one validation to the next.
    #[arg(long, default_value_t = 1)]
    val_period: usize,
    /// Folder of the runs.
    #[arg(long, default_value = "runs/train")]
    project: PathBuf,
    /// Folder of this run in it; must be new or, with --resume, the run's own.
    #[arg(long, default_value = "exp")]
    name: String,
    /// Go on from this run's last checkpoint, with its plan.
    #[arg(long)]
    resume: bool,
}

fn parse_model(text: &str) -> Result<Architecture, String> {
    Architecture::yolov5(text).ok_or_else(|| format!("{text:?}, expected one of n, s, m, l, x"))
}

fn parse_side(text: &str) -> Result<u32, String> {
    let side = text
        .parse::<u32>()
        .ok()
        .filter(|s| s.is_multiple_of(32) && (32..=4096).contains(s));
    side.ok_or_else(|| format!("{text:?}, expected a multiple of 32 from 32 to 4096"))
}

impl TrainArgs {
    /// Refuses numbers that no training can be made with.
    fn check(&self) -> Result<(), Usage> {
        let unit = |v: f64| (0.0..=1.0).contains(&v);
        let positive = |v: f64| v.is_finite() && v > 0.0;
        let not_negative = |v: f64| v.is_finite() && v >= 0.0;
        let (smallest, largest) = (f64::from(self.scale_min), f64::from(self.scale_max));
        let cases = [
            (
                self.epochs > 0 && self.batch > 0,
                "--epochs and --batch, expected at least 1",
            ),
            (self.attr_regions > 0, "--attr-regions, expected at least 1"),
            (positive(self.lr0), "--lr0, expected above 0"),
            (unit(self.lrf), "--lrf, expected 0 to 1"),
            (
                not_negative(self.warmup_epochs),
                "--warmup-epochs, expected 0 or more",
            ),
            (unit(f64::from(self.mosaic)), "--mosaic, expected 0 to 1"),
            (
                not_negative(f64::from(self.degrees)),
                "--degrees, expected 0 or more",
            ),
            (
                positive(smallest) && largest.is_finite() && smallest <= largest,
                "--scale-min and --scale-max, expected above 0 and in this order",
            ),
            (
                [self.box_gain, self.obj_gain, self.cls_gain, self.attr_gain]
                    .into_iter()
                    .all(not_negative),
                "--box-gain, --obj-gain, --cls-gain and --attr-gain, expected 0 or more",
            ),
        ];
        match cases.into_iter().find(|(right, _)| !right) {
            Some((_, expected)) => Err(Usage(expected.to_owned())),
            None => Ok(()),
        }
    }

    fn attribute_loss(&self) -> AttributeLoss {
        self.attr_loss.unwrap_or(match self.attributes {
            AttributeHead::Dense => AttributeLoss::CrossEntropy,
            AttributeHead::Roi => AttributeLoss::Asymmetric,
        })
    }

    fn plan(&self) -> anyhow::Result<TrainPlan> {
        self.check()?;
        let close_mosaic = self.close_mosaic.min(self.epochs / 2);
        if close_mosaic < self.close_mosaic {
            eprintln!(
                "--close-mosaic {}: half of {} epochs is taken",
                self.close_mosaic, self.epochs
            );
        }
        Ok(TrainPlan {
            architecture: Architecture {
                attributes: self.attributes,
                ..self.model
            },
            canvas: Size::new(self.imgsz, self.imgsz),
            fit: if self.stretch {
                FitKind::Stretch
            } else {
                FitKind::Letterbox
            },
            epochs: self.epochs,
            batch: self.batch,
            seed: self.seed,
            close_mosaic,
            schedule: Schedule {
                lr0: self.lr0,
                lrf: self.lrf,
                nominal_batch: self.nominal_batch.max(1),
                cosine: self.cos_lr,
                warmup_epochs: self.warmup_epochs.max(0.0),
                ..Schedule::default()
            },
            augmentation: Augmentation {
                mosaic: self.mosaic,
                scale: [self.scale_min, self.scale_max],
                degrees: self.degrees,
                ..Augmentation::LOW
            },
            weights: LossWeights {
                bbox: self.box_gain,
                objectness: self.obj_gain,
                class: self.cls_gain,
                attribute: self.attr_gain,
            },
            loss: LossOptions {
                attribute: self.attribute_loss(),
                ..LossOptions::default()
            },
            attributes: AttributePlan {
                gradient: !self.attr_detach,
                regions_max: self.attr_regions,
            },
        })
    }
}

/// Runs the command.
pub fn run(args: TrainArgs) -> anyhow::Result<()> {
    let device = device::parse(&args.device)?;
    let out = args.project.join(&args.name);
    let resume = open_run(&out, args.resume)?;
    let plan = match &resume {
        Some(checkpoint) => checkpoint.run.plan.clone(),
        None => args.plan()?,
    };
    let tables = resume.as_ref().map(|c| (&c.run.classes, &c.run.schema));
    let mut data = args.data.load(tables)?;
    let leaks = remove_leaks(&mut data)?;
    eprintln!(
        "left out of training: {} pictures equal or nearly equal to a held-out one",
        leaks.equal.len() + leaks.near.len()
    );
    data.samples.retain(|sample| sample.split != Split::Test);
    let options = TrainOptions {
        out: out.clone(),
        device,
        workers: args.workers,
        cache_bytes: args.cache_mb << 20,
        validate_every: args.val_period.max(1),
    };
    fs::write(
        out.join("plan.json"),
        serde_json::to_string_pretty(&plan)? + "\n",
    )
    .with_context(|| format!("{}", out.display()))?;
    let stop = stop_flag()?;
    let bar = Bar::new();
    let start = match &args.weights {
        Some(path) => Start::Weights(weights_of(path)?),
        None => resume.map_or(Start::Nothing, |checkpoint| {
            Start::Resume(Box::new(checkpoint))
        }),
    };
    let state = train(&data, plan, start, &options, &stop, |progress| {
        bar.show(&progress)
    })?;
    bar.finish();
    if let Some((fitness, epoch)) = state.best {
        let best = best_checkpoint(&out);
        say(&format!(
            "best epoch {epoch}, fitness {fitness:.4}: {}",
            best.display()
        ))?;
    }
    Ok(())
}

/// A new folder, or the checkpoint of the run to go on with.
fn open_run(out: &Path, resume: bool) -> anyhow::Result<Option<Checkpoint>> {
    let last = crate::train::last_checkpoint(out);
    if resume {
        return Ok(Some(Checkpoint::load(&last)?));
    }
    if last.exists() {
        let last = last.display();
        let reason = format!("{last} exists: choose another --name, or go on with --resume");
        return Err(Usage(reason).into());
    }
    fs::create_dir_all(out).with_context(|| format!("{}", out.display()))?;
    Ok(None)
}

/// Set by Ctrl-C; a second Ctrl-C ends the process at once (every file is written whole or not).
fn stop_flag() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("stopping; press Ctrl-C again to end at once");
    })
    .context("Ctrl-C handler")?;
    Ok(stop)
}

/// A bar on a terminal, a line an epoch elsewhere.
struct Bar {
    bar: ProgressBar,
    terminal: bool,
}

impl Bar {
    fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal {
            ProgressBar::new(0)
        } else {
            ProgressBar::hidden()
        };
        let template = "epoch {prefix} {bar:30} {pos}/{len} {eta}";
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, terminal }
    }

    fn show(&self, progress: &Progress<'_>) {
        match progress {
            Progress::Batch { epoch, done, of } => {
                if *done == 1 {
                    self.bar.reset();
                    self.bar.set_length(*of as u64);
                    self.bar.set_prefix(epoch.to_string());
                }
                self.bar.set_position(*done as u64);
            }
            Progress::Unfit { weights } => {
                eprintln!(
                    "weights that do not fit and start from nothing: {}",
                    weights.join(", ")
                );
            }
            Progress::LeftOut { epoch, regions } => {
                eprintln!(
                    "epoch {epoch}: {regions} cells did not teach the attributes, see --attr-regions"
                );
            }
            Progress::Epoch {
                row,
                epochs,
                is_best,
            } => {
                let line = line(row, *epochs, *is_best);
                if self.terminal {
                    self.bar.println(line)
                } else {
                    eprintln!("{line}")
                }
            }
        }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn line(row: &EpochRow, epochs: usize, is_best: bool) -> String {
    let [bbox, objectness, class, attribute] = row.losses;
    let mut line = format!(
        "epoch {}/{epochs}  box {bbox:.4} obj {objectness:.4} cls {class:.4} attr {attribute:.4}",
        row.epoch
    );
    if let Some(v) = &row.validation {
        let number = |v: Option<f64>| v.map_or("-".to_owned(), |v| format!("{v:.3}"));
        line += &format!(
            "  mAP50 {} mAP50-95 {} cell AP50 {} attr F1 {}",
            number(v.map50),
            number(v.map50_95),
            number(v.cell_ap50),
            number(v.attribute_f1)
        );
    }
    line + &format!(
        "  {:.0} s{}",
        row.seconds,
        if is_best { "  best" } else { "" }
    )
}
