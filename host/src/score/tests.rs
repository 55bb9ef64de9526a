//! Two small pictures worked by hand.

use shared::attribute::{
    AttributeFinding, AttributeFindings, AttributeSchema, Attributes, NO_ATTRIBUTES, NO_FINDINGS,
    ValueId,
};
use shared::class::ClassTable;
use shared::head::Thresholds;
use shared::score::Score;

use super::*;

fn classes() -> ClassTable {
    ClassTable::new(["None", "Neutrophil", "Lymphocyte"]).unwrap()
}

fn schema() -> AttributeSchema {
    let attributes: [(&str, &[&str]); 1] = [("vacuoles", &["no", "yes"])];
    AttributeSchema::new(attributes).unwrap()
}

fn square(x: f32, y: f32) -> BBox<Image> {
    BBox::from_corners(x, y, x + 20.0, y + 20.0).unwrap()
}

fn truth(class: Option<u8>, x: f32, value: Option<usize>) -> Cell {
    let mut attributes: Attributes = NO_ATTRIBUTES;
    attributes[0] = value.and_then(ValueId::new);
    Cell {
        bbox: square(x, 0.0),
        class: class.map(ClassId),
        attributes,
    }
}

fn found(class: u8, score: f32, x: f32, value: usize) -> Detection {
    let mut attributes: AttributeFindings = NO_FINDINGS;
    attributes[0] = ValueId::new(value).map(|value| AttributeFinding {
        value,
        score: Score::ONE,
    });
    Detection {
        bbox: square(x, 0.0),
        class: ClassId(class),
        score: Score::new(score).unwrap(),
        attributes,
    }
}

const SIZE: Size = Size::new(400, 100);

fn findings(image: &str, thresholds: Thresholds, detections: &[Detection]) -> PictureFindings {
    PictureFindings {
        image: image.to_owned(),
        size: SIZE,
        model_sha256: "00".repeat(32),
        thresholds,
        dropped: Dropped::default(),
        detections: detections.to_vec(),
    }
}

fn picture<'a>(name: &'a str, cells: &'a [Cell]) -> TruthPicture<'a> {
    TruthPicture {
        name,
        size: SIZE,
        cells,
        region: None,
    }
}

fn scored(truths: &[TruthPicture<'_>], findings: &[PictureFindings]) -> ScoreReport {
    let options = ScoreOptions {
        reference_matching: true,
        ..ScoreOptions::default()
    };
    score(truths, findings, &classes(), &schema(), &options).unwrap()
}

/// Five truths on picture a (an artefact, two neutrophils, a lymphocyte, a cell of unsaid class),
/// one neutrophil on picture b, which is not among the findings.
///
/// Found: artefact as neutrophil, a neutrophil, the lymphocyte as neutrophil, the unsaid cell, one
/// on nothing, and one below the least score.
fn two_pictures() -> ScoreReport {
    let a = [
        truth(Some(0), 0.0, None),
        truth(Some(1), 40.0, Some(0)),
        truth(Some(1), 80.0, Some(1)),
        truth(Some(2), 120.0, Some(1)),
        truth(None, 160.0, Some(0)),
    ];
    let b = [truth(Some(1), 0.0, Some(1))];
    let detections = [
        found(1, 0.9, 40.0, 0),
        found(1, 0.8, 0.0, 0),
        found(1, 0.7, 120.0, 1),
        found(2, 0.6, 160.0, 1),
        found(2, 0.5, 300.0, 1),
        found(1, 0.2, 80.0, 1),
    ];
    let findings = [
        findings("a.png", Thresholds::COUNTING, &detections),
        findings("c.png", Thresholds::COUNTING, &[]),
    ];
    scored(
        &[picture("test/a.png", &a), picture("test/b.png", &b)],
        &findings,
    )
}

#[test]
fn pictures_that_are_missing_on_either_side_are_named() {
    let report = two_pictures();
    assert_eq!(report.pictures, 2);
    assert_eq!(report.missing, ["test/b.png"]);
    assert_eq!(report.unjudged, ["c.png"]);
    assert_eq!(report.thresholds, [Thresholds::COUNTING]);
}

#[test]
fn every_cell_is_in_the_confusion_matrix_or_beside_it() {
    let report = two_pictures();
    assert_eq!(
        report.confusion.rows,
        [[0, 1, 0, 0], [0, 1, 0, 2], [0, 1, 0, 0], [0, 0, 1, 0]]
    );
    let unsaid = (
        report.confusion.unsaid_found,
        report.confusion.unsaid_missed,
    );
    assert_eq!(unsaid, (1, 0));
    let neutrophil = report.classes[1].at_threshold;
    assert_eq!(
        (neutrophil.hits, neutrophil.misses, neutrophil.extras),
        (1, 2, 2)
    );
    assert_eq!(neutrophil.f1, Some(2.0 / 6.0));
    let recall = neutrophil.recall.unwrap();
    assert_eq!((recall.k, recall.n), (1, 3));
    assert!((recall.limits[0] - 0.008_403_759).abs() < 1e-8);
}

#[test]
fn any_white_cell_knows_no_artefacts_and_takes_cells_of_unsaid_class() {
    let cell = two_pictures().cell;
    // Truths: 2 + 1 + 1 on a, 1 on b. Findings: the artefact's is an extra, and the one on nothing.
    let at = cell.at_threshold;
    assert_eq!((cell.truths, at.hits, at.misses, at.extras), (5, 3, 2, 2));
    let counts = two_pictures().counts;
    assert_eq!((counts.truths, counts.found), (5, 5));
    // 5 - 4 and 0 - 1.
    assert_eq!(
        (counts.bias, counts.mean_absolute_error),
        (Some(0.0), Some(1.0))
    );
}

#[test]
fn average_precision_takes_all_findings_and_leaves_unsaid_cells_aside() {
    let report = two_pictures();
    // Neutrophil: hit, extra, extra, hit (below the least score) of 3: precision 1 up to recall 1/3,
    // then 1/2 up to 2/3: 34 and 33 of 101 points.
    let coco = report.classes[1].coco.unwrap().ap50;
    assert!((coco - (34.0 + 33.0 * 0.5) / 101.0).abs() < 1e-12, "{coco}");
    // Lymphocyte: found as something else; its own finding lies on the unsaid cell, one on nothing.
    assert_eq!(report.classes[2].coco.unwrap().ap50, 0.0);
    assert_eq!(report.classes[0].truths, 1);
    let map = report.mean.coco_map50.unwrap();
    assert!(
        (map - coco / 3.0).abs() < 1e-12,
        "mean of three classes with truth"
    );
    // Any cell: hit, extra, hit, hit, extra, hit of 5, precision 1, 3/4, 3/4 and 2/3.
    let coco = report.cell.coco.unwrap().ap50;
    let expected = (21.0 + 20.0 * 0.75 + 20.0 * 0.75 + 20.0 * 2.0 / 3.0) / 101.0;
    assert!((coco - expected).abs() < 1e-12, "{coco}");
}

#[test]
fn attributes_are_scored_end_to_end_on_found_cells_on_truth_boxes_and_as_the_reference_does() {
    let report = two_pictures();
    let row = &report.attributes[0];
    // Labelled: no, yes (missed), yes, no (unsaid class, told yes), yes (picture missing).
    let accuracy = row.end_to_end.accuracy.unwrap();
    assert_eq!((accuracy.k, accuracy.n), (2, 5));
    // no: 1 hit, 1 miss, 0 extras; yes: 1 hit, 2 misses, 1 extra.
    let f1 = (2.0 / 3.0 + 2.0 / 5.0) / 2.0;
    assert_eq!(row.end_to_end.macro_f1, Some(f1));
    assert_eq!(report.mean.attribute_macro_f1, Some(f1));
    let on_found = row.on_found.accuracy.unwrap();
    assert_eq!((on_found.k, on_found.n), (2, 3));
    // On truth boxes the score does not matter: the one below the least score is right.
    let on_truth = row.on_truth.accuracy.unwrap();
    assert_eq!((on_truth.k, on_truth.n), (3, 4));
    // The reference also takes the finding below the least score, and leaves picture b out.
    let reference = row.reference_matching.as_ref().unwrap().accuracy.unwrap();
    assert_eq!((reference.k, reference.n), (3, 4));
}

#[test]
fn reliability_leaves_out_pictures_with_cells_of_unsaid_class() {
    let all = |report: &ScoreReport| report.reliability.bins.iter().map(|(n, _)| n).sum::<u32>();
    assert_eq!(all(&two_pictures()), 0);
    assert_eq!(two_pictures().reliability.expected_error, None);

    let a = [truth(Some(1), 40.0, None), truth(Some(2), 80.0, None)];
    let detections = [
        found(1, 0.9, 40.0, 0),
        found(1, 0.8, 80.0, 0),
        found(2, 0.5, 300.0, 0),
        found(2, 0.1, 200.0, 0),
    ];
    let findings = [findings("a.png", Thresholds::COUNTING, &detections)];
    let report = scored(&[picture("a.png", &a)], &findings);
    assert_eq!(all(&report), 3, "one is below the least score");
    // Right, wrong class, on nothing, each in a bin of its own.
    let error = report.reliability.expected_error.unwrap();
    assert!((error - (0.1 + 0.8 + 0.5) / 3.0).abs() < 1e-7, "{error}");
}

#[test]
fn a_multi_label_file_counts_a_cell_once_and_says_what_it_left_out() {
    let a = [truth(Some(1), 40.0, None)];
    let detections = [found(1, 0.9, 40.0, 0), found(2, 0.4, 40.0, 0)];
    let report = |thresholds| {
        scored(
            &[picture("a.png", &a)],
            &[findings("a.png", thresholds, &detections)],
        )
    };
    let multi = report(Thresholds::EVALUATION);
    assert_eq!((multi.counts.found, multi.losses.same_cell), (1, 1));
    assert_eq!(multi.confusion.rows[3], [0, 0, 0, 0]);
    let single = report(Thresholds::COUNTING);
    assert_eq!((single.counts.found, single.losses.same_cell), (2, 0));
    assert_eq!(single.confusion.rows[3], [0, 0, 1, 0]);
}

#[test]
fn findings_outside_the_labelled_part_are_left_out_and_counted() {
    let a = [truth(Some(1), 40.0, None)];
    let detections = [found(1, 0.9, 40.0, 0), found(1, 0.8, 200.0, 0)];
    let sparse = TruthPicture {
        region: BBox::from_corners(0.0, 0.0, 100.0, 100.0),
        ..picture("a.png", &a)
    };
    let report = scored(
        &[sparse],
        &[findings("a.png", Thresholds::COUNTING, &detections)],
    );
    assert_eq!(report.losses.outside_region, 1);
    assert_eq!(report.classes[1].at_threshold.extras, 0);
}

#[test]
fn pictures_are_put_together_by_path_end_or_unique_name() {
    struct Case {
        truths: &'static [&'static str],
        found: &'static [&'static str],
        expected: &'static [Option<usize>],
    }
    let cases = [
        Case {
            truths: &["a.png", "b.png"],
            found: &["./b.png", "a.png"],
            expected: &[Some(1), Some(0)],
        },
        Case {
            truths: &["/data/test/a.png", "/data/train/a.png"],
            found: &["train/a.png", "test\\a.png"],
            expected: &[Some(1), Some(0)],
        },
        Case {
            truths: &["/data/test/a.png"],
            found: &["elsewhere/a.png"],
            expected: &[Some(0)],
        },
        // Two pictures of one name, and nothing tells which is meant.
        Case {
            truths: &["/data/test/a.png", "/data/train/a.png"],
            found: &["a.png"],
            expected: &[None, None],
        },
        // A name that is the end of another name, not of a path.
        Case {
            truths: &["/data/xa.png"],
            found: &["a.png"],
            expected: &[None],
        },
    ];
    for Case {
        truths,
        found,
        expected,
    } in cases
    {
        let truths: Vec<_> = truths.iter().map(|name| picture(name, &[])).collect();
        let found: Vec<_> = found
            .iter()
            .map(|name| findings(name, Thresholds::COUNTING, &[]))
            .collect();
        let matched = pictures::put_together(&truths, &found).unwrap();
        assert_eq!(matched.findings_of_truth, expected, "{truths:?}");
        let n_matched = expected.iter().flatten().count();
        assert_eq!(matched.without_truth.len(), found.len() - n_matched);
    }
}

#[test]
fn what_cannot_be_judged_is_refused_with_its_reason() {
    let cell = [truth(Some(1), 0.0, None)];
    let one = [picture("a.png", &cell)];
    let of_a = |detections: &[Detection]| findings("a.png", Thresholds::COUNTING, detections);
    let error = |truths: &[TruthPicture<'_>], findings: &[PictureFindings], options| {
        let error = score(truths, findings, &classes(), &schema(), &options).unwrap_err();
        error.to_string()
    };
    let usual = ScoreOptions::default();
    assert_eq!(
        error(&[], &[], usual),
        "expected at least one picture with truth, found none"
    );
    assert_eq!(
        error(&[one[0], one[0]], &[], usual),
        "truth: expected every picture once, found \"a.png\" twice"
    );
    assert_eq!(
        error(
            &one,
            &[of_a(&[]), findings("./a.png", Thresholds::COUNTING, &[])],
            usual
        ),
        "findings: expected every picture once, found \"a.png\" twice"
    );
    let mut other = of_a(&[]);
    other.size = Size::new(10, 20);
    assert_eq!(
        error(&one, &[other], usual),
        "a.png: expected the findings of a picture of 400x100, found 10x20"
    );
    let foreign = of_a(&[found(7, 0.5, 0.0, 0)]);
    assert_eq!(
        error(&one, &[foreign], usual),
        "a.png: expected a class below 3, found 7"
    );
    let odd = ScoreOptions {
        iou_min: f32::NAN,
        ..usual
    };
    assert_eq!(
        error(&one, &[], odd),
        "expected a least score in 0..=1 and a least overlap above 0 up to 1, found 0.25 and NaN"
    );
}

#[test]
fn the_table_is_aligned_and_names_its_definitions() {
    let text = two_pictures().to_string();
    let expected = r#"2 pictures with truth
not among the findings, all their cells missed: 1 ("test/b.png")
among the findings without truth, not judged: 1 ("c.png")
"#;
    assert!(text.starts_with(expected), "{text}");
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap();
    assert_eq!(
        line("any white cell"),
        "any white cell        5   0.698    0.698  0.637    0.637  60.0 (14.6-94.8)  60.0 (14.6-94.8)  0.600"
    );
    assert_eq!(
        line("and 1 cells"),
        "and 1 cells whose class nobody said, 1 of them found"
    );
    assert_eq!(
        line("White cells a picture"),
        "White cells a picture: 5 in truth, 5 found in 2 pictures; bias +0.00, mean absolute error 1.000, limits of agreement -2.77 to +2.77"
    );
    assert_eq!(
        line("vacuoles"),
        "vacuoles         5  40.0 (5.2-85.4)     0.533         3  66.7 (9.4-99.2)     0.667         4  75.0 (19.4-99.4)     0.733         4  75.0 (19.4-99.4)     0.733"
    );
}

#[test]
fn the_json_says_null_where_nothing_was_measured() {
    let report = scored(&[picture("a.png", &[])], &[]);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["mean"]["yolov5_map50"], serde_json::Value::Null);
    assert_eq!(
        json["cell"]["at_threshold"]["recall"],
        serde_json::Value::Null
    );
    assert_eq!(
        json["reliability"]["expected_error"],
        serde_json::Value::Null
    );
    assert_eq!(json["missing"][0], "a.png");
    assert_eq!(json["counts"]["bias"], 0.0);
}

mod details;
