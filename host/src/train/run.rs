//! A run in progress: an epoch, a batch, a validation, a checkpoint.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use tch::{Tensor, nn};

use super::machine::{Machine, Stepped};
use super::ranges;
use super::regions::Taught;
use super::shown;
use super::start::{class_weights_of, state_of};
use super::teacher::Teacher;
use super::together::Together;
use super::widen::widened;
use super::{
    Ended, Progress, Start, TrainError, TrainOptions, TrainPlan, best_checkpoint, last_checkpoint,
    pictures::RunPictures,
};
use crate::augment::Rng;
use crate::checkpoint::{self, Checkpoint, CheckpointError, RunState};
use crate::dataset::{Dataset, Sample};
use crate::engine::EngineError;
use crate::engine::autocast::Precision;
use crate::engine::clock::{Clock, Phase, TimeSplit};
use crate::loader::{Batch, EpochPlan, Loader};
use crate::loss::{Given, LossParts, LossTerms, Regions};
use crate::model::Detector;
use crate::optim::{Ema, Pace, Sgd};
use crate::quantize::TRAINED_RANGES;
use crate::validate::{Validation, validate};

/// Batches with a loss or gradient that is no number, after which training stops.
const NOT_FINITE_MAX: usize = 20;

/// Numbers for the attribute head's dropout; the loader takes the last stream and those from 0 on.
const DROPOUT_STREAM: u64 = u64::MAX - 1;

/// A run in progress.
pub(super) struct Run<'a> {
    options: &'a TrainOptions,
    pub(super) state: RunState,
    store: nn::VarStore,
    network: Detector,
    teacher: Option<Teacher>,
    machine: Machine,
    sgd: Sgd,
    ema: Ema,
    /// `[classes]`, where the plan weighs them.
    class_weights: Option<Tensor>,
    /// Batches since the last step.
    gathered: usize,
    not_finite: usize,
    /// What the attribute head leaves out; of the epoch alone, so that a resumed run leaves out the same.
    dropout: Rng,
    stop: &'a AtomicBool,
}

/// Means over an epoch: box, objectness, class, attribute.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EpochLoss {
    sums: [f64; 4],
    batches: usize,
    /// Cells that had no room in their batch's attribute head.
    left_out: usize,
    pub(super) time: TimeSplit,
}

fn tell_unfit(weights: &[String], tell: &mut impl FnMut(Progress<'_>)) {
    if !weights.is_empty() {
        tell(Progress::Unfit { weights });
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(
        data: &Dataset,
        plan: TrainPlan,
        start: Start,
        options: &'a TrainOptions,
        stop: &'a AtomicBool,
        tell: &mut impl FnMut(Progress<'_>),
    ) -> Result<Self, TrainError> {
        let state = state_of(data, plan, &start, tell)?;
        let mut store = nn::VarStore::new(options.device);
        let mut network = state.build(&store);
        if !state.plan.attributes.gradient {
            network.detach_attributes(&state.head());
        }
        let teacher = state.plan.teacher.as_ref();
        let teacher = teacher.map(|file| Teacher::open(file, &state, options.device));
        let teacher = teacher.transpose()?;
        let together = Together::new(options.group.clone());
        together.agree(
            "the plan or the data",
            &(&state.plan, &state.data_fingerprint),
        )?;
        let precision = Precision::resolve(state.plan.amp, options.device)?;
        let machine = Machine::new(options.device, precision, state.scaler, together);
        let global = state.plan.batch * machine.together.world();
        let mut sgd = Sgd::new(&store, &state.plan.schedule, global);
        let class_weights = class_weights_of(data, &state.plan, options.device);
        let ema = match start {
            Start::Nothing => Ema::new(&store),
            Start::Weights(ref given) | Start::Narrow(ref given) => {
                let wide = matches!(start, Start::Narrow(_))
                    .then(|| widened(&store, &given.tensors, state.plan.seed));
                let tensors = wide.as_ref().unwrap_or(&given.tensors);
                tell_unfit(&checkpoint::fill_where_fitting(&store, tensors), tell);
                if given.folded {
                    shown::settle(&network, data, &state.plan, options.device)?;
                }
                Ema::new(&store)
            }
            Start::Float(from) => {
                let left = checkpoint::fill_where_fitting(&store, &from.ema);
                if let Some(name) = left.iter().find(|name| !name.starts_with(TRAINED_RANGES)) {
                    let reason = format!("weight {name:?} does not fit or is missing");
                    return Err(CheckpointError::Weights(reason).into());
                }
                ranges::measure(&mut network, data, &state.plan, options.device)?;
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
        machine.together.share_weights(&store)?;
        Ok(Self {
            options,
            state,
            store,
            network,
            teacher,
            machine,
            sgd,
            ema,
            class_weights,
            gathered: 0,
            not_finite: 0,
            dropout: Rng::new(0, 0, DROPOUT_STREAM),
            stop,
        })
    }

    /// Canvases in a batch over all processes.
    fn global_batch(&self) -> usize {
        self.state.plan.batch * self.machine.together.world()
    }

    fn pace(&self, at: usize, loader: &Loader<'_>) -> Pace {
        let (plan, batch) = (&self.state.plan, self.global_batch());
        let per_epoch = loader.batches(batch);
        plan.schedule.pace(at, per_epoch, plan.epochs, batch)
    }

    /// What held during the last batch of an epoch.
    pub(super) fn last_pace(&self, epoch: usize, loader: &Loader<'_>) -> Pace {
        let batches = loader.batches(self.global_batch());
        self.pace((epoch + 1) * batches - 1, loader)
    }

    /// Of several processes the one that validates and writes.
    pub(super) fn is_first(&self) -> bool {
        self.machine.together.is_first()
    }

    /// What the first process decides, which alone knows how good the weights are.
    pub(super) fn agreed(&self, ended: Option<Ended>) -> Result<Option<Ended>, EngineError> {
        let mut code = [match ended {
            None => 0.0,
            Some(Ended::Done) => 1.0,
            Some(Ended::TimeIsUp) => 2.0,
            Some(Ended::NothingBetter { .. }) => 3.0,
        }];
        self.machine.together.as_first(&mut code)?;
        let epochs = self.state.plan.patience;
        Ok(match code[0] as u8 {
            0 => None,
            1 => Some(Ended::Done),
            2 => Some(Ended::TimeIsUp),
            _ => Some(Ended::NothingBetter { epochs }),
        })
    }

    /// The others wait while the first process validates and writes, and take over what it found.
    pub(super) fn follow_first(&mut self, epoch: usize) -> Result<(), EngineError> {
        let together = &self.machine.together;
        together.wait_for_first()?;
        let (fitness, best_epoch) = self.state.best.unwrap_or((0.0, 0));
        let mut best = [fitness, best_epoch as f64];
        together.as_first(&mut best)?;
        let [fitness, best_epoch] = best;
        self.state.best = (best_epoch > 0.0).then_some((fitness, best_epoch as usize));
        self.state.epochs_done = epoch + 1;
        Ok(())
    }

    /// The others wait until the first process has drawn and judged what came out.
    pub(super) fn follow_first_to_the_end(&self) -> Result<(), EngineError> {
        self.machine.together.wait_for_first()
    }

    pub(super) fn epoch(
        &mut self,
        epoch: usize,
        loader: &Loader<'_>,
        mut pictures: Option<&mut RunPictures>,
        each: &mut impl FnMut(Progress<'_>),
    ) -> Result<EpochLoss, TrainError> {
        let plan = self.state.plan.clone();
        let rank = self.machine.together.rank();
        self.dropout = Rng::new(plan.seed, epoch as u64, DROPOUT_STREAM - rank as u64);
        self.network
            .set_range_phase(ranges::phase_of(epoch, plan.epochs));
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
            rank,
            world: self.machine.together.world(),
        };
        let of = loader.batches(self.global_batch());
        let mut losses = EpochLoss::default();
        let mut clock = Clock::start(self.options.device);
        let mut done = 0;
        let mut drawn = Ok(());
        let mut failed = Ok(());
        let mut stopped = false;
        loader.epoch(&epoch_plan, |batch| {
            clock.lap(Phase::Wait);
            if let Some(pictures) = pictures.as_mut().filter(|_| epoch == 0 && drawn.is_ok()) {
                drawn = pictures.batch(&batch, plan.canvas, &self.state.classes);
            }
            let pace = self.pace(epoch * of + done, loader);
            done += 1;
            match self.batch(&batch, &pace, done == of, &mut losses, &mut clock) {
                Ok(asked) => stopped = asked,
                Err(error) => failed = Err(error),
            }
            clock.batch(batch.global);
            each(Progress::Batch {
                epoch: epoch + 1,
                done,
                of,
            });
            failed.is_ok() && !stopped && self.not_finite <= NOT_FINITE_MAX
        })?;
        failed?;
        drawn?;
        if self.not_finite > NOT_FINITE_MAX {
            return Err(TrainError::NotFinite(self.not_finite));
        }
        if done < of {
            return Err(TrainError::Interrupted { epoch: epoch + 1 });
        }
        losses.time = clock.split();
        let mut left_out = [losses.left_out as f64];
        self.machine.together.sum(&mut left_out)?;
        losses.left_out = left_out[0] as usize;
        if losses.left_out > 0 {
            each(Progress::LeftOut {
                epoch: epoch + 1,
                regions: losses.left_out,
            });
        }
        Ok(losses)
    }

    /// Forward, backward and, when enough batches are gathered or the epoch ends, a step; true when
    /// the user of any process wants to stop.
    fn batch(
        &mut self,
        batch: &Batch,
        pace: &Pace,
        last: bool,
        losses: &mut EpochLoss,
        clock: &mut Clock,
    ) -> Result<bool, EngineError> {
        let (parts, stop) = self.loss(batch, losses)?;
        let mut values = parts.values();
        self.machine.together.sum(&mut values)?;
        clock.lap(Phase::Forward);
        if values.iter().all(|v| v.is_finite()) {
            self.machine.backward(&parts.total())?;
            losses.add(values);
            self.gathered += 1;
        } else {
            self.not_finite += 1;
        }
        clock.lap(Phase::Backward);
        if self.gathered >= pace.accumulate || (last && self.gathered > 0) {
            self.gathered = 0;
            match self.machine.step(&mut self.sgd, &self.store, pace)? {
                Stepped::Yes => self.ema.update(&self.store)?,
                Stepped::TooHigh => {}
                Stepped::NotFinite => self.not_finite += 1,
            }
        }
        clock.lap(Phase::Step);
        Ok(stop)
    }

    /// This process's share of what a batch costs, and whether the user of any process wants to stop.
    fn loss(
        &mut self,
        batch: &Batch,
        losses: &mut EpochLoss,
    ) -> Result<(LossParts, bool), EngineError> {
        let plan = &self.state.plan;
        let head = self.state.head();
        let outputs = self.machine.forward(&self.network, &batch.canvases, true)?;
        let teacher = self.teacher.as_ref();
        let said = teacher.map(|teacher| teacher.heads(&self.machine, &batch.canvases));
        let said = said.transpose()?;
        let taught = self.network.regions().map(|head| {
            let taught = Taught::of(&batch.targets, plan.canvas, plan.attributes.regions_max);
            losses.left_out += taught.left_out;
            let logits = head.values(&outputs.fine, &taught.regions, Some(&mut self.dropout));
            (head, taught, logits)
        });
        let regions = taught.as_ref().map(|(head, taught, logits)| Regions {
            value_counts: head.value_counts(),
            logits,
            truths: &taught.truths,
        });
        let given = Given {
            spec: &head,
            canvas: plan.canvas,
            targets: &batch.targets,
            options: &plan.loss,
            class_weights: self.class_weights.as_ref(),
            regions,
            teacher: said.as_deref(),
        };
        let terms = LossTerms::of(&given, &outputs.heads);
        // One round for all that the processes have to tell each other.
        let mut counts = terms.counts();
        counts.push(f64::from(u8::from(self.stop.load(Ordering::Relaxed))));
        self.machine.together.sum(&mut counts)?;
        let stop = counts.pop().is_some_and(|asked| asked > 0.0);
        let weights = plan.weights.scaled(&head, plan.canvas);
        Ok((terms.parts(&counts, batch.global, &weights), stop))
    }

    pub(super) fn validate(
        &self,
        val: &[&Sample],
        data: &Dataset,
    ) -> Result<Validation, TrainError> {
        let mut store = nn::VarStore::new(self.options.device);
        let head = self.state.head();
        let network = self.state.build(&store);
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
    pub(super) fn note(&mut self, epoch: usize, validation: Option<&Validation>) -> bool {
        self.state.epochs_done = epoch + 1;
        self.state.ema_updates = self.ema.updates();
        self.state.scaler = self.machine.scaler();
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
    pub(super) fn check_finite(&self) -> Result<(), TrainError> {
        let finite = |t: &Tensor| t.isfinite().all().int64_value(&[]) == 1;
        if self.ema.shadow().values().all(finite) {
            Ok(())
        } else {
            Err(TrainError::NotFinite(self.not_finite))
        }
    }

    /// The best first: a cut between the two files then costs an epoch, never the best weights.
    pub(super) fn save(&self, is_best: bool) -> Result<(), CheckpointError> {
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

    pub(super) fn means(&self) -> [f64; 4] {
        self.sums.map(|sum| sum / self.batches.max(1) as f64)
    }
}
