//! What each format reads, and what it says of bad input.

use shared::attribute::{LEUKEMIA_ATTRIBUTES, NO_ATTRIBUTES, ValueId, WBCATT_ATTRIBUTES};
use shared::class::ClassId;
use shared::label::ColumnLayout;

use super::*;

#[test]
fn a_bad_label_row_is_named_in_strict_mode_and_counted_in_lenient() {
    for (row, said) in [
        (
            "0 NaN .5 .1 .1",
            "field 2 (cx): expected a finite number, found NaN or infinity",
        ),
        (
            "0 .5 .5 1.37 .1",
            "field 4 (width): expected a fraction in 0..=1, found 1.37",
        ),
        (
            "0 .5 -1 .1 .1",
            "field 3 (cy): expected a fraction in 0..=1, found -1",
        ),
        (
            "0 .5 .5 0 .1",
            "field 4 (width): expected more than 0, found a box without area",
        ),
        (
            "14 .5 .5 .1 .1",
            "field 1 (class): expected a class in 0..1, found none of them",
        ),
        (
            "3.7 .5 .5 .1 .1",
            "field 1 (class): expected a whole number, found something else",
        ),
        (
            "0 .5 .5 .1",
            "field 5 (height): expected 5 columns, found 4",
        ),
        (
            "0 .99 .5 .1 .1",
            "fields 2 to 5: expected a box inside the picture, found 0.99 0.5 0.1 0.1",
        ),
        (
            "0 .2 .2 .1 .1",
            "expected each row once, found the same on line 1",
        ),
        (
            "0 .5 .5 .1 .1 0 0 0 0 0 0 0",
            "12 columns are never guessed",
        ),
    ] {
        // The good first row has a byte order mark, tabs and a carriage return.
        let folder = folder_with_label(format!("\u{feff}0 .2\t.2 .1 .1\r\n{row}\n").as_bytes());
        // Told with blanks instead of the tab, the repeated row is the same text.
        let same = "0 .2 .2 .1 .1\n";
        if row == same.trim() {
            text(
                &folder.path().join("labels/train/a.txt"),
                format!("{same}{same}"),
            );
        }
        let error = strict(folder.path());
        assert!(error.contains("labels/train/a.txt:2: "), "{row}: {error}");
        assert!(error.contains(said), "{row}: {error}");
        let data = lenient(folder.path());
        assert_eq!(data.samples[0].cells.len(), 1, "{row}");
        assert_eq!(data.report.dropped.values().sum::<usize>(), 1, "{row}");
    }
}

#[test]
fn an_empty_label_file_says_no_cells_and_a_missing_one_says_nothing() {
    let folder = folder_with_label(b"\n");
    let data = open(folder.path(), &OpenOptions::strict()).unwrap();
    assert_eq!(data.samples[0].cells, []);
    fs::remove_file(folder.path().join("labels/train/a.txt")).unwrap();
    assert!(strict(folder.path()).contains("a.txt: expected a label file"));
    assert_eq!(lenient(folder.path()).samples, []);
    text(
        &folder.path().join("labels/train/a.txt"),
        [0xff, 0xfe, 0x00],
    );
    assert!(
        strict(folder.path()).contains("a.txt: expected UTF-8, found something else at byte 0")
    );
    text(&folder.path().join("labels/train/a.txt"), "");
    text(&folder.path().join("labels/train/b.txt"), "");
    assert!(strict(folder.path()).contains("b.txt: expected a picture of that name, found none"));
}

#[test]
fn a_hundred_thousand_rows_are_read_whole() {
    let rows: String = (0..100_000)
        .map(|n| format!("0 .5 .5 .1 0.{:06}1\n", n))
        .collect();
    let folder = folder_with_label(rows.as_bytes());
    assert_eq!(lenient(folder.path()).samples[0].cells.len(), 100_000);
}

#[cfg(unix)]
#[test]
fn what_only_looks_like_a_picture_is_skipped_with_its_reason_and_nothing_hangs() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    let folder = folder_with_label(b"0 .5 .5 .1 .1");
    let images = folder.path().join("images/train");
    fs::create_dir(images.join("dir.jpg")).unwrap();
    symlink(images.join("loop.jpg"), images.join("loop.jpg")).unwrap();
    symlink(folder.path(), images.join("up")).unwrap();
    fs::copy(
        images.join("a.png"),
        images.join(OsStr::from_bytes(b"\xff.png")),
    )
    .unwrap();
    let fifo = images.join("fifo.jpg");
    let made = std::process::Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .unwrap();
    assert!(made.success());
    text(&images.join("c.webp"), "x");
    let data = open(folder.path(), &OpenOptions::strict()).unwrap();
    assert_eq!(data.samples.len(), 1);
    assert_eq!(data.report.dropped["file that is no readable picture"], 5);
    let notes = data.report.notes.join("\n");
    for why in [
        "dir.jpg\": a folder",
        "fifo.jpg\": a folder or device",
        "loop.jpg\"",
        "not UTF-8",
        "only JPEG",
    ] {
        assert!(notes.contains(why), "{why}: {notes}");
    }
}

#[test]
fn a_bad_picture_is_refused_by_its_header_or_by_its_last_pixel() {
    let folder = folder_with_label(b"0 .5 .5 .1 .1");
    let a = folder.path().join("images/train/a.png");
    let whole = fs::read(&a).unwrap();
    for (bytes, said) in [
        (&b""[..], "a.png: expected a JPEG or PNG picture"),
        (&b"GIF89a"[..], "a.png: expected a JPEG or PNG picture"),
        (&whole[..20], "a.png: expected a JPEG or PNG picture"),
    ] {
        fs::write(&a, bytes).unwrap();
        assert!(
            strict(folder.path()).contains(said),
            "{}",
            strict(folder.path())
        );
        assert_eq!(
            lenient(folder.path()).report.dropped["unreadable picture"],
            1
        );
    }
    // Width and height of IHDR: 100,000 x 100,000; the checksum of the chunk is then wrong too.
    let mut bomb = whole.clone();
    bomb[16..24].copy_from_slice(&[0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0]);
    fs::write(&a, bomb).unwrap();
    assert!(strict(folder.path()).contains("a.png: expected"));
    fs::write(&a, &whole[..whole.len() / 2]).unwrap();
    let mut data = lenient(folder.path());
    let error = check_pixels(&mut data, Mode::Strict)
        .unwrap_err()
        .to_string();
    assert!(error.contains("a.png: expected a whole picture"), "{error}");
    let mut data = lenient(folder.path());
    check_pixels(&mut data, Mode::Lenient).unwrap();
    assert_eq!(data.samples, []);
}

#[test]
fn a_data_yaml_declares_and_never_executes() {
    let folder = folder_with_label(b"1 .5 .5 .1 .1 2 0 1 0 1 0 1\n");
    let yaml = folder.path().join("data.yaml");
    let write = |names: &str, more: &str| {
        let marker = folder.path().join("executed");
        let download = format!("download: touch {}", marker.display());
        text(
            &yaml,
            format!("train: ../images/train\n{names}\n{more}\n{download}\n"),
        );
    };
    let declared = "columns: attributes\nattributes: leukemiaattri\nunclassified: WBC";
    for names in [
        "names: [A, WBC, 'no']",
        "names: {0: A, 1: WBC, 2: 'no'}",
        "nc: 3\nnames: {'0': A, 2: no, 1: WBC}",
    ] {
        write(names, declared);
        let data = open(&yaml, &OpenOptions::strict()).unwrap();
        assert_eq!(data.classes.len(), 2, "{names}");
        let cell = data.samples[0].cells[0];
        assert_eq!(cell.class, None, "{names}");
        assert_eq!(cell.attributes[0].map(ValueId::index), Some(2));
        let notes = data.report.notes.join("\n");
        assert!(
            notes.contains("key download: ignored, nothing is executed"),
            "{notes}"
        );
        assert!(data.report.format.contains("attributes (12)"));
    }
    assert!(!folder.path().join("executed").exists());
    for (names, more, said) in [
        (
            "names: [A, WBC]\nnc: 5",
            declared,
            "nc: expected 2 as there are names, found",
        ),
        (
            "names: {0: A, 2: WBC}",
            declared,
            "names: expected each key in 0..2 once",
        ),
        (
            "names: [A, A]",
            declared,
            "unclassified: expected one of the names",
        ),
        ("names: [A, A, WBC]", declared, "names: name 1 stands twice"),
        ("names: 7", declared, "names: expected a list or a dict"),
        ("", declared, "expected names, found none"),
        (
            "names: [A, WBC]",
            "val: [images/nowhere]",
            "val: expected a folder or a list, found nothing at",
        ),
        (
            "names: [A, WBC]",
            "columns: twelve",
            "columns: expected box, attributes",
        ),
        (
            "names: [A, WBC]",
            "val: images/train",
            "expected in one split, found in train and val",
        ),
        ("names: [A, WBC]", "", "12 columns are never guessed"),
    ] {
        write(names, more);
        let error = strict(&yaml);
        assert!(error.contains(said), "{names} {more}: {error}");
    }
}

fn coco_folder(annotations: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    picture(&folder.path().join("Images/train/4_15_1000_ALL.png"), 1);
    let entry = |id: u32| format!(r#"{{"id": {id}, "file_name": "4_15_1000_ALL.png"}}"#);
    let json = format!(
        r#"{{"images": [{}, {}], "annotations": [{annotations}],
           "categories": [{{"id": 3, "name": "none"}}, {{"id": 1, "name": "myeloblast"}}]}}"#,
        entry(10),
        entry(11)
    );
    text(&folder.path().join("json_labels/train.json"), json);
    folder
}

#[test]
fn leukemia_json_repeats_its_images_and_codes_the_unknown_as_four() {
    let folder = coco_folder(
        r#"{"id": 1, "image_id": 10, "category_id": 1, "category_name": "myeloblast", "bbox": [1, 2, 30, 40],
            "cell_size": 2, "nuclear_chromatio": 1, "nuclear_shape": 4, "nucleolus": 0, "cytoplasm": ""},
           {"id": 2, "image_id": 11, "category_id": 3, "bbox": [50, 20, 10.5, 9], "nuclear_chromatin": 0}"#,
    );
    let data = open(folder.path(), &OpenOptions::strict()).unwrap();
    let names: Vec<&str> = data.classes.iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["myeloblast", "none"]);
    assert_eq!(data.schema.len(), 7);
    let [sample] = data.samples.as_slice() else {
        panic!("one picture, found {}", data.samples.len());
    };
    assert_eq!((sample.group.as_str(), sample.split), ("4", Split::Train));
    let codes = |cell: usize| {
        sample.cells[cell]
            .attributes
            .map(|value| value.map(ValueId::index))
    };
    assert_eq!(codes(0)[..5], [Some(2), Some(1), None, Some(0), None]);
    assert_eq!(codes(1)[1], Some(0));
    assert_eq!(sample.cells[0].bbox.xyxy(), [1.0, 2.0, 31.0, 42.0]);
    assert_eq!(sample.cells[1].class, Some(ClassId(1)));
}

#[test]
fn a_bad_annotation_is_named_in_strict_mode_and_counted_in_lenient() {
    let good = r#"{"id": 1, "image_id": 10, "category_id": 1, "bbox": [1, 2, 30, 40]}"#;
    for (bad, said) in [
        (
            r#"{"id": 1, "image_id": 10, "category_id": 1, "bbox": [1, 2, 3, 4]}"#,
            "expected each id once, found 1 again",
        ),
        (
            r#"{"id": 2, "image_id": 99, "category_id": 1, "bbox": [1, 2, 3, 4]}"#,
            "expected the id of an image",
        ),
        (
            r#"{"id": 2, "image_id": 10, "category_id": 7, "bbox": [1, 2, 3, 4]}"#,
            "category_id: expected one of categories",
        ),
        (
            r#"{"id": 2, "image_id": 10, "category_id": 1, "bbox": [-9, 2, 3, 4]}"#,
            "bbox: expected a box inside 100x80",
        ),
        (
            r#"{"id": 2, "image_id": 10, "category_id": 1, "bbox": [1, 2, -3, 4]}"#,
            "bbox: expected a width and height above 0",
        ),
        (
            r#"{"id": 2, "image_id": 10, "category_id": 1, "bbox": ["1", 2, 3, 4]}"#,
            "bbox: expected four numbers",
        ),
        (
            r#"{"id": 2, "image_id": 10, "category_id": 1}"#,
            "bbox: expected four numbers, found none",
        ),
        (
            r#"{"id": 2, "image_id": 10, "category_id": 1, "category_name": "none", "bbox": [1, 2, 3, 4]}"#,
            "category_name: expected \"myeloblast\" as its id says, found \"none\"",
        ),
        (
            r#"{"id": 2, "image_id": 10, "category_id": 1, "bbox": [1, 2, 3, 4], "nucleolus": 0.5}"#,
            "nucleolus: expected a whole number, found 0.5",
        ),
        (
            r#"{"id": 2, "image_id": 10, "category_id": 1, "bbox": [1, 2, 3, 4], "nucleolus": "grey"}"#,
            "nucleolus: expected one of [",
        ),
        (
            r#"{"id": 2, "image_id": 11, "category_id": 3, "bbox": [1.0, 2, 30, 40]}"#,
            "expected each box once, found [1.0, 2.0, 31.0, 42.0] as in ",
        ),
    ] {
        let folder = coco_folder(&format!("{good}, {bad}"));
        let error = strict(folder.path());
        assert!(
            error.contains("train.json annotation 1 (id "),
            "{bad}: {error}"
        );
        assert!(error.contains(said), "{bad}: {error}");
        let data = lenient(folder.path());
        assert_eq!(data.samples[0].cells.len(), 1, "{bad}");
        assert_eq!(data.report.dropped.values().sum::<usize>(), 1, "{bad}");
    }
}

#[test]
fn a_region_is_clipped_to_the_picture_or_refused_with_it() {
    let folder = tempfile::tempdir().unwrap();
    picture(&folder.path().join("a.png"), 1);
    let json = folder.path().join("train.json");
    let with = |region: &str| {
        let entry = format!(r#"{{"id": 1, "file_name": "a.png", "region": {region}}}"#);
        let rest = r#""annotations": [], "categories": [{"id": 0, "name": "WBC"}]"#;
        text(&json, format!("{{\"images\": [{entry}], {rest}}}"));
    };
    with("[-5, 10, 40, 200]");
    let region = lenient(&json).samples[0].region.unwrap();
    assert_eq!(region.xyxy(), [0.0, 10.0, 40.0, 80.0]);
    with("null");
    assert_eq!(lenient(&json).samples[0].region, None);
    for bad in [
        "[40, 10, 5, 20]",
        "[200, 0, 300, 20]",
        "[1, 2, 3]",
        "\"all\"",
    ] {
        with(bad);
        let error = strict(&json);
        let said = "image 1: region: expected left, top, right and bottom inside 100x80, found ";
        assert!(error.contains(said), "{bad}: {error}");
        let data = lenient(&json);
        assert_eq!(data.samples, [], "{bad}");
        assert_eq!(data.report.dropped["region that is no box"], 1, "{bad}");
    }
}

#[test]
fn a_json_that_is_cut_nested_or_without_its_pictures_ends_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("train.json");
    let nested = "[".repeat(100_000);
    for (content, said) in [
        ("{\"images\": [", "train.json: EOF while parsing"),
        (nested.as_str(), "train.json: "),
        (
            "{\"images\": [], \"annotations\": [], \"categories\": []}",
            "names: no names",
        ),
    ] {
        text(&json, content);
        assert!(strict(&json).contains(said), "{}", strict(&json));
    }
    for name in ["gone.png", "../secret.png", "/etc/secret.png"] {
        let entry = format!(r#"{{"id": 1, "file_name": "{name}"}}"#);
        let rest = r#""annotations": [], "categories": [{"id": 0, "name": "WBC"}]"#;
        text(&json, format!("{{\"images\": [{entry}], {rest}}}"));
        picture(&folder.path().join("../secret.png"), 1);
        let error = strict(&json);
        assert!(
            error.contains("expected a JPEG or PNG file, found none called"),
            "{error}"
        );
    }
    let _ = fs::remove_file(folder.path().join("../secret.png"));
}

#[test]
fn label_files_without_yaml_take_their_columns_from_the_caller() {
    let folder = folder_with_label(b"0 .5 .5 .1 .1 10 90 5 75 2 0 1 0 1 0 4\n");
    let options = OpenOptions {
        columns: Some(ColumnLayout::PatchAttributes),
        schema: Some(AttributeSchema::new(LEUKEMIA_ATTRIBUTES).unwrap()),
        ..OpenOptions::strict()
    };
    let data = open(folder.path(), &options).unwrap();
    assert_eq!(
        data.samples[0].region.unwrap().xyxy(),
        [10.0, 5.0, 90.0, 75.0]
    );
    assert_eq!(data.samples[0].cells[0].attributes[6], None);
    assert_eq!(
        data.report.format,
        "label files, columns: patch_attributes (16)"
    );
}

fn voc_folder(xml: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    picture(&folder.path().join("JPEGImages/a.png"), 1);
    text(&folder.path().join("ImageSets/Main/train.txt"), "a\r\n");
    text(&folder.path().join("Annotations/a.xml"), xml);
    text(&folder.path().join("Annotations/unlisted.xml"), "");
    folder
}

#[test]
fn voc_counts_pixels_from_one_and_names_the_line_of_a_bad_object() {
    let object = |name: &str, sides: [&str; 4]| {
        let [a, b, c, d] = sides;
        format!(
            "<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin>\
             <xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        )
    };
    let good = object("WBC", ["1", "1", "100", "80"]);
    let folder = voc_folder(&format!("<annotation>\n{good}\n</annotation>"));
    let data = open(folder.path(), &OpenOptions::strict()).unwrap();
    assert_eq!(
        data.samples[0].cells[0].bbox.xyxy(),
        [0.0, 0.0, 100.0, 80.0]
    );
    assert_eq!(data.report.dropped["annotated picture in no split"], 1);
    for (bad, said) in [
        (
            object("RBC", ["5", "5", "5", "9"]),
            "expected xmin < xmax and ymin < ymax, found RBC 5 5 5 9",
        ),
        (
            object("RBC", ["5", "5", "190", "9"]),
            "expected a box inside 100x80, found RBC 5 5 190 9",
        ),
        (
            object("RBC", ["5", "five", "9", "9"]),
            "expected a number in <ymin>, found none",
        ),
        (
            object("", ["5", "5", "9", "9"]),
            "expected <name>, found none",
        ),
    ] {
        let folder = voc_folder(&format!("<annotation>\n{good}\n{bad}\n</annotation>"));
        let error = strict(folder.path());
        assert!(
            error.contains("a.xml:3: ") && error.contains(said),
            "{error}"
        );
        assert_eq!(lenient(folder.path()).samples[0].cells.len(), 1);
        let ignoring = OpenOptions {
            ignore_classes: vec!["RBC".to_owned()],
            ..OpenOptions::strict()
        };
        assert_eq!(
            open(folder.path(), &ignoring).is_ok(),
            bad.contains("RBC"),
            "{bad}"
        );
    }
    for (xml, said) in [
        ("<annotation>".to_owned(), "a.xml: "),
        (
            "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><annotation>&a;</annotation>".to_owned(),
            "a.xml: ",
        ),
        (
            format!("<annotation><size><width>640</width></size>{good}</annotation>"),
            "a.xml: expected width 100 as in the picture, found 640",
        ),
    ] {
        assert!(strict(voc_folder(&xml).path()).contains(said), "{xml}");
    }
}

#[test]
fn wbcatt_describes_the_cell_in_the_middle_and_counts_what_has_no_box() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let names: Vec<&str> = WBCATT_ATTRIBUTES.iter().map(|(name, _)| *name).collect();
    let values: Vec<&str> = WBCATT_ATTRIBUTES
        .iter()
        .map(|(_, values)| values[0])
        .collect();
    let mut table = format!("split,img_name,label,{}\n", names.join(","));
    for (n, name) in (0..).zip(["drawn", "found", "far", "boxless"]) {
        picture(&path(&format!("images/train/{name}.png")), n);
        table.push_str(&format!("train,{name}.png,Basophil,{}\n", values.join(",")));
    }
    text(&path("attributes.csv"), &table);
    // Two cells, the second of them drawn twice, and a red cell.
    let rows = "drawn.png,train,0,.2,.2,.2,.2\ndrawn.png,train,0,.5,.5,.2,.25\n\
                drawn.png,train,0,.5,.51,.2,.25\ndrawn.png,train,1,.8,.8,.1,.1\n";
    text(
        &path("boxes.csv"),
        format!("img_name,wbcatt_split,class,cx,cy,w,h\n{rows}"),
    );
    let line = |name: &str, detections: &str| {
        format!(
            "{{\"image\":\"train/{name}.png\",\"width\":100,\"height\":80,\"detections\":[{detections}]}}\n"
        )
    };
    let found = r#"{"score":0.5,"bbox":[40,30,60,50]},{"score":0.9,"bbox":[0,0,9,9]},{"score":0.6,"bbox":[38,30,60,50]}"#;
    let far = r#"{"score":0.9,"bbox":[0,0,9,9]},{"score":0.29,"bbox":[40,30,60,50]}"#;
    text(&path("d.jsonl"), line("found", found) + &line("far", far));
    let options = OpenOptions {
        boxes: Some(path("d.jsonl")),
        ..OpenOptions::strict()
    };
    let data = open(folder.path(), &options).unwrap();
    let [drawn, found] = data.samples.as_slice() else {
        panic!("two pictures, found {}", data.samples.len());
    };
    assert_eq!(data.report.dropped["picture without a box"], 2);
    assert_eq!(data.report.dropped["second box of the same cell"], 2);
    assert_eq!(data.report.dropped["box of a red cell or a platelet"], 1);
    let classes: Vec<_> = drawn.cells.iter().map(|cell| cell.class).collect();
    assert_eq!(classes, [Some(ClassId(2)), None]);
    assert_eq!(drawn.cells[0].bbox.centre(), (50.0, 40.0));
    assert_eq!(found.cells[0].bbox.xyxy(), [38.0, 30.0, 60.0, 50.0]);
    assert_eq!(found.cells[0].class, Some(ClassId(2)));
    // A neighbour, surer than the described cell but far from the middle.
    let [_, neighbour] = found.cells.as_slice() else {
        panic!("two cells, found {}", found.cells.len());
    };
    assert_eq!(neighbour.bbox.xyxy(), [0.0, 0.0, 9.0, 9.0]);
    assert_eq!(
        (neighbour.class, neighbour.attributes),
        (None, NO_ATTRIBUTES)
    );
    assert_eq!(found.cells[0].attributes[10].map(ValueId::index), Some(0));
    let wrong = table.replace(
        "train,far.png,Basophil,small",
        "train,far.png,Basophil,tiny",
    );
    text(
        &path("attributes.csv"),
        wrong.replace("boxless.png,Basophil", "boxless.png,Blast"),
    );
    let error = strict(folder.path());
    assert!(
        error.contains("attributes.csv:4: cell_size: expected one of its values, found \"tiny\""),
        "{error}"
    );
    assert!(
        error.contains("attributes.csv:5: expected a split and one of the classes"),
        "{error}"
    );
}

#[test]
fn a_picture_that_asks_to_be_turned_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jpg");
    picture(&path, 1);
    let plain = fs::read(&path).unwrap();
    // APP1 of 34 bytes: little-endian TIFF with one entry, orientation (0x0112) = 6.
    let exif =
        b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    fs::write(&path, [&plain[..2], exif, &plain[2..]].concat()).unwrap();
    let error = read_header(&path).unwrap_err().to_string();
    assert!(
        error.contains("expected an upright picture, found EXIF Rotate90"),
        "{error}"
    );
}

#[test]
fn what_is_not_there_and_what_cannot_be_written_are_said_once() {
    let scratch = tempfile::tempdir().unwrap();
    let error = open(&scratch.path().join("absent"), &OpenOptions::default()).unwrap_err();
    let said = format!("{:#}", anyhow::Error::from(error));
    assert!(
        said.ends_with("absent cannot be read: No such file or directory (os error 2)"),
        "{said}"
    );
    assert!(strict(scratch.path()).contains("expected data.yaml, Annotations/ and ImageSets/"));
    let folder = folder_with_label(b"0 .5 .5 .1 .1");
    text(&scratch.path().join("file"), "");
    let out = scratch.path().join("file/out");
    let error = write(&lenient(folder.path()), &out, Format::Yolo, Placement::Copy).unwrap_err();
    assert!(matches!(error, DataError::Write { .. }), "{error}");
}

#[test]
fn a_folder_may_be_named_with_a_slash_and_a_failed_one_leaves_nothing() {
    let folder = folder_with_label(b"0 .5 .5 .1 .1");
    let scratch = tempfile::tempdir().unwrap();
    let mut data = lenient(folder.path());
    let out = scratch.path().join("set/");
    write(&data, &out, Format::Yolo, Placement::Copy).unwrap();
    assert_eq!(lenient(&out).samples[0].cells.len(), 1);
    data.samples[0].image = scratch.path().join("gone.png");
    let out = scratch.path().join("other/");
    write(&data, &out, Format::Coco, Placement::Copy).unwrap_err();
    let left = fs::read_dir(scratch.path()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["set"]);
}

#[test]
fn a_data_yaml_says_where_its_label_files_lie() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = folder.path().join("data.yaml");
    picture(&folder.path().join("Images/train/a.png"), 1);
    let labels = folder.path().join("txt_labels/AttriDet/train/a.txt");
    let row = ".5 .5 .1 .1 2 2 2 2 2 2 2";
    text(&labels, format!("0 {row}\n1 {row}\n"));
    let said = "train: Images/train\nlabels: txt_labels/AttriDet\ncolumns: attributes\n\
                attributes: leukemiaattri\nnames: [None, Myeloblast]\n";
    text(&yaml, said);
    let data = open(&yaml, &OpenOptions::strict()).unwrap();
    let [artefact, blast] = data.samples[0].cells.as_slice() else {
        panic!("two cells, found {}", data.samples[0].cells.len());
    };
    // 2 is "not applicable" to what is no cell, and "large" of a cell.
    assert_eq!(artefact.attributes, NO_ATTRIBUTES);
    assert_eq!(blast.attributes[0].map(ValueId::index), Some(2));
    assert_eq!(blast.attributes[1..], NO_ATTRIBUTES[1..]);
    text(&yaml, said.replace("txt_labels/AttriDet", "elsewhere"));
    assert!(strict(&yaml).contains("elsewhere/train/a.txt: expected a label file"));
}

#[test]
fn a_data_yaml_says_where_its_pictures_come_from() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = folder.path().join("data.yaml");
    for name in ["train/phone_1", "test/phone_2", "test/scan/3", "test/4"] {
        picture(&folder.path().join(format!("images/{name}.png")), 1);
        text(&folder.path().join(format!("labels/{name}.txt")), "");
    }
    let plain = "path: .\ntrain: images/train\ntest: images/test\nnames: [WBC]\n";
    let said = "license: CC0\ncitation: doi 10.1/x\ndomains:\n  phone: [images/train/phone, ./images/test/phone_]\n  7: images/test/scan/\n";
    text(&yaml, format!("{plain}{said}"));
    let data = join(vec![lenient(&yaml)], None, None, &[]).unwrap();
    let origin = &data.origins[0];
    assert_eq!((data.origins.len(), origin.pictures), (1, [1, 0, 3]));
    assert_eq!(origin.licence.as_deref(), Some("CC0"));
    assert_eq!(origin.citation.as_deref(), Some("doi 10.1/x"));
    assert_eq!(data.domains(), ["phone", "7"]);
    let of = data.samples.iter().map(|sample| data.domain_of(sample));
    assert_eq!(
        of.collect::<Vec<_>>(),
        [None, Some("phone"), Some("7"), Some("phone")]
    );
    assert!(data.report.notes.is_empty(), "{:?}", data.report.notes);

    for (domains, error) in [
        (
            "domains: [a]",
            "domains: expected names with beginnings of paths, found",
        ),
        (
            "domains: {a: []}",
            "domains: a: expected beginnings of paths, found an empty one or none",
        ),
        (
            "domains: {a: ''}",
            "domains: a: expected beginnings of paths, found an empty one or none",
        ),
        (
            "domains: {a: 3}",
            "domains: a: expected text, found Number(3)",
        ),
        ("licence: [a]", "licence: expected text, found"),
    ] {
        text(&yaml, format!("{plain}{domains}\n"));
        let found = strict(&yaml);
        assert!(found.contains(error), "{found}\ninstead of\n{error}");
    }
}
