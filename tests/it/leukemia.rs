//! AttriDet's task on a set in LeukemiaAttri's own layout, drawn because the set is not ours to have here: two
//! subsets that show the same cells, read as COCO and as label files, split by patient over both,
//! trained in both phases of the recipe, exported, run by the station, scored.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use host::dataset::{
    Dataset, OpenOptions, PhantomLook, PhantomPlan, PhantomSchema, Sample, Split, draw_phantoms,
    join, open,
};
use image::imageops::blur;
use serde_json::{Value, json};
use shared::cell::Cell;
use shared::class::LEUKEMIA_CLASSES;
use tests::root;

/// What the same cells look like through two microscopes: a sharp one and a blurred one.
const SUBSETS: [(&str, f32); 2] = [("H_100X_C2", 0.0), ("L_100X_C1", 1.5)];
/// Patients of the subset's own train and test folder; the last of each is of the other in the second subset.
const PATIENTS: [&[usize]; 2] = [&[1, 2, 3, 4, 5, 6], &[7, 8]];
const FIELDS_OF_A_PATIENT: usize = 4;
/// "Not applicable" in label files, and in COCO (attridet.md, 2.1).
const UNSAID: (usize, usize) = (2, 4);

/// `leuko-host`, in this process.
pub(crate) fn host(args: &[&str]) {
    let argv = std::iter::once("leuko-host").chain(args.iter().copied());
    let argv = host::cli::config::expand(argv.map(Into::into).collect()).expect("flags");
    let cli = host::cli::Cli::try_parse_from(argv).unwrap_or_else(|error| panic!("{error}"));
    cli.run()
        .unwrap_or_else(|error| panic!("{args:?}: {error:#}"));
}

/// `leuko-edge`, in this process.
pub(crate) fn edge(args: &[&str]) -> String {
    let argv = std::iter::once("leuko-edge").chain(args.iter().copied());
    let cli = edge::cli::Cli::try_parse_from(argv).unwrap_or_else(|error| panic!("{error}"));
    let mut out = Vec::new();
    edge::commands::run(cli, &mut out).unwrap_or_else(|error| panic!("{args:?}: {error}"));
    String::from_utf8(out).expect("text")
}

/// Writes a subset as it is distributed.
fn write_subset(folder: &Path, fields: &[Sample], sigma: f32, patients: [&[usize]; 2]) {
    let of_patient = fields.chunks(FIELDS_OF_A_PATIENT);
    let of_patient: BTreeMap<usize, &[Sample]> = (1..).zip(of_patient).collect();
    for (split, patients) in ["train", "test"].into_iter().zip(patients) {
        let (mut images, mut annotations) = (Vec::new(), Vec::new());
        for (patient, fields) in patients
            .iter()
            .map(|patient| (patient, of_patient[patient]))
        {
            for (field, sample) in fields.iter().enumerate() {
                let stem = format!("{patient}_{field}_1000_AML");
                let picture = image::open(&sample.image).expect("a field").into_rgb8();
                let picture = if sigma > 0.0 {
                    blur(&picture, sigma)
                } else {
                    picture
                };
                let path = folder.join(format!("images/{split}/{stem}.png"));
                fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
                picture.save(&path).expect("written");
                let labels = folder.join(format!("txt_labels/AttriDet/{split}/{stem}.txt"));
                fs::create_dir_all(labels.parent().expect("a folder")).expect("writable");
                let rows: Vec<String> = sample.cells.iter().map(|cell| row(cell, sample)).collect();
                fs::write(labels, rows.join("\n")).expect("written");
                for cell in &sample.cells {
                    // The set repeats a picture's entry for each of its boxes.
                    let id = images.len() + 1;
                    images.push(json!({"id": id, "file_name": format!("{stem}.png"), "width": 640, "height": 640}));
                    annotations.push(annotation(cell, id));
                }
            }
        }
        let categories = LEUKEMIA_CLASSES.iter().enumerate();
        let category = |(id, name): (usize, &&str)| json!({"id": id, "name": name.to_lowercase()});
        let categories: Vec<Value> = categories.map(category).collect();
        let file = json!({"images": images, "annotations": annotations, "categories": categories});
        let path = folder.join(format!("json_labels/{split}.json"));
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        fs::write(path, file.to_string()).expect("written");
    }
}

/// A row of twelve columns.
fn row(cell: &Cell, sample: &Sample) -> String {
    let class = cell.class.expect("a class").index();
    let side = [sample.size.width, sample.size.height].map(f64::from);
    let [x0, y0, x1, y1] = cell.bbox.xyxy().map(f64::from);
    let (cx, cy) = ((x0 + x1) / 2.0 / side[0], (y0 + y1) / 2.0 / side[1]);
    let (w, h) = ((x1 - x0) / side[0], (y1 - y0) / side[1]);
    let codes = codes(cell, UNSAID.0).map(|code| code.to_string());
    format!("{class} {cx} {cy} {w} {h} {}", codes.join(" "))
}

fn annotation(cell: &Cell, id: usize) -> Value {
    let [x0, y0, x1, y1] = cell.bbox.xyxy().map(f64::from);
    let class = cell.class.expect("a class").index();
    let [
        size,
        chromatin,
        shape,
        nucleolus,
        cytoplasm,
        basophilia,
        vacuoles,
    ] = codes(cell, UNSAID.1);
    json!({
        "id": id, "image_id": id, "category_id": class, "category_name": LEUKEMIA_CLASSES[class].to_lowercase(),
        "bbox": [x0, y0, x1 - x0, y1 - y0], "cell_size": size, "nuclear_chromatio": chromatin,
        "nuclear_shape": shape, "nucleolus": nucleolus, "cytoplasm": cytoplasm,
        "cytoplasmic_basophilia": basophilia, "cytoplasmic_vacuoles": vacuoles,
    })
}

fn codes(cell: &Cell, unsaid: usize) -> [usize; 7] {
    std::array::from_fn(|at| cell.attributes[at].map_or(unsaid, |value| value.index()))
}

/// The set beside a project, with the project's own YAMLs and recipes in it.
fn distributed(scratch: &Path) -> PathBuf {
    let plan = PhantomPlan {
        fields: [FIELDS_OF_A_PATIENT * 8, 0, 0],
        seed: 4000,
        look: PhantomLook::Wide,
        schema: PhantomSchema::Leukemia,
    };
    let drawn = draw_phantoms(&plan, &scratch.join("drawn")).expect("fields can be drawn");
    for (index, (name, sigma)) in SUBSETS.into_iter().enumerate() {
        let folder = scratch.join("LeukemiaAttri_Dataset").join(name);
        // As in the set, a patient is in train of one subset and in test of another.
        let patients = [PATIENTS, [&[1, 2, 3, 4, 5, 7], &[6, 8]]][index];
        write_subset(&folder, &drawn.samples, sigma, patients);
    }
    let models = scratch.join("project/models/leukemiaattri");
    fs::create_dir_all(&models).expect("writable");
    for entry in fs::read_dir(root().join("models/leukemiaattri")).expect("recipes") {
        let entry = entry.expect("readable");
        fs::copy(entry.path(), models.join(entry.file_name())).expect("copied");
    }
    models
}

fn opened(path: &Path) -> Dataset {
    open(path, &OpenOptions::strict()).unwrap_or_else(|error| panic!("{error}"))
}

fn patients(data: &Dataset, split: Split) -> BTreeSet<&str> {
    data.split(split)
        .map(|sample| sample.group.as_str())
        .collect()
}

/// Both forms of a subset say the same.
fn same_in_both_forms(labels: &Dataset, coco: &Dataset) {
    assert_eq!(labels.schema, coco.schema);
    assert!(!labels.samples.is_empty());
    assert_eq!(labels.samples.len(), coco.samples.len());
    for (a, b) in labels.samples.iter().zip(&coco.samples) {
        assert_eq!(
            (a.image.file_name(), a.split, &a.group),
            (b.image.file_name(), b.split, &b.group)
        );
        assert_eq!(a.cells.len(), b.cells.len());
        let class =
            |data: &Dataset, cell: &Cell| data.classes.name(cell.class?).map(str::to_lowercase);
        for (x, y) in a.cells.iter().zip(&b.cells) {
            assert_eq!(class(labels, x), class(coco, y));
            assert_eq!(x.attributes, y.attributes);
            assert!(x.bbox.iou(&y.bbox) > 0.999);
        }
    }
}

#[test]
fn every_subset_has_its_data_yaml() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let mut n = 0;
    for microscope in ["H", "L"] {
        for objective in ["10X", "40X", "100X"] {
            for camera in ["C1", "C2"] {
                let name = format!("{microscope}_{objective}_{camera}");
                let yaml = format!("models/leukemiaattri/{name}.yaml");
                let text = fs::read_to_string(root().join(&yaml)).expect("a YAML for each subset");
                let set = scratch.path().join("LeukemiaAttri_Dataset").join(&name);
                for part in ["images/train", "images/test", "txt_labels/AttriDet/train"] {
                    fs::create_dir_all(set.join(part)).expect("writable");
                }
                image::RgbImage::new(64, 64)
                    .save(set.join("images/train/4_1_400_ALL.png"))
                    .expect("written");
                let row = "2 .5 .5 .5 .5 1 0 0 1 0 1 0";
                fs::write(set.join("txt_labels/AttriDet/train/4_1_400_ALL.txt"), row)
                    .expect("written");
                let here = scratch.path().join("project").join(&yaml);
                fs::create_dir_all(here.parent().expect("a folder")).expect("writable");
                fs::write(&here, text).expect("written");
                let data = opened(&here);
                assert_eq!(
                    (data.name.as_str(), data.domains()),
                    (name.as_str(), vec![name.as_str()])
                );
                let names: Vec<&str> = data.classes.iter().map(|(_, name)| name).collect();
                assert_eq!(names, LEUKEMIA_CLASSES);
                let [sample] = data.samples.as_slice() else {
                    panic!("one picture")
                };
                assert_eq!(
                    (sample.group.as_str(), data.domain_of(sample)),
                    ("4", Some(name.as_str()))
                );
                assert!(sample.cells[0].attributes[..7].iter().all(Option::is_some));
                n += 1;
            }
        }
    }
    assert_eq!(n, 12);
}

#[test]
fn the_recipe_of_both_phases_runs_on_the_sets_own_layout() {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let models = distributed(scratch.path());
    let path = |name: &str| scratch.path().join(name).display().to_string();
    let yaml = |name: &str| models.join(format!("{name}.yaml"));
    for (name, _) in SUBSETS {
        let coco = opened(&scratch.path().join("LeukemiaAttri_Dataset").join(name));
        same_in_both_forms(&opened(&yaml(name)), &coco);
    }

    // By patient, over both subsets at once: their own split puts patient 6 on both sides.
    let own = join(
        SUBSETS.map(|(name, _)| opened(&yaml(name))).into(),
        None,
        None,
        &[],
    )
    .expect("alike");
    let shared: Vec<&str> = patients(&own, Split::Train)
        .intersection(&patients(&own, Split::Test))
        .copied()
        .collect();
    assert_eq!(shared, ["6", "7"]);
    let [first, second] = SUBSETS.map(|(name, _)| yaml(name).display().to_string());
    let split = path("split");
    host(&[
        "data", "split", &first, &second, "--out", &split, "--ratios", "5,1,2", "--images", "copy",
    ]);
    let data = opened(Path::new(&split));
    let by_split = Split::ALL.map(|split| patients(&data, split));
    assert_eq!(by_split.each_ref().map(BTreeSet::len), [5, 1, 2]);
    assert_eq!(by_split.iter().flatten().collect::<BTreeSet<_>>().len(), 8);
    assert_eq!(data.samples.len(), own.samples.len());
    // The subsets are still told apart.
    assert_eq!(data.domains(), SUBSETS.map(|(name, _)| name));
    assert!(
        data.samples
            .iter()
            .all(|sample| data.domain_of(sample).is_some())
    );

    let (runs, canvas) = (path("runs"), "256");
    let small = |phase: &str, weights: &[&str], epochs: &str| {
        let config = fs::read_to_string(models.join(format!("{phase}.toml"))).expect("the recipe");
        let lines = config.lines().filter(|line| !line.starts_with("weights ="));
        let own = models.join(format!("{phase}-small.toml"));
        let hyp = models.join("scratch-high.yaml").display().to_string();
        let text = lines
            .collect::<Vec<_>>()
            .join("\n")
            .replace("models/leukemiaattri/scratch-high.yaml", &hyp);
        fs::write(&own, text).expect("written");
        let own = own.display().to_string();
        let mut args = vec![
            "train", "--config", &own, "--data", &split, "--model", "n", "--imgsz", canvas,
        ];
        args.extend([
            "--epochs",
            epochs,
            "--batch-size",
            "4",
            "--nominal-batch",
            "4",
            "--attr-regions",
            "24",
            "--project",
            &runs,
            "--val-period",
            "1000",
        ]);
        args.extend([
            "--set",
            "warmup_epochs=1",
            "--set",
            "mosaic=0",
            "--set",
            "scale=0.1",
            "--workers",
            "1",
        ]);
        args.extend(weights);
        host(&args);
    };
    small("phase1", &[], "24");
    let first = format!("{runs}/leukemiaattri-phase1/last.safetensors");
    small("phase2", &["--weights", &first], "2");
    let weights = format!("{runs}/leukemiaattri-phase2/last.safetensors");

    let judged = path("judged");
    host(&[
        "test",
        "--weights",
        &weights,
        "--data",
        &split,
        "--out",
        &judged,
        "--reference-matching",
    ]);
    let report = fs::read_to_string(format!("{judged}/report.json")).expect("a report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let ap50 = report["cell"]["yolov5"]["ap50"].as_f64().expect("a number");
    assert!(ap50 > 0.5, "any cell, unseen patients: AP50 {ap50}");
    assert_eq!(report["attributes"].as_array().map(Vec::len), Some(7));
    let csv = fs::read_to_string(format!("{judged}/predictions.csv")).expect("a table");
    assert_eq!(csv.lines().next().expect("a header").split(',').count(), 13);
    let card = fs::read_to_string(format!("{judged}/MODEL_CARD.md"))
        .expect("a card")
        .replace('\\', "");
    assert!(
        SUBSETS.iter().all(|(name, _)| card.contains(name)),
        "{card}"
    );

    // The station finds what the checkpoint finds.
    let model = path("leukemia.onnx");
    host(&["export", "--weights", &weights, "--out", &model]);
    let (source, replayed) = (format!("{split}/images/test"), path("replayed"));
    edge(&[
        "replay",
        "--model",
        &model,
        "--source",
        &source,
        "--out",
        &replayed,
        "--evaluate",
    ]);
    let found = format!("{replayed}/detections.jsonl");
    host(&["score", "--detections", &found, "--data", &split]);
    let lines = fs::read_to_string(&found).expect("findings");
    assert_eq!(lines.lines().count(), data.split(Split::Test).count());
}
