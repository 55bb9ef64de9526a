//! A score as text for people.

use std::fmt::{Display, Formatter, Result, Write};

use super::report::{AttributeScore, ClassRow, Proportion, ScoreReport};
use shared::interval::Limits;

/// Most names of pictures that are listed.
const NAMES_SHOWN: usize = 5;

/// The tables of a score, aligned, with the definition of every number in its heading.
impl Display for ScoreReport {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        pictures(self, out)?;
        classes(self, out)?;
        confusion(self, out)?;
        counts(self, out)?;
        attributes(self, out)
    }
}

fn pictures(report: &ScoreReport, out: &mut Formatter<'_>) -> Result {
    writeln!(out, "{} pictures with truth", report.pictures)?;
    names(
        out,
        "not among the findings, all their cells missed",
        &report.missing,
    )?;
    names(
        out,
        "among the findings without truth, not judged",
        &report.unjudged,
    )?;
    let losses = &report.losses;
    let left_out = [
        (losses.candidates, "candidates beyond the room for them"),
        (losses.detections, "detections beyond the most of a picture"),
        (losses.outside_picture, "boxes on the padding"),
        (losses.outside_region, "findings outside the labelled part"),
        (
            losses.same_cell,
            "further classes of a cell, not counted as cells",
        ),
    ];
    for (n, what) in left_out.into_iter().filter(|(n, _)| *n > 0) {
        writeln!(out, "left out: {n} {what}")?;
    }
    Ok(())
}

fn names(out: &mut Formatter<'_>, what: &str, names: &[String]) -> Result {
    if names.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = names
        .iter()
        .take(NAMES_SHOWN)
        .map(|name| format!("{name:?}"))
        .collect();
    let more = if names.len() > NAMES_SHOWN {
        ", ..."
    } else {
        ""
    };
    writeln!(out, "{what}: {} ({}{more})", names.len(), shown.join(", "))
}

fn classes(report: &ScoreReport, out: &mut Formatter<'_>) -> Result {
    let (score, iou) = (report.score_min, report.iou_min);
    writeln!(
        out,
        "\nAP over all findings; P, R, F1 at score >= {score} and IoU >= {iou}; P, R in per cent with exact 95 % limits (error of counting only)"
    )?;
    let heading = [
        "", "truths", "AP50", "AP50-95", "AP50", "AP50-95", "P", "R", "F1",
    ];
    let over = ["", "", "YOLOv5", "YOLOv5", "COCO", "COCO", "", "", ""];
    let mut rows = vec![
        over.map(str::to_owned).to_vec(),
        heading.map(str::to_owned).to_vec(),
    ];
    rows.extend(class_rows(report));
    aligned(out, &rows)
}

/// Name, cells, AP of both definitions, precision, recall and F1: of every class, of their mean and of
/// any white cell.
pub(crate) fn class_rows(report: &ScoreReport) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = report.classes.iter().map(class_row).collect();
    let mean = &report.mean;
    let truths: u32 = report.classes.iter().map(|class| class.truths).sum();
    rows.push(vec![
        "mean of classes".to_owned(),
        truths.to_string(),
        number(mean.yolov5_map50),
        number(mean.yolov5_map50_95),
        number(mean.coco_map50),
        number(mean.coco_map50_95),
        String::new(),
        String::new(),
        number(mean.macro_f1),
    ]);
    rows.push(class_row(&report.cell));
    rows
}

fn class_row(row: &ClassRow) -> Vec<String> {
    let at = &row.at_threshold;
    vec![
        row.class.clone(),
        row.truths.to_string(),
        number(row.yolov5.map(|n| n.ap50)),
        number(row.yolov5.map(|n| n.ap50_95)),
        number(row.coco.map(|n| n.ap50)),
        number(row.coco.map(|n| n.ap50_95)),
        percent(at.precision),
        percent(at.recall),
        number(at.f1),
    ]
}

fn confusion(report: &ScoreReport, out: &mut Formatter<'_>) -> Result {
    let confusion = &report.confusion;
    writeln!(out, "\nConfusion, rows truth, columns found")?;
    let mut rows = vec![vec![String::new()]];
    rows[0].extend(confusion.names.iter().cloned());
    for (name, counts) in confusion.names.iter().zip(&confusion.rows) {
        let mut row = vec![name.clone()];
        row.extend(counts.iter().map(u32::to_string));
        rows.push(row);
    }
    aligned(out, &rows)?;
    let unsaid = confusion.unsaid_found + confusion.unsaid_missed;
    if unsaid > 0 {
        let found = confusion.unsaid_found;
        writeln!(
            out,
            "and {unsaid} cells whose class nobody said, {found} of them found"
        )?;
    }
    Ok(())
}

fn counts(report: &ScoreReport, out: &mut Formatter<'_>) -> Result {
    let counts = &report.counts;
    let limits = counts.limits_of_agreement;
    writeln!(
        out,
        "\nWhite cells a picture: {} in truth, {} found in {} pictures; bias {}, mean absolute error {}, limits of agreement {} to {}",
        counts.truths,
        counts.found,
        counts.pictures,
        signed(counts.bias),
        number(counts.mean_absolute_error),
        signed(limits.map(|limits| limits[0])),
        signed(limits.map(|limits| limits[1])),
    )?;
    let error = report.reliability.expected_error;
    writeln!(
        out,
        "Expected calibration error of the confidence (15 bins): {}",
        number(error)
    )
}

fn attributes(report: &ScoreReport, out: &mut Formatter<'_>) -> Result {
    if report.attributes.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\nAttributes; end to end counts a missed cell as wrong"
    )?;
    let with_reference = report
        .attributes
        .iter()
        .any(|row| row.reference_matching.is_some());
    let headings = |first: &str, each: [&str; 3]| {
        let groups = if with_reference { 4 } else { 3 };
        let mut row = vec![first.to_owned()];
        row.extend(each.map(str::to_owned).into_iter().cycle().take(3 * groups));
        row
    };
    let mut over = headings("", ["", "", ""]);
    let groups = [
        (2, "end to end"),
        (5, "on found"),
        (8, "on truth boxes"),
        (11, "reference"),
    ];
    for (column, text) in groups {
        if let Some(cell) = over.get_mut(column) {
            *cell = text.to_owned();
        }
    }
    let mut rows = vec![over, headings("", ["labelled", "accuracy", "macro-F1"])];
    for row in &report.attributes {
        let mut line = vec![row.attribute.clone()];
        let scores = [
            Some(&row.end_to_end),
            Some(&row.on_found),
            Some(&row.on_truth),
            row.reference_matching.as_ref(),
        ];
        scores
            .into_iter()
            .flatten()
            .for_each(|score| line.extend(attribute_columns(score)));
        rows.push(line);
    }
    aligned(out, &rows)?;
    let mean = number(report.mean.attribute_macro_f1);
    writeln!(out, "mean macro-F1 end to end: {mean}")
}

fn attribute_columns(score: &AttributeScore) -> [String; 3] {
    [
        score.labelled.to_string(),
        percent(score.accuracy),
        number(score.macro_f1),
    ]
}

/// Three decimals; `-` for nothing to measure it on.
pub(crate) fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

pub(crate) fn signed(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:+.2}"))
}

/// `97.2 (92.0-99.4)`.
pub(crate) fn percent(value: Option<Proportion>) -> String {
    value.map_or_else(
        || "-".to_owned(),
        |share| {
            let [lower, upper] = share.limits;
            let limits = Limits { lower, upper }.percent_outward();
            format!("{:.1} ({limits})", share.value * 100.0)
        },
    )
}

/// Columns two blanks apart, the first to the left, the others to the right.
pub(crate) fn aligned(out: &mut Formatter<'_>, rows: &[Vec<String>]) -> Result {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            match column {
                0 => write!(line, "{cell:<width$}")?,
                _ => write!(line, "  {cell:>width$}")?,
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
