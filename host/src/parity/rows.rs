//! The numbers of all stages, and whether one lost too much.

use std::fmt;

use serde::Serialize;
use shared::contract::ParityBudgets;

use super::StageFile;
use crate::score::ScoreReport;

/// What a number measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// AP50-95 by COCO's definition, 0..=1.
    #[serde(rename = "ap50_95")]
    Ap5095,
    /// AP50 by COCO's definition, 0..=1.
    Ap50,
    /// Macro-F1 of an attribute end to end, 0..=1.
    AttributeF1,
    /// Cells found on all pictures.
    CellsFound,
    /// Cells found less cells in truth, mean of the pictures.
    CountBias,
}

impl Measure {
    /// As the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ap5095 => "AP50-95",
            Self::Ap50 => "AP50",
            Self::AttributeF1 => "macro-F1",
            Self::CellsFound => "cells found",
            Self::CountBias => "count bias",
        }
    }

    /// What became of `before`; of cells as a part of it (of 1 when there were none).
    fn change(self, before: f64, after: f64) -> f64 {
        match self {
            Self::CellsFound => (after - before) / before.max(1.0),
            _ => after - before,
        }
    }

    /// What a change costs: for cells more or fewer, else only what became less.
    fn loss(self, change: f64) -> f64 {
        match self {
            Self::CellsFound => change.abs(),
            _ => -change,
        }
    }
}

/// Whether a number is within its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is, at every stage.
    Within,
    /// It is not, at one stage at least.
    Exceeded,
    /// There is nothing to measure it on.
    NoTruth,
    /// It has no budget: it is there to be seen.
    Unbudgeted,
}

/// A number at every stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What it measures.
    pub measure: Measure,
    /// Of what.
    pub of: String,
    /// Cells in truth that it is measured on; pictures for counts.
    pub n: u64,
    /// One for each stage.
    pub values: Vec<Option<f64>>,
    /// One for each stage but the first, against the stage before; of cells found as a part of them.
    pub changes: Vec<Option<f64>>,
    /// Largest allowed loss of each change.
    pub budget: Option<f32>,
    /// Whether it was kept.
    pub verdict: Verdict,
}

/// A number of one stage.
struct Number {
    measure: Measure,
    of: String,
    n: u64,
    value: Option<f64>,
    budget: Option<f32>,
}

/// Every number of the stages' scores, which are of the same truth and names.
pub(super) fn rows(scores: &[ScoreReport], budgets: &ParityBudgets) -> Vec<Row> {
    let mut columns = scores.iter().map(|score| numbers(score, budgets));
    let first = columns.next().unwrap_or_default();
    let mut rows: Vec<Row> = first
        .into_iter()
        .map(|number| Row {
            measure: number.measure,
            of: number.of,
            n: number.n,
            values: vec![number.value],
            changes: Vec::new(),
            budget: number.budget,
            verdict: Verdict::Unbudgeted,
        })
        .collect();
    for column in columns {
        for (row, number) in rows.iter_mut().zip(column) {
            row.values.push(number.value);
        }
    }
    for row in &mut rows {
        let pairs = row.values.windows(2);
        row.changes = pairs
            .map(|pair| Some(row.measure.change(pair[0]?, pair[1]?)))
            .collect();
        row.verdict = verdict(row);
    }
    rows
}

fn verdict(row: &Row) -> Verdict {
    let Some(budget) = row.budget else {
        return Verdict::Unbudgeted;
    };
    if row.values.iter().all(Option::is_none) {
        return Verdict::NoTruth;
    }
    // A number that one stage has and another has not is no drift that a budget could allow.
    let kept = |change: &Option<f64>| change.is_some_and(|change| !exceeds(row, change, budget));
    if row.changes.iter().all(kept) {
        Verdict::Within
    } else {
        Verdict::Exceeded
    }
}

fn exceeds(row: &Row, change: f64, budget: f32) -> bool {
    // As the contract writes it: 100 cells that become 99 are just within 0.01.
    row.measure.loss(change) as f32 > budget
}

fn numbers(score: &ScoreReport, budgets: &ParityBudgets) -> Vec<Number> {
    let mut numbers = Vec::new();
    let mut add = |measure, of: &str, n: u64, value, budget| {
        let of = of.to_owned();
        numbers.push(Number {
            measure,
            of,
            n,
            value,
            budget,
        });
    };
    let classes = || score.classes.iter().chain([&score.cell]);
    let truths = score.classes.iter().map(|row| u64::from(row.truths)).sum();
    let (mean, ap) = (&score.mean, budgets.class_ap);
    let of_classes = "mean of classes";
    let value = mean.coco_map50_95;
    add(Measure::Ap5095, of_classes, truths, value, Some(ap.mean));
    for row in classes() {
        let (n, value) = (row.truths.into(), row.coco.map(|coco| coco.ap50_95));
        add(Measure::Ap5095, &row.class, n, value, Some(ap.each));
    }
    add(Measure::Ap50, of_classes, truths, mean.coco_map50, None);
    for row in classes() {
        let (n, value) = (row.truths.into(), row.coco.map(|coco| coco.ap50));
        add(Measure::Ap50, &row.class, n, value, None);
    }
    if !score.attributes.is_empty() {
        let labelled = |row: &crate::score::AttributeRow| u64::from(row.end_to_end.labelled);
        let (n, value) = (
            score.attributes.iter().map(labelled).sum(),
            mean.attribute_macro_f1,
        );
        let f1 = budgets.attribute_f1;
        let of = "mean of attributes";
        add(Measure::AttributeF1, of, n, value, Some(f1.mean));
        for row in &score.attributes {
            let (n, value) = (labelled(row), row.end_to_end.macro_f1);
            add(
                Measure::AttributeF1,
                &row.attribute,
                n,
                value,
                Some(f1.each),
            );
        }
    }
    let counts = &score.counts;
    let (n, found) = (counts.pictures.into(), Some(counts.found as f64));
    let budget = Some(budgets.cell_count);
    add(Measure::CellsFound, "all pictures", n, found, budget);
    add(Measure::CountBias, "a picture", n, counts.bias, None);
    numbers
}

/// The loss that is furthest beyond its budget, in words; `None` when none is.
pub(super) fn worst(rows: &[Row], stages: &[StageFile]) -> Option<String> {
    let lost = rows.iter().filter(|row| row.verdict == Verdict::Exceeded);
    let losses = lost.flat_map(|row| {
        let changes = row.changes.iter().zip(stages.iter().skip(1));
        changes.map(move |(change, stage)| Loss::of(row, *change, stage.stage))
    });
    losses
        .max_by(|a, b| a.beyond.total_cmp(&b.beyond))
        .map(|loss| loss.to_string())
}

struct Loss<'a> {
    row: &'a Row,
    stage: &'a str,
    lost: Option<f64>,
    /// How far beyond the budget.
    beyond: f64,
}

impl<'a> Loss<'a> {
    fn of(row: &'a Row, change: Option<f64>, stage: &'a str) -> Self {
        let lost = change.map(|change| row.measure.loss(change));
        let budget = row.budget.map_or(0.0, f64::from);
        Self {
            row,
            stage,
            lost,
            beyond: lost.map_or(f64::INFINITY, |lost| lost - budget),
        }
    }
}

impl fmt::Display for Loss<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (row, budget) = (self.row, self.row.budget.unwrap_or(0.0));
        write!(
            out,
            "{}, {}, at {}: ",
            row.measure.name(),
            row.of,
            self.stage
        )?;
        match self.lost {
            Some(lost) => write!(out, "expected at most {budget}, found {lost:.4}"),
            None => write!(out, "expected a number before and after, found one only"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(measure: Measure, before: Option<f64>, after: Option<f64>, budget: f32) -> Verdict {
        let change = before
            .zip(after)
            .map(|(before, after)| measure.change(before, after));
        verdict(&Row {
            measure,
            of: String::new(),
            n: 0,
            values: vec![before, after],
            changes: vec![change],
            budget: Some(budget),
            verdict: Verdict::Unbudgeted,
        })
    }

    #[test]
    fn a_loss_of_the_whole_budget_is_within_it_and_no_more() {
        use Measure::{Ap5095, CellsFound};
        use Verdict::{Exceeded, Within};
        for (measure, before, after, expected) in [
            (CellsFound, 100.0, 99.0, Within),
            (CellsFound, 100.0, 101.0, Within),
            (CellsFound, 100.0, 98.0, Exceeded),
            (CellsFound, 100.0, 102.0, Exceeded),
            (CellsFound, 0.0, 0.0, Within),
            (CellsFound, 0.0, 1.0, Exceeded),
            (Ap5095, 1.0, 0.99, Within),
            (Ap5095, 0.7, 0.69, Within),
            (Ap5095, 0.7, 0.6899, Exceeded),
            (Ap5095, 0.7, 0.9, Within),
        ] {
            let found = judged(measure, Some(before), Some(after), 0.01);
            assert_eq!(found, expected, "{measure:?} {before} {after}");
        }
    }

    #[test]
    fn a_number_that_only_one_stage_has_is_lost_and_one_that_none_has_is_not() {
        let judged = |before, after| judged(Measure::Ap5095, before, after, 1.0);
        assert_eq!(judged(Some(0.5), None), Verdict::Exceeded);
        assert_eq!(judged(None, Some(0.5)), Verdict::Exceeded);
        assert_eq!(judged(None, None), Verdict::NoTruth);
    }
}
