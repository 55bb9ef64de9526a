//! Curves and verdicts agree with the report made of the same findings.

use std::path::PathBuf;

use shared::metrics::average_precision::{RECALL_POINTS, recall_at};
use shared::metrics::operating_point::{CONFIDENCE_POINTS, confidence_at};

use super::*;
use crate::dataset::Split;

/// The pictures of `two_pictures`, with all classes said, and a third that nothing is wrong with.
fn samples() -> Vec<Sample> {
    let sample = |name: &str, cells: Vec<Cell>| Sample {
        image: PathBuf::from(name),
        size: SIZE,
        split: Split::Test,
        group: String::new(),
        cells,
        region: None,
    };
    let a = vec![
        truth(Some(0), 0.0, None),
        truth(Some(1), 40.0, Some(0)),
        truth(Some(1), 80.0, Some(1)),
        truth(Some(2), 120.0, Some(1)),
    ];
    let b = vec![truth(Some(1), 0.0, Some(1))];
    let c = vec![truth(Some(2), 200.0, Some(0))];
    vec![sample("a.png", a), sample("b.png", b), sample("c.png", c)]
}

/// On a: the artefact and the lymphocyte as neutrophils, a neutrophil, one on nothing, one below the
/// least score. Nothing on b, all on c.
fn found_on_them() -> Vec<PictureFindings> {
    let a = [
        found(1, 0.9, 40.0, 0),
        found(1, 0.8, 0.0, 0),
        found(1, 0.7, 120.0, 0),
        found(2, 0.5, 300.0, 1),
        found(1, 0.2, 80.0, 1),
    ];
    let c = [found(2, 0.95, 200.0, 0)];
    vec![
        findings("c.png", Thresholds::COUNTING, &c),
        findings("a.png", Thresholds::COUNTING, &a),
    ]
}

fn both() -> (ScoreReport, ScoreDetails) {
    let (samples, findings) = (samples(), found_on_them());
    let samples: Vec<&Sample> = samples.iter().collect();
    let options = ScoreOptions::default();
    let (classes, schema) = (classes(), schema());
    let report = score_samples(&samples, &findings, &classes, &schema, &options).unwrap();
    let details = score_details(&samples, &findings, &classes, &schema, &options).unwrap();
    (report, details)
}

#[test]
fn a_picture_s_faults_are_counted_whatever_the_order_of_the_findings() {
    let (_, details) = both();
    let faults = details
        .pictures
        .iter()
        .map(|p| (p.misses, p.extras, p.confused, p.faults()));
    assert_eq!(
        faults.collect::<Vec<_>>(),
        [(1, 1, 2, 4), (1, 0, 0, 1), (0, 0, 0, 0)]
    );
    let a = &details.pictures[0];
    assert_eq!(a.found.len(), 4, "the one below the least score is no cell");
    assert_eq!(a.of_truth, [Some(1), Some(0), None, Some(2)]);
    assert_eq!(a.of_found, [Some(1), Some(0), Some(3), None]);
}

#[test]
fn the_confusion_of_an_attribute_counts_the_cells_that_were_found() {
    let (report, details) = both();
    let vacuoles = &details.attributes[0];
    assert_eq!(vacuoles.attribute, "vacuoles");
    assert_eq!(vacuoles.values, ["no", "yes"]);
    // Truth no: the neutrophil and the cell of c, both right. Truth yes: the lymphocyte as no.
    assert_eq!(vacuoles.rows, [[2, 0], [1, 0]]);
    assert_eq!(vacuoles.unsaid, [0, 0]);
    assert_eq!(report.attributes[0].on_found.labelled, 3);
}

#[test]
fn curves_pass_through_the_numbers_of_the_report() {
    let (report, details) = both();
    let best = report.best_f1_confidence.unwrap();
    let point = (best * (CONFIDENCE_POINTS - 1) as f64).round() as usize;
    assert!((confidence_at(point) - best).abs() < 1e-12);
    let curves = &details.curves;
    assert_eq!(curves.class_numbers, [0, 1, 2]);
    for (curve, row) in curves.classes.iter().zip(&report.classes) {
        let numbers = row.yolov5.unwrap();
        assert_eq!((&curve.name, curve.truths), (&row.class, row.truths));
        let at = (curve.precision[point], curve.recall[point], curve.f1[point]);
        assert_eq!(at, (numbers.precision, numbers.recall, numbers.f1));
        let area: f64 = (1..RECALL_POINTS)
            .map(|at| {
                let height = curve.precision_at_recall[at - 1] + curve.precision_at_recall[at];
                (recall_at(at) - recall_at(at - 1)) * height / 2.0
            })
            .sum();
        assert!(
            (area - numbers.ap50).abs() < 1e-12,
            "{area} {}",
            numbers.ap50
        );
        assert!((curve.ap50 - numbers.ap50).abs() < 1e-12);
    }
    let mean = curves.mean.as_ref().unwrap();
    assert!((mean.ap50 - report.mean.yolov5_map50.unwrap()).abs() < 1e-12);
    assert!((mean.recall[point] - report.mean.recall.unwrap()).abs() < 1e-12);
    let cell = curves.cell.as_ref().unwrap();
    assert!((cell.ap50 - report.cell.yolov5.unwrap().ap50).abs() < 1e-12);
}

#[test]
fn classes_that_nobody_labelled_have_no_curve() {
    let samples = samples();
    let details = score_details(
        &[&samples[1]],
        &[],
        &classes(),
        &schema(),
        &ScoreOptions::default(),
    )
    .unwrap();
    assert_eq!(details.curves.class_numbers, [1]);
    assert_eq!(details.curves.mean.unwrap().ap50, 0.0);
    assert_eq!(details.pictures[0].misses, 1);
}
