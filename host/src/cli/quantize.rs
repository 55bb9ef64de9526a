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
use crate::eval::lay;
use crate::exit::Usage;
use crate::export::{contract_of, onnx_of, regions_onnx_of};
use crate::parity::{Draft, Stage};
use crate::picture::Picture;
use crate::quantize::{
    Canvases, LAYERS_JSON, LAYERS_TEXT, Observer, Options, QuantizeError, Quantized, Ranges,
    WeightBits, markdown, quantize, spaced, trained_ranges, worst_sqnr,
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
    /// Most pictures to measure on, the same share of every source, evenly spaced.
    #[arg(long, default_value_t = 128, value_name = "N")]
    pictures: usize,
    /// The file to write.
    #[arg(long)]
    out: PathBuf,
    /// The checkpoint of `train --qat` that the .onnx file of --weights was exported from: the ranges that it was
    /// trained with are taken instead of measured ones.
    #[arg(long, value_name = "CHECKPOINT")]
    ranges: Option<PathBuf>,
    /// How the range of a value is chosen.
    #[arg(long, value_enum, default_value_t)]
    observer: Observer,
    /// Bits of the weights: 7 are exact on every machine that the station knows.
    #[arg(long, value_enum, default_value_t)]
    weight_bits: WeightBits,
    /// Equalize the channels across layers first, where their activations allow it (not SiLU).
    #[arg(long)]
    equalize: bool,
    /// Leave the biases as they are instead of taking the mean error of each channel from them.
    #[arg(long)]
    no_bias_correction: bool,
    /// Largest share (0 to 1) of the multiplications that may stay in floating point; the layers that
    /// cost most, and only until --min-sqnr is reached.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    float_budget: f64,
    /// Signal to noise of the worst raw head, in dB, that layers stay in floating point for.
    #[arg(long, default_value_t = 25.0, value_name = "DB")]
    min_sqnr: f64,
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
    if !(0.0..=1.0).contains(&args.float_budget) {
        let found = args.float_budget;
        return Err(Usage(format!("--float-budget {found}, expected 0 to 1")).into());
    }
    if !args.min_sqnr.is_finite() {
        let found = args.min_sqnr;
        return Err(Usage(format!("--min-sqnr {found}, expected a number of dB")).into());
    }
    let station = args.gate.is_asked().then(|| args.gate.station());
    let station = station.transpose()?;
    let mut parent = parent_of(&args.weights)?;
    if let Some(path) = &args.ranges {
        parent.ranges = ranges_of(path, &parent.bytes)?;
    }
    if args.equalize && !parent.ranges.is_empty() {
        let found = "--equalize, expected none: the checkpoint was trained with its ranges (--qat)";
        return Err(Usage(found.to_owned()).into());
    }
    let contract = crate::quantize::contract_of(&parent.bytes)?;
    let canvases = canvases(args, &contract)?;
    let options = Options {
        observer: args.observer,
        bits: args.weight_bits,
        equalize: args.equalize,
        // The biases of a network trained with its ranges are right as they are.
        correct_bias: !args.no_bias_correction && parent.ranges.is_empty(),
        float_budget: args.float_budget,
        min_sqnr: args.min_sqnr,
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
    let table = serde_json::to_string_pretty(&made.layers)?;
    draft.write_beside(LAYERS_JSON, format!("{table}\n").as_bytes())?;
    let table = markdown(&made.layers);
    let kept = draft.write_beside(LAYERS_TEXT, table.as_bytes())?;
    draft.write_model(&made.bytes)?;
    told(args, &made);
    if !args.gate.json {
        say(&table.trim_end())?;
    }
    eprintln!("quantize: the table is kept as {}", kept.display());
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

/// What came out, for people.
fn told(args: &QuantizeArgs, made: &Quantized) {
    if args.equalize {
        let n = made.n_equalized;
        eprintln!("quantize: {n} pairs of convolutions equalized");
    }
    for head in &made.heads {
        eprintln!("quantize: {}: SQNR {:.1} dB", head.output, head.sqnr());
    }
    let (found, expected) = (worst_sqnr(&made.heads), args.min_sqnr);
    if found < expected {
        eprintln!(
            "quantize: the worst head has {found:.1} dB, --min-sqnr asks for {expected}: --float-budget {} allows no further layer",
            args.float_budget
        );
    }
}

fn report(args: &QuantizeArgs, parent: &Parent, made: &Quantized) -> anyhow::Result<()> {
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

/// The ranges that a checkpoint was trained with, where `bytes` is its float file.
fn ranges_of(path: &Path, bytes: &[u8]) -> anyhow::Result<Ranges> {
    let place = || path.display().to_string();
    let ranges = trained_ranges(&Checkpoint::load(path)?).with_context(place)?;
    if ranges.is_empty() {
        let message = format!(
            "--ranges {}: expected a checkpoint of `train --qat`",
            place()
        );
        return Err(Usage(message).into());
    }
    let expected = crate::quantize::contract_of(bytes)?
        .provenance
        .checkpoint_sha256;
    let found = sha256_of(path)?;
    if found != expected.as_str() {
        return Err(QuantizeError::Foreign {
            place: format!("SHA-256 of {}", place()),
            expected: expected.to_string(),
            found,
        }
        .into());
    }
    Ok(ranges)
}

/// Pictures of what --calibrate names, never of a test split.
fn pictures_at(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let found = if is_data_set(path) {
        let options = OpenOptions {
            mode: Mode::Lenient,
            ..OpenOptions::default()
        };
        let data = open(path, &options)?;
        let train = data.split(Split::Train);
        train.map(|sample| sample.image.clone()).collect()
    } else {
        let test = Split::Test.name();
        if path.file_name().is_some_and(|name| name == test) {
            let place = path.display();
            let message = format!(
                "--calibrate {place}: expected no test pictures, found a folder named {test:?}"
            );
            return Err(Usage(message).into());
        }
        pictures_of(path)?.0
    };
    if found.is_empty() {
        let place = format!("--calibrate {}", path.display());
        return Err(QuantizeError::NoPictures { place }.into());
    }
    Ok(found)
}

/// At most --pictures of them: every source gives the same share, so that a large one does not
/// drown a small one.
fn pictures(args: &QuantizeArgs) -> anyhow::Result<Vec<PathBuf>> {
    let n_sources = args.calibrate.len();
    let mut all = Vec::new();
    for (place, path) in args.calibrate.iter().enumerate() {
        let found = pictures_at(path)?;
        let share = (args.pictures + n_sources - 1 - place) / n_sources;
        let taken = spaced(found.len(), share).map(|place| found[place].clone());
        let before = all.len();
        all.extend(taken);
        let (n, of) = (all.len() - before, found.len());
        eprintln!("quantize: {}: {n} of {of} pictures", path.display());
    }
    Ok(all)
}

fn canvases(args: &QuantizeArgs, contract: &ModelContract) -> anyhow::Result<Canvases> {
    let mut bytes = Vec::new();
    for path in &pictures(args)? {
        let picture = Picture::open(path)?;
        let (_, canvas) = lay(&picture, path, contract.fit, contract.canvas)?;
        bytes.extend_from_slice(&canvas);
    }
    let place: Vec<String> = args
        .calibrate
        .iter()
        .map(|p| p.display().to_string())
        .collect();
    Ok(Canvases::new(&bytes, contract.canvas, &place.join(", "))?)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Cli;
    use super::*;
    use crate::model::Activation;
    use crate::onnx::{Yolov5Spec, fixture, yolov5_bytes};

    /// A folder with a small float model and `n` pictures.
    fn folder(n: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let spec = Yolov5Spec {
            activation: Activation::Relu,
            ..fixture::spec()
        };
        let bytes = yolov5_bytes(&spec, &fixture::contract(), &fixture::tensors(&spec)).unwrap();
        fs::write(folder.path().join("m.onnx"), bytes).unwrap();
        for name in ["pictures", "test", "empty"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        for seed in 0..n {
            let dot = |x: u32, y: u32| image::Rgb([(x * (seed + 2)) as u8, (y * 3) as u8, 90]);
            let picture = image::RgbImage::from_fn(120, 80, dot);
            picture
                .save(folder.path().join(format!("pictures/{seed}.png")))
                .unwrap();
        }
        folder
    }

    /// Runs the command in a folder; its exit code, 0 when it went well.
    fn code(folder: &Path, calibrate: &str, more: &[&str]) -> u8 {
        let path = |name: &str| folder.join(name).display().to_string();
        let mut argv = ["leuko-host", "quantize"].map(str::to_owned).to_vec();
        argv.extend(["--weights".to_owned(), path("m.onnx")]);
        argv.extend(["--calibrate".to_owned(), path(calibrate)]);
        argv.extend(["--out".to_owned(), path("m.int8.onnx")]);
        argv.extend(more.iter().map(|&arg| arg.to_owned()));
        let done = Cli::try_parse_from(argv).expect("arguments").run();
        done.map_or_else(|error| crate::exit::code(&error), |()| 0)
    }

    #[test]
    fn a_folder_of_pictures_makes_a_file_with_its_table() {
        let folder = folder(3);
        assert_eq!(code(folder.path(), "pictures", &["--pictures", "2"]), 0);
        let bytes = fs::read(folder.path().join("m.int8.onnx")).unwrap();
        let origin = crate::quantize::contract_of(&bytes).unwrap().quantization;
        assert_eq!(origin.map(|origin| origin.n_canvases), Some(2));
        let table = fs::read_to_string(folder.path().join("m.int8.layers.md")).unwrap();
        let json = fs::read(folder.path().join("m.int8.layers.json")).unwrap();
        let layers: Vec<serde_json::Value> = serde_json::from_slice(&json).unwrap();
        assert_eq!(table.lines().count(), 2 + layers.len());
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_leaves_no_file() {
        let folder = folder(1);
        let cases = [
            ("test", &[][..], 2),
            ("pictures", &["--pictures", "0"], 2),
            ("pictures", &["--float-budget", "1.5"], 2),
            ("pictures", &["--min-sqnr", "NaN"], 2),
            ("empty", &[], 3),
            ("nowhere", &[], 3),
        ];
        for (calibrate, more, expected) in cases {
            assert_eq!(
                code(folder.path(), calibrate, more),
                expected,
                "{calibrate} {more:?}"
            );
            assert!(!folder.path().join("m.int8.onnx").exists());
        }
    }
}
