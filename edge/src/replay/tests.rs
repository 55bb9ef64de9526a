use std::fs;

use serde_json::Value;
use shared::geometry::Size;

use super::*;
use crate::fields;
use crate::fixture::{TINY, detector};

const NO_CELLS: &str = "shared::detect finds nothing on plain grey";

fn save(picture: &Picture, path: &Path) {
    let Size { width, height } = picture.size();
    let kind = image::ExtendedColorType::Rgb8;
    image::save_buffer(path, picture.view().bytes(), width, height, kind).unwrap();
}

fn lines_of(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_folder_becomes_one_line_a_picture_and_a_differential() {
    let folder = tempfile::tempdir().unwrap();
    let (source, out) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir_all(source.join("b")).unwrap();
    save(
        &fields::demonstration(1),
        &source.join("b/one \"field\".png"),
    );
    save(&fields::demonstration(2), &source.join("two\nlines.png"));
    let grey = Picture::new(vec![114; 64 * 48 * 3], Size::new(64, 48)).unwrap();
    save(&grey, &source.join("grey.png"));
    fs::write(source.join("empty.jpg"), b"").unwrap();
    fs::write(source.join("notes.txt"), b"x").unwrap();

    let paths = Paths {
        source,
        out: out.clone(),
        annotate: true,
    };
    let mut told = Vec::new();
    let summary = replay(&mut detector(TINY), "cafe", &paths, |progress| {
        told.push(match progress {
            Progress::Skipped(one) => one.image.clone(),
            Progress::Field { done, of, .. } => format!("{done}/{of}"),
        });
    })
    .unwrap();

    assert_eq!(told, ["1/4", "empty.jpg", "3/4", "4/4"]);
    assert_eq!((summary.fields, summary.other_files), (3, 1));
    assert_eq!(summary.skipped.len(), 1);
    assert_eq!(
        summary.skipped[0].reason,
        "empty file, expected PNG or JPEG"
    );
    let lines = lines_of(&out.join(RECORDS));
    let images: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["image"].as_str())
        .collect();
    assert_eq!(
        images,
        ["b/one \"field\".png", "grey.png", "two\nlines.png"]
    );
    assert_eq!(lines[1]["detections"], Value::Array(vec![]), "{NO_CELLS}");
    assert_eq!(lines[0]["model_sha256"], "cafe");
    assert_eq!(
        (&lines[0]["width"], &lines[0]["height"]),
        (&640.into(), &480.into())
    );
    let cell = &lines[0]["detections"][0];
    assert_eq!(cell["class"], "Neutrophil");
    assert_eq!(cell["bbox"].as_array().map(Vec::len), Some(4));
    assert_eq!(cell["attributes"]["granularity"]["value"], "yes");
    let found: usize = lines
        .iter()
        .filter_map(|line| line["detections"].as_array())
        .map(Vec::len)
        .sum();
    assert_eq!(summary.detections, found as u64);
    let differential = summary.differential.expect("one class a cell");
    assert_eq!(differential.white_cells as usize, found);
    for name in [
        "b/one \"field\".png.png",
        "grey.png.png",
        "two\nlines.png.png",
    ] {
        assert!(out.join(ANNOTATED).join(name).is_file(), "{name}");
    }
    assert!(!out.join("detections.jsonl.part").exists());
}

#[test]
fn the_same_folder_gives_the_same_bytes_also_when_the_output_lies_in_it() {
    let folder = tempfile::tempdir().unwrap();
    save(&fields::demonstration(3), &folder.path().join("a.png"));
    for out in [folder.path().join("out"), folder.path().to_owned()] {
        let paths = Paths {
            source: folder.path().to_owned(),
            out: out.clone(),
            annotate: true,
        };
        let run = || {
            let summary = replay(&mut detector(TINY), "cafe", &paths, |_| {}).unwrap();
            (summary.fields, fs::read(out.join(RECORDS)).unwrap())
        };
        let (first, second) = (run(), run());
        assert_eq!(first, second);
        assert_eq!(first.0, 1);
        fs::remove_dir_all(out.join(ANNOTATED)).unwrap();
    }
}

#[test]
fn only_the_drawn_pictures_of_the_output_folder_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    fs::create_dir_all(out.join(ANNOTATED)).unwrap();
    save(&fields::demonstration(1), &out.join("mine.png"));
    save(
        &fields::demonstration(2),
        &out.join(ANNOTATED).join("drawn.png"),
    );
    let paths = Paths {
        source: folder.path().to_owned(),
        out: out.clone(),
        annotate: false,
    };
    replay(&mut detector(TINY), "cafe", &paths, |_| {}).unwrap();
    let lines = lines_of(&out.join(RECORDS));
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["image"], "out/mine.png");
}

#[test]
fn a_name_too_long_for_its_drawing_is_told_and_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (source, out) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir(&source).unwrap();
    // 250 bytes are a legal name; with `.png.part` behind them they are not.
    let long = format!("{}.png", "n".repeat(246));
    save(&fields::demonstration(1), &source.join(&long));
    save(&fields::demonstration(2), &source.join("short.png"));
    let paths = Paths {
        source,
        out: out.clone(),
        annotate: true,
    };
    let summary = replay(&mut detector(TINY), "cafe", &paths, |_| {}).unwrap();
    assert_eq!((summary.fields, summary.undrawn.len()), (2, 1));
    assert_eq!(summary.undrawn[0].image, long);
    assert!(summary.undrawn[0].reason.contains("File name too long"));
    assert_eq!(lines_of(&out.join(RECORDS)).len(), 2);
    assert_eq!(fs::read_dir(out.join(ANNOTATED)).unwrap().count(), 1);
}

#[test]
fn a_replay_that_fails_leaves_the_previous_record_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (source, out) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&out).unwrap();
    fs::write(out.join(RECORDS), "previous").unwrap();
    fs::write(source.join("cut.png"), b"\x89PNG").unwrap();
    let paths = Paths {
        source,
        out: out.clone(),
        annotate: false,
    };
    let error = replay(&mut detector(TINY), "cafe", &paths, |_| {}).unwrap_err();
    assert!(
        error.to_string().ends_with(
            "no picture could be read (1 skipped, 0 files that are no PNG or JPEG by their names)"
        ),
        "{error}"
    );
    assert_eq!(fs::read(out.join(RECORDS)).unwrap(), b"previous");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "no part is left");
}
