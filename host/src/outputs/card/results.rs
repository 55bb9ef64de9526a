//! The figures of a card.

use super::{Card, line, plain, table};
use crate::score::{AttributeScore, class_rows, number, percent, signed};

/// Writes how it was judged, then the tables of classes, attributes and domains.
pub(super) fn write(card: &Card<'_>, text: &mut String) {
    line(text, &format!("\n## Results on the {} split\n", card.split));
    how(card, text);
    classes(card, text);
    attributes(card, text);
    domains(card, text);
}

fn how(card: &Card<'_>, text: &mut String) {
    let (report, used) = (card.report, &card.thresholds);
    let views = match card.views {
        1 => "Every picture was looked at once, as it is".to_owned(),
        n => format!(
            "Every picture was looked at in {n} flips and turns; what they agree on was averaged"
        ),
    };
    line(
        text,
        &format!(
            "{views}. Detections of score {} and more, suppression at IoU {}, at most {} a picture{}. \
             AP over all of them (YOLOv5's and COCO's definition); precision, recall and F1 at score >= {} and \
             IoU >= {}, per cent with exact 95 % limits. {} pictures.",
            used.score,
            used.iou,
            used.max_detections,
            if used.multi_label {
                ", every class above the score"
            } else {
                ""
            },
            report.score_min,
            report.iou_min,
            report.pictures,
        ),
    );
}

fn classes(card: &Card<'_>, text: &mut String) {
    let report = card.report;
    let heading = [
        "class",
        "n",
        "AP50",
        "AP50-95",
        "AP50 COCO",
        "AP50-95 COCO",
        "P",
        "R",
        "F1",
    ];
    let mut rows = class_rows(report);
    for name in rows.iter_mut().filter_map(|row| row.first_mut()) {
        *name = plain(name);
    }
    line(text, "");
    table(text, &heading, &rows);
    let counts = &report.counts;
    let limits = counts.limits_of_agreement;
    line(
        text,
        &format!(
            "\nCells a picture, found minus truth: {} in the mean, limits of agreement {} to {} ({} found, {} in truth).",
            signed(counts.bias),
            signed(limits.map(|l| l[0])),
            signed(limits.map(|l| l[1])),
            counts.found,
            counts.truths,
        ),
    );
}

fn attributes(card: &Card<'_>, text: &mut String) {
    let report = card.report;
    if report.attributes.is_empty() {
        return;
    }
    line(
        text,
        &format!(
            "\nAttributes. *End to end*: the finding of score >= {} that is the cell's by overlap (IoU >= {}); a missed \
             cell is wrong. *On truth boxes*: what is said at the place of each cell, found or not. n = labelled cells.",
            report.score_min, report.iou_min
        ),
    );
    let mut heading = vec![
        "attribute",
        "n",
        "accuracy",
        "macro-F1",
        "n on truth boxes",
        "accuracy",
        "macro-F1",
    ];
    let by_reference = report
        .attributes
        .iter()
        .any(|row| row.reference_matching.is_some());
    if by_reference {
        heading.extend(["n, AttriDet's matching", "accuracy", "macro-F1"]);
    }
    let columns = |score: &AttributeScore| {
        [
            score.labelled.to_string(),
            percent(score.accuracy),
            number(score.macro_f1),
        ]
    };
    let rows: Vec<Vec<String>> = report
        .attributes
        .iter()
        .map(|row| {
            let mut cells = vec![plain(&row.attribute)];
            let scores = [
                Some(&row.end_to_end),
                Some(&row.on_truth),
                row.reference_matching.as_ref(),
            ];
            scores
                .into_iter()
                .flatten()
                .for_each(|score| cells.extend(columns(score)));
            cells
        })
        .collect();
    line(text, "");
    table(text, &heading, &rows);
    line(
        text,
        &format!(
            "\nMean macro-F1 end to end: {}.",
            number(report.mean.attribute_macro_f1)
        ),
    );
}

fn domains(card: &Card<'_>, text: &mut String) {
    if card.domains.is_empty() {
        return;
    }
    line(text, "\nBy domain, as the data file names them:\n");
    let heading = [
        "domain",
        "pictures",
        "cells",
        "mAP50",
        "mAP50-95",
        "any cell AP50",
        "any cell R",
        "attribute macro-F1",
    ];
    let rows: Vec<Vec<String>> = card
        .domains
        .iter()
        .map(|(name, report)| {
            vec![
                plain(name),
                report.pictures.to_string(),
                report.cell.truths.to_string(),
                number(report.mean.yolov5_map50),
                number(report.mean.yolov5_map50_95),
                number(report.cell.yolov5.map(|ap| ap.ap50)),
                percent(report.cell.at_threshold.recall),
                number(report.mean.attribute_macro_f1),
            ]
        })
        .collect();
    table(text, &heading, &rows);
}
