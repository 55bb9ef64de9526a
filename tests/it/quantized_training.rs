//! Quantization-aware training: what the trainer computes is what the station's integers say.

use std::fs;
use std::path::Path;

use clap::Parser;
use edge::model::ModelFile;
use edge::network::{HeadBuffers, Network as _};
use edge::tract::TractNetwork;
use host::augment::Augmentation;
use host::checkpoint::{Checkpoint, fill_where_fitting};
use host::cli::Cli;
use host::dataset::Split;
use host::eval::Evaluator;
use host::export::{contract_of, onnx_of};
use host::model::{RangePhase, channels_last, scaled};
use host::optim::Schedule;
use host::quantize::{
    Canvases, Observer, Options, Quantized, WeightBits, quantize, trained_ranges,
};
use host::train::{Start, TrainPlan, last_checkpoint};
use host::validate::validate;
use shared::fit::FitKind;
use shared::geometry::Size;
use shared::head::Thresholds;
use tch::{Device, Tensor, nn};

use crate::end_to_end::{cut_and_resumed_is_straight, fields, plan, trained, trained_from};
use crate::heads::{CANVAS, forms, untrained};
use crate::quantized::canvases;

const OPTIONS: Options = Options {
    observer: Observer::MinMax,
    bits: WeightBits::Seven,
    equalize: false,
    correct_bias: false,
    float_budget: 0.0,
    min_sqnr: 0.0,
};

fn sides(n: i64) -> [i64; 4] {
    [n, 3, i64::from(CANVAS.height), i64::from(CANVAS.width)]
}

/// The 8-bit file of a checkpoint that was trained with its ranges.
fn quantized(checkpoint: &Checkpoint, measured: &Canvases) -> Quantized {
    let contract = contract_of(checkpoint, "m", "none", Thresholds::COUNTING).expect("a contract");
    let float = onnx_of(checkpoint, &contract).expect("a graph");
    let ranges = trained_ranges(checkpoint).expect("its ranges");
    quantize(&float, &ranges, measured, &OPTIONS, &mut |_| ()).expect("it can be quantized")
}

/// The sum of the squared differences.
fn noise(reference: &[Vec<f32>], found: &[Vec<f32>]) -> f64 {
    let pairs = reference.iter().flatten().zip(found.iter().flatten());
    pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

/// A value on the edge of two steps may fall either way; the network in floating point is ten times
/// further away.
#[test]
fn every_form_of_network_computes_in_training_what_its_quantized_file_says() {
    let measured = Canvases::new(&canvases(8), CANVAS, "noise").expect("canvases");
    let canvas = canvases(1);
    let mut told_apart = 0;
    for architecture in forms() {
        let float = untrained(architecture);
        let mut run = float.run.clone();
        run.plan.quantized = true;
        let store = nn::VarStore::new(Device::Cpu);
        let mut network = run.build(&store);
        let left = fill_where_fitting(&store, &float.ema);
        assert!(!left.is_empty() && left.iter().all(|name| name.starts_with("quant.range.")));
        network.set_range_phase(RangePhase::Measured);
        let many = Tensor::from_slice(&canvases(8)).view(sides(8));
        tch::no_grad(|| network.forward(&scaled(&channels_last(&many)), false));
        network.set_range_phase(RangePhase::Frozen);
        let checkpoint = Checkpoint {
            run,
            ema: store.variables().into_iter().collect(),
            weights: Default::default(),
            momentum: Default::default(),
        };
        let heads_of = |checkpoint: &Checkpoint| {
            let (_store, network) = checkpoint.network(Device::Cpu).expect("it is complete");
            let evaluator = Evaluator {
                network: &network,
                head: &checkpoint.run.head(),
                fit: FitKind::Letterbox,
                canvas: CANVAS,
                device: Device::Cpu,
            };
            evaluator.heads(&canvas)
        };
        let file = quantized(&checkpoint, &measured).bytes;
        let mut station = TractNetwork::load(&ModelFile::from_bytes("m", file)).expect("it loads");
        let mut buffers = HeadBuffers::new(station.contract());
        station.run(&canvas, &mut buffers).expect("it runs");
        let by_station: Vec<Vec<f32>> = buffers.views().into_iter().map(<[f32]>::to_vec).collect();
        let off = noise(&by_station, &heads_of(&checkpoint));
        let of_float = noise(&by_station, &heads_of(&float));
        assert!(
            off <= of_float / 100.0,
            "{architecture:?}: {off:e}, float {of_float:e}"
        );
        told_apart += usize::from(of_float > 0.0);
    }
    assert!(told_apart > 2, "most networks say something");
}

fn quantized_plan(epochs: usize) -> TrainPlan {
    let plan = plan();
    TrainPlan {
        epochs,
        schedule: Schedule {
            lr0: 0.002,
            ..plan.schedule
        },
        repeat: Vec::new(),
        quantized: true,
        ..plan
    }
}

/// Loss of the validation split.
fn loss(checkpoint: &Checkpoint, data: &host::dataset::Dataset) -> f64 {
    let (_store, network) = checkpoint.network(Device::Cpu).expect("it is complete");
    let (plan, val) = (
        &checkpoint.run.plan,
        data.split(Split::Val).collect::<Vec<_>>(),
    );
    let found = validate(
        &network,
        &checkpoint.run.head(),
        plan,
        Device::Cpu,
        &val,
        data,
    );
    let losses = found.expect("it can be validated").losses;
    losses.expect("cells have boxes").iter().sum()
}

#[test]
fn training_with_eight_bits_mends_what_they_cost() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let data = fields(&folder.path().join("fields"));
    let run = |name: &str| {
        let out = folder.path().join(name);
        fs::create_dir_all(&out).expect("a folder");
        out
    };
    let float = trained(&data, plan(), usize::MAX, &run("float"));
    let start = || {
        Start::Float(Box::new(
            Checkpoint::load(&last_checkpoint(&run("float"))).unwrap(),
        ))
    };
    let still = TrainPlan {
        schedule: Schedule {
            lr0: 0.0,
            ..plan().schedule
        },
        ..quantized_plan(1)
    };
    let before = trained_from(start(), &data, still, usize::MAX, &run("before"));
    let after = trained_from(start(), &data, quantized_plan(3), usize::MAX, &run("after"));
    let [float, before, after] = [&float, &before, &after].map(|c| loss(c, &data));
    println!("loss: float {float:.4}, 8 bits {before:.4}, trained with them {after:.4}");
    assert!(after < before, "{after} {before}");

    let cut = TrainPlan {
        batch: 4,
        canvas: Size::new(96, 96),
        augmentation: Augmentation::LOW,
        ..quantized_plan(4)
    };
    cut_and_resumed_is_straight(&data, &cut, start, folder.path());
    refusals(&last_checkpoint(&run("float")), folder.path());
    let [float, before, after] =
        ["float", "before", "after"].map(|name| last_checkpoint(&run(name)));
    ranges_of_an_exported_file(&after, &[(&float, 2), (&before, 4)], folder.path());
}

/// A float file takes the ranges of the checkpoint that it was exported from, of no other.
fn ranges_of_an_exported_file(checkpoint: &Path, others: &[(&Path, u8)], folder: &Path) {
    let say = |words: &[&str]| Cli::try_parse_from(words).expect("arguments").run();
    let [exported, straight, by_file] =
        ["ranges.onnx", "straight.onnx", "by-file.onnx"].map(|name| folder.join(name));
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let quantize = |weights: &Path, out: &Path, more: &[&str]| {
        let (weights, out, pictures) = (path(weights), path(out), path(&folder.join("fields")));
        let words = [
            "leuko-host",
            "quantize",
            "--weights",
            &weights,
            "--out",
            &out,
            "--calibrate",
            &pictures,
        ];
        say(&[&words, more].concat())
    };
    say(&[
        "leuko-host",
        "export",
        "--weights",
        &path(checkpoint),
        "--out",
        &path(&exported),
    ])
    .expect("it is written");
    for (other, code) in others {
        let refused = quantize(&exported, &by_file, &["--ranges", &path(other)]);
        assert_eq!(
            host::exit::code(&refused.unwrap_err()),
            *code,
            "{}",
            other.display()
        );
    }
    quantize(checkpoint, &straight, &[]).expect("it is written");
    quantize(&exported, &by_file, &["--ranges", &path(checkpoint)]).expect("it is written");
    let heads = [&straight, &by_file].map(|file| {
        let mut station =
            TractNetwork::load(&ModelFile::read(file).expect("readable")).expect("it loads");
        let mut buffers = HeadBuffers::new(station.contract());
        let Size { width, height } = station.contract().canvas;
        let noise: Vec<u8> = (0..3 * width * height)
            .map(|at| (at.wrapping_mul(at) / 97) as u8)
            .collect();
        station.run(&noise, &mut buffers).expect("it runs");
        buffers
            .views()
            .into_iter()
            .map(<[f32]>::to_vec)
            .collect::<Vec<_>>()
    });
    assert_eq!(heads[0], heads[1]);
}

fn refusals(weights: &Path, folder: &Path) {
    let code = |more: &[&str]| {
        let mut words = vec![
            "leuko-host",
            "train",
            "--qat",
            "--data",
            "nowhere",
            "--name",
            "no",
        ];
        let project = folder.to_str().unwrap();
        words.extend(["--project", project]);
        words.extend(more);
        let refused = Cli::try_parse_from(words).expect("arguments").run();
        host::exit::code(&refused.unwrap_err())
    };
    let weights = weights.to_str().unwrap();
    assert_eq!(code(&[]), 2);
    assert_eq!(code(&["--weights", weights, "--amp", "bf16"]), 2);
    assert_eq!(code(&["--weights", "nowhere.safetensors"]), 4);
    assert_eq!(code(&["--weights", weights]), 3);
}
