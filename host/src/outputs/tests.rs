use std::collections::BTreeSet;

use shared::attribute::{
    AttributeFinding, AttributeSchema, LEUKEMIA_ATTRIBUTES, NO_ATTRIBUTES, NO_FINDINGS, ValueId,
};
use shared::cell::{Cell, Detection};
use shared::class::{ClassId, ClassTable};
use shared::detect::Dropped;
use shared::geometry::{BBox, Size};
use shared::head::Thresholds;
use shared::score::Score;

use super::*;
use crate::checkpoint::RunState;
use crate::dataset::{Dataset, Domain, Origin, ReadReport, Sample, Split};
use crate::detections::PictureFindings;
use crate::model::{Architecture, Cost};
use crate::score::{ScoreOptions, ScoreReport, partners_of_samples, score_samples};
use crate::train::TrainPlan;
use crate::validate::tests::plan as small_plan;

fn bbox(x0: f32) -> BBox<shared::geometry::Image> {
    BBox::from_corners(x0, 10.0, x0 + 20.0, 30.0).unwrap()
}

/// A cell at `x0` whose attributes have these codes, -1 = unknown.
fn cell(x0: f32, class: Option<u8>, codes: &[i8]) -> Cell {
    let mut attributes = NO_ATTRIBUTES;
    for (slot, &code) in attributes.iter_mut().zip(codes) {
        *slot = usize::try_from(code).ok().and_then(ValueId::new);
    }
    Cell {
        bbox: bbox(x0),
        class: class.map(ClassId),
        attributes,
    }
}

fn detection(x0: f32, class: u8, score: f32, codes: &[i8]) -> Detection {
    let mut attributes = NO_FINDINGS;
    for (slot, value) in attributes.iter_mut().zip(cell(x0, None, codes).attributes) {
        *slot = value.map(|value| AttributeFinding {
            value,
            score: Score::new(0.75).unwrap(),
        });
    }
    Detection {
        bbox: bbox(x0),
        class: ClassId(class),
        score: Score::new(score).unwrap(),
        attributes,
    }
}

/// Two pictures of 100x80, and a third where nothing is found.
fn data(schema: AttributeSchema) -> Dataset {
    let sample = |name: &str, cells| Sample {
        image: format!("/set/images/test/{name}").into(),
        size: Size::new(100, 80),
        split: Split::Test,
        group: name.to_owned(),
        cells,
        region: None,
    };
    Dataset {
        name: "set".to_owned(),
        classes: ClassTable::new(["Monoblast", "Lymphocyte"]).unwrap(),
        schema,
        samples: vec![
            sample(
                "a.png",
                vec![
                    cell(10.0, Some(0), &[2, 1, 0, 1, 0, 1, 0]),
                    cell(60.0, Some(1), &[0, 0, -1, 0, 1, 0, 1]),
                ],
            ),
            sample("=b.png", vec![cell(30.0, None, &[1, 1, 1, 1, 1, 1, 1])]),
            sample("c.png", vec![cell(30.0, Some(1), &[1, 0, 0, 0, 0, 0, 0])]),
        ],
        origins: vec![Origin {
            name: "set|of <b>".to_owned(),
            pictures: [0, 0, 3],
            ..Origin::default()
        }],
        report: ReadReport::default(),
    }
}

fn leukemia() -> AttributeSchema {
    AttributeSchema::new(LEUKEMIA_ATTRIBUTES).unwrap()
}

fn findings() -> Vec<PictureFindings> {
    let picture = |name: &str, detections| PictureFindings {
        image: format!("/set/images/test/{name}"),
        size: Size::new(100, 80),
        model_sha256: "ab".repeat(32),
        thresholds: Thresholds::EVALUATION,
        dropped: Dropped::default(),
        detections,
    };
    vec![
        picture(
            "a.png",
            vec![
                detection(12.0, 0, 0.9, &[2, 0, 0, 1, 0, 1, 0]),
                // The same cell as another class: an average-precision entry, no second cell.
                detection(12.0, 1, 0.5, &[2, 0, 0, 1, 0, 1, 0]),
                // Below the least score, so that the second cell counts as missed.
                detection(61.0, 1, 0.125, &[0, 1, 1, 1, 1, 1, 1]),
            ],
        ),
        picture(
            "=b.png",
            vec![detection(30.0, 1, 0.75, &[1, 1, 1, 1, 1, 1, 0])],
        ),
        picture("c.png", Vec::new()),
    ]
}

fn options(reference_matching: bool) -> ScoreOptions {
    ScoreOptions {
        reference_matching,
        ..ScoreOptions::default()
    }
}

fn report(data: &Dataset, options: &ScoreOptions) -> ScoreReport {
    let samples: Vec<&Sample> = data.samples.iter().collect();
    let (classes, schema) = (&data.classes, &data.schema);
    score_samples(&samples, &findings(), classes, schema, options).unwrap()
}

fn csv_of(data: &Dataset, options: &ScoreOptions) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("predictions.csv");
    let samples: Vec<&Sample> = data.samples.iter().collect();
    let partners = partners_of_samples(&samples, &findings(), &data.schema, options).unwrap();
    let rows = write_attribute_csv(&path, &samples, &partners, &data.schema).unwrap();
    let text = fs::read_to_string(path).unwrap();
    assert_eq!(text.lines().count(), rows + 1);
    text
}

const HEADER: &str = "filename,Nuclear Chromatin,Nuclear Shape,Nucleus,Cytoplasm,Cytoplasmic Basophilia,\
Cytoplasmic Vacuoles,pred_Nuclear Chromatin,pred_Nuclear Shape,pred_Nucleus,pred_Cytoplasm,\
pred_Cytoplasmic Basophilia,pred_Cytoplasmic Vacuoles";

#[test]
fn the_reference_s_file_has_thirteen_columns_and_a_row_for_every_cell() {
    let rows = [
        HEADER,
        "a.png,1,0,1,0,1,0,0,0,1,0,1,0",
        "a.png,0,,0,1,0,1,,,,,,",
        "'=b.png,1,1,1,1,1,1,1,1,1,1,1,0",
        "c.png,0,0,0,0,0,0,,,,,,",
    ];
    let text = csv_of(&data(leukemia()), &options(false));
    assert_eq!(text.lines().collect::<Vec<_>>(), rows);
    assert!(rows.iter().all(|row| row.split(',').count() == 13));
}

#[test]
fn by_the_reference_s_matching_unsure_cells_and_empty_pictures_have_no_row() {
    let rows = [
        HEADER,
        "a.png,1,0,1,0,1,0,0,0,1,0,1,0",
        "'=b.png,1,1,1,1,1,1,1,1,1,1,1,0",
    ];
    let text = csv_of(&data(leukemia()), &options(true));
    assert_eq!(text.lines().collect::<Vec<_>>(), rows);
}

#[test]
fn another_schema_is_told_in_its_own_words() {
    let attributes: [(&str, &[&str]); 2] = [("size", &["small", "=big"]), ("@rim", &["no", "yes"])];
    let data = data(AttributeSchema::new(attributes).unwrap());
    let rows = [
        "filename,size,'@rim,pred_size,pred_@rim",
        // Code 2 of the first attribute is no value of this schema.
        "a.png,,yes,,no",
        "a.png,small,no,,",
        "'=b.png,'=big,yes,'=big,yes",
        "c.png,'=big,no,,",
    ];
    let text = csv_of(&data, &options(false));
    assert_eq!(text.lines().collect::<Vec<_>>(), rows);
}

/// F1 of "1" against "0" of a pair of columns: what anyone would compute from the file.
fn accuracy_from(text: &str, column: usize) -> (u32, u32) {
    let rows = text
        .lines()
        .skip(1)
        .map(|row| row.split(',').collect::<Vec<_>>());
    let labelled = rows.filter(|row| !row[column].is_empty());
    labelled.fold((0, 0), |(right, n), row| {
        (right + u32::from(row[column] == row[column + 6]), n + 1)
    })
}

#[test]
fn the_file_says_what_the_table_says() {
    let data = data(leukemia());
    let ours = report(&data, &options(false));
    let text = csv_of(&data, &options(false));
    let theirs = report(&data, &options(true));
    let by_reference = csv_of(&data, &options(true));
    for column in 1..=6 {
        let (k, n) = accuracy_from(&text, column);
        let accuracy = ours.attributes[column].end_to_end.accuracy.unwrap();
        assert_eq!((accuracy.k, accuracy.n), (k, n), "column {column}");
        let (k, n) = accuracy_from(&by_reference, column);
        let reference = theirs.attributes[column]
            .reference_matching
            .as_ref()
            .unwrap();
        let accuracy = reference.accuracy.unwrap();
        assert_eq!((accuracy.k, accuracy.n), (k, n), "column {column}");
    }
}

fn write_coco(folder: &Path) {
    let data = data(leukemia());
    let schema = &data.schema;
    write_coco_predictions(&folder.join("predictions.json"), &findings(), schema, 0.25).unwrap();
    let truth = crate::dataset::coco_truth(&data, Split::Test).to_string();
    fs::write(folder.join("truth.json"), truth).unwrap();
}

#[test]
fn coco_predictions_name_pictures_and_classes_as_the_truth_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    write_coco(folder.path());
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&fs::read(folder.path().join(name)).unwrap()).unwrap()
    };
    let (found, truth) = (read("predictions.json"), read("truth.json"));
    let found = found.as_array().unwrap();
    assert_eq!(found.len(), 4);
    assert_eq!(found[0]["image_id"], truth["images"][0]["id"]);
    assert_eq!(truth["images"][0]["file_name"], "a.png");
    assert_eq!(
        found[0]["bbox"],
        serde_json::json!([12.0, 10.0, 20.0, 20.0])
    );
    assert_eq!(
        truth["categories"][1],
        serde_json::json!({"id": 1, "name": "Lymphocyte", "supercategory": "white cell"})
    );
    let shape = &found[0]["attributes"]["cell_size"];
    assert_eq!(*shape, serde_json::json!({"value": "large", "score": 0.75}));
    assert_eq!(
        found[2]["attributes"],
        serde_json::Value::Null,
        "no cell by its score"
    );
    // The cell of unsaid class is a crowd of both classes, not a third class.
    let crowds = truth["annotations"].as_array().unwrap().iter();
    let crowds: Vec<_> = crowds.filter(|a| a["iscrowd"] == 1).collect();
    let of = |key: &str| {
        crowds
            .iter()
            .map(|a| a[key].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (of("image_id"), of("category_id")),
        (vec![2, 2], vec![0, 1])
    );
    let ids = truth["annotations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["id"].as_u64().unwrap());
    assert_eq!(ids.collect::<BTreeSet<_>>(), (1..=5).collect());
}

/// The Python that `tests/onnx-parity` set up, when it has pycocotools.
fn python_with_coco() -> Option<PathBuf> {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    let python = cache.join("leukoscope/venv/bin/python");
    let mut import = std::process::Command::new(&python);
    let there = import.args(["-c", "import pycocotools"]).output();
    if there.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    eprintln!("skipped: no pycocotools in {}", python.display());
    None
}

#[test]
fn pycocotools_loads_the_predictions_and_agrees_on_average_precision() {
    let Some(python) = python_with_coco() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    write_coco(folder.path());
    let script = "
import contextlib, io, sys
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
with contextlib.redirect_stdout(io.StringIO()):
    truth = COCO('truth.json')
    run = COCOeval(truth, truth.loadRes('predictions.json'), 'bbox')
    run.evaluate(); run.accumulate(); run.summarize()
print('%.6f %.6f' % (run.stats[1], run.stats[0]))
";
    let mut command = std::process::Command::new(python);
    let output = command
        .args(["-c", script])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let mean = report(&data(leukemia()), &options(false)).mean;
    let (ap50, ap) = (mean.coco_map50.unwrap(), mean.coco_map50_95.unwrap());
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{ap50:.6} {ap:.6}\n")
    );
}

#[test]
fn text_labels_hold_every_counted_cell_once_and_come_back_as_boxes() {
    let folder = tempfile::tempdir().unwrap();
    let labels = folder.path().join("labels");
    let names = ["a.png", "=b.png", "c.png"];
    let lines = write_yolo_text(&labels, &names, &findings(), 0.25, true).unwrap();
    assert_eq!(lines, 2);
    let text = |name: &str| fs::read_to_string(labels.join(name)).unwrap();
    assert_eq!(
        text("a.txt"),
        "0 0.220000 0.250000 0.200000 0.250000 0.900000\n"
    );
    assert_eq!(text("c.txt"), "", "looked at, nothing found");
    write_yolo_text(&labels, &names, &findings(), 0.25, false).unwrap();
    assert_eq!(text("a.txt"), "0 0.220000 0.250000 0.200000 0.250000\n");
}

#[test]
fn a_file_that_fails_half_way_leaves_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    write_whole(&path, |out| out.write_all(b"old")).unwrap();
    let error = write_whole(&path, |out| {
        out.write_all(b"ne")?;
        Err(io::Error::from(io::ErrorKind::StorageFull))
    });
    let error = anyhow::Error::from(error.unwrap_err());
    assert_eq!(crate::exit::code(&error), 6);
    assert!(format!("{error:#}").contains("a.csv cannot be written: "));
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

fn run() -> RunState {
    let architecture = Architecture::yolov5("n").unwrap();
    RunState {
        version: RunState::version(),
        software: "leuko-host 0.1.0".to_owned(),
        plan: TrainPlan {
            epochs: 100,
            seed: 7,
            ..small_plan()
        },
        classes: ClassTable::new(["Monoblast", "Lymphocyte"]).unwrap(),
        schema: leukemia(),
        levels: architecture.levels(),
        data_fingerprint: "cd".repeat(32),
        epochs_done: 60,
        ema_updates: 1,
        best: Some((0.5, 55)),
        scaler: None,
    }
}

#[test]
fn the_card_tells_data_figures_and_limits_and_nothing_of_others_becomes_markup() {
    let mut data = data(leukemia());
    data.report
        .drop_many("nearly equal to a held-out picture", 4);
    data.origins[0].licence = Some("CC BY 4.0".to_owned());
    data.origins[0].domains = ["phone", "scanner"]
        .map(|name| Domain {
            name: name.to_owned(),
            prefixes: vec![format!("/set/images/{name}").into()],
        })
        .to_vec();
    data.origins[0].domains[0].prefixes[0] = "/set/images/test/a".into();
    let report = report(&data, &options(true));
    let domains = [("phone".to_owned(), report.clone())];
    let card = Card {
        name: "my_run",
        run: &run(),
        weights_sha256: &"ef".repeat(32),
        cost: Cost {
            parameters: 1_782_859,
            gflops: 1.0625,
            gflops_per_cell: 0.0,
        },
        data: &data,
        data_fingerprint: "0123",
        split: Split::Test,
        thresholds: Thresholds::EVALUATION,
        views: 4,
        report: &report,
        domains: &domains,
    };
    let text = card.text();
    assert_eq!(text, card.text(), "no clock, no chance");
    for line in [
        "# my\\_run",
        "| network | YOLOv5n, silu, conv6 stem, anchor head, dense attributes |",
        "| cost | 1.78 M parameters (1782859), 1.06 GFLOPs a picture |",
        &format!("| checkpoint (SHA-256) | {} |", "ef".repeat(32)),
        "| epochs | 60 of 100 |",
        "| seed | 7 |",
        "| set\\|of \\<b\\> | 0 | 0 | 3 | CC BY 4.0 | not said |",
        "| Lymphocyte | 0 | 0 | 2 |",
        "| class not said | 0 | 0 | 1 |",
        "- left out: 4 x nearly equal to a held-out picture",
        "- Classes with fewer than 30 cells in this split, whose figures say little: Monoblast (1), Lymphocyte (2).",
        "- Domains without a picture in this split, not tested: scanner.",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line}\nin\n{text}"
        );
    }
    assert!(text.contains(SOURCE_COMMIT) && text.contains("in 4 flips and turns"));
    assert!(
        !text.contains("the training saw"),
        "only said of train and val"
    );
    let row = text
        .lines()
        .find(|line| line.starts_with("| nuclear\\_shape |"))
        .unwrap();
    assert_eq!(
        row.matches('|').count(),
        11,
        "three ways to match, with n: {row}"
    );
    let row = text
        .lines()
        .find(|line| line.starts_with("| phone |"))
        .unwrap();
    assert!(row.starts_with("| phone | 3 | 4 | "), "{row}");

    let of_val = Card {
        split: Split::Val,
        ..card
    };
    assert!(
        of_val
            .text()
            .contains("figures of the val split, which the training saw")
    );
    let folder = tempfile::tempdir().unwrap();
    card.write(folder.path()).unwrap();
    let written = fs::read_to_string(folder.path().join("MODEL_CARD.md")).unwrap();
    assert_eq!(written, text);
}
