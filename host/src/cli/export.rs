//! `leuko-host export`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use shared::contract::{ContractError, ParityBudgets, REGIONS_EXTENSION};

use super::gate_args::GateArgs;
use super::say;
use super::thresholds::ThresholdArgs;
use crate::checkpoint::{Checkpoint, sha256_of};
use crate::exit::Usage;
use crate::export::{contract_of, onnx_of, regions_onnx_of};
use crate::parity::{Draft, Stage};

/// Writes the ONNX file: u8 canvas in, raw heads out, batch norm folded, contract inside.
///
/// A model with a roi attribute head gets a second file beside it, NAME.attributes.onnx.
///
/// With --data, checkpoint and file are compared on its pictures, the file in the station's own
/// program: a loss beyond the contract's budgets ends with exit code 4 and no file. The report stays
/// beside the model, NAME.parity.md and NAME.parity.json.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A checkpoint of `train`.
    #[arg(long)]
    weights: PathBuf,
    /// The file to write.
    #[arg(long)]
    out: PathBuf,
    /// Name of the model in its contract; the file's stem unless given.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    thresholds: ThresholdArgs,
    /// TOML with the largest allowed losses, which go into the contract: `cell_count`, and `each` and
    /// `mean` of `[class_ap]` and `[attribute_f1]`; the defaults unless given.
    #[arg(long, value_name = "FILE")]
    budgets: Option<PathBuf>,
    #[command(flatten)]
    gate: GateArgs,
}

/// Runs the command.
///
/// # Errors
/// A checkpoint that cannot be exported, what the disk says, and all that [`GateArgs::pass`] refuses.
pub fn run(args: &ExportArgs) -> anyhow::Result<()> {
    let thresholds = args.thresholds.thresholds()?;
    let station = args.gate.is_asked().then(|| args.gate.station());
    let station = station.transpose()?;
    let mut checkpoint = Checkpoint::load(&args.weights)?;
    if std::mem::take(&mut checkpoint.run.plan.quantized) {
        eprintln!(
            "export: trained for 8 bits, written in floating point; `quantize` writes the 8 bits"
        );
    }
    let stem = args.out.file_stem().unwrap_or_default().to_string_lossy();
    let name = args.name.as_deref().unwrap_or(&stem);
    let mut contract = contract_of(&checkpoint, name, &sha256_of(&args.weights)?, thresholds)?;
    if let Some(path) = &args.budgets {
        contract.budgets = budgets(path)?;
    }
    let bytes = onnx_of(&checkpoint, &contract)?;
    let mut draft = Draft::of(&args.out)?;
    let mut made = Vec::new();
    if let Some(bytes) = regions_onnx_of(&checkpoint)? {
        let beside = draft.write_beside(REGIONS_EXTENSION, &bytes)?;
        made.push(format!("{} ({} bytes)", beside.display(), bytes.len()));
    }
    draft.write_model(&bytes)?;
    let (out, n_bytes, n_golden) = (args.out.display(), bytes.len(), contract.golden.len());
    made.push(format!("{out} ({n_bytes} bytes, {n_golden} golden fields)"));
    match &station {
        Some(station) => {
            let model = draft.model();
            let stages = [
                Stage::Checkpoint {
                    path: &args.weights,
                    checkpoint: &checkpoint,
                },
                Stage::File {
                    name: "onnx",
                    path: &model,
                },
            ];
            args.gate.pass(station, &contract, &stages, &mut draft)?;
        }
        None => eprintln!(
            "export: without --data nobody has compared what the file finds with what the checkpoint finds"
        ),
    }
    for path in draft.commit()? {
        eprintln!("export: removed {}, an older model's", path.display());
    }
    for line in made {
        // With --json, stdout is one document.
        if args.gate.json {
            eprintln!("{line}");
        } else {
            say(&line)?;
        }
    }
    Ok(())
}

/// The budgets that a file states, all of them.
fn budgets(path: &Path) -> anyhow::Result<ParityBudgets> {
    let place = || format!("--budgets {}", path.display());
    let text = fs::read_to_string(path).with_context(place)?;
    let budgets: ParityBudgets = toml::from_str(&text)
        .map_err(|error| Usage(format!("{}: {}", place(), error.to_string().trim_end())))?;
    if budgets.is_legal() {
        Ok(budgets)
    } else {
        Err(Usage(format!("{}: {}", place(), ContractError::Budgets)).into())
    }
}
