//! export-training, read back by nothing of ours: numbers are compared with what was drawn and decided.

use std::collections::BTreeMap;

use super::*;
use serde_json::Value;

const ARTEFACT: Label = Label::Class(ClassId(0));
/// None of the demonstration is drawn as one.
const PROMYELOCYTE: Label = Label::Class(ClassId(9));

/// A cell as it was read: class name, corners, values.
#[derive(Clone, Debug, PartialEq)]
struct Read {
    class: String,
    corners: [f64; 4],
    values: Vec<Option<u64>>,
}

fn yaml(text: &str, key: &str) -> Value {
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(&format!("{key}: ")));
    serde_json::from_str(line.unwrap_or("null")).unwrap()
}

/// Cells by picture from label files, and the labelled part.
fn yolo(set: &Path) -> BTreeMap<String, (Vec<Read>, Option<[f64; 4]>)> {
    let about = fs::read_to_string(set.join("data.yaml")).unwrap();
    let names = yaml(&about, "names");
    let attributes = yaml(&about, "attributes");
    let lead = match yaml(&about, "columns").as_str().unwrap() {
        "patch_attributes" => 9,
        "attributes" => 5,
        other => panic!("{other}"),
    };
    assert_eq!(yaml(&about, "nc"), names.as_array().unwrap().len());
    let mut found = BTreeMap::new();
    for file in fs::read_dir(set.join("labels/train")).unwrap() {
        let file = file.unwrap().path();
        let stem = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let picture = set.join(format!("images/train/{stem}.png"));
        let (width, height) = image::image_dimensions(picture).unwrap();
        let [width, height] = [width, height].map(f64::from);
        let (mut cells, mut region) = (Vec::new(), None);
        for row in fs::read_to_string(&file).unwrap().lines() {
            let numbers: Vec<f64> = row.split(' ').map(|n| n.parse().unwrap()).collect();
            let [class, cx, cy, w, h] = numbers[..5] else {
                panic!("{row}")
            };
            if lead == 9 {
                region = Some([numbers[5], numbers[7], numbers[6], numbers[8]]);
            }
            let codes = &numbers[lead..];
            let schema = attributes.as_array().unwrap();
            assert_eq!(codes.len(), schema.len(), "{row}");
            let value = |(code, attribute): (&f64, &Value)| {
                let values = attribute["values"].as_array().unwrap().len();
                ((*code as usize) < values).then_some(*code as u64)
            };
            cells.push(Read {
                class: names[class as usize].as_str().unwrap().to_owned(),
                corners: [
                    (cx - w / 2.0) * width,
                    (cy - h / 2.0) * height,
                    (cx + w / 2.0) * width,
                    (cy + h / 2.0) * height,
                ],
                values: codes.iter().zip(schema).map(value).collect(),
            });
        }
        let whole = [0.0, 0.0, width, height];
        found.insert(
            format!("{stem}.png"),
            (cells, region.filter(|r| *r != whole)),
        );
    }
    found
}

/// The same, from COCO.
fn coco(set: &Path) -> BTreeMap<String, (Vec<Read>, Option<[f64; 4]>)> {
    let text = fs::read_to_string(set.join("annotations/train.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let number = |value: &Value| value.as_f64().unwrap();
    let mut found = BTreeMap::new();
    for image in json["images"].as_array().unwrap() {
        let region = image["region"]
            .as_array()
            .map(|r| [0, 1, 2, 3].map(|n| number(&r[n])));
        let mut cells = Vec::new();
        let all = json["annotations"].as_array().unwrap();
        for one in all.iter().filter(|a| a["image_id"] == image["id"]) {
            let categories = json["categories"].as_array().unwrap();
            let category = categories
                .iter()
                .find(|c| c["id"] == one["category_id"])
                .unwrap();
            let [x, y, w, h] = [0, 1, 2, 3].map(|n| number(&one["bbox"][n]));
            let schema = json["info"]["attributes"].as_array().unwrap().iter();
            cells.push(Read {
                class: category["name"].as_str().unwrap().to_owned(),
                corners: [x, y, x + w, y + h],
                values: schema
                    .map(|a| one[a["name"].as_str().unwrap()].as_u64())
                    .collect(),
            });
        }
        let name = image["file_name"].as_str().unwrap().to_owned();
        assert!(set.join("images/train").join(&name).is_file());
        found.insert(name, (cells, region));
    }
    found
}

/// What a drawn cell is, with no attribute known.
fn truth(cell: &PhantomCell) -> Read {
    let (class, _) = shared::phantom::leukemia_attributes(&cell.morphology);
    Read {
        class: LEUKEMIA_CLASSES[class.index()].to_owned(),
        corners: cell.bbox.xyxy().map(f64::from),
        values: vec![None; LEUKEMIA_ATTRIBUTES.len()],
    }
}

fn assert_same(found: &[Read], expected: &[Read], place: &str) {
    assert_eq!(found.len(), expected.len(), "{place}: {found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(
            (&found.class, &found.values),
            (&expected.class, &expected.values),
            "{place}"
        );
        for (a, b) in found.corners.iter().zip(expected.corners) {
            assert!((a - b).abs() < 1e-6, "{place}: {found:?}, {expected:?}");
        }
    }
}

/// Every file below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// A demonstration field of at least so many cells.
fn drawn_with(cells: usize, from: u64) -> Drawn {
    (from..)
        .map(draw)
        .find(|drawn| drawn.cells.len() >= cells)
        .unwrap()
}

/// Case `C-1` in review, and what is true of all fields but the last.
fn decided(root: &Path, fields: &[Drawn]) -> Vec<Vec<Read>> {
    let mut station = Station::open(root, "C-1", Some(PATIENT), &LEUKEMIA_CLASSES);
    let firsts: Vec<u32> = fields
        .iter()
        .map(|field| station.count(field, |_| ()))
        .collect();
    station.review();
    let all = 0..station.state.cells().len() as u32;
    // The last field's last cell: nobody decides about it.
    station.confirm(all.start..all.end - 1);
    station.set(firsts[0], 1, Some(0));
    station.set(firsts[0], 0, Some(2));
    station.set(firsts[0], 2, None);
    station.set(firsts[0] + 1, 3, Some(0));
    // Back to what the model said: that is a person's word too.
    station.set(firsts[0] + 1, 3, Some(1));
    station.reclassify(firsts[1], PROMYELOCYTE);
    station.reclassify(firsts[1] + 1, Label::Unidentified);
    station.reclassify(firsts[2], ARTEFACT);
    station.set(firsts[2], 0, Some(0));
    drop(station);
    let mut expected: Vec<Vec<Read>> = fields[..3]
        .iter()
        .map(|f| f.cells.iter().map(truth).collect())
        .collect();
    expected[0][0].values[..2].copy_from_slice(&[Some(2), Some(0)]);
    expected[0][1].values[3] = Some(1);
    expected[1][0].class = "Abnormal promyelocyte".to_owned();
    expected[1][1].class = "unidentified".to_owned();
    expected[2][0].class = "None".to_owned();
    expected
}

#[test]
fn what_people_decided_leaves_as_truth_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let (root, words) = path(folder.path(), "data");
    let (set, to) = path(folder.path(), "set");
    let fields: Vec<Drawn> = (0..4).map(|n| drawn_with(2, 20 * n)).collect();
    let expected = decided(&root, &fields);
    let mut other = Station::open(&root, "B-2", Some(PATIENT), &LEUKEMIA_CLASSES);
    other.count(&drawn_with(1, 90), |_| ());
    other.review();
    other.confirm(0..other.state.cells().len() as u32);
    drop(other);

    let (printed, outcome) = edge(&["export-training", "--root", &words, "--to", &to]);
    outcome.unwrap();
    let cells = expected.iter().map(Vec::len).sum::<usize>() + drawn_with(1, 90).cells.len();
    let said = format!("{to}: 4 fields, {cells} cells (1 unidentified), 3 attribute values\n");
    assert_eq!(printed, said);
    for (read, place) in [(yolo(&set), "YOLO"), (coco(&set), "COCO")] {
        let names: Vec<&str> = read.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "B-2-0000.png",
                "C-1-0000.png",
                "C-1-0001.png",
                "C-1-0002.png"
            ],
            "{place}"
        );
        for (n, expected) in expected.iter().enumerate() {
            let (found, region) = &read[&format!("C-1-000{n}.png")];
            assert_same(found, expected, &format!("{place} {n}"));
            assert_eq!(*region, None);
        }
    }
    let about = fs::read_to_string(set.join("data.yaml")).unwrap();
    assert_eq!(yaml(&about, "unclassified"), "unidentified");
    // Both cases are of one patient.
    let groups = fs::read_to_string(set.join("groups.csv")).unwrap();
    assert_eq!(
        groups.lines().filter(|line| line.ends_with(",B-2")).count(),
        4,
        "{groups}"
    );
    assert_eq!(
        fs::read(set.join("images/train/C-1-0000.png")).unwrap(),
        fields[0].png
    );
    for file in files(&set) {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        for secret in [PATIENT, PERSON] {
            assert!(!text.contains(secret), "{secret} in {}", file.display());
        }
    }
    // A set is not mixed into another.
    let (_, outcome) = edge(&["export-training", "--root", &words, "--to", &to]);
    assert_eq!(code(outcome), crate::exit::USAGE);
}

#[test]
fn a_field_with_cells_that_nobody_labelled_is_left_out_or_its_part_is() {
    let folder = tempfile::tempdir().unwrap();
    let (root, words) = path(folder.path(), "data");
    let empty = Drawn {
        cells: Vec::new(),
        ..draw(3)
    };
    let two = drawn_with(2, 0);
    let mut station = Station::open(&root, "C-1", None, &LEUKEMIA_CLASSES);
    station.count(&two, |_| ());
    station.count(&two, |field| field.duplicates = 1);
    let removed = station.count(&two, |_| ());
    station.count(&two, |field| field.margin = 1);
    station.count(&empty, |_| ());
    let twice = station.count(&two, |field| field.cells[1].bbox = field.cells[0].bbox);
    station.review();
    station.happen(CaseEvent::CellRemoved {
        cell: removed,
        who: text(PERSON),
    });
    let left: Vec<u32> = station.state.undecided().collect();
    station.confirm(left);
    let export = |name: &str, more: &[&str]| {
        let (set, to) = path(folder.path(), name);
        edge(&[&["export-training", "--root", &words, "--to", &to], more].concat())
            .1
            .unwrap();
        let of = |read: BTreeMap<String, (Vec<Read>, Option<[f64; 4]>)>| {
            let line = |(name, (cells, region)): (String, (Vec<Read>, Option<[f64; 4]>))| {
                (name.as_bytes()[7] - b'0', cells.len(), region)
            };
            read.into_iter().map(line).collect::<Vec<_>>()
        };
        (of(coco(&set)), of(yolo(&set)))
    };
    let (unsigned, _) = export("unsigned", &[]);
    assert!(
        unsigned.iter().all(|(field, _, _)| *field != 4),
        "nobody signed that it is empty"
    );
    station.sign();
    let (found, labels) = export("signed", &[]);
    let numbers: Vec<u8> = found.iter().map(|(field, _, _)| *field).collect();
    assert!(matches!(numbers[..], [0, 4] | [0, 3, 4]), "{found:?}");
    assert_eq!(found.len(), labels.len());
    // With the unlabelled: all but the field with two equal boxes.
    let (found, labels) = export("whole", &["--with-unlabelled"]);
    let expected = [(0, 2), (1, 2), (2, 1), (3, 2), (4, 0)];
    let n = two.cells.len() - 2;
    let expected = expected
        .map(|(field, cells): (u8, usize)| (field, if cells == 0 { 0 } else { cells + n }, None));
    assert_eq!(found, expected);
    assert_eq!(labels, expected);
    assert!(twice > removed);
}

#[test]
fn a_labelled_region_holds_whole_cells_only_and_none_that_the_edge_may_cut() {
    let folder = tempfile::tempdir().unwrap();
    let (root, words) = path(folder.path(), "data");
    let mut station = Station::open(&root, "C-1", None, &LEUKEMIA_CLASSES);
    let drawn = draw(0);
    let score = Score::new(0.9).unwrap();
    let boxes = [
        // Inside; across the border that 1.25 times 80 pixels make; near the edge.
        [300.0, 200.0, 380.0, 270.5],
        [90.0, 210.0, 130.0, 250.0],
        [20.0, 20.0, 60.0, 60.0],
    ];
    let cell = |bbox| CellSeen {
        bbox,
        class: ClassId(7),
        score,
        suggestion: Label::Class(ClassId(7)),
        attributes: Vec::new(),
    };
    for margin in [1, 0] {
        station.count(&drawn, |field| {
            field.margin = margin;
            field.cells = boxes.map(cell).to_vec();
        });
    }
    station.review();
    station.confirm(0..6);
    let (set, to) = path(folder.path(), "set");
    edge(&["export-training", "--root", &words, "--to", &to])
        .1
        .unwrap();
    for read in [coco(&set), yolo(&set)] {
        let (cells, region) = &read["C-1-0000.png"];
        assert_eq!(*region, Some([130.0, 100.0, 540.0, 380.0]));
        assert_eq!(cells.len(), 1);
        assert_eq!(
            cells[0].corners.map(f64::round),
            [300.0, 200.0, 380.0, 271.0]
        );
        let (cells, region) = &read["C-1-0001.png"];
        assert_eq!((cells.len(), *region), (3, None));
    }
}

#[test]
fn cases_of_other_tables_or_damage_are_said_and_the_rest_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (root, words) = path(folder.path(), "data");
    Station::signed(&root, "A", 1);
    Station::signed(&root, "C", 1);
    let mut station = Station::open(&root, "B", None, &LEUKEMIA_CLASSES[..13]);
    station.count(&draw(0), |field| field.cells.clear());
    station.review();
    station.sign();
    drop(station);
    let (set, to) = path(folder.path(), "set");
    let (printed, outcome) = edge(&["export-training", "--root", &words, "--to", &to]);
    assert_eq!(code(outcome), crate::exit::FAILURE, "{printed}");
    assert_eq!(
        coco(&set).keys().collect::<Vec<_>>(),
        ["A-0000.png", "C-0000.png"]
    );
    fs::write(root.join("cases/C/fields/0000.png"), "x").unwrap();
    let (set, to) = path(folder.path(), "second");
    let (_, outcome) = edge(&["export-training", "--root", &words, "--to", &to, "A", "C"]);
    assert_eq!(code(outcome), crate::exit::BAD_DATA);
    assert_eq!(coco(&set).keys().collect::<Vec<_>>(), ["A-0000.png"]);

    let (set, to) = path(folder.path(), "nothing");
    drop(Station::open(&root, "D", None, &LEUKEMIA_CLASSES));
    let (_, outcome) = edge(&["export-training", "--root", &words, "--to", &to, "D"]);
    assert_eq!(outcome.unwrap_err().to_string(), "no field to write");
    assert!(!set.exists());
    let parts = fs::read_dir(folder.path())
        .unwrap()
        .filter_map(|e| e.ok()?.file_name().into_string().ok());
    assert!(parts.into_iter().all(|name| !name.ends_with(".leuko-part")));
}
