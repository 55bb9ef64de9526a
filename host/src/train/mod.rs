//! The training loop: batches in, checkpoints and `results.csv` out.

mod error;
mod journal;
mod machine;
mod pictures;
mod plan;
#[cfg(test)]
mod processes;
mod progress;
mod ranges;
mod regions;
mod run;
mod shown;
mod start;
mod teacher;
mod together;
mod widen;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::checkpoint::RunState;
use crate::dataset::{Dataset, RARE_BELOW, Sample, Split, repeat_factors};
use crate::engine::clock::Phase;
use crate::loader::Loader;
use pictures::RunPictures;
use run::Run;

pub use error::TrainError;
pub use journal::{EpochRow, Journal};
pub use plan::{
    AttributePlan, Balance, Ended, Repeat, Start, TeacherFile, TrainOptions, TrainPlan,
};
pub use progress::Progress;
pub(crate) use regions::Taught;

/// Trains on the train split of `data`, chooses by its val split.
///
/// `last.safetensors` and `best.safetensors` are written to the run's folder after every epoch,
/// `results.csv` beside them, as a picture and as TensorBoard events too. `each` hears of every batch
/// (done, all) and every epoch. In the end what the best network finds is drawn.
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
) -> Result<(RunState, Ended), TrainError> {
    let begun = Instant::now();
    let train = with_cells(data, Split::Train)?;
    let val = with_cells(data, Split::Val)?;
    let loader = loader_of(&train, data, &plan, options);
    let mut run = Run::new(data, plan, start, options, stop, &mut each)?;
    let mut longest = Duration::ZERO;
    let mut ended = Ended::Done;
    // Of several processes the first alone validates and writes.
    let paper = run.is_first().then(|| Paper::open(&run, options));
    let mut paper = paper.transpose()?;
    if let Some(paper) = &mut paper {
        paper.shown.labels(&train, data)?;
    }
    for epoch in run.state.epochs_done..run.state.plan.epochs {
        let early = ends_early(&run.state, options, begun, longest);
        if let Some(early) = run.agreed(early)? {
            ended = early;
            break;
        }
        let started = Instant::now();
        let shown = paper.as_mut().map(|paper| &mut paper.shown);
        let trained = run.epoch(epoch, &loader, shown, &mut each)?;
        run.check_finite()?;
        if let Some(paper) = &mut paper {
            let last = epoch + 1 == run.state.plan.epochs;
            let validation = if last || (epoch + 1) % options.validate_every == 0 {
                Some(run.validate(&val, data)?)
            } else {
                None
            };
            let is_best = run.note(epoch, validation.as_ref());
            let pace = run.last_pace(epoch, &loader);
            let row = EpochRow {
                epoch: epoch + 1,
                losses: trained.means(),
                val_losses: validation.and_then(|v| v.losses),
                validation,
                lr: [pace.bias_lr, pace.lr, pace.lr],
                images_per_second: trained.time.images_per_second,
                waiting: trained.time.shares[Phase::Wait as usize],
                seconds: started.elapsed().as_secs_f64(),
            };
            paper.write(&run, &row, is_best, &mut each)?;
        }
        run.follow_first(epoch)?;
        longest = longest.max(started.elapsed());
    }
    if let Some(mut paper) = paper {
        paper.shown.finish(&run.state, options.device, data)?;
    }
    run.follow_first_to_the_end()?;
    Ok((run.state, ended))
}

/// The pictures of a split that has cells.
fn with_cells(data: &Dataset, split: Split) -> Result<Vec<&Sample>, TrainError> {
    let samples: Vec<&Sample> = data.split(split).collect();
    if samples.iter().all(|s| s.cells.is_empty()) {
        return Err(TrainError::Empty {
            name: data.name.clone(),
            split: split.name(),
        });
    }
    Ok(samples)
}

/// What a run writes, beside its checkpoints.
struct Paper {
    journal: Journal,
    shown: RunPictures,
}

impl Paper {
    fn open(run: &Run<'_>, options: &TrainOptions) -> Result<Self, TrainError> {
        let args = serde_json::to_string_pretty(&run.state.plan).unwrap_or_default();
        let done = run.state.epochs_done;
        Ok(Self {
            journal: Journal::open(&options.out, done).map_err(unwritten)?,
            shown: RunPictures::open(&options.out, done, &args)?,
        })
    }

    /// Writes what an epoch brought and tells of it.
    fn write(
        &mut self,
        run: &Run<'_>,
        row: &EpochRow,
        is_best: bool,
        each: &mut impl FnMut(Progress<'_>),
    ) -> Result<(), TrainError> {
        // The journal first: a resumed run cuts lines it has not reached, but cannot make up lost ones.
        self.journal.append(row).map_err(unwritten)?;
        run.save(is_best)?;
        self.shown.epoch(row, self.journal.path())?;
        each(Progress::Epoch {
            row,
            epochs: run.state.plan.epochs,
            is_best,
        });
        Ok(())
    }
}

/// Why no further epoch is begun; `longest` is the longest of this process' epochs so far.
fn ends_early(
    state: &RunState,
    options: &TrainOptions,
    begun: Instant,
    longest: Duration,
) -> Option<Ended> {
    let patience = state.plan.patience;
    let best = state.best.map_or(0, |(_, epoch)| epoch);
    if patience > 0 && best > 0 && state.epochs_done >= best + patience {
        return Some(Ended::NothingBetter { epochs: patience });
    }
    let over = |budget| begun.elapsed() + longest > budget;
    options
        .time_budget
        .is_some_and(over)
        .then_some(Ended::TimeIsUp)
}

/// The training pictures, rare ones and those of small sets repeated where the plan says so.
fn loader_of<'a>(
    samples: &[&'a Sample],
    data: &Dataset,
    plan: &TrainPlan,
    options: &TrainOptions,
) -> Loader<'a> {
    let mut factors = match plan.balance {
        Balance::Repeat => repeat_factors(samples, data.classes.len(), RARE_BELOW),
        Balance::None | Balance::Weights => vec![1.0; samples.len()],
    };
    for (factor, sample) in factors.iter_mut().zip(samples) {
        let repeats = plan.repeat.iter().filter(|repeat| repeat.holds(sample));
        *factor *= repeats.map(|repeat| repeat.times).product::<f64>();
    }
    let loader = Loader::new(samples.to_vec(), plan.fit, plan.canvas, &options.cache);
    loader.repeated(&factors)
}

fn unwritten((path, source): (PathBuf, std::io::Error)) -> TrainError {
    TrainError::Journal { path, source }
}

/// Everything, to go on from.
pub fn last_checkpoint(run: &Path) -> PathBuf {
    run.join("last.safetensors")
}

/// The running mean of the best epoch, to use.
pub fn best_checkpoint(run: &Path) -> PathBuf {
    run.join("best.safetensors")
}
