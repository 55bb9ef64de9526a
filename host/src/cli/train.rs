//! `leuko-host train`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use toml::{Table, Value};

use super::progress::Bar;
use super::train_args::TrainArgs;
use super::{config, say};
use crate::checkpoint::{Checkpoint, sha256_of, weights_of};
use crate::dataset::{Split, remove_leaks};
use crate::device;
use crate::engine::autocast::AmpChoice;
use crate::engine::group::{PATIENCE, ProcessGroup};
use crate::engine::launch::Launch;
use crate::engine::switches::Switches;
use crate::exit::Usage;
use crate::hyper::HyperValues;
use crate::model::AttributeHead;
use crate::train::{
    Ended, Start, TeacherFile, TrainOptions, TrainPlan, best_checkpoint, last_checkpoint, train,
};

/// Name of the file of flags in a run's folder.
pub(super) const ARGS: &str = "args.toml";

/// Runs the command.
pub fn run(mut args: TrainArgs) -> anyhow::Result<()> {
    let launch = Launch::from_env()?;
    let device = device::of_process(&args.device, launch.as_ref())?;
    Switches {
        tf32: !args.no_tf32,
        benchmark: true,
        deterministic: args.deterministic,
    }
    .set()?;
    let join = |launch| ProcessGroup::join(launch, device, PATIENCE).map(Arc::new);
    let group = launch.map(join).transpose()?;
    // Of several processes only the first writes.
    let first = group.as_ref().is_none_or(|group| group.is_first());
    let name = args.name.take();
    let name = name.map_or_else(|| unused_name(&args.project), Ok)?;
    let out = args.project.join(&name);
    args.name = Some(name);
    let resume = open_run(&out, args.resume, first)?;
    let float = match &resume {
        None if args.qat => Some(float_of(&args, group.is_some())?),
        _ => None,
    };
    if let Some(float) = &float {
        args.keep_network(&float.run.plan);
        args.amp = AmpChoice::Off;
    }
    let hyper = args.hyper()?;
    let plan = match &resume {
        Some(checkpoint) => checkpoint.run.plan.clone(),
        None => TrainPlan {
            teacher: teacher_of(&args)?,
            ..args.plan(&hyper)?
        },
    };
    let before = resume.as_ref().or(float.as_ref());
    let tables = before.map(|c| (&c.run.classes, &c.run.schema));
    let mut data = args.data.load(tables)?;
    let leaks = remove_leaks(&mut data)?;
    eprintln!(
        "left out of training: {} pictures equal or nearly equal to a held-out one",
        leaks.equal.len() + leaks.near.len()
    );
    data.samples.retain(|sample| sample.split != Split::Test);
    for repeat in &plan.repeat {
        if !data.samples.iter().any(|sample| repeat.holds(sample)) {
            let folder = repeat.folder.display();
            return Err(Usage(format!(
                "--repeat {folder}: none of the pictures lies there"
            ))
            .into());
        }
    }
    if resume.is_none() && first {
        write_args(&out, &args, &hyper)?;
    }
    let options = TrainOptions {
        out: out.clone(),
        device,
        group,
        workers: args.workers,
        cache: args.cache_plan(),
        validate_every: args.val_period.max(1),
        time_budget: time_budget(args.time_budget)?,
    };
    let start = match (&args.weights, resume, float) {
        (_, Some(checkpoint), _) => Start::Resume(Box::new(checkpoint)),
        (_, None, Some(float)) => Start::Float(Box::new(float)),
        (Some(path), None, None) if args.widen => Start::Narrow(weights_of(path)?),
        (Some(path), None, None) => Start::Weights(weights_of(path)?),
        (None, None, None) => Start::Nothing,
    };
    let stop = stop_flag()?;
    let bar = Bar::new();
    let (state, ended) = train(&data, plan, start, &options, stop, |progress| {
        if first {
            bar.show(&progress);
        }
    })?;
    bar.finish();
    match ended {
        Ended::Done => (),
        Ended::NothingBetter { epochs } => {
            eprintln!("stopped: {epochs} epochs brought nothing better (--patience)");
        }
        Ended::TimeIsUp => eprintln!(
            "stopped after epoch {}: another would end after --time-budget; go on with --resume",
            state.epochs_done
        ),
    }
    if let Some((fitness, epoch)) = state.best.filter(|_| first) {
        let best = best_checkpoint(&out);
        say(&format!(
            "best epoch {epoch}, fitness {fitness:.4}: {}",
            best.display()
        ))?;
    }
    Ok(())
}

fn time_budget(hours: Option<f64>) -> Result<Option<Duration>, Usage> {
    let budget = hours.map(|hours| {
        Duration::try_from_secs_f64(hours * 3600.0)
            .map_err(|_| Usage(format!("--time-budget {hours}, expected hours from 0")))
    });
    budget.transpose()
}

fn teacher_of(args: &TrainArgs) -> anyhow::Result<Option<TeacherFile>> {
    let Some(path) = &args.teacher else {
        return Ok(None);
    };
    Ok(Some(TeacherFile {
        sha256: sha256_of(path)?,
        checkpoint: path.clone(),
    }))
}

/// The checkpoint that a quantization-aware training goes on from.
fn float_of(args: &TrainArgs, in_company: bool) -> anyhow::Result<Checkpoint> {
    let refuse = |found: &str| Err(Usage(format!("--qat: {found}")).into());
    let Some(path) = &args.weights else {
        return refuse("expected --weights with a checkpoint of `train`, found none");
    };
    if in_company {
        return refuse("expected one process: each would have ranges of its own");
    }
    if !matches!(args.amp, AmpChoice::Auto | AmpChoice::Off) {
        return refuse("expected --amp off: half precision is coarser than the steps");
    }
    let checkpoint = Checkpoint::load(path)?;
    if checkpoint.run.plan.architecture.attributes == AttributeHead::Roi {
        return refuse("expected a dense attribute head, found roi");
    }
    Ok(checkpoint)
}

/// `exp`, or with the first number from 2 that is free.
fn unused_name(project: &Path) -> anyhow::Result<String> {
    let names = std::iter::once("exp".to_owned()).chain((2..).map(|n| format!("exp{n}")));
    let mut free = names.filter(|name| !project.join(name).exists());
    free.next().context("no free name is left")
}

/// A new folder, which the first process makes, or the checkpoint of the run to go on with.
fn open_run(out: &Path, resume: bool, first: bool) -> anyhow::Result<Option<Checkpoint>> {
    let last = last_checkpoint(out);
    if resume {
        return Ok(Some(Checkpoint::load(&last)?));
    }
    if !first {
        return Ok(None);
    }
    if last.exists() {
        let last = last.display();
        let reason = format!("{last} exists: choose another --name, or go on with --resume");
        return Err(Usage(reason).into());
    }
    fs::create_dir_all(out).with_context(|| format!("{}", out.display()))?;
    Ok(None)
}

/// Everything the run was asked for, defaults written out; paths as they were given.
fn write_args(out: &Path, args: &TrainArgs, hyper: &HyperValues) -> anyhow::Result<()> {
    let path: PathBuf = out.join(ARGS);
    let flags = Table::try_from(args).context("the flags as TOML")?;
    let hyper = hyper
        .iter()
        .map(|(key, number)| (key.to_owned(), Value::Float(number)));
    config::write(&path, flags, hyper.collect()).with_context(|| format!("{}", path.display()))
}

/// Set by Ctrl-C; a second Ctrl-C ends the process at once (every file is written whole or not). A process
/// may train again: it has one handler, and begins with the flag down.
fn stop_flag() -> anyhow::Result<&'static AtomicBool> {
    static STOP: AtomicBool = AtomicBool::new(false);
    static HANDLED: OnceLock<()> = OnceLock::new();
    STOP.store(false, Ordering::Relaxed);
    if HANDLED.get().is_none() {
        ctrlc::set_handler(|| {
            if STOP.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
            eprintln!("stopping; press Ctrl-C again to end at once");
        })
        .context("Ctrl-C handler")?;
        HANDLED.get_or_init(|| ());
    }
    Ok(&STOP)
}
