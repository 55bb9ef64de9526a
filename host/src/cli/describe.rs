//! `leuko-host describe`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use shared::contract::{ModelContract, REGIONS_EXTENSION};

use super::data_args::DataArgs;
use super::say;
use crate::checkpoint::sha256_hex;
use crate::dataset::Dataset;
use crate::describe::{Description, describe, described};
use crate::detections::{ForeignAttributes, PictureFindings, read_detections};
use crate::exit::Usage;
use crate::onnx::with_contract;
use crate::parity::Draft;
use crate::quantize::{QuantizeError, contract_of};

/// Measures from which score on each class may be said and what the training pictures look like, and
/// writes both into the model's contract; the network stays as it is, bit for bit.
///
/// The station calls a cell unidentified that is below its class's score, and warns on slides that look
/// unlike the training pictures. Of every data set the train split is looked at for the looks, the val
/// split for the scores; the test split never. `quantize` hands both on to the 8-bit file: describe the
/// float file first. An 8-bit file can be described, too; it keeps the hash of its parent.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// A file of `export` or `quantize`.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// What the model finds on the pictures of the val split, by `leuko-edge replay --evaluate`; may be
    /// given several times.
    #[arg(long, required = true, value_name = "JSONL")]
    detections: Vec<PathBuf>,
    /// The file to write, another than --model.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Prints JSON instead of tables.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A file that is no model of the trainer's, data or findings that do not belong to it, and what the
/// disk says; then nothing is written.
pub fn run(args: &DescribeArgs) -> anyhow::Result<()> {
    if is_same(&args.out, &args.model) {
        return Err(Usage("--out: expected another file than --model".to_owned()).into());
    }
    let place = || args.model.display().to_string();
    let bytes = fs::read(&args.model).with_context(place)?;
    let contract = contract_of(&bytes).with_context(place)?;
    let regions = regions_of(&args.model, &contract)?;
    let sets = sets(&args.data, &contract)?;
    let findings = findings(&args.detections, &contract)?;
    let mut tell = |line: &str| eprintln!("describe: {line}");
    let description = describe(&contract, &sha256_hex(&bytes), &sets, findings, &mut tell)?;
    let made = with_contract(&bytes, &described(&contract, &description)).with_context(place)?;
    let mut draft = Draft::of(&args.out)?;
    if let Some(bytes) = &regions {
        draft.write_beside(REGIONS_EXTENSION, bytes)?;
    }
    draft.write_model(&made)?;
    for path in draft.commit()? {
        eprintln!("describe: removed {}, an older model's", path.display());
    }
    told(args, &contract, &description)
}

fn told(
    args: &DescribeArgs,
    contract: &ModelContract,
    description: &Description,
) -> anyhow::Result<()> {
    eprintln!(
        "describe: {} has a hash of its own now; reports beside {} name the former one",
        args.out.display(),
        args.model.display()
    );
    if contract.quantization.is_some() {
        eprintln!("describe: its parent is still the float file that it was quantized from");
    }
    if args.json {
        return Ok(say(&serde_json::to_string_pretty(description)?)?);
    }
    Ok(say(&description.to_string().trim_end())?)
}

/// Whether both are one file, however their paths are spelled.
fn is_same(out: &Path, model: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    out == model || (real(out).is_some() && real(out) == real(model))
}

/// The second file of a model whose attributes are read from regions.
fn regions_of(model: &Path, contract: &ModelContract) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(regions) = contract.regions() else {
        return Ok(None);
    };
    let beside = model.with_extension(REGIONS_EXTENSION);
    let bytes = fs::read(&beside).with_context(|| beside.display().to_string())?;
    let (expected, found) = (regions.sha256.to_string(), sha256_hex(&bytes));
    if found == expected {
        return Ok(Some(bytes));
    }
    let place = format!("SHA-256 of {}", beside.display());
    Err(QuantizeError::Foreign {
        place,
        expected,
        found,
    }
    .into())
}

/// Every data set on its own, for each has its own look.
fn sets(args: &DataArgs, contract: &ModelContract) -> anyhow::Result<Vec<Dataset>> {
    let tables = Some((&contract.classes, &contract.attributes));
    if args.data.is_empty() {
        return args.load(tables).map(|set| vec![set]);
    }
    let alone = |path: &PathBuf| DataArgs {
        data: vec![path.clone()],
        boxes: args.boxes.clone(),
        ignore_class: args.ignore_class.clone(),
        lenient: args.lenient,
    };
    let paths = args.data.iter();
    paths.map(|path| alone(path).load(tables)).collect()
}

fn findings(paths: &[PathBuf], contract: &ModelContract) -> anyhow::Result<Vec<PictureFindings>> {
    let mut all = Vec::new();
    for path in paths {
        let (classes, schema) = (&contract.classes, &contract.attributes);
        let file = read_detections(path, classes, schema, ForeignAttributes::Refuse)?;
        all.extend(file.pictures);
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
