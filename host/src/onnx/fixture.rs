//! A network with made-up weights and its contract, for the tests of this module.

use heapless::Vec as Bounded;
use shared::attribute::AttributeSchema;
use shared::class::ClassTable;
use shared::contract::{
    AttributeHead, CONTRACT_VERSION, ModelContract, ParityBudgets, Precision, Provenance,
    RegionHead,
};
use shared::fit::FitKind;
use shared::geometry::Size;
use shared::head::{HeadLevel, Thresholds};

use super::{HeadLayers, Yolov5Spec};
use crate::model::{Activation, Stem};
use crate::weights::NamedTensors;

/// Two classes, attributes of 2 and 3 values, two anchors: 2 * (5 + 2 + 5) channels.
pub const N_OUTPUTS: usize = 24;

pub fn spec() -> Yolov5Spec {
    Yolov5Spec {
        widths: [4, 6, 8, 10, 12],
        backbone_repeats: [1, 2, 3, 1],
        neck_repeats: 2,
        activation: Activation::Silu,
        stem: Stem::Conv6,
        head: HeadLayers::Anchor {
            n_outputs: [N_OUTPUTS; 3],
        },
        fine_outputs: false,
    }
}

pub fn contract() -> ModelContract {
    let level = |stride: u16| HeadLevel {
        stride,
        anchors: Bounded::from_slice(&[[10.0, 13.0], [16.0, 30.0]]).unwrap(),
    };
    ModelContract {
        version: CONTRACT_VERSION,
        name: "made up".try_into().unwrap(),
        canvas: Size::new(96, 64),
        fit: FitKind::Letterbox,
        levels: Bounded::from_slice(&[level(8), level(16), level(32)]).unwrap(),
        classes: ClassTable::new(["WBC", "it's"]).unwrap(),
        attributes: AttributeSchema::new([
            ("nucleolus", &["inconspicuous", "prominent"][..]),
            ("cell_size", &["small", "medium", "large"]),
        ])
        .unwrap(),
        attribute_head: AttributeHead::Dense,
        thresholds: Thresholds::COUNTING,
        class_scores: Bounded::new(),
        domain: None,
        precision: Precision::Float32,
        quantization: None,
        budgets: ParityBudgets::DEFAULT,
        provenance: Provenance {
            software: "leuko-host 0.1.0".try_into().unwrap(),
            checkpoint_sha256: "0".repeat(64).as_str().try_into().unwrap(),
            data_fingerprint: "1".repeat(64).as_str().try_into().unwrap(),
            epochs: 3,
        },
        golden: Bounded::new(),
    }
}

/// The same network with its attributes in a second file.
pub fn region_contract() -> ModelContract {
    let regions = RegionHead {
        channels: [6, 8],
        sha256: "2".repeat(64).as_str().try_into().unwrap(),
    };
    ModelContract {
        attribute_head: AttributeHead::Roi(regions),
        ..contract()
    }
}

/// Every convolution with batch norm: name, channels out, channels in, kernel side.
pub fn convolutions(spec: &Yolov5Spec) -> Vec<(String, usize, usize, usize)> {
    let [a, b, c, d, e] = spec.widths;
    let stem = match spec.stem {
        Stem::Conv6 => vec![("0", a, 3, 6), ("1", b, a, 3)],
        Stem::Patch4 => vec![("0", b, 3, 4)],
    };
    let [n2, n4, n6, n8] = spec.backbone_repeats;
    let n = spec.neck_repeats;
    let rest = [
        ("3", c, b, 3),
        ("5", d, c, 3),
        ("7", e, d, 3),
        ("9.cv1", e / 2, e, 1),
        ("9.cv2", e, 2 * e, 1),
        ("10", d, e, 1),
        ("14", c, d, 1),
        ("18", c, c, 3),
        ("21", d, d, 3),
    ];
    let named = |(name, out, inputs, kernel)| (format!("model.{name}"), out, inputs, kernel);
    let mut all: Vec<_> = stem.into_iter().chain(rest).map(named).collect();
    let stacks = [
        (2, b, b, n2),
        (4, c, c, n4),
        (6, d, d, n6),
        (8, e, e, n8),
        (13, d, 2 * d, n),
        (17, c, 2 * c, n),
        (20, d, 2 * c, n),
        (23, e, 2 * d, n),
    ];
    for (layer, out, inputs, repeats) in stacks {
        let name = format!("model.{layer}");
        let half = out / 2;
        all.push((format!("{name}.cv1"), half, inputs, 1));
        all.push((format!("{name}.cv2"), half, inputs, 1));
        all.push((format!("{name}.cv3"), out, 2 * half, 1));
        for at in 0..repeats {
            all.push((format!("{name}.m.{at}.cv1"), half, half, 1));
            all.push((format!("{name}.m.{at}.cv2"), half, half, 3));
        }
    }
    if let HeadLayers::AnchorFree { width, repeats, .. } = spec.head {
        for (level, inputs) in [c, d, e].into_iter().enumerate() {
            all.push((format!("model.24.stem.{level}"), width, inputs, 1));
            for n in 0..repeats {
                for branch in ["box", "cls"] {
                    all.push((format!("model.24.{branch}.{level}.{n}"), width, width, 3));
                }
            }
        }
    }
    all
}

/// Every convolution with bias: name, channels out, channels in.
fn predictors(spec: &Yolov5Spec) -> Vec<(String, usize, usize)> {
    let levels = spec.widths[2..].iter().copied().enumerate();
    let of_level = |(level, inputs): (usize, usize)| match spec.head {
        HeadLayers::Anchor { n_outputs } => {
            vec![(format!("model.24.m.{level}"), n_outputs[level], inputs)]
        }
        HeadLayers::AnchorFree {
            width,
            n_classes_and_values: kinds,
            ..
        } => vec![
            (format!("model.24.box_out.{level}"), 5, width),
            (format!("model.24.cls_out.{level}"), kinds, width),
        ],
    };
    levels.flat_map(of_level).collect()
}

/// Numbers of -1..1 out of a linear congruential generator.
struct Numbers(u64);

impl Numbers {
    fn draw(&mut self, count: usize, centre: f32, spread: f32) -> Vec<f32> {
        let mut next = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
            self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 40) as f32 / 8_388_608.0 - 1.0
        };
        (0..count).map(|_| centre + spread * next()).collect()
    }
}

/// Weights of [`spec`], with the step counters and anchors that a state dict holds too.
pub fn tensors(spec: &Yolov5Spec) -> NamedTensors {
    let mut numbers = Numbers(240_510_803);
    let mut out = NamedTensors::new();
    for (name, channels, inputs, kernel) in convolutions(spec) {
        let fan_in = inputs * kernel * kernel;
        // Uniform with the variance of He's initialisation: activations neither vanish nor explode.
        let spread = (6.0 / fan_in as f32).sqrt();
        let weight = numbers.draw(channels * fan_in, 0.0, spread);
        let shape = vec![channels, inputs, kernel, kernel];
        out.insert(format!("{name}.conv.weight"), shape, weight)
            .unwrap();
        let parts = [
            ("weight", 1.0, 0.5),
            ("bias", 0.0, 0.3),
            ("running_mean", 0.0, 0.3),
            ("running_var", 1.0, 0.5),
        ];
        for (part, centre, spread) in parts {
            let values = numbers.draw(channels, centre, spread);
            out.insert(format!("{name}.bn.{part}"), vec![channels], values)
                .unwrap();
        }
        let counter = format!("{name}.bn.num_batches_tracked");
        out.insert(counter, vec![], vec![7.0]).unwrap();
    }
    for (name, outputs, inputs) in predictors(spec) {
        let weight = numbers.draw(outputs * inputs, 0.0, 0.5);
        let shape = vec![outputs, inputs, 1, 1];
        out.insert(format!("{name}.weight"), shape, weight).unwrap();
        let bias = numbers.draw(outputs, 0.0, 1.0);
        out.insert(format!("{name}.bias"), vec![outputs], bias)
            .unwrap();
    }
    out.insert("model.24.anchors", vec![1], vec![1.0]).unwrap();
    out
}
