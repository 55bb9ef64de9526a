//! A model whose attributes are read from regions: trained, written as two files, run by the station.

use std::path::{Path, PathBuf};

use edge::detector::Detector;
use edge::model::ModelFile;
use edge::tract::TractNetwork;
use host::checkpoint::{Checkpoint, sha256_of};
use host::dataset::{Dataset, Sample, Split};
use host::eval::Evaluator;
use host::export::{contract_of, onnx_of, regions_onnx_of};
use host::loss::{AttributeLoss, LossOptions};
use host::model::{Architecture, AttributeHead};
use host::picture::Picture;
use host::train::{Start, TrainPlan, last_checkpoint};
use host::validate::score_split;
use shared::attribute::AttributeSchema;
use shared::cell::Detection;
use shared::contract::REGIONS_EXTENSION;
use shared::geometry::Size;
use shared::head::Thresholds;
use shared::pixels::RgbView;
use tch::Device;

use crate::end_to_end::{cut_and_resumed_is_straight, fields, plan, refused, trained};

fn region_plan() -> TrainPlan {
    let plan = plan();
    TrainPlan {
        architecture: Architecture {
            attributes: AttributeHead::Roi,
            ..plan.architecture
        },
        loss: LossOptions {
            attribute: AttributeLoss::Asymmetric,
            ..plan.loss
        },
        // With dropout, rounding alone (one thread or two, the processor's vectors) moves the score of a
        // shorter training between 0.86 and 1.
        epochs: 40,
        ..plan
    }
}

/// Both files of a checkpoint, and the path of the first.
fn exported(checkpoint: &Checkpoint, folder: &Path, name: &str) -> PathBuf {
    let sha256 = sha256_of(&last_checkpoint(folder)).expect("a file");
    let contract = contract_of(checkpoint, name, &sha256, Thresholds::COUNTING).expect("a promise");
    let model = folder.join(name).with_extension("onnx");
    std::fs::write(&model, onnx_of(checkpoint, &contract).expect("a graph")).expect("written");
    let regions = regions_onnx_of(checkpoint)
        .expect("a graph")
        .expect("a second file");
    std::fs::write(model.with_extension(REGIONS_EXTENSION), regions).expect("written");
    model
}

fn loaded(model: &Path) -> Result<Detector, String> {
    let file = ModelFile::read(model).expect("the station reads the file");
    TractNetwork::load(&file)
        .map(|network| Detector::new(Box::new(network)))
        .map_err(|error| error.to_string())
}

#[test]
fn the_station_reads_the_attributes_that_the_trainer_reads() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let data = fields(&folder.path().join("fields"));
    let checkpoint = trained(&data, region_plan(), usize::MAX, folder.path());
    let head = checkpoint.run.head();
    assert!(head.value_counts.is_empty(), "the heads say no attributes");
    let (_store, network) = checkpoint.network(Device::Cpu).expect("the weights fit");
    let plan = &checkpoint.run.plan;
    let evaluator = Evaluator {
        network: &network,
        head: &head,
        fit: plan.fit,
        canvas: plan.canvas,
        device: Device::Cpu,
    };
    learned(&evaluator, &data);

    let model = exported(&checkpoint, folder.path(), "model");
    let mut detector = loaded(&model).expect("the station takes the model");
    let thresholds = Thresholds {
        score: 0.003,
        ..Thresholds::EVALUATION
    };
    detector.set_thresholds(thresholds);
    let mut n = 0;
    for sample in data.split(Split::Val) {
        let picture = Picture::open(&sample.image).expect("a picture");
        let by_host = evaluator
            .detect(&picture, "field", &thresholds)
            .expect("found");
        let view = RgbView::new(&picture.bytes, picture.size).expect("whole pictures");
        let by_edge = detector.detect(view).expect("found");
        assert!(by_edge.times.attributes.is_some());
        assert_eq!(by_host.detections.len(), by_edge.detections.len());
        for (host, edge) in by_host.detections.iter().zip(by_edge.detections) {
            same_attributes(host, edge);
            n += 1;
        }
    }
    assert!(n >= 20, "only {n} cells were compared");

    refusals(&model, folder.path(), &checkpoint);
}

/// What the head leaves out by chance must not depend on where a process began.
#[test]
fn a_cut_run_with_a_region_head_is_the_run_that_was_not() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let data = fields(&folder.path().join("fields"));
    let plan = TrainPlan {
        epochs: 4,
        batch: 4,
        canvas: Size::new(64, 64),
        ..region_plan()
    };
    cut_and_resumed_is_straight(&data, &plan, || Start::Nothing, folder.path());
}

#[test]
fn a_region_head_without_attributes_is_refused() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let mut data = fields(&folder.path().join("fields"));
    data.schema = AttributeSchema::default();
    assert_eq!(
        refused(&data, region_plan(), folder.path()).to_string(),
        format!(
            "{}: the roi attribute head needs attributes, the data set has none; \
             train with --attributes dense",
            data.name
        )
    );
}

/// Eight pictures are learned by heart, attributes too.
fn learned(evaluator: &Evaluator<'_>, data: &Dataset) {
    let samples: Vec<&Sample> = data.split(Split::Val).collect();
    let report =
        score_split(evaluator, &samples, data, &Thresholds::EVALUATION, "").expect("scored");
    let f1 = report.mean.attribute_macro_f1.expect("labelled");
    eprintln!("regions: attribute macro-F1 {f1:.4}");
    assert!(f1 >= 0.9, "{report}");
}

fn same_attributes(host: &Detection, edge: &Detection) {
    assert_eq!(host.class, edge.class);
    assert!(host.bbox.iou(&edge.bbox) > 0.999, "{host:?} {edge:?}");
    for (a, b) in host.attributes.iter().zip(&edge.attributes) {
        assert_eq!(a.is_some(), b.is_some());
        if let (Some(a), Some(b)) = (a, b) {
            assert_eq!(a.value, b.value, "{host:?} {edge:?}");
            let off = (a.score.get() - b.score.get()).abs();
            assert!(off < 1e-3, "{off}: {host:?} {edge:?}");
        }
    }
}

/// The second file of another model, and none.
fn refusals(model: &Path, folder: &Path, checkpoint: &Checkpoint) {
    let beside = model.with_extension(REGIONS_EXTENSION);
    let mut other = Checkpoint::load(&last_checkpoint(folder)).expect("a checkpoint");
    let name = "attributes.fc3.bias";
    let bias = other.ema[name].shallow_clone();
    other.ema.insert(name.to_owned(), bias + 1.0);
    let bytes = regions_onnx_of(&other)
        .expect("a graph")
        .expect("a second file");
    std::fs::write(&beside, bytes).expect("written");
    let refused = loaded(model).err().expect("it belongs to another model");
    let [whole, second] = [model, &beside].map(|path| path.display().to_string());
    let begin = format!("{whole}: its attributes are read by a second file, {second}: SHA-256 is ");
    assert!(refused.starts_with(&begin), "{refused}");
    assert!(
        refused.ends_with(": exported with another model"),
        "{refused}"
    );

    std::fs::remove_file(&beside).expect("it was there");
    let refused = loaded(model).err().expect("half a model is none");
    let begin = format!(
        "{whole}: its attributes are read by a second file, {second}: cannot be read: No such file"
    );
    assert!(refused.starts_with(&begin), "{refused}");

    exported(checkpoint, folder, "model");
    assert!(loaded(model).is_ok());
}
