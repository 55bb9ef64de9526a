//! `leuko-host val`.

use std::path::PathBuf;

use clap::Args;
use shared::head::Thresholds;

use super::data_args::{DataArgs, parse_split};
use super::say;
use crate::checkpoint::{Checkpoint, sha256_of};
use crate::dataset::Split;
use crate::device;
use crate::eval::Evaluator;
use crate::validate::score_split;

/// Scores a checkpoint on a split, with the thresholds of average precision.
#[derive(Debug, Args)]
pub struct ValArgs {
    /// A checkpoint of `train`.
    #[arg(long)]
    weights: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// train, val or test.
    #[arg(long, default_value = "val", value_parser = parse_split)]
    split: Split,
    /// auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: String,
    /// For machines.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &ValArgs) -> anyhow::Result<()> {
    let device = device::parse(&args.device)?;
    let checkpoint = Checkpoint::load(&args.weights)?;
    let run = &checkpoint.run;
    let data = args.data.load(Some((&run.classes, &run.schema)))?;
    let (_store, network) = checkpoint.network(device)?;
    let head = run.head();
    let evaluator = Evaluator {
        network: &network,
        head: &head,
        fit: run.plan.fit,
        canvas: run.plan.canvas,
        device,
    };
    let samples: Vec<_> = data.split(args.split).collect();
    let report = score_split(
        &evaluator,
        &samples,
        &data,
        &Thresholds::EVALUATION,
        &sha256_of(&args.weights)?,
    )?;
    let text = if args.json {
        serde_json::to_string_pretty(&report)?
    } else {
        report.to_string()
    };
    Ok(say(&text.trim_end())?)
}
