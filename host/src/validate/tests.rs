use shared::fit::FitKind;
use shared::geometry::{BBox, Size};

use super::*;
use crate::augment::Augmentation;
use crate::checkpoint::build;
use crate::dataset::{PhantomLook, PhantomPlan, PhantomSchema, draw_phantoms};
use crate::eval::Symmetry;
use crate::loss::{Given, LossOptions, LossWeights, loss};
use crate::model::Architecture;
use crate::optim::Schedule;

/// A small plan, whose every choice is the default.
pub(crate) fn plan() -> TrainPlan {
    TrainPlan {
        architecture: Architecture::yolov5("n").unwrap(),
        canvas: Size::new(96, 96),
        fit: FitKind::Letterbox,
        epochs: 1,
        batch: 4,
        seed: 0,
        close_mosaic: 0,
        schedule: Schedule::default(),
        augmentation: Augmentation::LOW,
        weights: LossWeights {
            bbox: 0.05,
            objectness: 1.0,
            class: 0.5,
            attribute: 0.05,
        },
        loss: LossOptions::default(),
        attributes: Default::default(),
        amp: crate::engine::autocast::AmpChoice::Auto,
        balance: crate::train::Balance::None,
        autoanchor: false,
        patience: 0,
        repeat: Vec::new(),
        quantized: false,
        teacher: None,
    }
}

fn fields(folder: &Path) -> Dataset {
    let plan = PhantomPlan {
        fields: [0, 3, 0],
        seed: 5,
        look: PhantomLook::Analyser,
        schema: PhantomSchema::Wbcatt,
    };
    draw_phantoms(&plan, folder).expect("fields can be drawn")
}

/// The loss of one batch, by the network's own words and targets made here.
fn by_hand(network: &Detector, head: &HeadSpec, plan: &TrainPlan, samples: &[&Sample]) -> [f64; 4] {
    let evaluator = Evaluator {
        network,
        head,
        fit: plan.fit,
        canvas: plan.canvas,
        device: Device::Cpu,
    };
    let (mut canvases, mut targets) = (Vec::new(), Vec::new());
    for (image, sample) in samples.iter().enumerate() {
        let picture = crate::picture::Picture::open(&sample.image).unwrap();
        let (fit, canvas) = picture.on_canvas(plan.fit, plan.canvas).unwrap();
        canvases.extend(canvas);
        for cell in &sample.cells {
            let bbox = fit.canvas_from_image(&cell.bbox).unwrap();
            let (cx, cy) = bbox.centre();
            let size = [bbox.x1() - bbox.x0(), bbox.y1() - bbox.y0()];
            targets.push(Target {
                image,
                class: cell.class.map(|class| class.0),
                cxcywh: [cx, cy, size[0], size[1]].map(|v| v / 96.0),
                attributes: cell.attributes,
            });
        }
    }
    let heads = evaluator.answer(&canvases).outputs.heads;
    let weights = plan.weights.scaled(head, plan.canvas);
    let given = Given {
        spec: head,
        canvas: plan.canvas,
        targets: &targets,
        options: &plan.loss,
        class_weights: None,
        regions: None,
        teacher: None,
    };
    loss(&given, &heads, &weights).values()
}

#[test]
fn the_loss_of_a_split_is_the_training_s_on_pictures_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let mut data = fields(&folder.path().join("fields"));
    let plan = plan();
    let head = HeadSpec {
        levels: plan.architecture.levels(),
        n_classes: data.classes.len(),
        value_counts: data.schema.value_counts().map(|n| n as u8).collect(),
    };
    tch::manual_seed(1);
    let store = tch::nn::VarStore::new(Device::Cpu);
    let network = build(&store, &plan.architecture, &head);

    let samples: Vec<&Sample> = data.samples.iter().collect();
    let expected = by_hand(&network, &head, &plan, &samples);
    let validated = validate(&network, &head, &plan, Device::Cpu, &samples, &data).unwrap();
    let losses = validated.losses.expect("labelled as a whole");
    for (got, expected) in losses.into_iter().zip(expected) {
        assert!(
            got > 0.0 && (got - expected).abs() < 1e-5,
            "{got} {expected}"
        );
    }

    data.samples[1].region = BBox::from_corners(0.0, 0.0, 9.0, 9.0);
    let samples: Vec<&Sample> = data.samples.iter().collect();
    let sparse = validate(&network, &head, &plan, Device::Cpu, &samples, &data).unwrap();
    assert_eq!(sparse.losses, None, "unlabelled cells are no background");
}

#[test]
fn a_split_is_looked_at_in_its_order_whatever_the_batch() {
    let folder = tempfile::tempdir().unwrap();
    let data = fields(&folder.path().join("fields"));
    let plan = plan();
    let head = HeadSpec {
        levels: plan.architecture.levels(),
        n_classes: data.classes.len(),
        value_counts: data.schema.value_counts().map(|n| n as u8).collect(),
    };
    let store = tch::nn::VarStore::new(Device::Cpu);
    let network = build(&store, &plan.architecture, &head);
    let evaluator = Evaluator {
        network: &network,
        head: &head,
        fit: plan.fit,
        canvas: plan.canvas,
        device: Device::Cpu,
    };
    let samples: Vec<&Sample> = data.samples.iter().collect();
    let pipeline = Pipeline {
        batch: 2,
        views: &Symmetry::AUGMENT,
        ..Pipeline::of(&evaluator, Thresholds::EVALUATION)
    };
    let (findings, speed) = find_in_split(
        &pipeline,
        &samples,
        &ScoreOptions::default(),
        "ab",
        &mut |_, _| (),
    )
    .unwrap();
    assert_eq!((speed.pictures, speed.batch), (3, 4));
    for (sample, found) in samples.iter().zip(&findings) {
        assert_eq!(sample.image.to_string_lossy(), found.image);
        assert_eq!(
            (sample.size, found.model_sha256.as_str()),
            (found.size, "ab")
        );
    }
}
