//! Quantization of every form of network: the quantizer's own arithmetic, torch's and the station's.

use edge::model::ModelFile;
use edge::network::{HeadBuffers, Network as _};
use edge::tract::TractNetwork;
use host::checkpoint::floats;
use host::eval::Evaluator;
use host::export::{contract_of, onnx_of};
use host::quantize::network::Network;
use host::quantize::run::Runner;
use host::quantize::{Canvases, Observer, Options, Ranges, WeightBits, quantize};
use shared::fit::FitKind;
use shared::head::Thresholds;
use tch::{Device, Tensor};

use crate::end_to_end::relative_difference;
use crate::heads::{CANVAS, forms, untrained};

/// Canvases of smooth noise, planar.
pub(crate) fn canvases(n: u32) -> Vec<u8> {
    let noise = |at: u32| (at.wrapping_mul(at) / 97) as u8;
    (0..n * 3 * CANVAS.width * CANVAS.height)
        .map(noise)
        .collect()
}

/// The heads that a file gives in the quantizer's arithmetic.
fn heads_of(bytes: &[u8], canvas: &[u8]) -> Vec<Vec<f32>> {
    let network = Network::read(bytes).expect("the trainer's own file");
    let sides = [1, 3, i64::from(CANVAS.height), i64::from(CANVAS.width)];
    let outputs = Runner::new(&network).outputs(&Tensor::from_slice(canvas).view(sides));
    outputs.expect("it runs").iter().map(floats).collect()
}

/// Least signal to difference between the quantizer's floating point and the station's integers, far
/// above the 32 dB that quantization itself leaves. Not more, and no bound on the largest difference:
/// a value between two bytes may fall to either side, and one that does moves all that is behind it.
const ALIKE_DB: f64 = 80.0;

/// Signal to difference.
fn decibels(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let signal: f64 = a.iter().map(|&x| square(x)).sum();
    let off: f64 = a.iter().zip(b).map(|(x, y)| square(x - y)).sum();
    10.0 * (signal / off).log10()
}

#[test]
fn every_form_of_network_is_quantized_to_integers_that_the_station_computes() {
    let options = Options {
        observer: Observer::Mse,
        bits: WeightBits::Seven,
        equalize: true,
        correct_bias: true,
        float_budget: 0.0,
        min_sqnr: 0.0,
    };
    let measured = Canvases::new(&canvases(8), CANVAS, "noise").expect("canvases");
    let canvas = canvases(1);
    let mut changed = false;
    for architecture in forms() {
        let checkpoint = untrained(architecture);
        let contract = contract_of(&checkpoint, "untrained", "none", Thresholds::COUNTING)
            .expect("a contract");
        let float = onnx_of(&checkpoint, &contract).expect("a graph");
        let (_store, network) = checkpoint.network(Device::Cpu).expect("the weights fit");
        let evaluator = Evaluator {
            network: &network,
            head: &checkpoint.run.head(),
            fit: FitKind::Letterbox,
            canvas: CANVAS,
            device: Device::Cpu,
        };
        let by_runner = heads_of(&float, &canvas);
        for (a, b) in evaluator.heads(&canvas).iter().zip(&by_runner) {
            let off = relative_difference(a, b);
            assert!(off <= 2e-5, "{architecture:?}: {off:e}");
        }
        let made = quantize(&float, &Ranges::new(), &measured, &options, &mut |_| ())
            .expect("it can be quantized");
        let file = ModelFile::from_bytes("quantized", made.bytes.clone());
        let mut station = TractNetwork::load(&file).expect("the station takes the model");
        let integers = station.integers().expect("it says").clone();
        assert_eq!(
            [integers.of(), integers.count()],
            made.n_layers,
            "{:?}",
            integers.float
        );
        let mut buffers = HeadBuffers::new(station.contract());
        station
            .run(&canvas, &mut buffers)
            .expect("the station runs");
        let by_integers = heads_of(&made.bytes, &canvas);
        for (level, (a, b)) in by_integers.iter().zip(buffers.views()).enumerate() {
            let alike = decibels(a, b);
            assert!(
                alike >= ALIKE_DB,
                "{architecture:?}, level {level}: {alike:.1} dB"
            );
        }
        changed |= by_integers != by_runner;
    }
    assert!(changed, "integers that change nothing were not there");
}
