//! What training minimises: YOLOv5's detection loss (attridet.md, 8.3) and what the attributes cost on
//! the cells where they are known.

mod asymmetric;
mod attributes;
mod bbox;
mod binary;
#[cfg(test)]
mod golden;
mod options;

use shared::attribute::Attributes;
use shared::geometry::Size;
use shared::head::HeadSpec;
use tch::{Device, Kind, Tensor};

pub use options::LossOptions;

use crate::assign::{Positive, Target, positives};
use binary::Binary;

pub use attributes::{AttributeLoss, AttributeTerms, attribute_terms, knows_any};

/// Weight of the objectness of each level, finest first.
const BALANCE: [f64; 3] = [4.0, 1.0, 0.4];

/// How much each term counts.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossWeights {
    /// Boxes: 1 - CIoU.
    pub bbox: f64,
    /// Objectness.
    pub objectness: f64,
    /// Classes.
    pub class: f64,
    /// Attributes.
    pub attribute: f64,
}

impl LossWeights {
    /// The gains of a hyper-parameter file, scaled by levels, classes and canvas as the reference does.
    pub fn scaled(self, head: &HeadSpec, canvas: Size) -> Self {
        let levels = 3.0 / head.levels.len() as f64;
        let side = f64::from(canvas.width.max(canvas.height)) / 640.0;
        Self {
            bbox: self.bbox * levels,
            objectness: self.objectness * side * side * levels,
            class: self.class * head.n_classes as f64 / 80.0 * levels,
            attribute: self.attribute * levels,
        }
    }
}

/// The terms, already weighted; means over the batch, as the reference logs them.
#[derive(Debug)]
pub struct LossParts {
    /// Boxes.
    pub bbox: Tensor,
    /// Objectness.
    pub objectness: Tensor,
    /// Classes.
    pub class: Tensor,
    /// Attributes.
    pub attribute: Tensor,
    batch: i64,
}

impl LossParts {
    /// What is differentiated: the sum of the terms times the batch size.
    pub fn total(&self) -> Tensor {
        (&self.bbox + &self.objectness + &self.class + &self.attribute) * self.batch
    }

    /// The four terms as numbers: box, objectness, class, attribute.
    pub fn values(&self) -> [f64; 4] {
        let all = Tensor::stack(
            &[&self.bbox, &self.objectness, &self.class, &self.attribute],
            0,
        );
        let mut out = [0.0; 4];
        for (index, value) in out.iter_mut().enumerate() {
            *value = all.double_value(&[index as i64]);
        }
        out
    }
}

/// The loss of a batch.
///
/// # Shapes
/// `heads[level]` is `[batch, anchors * channels, grid, grid]`, raw; `class_weights` is `[classes]`.
pub fn loss(
    spec: &HeadSpec,
    canvas: Size,
    heads: &[Tensor],
    targets: &[Target],
    weights: &LossWeights,
    options: &LossOptions,
    class_weights: Option<&Tensor>,
) -> LossParts {
    let device = heads[0].device();
    let zero = || Tensor::zeros([], (Kind::Float, device));
    let batch = heads[0].size()[0];
    let mut parts = LossParts {
        bbox: zero(),
        objectness: zero(),
        class: zero(),
        attribute: zero(),
        batch,
    };
    for (level, head) in heads.iter().enumerate() {
        let anchors = spec.levels[level].anchors.len() as i64;
        let channels = spec.channels_per_anchor() as i64;
        let grid = spec.grid(level, canvas);
        let (gh, gw) = (i64::from(grid.height), i64::from(grid.width));
        let raw = head.view([batch, anchors, channels, gh, gw]);
        let objectness_logits = raw.select(2, 4);
        let mut objectness_truth = Tensor::zeros([batch, anchors, gh, gw], (Kind::Float, device));
        let found = positives(spec, level, canvas, targets, options.anchor_t);
        if !found.is_empty() {
            let index = flat_indices(&found, [anchors, gh, gw]);
            let rows = raw
                .permute([0, 1, 3, 4, 2])
                .reshape([-1, channels])
                .index_select(0, &Tensor::from_slice(&index).to_device(device));
            let ciou = bbox::ciou(&rows, &found, &spec.levels[level]);
            parts.bbox += (ciou.neg() + 1.0).mean(Kind::Float);
            write_objectness(&mut objectness_truth, &index, &ciou.detach());
            parts.class += class_loss(spec, &rows, &found, targets, options, class_weights);
            parts.attribute += attribute_loss(spec, &rows, &found, targets, options.attribute);
        }
        let binary = Binary {
            positive_weight: options.obj_pw,
            focal_gamma: options.fl_gamma,
        };
        let term = binary.elements(&objectness_logits, &objectness_truth);
        parts.objectness += term.mean(Kind::Float) * BALANCE.get(level).copied().unwrap_or(1.0);
    }
    parts.bbox *= weights.bbox;
    parts.objectness *= weights.objectness;
    parts.class *= weights.class;
    parts.attribute *= weights.attribute;
    parts
}

/// Positions in `[batch, anchors, gh, gw]`, flattened.
fn flat_indices(found: &[Positive], [anchors, gh, gw]: [i64; 3]) -> Vec<i64> {
    let flat = |p: &Positive| {
        ((p.image as i64 * anchors + p.anchor as i64) * gh + p.gy as i64) * gw + p.gx as i64
    };
    found.iter().map(flat).collect()
}

/// Objectness shall be the overlap, not below 0; of several targets at one place the last counts.
fn write_objectness(truth: &mut Tensor, index: &[i64], ciou: &Tensor) {
    let last: std::collections::BTreeMap<i64, i64> = index
        .iter()
        .enumerate()
        .map(|(row, &place)| (place, row as i64))
        .collect();
    let places: Vec<i64> = last.keys().copied().collect();
    let rows: Vec<i64> = last.values().copied().collect();
    let device = truth.device();
    let values = ciou
        .clamp_min(0.0)
        .index_select(0, &Tensor::from_slice(&rows).to_device(device));
    let _ = truth
        .view(-1)
        .index_copy_(0, &Tensor::from_slice(&places).to_device(device), &values);
}

/// Rows of `rows` for which `value` knows an answer, and the answers.
fn known(
    found: &[Positive],
    device: Device,
    value: impl Fn(&Positive) -> Option<i64>,
) -> Option<(Tensor, Tensor)> {
    let (rows, values): (Vec<i64>, Vec<i64>) = found
        .iter()
        .enumerate()
        .filter_map(|(row, positive)| Some((row as i64, value(positive)?)))
        .unzip();
    let tensor = |v: &[i64]| Tensor::from_slice(v).to_device(device);
    (!rows.is_empty()).then(|| (tensor(&rows), tensor(&values)))
}

/// Binary cross-entropy of every class on the places whose target's class is known; a place counts
/// as much as `weights` says of its class.
fn class_loss(
    spec: &HeadSpec,
    rows: &Tensor,
    found: &[Positive],
    targets: &[Target],
    options: &LossOptions,
    weights: Option<&Tensor>,
) -> Tensor {
    let device = rows.device();
    let class = |p: &Positive| targets[p.target].class.map(i64::from);
    let Some((index, classes)) = known(found, device, class).filter(|_| spec.n_classes > 1) else {
        return Tensor::zeros([], (Kind::Float, device));
    };
    let logits = rows
        .index_select(0, &index)
        .narrow(1, 5, spec.n_classes as i64);
    let truth = classes.one_hot(spec.n_classes as i64).to_kind(Kind::Float);
    let smoothed = truth * (1.0 - options.label_smoothing) + 0.5 * options.label_smoothing;
    let binary = Binary {
        positive_weight: options.cls_pw,
        focal_gamma: options.fl_gamma,
    };
    let terms = binary.elements(&logits, &smoothed);
    match weights {
        Some(weights) => terms * weights.index_select(0, &classes).unsqueeze(1),
        None => terms,
    }
    .mean(Kind::Float)
}

/// What the attribute channels of the positives cost.
fn attribute_loss(
    spec: &HeadSpec,
    rows: &Tensor,
    found: &[Positive],
    targets: &[Target],
    kind: AttributeLoss,
) -> Tensor {
    let first = 5 + spec.n_classes as i64;
    let logits = rows.narrow(1, first, spec.channels_per_anchor() as i64 - first);
    let truths: Vec<Attributes> = found.iter().map(|p| targets[p.target].attributes).collect();
    attribute_terms(kind, &spec.value_counts, &logits, &truths).mean()
}
