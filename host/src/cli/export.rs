//! `leuko-host export`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use shared::contract::REGIONS_EXTENSION;

use super::say;
use super::thresholds::ThresholdArgs;
use crate::checkpoint::{Checkpoint, sha256_of};
use crate::export::{contract_of, onnx_of, regions_onnx_of};

/// Writes the ONNX file: u8 canvas in, raw heads out, batch norm folded, contract inside.
///
/// A model with a roi attribute head gets a second file beside it, NAME.attributes.onnx.
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
}

/// Runs the command.
pub fn run(args: &ExportArgs) -> anyhow::Result<()> {
    let thresholds = args.thresholds.thresholds()?;
    let checkpoint = Checkpoint::load(&args.weights)?;
    let stem = args.out.file_stem().unwrap_or_default().to_string_lossy();
    let name = args.name.as_deref().unwrap_or(&stem);
    let contract = contract_of(&checkpoint, name, &sha256_of(&args.weights)?, thresholds)?;
    let bytes = onnx_of(&checkpoint, &contract)?;
    if let Some(folder) = args.out.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    }
    // The second file first: a model is never there without it.
    if let Some(bytes) = regions_onnx_of(&checkpoint)? {
        let beside = args.out.with_extension(REGIONS_EXTENSION);
        write(&beside, &bytes)?;
        say(&format!("{} ({} bytes)", beside.display(), bytes.len()))?;
    }
    write(&args.out, &bytes)?;
    let (out, n_bytes, n_golden) = (args.out.display(), bytes.len(), contract.golden.len());
    let text = format!("{out} ({n_bytes} bytes, {n_golden} golden fields)");
    Ok(say(&text)?)
}

/// Whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, bytes)
        .and_then(|()| fs::rename(&part, path))
        .with_context(|| format!("{}", path.display()))
}
