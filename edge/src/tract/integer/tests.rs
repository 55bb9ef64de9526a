//! Small quantized graphs, computed by the steps and by tract's own float operators.

use prost::Message;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto};
use tract_onnx::pb::{TypeProto, ValueInfoProto, tensor_shape_proto, type_proto};

use super::*;
use crate::fixture::{TINY, and_contract};
use crate::model::ModelFile;
use crate::network::{HeadBuffers, Network};
use crate::tract::TractNetwork;

/// A graph under construction; its input is a canvas of 3 x 12 x 14 bytes.
struct Builder {
    graph: GraphProto,
    random: u64,
}

const CANVAS: [i64; 4] = [1, 3, 12, 14];

impl Builder {
    fn new() -> Self {
        Self::on(&CANVAS)
    }

    fn on(canvas: &[i64; 4]) -> Self {
        let mut graph = GraphProto {
            name: "g".to_owned(),
            ..GraphProto::default()
        };
        graph.input.push(value("images", DataType::Uint8, canvas));
        let mut builder = Self { graph, random: 7 };
        builder.dequantize("images", "x", 1.0 / 255.0, 0);
        builder
    }

    fn number(&mut self, below: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.random >> 33) % below
    }

    fn constant(&mut self, name: &str, kind: DataType, dims: &[i64], raw: Vec<u8>) -> String {
        self.graph.initializer.push(TensorProto {
            name: name.to_owned(),
            dims: dims.to_vec(),
            data_type: kind as i32,
            raw_data: raw,
            ..TensorProto::default()
        });
        name.to_owned()
    }

    fn floats(&mut self, name: &str, dims: &[i64], values: &[f32]) -> String {
        let raw = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.constant(name, DataType::Float, dims, raw)
    }

    fn node(&mut self, op: &str, inputs: &[&str], output: &str) -> &mut NodeProto {
        self.graph.node.push(NodeProto {
            op_type: op.to_owned(),
            name: output.to_owned(),
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.to_owned()],
            ..NodeProto::default()
        });
        self.graph.node.last_mut().expect("just pushed")
    }

    fn parameters(&mut self, of: &str, scale: f32, zero_point: u8) -> [String; 2] {
        let scale = self.floats(&format!("{of}.scale"), &[], &[scale]);
        let zero = self.constant(
            &format!("{of}.zero"),
            DataType::Uint8,
            &[],
            vec![zero_point],
        );
        [scale, zero]
    }

    fn dequantize(&mut self, from: &str, to: &str, scale: f32, zero_point: u8) {
        let [scale, zero] = self.parameters(to, scale, zero_point);
        self.node("DequantizeLinear", &[from, &scale, &zero], to);
    }

    /// `name` quantized as `name.q` and back as `name.d`.
    fn quantize(&mut self, name: &str, scale: f32, zero_point: u8) {
        let [s, z] = self.parameters(name, scale, zero_point);
        self.node("QuantizeLinear", &[name, &s, &z], &format!("{name}.q"));
        self.node(
            "DequantizeLinear",
            &[&format!("{name}.q"), &s, &z],
            &format!("{name}.d"),
        );
    }

    /// A convolution with quantized weights; `input_scale` is that of `from`.
    fn conv(
        &mut self,
        from: &str,
        input_scale: f32,
        [out, channels, side]: [i64; 3],
        stride: i64,
        to: &str,
    ) {
        let weights = (0..out * channels * side * side)
            .map(|_| (self.number(127) as i32 - 63) as u8)
            .collect();
        let scales: Vec<f32> = (0..out).map(|at| 0.002 + 0.0005 * at as f32).collect();
        let bias: Vec<u8> = (0..out)
            .flat_map(|_| (self.number(4000) as i32 - 2000).to_le_bytes())
            .collect();
        let w = self.constant(
            &format!("{to}.w"),
            DataType::Int8,
            &[out, channels, side, side],
            weights,
        );
        let s = self.floats(&format!("{to}.w.scale"), &[out], &scales);
        let z = self.constant(
            &format!("{to}.w.zero"),
            DataType::Int8,
            &[out],
            vec![0; out as usize],
        );
        self.node("DequantizeLinear", &[&w, &s, &z], &format!("{to}.w.d"))
            .attribute = vec![int("axis", 0)];
        let b = self.constant(&format!("{to}.b"), DataType::Int32, &[out], bias);
        let products: Vec<f32> = scales.iter().map(|scale| scale * input_scale).collect();
        let s = self.floats(&format!("{to}.b.scale"), &[out], &products);
        let z = self.constant(
            &format!("{to}.b.zero"),
            DataType::Int32,
            &[out],
            vec![0; 4 * out as usize],
        );
        self.node("DequantizeLinear", &[&b, &s, &z], &format!("{to}.b.d"))
            .attribute = vec![int("axis", 0)];
        let (w, b) = (format!("{to}.w.d"), format!("{to}.b.d"));
        self.node("Conv", &[from, &w, &b], to).attribute = vec![
            ints("kernel_shape", &[side; 2]),
            ints("strides", &[stride; 2]),
            ints("pads", &[side / 2; 4]),
        ];
    }

    fn output(&mut self, name: &str) {
        self.graph.output.push(ValueInfoProto {
            name: name.to_owned(),
            ..ValueInfoProto::default()
        });
    }

    fn model(self) -> ModelProto {
        ModelProto {
            ir_version: 8,
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: 13,
            }],
            ..ModelProto::default()
        }
    }

    /// Outputs of tract's own operators and of the steps, and what the pass says.
    fn run(self) -> (Vec<Tensor>, Vec<Tensor>, Integers) {
        let canvas: Vec<u8> = (0..CANVAS.iter().product())
            .map(|at: i64| (at * 89 % 256) as u8)
            .collect();
        let canvas = Tensor::from_shape(&CANVAS.map(|side| side as usize), &canvas).unwrap();
        let mut proto = self.model();
        let own = outputs(onnx().model_for_proto_model(&proto).unwrap(), &canvas);
        let plan = rewrite(proto.graph.as_mut().unwrap(), &int8::available(), None);
        let mut model = onnx().model_for_proto_model(&proto).unwrap();
        let report = plan.install(&mut model);
        (own, outputs(model, &canvas), report)
    }

    /// As [`Builder::run`]; the outputs must be the same but for bytes that were nearly half way between
    /// two and fell the other way, which later layers spread: 40 dB below what the outputs vary.
    fn check(self) -> Integers {
        let (own, steps, report) = self.run();
        assert_eq!(own.len(), steps.len());
        for (own, steps) in own.iter().zip(&steps) {
            assert_eq!(own.shape(), steps.shape());
            let floats = |tensor: &Tensor| -> Vec<f64> {
                let view = tensor.try_as_plain_ram().unwrap();
                view.as_slice::<f32>()
                    .unwrap()
                    .iter()
                    .map(|&x| x.into())
                    .collect()
            };
            let (own, steps) = (floats(own), floats(steps));
            let mean = own.iter().sum::<f64>() / own.len() as f64;
            let signal: f64 = own.iter().map(|x| (x - mean).powi(2)).sum();
            let noise: f64 = own.iter().zip(&steps).map(|(a, b)| (a - b).powi(2)).sum();
            let decibel = 10.0 * (signal / noise).log10();
            assert!(signal > 0.0 && decibel > 40.0, "{decibel:.1} dB");
        }
        report
    }
}

fn outputs(model: InferenceModel, canvas: &Tensor) -> Vec<Tensor> {
    let model = model.into_optimized().unwrap().into_runnable().unwrap();
    let outputs = model.run(tvec!(canvas.clone().into())).unwrap();
    outputs
        .into_iter()
        .map(|output| output.into_tensor())
        .collect()
}

fn value(name: &str, kind: DataType, dims: &[i64]) -> ValueInfoProto {
    let dim = |&size: &i64| tensor_shape_proto::Dimension {
        value: Some(tensor_shape_proto::dimension::Value::DimValue(size)),
        ..Default::default()
    };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: kind as i32,
                shape: Some(tract_onnx::pb::TensorShapeProto {
                    dim: dims.iter().map(dim).collect(),
                }),
            })),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        i,
        r#type: 2,
        ..AttributeProto::default()
    }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        ints: ints.to_vec(),
        r#type: 7,
        ..AttributeProto::default()
    }
}

fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        s: s.as_bytes().to_vec(),
        r#type: 3,
        ..AttributeProto::default()
    }
}

#[test]
fn a_network_of_all_known_layers_runs_in_integers_alone() {
    let mut b = Builder::new();
    b.conv("x", 1.0 / 255.0, [16, 3, 3], 2, "stem");
    b.quantize("stem", 0.02, 120);
    b.node("Sigmoid", &["stem.d"], "gate");
    b.node("Mul", &["stem.d", "gate"], "silu");
    b.quantize("silu", 0.01, 20);
    b.conv("silu.d", 0.01, [16, 16, 3], 1, "second");
    b.node("Relu", &["second"], "relu");
    b.quantize("relu", 0.01, 0);
    b.node("Add", &["silu.d", "relu.d"], "sum");
    b.quantize("sum", 0.02, 10);
    b.node("MaxPool", &["sum.d"], "pool").attribute = vec![
        ints("kernel_shape", &[2, 2]),
        ints("strides", &[2, 2]),
        ints("pads", &[0; 4]),
    ];
    b.quantize("pool", 0.02, 10);
    let scales = b.floats("scales", &[4], &[1.0, 1.0, 2.0, 2.0]);
    b.node("Resize", &["pool.d", "", &scales], "large")
        .attribute = vec![
        text("mode", "nearest"),
        text("coordinate_transformation_mode", "asymmetric"),
        text("nearest_mode", "floor"),
    ];
    b.quantize("large", 0.02, 10);
    // 6 x 7 pools to 3 x 3 and doubles to 6 x 6: another road to 6 x 6 keeps the sides equal.
    b.node("LeakyRelu", &["large.d"], "leaky");
    b.quantize("leaky", 0.015, 9);
    b.node("Concat", &["large.d", "leaky.d"], "cat").attribute = vec![int("axis", 1)];
    b.quantize("cat", 0.021, 12);
    b.conv("cat.d", 0.021, [7, 32, 1], 1, "head");
    b.output("head");
    let report = b.check();
    assert_eq!((report.count(), report.of()), (3, 3));
    assert!(report.float.is_empty() && report.packed_bytes > 7 * 32);
}

#[test]
fn what_cannot_be_taken_stays_float_and_is_listed() {
    let mut b = Builder::new();
    b.conv("x", 1.0 / 255.0, [8, 3, 3], 1, "first");
    b.quantize("first", 0.02, 128);
    // Float weights; its input comes from bytes, its output is quantized again by tract.
    let weights: Vec<f32> = (0..64).map(|at| (at % 7) as f32 * 0.05 - 0.1).collect();
    let weights = b.floats("float.w", &[8, 8, 1, 1], &weights);
    b.node("Conv", &["first.d", &weights], "float");
    b.quantize("float", 0.02, 100);
    b.conv("float.d", 0.02, [6, 8, 3], 1, "last");
    b.output("last");
    let report = b.check();
    assert_eq!((report.count(), report.of()), (2, 3));
    let [(name, reason)] = &report.float[..] else {
        panic!("{report:?}");
    };
    assert_eq!(name, "float");
    assert!(
        reason.starts_with("its weights are not 8-bit constants"),
        "{reason}"
    );
}

#[test]
fn the_operator_form_is_taken_too() {
    let mut b = Builder::new();
    let raw: Vec<u8> = (0..8 * 27)
        .map(|_| (b.number(127) as i32 - 63) as u8)
        .collect();
    let w = b.constant("w", DataType::Int8, &[8, 3, 3, 3], raw);
    let ws = b.floats("w.scale", &[8], &[0.004; 8]);
    let wz = b.constant("w.zero", DataType::Int8, &[8], vec![0; 8]);
    let [ys, yz] = b.parameters("y", 0.02, 100);
    let bias = b.constant("bias", DataType::Int32, &[8], vec![0; 32]);
    let node = b.node(
        "QLinearConv",
        &["images", "x.scale", "x.zero", &w, &ws, &wz, &ys, &yz, &bias],
        "y.q",
    );
    node.attribute = vec![ints("pads", &[1; 4])];
    // A pooling of the bytes themselves.
    b.node("MaxPool", &["y.q"], "pool").attribute =
        vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1; 4])];
    b.node("DequantizeLinear", &["pool", &ys, &yz], "out");
    b.output("out");
    let report = b.check();
    assert_eq!((report.count(), report.of()), (1, 1));
}

#[test]
fn signed_bytes_mean_the_same() {
    let mut b = Builder::new();
    b.conv("x", 1.0 / 255.0, [8, 3, 3], 1, "first");
    let scale = b.floats("s", &[], &[0.02]);
    let zero = b.constant("z", DataType::Int8, &[], vec![-5i8 as u8]);
    b.node("QuantizeLinear", &["first", &scale, &zero], "first.q");
    b.node("DequantizeLinear", &["first.q", &scale, &zero], "first.d");
    b.conv("first.d", 0.02, [5, 8, 3], 2, "last");
    b.output("last");
    let report = b.check();
    assert_eq!((report.count(), report.of()), (2, 2));
}

#[test]
fn a_model_in_floating_point_is_left_alone() {
    let mut b = Builder::new();
    let weights = b.floats(
        "w",
        &[4, 3, 1, 1],
        &[
            0.5, -0.25, 1.0, 2.0, 0.5, -0.25, 1.0, 2.0, 0.5, -0.25, 1.0, 2.0,
        ],
    );
    b.node("Conv", &["x", &weights], "y");
    b.output("y");
    let (own, steps, report) = b.run();
    assert_eq!(own, steps);
    assert_eq!((report.count(), report.of()), (0, 1));
}

/// A quantized network with the heads that the contract of the tiny model promises.
fn small_quantized_file() -> Vec<u8> {
    let mut b = Builder::on(&[1, 3, 320, 320]);
    let mut from = ("x".to_owned(), 1.0 / 255.0, 3);
    for (at, stride) in [2, 4, 8, 16, 32].into_iter().enumerate() {
        let (down, relu) = (format!("down.{at}"), format!("relu.{at}"));
        b.conv(&from.0, from.1, [8, from.2, 3], 2, &down);
        b.node("Relu", &[&down], &relu);
        b.quantize(&relu, 0.02, 0);
        from = (format!("{relu}.d"), 0.02, 8);
        if stride >= 8 {
            let head = format!("head.{stride}");
            b.conv(&from.0, from.1, [41, 8, 1], 1, &head);
            b.output(&head);
        }
    }
    let tiny = ModelFile::from_bytes("tiny.onnx", TINY.to_vec());
    let contract = TractNetwork::load(&tiny).unwrap().contract().clone();
    let contract = serde_json::to_string(&contract).unwrap();
    and_contract(&b.model().encode_to_vec(), &contract)
}

#[test]
fn a_flipped_bit_in_a_quantized_file_is_refused_or_harmless() {
    let bytes = small_quantized_file();
    let load = |bytes: &[u8]| TractNetwork::load(&ModelFile::from_bytes("m", bytes.to_vec()));
    let whole = load(&bytes).expect("the file is sound");
    assert_eq!(whole.integers().map(|integers| integers.count()), Some(8));
    let canvas = vec![200; 3 * 320 * 320];
    let mut loaded = 0;
    // A prime, so that every kind of field is met.
    for at in (0..bytes.len()).step_by(43) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        if let Ok(mut network) = load(&bytes) {
            let mut heads = HeadBuffers::new(network.contract());
            let _ = network.run(&canvas, &mut heads);
            loaded += 1;
        }
    }
    assert!(loaded > 20, "{loaded}");
}

#[test]
fn numbers_that_make_no_sense_leave_a_convolution_in_floating_point() {
    let with = |change: &dyn Fn(&mut GraphProto)| {
        let mut b = Builder::new();
        b.conv("x", 1.0 / 255.0, [8, 3, 3], 1, "first");
        b.quantize("first", 0.02, 128);
        b.conv("first.d", 0.02, [4, 8, 3], 1, "last");
        b.output("last");
        let mut proto = b.model();
        let graph = proto.graph.as_mut().unwrap();
        change(graph);
        let report = rewrite(graph, &int8::available(), None).report;
        (report.count(), report.of())
    };
    let raw = |name: &'static str, bytes: Vec<u8>| {
        move |graph: &mut GraphProto| {
            let tensor = graph.initializer.iter_mut().find(|t| t.name == name);
            tensor.unwrap().raw_data = bytes.clone();
        }
    };
    let scale = |scale: f32| scale.to_le_bytes().to_vec();
    let scales = |scale: f32| scale.to_le_bytes().repeat(4);
    assert_eq!(with(&|_| ()), (2, 2));
    for bad in [0.0, -0.02, f32::NAN, f32::INFINITY] {
        // The scale of the value between them: the first gives its sums in floats, the second reads no bytes.
        assert_eq!(with(&raw("first.scale", scale(bad))), (1, 2), "{bad}");
    }
    for bad in [f32::NAN, f32::INFINITY] {
        assert_eq!(with(&raw("last.w.scale", scales(bad))), (1, 2), "{bad}");
    }
    assert_eq!(with(&raw("last.w.scale", vec![0; 3])), (1, 2), "cut short");
    assert_eq!(with(&raw("last.w.zero", vec![1; 4])), (1, 2), "off centre");
    assert_eq!(with(&raw("last.w", vec![0; 5])), (1, 2), "cut short");
    let window = |name: &'static str, sides: &'static [i64]| {
        move |graph: &mut GraphProto| {
            let node = graph.node.iter_mut().find(|node| node.name == "last");
            node.unwrap().attribute.push(ints(name, sides));
        }
    };
    assert_eq!(with(&window("dilations", &[2, 2])), (1, 2));
    let stride = |graph: &mut GraphProto| {
        let node = graph.node.iter_mut().find(|node| node.name == "last");
        let attributes = &mut node.unwrap().attribute;
        let strides = attributes.iter_mut().find(|a| a.name == "strides");
        strides.unwrap().ints = vec![0, -1];
    };
    assert_eq!(with(&stride), (1, 2));
}
