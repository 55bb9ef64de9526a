//! `leuko-host quantize`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use shared::contract::{ModelContract, REGIONS_EXTENSION};
use shared::head::Thresholds;

use super::gate_args::GateArgs;
use super::say;
use crate::checkpoint::{Checkpoint, sha256_hex, sha256_of};
use crate::dataset::{Mode, OpenOptions, Split, is_data_set, open, pictures_of};
use crate::exit::Usage;
use crate::export::{contract_of, onnx_of, regions_onnx_of};
use crate::parity::{Draft, Stage};
use crate::picture::{Picture, PictureError};
use crate::quantize::{
    Canvases, Observer, Options, QuantizeError, Quantized, Ranges, WeightBits, quantize, spaced,
    trained_ranges,
};

/// Writes the 8-bit ONNX file of a model; without retraining, its ranges are measured on pictures.
///
/// A model whose attributes are read from regions gets its second file beside it, unchanged.
///
/// With --data, the float model and the 8-bit file are compared on its pictures, as in `export`.
#[derive(Debug, Args)]
pub struct QuantizeArgs {
    /// A checkpoint of `train`, or a float file of `export` (.onnx).
    #[arg(long)]
    weights: PathBuf,
    /// Pictures to measure on: a data set (its train split) or a folder of pictures; may be given
    /// several times.
    #[arg(long, required = true, value_name = "DATA")]
    calibrate: Vec<PathBuf>,
    /// Most pictures to measure on, evenly spaced over all.
    #[arg(long, default_value_t = 128, value_name = "N")]
    pictures: usize,
    /// The file to write.
    #[arg(long)]
    out: PathBuf,
    /// How the range of a value is chosen.
    #[arg(long, value_enum, default_value_t)]
    observer: Observer,
    /// Bits of the weights: 7 are exact on every machine that the station knows.
    #[arg(long, value_enum, default_value_t)]
    weight_bits: WeightBits,
    #[command(flatten)]
    gate: GateArgs,
}

/// The float model.
struct Parent {
    bytes: Vec<u8>,
    /// The second file of a model whose attributes are read from regions.
    regions: Option<Vec<u8>>,
    /// Ranges that it was trained with.
    ranges: Ranges,
    checkpoint: Option<Checkpoint>,
}

/// Runs the command.
///
/// # Errors
/// A model that cannot be quantized, pictures that cannot be read, what the disk says, and all that
/// [`GateArgs::pass`] refuses.
pub fn run(args: &QuantizeArgs) -> anyhow::Result<()> {
    if args.pictures == 0 {
        return Err(Usage("--pictures 0, expected at least 1".to_owned()).into());
    }
    let station = args.gate.is_asked().then(|| args.gate.station());
    let station = station.transpose()?;
    let parent = parent_of(&args.weights)?;
    let contract = crate::quantize::contract_of(&parent.bytes)?;
    let canvases = canvases(args, &contract)?;
    let options = Options {
        observer: args.observer,
        bits: args.weight_bits,
    };
    let mut tell = |line: &str| eprintln!("quantize: {line}");
    let made = quantize(
        &parent.bytes,
        &parent.ranges,
        &canvases,
        &options,
        &mut tell,
    )
    .with_context(|| args.weights.display().to_string())?;
    let mut draft = Draft::of(&args.out)?;
    if let Some(bytes) = &parent.regions {
        draft.write_beside(REGIONS_EXTENSION, bytes)?;
    }
    draft.write_model(&made.bytes)?;
    match &station {
        Some(station) => {
            let model = draft.model();
            let path = args.weights.as_path();
            let float = match &parent.checkpoint {
                Some(checkpoint) => Stage::Checkpoint { path, checkpoint },
                None => Stage::File { name: "onnx", path },
            };
            let int8 = Stage::File {
                name: "int8",
                path: &model,
            };
            args.gate
                .pass(station, &made.contract, &[float, int8], &mut draft)?;
        }
        None => eprintln!(
            "quantize: without --data nobody has compared what the file finds with what the float model finds"
        ),
    }
    for path in draft.commit()? {
        eprintln!("quantize: removed {}, an older model's", path.display());
    }
    report(args, &parent, &made)
}

fn report(args: &QuantizeArgs, parent: &Parent, made: &Quantized) -> anyhow::Result<()> {
    for head in &made.heads {
        eprintln!("quantize: {}: SQNR {:.1} dB", head.output, head.sqnr());
    }
    let [all, integer] = made.n_layers;
    let (out, n, before) = (args.out.display(), made.bytes.len(), parent.bytes.len());
    let line =
        format!("{out} ({n} bytes, float {before}; {integer} of {all} convolutions in integers)");
    if args.gate.json {
        eprintln!("{line}");
        Ok(())
    } else {
        Ok(say(&line)?)
    }
}

fn parent_of(path: &Path) -> anyhow::Result<Parent> {
    let is_onnx = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("onnx"));
    if is_onnx {
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        let contract =
            crate::quantize::contract_of(&bytes).with_context(|| path.display().to_string())?;
        let regions = contract.regions().map(|regions| {
            let beside = path.with_extension(REGIONS_EXTENSION);
            let bytes = fs::read(&beside).with_context(|| beside.display().to_string())?;
            let found = sha256_hex(&bytes);
            let expected = regions.sha256.to_string();
            if found == expected {
                return Ok(bytes);
            }
            let place = format!("SHA-256 of {}", beside.display());
            Err(anyhow::Error::from(QuantizeError::Foreign {
                place,
                expected,
                found,
            }))
        });
        return Ok(Parent {
            bytes,
            regions: regions.transpose()?,
            ranges: Ranges::new(),
            checkpoint: None,
        });
    }
    let checkpoint = Checkpoint::load(path)?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let contract = contract_of(&checkpoint, &stem, &sha256_of(path)?, Thresholds::COUNTING)?;
    Ok(Parent {
        bytes: onnx_of(&checkpoint, &contract)?,
        regions: regions_onnx_of(&checkpoint)?,
        ranges: trained_ranges(&checkpoint)?,
        checkpoint: Some(checkpoint),
    })
}

/// Pictures of all that --calibrate names, never of a test split.
fn pictures(args: &QuantizeArgs) -> anyhow::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in &args.calibrate {
        let found = if is_data_set(path) {
            let options = OpenOptions {
                mode: Mode::Lenient,
                ..OpenOptions::default()
            };
            let data = open(path, &options)?;
            data.split(Split::Train)
                .map(|sample| sample.image.clone())
                .collect()
        } else {
            let is_test = path
                .file_name()
                .is_some_and(|name| name == Split::Test.name());
            if is_test {
                let place = path.display();
                return Err(Usage(format!(
                    "--calibrate {place}: expected no test pictures, found a folder \"test\""
                ))
                .into());
            }
            pictures_of(path)?.0
        };
        eprintln!("quantize: {}: {} pictures", path.display(), found.len());
        all.extend(found);
    }
    Ok(all)
}

fn canvases(args: &QuantizeArgs, contract: &ModelContract) -> anyhow::Result<Canvases> {
    let pictures = pictures(args)?;
    let mut bytes = Vec::new();
    for place in spaced(pictures.len(), args.pictures) {
        let path = &pictures[place];
        let picture = Picture::open(path)?;
        let laid = picture.on_canvas(contract.fit, contract.canvas);
        let (_, canvas) = laid.ok_or_else(|| PictureError {
            path: path.clone(),
            reason: format!(
                "size {}, expected sides of 1 to {}",
                picture.size,
                shared::fit::SIDE_MAX
            ),
        })?;
        bytes.extend_from_slice(&canvas);
    }
    let place: Vec<String> = args
        .calibrate
        .iter()
        .map(|p| p.display().to_string())
        .collect();
    Ok(Canvases::new(&bytes, contract.canvas, &place.join(", "))?)
}
