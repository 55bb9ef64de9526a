//! Trainings by several real processes, compared with one by one process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use shared::fit::FitKind;
use shared::geometry::Size;
use tch::{Device, Tensor};

use super::*;
use crate::augment::Augmentation;
use crate::cache::CachePlan;
use crate::checkpoint::Checkpoint;
use crate::dataset::{PhantomLook, PhantomPlan, PhantomSchema, draw_phantoms};
use crate::engine::autocast::AmpChoice;
use crate::engine::group::ProcessGroup;
use crate::engine::processes::{given_folder, own_group, run_again};
use crate::loss::{LossOptions, LossWeights};
use crate::model::{Architecture, AttributeHead, DetectionHead};
use crate::optim::Schedule;

/// Drawn fields, so many to train with.
fn fields(n: usize, folder: &Path) -> Dataset {
    let plan = PhantomPlan {
        fields: [n, 2, 0],
        seed: 7,
        look: PhantomLook::Analyser,
        schema: PhantomSchema::Wbcatt,
    };
    draw_phantoms(&plan, folder).expect("fields can be drawn")
}

fn plan(detection: DetectionHead, epochs: usize, batch: usize) -> TrainPlan {
    TrainPlan {
        architecture: Architecture {
            detection,
            attributes: AttributeHead::Dense,
            ..Architecture::yolov5("n").expect("a size")
        },
        canvas: Size::new(96, 96),
        fit: FitKind::Letterbox,
        epochs,
        batch,
        seed: 3,
        close_mosaic: 1,
        schedule: Schedule {
            warmup_epochs: 0.0,
            nominal_batch: 8,
            ..Schedule::default()
        },
        augmentation: Augmentation::LOW,
        weights: LossWeights {
            bbox: 0.05,
            objectness: 1.0,
            class: 0.5,
            attribute: 0.05,
        },
        loss: LossOptions::default(),
        attributes: AttributePlan::default(),
        amp: AmpChoice::Auto,
        balance: Balance::Weights,
        autoanchor: false,
        patience: 0,
    }
}

/// Trains into `out`; the losses of every epoch, which only the first process hears of.
fn trained(
    data: &Dataset,
    plan: TrainPlan,
    group: Option<Arc<ProcessGroup>>,
    out: &Path,
) -> Vec<[f64; 4]> {
    std::fs::create_dir_all(out).expect("a folder");
    let options = TrainOptions {
        out: out.to_path_buf(),
        device: Device::Cpu,
        group,
        workers: 1,
        cache: CachePlan::None,
        validate_every: 1,
        time_budget: None,
    };
    let stop = AtomicBool::new(false);
    let mut losses = Vec::new();
    let told = |progress: Progress<'_>| {
        if let Progress::Epoch { row, .. } = progress {
            losses.push(row.losses);
        }
    };
    let epochs = plan.epochs;
    let (state, _) = train(data, plan, Start::Nothing, &options, &stop, told).expect("it trains");
    assert_eq!(state.epochs_done, epochs);
    losses
}

/// One run by one process, the same by two, and where they wrote.
struct Runs {
    _scratch: tempfile::TempDir,
    one: Checkpoint,
    two: Checkpoint,
    losses: [Vec<f64>; 2],
}

/// In the test: both runs. In the processes that it starts: their part, and `None`.
fn runs(test: &str, n: usize, detection: DetectionHead, epochs: usize) -> Option<Runs> {
    if let Some(group) = own_group() {
        let folder = given_folder();
        let out = folder.join(format!("two-{}", group.rank()));
        let data = fields(n, &folder.join(format!("fields-{}", group.rank())));
        let plan = plan(detection, epochs, 4);
        let losses = trained(&data, plan, Some(Arc::clone(&group)), &out);
        assert_eq!(losses.len(), [epochs, 0][group.rank()]);
        assert_eq!(last_checkpoint(&out).exists(), group.is_first());
        let text: Vec<String> = losses.iter().flatten().map(|v| v.to_string()).collect();
        std::fs::write(out.join("losses"), text.join(" ")).expect("written");
        return None;
    }
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let (out, two) = (scratch.path().join("one"), scratch.path().join("two-0"));
    let data = fields(n, &scratch.path().join("fields"));
    let losses = trained(&data, plan(detection, epochs, 8), None, &out);
    run_again(&format!("train::processes::{test}"), 2, scratch.path());
    let text = std::fs::read_to_string(two.join("losses")).expect("written");
    let numbers = text
        .split(' ')
        .map(|number| number.parse().expect("a number"));
    Some(Runs {
        one: Checkpoint::load(&last_checkpoint(&out)).expect("written"),
        two: Checkpoint::load(&last_checkpoint(&two)).expect("written"),
        losses: [losses.into_iter().flatten().collect(), numbers.collect()],
        _scratch: scratch,
    })
}

/// Largest difference of a tensor, as a share of its largest number, and its name.
fn worst(found: &BTreeMap<String, Tensor>, expected: &BTreeMap<String, Tensor>) -> (f64, String) {
    let off = |(name, expected): (&String, &Tensor)| {
        let scale = expected.abs().max().double_value(&[]).max(1e-6);
        let off = (&found[name] - expected).abs().max().double_value(&[]) / scale;
        (off, name.clone())
    };
    assert_eq!(found.len(), expected.len());
    let mut all: Vec<(f64, String)> = expected.iter().map(off).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (off, name) in all.iter().take(6) {
        eprintln!(
            "{off:.2e} {name} {:?}",
            expected[name].abs().max().double_value(&[])
        );
    }
    eprintln!("median {:.2e}", all[all.len() / 2].0);
    all.swap_remove(0)
}

fn worst_number([found, expected]: [&[f64]; 2]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let off = |(a, b): (&f64, &f64)| (a - b).abs() / b.abs();
    found.iter().zip(expected).map(off).fold(0.0, f64::max)
}

fn first_step_is_equal(test: &str, detection: DetectionHead) {
    let Some(Runs {
        one, two, losses, ..
    }) = runs(test, 8, detection, 1)
    else {
        return;
    };
    let losses = worst_number([&losses[1], &losses[0]]);
    eprintln!("losses {losses:.1e}");
    let gradient = worst(&two.momentum, &one.momentum);
    let weights = worst(&two.weights, &one.weights);
    eprintln!("gradient {gradient:?} weights {weights:?}");
    assert!(losses < 1e-5, "{losses}");
    assert!(gradient.0 < 1e-3, "{gradient:?}");
    assert!(weights.0 < 1e-5, "{weights:?}");
}

#[test]
fn the_first_step_of_two_processes_is_that_of_one() {
    first_step_is_equal(
        "the_first_step_of_two_processes_is_that_of_one",
        DetectionHead::Anchor,
    );
}

#[test]
fn the_first_step_without_anchors_is_the_same_too() {
    first_step_is_equal(
        "the_first_step_without_anchors_is_the_same_too",
        DetectionHead::AnchorFree,
    );
}

/// Of the last global batch of 8 one process has three fields and the other none.
#[test]
fn two_processes_at_batch_4_learn_as_one_at_batch_8() {
    let test = "two_processes_at_batch_4_learn_as_one_at_batch_8";
    let Some(Runs {
        one, two, losses, ..
    }) = runs(test, 19, DetectionHead::Anchor, 2)
    else {
        return;
    };
    eprintln!("{losses:?}");
    worst(&two.momentum, &one.momentum);
    worst(&two.weights, &one.weights);
}
