use std::collections::{BTreeMap, BTreeSet};

use tch::Tensor;

use super::super::network::{Network, Numbers};
use super::super::rewrite::{Params, Plan, WeightBits, rewrite};
use super::super::run::Runner;
use crate::checkpoint::floats;
use crate::onnx::graph::Window;
use crate::onnx::{ElementType, Graph};

const SIDE: usize = 4;

/// canvas -> 1x1 convolution (2 channels) -> Relu -> 1x1 convolution (1 channel) -> output.
fn tiny() -> Network {
    let mut graph = Graph::new("tiny");
    let images = graph
        .input("images", ElementType::U8, &[1, 3, SIDE, SIDE])
        .unwrap();
    let scale = graph.constant("s", &[], &[1.0_f32 / 255.0]).unwrap();
    let zero = graph.constant("z", &[], &[0_u8]).unwrap();
    let canvas = graph
        .dequantize_linear("canvas", &images, &scale, &zero)
        .unwrap();
    let window = Window {
        stride: 1,
        padding: 0,
    };
    let first = [0.9_f32, -0.4, 0.3, -0.7, 0.2, 1.1];
    let weight = graph.constant("a.weight", &[2, 3, 1, 1], &first).unwrap();
    let bias = graph.constant("a.bias", &[2], &[0.1_f32, -0.05]).unwrap();
    let a = graph.conv("a", &canvas, &weight, &bias, window).unwrap();
    let relu = graph.relu("r", &a).unwrap();
    let weight = graph
        .constant("b.weight", &[1, 2, 1, 1], &[1.5_f32, -0.6])
        .unwrap();
    let bias = graph.constant("b.bias", &[1], &[0.3_f32]).unwrap();
    let b = graph.conv("b", &relu, &weight, &bias, window).unwrap();
    graph.output(&b).unwrap();
    Network::read(&graph.encode(&[]).unwrap()).unwrap()
}

fn plan() -> Plan {
    Plan {
        params: BTreeMap::from([("r".to_owned(), Params::of([0.0, 1.3]))]),
        float_layers: BTreeSet::new(),
        bits: WeightBits::Seven,
    }
}

fn pixels() -> Vec<u8> {
    (0..3 * SIDE * SIDE).map(|i| (i * 37 % 256) as u8).collect()
}

fn input() -> Tensor {
    let side = SIDE as i64;
    Tensor::from_slice(&pixels()).view([1, 3, side, side])
}

/// The integers of a layer: weights, biases, scale of the weights by channel.
fn layer(network: &Network, name: &str) -> (Vec<i8>, Vec<i32>, Vec<f32>) {
    let get = |part: &str| network.constants[&format!("{name}.{part}")].numbers.clone();
    match (
        get("weight.quantized"),
        get("bias.quantized"),
        get("weight.scale"),
    ) {
        (Numbers::I8(w), Numbers::I32(b), Numbers::F32(s)) => (w, b, s),
        other => panic!("expected integers, found {other:?}"),
    }
}

#[test]
fn a_quantized_network_computes_what_integers_compute() {
    let network = rewrite(&tiny(), &plan()).unwrap();
    let mut bytes = Vec::new();
    let outputs = Runner::new(&network).run(&input(), &mut |node, value| {
        if node.output() == "r.quantized" {
            bytes = floats(&value);
        }
        value
    });
    let found = floats(&outputs.unwrap()[0]);

    let (x, n) = (pixels(), SIDE * SIDE);
    let Params { scale, zero } = plan().params["r"];
    let (weight, bias, weight_scale) = layer(&network, "a");
    let (next_weight, next_bias, next_scale) = layer(&network, "b");
    for place in 0..n {
        let mut next = next_bias[0];
        for channel in 0..2 {
            let products = (0..3).map(|input| {
                i32::from(weight[channel * 3 + input]) * i32::from(x[input * n + place])
            });
            let sum = bias[channel] + products.sum::<i32>();
            let factor = (1.0 / 255.0) * weight_scale[channel] / scale;
            let byte = (sum as f32 * factor).round_ties_even() + f32::from(zero);
            let byte = byte.clamp(f32::from(zero), 255.0);
            assert_eq!(
                bytes[channel * n + place],
                byte,
                "channel {channel}, place {place}"
            );
            next += i32::from(next_weight[channel]) * (byte as i32 - i32::from(zero));
        }
        let expected = next as f32 * scale * next_scale[0];
        assert!(
            (found[place] - expected).abs() <= 1e-6,
            "{} {expected}",
            found[place]
        );
    }
}

#[test]
fn what_a_relu_cuts_off_is_not_stored_before_it() {
    let network = rewrite(&tiny(), &plan()).unwrap();
    let kinds: Vec<&str> = network.nodes.iter().map(|node| node.op.name()).collect();
    let dequantize = "DequantizeLinear";
    assert_eq!(
        kinds,
        [
            dequantize,
            dequantize,
            dequantize,
            "Conv",
            "Relu",
            "QuantizeLinear",
            dequantize,
            dequantize,
            dequantize,
            "Conv"
        ]
    );
}

#[test]
fn a_layer_that_stays_float_keeps_its_weights() {
    let plan = Plan {
        float_layers: BTreeSet::from(["b".to_owned()]),
        ..plan()
    };
    let network = rewrite(&tiny(), &plan).unwrap();
    assert_eq!(network.floats("b.weight").unwrap().1, [1.5, -0.6]);
    assert!(network.floats("a.weight").is_err());
}
