//! Logit adjustment (Menon et al. 2021, arXiv 2007.07314): a network that learned from many cells of one
//! value and few of another names the rare one too seldom for macro-F1. Its logits lose a share of
//! the logarithm of how frequent each value was; the biases of the detection head take it in, so
//! that file and station know nothing of it.

use std::collections::BTreeMap;
use std::path::Path;

use shared::attribute::AttributeSchema;
use shared::fit::Fit;
use shared::head::{HeadSpec, Thresholds};
use tch::{Device, Tensor};

use crate::checkpoint::{Checkpoint, CheckpointError, floats};
use crate::dataset::{Dataset, Sample, Split};
use crate::detections::PictureFindings;
use crate::eval::{Answer, Canvases, Evaluator, Pipeline};
use crate::score::{AttributeRow, ScoreOptions, score_samples};
use crate::validate::ValidationError;

/// Shares of the logarithm that are tried, in tenths: 0 is as learned, 10 as if all values were
/// equally frequent.
pub const TENTHS: std::ops::RangeInclusive<u8> = 0..=10;

/// What was chosen for an attribute.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Its name.
    pub attribute: String,
    /// Share of the logarithm, in tenths.
    pub tenths: u8,
    /// Macro-F1 and accuracy on the pictures it was chosen on, on truth boxes, as learned.
    pub before: [Option<f64>; 2],
    /// The same as chosen.
    pub after: [Option<f64>; 2],
}

/// Why nothing could be adjusted.
#[derive(Debug, thiserror::Error)]
pub enum AdjustError {
    /// The network or its head.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The pictures to choose on.
    #[error(transparent)]
    Validation(#[from] ValidationError),
    /// A network without attributes among the channels of its detection head.
    #[error("expected attributes in the detection head (dense), found none there")]
    Head,
    /// A split without described cells.
    #[error("{0}: expected cells with attributes, found none")]
    NoCells(Split),
}

/// Chooses on the val split, for every attribute, the share of least effect among those of best macro-F1,
/// and gives the checkpoint that has them: its running mean alone, for use.
///
/// # Errors
/// A region head, no described cells in train or val, or what stops a validation.
pub fn adjust(
    checkpoint: &Checkpoint,
    data: &Dataset,
    device: Device,
) -> Result<(Checkpoint, Vec<Choice>), AdjustError> {
    let head = checkpoint.run.head();
    if head.value_counts.is_empty() {
        return Err(AdjustError::Head);
    }
    let described = |sample: &&Sample| {
        let mut cells = sample.cells.iter();
        cells.any(|cell| cell.attributes.iter().any(Option::is_some))
    };
    let of = |split| data.split(split).filter(described).collect::<Vec<_>>();
    let (train, val) = (of(Split::Train), of(Split::Val));
    for (split, samples) in [(Split::Train, &train), (Split::Val, &val)] {
        if samples.is_empty() {
            return Err(AdjustError::NoCells(split));
        }
    }
    let priors = log_priors(&train, &data.schema);
    let rows = judged(checkpoint, &priors, &val, data, device)?;
    let choices: Vec<Choice> = (0..priors.len()).map(|at| choice(&rows, at)).collect();
    let tenths: Vec<u8> = choices.iter().map(|choice| choice.tenths).collect();
    Ok((shifted(checkpoint, &head, &priors, &tenths)?, choices))
}

/// The attributes' rows at every share, from one pass of the network over the pictures.
fn judged(
    checkpoint: &Checkpoint,
    priors: &[Vec<f64>],
    samples: &[&Sample],
    data: &Dataset,
    device: Device,
) -> Result<Vec<Vec<AttributeRow>>, AdjustError> {
    let head = checkpoint.run.head();
    let (_store, network) = checkpoint.network(device)?;
    let evaluator = Evaluator {
        network: &network,
        head: &head,
        fit: checkpoint.run.plan.fit,
        canvas: checkpoint.run.plan.canvas,
        device,
    };
    let thresholds = Thresholds::EVALUATION;
    let shares = TENTHS.map(|tenths| (shift_of(priors, &vec![tenths; priors.len()]), Vec::new()));
    let mut shares: Vec<(Vec<f32>, Vec<PictureFindings>)> = shares.collect();
    let images: Vec<&Path> = samples
        .iter()
        .map(|sample| sample.image.as_path())
        .collect();
    let mut observe = |answer: &Answer, canvases: &Canvases| {
        let fits: Vec<Fit> = canvases.views.iter().map(|view| view.fit).collect();
        for (shift, findings) in &mut shares {
            let answer = answer.with_shifted_attributes(&head, evaluator.canvas, shift);
            let found = evaluator.read(&answer, &fits, &thresholds, |_, _| true);
            // One that cannot be read ends the run below.
            let found = canvases
                .views
                .iter()
                .zip(found)
                .filter_map(|(view, found)| {
                    let found = found.ok()?;
                    Some(PictureFindings {
                        image: images[view.picture].to_string_lossy().into_owned(),
                        size: found.size,
                        model_sha256: String::new(),
                        thresholds,
                        dropped: found.dropped,
                        detections: found.detections,
                    })
                });
            findings.extend(found);
        }
    };
    let pipeline = Pipeline::of(&evaluator, thresholds);
    pipeline
        .run(&images, &mut observe, |_, found| found.map(|_| ()))
        .map_err(ValidationError::from)?;
    let options = ScoreOptions::default();
    let row = |(_, findings): (Vec<f32>, Vec<PictureFindings>)| {
        let report = score_samples(samples, &findings, &data.classes, &data.schema, &options);
        Ok(report.map_err(ValidationError::from)?.attributes)
    };
    shares.into_iter().map(row).collect()
}

/// Of equally good shares the smallest.
fn choice(rows: &[Vec<AttributeRow>], attribute: usize) -> Choice {
    let numbers = |tenths: u8| {
        let score = &rows[usize::from(tenths)][attribute].on_truth;
        [score.macro_f1, score.accuracy.map(|share| share.value)]
    };
    let f1 = |tenths: u8| numbers(tenths)[0].unwrap_or(0.0);
    let better = |best: u8, next: u8| if f1(next) > f1(best) { next } else { best };
    let tenths = TENTHS.reduce(better).unwrap_or(0);
    Choice {
        attribute: rows[0][attribute].attribute.clone(),
        tenths,
        before: numbers(0),
        after: numbers(tenths),
    }
}

/// Logarithm of the share of each value among the cells whose value is known, one cell added to each.
fn log_priors(samples: &[&Sample], schema: &AttributeSchema) -> Vec<Vec<f64>> {
    let of_attribute = |(at, n_values): (usize, usize)| {
        let mut counts = vec![1.0; n_values];
        let cells = samples.iter().flat_map(|sample| &sample.cells);
        for value in cells.filter_map(|cell| cell.attributes[at]) {
            counts[value.index()] += 1.0;
        }
        let total: f64 = counts.iter().sum();
        counts.iter().map(|count| f64::ln(count / total)).collect()
    };
    schema
        .value_counts()
        .enumerate()
        .map(of_attribute)
        .collect()
}

/// What is added to the logit of each value of each attribute.
fn shift_of(priors: &[Vec<f64>], tenths: &[u8]) -> Vec<f32> {
    let shares = priors.iter().zip(tenths);
    shares
        .flat_map(|(values, &tenths)| {
            let share = f64::from(tenths) / 10.0;
            values.iter().map(move |prior| (-prior * share) as f32)
        })
        .collect()
}

/// The checkpoint whose attribute logits have lost these shares of `priors`.
fn shifted(
    checkpoint: &Checkpoint,
    head: &HeadSpec,
    priors: &[Vec<f64>],
    tenths: &[u8],
) -> Result<Checkpoint, AdjustError> {
    let shift = shift_of(priors, tenths);
    let mut ema: BTreeMap<String, Tensor> = checkpoint
        .ema
        .iter()
        .map(|(name, t)| (name.clone(), t.copy()))
        .collect();
    for (level, parts) in head.levels.iter().enumerate() {
        let name = bias_name(&ema, level).ok_or(AdjustError::Head)?;
        let mut bias = floats(&ema[&name]);
        // The values of the attributes are the last channels of each box.
        let channels = bias.len() / parts.boxes();
        for of_box in bias.chunks_exact_mut(channels) {
            let values = of_box[channels - shift.len()..].iter_mut();
            values.zip(&shift).for_each(|(bias, shift)| *bias += shift);
        }
        ema.insert(name, Tensor::from_slice(&bias));
    }
    Ok(Checkpoint {
        run: checkpoint.run.clone(),
        weights: BTreeMap::new(),
        ema,
        momentum: BTreeMap::new(),
    })
}

/// The variable with the biases of a level's classes and attributes, whichever head it is.
fn bias_name(variables: &BTreeMap<String, Tensor>, level: usize) -> Option<String> {
    let ends = [format!(".m.{level}.bias"), format!(".cls_out.{level}.bias")];
    let mut names = variables.keys();
    names
        .find(|name| ends.iter().any(|end| name.ends_with(end)))
        .cloned()
}

#[cfg(test)]
mod tests {
    use shared::attribute::{NO_ATTRIBUTES, ValueId, WBCATT_ATTRIBUTES};
    use shared::cell::Cell;
    use shared::class::{ClassTable, WBCATT_CLASSES};
    use shared::geometry::{BBox, Size};
    use tch::nn;

    use super::*;
    use crate::checkpoint::{RunState, build};
    use crate::model::{Architecture, DetectionHead};
    use crate::train::TrainPlan;
    use crate::validate::tests::plan;

    fn sample(sizes: &[usize]) -> Sample {
        let cell = |&size: &usize| {
            let mut attributes = NO_ATTRIBUTES;
            attributes[0] = ValueId::new(size);
            Cell {
                bbox: BBox::from_corners(0.0, 0.0, 9.0, 9.0).unwrap(),
                class: None,
                attributes,
            }
        };
        Sample {
            image: "a.png".into(),
            size: Size::new(64, 64),
            split: Split::Train,
            group: "a".to_owned(),
            cells: sizes.iter().map(cell).collect(),
            region: None,
        }
    }

    fn run(architecture: Architecture) -> RunState {
        RunState {
            version: RunState::version(),
            software: String::new(),
            plan: TrainPlan {
                architecture,
                ..plan()
            },
            classes: ClassTable::new(WBCATT_CLASSES).unwrap(),
            schema: AttributeSchema::new(WBCATT_ATTRIBUTES).unwrap(),
            levels: architecture.levels(),
            data_fingerprint: String::new(),
            epochs_done: 1,
            ema_updates: 1,
            best: None,
            scaler: None,
        }
    }

    #[test]
    fn priors_are_shares_of_the_known_values() {
        let schema = AttributeSchema::new(WBCATT_ATTRIBUTES).unwrap();
        let (small, big) = (sample(&[0, 0, 0, 0, 0, 1]), sample(&[]));
        let priors = log_priors(&[&small, &big], &schema);
        // 5 + 1 and 1 + 1 of 8.
        assert_eq!(priors[0], [0.75_f64.ln(), 0.25_f64.ln()]);
        assert_eq!(priors[1], [0.5_f64.ln(); 2]);
        assert_eq!(priors.len(), 11);
    }

    #[test]
    fn only_the_attributes_of_every_box_are_shifted_whichever_head_it_is() {
        for detection in [DetectionHead::Anchor, DetectionHead::AnchorFree] {
            let architecture = Architecture {
                detection,
                ..Architecture::yolov5("n").unwrap()
            };
            let run = run(architecture);
            let head = run.head();
            let store = nn::VarStore::new(Device::Cpu);
            let _network = build(&store, &run.plan.architecture, &head);
            let checkpoint = Checkpoint {
                run,
                weights: BTreeMap::new(),
                ema: store.variables().into_iter().collect(),
                momentum: BTreeMap::new(),
            };
            let priors: Vec<Vec<f64>> = head
                .value_counts
                .iter()
                .map(|&n| vec![-2.0; usize::from(n)])
                .collect();
            let mut tenths = vec![0; priors.len()];
            tenths[0] = 5;
            let after = shifted(&checkpoint, &head, &priors, &tenths).unwrap();
            let n_first = usize::from(head.value_counts[0]);
            for level in 0..head.levels.len() {
                let name = bias_name(&after.ema, level).unwrap();
                let moved = floats(&(&after.ema[&name] - &checkpoint.ema[&name]));
                let channels = moved.len() / head.levels[level].boxes();
                for of_box in moved.chunks(channels) {
                    let first = channels - head.n_values();
                    let expected = (0..channels).map(|at| (first..first + n_first).contains(&at));
                    let found = of_box.iter().map(|by| (by - 1.0).abs() < 1e-5);
                    assert!(found.eq(expected), "{name}: {of_box:?}");
                }
            }
            let others = after
                .ema
                .iter()
                .filter(|(name, _)| !name.ends_with(".bias"));
            assert!(
                others
                    .into_iter()
                    .all(|(name, tensor)| tensor == &checkpoint.ema[name])
            );
        }
    }
}
