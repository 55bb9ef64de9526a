//! The reference's own numbers on its own weights (needs `pretrained/yolov5n.pt` of `WBC_DATA`).
//!
//! Made by the official YOLOv5 v7.0 code with PyTorch 2.11 on one CPU thread in float32, on inputs given
//! by formula: `forward_320_eval` and `loss_320` of the golden numbers.

use shared::geometry::Size;
use shared::head::HeadSpec;
use tch::{Device, Kind, nn};

use crate::bench::{formula_canvases, formula_targets};
use crate::checkpoint::{build, fill, floats, weights_of};
use crate::dataset::real_data::wbc_data;
use crate::eval::Evaluator;
use crate::loss::{Given, LossOptions, LossWeights, loss};
use crate::model::{Architecture, Detector, scaled};
use crate::picture::Picture;
use shared::fit::FitKind;
use shared::geometry::BBox;
use shared::head::Thresholds;

/// Sum of absolute values, sampled positions in `[1, 3, g, g, 85]`, their values; strides 8, 16, 32.
const HEADS: [(f64, &[usize], &[f64]); 3] = [
    (
        2056193.0408537649,
        &[
            0, 27199, 54399, 81599, 108799, 135999, 163199, 190399, 217599, 244799, 271999, 299199,
            326399, 353599, 380799, 407999,
        ],
        &[
            -0.18931741,
            -5.4510784,
            -5.9144053,
            -5.5949836,
            -5.3692589,
            -5.6865458,
            -5.526896,
            -5.9701157,
            -5.6485491,
            -5.5267982,
            -5.5535893,
            -5.6811972,
            -6.112422,
            -5.8266158,
            -5.6858678,
            -5.7917323,
        ],
    ),
    (
        527509.4581581373,
        &[
            0, 6799, 13599, 20399, 27199, 33999, 40799, 47599, 54399, 61199, 67999, 74799, 81599,
            88399, 95199, 101999,
        ],
        &[
            -0.0848708, -6.0052233, -6.0027561, -5.7556, -5.6416397, -5.7690287, -6.180768,
            -6.1033254, -5.8834658, -5.8709393, -5.8987098, -6.0110116, -6.0413866, -5.8085289,
            -5.745615, -5.7972031,
        ],
    ),
    (
        137650.79781260155,
        &[
            0, 1699, 3399, 5099, 6799, 8499, 10199, 11899, 13599, 15299, 16999, 18699, 20399,
            22099, 23799, 25499,
        ],
        &[
            -0.066027135,
            -6.5015512,
            -6.0844483,
            -5.6279097,
            -6.1316209,
            -6.317276,
            -6.5031276,
            -6.1041574,
            -5.6532922,
            -6.1610284,
            -6.3587408,
            -6.2065024,
            -5.8834667,
            -5.506114,
            -5.9694366,
            -6.1076775,
        ],
    ),
];

/// Parameter, sum and L2 norm of its gradient.
const GRADIENTS: [(&str, f64, f64); 8] = [
    (
        "model.0.conv.weight",
        -0.034895550393571284,
        0.22653017137486955,
    ),
    (
        "model.0.bn.weight",
        -0.007457322742425276,
        0.008210214743255919,
    ),
    (
        "model.4.m.0.cv2.conv.weight",
        3.952318475855023,
        0.3654331635869943,
    ),
    (
        "model.9.cv2.conv.weight",
        25.144733843304266,
        1.4976870950618029,
    ),
    (
        "model.17.cv3.bn.bias",
        0.009492266286542872,
        0.006425696294339938,
    ),
    (
        "model.24.m.0.weight",
        1.5589304403099646,
        0.18463862033175515,
    ),
    (
        "model.24.m.1.bias",
        0.011948570578397266,
        0.008743626500231503,
    ),
    (
        "model.24.m.2.weight",
        5.091776470260475,
        0.34627082305298423,
    ),
];

const CANVAS: Size = Size::new(320, 320);

fn official() -> Option<(nn::VarStore, Detector, HeadSpec)> {
    let path = wbc_data("pretrained")?.join("yolov5n.pt");
    let weights = weights_of(&path)
        .expect("the official checkpoint can be read")
        .tensors;
    let architecture = Architecture::yolov5("n").unwrap();
    let head = HeadSpec {
        levels: architecture.levels(),
        n_classes: 80,
        value_counts: Default::default(),
    };
    let mut store = nn::VarStore::new(Device::Cpu);
    let network = build(&store, &architecture, &head);
    fill(&mut store, &weights).expect("every weight is there");
    Some((store, network, head))
}

#[test]
fn the_official_weights_give_the_official_heads() {
    let Some((_store, network, _)) = official() else {
        return;
    };
    let heads = tch::no_grad(|| {
        network
            .forward(&scaled(&formula_canvases(1, CANVAS)), false)
            .heads
    });
    for (head, (abs_sum, index, values)) in heads.iter().zip(HEADS) {
        let [_, channels, gh, gw] = head.size()[..] else {
            panic!("four dimensions")
        };
        let rows = floats(
            &head
                .view([1, 3, channels / 3, gh, gw])
                .permute([0, 1, 3, 4, 2]),
        );
        let sum: f64 = rows.iter().map(|v| f64::from(v.abs())).sum();
        assert!((sum / abs_sum - 1.0).abs() < 1e-6, "{sum} {abs_sum}");
        for (&at, &expected) in index.iter().zip(values) {
            let got = f64::from(rows[at]);
            assert!(
                (got - expected).abs() < 1e-4,
                "at {at}: {got}, expected {expected}"
            );
        }
    }
}

#[test]
fn loss_and_gradients_are_the_reference_s() {
    let Some((store, network, head)) = official() else {
        return;
    };
    let targets = formula_targets(2, 80);
    let heads = network
        .forward(&scaled(&formula_canvases(2, CANVAS)), false)
        .heads;
    // The golden gains are already scaled.
    let weights = LossWeights {
        bbox: 0.05,
        objectness: 0.25,
        class: 0.5,
        attribute: 0.0,
    };
    let given = Given {
        spec: &head,
        canvas: CANVAS,
        targets: &targets,
        options: &LossOptions::default(),
        class_weights: None,
        regions: None,
        teacher: None,
    };
    let parts = loss(&given, &heads, &weights);
    let [bbox, objectness, class, _] = parts.values();
    for (name, got, expected) in [
        ("box", bbox, 0.09526609629392624),
        ("objectness", objectness, 0.03211316466331482),
        ("class", class, 0.10250848531723022),
        (
            "total",
            parts.total().double_value(&[]),
            0.45977550745010376,
        ),
    ] {
        assert!(
            (got / expected - 1.0).abs() < 1e-4,
            "{name}: {got}, expected {expected}"
        );
    }
    parts.total().backward();
    let variables = store.variables();
    for (name, sum, l2) in GRADIENTS {
        let gradient = variables[name].grad();
        let got = gradient.norm().double_value(&[]);
        assert!(
            (got / l2 - 1.0).abs() < 1e-4,
            "{name}: norm {got}, expected {l2}"
        );
        let got = gradient.sum(Kind::Double).double_value(&[]);
        assert!(
            (got - sum).abs() < 1e-4 * l2.max(sum.abs()),
            "{name}: sum {got}, expected {sum}"
        );
    }
}

/// There are no white cells in COCO, but class 54 is the donut: the official network takes a round
/// neutrophil for one, and its box is the cell's.
#[test]
fn the_official_weights_find_the_cell_of_a_picture_and_call_it_a_donut() {
    let Some((_store, network, head)) = official() else {
        return;
    };
    let evaluator = Evaluator {
        network: &network,
        head: &head,
        fit: FitKind::Letterbox,
        canvas: CANVAS,
        device: Device::Cpu,
    };
    let set = wbc_data("pbc-wbcatt").expect("it lies beside the official weights");
    let picture = Picture::open(&set.join("images/train/SNE_859885.jpg")).unwrap();
    let found = evaluator.detect(&picture, "", &Thresholds::COUNTING);
    let best = found.unwrap().detections[0];
    assert_eq!(best.class.0, 54);
    assert!((0.5..0.6).contains(&best.score.get()), "{:?}", best.score);
    // The cell's edges, read off the picture.
    let cell = BBox::from_corners(63.0, 65.0, 163.0, 157.0).unwrap();
    assert!(best.bbox.iou(&cell) > 0.9, "{:?}", best.bbox);
}
