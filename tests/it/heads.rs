//! Every form of network through tch, the station's engine and ONNX Runtime: the same raw heads.
//!
//! With untrained weights whose batch norms are shaken, so that folding them has something to do.

use std::path::Path;
use std::process::Command;

use edge::model::ModelFile;
use edge::network::{HeadBuffers, Network};
use edge::tract::TractNetwork;
use host::checkpoint::{Checkpoint, RunState, build};
use host::eval::Evaluator;
use host::export::{contract_of, onnx_of};
use host::model::{Activation, Architecture, DetectionHead, Stem};
use shared::attribute::{AttributeSchema, WBCATT_ATTRIBUTES};
use shared::class::ClassTable;
use shared::fit::FitKind;
use shared::geometry::Size;
use shared::head::Thresholds;
use tch::{Device, Tensor, nn};
use tests::{dump_heads, parity_python, root};

use crate::end_to_end;

pub const CANVAS: Size = Size::new(96, 64);

/// A network that nobody trained.
pub fn untrained(architecture: Architecture) -> Checkpoint {
    let mut plan = end_to_end::plan();
    plan.architecture = architecture;
    plan.canvas = CANVAS;
    let run = RunState {
        version: RunState::version(),
        software: "a test".to_owned(),
        levels: architecture.levels(),
        plan,
        classes: ClassTable::new(["Neutrophil", "Basophil", "Monocyte"]).expect("names"),
        schema: AttributeSchema::new(WBCATT_ATTRIBUTES).expect("a schema"),
        data_fingerprint: "none".to_owned(),
        epochs_done: 0,
        ema_updates: 0,
        best: None,
        scaler: None,
    };
    tch::manual_seed(5);
    let store = nn::VarStore::new(Device::Cpu);
    build(&store, &architecture, &run.head());
    let shaken = |(name, variable): (String, Tensor)| {
        let noise = || variable.rand_like();
        let value = match name.rsplit('.').next() {
            Some("running_var" | "running_mean") => noise() + 0.5,
            _ if name.contains(".bn.") => &variable + noise() * 0.5,
            _ => variable.copy(),
        };
        (name, value.detach())
    };
    Checkpoint {
        run,
        weights: Default::default(),
        ema: store.variables().into_iter().map(shaken).collect(),
        momentum: Default::default(),
    }
}

/// Networks that differ in all that a graph can differ in.
pub fn forms() -> [Architecture; 5] {
    let family = Architecture::yolov5("n").expect("a size");
    [
        family,
        Architecture {
            activation: Activation::Relu,
            stem: Stem::Patch4,
            width: 0.1875,
            ..family
        },
        Architecture {
            detection: DetectionHead::AnchorFree,
            ..family
        },
        Architecture {
            detection: DetectionHead::AnchorFree,
            activation: Activation::Relu,
            stem: Stem::Patch4,
            width: 0.375,
            // Two convolutions a branch.
            depth: 1.0,
            ..family
        },
        Architecture {
            detection: DetectionHead::AnchorFree,
            activation: Activation::LeakyRelu,
            width: 0.125,
            ..family
        },
    ]
}

#[test]
fn every_form_of_network_gives_the_same_heads_everywhere() {
    for architecture in forms() {
        let checkpoint = untrained(architecture);
        let contract = contract_of(&checkpoint, "untrained", "none", Thresholds::COUNTING)
            .expect("a contract");
        let bytes = onnx_of(&checkpoint, &contract).expect("a graph");
        let folder = tempfile::tempdir().expect("a scratch folder");
        let model = folder.path().join("untrained.onnx");
        std::fs::write(&model, bytes).expect("written");
        let file = ModelFile::read(&model).expect("the station reads the file");
        let mut station = TractNetwork::load(&file).expect("the station takes the model");
        let head = checkpoint.run.head();
        let (_store, network) = checkpoint.network(Device::Cpu).expect("the weights fit");
        let evaluator = Evaluator {
            network: &network,
            head: &head,
            fit: FitKind::Letterbox,
            canvas: CANVAS,
            device: Device::Cpu,
        };
        let canvas: Vec<u8> = (0..3 * 96 * 64_u32)
            .map(|at| (at * at / 97) as u8)
            .collect();
        let mut buffers = HeadBuffers::new(station.contract());
        station.run(&canvas, &mut buffers).expect("tract runs");
        let by_tch = evaluator.heads(&canvas);
        for (level, (a, b)) in by_tch.iter().zip(&buffers.views()).enumerate() {
            let off = end_to_end::relative_difference(a, b);
            assert!(off <= 2e-5, "{architecture:?}, level {level}: {off:e}");
        }
        let dump = folder.path().join("tch");
        dump_heads("tch", &dump, &[canvas], &[by_tch]).expect("written");
        onnx_runtime_agrees(&model, &dump);
    }
}

/// The file passes the checker by the book, and ONNX Runtime gives the dumped heads.
fn onnx_runtime_agrees(model: &Path, dump: &Path) {
    let Some(python) = parity_python() else {
        return;
    };
    let script = root().join("tests/onnx_parity.py");
    let arguments = [script.as_path(), model, dump, Path::new("--tolerance=2e-5")];
    let said = Command::new(python)
        .args(arguments)
        .output()
        .expect("Python runs");
    let text = String::from_utf8_lossy(&said.stderr);
    if text.contains("ModuleNotFoundError") {
        eprintln!("skipped: no ONNX Runtime, tests/onnx-parity sets it up");
        return;
    }
    assert!(
        said.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&said.stdout)
    );
}
