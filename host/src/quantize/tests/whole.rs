use std::collections::{BTreeMap, BTreeSet};

use shared::contract::Precision;
use shared::domain::{Domain, Spread};
use tch::{Kind, Tensor};

use super::super::bias::correct;
use super::super::calibrate::{Ranges, params, ranges, spaced};
use super::super::equalize::equalize;
use super::super::network::{Network, Numbers};
use super::super::op::Op;
use super::super::places::{Activation as After, places};
use super::super::rewrite::{Params, Plan, rewrite};
use super::super::run::Runner;
use super::super::{
    Canvases, Observer, Options, QuantizeError, Quantized, WeightBits, contract_of, quantize,
    worst_sqnr,
};
use super::{canvases, float_bytes};
use crate::model::Activation;
use crate::onnx::with_contract;

const OPTIONS: Options = Options {
    observer: Observer::Mse,
    bits: WeightBits::Seven,
    equalize: false,
    correct_bias: true,
    float_budget: 0.0,
    min_sqnr: 0.0,
};

fn made(activation: Activation, options: &Options) -> anyhow::Result<Quantized> {
    let bytes = float_bytes(activation);
    quantize(&bytes, &Ranges::new(), &canvases(6), options, &mut |_| ())
}

fn plan(network: &Network) -> Plan {
    let places = places(network);
    let runner = Runner::new(network);
    let ranges = ranges(
        &runner,
        &places,
        &canvases(6),
        Observer::MinMax,
        &Ranges::new(),
    );
    Plan {
        params: params(&places, &ranges.unwrap()),
        float_layers: BTreeSet::new(),
        bits: WeightBits::Seven,
    }
}

/// The scale of every value that is quantized, by its name.
fn scales(network: &Network) -> BTreeMap<String, f32> {
    let quantizers = network.nodes.iter().filter(|node| node.op == Op::Quantize);
    let scale = |name: &str| network.floats(name).unwrap().1[0];
    quantizers
        .map(|node| (node.input(0).to_owned(), scale(node.input(1))))
        .collect()
}

#[test]
fn every_convolution_reads_integers_and_heads_stay_float() {
    for activation in [Activation::Silu, Activation::Relu, Activation::LeakyRelu] {
        let made = made(activation, &OPTIONS).unwrap();
        let network = Network::read(&made.bytes).unwrap();
        let maker = |name: &str| network.nodes.iter().find(|node| node.output() == name);
        let mut n = 0;
        for node in network
            .nodes
            .iter()
            .filter(|node| matches!(node.op, Op::Conv(_)))
        {
            for index in 0..3 {
                let from = maker(node.input(index)).map(|node| node.op);
                assert!(
                    matches!(from, Some(Op::Dequantize { .. })),
                    "{}",
                    node.output()
                );
            }
            n += 1;
        }
        assert_eq!([n, n], made.n_layers);
        for output in network.output_names() {
            assert!(matches!(
                maker(output).map(|node| node.op),
                Some(Op::Conv(_))
            ));
        }
    }
}

#[test]
fn what_a_concat_alone_reads_has_its_scale() {
    let network = Network::read(&made(Activation::Silu, &OPTIONS).unwrap().bytes).unwrap();
    let scales = scales(&network);
    let pyramid = [
        "model.9.cv1.act",
        "model.9.m.0",
        "model.9.m.1",
        "model.9.m.2",
    ];
    for name in pyramid {
        assert_eq!(scales[name], scales["model.9.cat"], "{name}");
    }
    assert_eq!(scales["model.2.cv2.act"], scales["model.2.cat"]);
    // Read by two concats: it can have the scale of neither.
    assert_eq!(
        scales["model.11"], scales["model.10.act"],
        "enlarging keeps the scale"
    );
}

#[test]
fn what_activations_stand_between_is_known() {
    let after = |activation| {
        let network = Network::read(&float_bytes(activation)).unwrap();
        let places = places(&network);
        let place = places
            .iter()
            .find(|place| place.members.contains(&"model.0.conv".to_owned()));
        place.map(|place| place.activation)
    };
    assert_eq!(after(Activation::Silu), Some(After::Silu));
    assert_eq!(after(Activation::Relu), None);
    assert!(matches!(
        after(Activation::LeakyRelu),
        Some(After::LeakyRelu(_))
    ));
}

#[test]
fn a_file_comes_back_as_it_was_read() {
    let network = Network::read(&float_bytes(Activation::Silu)).unwrap();
    let again = Network::read(&network.encode()).unwrap();
    assert_eq!(network.constants, again.constants);
    assert_eq!(network.encode(), again.encode());
    assert_eq!(network.output_names(), ["head_8", "head_16", "head_32"]);
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let [first, second] = [0, 1].map(|_| made(Activation::Silu, &OPTIONS).unwrap());
    assert_eq!(first.bytes, second.bytes);
    assert_eq!(first.layers, second.layers);
}

#[test]
fn the_contract_says_what_the_integers_were_made_from() {
    let made = made(Activation::Silu, &OPTIONS).unwrap();
    let contract = contract_of(&made.bytes).unwrap();
    assert_eq!(contract, made.contract);
    assert_eq!(contract.precision, Precision::Int8);
    let origin = contract.quantization.unwrap();
    let parent = crate::checkpoint::sha256_hex(&float_bytes(Activation::Silu));
    assert_eq!(origin.parent_sha256, parent.as_str());
    assert_eq!(origin.calibration_sha256, canvases(6).sha256.as_str());
    assert_eq!((origin.n_canvases, origin.n_float_layers), (6, 0));
}

#[test]
fn what_describes_the_float_file_describes_the_8_bit_file_too() {
    let silent = float_bytes(Activation::Silu);
    let mut contract = contract_of(&silent).unwrap();
    contract.class_scores.extend([0.5, 0.75]);
    let spread = Spread {
        mean: 100.0,
        deviation: 5.0,
    };
    contract.domain = Some(Domain {
        pictures: 7,
        background: [spread; 3],
        stain: [spread; 3],
        brightness: spread,
        contrast: spread,
        sharpness: spread,
        cell_side: None,
    });
    let parent = with_contract(&silent, &contract).unwrap();
    let made = quantize(&parent, &Ranges::new(), &canvases(2), &OPTIONS, &mut |_| ());
    let made = made.unwrap().contract;
    assert_eq!(
        (made.class_scores, made.domain),
        (contract.class_scores, contract.domain)
    );
    let hash = crate::checkpoint::sha256_hex(&parent);
    assert_eq!(made.quantization.unwrap().parent_sha256, hash.as_str());
}

#[test]
fn bias_correction_takes_the_mean_error_away() {
    let float = Network::read(&float_bytes(Activation::Silu)).unwrap();
    let (plan, input) = (plan(&float), canvases(6).spaced(6));
    let reference = Runner::new(&float).outputs(&input).unwrap();
    let mean_error = |network: &Network| -> f64 {
        let quantized = rewrite(network, &plan).unwrap();
        let found = Runner::new(&quantized).outputs(&input).unwrap();
        let pairs = reference.iter().zip(&found);
        let of_head = |(a, b): (&Tensor, &Tensor)| {
            let means = (b - a).mean_dim([0, 2, 3].as_slice(), false, Kind::Double);
            means.abs().sum(Kind::Double).double_value(&[])
        };
        pairs.map(of_head).sum()
    };
    let before = mean_error(&float);
    let after = mean_error(&correct(&float, &plan, &input).unwrap());
    // Not to nothing: biases are whole steps too, and a step less turns some bytes.
    assert!(before > 0.01 && after < before / 4.0, "{before} to {after}");
}

#[test]
fn equalization_changes_weights_but_not_the_network() {
    let heads = |network: &Network| {
        Runner::new(network)
            .outputs(&canvases(2).spaced(2))
            .unwrap()
    };
    for (activation, some) in [
        (Activation::Silu, false),
        (Activation::Relu, true),
        (Activation::LeakyRelu, true),
    ] {
        let float = Network::read(&float_bytes(activation)).unwrap();
        let mut changed = float.clone();
        let n = equalize(&mut changed).unwrap();
        assert_eq!(n > 0, some, "{activation:?}: {n} pairs");
        assert_eq!(changed.constants != float.constants, some);
        for (a, b) in heads(&float).iter().zip(&heads(&changed)) {
            let error = (a - b).abs().max().double_value(&[]);
            let largest = a.abs().max().double_value(&[]);
            assert!(
                error <= 1e-5 * largest,
                "{activation:?}: {error} of {largest}"
            );
        }
    }
}

#[test]
fn a_range_that_was_trained_stands_for_a_measured_one() {
    let bytes = float_bytes(Activation::Silu);
    let given = Ranges::from([
        ("model.0.act".to_owned(), [-0.5, 50.5]),
        ("model.9.m.1".to_owned(), [-1.0, 101.0]),
    ]);
    let made = quantize(&bytes, &given, &canvases(2), &OPTIONS, &mut |_| ()).unwrap();
    let scales = scales(&Network::read(&made.bytes).unwrap());
    assert_eq!(scales["model.0.act"], Params::of([-0.5, 50.5]).scale);
    assert_eq!(scales["model.9.cat"], Params::of([-1.0, 101.0]).scale);
}

#[test]
fn layers_stay_float_only_as_long_as_the_heads_need_it() {
    let with = |float_budget, min_sqnr| {
        let options = Options {
            float_budget,
            min_sqnr,
            ..OPTIONS
        };
        made(Activation::Silu, &options).unwrap()
    };
    let none = with(0.0, 1000.0);
    assert!(none.layers.iter().all(|cost| !cost.float));
    let needless = with(1.0, 1.0);
    assert_eq!(needless.n_layers[0], needless.n_layers[1]);
    let some = with(0.2, 1000.0);
    let n_float = some.layers.iter().filter(|cost| cost.float).count();
    let spent: f64 = some
        .layers
        .iter()
        .filter(|cost| cost.float)
        .map(|cost| cost.mac_share)
        .sum();
    assert!(n_float > 0 && spent <= 0.2, "{n_float} layers, {spent}");
    assert_eq!(some.n_layers[0] - some.n_layers[1], n_float);
    assert_eq!(
        contract_of(&some.bytes)
            .unwrap()
            .quantization
            .unwrap()
            .n_float_layers as usize,
        n_float
    );
    assert!(worst_sqnr(&some.heads) > worst_sqnr(&none.heads));
}

#[test]
fn the_table_begins_with_the_dearest_layer() {
    let layers = made(Activation::Relu, &OPTIONS).unwrap().layers;
    assert!(layers.is_sorted_by(|a, b| a.relative_error >= b.relative_error));
    assert!(
        layers
            .iter()
            .all(|cost| cost.relative_error > 0.0 && cost.macs > 0)
    );
    let shares: f64 = layers.iter().map(|cost| cost.mac_share).sum();
    assert!((shares - 1.0).abs() < 1e-9);
}

#[test]
fn what_cannot_be_quantized_is_refused_with_its_reason() {
    let refused = |bytes: &[u8]| {
        let made = quantize(bytes, &Ranges::new(), &canvases(1), &OPTIONS, &mut |_| ());
        let error = made.expect_err("refused");
        (crate::exit::code(&error), error.to_string())
    };
    let quantized = made(Activation::Silu, &OPTIONS).unwrap().bytes;
    let expected = "the model is quantized already: expected one in floating point";
    assert_eq!(refused(&quantized), (4, expected.to_owned()));

    let whole = float_bytes(Activation::Silu);
    let (code, text) = refused(&whole[..999]);
    assert!(
        code == 4 && text.starts_with("not an ONNX file: "),
        "{code} {text}"
    );
    assert_eq!(refused(b""), (4, "opset: expected 13, found 0".to_owned()));

    let mut network = Network::read(&whole).unwrap();
    let bias = network.constants.get_mut("model.0.conv.bias").unwrap();
    bias.numbers = Numbers::F32(vec![f32::NAN; 4]);
    let expected = "constant \"model.0.conv.bias\": value 0 is NaN or infinite";
    assert_eq!(refused(&network.encode()), (4, expected.to_owned()));

    let bias = network.constants.get_mut("model.0.conv.bias").unwrap();
    bias.numbers = Numbers::F32(vec![3e38; 4]);
    let weight = network.constants.get_mut("model.1.conv.weight").unwrap();
    let Numbers::F32(values) = &mut weight.numbers else {
        panic!("floats")
    };
    values.fill(9.0);
    let (code, text) = refused(&network.encode());
    assert_eq!(code, 4);
    assert!(
        text.ends_with("is NaN or infinite on calibration canvas 0"),
        "{text}"
    );
}

#[test]
fn a_foreign_operator_is_named() {
    let mut network = Network::read(&float_bytes(Activation::Relu)).unwrap();
    let node = network
        .nodes
        .iter_mut()
        .find(|node| node.op == Op::Relu)
        .unwrap();
    node.wire.op_type = "Softmax".to_owned();
    let name = node.output().to_owned();
    let refused = Network::read(&network.encode())
        .expect_err("refused")
        .to_string();
    let expected =
        format!("node {name:?}: expected an operator of the trainer's, found \"Softmax\"");
    assert_eq!(refused, expected);
}

#[test]
fn no_pictures_are_bad_data() {
    let refused =
        Canvases::new(&[], shared::geometry::Size::new(96, 64), "here").expect_err("none");
    assert!(matches!(refused, QuantizeError::NoPictures { .. }));
    assert_eq!(
        refused.to_string(),
        "here: expected calibration pictures, found none"
    );
    assert_eq!(crate::exit::code(&refused.into()), 3);
}

#[test]
fn pictures_are_evenly_spaced() {
    assert_eq!(spaced(10, 4).collect::<Vec<_>>(), [0, 2, 5, 7]);
    assert_eq!(spaced(3, 9).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(spaced(0, 9).count(), 0);
}
