//! The three real sets, opened whole; says so and passes where they are not there.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use shared::class::{ClassTable, WBCATT_CLASSES};

use super::*;

/// The folder of the real sets: `WBC_DATA`, else `../shared/data` from the project's root.
pub(crate) fn wbc_data(set: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("WBC_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")),
        PathBuf::from,
    );
    let found = Some(folder.join(set)).filter(|path| path.is_dir());
    if found.is_none() {
        eprintln!("skipped: no WBC_DATA");
    }
    found
}

fn timed_open(path: &std::path::Path, options: &OpenOptions) -> Dataset {
    let start = Instant::now();
    let data = open(path, options).unwrap();
    let seconds = start.elapsed().as_secs_f32();
    eprintln!("{}: {seconds:.2} s, {}", data.name, data.report);
    data
}

#[test]
fn bccd_has_its_official_split_and_two_boxes_without_area() {
    let Some(folder) = wbc_data("bccd") else {
        return;
    };
    let data = timed_open(&folder, &OpenOptions::default());
    assert_eq!(data.split_counts(), [205, 87, 72]);
    let names: Vec<&str> = data.classes.iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["Platelets", "RBC", "WBC"]);
    let cells = data.samples.iter().flat_map(|sample| &sample.cells);
    let mut counts = [0; 3];
    cells.for_each(|cell| counts[cell.class.unwrap().index()] += 1);
    // Of 4155 red cells two have xmin = xmax (BloodImage_00338 and 00343).
    assert_eq!(counts, [361, 4153, 372]);
    let strict = open(&folder, &OpenOptions::strict())
        .unwrap_err()
        .to_string();
    assert!(strict.starts_with("2 problems\n"), "{strict}");
    assert!(strict.contains("BloodImage_00338.xml:"), "{strict}");
    let ignored = ["RBC".to_owned(), "Platelets".to_owned()];
    let white = join(vec![data], None, None, &ignored).unwrap();
    assert_eq!(white.classes.len(), 1);
    let cells = white.samples.iter().map(|sample| sample.cells.len());
    assert_eq!(cells.sum::<usize>(), 372);
}

#[test]
fn the_smartphone_set_is_read_strictly_from_its_folders() {
    let Some(folder) = wbc_data("smartphone-pig") else {
        return;
    };
    let data = timed_open(&folder, &OpenOptions::strict());
    assert_eq!(data.split_counts(), [459, 98, 98]);
    let cells = data.samples.iter().map(|sample| sample.cells.len());
    assert_eq!(cells.sum::<usize>(), 1243);
}

#[test]
fn wbcatt_without_derived_boxes_is_what_people_drew() {
    let Some(folder) = wbc_data("pbc-wbcatt") else {
        return;
    };
    let data = timed_open(&folder, &OpenOptions::strict());
    assert_eq!(
        data.samples.len() + data.report.dropped["picture without a box"],
        10_298 - 6
    );
    let described = |cell: &&Cell| cell.class.is_some();
    for sample in &data.samples {
        assert_eq!(
            sample.cells.iter().filter(described).count(),
            1,
            "{:?}",
            sample.image
        );
    }
}

#[test]
fn wbcatt_with_derived_boxes_is_whole_but_for_its_duplicates() {
    let Some(folder) = wbc_data("pbc-wbcatt") else {
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let boxes = scratch.path().join("detections.jsonl");
    let line = |name: &str| {
        format!(
            "{{\"image\":\"{name}\",\"width\":224,\"height\":224,\"detections\":\
             [{{\"score\":0.9,\"bbox\":[60,60,160,160]}},{{\"score\":0.95,\"bbox\":[0,0,20,20]}}]}}\n"
        )
    };
    let table = fs::read_to_string(folder.join("attributes.csv")).unwrap();
    let names = table
        .lines()
        .skip(1)
        .filter_map(|row| row.split(',').nth(1));
    fs::write(&boxes, names.map(line).collect::<String>()).unwrap();
    let options = OpenOptions {
        boxes: Some(boxes),
        ..OpenOptions::strict()
    };
    let data = timed_open(&folder, &options);
    let dropped = "picture that is byte-equal to one of a later split";
    assert_eq!(data.report.dropped[dropped], 6);
    let [train, val, test] = data.split_counts();
    assert_eq!(train + val, 6169 + 1030 - 6);
    assert_eq!(test, 3099);
    let parts = vec![
        timed_open(&folder.join("../bccd"), &OpenOptions::default()),
        data,
    ];
    let classes = ClassTable::new(WBCATT_CLASSES).unwrap();
    let schema = parts[1].schema.clone();
    let ignored = ["RBC".to_owned(), "Platelets".to_owned()];
    let joined = join(parts, Some(&classes), Some(&schema), &ignored).unwrap();
    assert_eq!(joined.samples.len(), 364 + 10_292);
}

#[test]
fn real_sets_go_from_voc_and_csv_to_yolo_to_coco_to_yolo_without_loss() {
    for set in ["bccd", "pbc-wbcatt"] {
        let Some(folder) = wbc_data(set) else {
            return;
        };
        let scratch = tempfile::tempdir().unwrap();
        let source = open(&folder, &OpenOptions::default()).unwrap();
        let mut last = source.clone();
        for (step, format) in [Format::Yolo, Format::Coco, Format::Yolo]
            .into_iter()
            .enumerate()
        {
            let to = scratch.path().join(step.to_string());
            write(&last, &to, format, Placement::Link).unwrap();
            last = open(&to, &OpenOptions::strict()).unwrap();
        }
        let sorted = |data: &Dataset| {
            let mut samples = data.samples.clone();
            samples.sort_by_key(|sample| sample.image.file_name().map(ToOwned::to_owned));
            samples
        };
        assert_eq!(
            (&last.classes, &last.schema),
            (&source.classes, &source.schema)
        );
        for (got, expected) in sorted(&last).iter().zip(sorted(&source)) {
            assert_eq!((got.split, &got.group), (expected.split, &expected.group));
            assert_eq!(got.cells, expected.cells, "{:?}", expected.image);
        }
        assert_eq!(last.samples.len(), source.samples.len());
    }
}

#[test]
fn bccd_shows_two_fields_in_two_splits() {
    let Some(folder) = wbc_data("bccd") else {
        return;
    };
    let mut data = open(&folder, &OpenOptions::default()).unwrap();
    let report = remove_leaks(&mut data).unwrap();
    let names = |(a, b): &(PathBuf, PathBuf)| [a, b].map(|p| p.file_stem().unwrap().to_owned());
    let near: Vec<_> = report.near.iter().map(names).collect();
    // Both pairs were looked at: the same field, moved by a few pixels.
    let expected = [
        ["BloodImage_00038", "BloodImage_00037"],
        ["BloodImage_00386", "BloodImage_00391"],
    ];
    assert_eq!(
        near,
        expected.map(|pair| pair.map(std::ffi::OsString::from))
    );
    assert_eq!(data.split_counts(), [204, 86, 72]);
}
