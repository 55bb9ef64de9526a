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

fn fields(folder: &Path) -> Dataset {
    let plan = PhantomPlan {
        fields: [19, 2, 0],
        seed: 7,
        look: PhantomLook::Analyser,
        schema: PhantomSchema::Wbcatt,
    };
    draw_phantoms(&plan, folder).expect("fields can be drawn")
}

fn plan(detection: DetectionHead, batch: usize) -> TrainPlan {
    TrainPlan {
        architecture: Architecture {
            detection,
            attributes: AttributeHead::Dense,
            ..Architecture::yolov5("n").expect("a size")
        },
        canvas: Size::new(96, 96),
        fit: FitKind::Letterbox,
        epochs: 2,
        batch,
        seed: 3,
        close_mosaic: 1,
        schedule: Schedule {
            lr0: 1e-4,
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
        repeat: Vec::new(),
        quantized: false,
        teacher: None,
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
    let (state, _) = train(data, plan, Start::Nothing, &options, &stop, told).expect("it trains");
    assert_eq!(state.epochs_done, 2);
    losses
}

/// One run by one process, the same by two.
struct Runs {
    one: Checkpoint,
    two: Checkpoint,
    losses: [Vec<f64>; 2],
}

/// In the test: both runs, losses of one process first. In the processes that it starts: their part,
/// and `None`. One process alone is started too: torch's generator, from which the first weights come,
/// belongs to a process, and other tests draw from this one's.
fn runs(test: &str, detection: DetectionHead) -> Option<Runs> {
    let folder = given_folder();
    if !folder.as_os_str().is_empty() {
        let group = own_group();
        let (rank, world) = group.as_ref().map_or((0, 1), |g| (g.rank(), g.world()));
        let out = folder.join(format!("{world}-{rank}"));
        let data = fields(&out.join("fields"));
        let losses = trained(&data, plan(detection, 8 / world), group, &out);
        assert_eq!(losses.len(), [2, 0][rank]);
        assert_eq!(last_checkpoint(&out).exists(), rank == 0);
        let text: Vec<String> = losses.iter().flatten().map(|v| v.to_string()).collect();
        std::fs::write(out.join("losses"), text.join(" ")).expect("written");
        return None;
    }
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let run = |world: usize| {
        run_again(&format!("train::processes::{test}"), world, scratch.path());
        let out = scratch.path().join(format!("{world}-0"));
        let text = std::fs::read_to_string(out.join("losses")).expect("written");
        let numbers = text.split(' ').map(|n| n.parse().expect("a number"));
        let checkpoint = Checkpoint::load(&last_checkpoint(&out)).expect("written");
        (checkpoint, numbers.collect())
    };
    let ((one, losses_of_one), (two, losses_of_two)) = (run(1), run(2));
    Some(Runs {
        one,
        two,
        losses: [losses_of_one, losses_of_two],
    })
}

/// Largest difference of a tensor, as a share of its largest number.
fn worst(found: &BTreeMap<String, Tensor>, expected: &BTreeMap<String, Tensor>) -> f64 {
    assert_eq!(found.len(), expected.len());
    let off = |(name, expected): (&String, &Tensor)| {
        let scale = expected.abs().max().double_value(&[]);
        (&found[name] - expected).abs().max().double_value(&[]) / scale
    };
    expected.iter().map(off).fold(0.0, f64::max)
}

/// Length of the difference of all tensors, as a share of their length.
fn apart(found: &BTreeMap<String, Tensor>, expected: &BTreeMap<String, Tensor>) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |t: &Tensor| t.square().sum(Kind::Double).double_value(&[]);
    let off: f64 = expected
        .iter()
        .map(|(name, t)| square(&(&found[name] - t)))
        .sum();
    let length: f64 = expected.values().map(square).sum();
    (off / length).sqrt()
}

/// The gradient of the network's loss on this process's part of eight canvases, summed over all.
fn gradient(
    detection: DetectionHead,
    kind: Kind,
    group: Option<&Arc<ProcessGroup>>,
) -> BTreeMap<String, Tensor> {
    tch::manual_seed(5);
    let plan = plan(detection, 8);
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
    let own = scaled(&canvases.narrow(0, first as i64, per as i64)).to_kind(kind);
    let targets: Vec<Target> = (0..20)
        .map(|at| target(at % 8, at))
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
        teacher: None,
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
        class: (!at.is_multiple_of(5)).then_some((at % 3) as u8),
        cxcywh: [
            0.1 + 0.8 * share(7),
            0.1 + 0.8 * share(11),
            side,
            0.8 * side,
        ],
        attributes,
    }
}

/// In 64 bits the two ways differ by rounding alone, so that nothing can hide in it; in 32 bits the
/// sixty batch norms of a network at its random start make much of rounding.
fn gradients_are_equal(test: &str, detection: DetectionHead) {
    let Some(group) = own_group() else {
        return run_again(&format!("train::processes::{test}"), 2, Path::new(""));
    };
    let off = |kind| {
        let two = gradient(detection, kind, Some(&group));
        worst(&two, &gradient(detection, kind, None))
    };
    let (double, single) = (off(Kind::Double), off(Kind::Float));
    assert!(double < 1e-9, "{double}");
    assert!(single < 1e-3, "{single}");
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

/// Six steps of the real training, in 32 bits. Of the last global batch of an epoch one process has
/// three fields and the other none. The steps are small, so that what rounding did to one is not
/// carried on by the next.
#[test]
fn two_processes_at_batch_4_learn_as_one_at_batch_8() {
    let test = "two_processes_at_batch_4_learn_as_one_at_batch_8";
    let Some(Runs { one, two, losses }) = runs(test, DetectionHead::Anchor) else {
        return;
    };
    let [expected, found] = &losses;
    assert_eq!((expected.len(), found.len()), (8, 8));
    for (found, expected) in found.iter().zip(expected) {
        assert!((found / expected - 1.0).abs() < 1e-3, "{found} {expected}");
    }
    let gradients = apart(&two.momentum, &one.momentum);
    let weights = apart(&two.weights, &one.weights);
    let ema = apart(&two.ema, &one.ema);
    eprintln!("gathered gradients {gradients:.1e}, weights {weights:.1e}, mean {ema:.1e}");
    assert!(gradients < 1e-2, "{gradients}");
    assert!(weights < 1e-5, "{weights}");
    assert!(ema < 1e-5, "{ema}");
    let beyond_weights = |run: &RunState| (run.epochs_done, run.ema_updates);
    assert_eq!(beyond_weights(&two.run), beyond_weights(&one.run));
}
