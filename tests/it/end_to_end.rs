//! The whole path in a minute: drawn fields, a trained network, the file, the station, the score.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use edge::detector::Detector;
use edge::model::ModelFile;
use edge::network::{HeadBuffers, Network};
use edge::replay::{Paths, RECORDS, replay};
use edge::tract::TractNetwork;
use host::augment::{Augmentation, ColourJitter};
use host::cache::CachePlan;
use host::checkpoint::{Checkpoint, sha256_of};
use host::dataset::{
    Dataset, PhantomLook, PhantomPlan, PhantomSchema, Sample, Split, draw_phantoms,
};
use host::detections::{ForeignAttributes, read_detections};
use host::engine::autocast::AmpChoice;
use host::eval::Evaluator;
use host::export::{contract_of, onnx_of};
use host::loss::{LossOptions, LossWeights};
use host::model::{Architecture, DetectionHead};
use host::optim::Schedule;
use host::picture::Picture;
use host::score::{ScoreOptions, score_samples};
use host::train::{
    AttributePlan, Balance, Start, TrainError, TrainOptions, TrainPlan, last_checkpoint, train,
};
use host::validate::score_split;
use shared::fit::FitKind;
use shared::geometry::Size;
use shared::head::Thresholds;
use tch::Device;

/// Drawn fields, eight of them, which the network shall learn by heart.
pub(crate) fn fields(folder: &Path) -> Dataset {
    let plan = PhantomPlan {
        fields: [8, 0, 0],
        seed: 70,
        look: PhantomLook::Analyser,
        schema: PhantomSchema::Wbcatt,
    };
    let mut data = draw_phantoms(&plan, folder).expect("fields can be drawn");
    let again = |sample: &Sample| Sample {
        split: Split::Val,
        ..sample.clone()
    };
    let val: Vec<Sample> = data.samples.iter().map(again).collect();
    // Ten times in an epoch: a checkpoint an epoch would otherwise take longer than the training.
    data.samples = std::iter::repeat_n(data.samples, 10).flatten().collect();
    data.samples.extend(val);
    data
}

/// Of a network that learns eight pictures by heart.
pub(crate) fn plan() -> TrainPlan {
    TrainPlan {
        architecture: Architecture::yolov5("n").unwrap(),
        canvas: Size::new(96, 96),
        fit: FitKind::Letterbox,
        epochs: 24,
        batch: 8,
        seed: 1,
        close_mosaic: 0,
        schedule: Schedule {
            lr0: 0.03,
            lrf: 0.01,
            warmup_epochs: 0.0,
            nominal_batch: 8,
            ..Schedule::default()
        },
        augmentation: Augmentation {
            mosaic: 0.0,
            translate: 0.02,
            scale: [0.95, 1.05],
            turns: false,
            fliplr: 0.0,
            colour: ColourJitter {
                hue: 0.0,
                saturation: 0.1,
                value: 0.1,
            },
            ..Augmentation::LOW
        },
        weights: LossWeights {
            bbox: 0.05,
            objectness: 8.0,
            class: 4.0,
            attribute: 0.25,
        },
        loss: LossOptions::default(),
        attributes: AttributePlan::default(),
        amp: AmpChoice::Auto,
        balance: Balance::None,
        autoanchor: false,
        patience: 0,
        repeat: Vec::new(),
        quantized: false,
        teacher: None,
    }
}

pub(crate) fn trained(
    data: &Dataset,
    plan: TrainPlan,
    validate_every: usize,
    out: &Path,
) -> Checkpoint {
    trained_from(Start::Nothing, data, plan, validate_every, out)
}

/// Why a training does not begin.
pub(crate) fn refused(data: &Dataset, plan: TrainPlan, out: &Path) -> TrainError {
    let (options, stop) = (options(out), AtomicBool::new(false));
    let begun = train(data, plan, Start::Nothing, &options, &stop, |_| ());
    begun.expect_err("nothing is trained")
}

/// On one process, validated after each epoch.
fn options(out: &Path) -> TrainOptions {
    TrainOptions {
        out: out.to_path_buf(),
        device: Device::Cpu,
        group: None,
        workers: 1,
        cache: CachePlan::Ram { bytes: 64 << 20 },
        time_budget: None,
        validate_every: 1,
    }
}

pub(crate) fn trained_from(
    start: Start,
    data: &Dataset,
    plan: TrainPlan,
    validate_every: usize,
    out: &Path,
) -> Checkpoint {
    // Sums of floats depend on how many threads share them: the same network on every machine.
    tch::set_num_threads(2);
    let options = TrainOptions {
        validate_every,
        ..options(out)
    };
    let stop = AtomicBool::new(false);
    train(data, plan, start, &options, &stop, |_| ()).expect("training runs");
    Checkpoint::load(&last_checkpoint(out)).expect("the checkpoint can be read")
}

#[test]
fn what_the_trainer_learned_the_station_finds() {
    learned_and_found(plan());
}

#[test]
fn what_the_anchor_free_trainer_learned_the_station_finds() {
    let plan = plan();
    learned_and_found(TrainPlan {
        architecture: Architecture {
            detection: DetectionHead::AnchorFree,
            ..plan.architecture
        },
        ..plan
    });
}

fn learned_and_found(plan: TrainPlan) {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let data = fields(&folder.path().join("fields"));
    let checkpoint = trained(&data, plan, usize::MAX, folder.path());
    let head = checkpoint.run.head();
    let (_store, network) = checkpoint.network(Device::Cpu).expect("the weights fit");
    let evaluator = Evaluator {
        network: &network,
        head: &head,
        fit: FitKind::Letterbox,
        canvas: Size::new(96, 96),
        device: Device::Cpu,
    };
    let samples: Vec<&Sample> = data.split(Split::Val).collect();
    let by_host =
        score_split(&evaluator, &samples, &data, &Thresholds::EVALUATION, "").expect("scored");
    let cell_ap50 =
        |report: &host::score::ScoreReport| report.cell.yolov5.as_ref().expect("truth").ap50;
    let map50 = by_host.mean.yolov5_map50.expect("truth");
    let kind = checkpoint.run.plan.architecture.detection;
    eprintln!("smoke test, {kind:?}: mAP50 {map50:.4}");
    assert!(
        map50 >= 0.99,
        "eight pictures are learned by heart:\n{by_host}"
    );

    let sha256 = sha256_of(&last_checkpoint(folder.path())).expect("a file");
    let contract =
        contract_of(&checkpoint, "smoke", &sha256, Thresholds::COUNTING).expect("a contract");
    let model = folder.path().join("model.onnx");
    std::fs::write(&model, onnx_of(&checkpoint, &contract).expect("a graph")).expect("written");
    let file = ModelFile::read(&model).expect("the station reads the file");
    let network = TractNetwork::load(&file).expect("the station takes the model");

    heads_are_equal(&evaluator, network, &samples);

    let network = TractNetwork::load(&file).expect("the station takes the model");
    let mut detector = Detector::new(Box::new(network));
    let report = edge::check::check(&mut detector, "model.onnx", file.sha256()).expect("it runs");
    assert!(
        report.passed,
        "the station's self-test on the exported model:\n{report}"
    );

    detector.set_thresholds(Thresholds::EVALUATION);
    let paths = Paths {
        source: samples[0].image.parent().expect("a folder").to_path_buf(),
        out: folder.path().join("replay"),
        annotate: false,
    };
    replay(&mut detector, file.sha256(), &paths, |_| ()).expect("the station runs");
    let found = read_detections(
        &paths.out.join(RECORDS),
        &data.classes,
        &data.schema,
        ForeignAttributes::Refuse,
    )
    .expect("the host reads what the station wrote");
    let options = ScoreOptions::default();
    let by_edge = score_samples(
        &samples,
        &found.pictures,
        &data.classes,
        &data.schema,
        &options,
    )
    .expect("scored");
    assert_eq!(by_edge.pictures, by_host.pictures);
    assert!(
        (cell_ap50(&by_edge) - cell_ap50(&by_host)).abs() <= 0.002,
        "{by_host}\n{by_edge}"
    );
    let difference = |a: Option<f64>, b: Option<f64>| (a.unwrap_or(0.0) - b.unwrap_or(0.0)).abs();
    let (host, edge) = (by_host.mean, by_edge.mean);
    assert!(
        difference(host.yolov5_map50_95, edge.yolov5_map50_95) <= 0.002,
        "{by_host}\n{by_edge}"
    );
    assert!(
        difference(host.attribute_macro_f1, edge.attribute_macro_f1) <= 0.002,
        "{by_host}\n{by_edge}"
    );
}

/// Raw heads of tch and of tract, on the canvases of all samples.
fn heads_are_equal(evaluator: &Evaluator<'_>, mut network: TractNetwork, samples: &[&Sample]) {
    let mut buffers = HeadBuffers::new(network.contract());
    for sample in samples {
        let picture = Picture::open(&sample.image).expect("a picture");
        let (_, canvas) = picture
            .on_canvas(evaluator.fit, evaluator.canvas)
            .expect("it fits");
        network.run(&canvas, &mut buffers).expect("tract runs");
        for (a, b) in evaluator.heads(&canvas).iter().zip(&buffers.views()) {
            let off = relative_difference(a, b);
            assert!(off <= 2e-5, "{}: {off:e}", sample.image.display());
        }
    }
}

/// The largest difference, divided by the largest value or 1.
pub(crate) fn relative_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().fold(1.0_f32, |most, value| most.max(value.abs()));
    let off = a.iter().zip(b).map(|(x, y)| (x - y).abs());
    off.fold(0.0_f32, f32::max) / largest
}

#[test]
fn a_run_that_was_cut_and_resumed_is_the_run_that_was_not() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let data = fields(&folder.path().join("fields"));
    let plan = TrainPlan {
        epochs: 4,
        batch: 4,
        canvas: Size::new(64, 64),
        augmentation: Augmentation::LOW,
        ..plan()
    };
    cut_and_resumed_is_straight(&data, &plan, || Start::Nothing, folder.path());
}

/// Trains `plan` of four epochs twice, once cut in the third; both end with the same bits.
pub(crate) fn cut_and_resumed_is_straight(
    data: &Dataset,
    plan: &TrainPlan,
    start: impl Fn() -> Start,
    folder: &Path,
) {
    let whole = made(&folder.join("straight"));
    let straight = trained_from(start(), data, plan.clone(), 1, &whole);

    let out = made(&folder.join("cut"));
    let options = TrainOptions {
        workers: 2,
        cache: CachePlan::None,
        ..options(&out)
    };
    let stop = AtomicBool::new(false);
    let cut = train(data, plan.clone(), start(), &options, &stop, |progress| {
        if let host::train::Progress::Batch { epoch: 3, .. } = progress {
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    assert!(
        matches!(cut, Err(TrainError::Interrupted { epoch: 3 })),
        "{cut:?}"
    );
    let last = Checkpoint::load(&last_checkpoint(&out)).expect("two epochs are saved");
    assert_eq!(last.run.epochs_done, 2);
    stop.store(false, std::sync::atomic::Ordering::Relaxed);
    train(
        data,
        plan.clone(),
        Start::Resume(Box::new(last)),
        &options,
        &stop,
        |_| (),
    )
    .expect("it goes on");
    let resumed = Checkpoint::load(&last_checkpoint(&out)).expect("a checkpoint");

    assert_eq!(straight.run, resumed.run);
    for (name, tensor) in &straight.weights {
        assert!(tensor == &resumed.weights[name], "{name}");
    }
    for (name, tensor) in &straight.momentum {
        assert!(tensor == &resumed.momentum[name], "momentum of {name}");
    }
    for (name, tensor) in &straight.ema {
        assert!(tensor == &resumed.ema[name], "running mean of {name}");
    }
}

fn made(folder: &Path) -> std::path::PathBuf {
    std::fs::create_dir_all(folder).expect("a folder");
    folder.to_path_buf()
}
