//! The training loop: batches in, checkpoints and `results.csv` out.

mod journal;
mod pictures;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use shared::fit::FitKind;
use shared::geometry::Size;
use tch::{Device, Tensor, nn};

use crate::augment::Augmentation;
use crate::checkpoint::{self, Checkpoint, CheckpointError, RunState};
use crate::dataset::{DataError, Dataset, Sample, Split, fingerprint};
use crate::loader::{Batch, EpochPlan, Loader};
use crate::loss::{LossOptions, LossWeights, loss};
use crate::model::{Architecture, Detector, scaled};
use crate::optim::{Ema, Schedule, Sgd};
use crate::picture::PictureError;
use crate::validate::{Validation, ValidationError, validate};

pub use journal::{EpochRow, Journal};

/// Gradient norm above which gradients are scaled down (attridet.md, 8.5).
const GRADIENT_NORM_MAX: f64 = 10.0;

/// Batches with a loss or gradient that is no number, after which training stops.
const NOT_FINITE_MAX: usize = 20;

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
    /// Canvases in a batch.
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
}

/// What a run does not depend on: where it runs and what it tells.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Folder of this run; must exist.
    pub out: PathBuf,
    /// CPU or a card.
    pub device: Device,
    /// Threads that make batches.
    pub workers: usize,
    /// Room for fitted pictures, bytes.
    pub cache_bytes: usize,
    /// Epochs from one validation to the next.
    pub validate_every: usize,
}

/// What a run begins with.
#[derive(Debug)]
pub enum Start {
    /// Random weights.
    Nothing,
    /// The weights of another run, where they fit.
    Weights(BTreeMap<String, Tensor>),
    /// The last checkpoint of this run.
    Resume(Box<Checkpoint>),
}

/// Why training stopped early.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Nothing to learn from, or nothing to choose by.
    #[error("{name}: {split} split has no pictures with cells")]
    Empty {
        /// The data set.
        name: String,
        /// Which part.
        split: &'static str,
    },
    /// A picture.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// The data set.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The journal or a picture of the run.
    #[error("{} cannot be written", .path.display())]
    Journal {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The checkpoint to go on from does not fit.
    #[error("cannot go on from this checkpoint: {0}")]
    Resume(String),
    /// Too many batches without a finite loss.
    #[error(
        "loss or gradient was not finite in {0} batches; the last good checkpoint is kept. Lower lr0?"
    )]
    NotFinite(usize),
    /// The validation.
    #[error(transparent)]
    Validation(#[from] ValidationError),
    /// Stopped by the user; every finished epoch is saved.
    #[error("interrupted in epoch {epoch}; {}", if *.epoch > 1 { "go on with --resume" } else { "no epoch was done, nothing to resume" })]
    Interrupted {
        /// Counted from 1.
        epoch: usize,
    },
}

/// A run in progress.
struct Run<'a> {
    options: &'a TrainOptions,
    state: RunState,
    store: nn::VarStore,
    network: Detector,
    sgd: Sgd,
    ema: Ema,
    /// Batches since the last step.
    gathered: usize,
    not_finite: usize,
    stop: &'a AtomicBool,
}

/// Means over an epoch: box, objectness, class, attribute.
#[derive(Clone, Copy, Debug, Default)]
struct EpochLoss {
    sums: [f64; 4],
    batches: usize,
}

/// Trains on the train split of `data`, chooses by its val split.
///
/// `last.safetensors` and `best.safetensors` are written to the run's folder after every epoch,
/// `results.csv` beside them. `each` hears of every batch (done, all) and every epoch.
///
/// # Errors
/// See [`TrainError`]; the checkpoints of finished epochs stay.
pub fn train(
    data: &Dataset,
    plan: TrainPlan,
    start: Start,
    options: &TrainOptions,
    stop: &AtomicBool,
    mut each: impl FnMut(Progress<'_>),
) -> Result<RunState, TrainError> {
    let of = |split| data.samples.iter().filter(move |s| s.split == split);
    let train: Vec<&Sample> = of(Split::Train).collect();
    let val: Vec<&Sample> = of(Split::Val).collect();
    for (samples, split) in [(&train, "train"), (&val, "val")] {
        if samples.iter().all(|s| s.cells.is_empty()) {
            return Err(TrainError::Empty {
                name: data.name.clone(),
                split,
            });
        }
    }
    let loader = Loader::new(train, plan.fit, plan.canvas, options.cache_bytes);
    let (mut run, unfit) = Run::new(data, plan, start, options, stop)?;
    if !unfit.is_empty() {
        each(Progress::Unfit { weights: &unfit });
    }
    let mut journal = Journal::open(&options.out, run.state.epochs_done).map_err(unwritten)?;
    for epoch in run.state.epochs_done..run.state.plan.epochs {
        let started = Instant::now();
        let losses = run.epoch(epoch, &loader, &mut each)?;
        let last = epoch + 1 == run.state.plan.epochs;
        let validation = if last || (epoch + 1) % options.validate_every == 0 {
            Some(run.validate(&val, data)?)
        } else {
            None
        };
        let is_best = run.note(epoch, validation.as_ref());
        let row = EpochRow {
            epoch: epoch + 1,
            losses: losses.means(),
            validation,
            lr: run
                .pace(epoch * loader.batches(run.state.plan.batch), &loader)
                .lr,
            seconds: started.elapsed().as_secs_f64(),
        };
        run.check_finite()?;
        // The journal first: a resumed run cuts lines it has not reached, but cannot make up lost ones.
        journal.append(&row).map_err(unwritten)?;
        run.save(is_best)?;
        pictures::write_curves(journal.path(), &options.out).map_err(unwritten)?;
        each(Progress::Epoch {
            row: &row,
            epochs: run.state.plan.epochs,
            is_best,
        });
    }
    Ok(run.state)
}

fn unwritten((path, source): (PathBuf, std::io::Error)) -> TrainError {
    TrainError::Journal { path, source }
}

/// The state to begin with; a run to go on with must have been trained on this very data.
fn state_of(data: &Dataset, plan: TrainPlan, start: &Start) -> Result<RunState, TrainError> {
    let data_fingerprint = fingerprint(data)?;
    if let Start::Resume(from) = start {
        let trained_on = &from.run.data_fingerprint;
        if *trained_on != data_fingerprint {
            let reason = format!("it was trained on data {trained_on}, this is {data_fingerprint}");
            return Err(TrainError::Resume(reason));
        }
        return Ok(from.run.clone());
    }
    let levels = plan.architecture.levels();
    Ok(RunState {
        version: RunState::version(),
        software: format!("leuko-host {}", env!("CARGO_PKG_VERSION")),
        plan,
        classes: data.classes.clone(),
        schema: data.schema.clone(),
        levels,
        data_fingerprint,
        epochs_done: 0,
        ema_updates: 0,
        best: None,
    })
}

/// What training tells while it runs.
pub enum Progress<'a> {
    /// The weights it was to start from lack these, or have them in another shape.
    Unfit {
        /// Names.
        weights: &'a [String],
    },
    /// A batch is done.
    Batch {
        /// Epoch, from 1.
        epoch: usize,
        /// Batches done in it.
        done: usize,
        /// Batches in it.
        of: usize,
    },
    /// An epoch is done.
    Epoch {
        /// Its line in the journal.
        row: &'a EpochRow,
        /// Epochs in all.
        epochs: usize,
        /// The best so far.
        is_best: bool,
    },
}

impl<'a> Run<'a> {
    fn new(
        data: &Dataset,
        plan: TrainPlan,
        start: Start,
        options: &'a TrainOptions,
        stop: &'a AtomicBool,
    ) -> Result<(Self, Vec<String>), TrainError> {
        tch::manual_seed(plan.seed as i64);
        let state = state_of(data, plan, &start)?;
        let mut store = nn::VarStore::new(options.device);
        let network = checkpoint::build(&store, &state.plan.architecture, &state.head());
        let mut sgd = Sgd::new(&store, &state.plan.schedule, state.plan.batch);
        let mut unfit = Vec::new();
        let ema = match start {
            Start::Nothing => Ema::new(&store),
            Start::Weights(weights) => {
                unfit = checkpoint::fill_where_fitting(&store, &weights);
                Ema::new(&store)
            }
            Start::Resume(from) => {
                checkpoint::fill(&mut store, &from.weights)?;
                sgd.restore(from.momentum);
                let shadow = from
                    .ema
                    .into_iter()
                    .map(|(n, t)| (n, t.to_device(options.device)));
                Ema::restored(shadow.collect(), state.ema_updates)
            }
        };
        Ok((
            Self {
                options,
                state,
                store,
                network,
                sgd,
                ema,
                gathered: 0,
                not_finite: 0,
                stop,
            },
            unfit,
        ))
    }

    fn pace(&self, at: usize, loader: &Loader<'_>) -> crate::optim::Pace {
        let plan = &self.state.plan;
        plan.schedule
            .pace(at, loader.batches(plan.batch), plan.epochs, plan.batch)
    }

    fn epoch(
        &mut self,
        epoch: usize,
        loader: &Loader<'_>,
        each: &mut impl FnMut(Progress<'_>),
    ) -> Result<EpochLoss, TrainError> {
        let plan = self.state.plan.clone();
        let mut augmentation = plan.augmentation;
        if epoch + plan.close_mosaic >= plan.epochs {
            augmentation.mosaic = 0.0;
        }
        let workers = self.options.workers;
        let epoch_plan = EpochPlan {
            seed: plan.seed,
            epoch,
            batch: plan.batch,
            workers,
            augmentation,
        };
        let of = loader.batches(plan.batch);
        let mut losses = EpochLoss::default();
        let mut done = 0;
        let mut unseen = epoch == 0;
        let mut drawn = Ok(());
        loader.epoch(&epoch_plan, |batch| {
            if std::mem::take(&mut unseen) {
                drawn = pictures::write_batch(
                    &batch,
                    plan.canvas,
                    &self.state.classes,
                    &self.options.out,
                );
            }
            let pace = self.pace(epoch * of + done, loader);
            done += 1;
            self.batch(&batch, &pace, done == of, &mut losses);
            each(Progress::Batch {
                epoch: epoch + 1,
                done,
                of,
            });
            !self.stop.load(Ordering::Relaxed) && self.not_finite <= NOT_FINITE_MAX
        })?;
        drawn.map_err(unwritten)?;
        if self.not_finite > NOT_FINITE_MAX {
            return Err(TrainError::NotFinite(self.not_finite));
        }
        if done < of {
            return Err(TrainError::Interrupted { epoch: epoch + 1 });
        }
        Ok(losses)
    }

    /// Forward, backward and, when enough batches are gathered or the epoch ends, a step.
    fn batch(
        &mut self,
        batch: &Batch,
        pace: &crate::optim::Pace,
        last: bool,
        losses: &mut EpochLoss,
    ) {
        let plan = &self.state.plan;
        let head = self.state.head();
        let canvases = channels_last(&scaled(&batch.canvases.to_device(self.options.device)));
        let heads = self.network.forward(&canvases, true).heads;
        let weights = plan.weights.scaled(&head, plan.canvas);
        let targets = &batch.targets;
        let parts = loss(
            &head,
            plan.canvas,
            &heads,
            targets,
            &weights,
            &plan.loss,
            None,
        );
        let values = parts.values();
        if values.iter().all(|v| v.is_finite()) {
            parts.total().backward();
            losses.add(values);
            self.gathered += 1;
        } else {
            self.not_finite += 1;
        }
        if self.gathered >= pace.accumulate || (last && self.gathered > 0) {
            self.gathered = 0;
            if self.sgd.step(pace, GRADIENT_NORM_MAX).is_finite() {
                self.ema.update(&self.store);
            } else {
                self.not_finite += 1;
            }
        }
    }

    fn validate(&self, val: &[&Sample], data: &Dataset) -> Result<Validation, TrainError> {
        let mut store = nn::VarStore::new(self.options.device);
        let head = self.state.head();
        let network = checkpoint::build(&store, &self.state.plan.architecture, &head);
        checkpoint::fill(&mut store, self.ema.shadow())?;
        Ok(validate(
            &network,
            &head,
            &self.state.plan,
            self.options.device,
            val,
            data,
        )?)
    }

    /// Counts the epoch; true when it is the best so far.
    fn note(&mut self, epoch: usize, validation: Option<&Validation>) -> bool {
        self.state.epochs_done = epoch + 1;
        self.state.ema_updates = self.ema.updates();
        let Some(fitness) = validation.map(Validation::fitness) else {
            return false;
        };
        let is_best = self.state.best.is_none_or(|(best, _)| fitness > best);
        if is_best {
            self.state.best = Some((fitness, epoch + 1));
        }
        is_best
    }

    /// Nothing that is no number may replace the last good checkpoint.
    fn check_finite(&self) -> Result<(), TrainError> {
        let finite = |t: &Tensor| t.isfinite().all().int64_value(&[]) == 1;
        if self.ema.shadow().values().all(finite) {
            Ok(())
        } else {
            Err(TrainError::NotFinite(self.not_finite))
        }
    }

    /// The best first: a cut between the two files then costs an epoch, never the best weights.
    fn save(&self, is_best: bool) -> Result<(), CheckpointError> {
        let shadow = self.ema.shadow();
        let ema = || {
            shadow
                .iter()
                .map(|(n, t)| (n.clone(), t.shallow_clone()))
                .collect()
        };
        let run = self.state.clone();
        if is_best {
            let (weights, momentum) = (BTreeMap::new(), BTreeMap::new());
            let best = Checkpoint {
                run: run.clone(),
                weights,
                ema: ema(),
                momentum,
            };
            best.save(&best_checkpoint(&self.options.out))?;
        }
        let weights = self.store.variables().into_iter().collect();
        let last = Checkpoint {
            run,
            weights,
            ema: ema(),
            momentum: self.sgd.state(),
        };
        last.save(&last_checkpoint(&self.options.out))
    }
}

impl EpochLoss {
    fn add(&mut self, values: [f64; 4]) {
        for (sum, value) in self.sums.iter_mut().zip(values) {
            *sum += value;
        }
        self.batches += 1;
    }

    fn means(&self) -> [f64; 4] {
        self.sums.map(|sum| sum / self.batches.max(1) as f64)
    }
}

/// The same values with the channels innermost in memory, the layout the CPU's convolutions like best.
fn channels_last(x: &Tensor) -> Tensor {
    x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}

/// Everything, to go on from.
pub fn last_checkpoint(run: &Path) -> PathBuf {
    run.join("last.safetensors")
}

/// The running mean of the best epoch, to use.
pub fn best_checkpoint(run: &Path) -> PathBuf {
    run.join("best.safetensors")
}
