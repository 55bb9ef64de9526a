//! Writing, joining, splitting and hashing whole sets.

use shared::attribute::{LEUKEMIA_ATTRIBUTES, NO_ATTRIBUTES, ValueId, WBCATT_ATTRIBUTES};
use shared::class::{ClassId, WBCATT_CLASSES};

use super::*;

/// Two splits, both formats' difficulties: class unknown, attributes unknown, a region, groups,
/// two files of one name, coordinates that are no round fractions.
fn sample_set(folder: &Path, with_region: bool) -> Dataset {
    let schema = AttributeSchema::new(WBCATT_ATTRIBUTES).unwrap();
    let classes = ClassTable::new(WBCATT_CLASSES).unwrap();
    let mut samples = Vec::new();
    for (n, split) in (0u32..).zip([Split::Train, Split::Val, Split::Train, Split::Test]) {
        let image = folder.join(format!("source{n}")).join("field.png");
        picture(&image, n);
        let cells = (0..4u32).map(|c| {
            let (x, y) = (c as f32 * 21.3 + 0.1 + n as f32, 7.77 * (c + 1) as f32);
            let mut attributes = NO_ATTRIBUTES;
            for (slot, values) in attributes.iter_mut().zip(schema.value_counts()) {
                let code = (c + n) as usize % (values + 1);
                *slot = ValueId::new(code).filter(|_| code < values);
            }
            Cell {
                bbox: BBox::from_corners(x, y, x + 13.37, y + 11.0 / 3.0).unwrap(),
                class: (c < 3).then_some(ClassId(c as u8 + (n as u8 & 1))),
                attributes,
            }
        });
        let region = BBox::from_corners(0.0, 0.0, 90.0, 79.0).filter(|_| with_region && n == 1);
        samples.push(Sample {
            image,
            size: Size::new(100, 80),
            split,
            group: format!("=patient {}", n / 2),
            cells: cells.collect(),
            region,
        });
    }
    Dataset {
        name: "fields".to_owned(),
        classes,
        schema,
        samples,
        origins: Vec::new(),
        report: ReadReport::default(),
    }
}

#[test]
fn a_set_goes_through_both_formats_and_comes_back_without_loss() {
    for with_region in [false, true] {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        let source = sample_set(scratch.path(), with_region);
        let report = write(&source, &path("yolo"), Format::Yolo, Placement::Link).unwrap();
        assert_eq!(
            (report.pictures, report.cells, report.renamed),
            ([2, 1, 1], 16, 3)
        );
        let yolo = open(&path("yolo"), &OpenOptions::strict()).unwrap();
        write(&yolo, &path("coco"), Format::Coco, Placement::Copy).unwrap();
        let coco = open(&path("coco"), &OpenOptions::strict()).unwrap();
        write(&coco, &path("again"), Format::Yolo, Placement::Copy).unwrap();
        let again = open(&path("again"), &OpenOptions::strict()).unwrap();
        for (name, read) in [("yolo", &yolo), ("coco", &coco), ("again", &again)] {
            assert_eq!(read.classes, source.classes, "{name}");
            assert_eq!(read.schema, source.schema, "{name}");
            let by_name = |data: &Dataset| {
                let mut samples = data.samples.clone();
                samples.sort_by_key(|sample| fs::read(&sample.image).unwrap());
                samples
            };
            for (got, expected) in by_name(read).iter().zip(by_name(&source)) {
                assert_eq!(
                    (got.split, &got.group),
                    (expected.split, &expected.group),
                    "{name}"
                );
                assert_eq!(
                    (got.region, &got.cells),
                    (expected.region, &expected.cells),
                    "{name}"
                );
            }
        }
        assert_eq!(fingerprint(&yolo).unwrap(), fingerprint(&again).unwrap());
        let labels = |name: &str| fs::read(path(name).join("labels/val/field-2.txt")).unwrap();
        assert_eq!(labels("yolo"), labels("again"));
        assert!(
            write(&yolo, &path("coco"), Format::Yolo, Placement::None).is_err(),
            "occupied"
        );
    }
}

#[test]
fn the_fingerprint_moves_with_every_box_and_not_with_the_folder() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut data = sample_set(here.path(), false);
    let print = fingerprint(&data).unwrap();
    assert_eq!(
        fingerprint(&sample_set(there.path(), false)).unwrap(),
        print
    );
    let cell = &mut data.samples[2].cells[1];
    let [x0, y0, x1, y1] = cell.bbox.xyxy();
    cell.bbox = BBox::from_corners(x0, y0, x1 + 0.001, y1).unwrap();
    assert_ne!(fingerprint(&data).unwrap(), print);
}

#[test]
fn domains_are_told_apart_in_what_is_written() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let mut source = sample_set(scratch.path(), false);
    let domain = |name: &str, folders: &[&str]| Domain {
        name: name.to_owned(),
        prefixes: folders.iter().map(|folder| path(folder)).collect(),
    };
    // Only the first can be a folder; the third picture is of no domain.
    source.origins.push(Origin {
        domains: vec![
            domain("H_100X_C2", &["source0", "source1"]),
            domain("a/../b", &["source3"]),
        ],
        ..Origin::default()
    });
    for (format, folder) in [(Format::Yolo, "yolo"), (Format::Coco, "coco")] {
        write(&source, &path(folder), format, Placement::Copy).unwrap();
        let data = open(&path(folder), &OpenOptions::strict()).unwrap();
        let mut found: Vec<_> = data
            .samples
            .iter()
            .map(|sample| {
                let (image, root) = (sample.image.canonicalize(), path(folder).canonicalize());
                let image = image.unwrap();
                let below = image.strip_prefix(root.unwrap()).unwrap();
                (
                    below.to_string_lossy().into_owned(),
                    sample.group.as_str(),
                    sample.cells.len(),
                )
            })
            .collect();
        found.sort();
        assert_eq!(
            found,
            [
                (
                    "images/test/domain-1/field-4.png".to_owned(),
                    "=patient 1",
                    4
                ),
                (
                    "images/train/H_100X_C2/field.png".to_owned(),
                    "=patient 0",
                    4
                ),
                ("images/train/field-3.png".to_owned(), "=patient 1", 4),
                (
                    "images/val/H_100X_C2/field-2.png".to_owned(),
                    "=patient 0",
                    4
                ),
            ],
            "{format:?}"
        );
        if format == Format::Yolo {
            assert_eq!(data.domains(), ["H_100X_C2", "a/../b"]);
            let of = data
                .samples
                .iter()
                .filter_map(|sample| data.domain_of(sample));
            assert_eq!(of.count(), 3);
        }
    }
}

#[test]
fn joined_sets_agree_on_names_or_say_which_does_not_fit() {
    let scratch = tempfile::tempdir().unwrap();
    let first = sample_set(scratch.path(), false);
    let mut second = sample_set(&scratch.path().join("second"), false);
    second.name = "second".to_owned();
    second.classes = ClassTable::new(["RBC", "WBC", "Monocyte", "Blast"]).unwrap();
    second.schema = AttributeSchema::new(LEUKEMIA_ATTRIBUTES).unwrap();
    for sample in &mut second.samples {
        for (cell, class) in sample.cells.iter_mut().zip([0, 1, 2, 2]) {
            cell.class = Some(ClassId(class));
            cell.attributes = NO_ATTRIBUTES;
            // LeukemiaAttri's cell size: medium, which WBCAtt does not have; nucleolus: nor that.
            cell.attributes[0] = ValueId::new(if class == 1 { 0 } else { 1 });
            cell.attributes[3] = ValueId::new(0);
        }
    }
    let ignore = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let parts = || vec![first.clone(), second.clone()];
    let error = join(parts(), None, None, &ignore(&["RBC"]))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("second: expected a class of"), "{error}");
    assert!(error.ends_with("found \"Blast\""), "{error}");
    let joined = join(parts(), None, None, &ignore(&["RBC", "Blast"])).unwrap();
    assert_eq!(
        (joined.name.as_str(), joined.samples.len()),
        ("fields+second", 8)
    );
    let dropped = &joined.report.dropped;
    assert_eq!(dropped["second: box of an ignored class"], 4);
    // On each picture: "medium" of two cells and the nucleolus of three.
    assert_eq!(dropped["second: attribute value not in the schema"], 4 * 5);
    let second = joined
        .samples
        .iter()
        .find(|s| s.image.starts_with(scratch.path().join("second")));
    let [white, monocyte, _] = second.unwrap().cells.as_slice() else {
        panic!("three cells are left");
    };
    assert_eq!((white.class, monocyte.class), (None, Some(ClassId(4))));
    assert_eq!(white.attributes[0].map(ValueId::index), Some(0));
    assert!(join(Vec::new(), None, None, &[]).is_err());
}

#[test]
fn a_picture_of_test_leaves_train_whether_copied_shifted_or_saved_again() {
    let scratch = tempfile::tempdir().unwrap();
    let mut data = sample_set(scratch.path(), false);
    let test = data.samples[3].image.clone();
    fs::copy(&test, &data.samples[0].image).unwrap();
    let pixels = image::open(&test).unwrap().to_rgb8();
    let again = scratch.path().join("again.jpg");
    let shifted = RgbImage::from_fn(100, 80, |x, y| *pixels.get_pixel((x + 2).min(99), y));
    shifted.save(&again).unwrap();
    data.samples[2].image = again;
    let mut split = data.clone();
    let report = remove_leaks(&mut data).unwrap();
    assert_eq!((report.equal.len(), report.near.len()), (1, 1));
    let left: Vec<Split> = data.samples.iter().map(|sample| sample.split).collect();
    assert_eq!(left, [Split::Val, Split::Test]);
    assert_eq!(data.report.dropped.values().sum::<usize>(), 2);
    let plan = SplitPlan {
        ratios: [0.5, 0.0, 0.5],
        seed: 3,
        group: Some(GroupRule::Folder),
    };
    let report = resplit(&mut split, &plan).unwrap();
    // Four folders; the copy and the shifted one joined the test picture's.
    assert_eq!((report.groups, report.joined_by_duplicates), (2, 2));
    assert_eq!(report.pictures.iter().sum::<usize>(), 4);
    assert_eq!(split.samples[0].split, split.samples[3].split);
    assert_eq!(split.samples[2].split, split.samples[3].split);
    assert_ne!(split.samples[1].split, split.samples[3].split);
}

#[test]
fn cells_of_a_spreadsheet_never_calculate_and_come_back() {
    for text in ["=1+1", "+x", "-x", "@x", "\tx", "plain", "'quoted", "'=x"] {
        let cell = csv_cell(text);
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t']), "{text:?}");
        assert_eq!(write::text_of_csv_cell(&cell), text);
    }
}

#[test]
fn drawn_fields_make_a_set_that_reads_back() {
    let scratch = tempfile::tempdir().unwrap();
    let plan = PhantomPlan {
        fields: [2, 1, 1],
        seed: 5,
        look: PhantomLook::Demo,
        schema: PhantomSchema::Wbcatt,
    };
    let drawn = draw_phantoms(&plan, &scratch.path().join("drawn")).unwrap();
    write(
        &drawn,
        &scratch.path().join("set"),
        Format::Yolo,
        Placement::Copy,
    )
    .unwrap();
    let read = open(&scratch.path().join("set"), &OpenOptions::strict()).unwrap();
    assert_eq!(read.split_counts(), [2, 1, 1]);
    let cells = |data: &Dataset| data.samples.iter().map(|s| s.cells.len()).sum::<usize>();
    assert!(cells(&drawn) > 0);
    assert_eq!(cells(&read), cells(&drawn));
    cell_sheet(&read, 6, &scratch.path().join("cells.png")).unwrap();
    assert!(Stats::new(&read).to_string().contains("class Basophil"));
}
