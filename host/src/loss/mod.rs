//! What training minimises: box, objectness and class, as the head's kind says them, and what the
//! attributes cost on the cells where they are known.
//!
//! [`anchor`] and [`anchor_free`] decide which places answer for which cells; what a place then costs
//! is the same for both. They give sums with their counts; [`LossTerms`] alone divides.

mod anchor;
mod anchor_free;
mod asymmetric;
mod attributes;
mod bbox;
mod binary;
mod class;
mod distill;
#[cfg(test)]
mod golden;
mod objectness;
mod options;
mod term;

use shared::attribute::Attributes;
use shared::geometry::Size;
use shared::head::HeadSpec;
use tch::{Device, Kind, Tensor};

use crate::assign::Target;
use term::{Part, Term};

pub use attributes::{AttributeLoss, knows_any};
pub use options::LossOptions;

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
    ///
    /// The same for both kinds of heads: the anchor-based one sums a mean over each level; the
    /// anchor-free one takes one mean over all levels and multiplies it by their number.
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

/// What the terms of a loss are made of, beside the heads.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// What the channels of the heads mean.
    pub spec: &'a HeadSpec,
    /// Size of the canvases.
    pub canvas: Size,
    /// What is on them.
    pub targets: &'a [Target],
    /// Choices.
    pub options: &'a LossOptions,
    /// How much each class counts, `[classes]`; `None` = all the same.
    pub class_weights: Option<&'a Tensor>,
    /// What an attribute head on regions says; `None` where the heads say the attributes.
    pub regions: Option<Regions<'a>>,
    /// Raw heads of the network that teaches this one, of the same spec; `None` = the truth alone teaches.
    pub teacher: Option<&'a [Tensor]>,
}

impl Given<'_> {
    /// What the attribute channels of the answering places cost.
    ///
    /// # Shapes
    /// `rows` `[n, channels]`, raw; `answered[row]` is the target that the row answers for.
    fn attribute_terms(&self, weight: f64, rows: &Tensor, answered: &[usize]) -> Vec<Term> {
        let n_values = self.spec.n_values() as i64;
        if n_values == 0 {
            return Vec::new();
        }
        let first = 5 + self.spec.n_classes as i64;
        let logits = rows.narrow(1, first, n_values);
        let truth = |&target: &usize| self.targets[target].attributes;
        let truths: Vec<Attributes> = answered.iter().map(truth).collect();
        let counts = &self.spec.value_counts;
        attributes::terms(self.options.attribute, weight, counts, &logits, &truths)
    }
}

/// What an attribute head on regions says of some cells, and what is true.
#[derive(Clone, Copy)]
pub struct Regions<'a> {
    /// Values of each attribute.
    pub value_counts: &'a [u8],
    /// `[cells, sum of value_counts]`, raw.
    pub logits: &'a Tensor,
    /// One a cell.
    pub truths: &'a [Attributes],
}

/// What a batch costs, as sums that nobody has divided yet: processes that share a batch first add up
/// how many elements each of them has.
#[derive(Debug)]
pub struct LossTerms {
    terms: Vec<Term>,
    device: Device,
}

impl LossTerms {
    /// # Shapes
    /// `heads[level]` is `[batch, boxes * channels, grid, grid]`, raw.
    pub fn of(given: &Given<'_>, heads: &[Tensor]) -> Self {
        let mut terms = if given.spec.is_anchor_free() {
            anchor_free::terms(given, heads)
        } else {
            anchor::terms(given, heads)
        };
        if let Some(Regions {
            value_counts,
            logits,
            truths,
        }) = given.regions
        {
            let kind = given.options.attribute;
            terms.extend(attributes::terms(kind, 1.0, value_counts, logits, truths));
        }
        terms.extend(distill::terms(given, heads));
        let device = heads[0].device();
        Self { terms, device }
    }

    /// Elements of every term; for one kind of network the list is as long in every process.
    pub fn counts(&self) -> Vec<f64> {
        self.terms.iter().map(|term| term.count as f64).collect()
    }

    /// This process's share of the loss: every term divided by its elements over all processes,
    /// weighted and added to its part. `batch` are the canvases over all processes.
    pub fn parts(&self, counts: &[f64], batch: usize, weights: &LossWeights) -> LossParts {
        let zero = || Tensor::zeros([], (Kind::Float, self.device));
        let mut parts = LossParts {
            bbox: zero(),
            objectness: zero(),
            class: zero(),
            attribute: zero(),
            batch: batch as i64,
        };
        for (term, count) in self.terms.iter().zip(counts) {
            let (sum, gain) = match term.part {
                Part::Bbox => (&mut parts.bbox, weights.bbox),
                Part::Objectness => (&mut parts.objectness, weights.objectness),
                Part::Class => (&mut parts.class, weights.class),
                Part::Attribute => (&mut parts.attribute, weights.attribute),
            };
            *sum += term.over(*count) * gain;
        }
        parts
    }
}

/// The loss of a batch that one process has alone.
///
/// # Shapes
/// As for [`LossTerms::of`].
pub fn loss(given: &Given<'_>, heads: &[Tensor], weights: &LossWeights) -> LossParts {
    let terms = LossTerms::of(given, heads);
    terms.parts(&terms.counts(), heads[0].size()[0] as usize, weights)
}
