//! The training loop: batches in, checkpoints and `results.csv` out.

mod error;
mod journal;
mod machine;
mod pictures;
mod plan;
#[cfg(test)]
mod processes;
mod progress;
mod regions;
mod run;
mod together;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::checkpoint::RunState;
use crate::dataset::{Dataset, RARE_BELOW, Sample, Split, repeat_factors};
use crate::loader::Loader;
use run::Run;

pub use error::TrainError;
pub use journal::{EpochRow, Journal};
pub use plan::{AttributePlan, Balance, Ended, Start, TrainOptions, TrainPlan};
pub use progress::Progress;
pub(crate) use regions::Taught;

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
) -> Result<(RunState, Ended), TrainError> {
    let begun = Instant::now();
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
    let loader = loader_of(train, data, &plan, options);
    let mut run = Run::new(data, plan, start, options, stop, &mut each)?;
    let mut longest = Duration::ZERO;
    let open = || Journal::open(&options.out, run.state.epochs_done).map_err(unwritten);
    // Of several processes the first alone validates and writes.
    let mut journal = run.is_first().then(open).transpose()?;
    for epoch in run.state.epochs_done..run.state.plan.epochs {
        let ended = ends_early(&run.state, options, begun, longest);
        if let Some(ended) = run.agreed(ended)? {
            return Ok((run.state, ended));
        }
        let started = Instant::now();
        let trained = run.epoch(epoch, &loader, &mut each)?;
        run.check_finite()?;
        if let Some(journal) = &mut journal {
            let last = epoch + 1 == run.state.plan.epochs;
            let validation = if last || (epoch + 1) % options.validate_every == 0 {
                Some(run.validate(&val, data)?)
            } else {
                None
            };
            let is_best = run.note(epoch, validation.as_ref());
            let row = EpochRow {
                epoch: epoch + 1,
                losses: trained.means(),
                validation,
                lr: run.first_rate(epoch, &loader),
                time: trained.time,
                seconds: started.elapsed().as_secs_f64(),
            };
            publish(&run, journal, &row, is_best, &mut each)?;
        }
        run.follow_first(epoch)?;
        longest = longest.max(started.elapsed());
    }
    Ok((run.state, Ended::Done))
}

/// Writes what an epoch brought and tells of it.
fn publish(
    run: &Run<'_>,
    journal: &mut Journal,
    row: &EpochRow,
    is_best: bool,
    each: &mut impl FnMut(Progress<'_>),
) -> Result<(), TrainError> {
    // The journal first: a resumed run cuts lines it has not reached, but cannot make up lost ones.
    journal.append(row).map_err(unwritten)?;
    run.save(is_best)?;
    pictures::write_curves(journal.path(), run.out()).map_err(unwritten)?;
    each(Progress::Epoch {
        row,
        epochs: run.state.plan.epochs,
        is_best,
    });
    Ok(())
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

/// The training pictures, rare ones repeated where the plan says so.
fn loader_of<'a>(
    samples: Vec<&'a Sample>,
    data: &Dataset,
    plan: &TrainPlan,
    options: &TrainOptions,
) -> Loader<'a> {
    let factors = (plan.balance == Balance::Repeat)
        .then(|| repeat_factors(&samples, data.classes.len(), RARE_BELOW));
    let loader = Loader::new(samples, plan.fit, plan.canvas, &options.cache);
    match factors {
        Some(factors) => loader.repeated(&factors),
        None => loader,
    }
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
