//! What counts cells: confusion, counts, attributes and reliability, above the least score.

use shared::attribute::{AttributeSchema, MAX_ATTRIBUTES, ValueId};
use shared::cell::{Cell, Detection};
use shared::class::{ClassId, ClassTable};
use shared::differential::ClassSet;
use shared::metrics::agreement::CountAgreement;
use shared::metrics::attributes::AttributeTally;
use shared::metrics::confusion::{ClassCounts, ConfusionMatrix, confusion_len};
use shared::metrics::matching::{largest_overlap_without_threshold, pair_by_overlap};
use shared::metrics::reliability::Reliability;

use super::precision::any_cell;
use super::report::{AttributeRow, AttributeScore, Confusion, Counts, ReliabilityRow};
use super::{Judged, ScoreOptions};

/// Everything that was counted.
pub(super) struct Counting {
    /// By class.
    pub by_class: Vec<ClassCounts>,
    /// Any white cell.
    pub cell: ClassCounts,
    pub macro_f1: Option<f64>,
    pub confusion: Confusion,
    pub agreement: Counts,
    pub attributes: Vec<AttributeRow>,
    pub reliability: ReliabilityRow,
}

/// One attribute, four ways.
#[derive(Clone, Copy, Default)]
struct Tallies {
    end_to_end: AttributeTally,
    on_found: AttributeTally,
    on_truth: AttributeTally,
    reference: AttributeTally,
}

/// Pairs of a picture by index.
pub(super) struct Pairs {
    pub of_truth: Vec<Option<usize>>,
    pub of_found: Vec<Option<usize>>,
}

pub(super) fn pairs(truths: &[Cell], found: &[Detection], iou_min: f32) -> Pairs {
    let mut pairs = Pairs {
        of_truth: vec![None; truths.len()],
        of_found: vec![None; found.len()],
    };
    pair_by_overlap(
        truths,
        found,
        iou_min,
        &mut pairs.of_truth,
        &mut pairs.of_found,
    );
    pairs
}

/// The findings at or above `score_min`; they are sorted.
pub(super) fn above(found: &[Detection], score_min: f32) -> &[Detection] {
    let n = found.partition_point(|detection| detection.score.get() >= score_min);
    &found[..n]
}

pub(super) fn count(
    pictures: &[Judged<'_>],
    classes: &ClassTable,
    schema: &AttributeSchema,
    not_white: ClassSet,
    options: &ScoreOptions,
) -> Counting {
    let mut counts = vec![0; confusion_len(classes.len())];
    let mut matrix = ConfusionMatrix::new(classes.len(), &mut counts);
    let mut reliability = Reliability::default();
    let mut tallies = [Tallies::default(); MAX_ATTRIBUTES];
    let mut agreement = CountAgreement::default();
    let mut cell = ClassCounts::default();
    for picture in pictures {
        let found = above(&picture.once, options.score_min);
        let pairs = pairs(picture.truths, found, options.iou_min);
        add_classes(picture.truths, found, &pairs, &mut matrix, &mut reliability);
        add_attributes(picture.truths, found, &pairs, &mut tallies);
        add_on_truth(picture.truths, &picture.all, options.iou_min, &mut tallies);
        if options.reference_matching {
            add_by_reference(picture.truths, &picture.all, schema.len(), &mut tallies);
        }
        add_any_cell(picture, not_white, options, &mut agreement, &mut cell);
    }
    let numbers = (0..classes.len()).map(|index| ClassId(index as u8));
    Counting {
        by_class: numbers.map(|class| matrix.class(class)).collect(),
        cell,
        macro_f1: matrix.macro_f1(),
        confusion: confusion(classes, &matrix),
        agreement: Counts::of(&agreement),
        attributes: attribute_rows(schema, &tallies, options.reference_matching),
        reliability: ReliabilityRow::of(&reliability),
    }
}

fn add_classes(
    truths: &[Cell],
    found: &[Detection],
    pairs: &Pairs,
    matrix: &mut ConfusionMatrix<'_>,
    reliability: &mut Reliability,
) {
    for (truth, partner) in truths.iter().zip(&pairs.of_truth) {
        matrix.add_truth(truth.class, partner.map(|index| found[index].class));
    }
    // Where a class is unsaid only the extras could be judged: every confidence would look too high.
    let all_said = truths.iter().all(|truth| truth.class.is_some());
    for (detection, partner) in found.iter().zip(&pairs.of_found) {
        let truth = partner.map(|index| truths[index].class);
        if truth.is_none() {
            matrix.add_extra(detection.class);
        }
        if all_said {
            reliability.add(detection.score, truth == Some(Some(detection.class)));
        }
    }
}

fn add_attributes(truths: &[Cell], found: &[Detection], pairs: &Pairs, tallies: &mut [Tallies]) {
    for (truth, partner) in truths.iter().zip(&pairs.of_truth) {
        for (index, tally) in tallies.iter_mut().enumerate() {
            let value = partner.and_then(|partner| value_of(&found[partner], index));
            tally.end_to_end.add(truth.attributes[index], value);
            if partner.is_some() {
                tally.on_found.add(truth.attributes[index], value);
            }
        }
    }
}

/// What is said at the place of each truth: by the finding of any score that overlaps it most.
fn add_on_truth(truths: &[Cell], all: &[Detection], iou_min: f32, tallies: &mut [Tallies]) {
    for truth in truths {
        let Some(partner) = largest_overlap_without_threshold(truth, all)
            .filter(|&index| truth.bbox.iou(&all[index].bbox) >= iou_min)
        else {
            continue;
        };
        for (index, tally) in tallies.iter_mut().enumerate() {
            let value = value_of(&all[partner], index);
            tally.on_truth.add(truth.attributes[index], value);
        }
    }
}

fn add_by_reference(
    truths: &[Cell],
    all: &[Detection],
    n_attributes: usize,
    tallies: &mut [Tallies],
) {
    for truth in truths {
        let Some(partner) = reference_partner(truth, all, n_attributes) else {
            continue;
        };
        for (index, tally) in tallies.iter_mut().enumerate() {
            let value = value_of(&all[partner], index);
            tally.reference.add(truth.attributes[index], value);
        }
    }
}

/// The finding that the reference compares a cell with; `None` where it leaves the cell out.
pub(super) fn reference_partner(
    truth: &Cell,
    all: &[Detection],
    n_attributes: usize,
) -> Option<usize> {
    let labelled = truth.attributes[..n_attributes].iter().all(Option::is_some);
    largest_overlap_without_threshold(truth, all).filter(|_| labelled)
}

pub(super) fn value_of(detection: &Detection, attribute: usize) -> Option<ValueId> {
    detection.attributes[attribute].map(|finding| finding.value)
}

fn add_any_cell(
    picture: &Judged<'_>,
    not_white: ClassSet,
    options: &ScoreOptions,
    agreement: &mut CountAgreement,
    cell: &mut ClassCounts,
) {
    let (truths, found) = any_cell(picture, not_white);
    let found = above(&found, options.score_min);
    let hits = pairs(&truths, found, options.iou_min)
        .of_truth
        .iter()
        .flatten()
        .count();
    agreement.add(truths.len() as u32, found.len() as u32);
    cell.hits += hits as u32;
    cell.misses += (truths.len() - hits) as u32;
    cell.extras += (found.len() - hits) as u32;
}

fn confusion(classes: &ClassTable, matrix: &ConfusionMatrix<'_>) -> Confusion {
    let names = classes.iter().map(|(_, name)| name).chain(["no cell"]);
    let (unsaid_found, unsaid_missed) = matrix.unsaid();
    Confusion {
        names: names.map(str::to_owned).collect(),
        rows: matrix.rows().map(<[u32]>::to_vec).collect(),
        unsaid_found,
        unsaid_missed,
    }
}

fn attribute_rows(
    schema: &AttributeSchema,
    tallies: &[Tallies],
    reference_matching: bool,
) -> Vec<AttributeRow> {
    let rows = schema.iter().zip(tallies).map(|((_, attribute), tally)| {
        let score = |tally: &AttributeTally| AttributeScore::of(attribute, tally);
        AttributeRow {
            attribute: attribute.name.to_string(),
            end_to_end: score(&tally.end_to_end),
            on_found: score(&tally.on_found),
            on_truth: score(&tally.on_truth),
            reference_matching: reference_matching.then(|| score(&tally.reference)),
        }
    });
    rows.collect()
}
