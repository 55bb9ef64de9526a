//! Trainings by several real processes, compared with one by one process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use shared::attribute::{NO_ATTRIBUTES, ValueId};
use shared::fit::FitKind;
use shared::geometry::Size;
use shared::head::HeadSpec;
use tch::{Device, Kind, Tensor, nn};

use super::together::Together;
use super::*;
use crate::assign::Target;
use crate::augment::Augmentation;
use crate::cache::CachePlan;
use crate::checkpoint::Checkpoint;
use crate::dataset::{PhantomLook, PhantomPlan, PhantomSchema, draw_phantoms};
use crate::engine::autocast::AmpChoice;
use crate::engine::group::ProcessGroup;
use crate::engine::processes::{given_folder, own_group, run_again};
use crate::loss::{Given, LossOptions, LossTerms, LossWeights};
use crate::model::{Architecture, AttributeHead, DetectionHead, Detector, scaled};
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

/// Largest difference of a tensor, as a share of its largest number.
fn worst(found: &BTreeMap<String, Tensor>, expected: &BTreeMap<String, Tensor>) -> f64 {
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
    all[0].0
}

/// The gradient of the network's loss on this process's part of eight canvases, summed over all;
/// `backwards` lays the canvases in the other order, which changes nothing but the order of sums.
fn gradient(
    detection: DetectionHead,
    kind: Kind,
    group: Option<&Arc<ProcessGroup>>,
    backwards: bool,
) -> BTreeMap<String, Tensor> {
    tch::manual_seed(5);
    let plan = plan(detection, 1, 8);
    let head = HeadSpec {
        levels: plan.architecture.levels(),
        n_classes: 3,
        value_counts: [2, 3].into_iter().collect(),
    };
    let mut store = nn::VarStore::new(Device::Cpu);
    let network = Detector::new(&store.root(), &plan.architecture, &head);
    store.set_kind(kind);
    let together = Together::new(group.map(Arc::clone));
    together.share_weights(&store).expect("all are there");
    let (per, first) = (8 / together.world(), together.rank() * 8 / together.world());
    let canvases = Tensor::randint(256, [8, 3, 96, 96], (Kind::Uint8, Device::Cpu));
    let canvases = if backwards {
        canvases.flip([0])
    } else {
        canvases
    };
    let own = scaled(&canvases.narrow(0, first as i64, per as i64)).to_kind(kind);
    let place = |image: usize| if backwards { 7 - image } else { image };
    let targets: Vec<Target> = (0..20)
        .map(|at| target(place(at % 8), at))
        .filter(|target| (first..first + per).contains(&target.image))
        .map(|target| Target {
            image: target.image - first,
            ..target
        })
        .collect();
    let outputs = together
        .forward(|| network.forward(&own, true))
        .expect("all are there");
    let given = Given {
        spec: &head,
        canvas: plan.canvas,
        targets: &targets,
        options: &plan.loss,
        class_weights: None,
        regions: None,
    };
    let terms = LossTerms::of(&given, &outputs.heads);
    let mut counts = terms.counts();
    together.sum(&mut counts).expect("all are there");
    terms.parts(&counts, 8, &plan.weights).total().backward();
    together.sum_gradients(&store).expect("all are there");
    let variables = store.variables().into_iter();
    let trainable = variables.filter(|(_, variable)| variable.requires_grad());
    trainable
        .map(|(name, variable)| (name, variable.grad()))
        .collect()
}

/// Cells of all sizes; some classes and values are unknown, and more so on the later canvases.
fn target(image: usize, at: usize) -> Target {
    let share = |step: usize| ((at * step) % 20) as f32 / 20.0;
    let side = 0.1 + 0.4 * share(3);
    let mut attributes = NO_ATTRIBUTES;
    attributes[0] = ValueId::new(at % 2);
    attributes[1] = ValueId::new(at % 3).filter(|_| at % 8 < 3);
    Target {
        image,
        class: (at % 5 > 0).then_some((at % 3) as u8),
        cxcywh: [
            0.1 + 0.8 * share(7),
            0.1 + 0.8 * share(11),
            side,
            0.8 * side,
        ],
        attributes,
    }
}

/// In 64 bits the two ways differ by rounding alone, so that nothing can hide in it. In 32 bits the
/// network at its random start makes much of rounding: the canvases in another order, by one process,
/// tell how much, and two processes differ no more than that.
fn gradients_are_equal(test: &str, detection: DetectionHead) {
    let Some(group) = own_group() else {
        return run_again(&format!("train::processes::{test}"), 2, Path::new(""));
    };
    let two = |kind| gradient(detection, kind, Some(&group), false);
    let one = |kind, backwards| gradient(detection, kind, None, backwards);
    let exact = worst(&two(Kind::Double), &one(Kind::Double, false));
    let single = one(Kind::Float, false);
    let noise = worst(&one(Kind::Float, true), &single);
    let off = worst(&two(Kind::Float), &single);
    eprintln!("64 bits {exact:.1e}, 32 bits {off:.1e}, order of addition alone {noise:.1e}");
    assert!(exact < 1e-6, "{exact}");
    assert!(off < 5.0 * noise, "{off} {noise}");
}

#[test]
fn the_gradient_of_two_processes_is_that_of_one() {
    gradients_are_equal(
        "the_gradient_of_two_processes_is_that_of_one",
        DetectionHead::Anchor,
    );
}

#[test]
fn the_gradient_of_two_processes_without_anchors_is_that_of_one() {
    gradients_are_equal(
        "the_gradient_of_two_processes_without_anchors_is_that_of_one",
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

#[test]
fn the_first_step_of_two_processes_is_that_of_one() {
    let test = "the_first_step_of_two_processes_is_that_of_one";
    let Some(Runs {
        one, two, losses, ..
    }) = runs(test, 8, DetectionHead::Anchor, 1)
    else {
        return;
    };
    eprintln!("{losses:?}");
    worst(&two.momentum, &one.momentum);
    worst(&two.weights, &one.weights);
}
