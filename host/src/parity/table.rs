//! A parity report as text for people.

use std::fmt::{Display, Formatter, Result};

use super::rows::{Measure, Row, Verdict};
use super::{ParityError, ParityReport};
use crate::score::{aligned, signed};

/// What was looked at and how, and the table of all numbers.
impl Display for ParityReport {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        writeln!(out, "{}\n", heading(self))?;
        aligned(out, &cells(self))?;
        writeln!(out, "\n{}", shown(self))
    }
}

/// What the numbers are measured on, and what they mean.
pub(super) fn heading(report: &ParityReport) -> String {
    let ParityReport {
        pictures,
        split,
        data,
        cells,
        thresholds,
        score_min,
        iou_min,
        ..
    } = report;
    format!(
        "Parity on {pictures} {split} pictures of {data} with {cells} cells. No number may lose more than its budget against the stage before. AP by COCO's definition over all findings (score >= {}), the rest at score >= {score_min} and IoU >= {iou_min}; changes of cells found in per cent of them.",
        thresholds.score
    )
}

/// The verdict in words.
pub(super) fn shown(report: &ParityReport) -> String {
    match report.verdict() {
        Ok(()) => {
            let n_kept = report.n(Verdict::Within);
            // A pass says nothing of what the pictures have no labels for.
            match report.n(Verdict::NoTruth) {
                0 => format!("parity: kept, none of {n_kept} numbers loses more than its budget"),
                n => format!(
                    "parity: kept, none of {n_kept} numbers loses more than its budget; {n} more have no truth in these pictures"
                ),
            }
        }
        Err(ParityError::Lost(text)) => text,
        Err(error) => error.to_string(),
    }
}

/// The table, its heading first: a number at each stage, and after each but the first its change.
pub(super) fn cells(report: &ParityReport) -> Vec<Vec<String>> {
    let mut heading = vec![String::new(), "n".to_owned()];
    for (index, file) in report.stages.iter().enumerate() {
        heading.push(file.stage.to_owned());
        if index > 0 {
            heading.push("change".to_owned());
        }
    }
    heading.extend(["budget".to_owned(), "verdict".to_owned()]);
    let rows = report.rows.iter().map(cells_of);
    std::iter::once(heading).chain(rows).collect()
}

fn cells_of(row: &Row) -> Vec<String> {
    let mut cells = vec![
        format!("{}, {}", row.measure.name(), row.of),
        row.n.to_string(),
    ];
    for (index, value) in row.values.iter().enumerate() {
        cells.push(number(row.measure, *value));
        if let Some(before) = index.checked_sub(1) {
            cells.push(change(row.measure, row.changes[before]));
        }
    }
    cells.push(match (row.measure, row.budget) {
        (_, None) => "-".to_owned(),
        (Measure::CellsFound, Some(budget)) => format!("{} %", budget * 100.0),
        (_, Some(budget)) => budget.to_string(),
    });
    let verdict = match row.verdict {
        Verdict::Within => "kept",
        Verdict::Exceeded => "LOST",
        Verdict::NoTruth => "no truth",
        Verdict::Unbudgeted => "-",
    };
    cells.push(verdict.to_owned());
    cells
}

/// Four decimals: half a point is to be seen as what it is.
fn number(measure: Measure, value: Option<f64>) -> String {
    match (measure, value) {
        (Measure::CellsFound, Some(value)) => format!("{value:.0}"),
        (Measure::CountBias, value) => signed(value),
        (_, Some(value)) => format!("{value:.4}"),
        (_, None) => "-".to_owned(),
    }
}

fn change(measure: Measure, change: Option<f64>) -> String {
    match (measure, change) {
        (Measure::CellsFound, Some(change)) => format!("{:+.2} %", change * 100.0),
        (Measure::CountBias, change) => signed(change),
        (_, Some(change)) => format!("{change:+.4}"),
        (_, None) => "-".to_owned(),
    }
}
