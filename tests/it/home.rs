//! The training loop home: what people decided on a station is a set that the trainer takes as it is.

use std::fs;
use std::path::Path;

use edge::case::decision::{DecisionRules, Label};
use edge::case::event::{
    CaseEvent, CaseOpened, CellSeen, FieldCounted, FieldMeters, FieldPlace, ModelUsed, Target,
};
use edge::case::state::CaseState;
use edge::case::text::{CaseId, Text};
use edge::store::{Entry, Floor, Store};
use host::dataset::{
    Dataset, OpenOptions, PhantomLook, PhantomPlan, PhantomSchema, Sample, draw_phantoms, open,
};
use shared::attribute::NO_ATTRIBUTES;
use shared::cell::Cell;
use shared::class::ClassId;
use shared::geometry::BBox;
use shared::score::Score;

use crate::leukemia::{edge, host};

const CASE: &str = "C-2026_01";

fn text(text: &str) -> Text {
    text.try_into().expect("a text")
}

fn who() -> Text {
    text("Dr. Reader")
}

/// A case that is recorded as it happens.
struct Station {
    store: Store,
    case: CaseId,
    state: CaseState,
}

impl Station {
    fn open(root: &Path, data: &Dataset) -> Self {
        let floor = Floor {
            bytes: 0,
            inodes: 0,
        };
        let (store, _) = Store::open(root).expect("a data root");
        let case = CaseId::try_from(CASE).expect("a name");
        let opened = CaseOpened {
            case: case.clone(),
            patient: Some(text("P-17")),
            specimen: None,
            stain: None,
            target: Target::Hundred,
            rules: DecisionRules::new(0.5, &[], &data.classes).expect("rules"),
            model: ModelUsed {
                name: text("drawn"),
                version: None,
                sha256: "ab".repeat(32).as_str().try_into().expect("a hash"),
                classes: data.classes.clone(),
                attributes: data.schema.clone(),
            },
            calibration: None,
            software: text("0.1.0"),
            who: who(),
        };
        let mut station = Self {
            store: store.with_floor(floor),
            case,
            state: CaseState::open(opened.clone()).expect("a case"),
        };
        station.record(&CaseEvent::CaseOpened(Box::new(opened)), &[]);
        station
    }

    fn record(&mut self, event: &CaseEvent, pictures: &[(&str, &[u8])]) {
        let json = serde_json::to_string(event).expect("JSON");
        let entry = Entry {
            who: "Dr. Reader",
            kind: event.kind(),
            json: &json,
            boot: 1,
            wall: None,
        };
        let recorded = self.store.record(&self.case, entry, pictures);
        recorded.expect("recorded");
    }

    fn happen(&mut self, event: CaseEvent) {
        self.state.apply(&event).expect("legal");
        self.record(&event, &[]);
    }

    fn count(&mut self, sample: &Sample, margin: u32) {
        let number = self.state.fields().len() as u32;
        let score = Score::new(0.9).expect("a score");
        let seen = |cell: &Cell| {
            let class = cell.class.expect("every drawn cell has one");
            CellSeen {
                bbox: cell.bbox.xyxy(),
                class,
                score,
                suggestion: Label::Class(class),
                attributes: Vec::new(),
            }
        };
        let event = CaseEvent::FieldCounted(Box::new(FieldCounted {
            field: number,
            frame: u64::from(number),
            size: sample.size,
            place: FieldPlace {
                island: number,
                x_px: 0.0,
                y_px: 0.0,
            },
            meters: FieldMeters::default(),
            first_cell: self.state.cells().len() as u32,
            cells: sample.cells.iter().map(seen).collect(),
            duplicates: 0,
            margin,
            no_room: 0,
        }));
        self.state.apply(&event).expect("legal");
        let picture = fs::read(&sample.image).expect("a drawn field");
        self.record(&event, &[(&format!("fields/{number:04}.png"), &picture)]);
    }

    /// A person decides about every cell as `truths` say, and signs.
    fn review(&mut self, truths: &[(Label, Cell)]) {
        let (white_cells, sufficiency) = (self.state.white_cells(), self.state.sufficiency());
        let who = who();
        self.happen(CaseEvent::ReviewBegun {
            white_cells,
            sufficiency,
            who: who.clone(),
        });
        for (cell, (after, truth)) in (0..).zip(truths) {
            let before = self.state.cells()[cell as usize].label();
            let (after, who) = (*after, who.clone());
            self.happen(match before == after {
                true => CaseEvent::CellsConfirmed {
                    cells: vec![cell],
                    label: after,
                    who,
                },
                false => CaseEvent::CellReclassified {
                    cell,
                    before,
                    after,
                    who,
                },
            });
            for (attribute, value) in (0..).zip(&truth.attributes) {
                if let Some(value) = value {
                    self.happen(CaseEvent::AttributeChanged {
                        cell,
                        attribute,
                        before: None,
                        after: Some(value.index() as u8),
                        who: text("Dr. Reader"),
                    });
                }
            }
        }
        let head = self.store.cases()[0].head.hash.clone();
        self.happen(CaseEvent::Signed {
            who,
            white_cells: self.state.white_cells(),
            sufficiency: self.state.sufficiency(),
            head: head.as_str().try_into().expect("a hash"),
        });
    }
}

#[test]
fn what_was_reviewed_on_a_station_is_a_set_that_the_trainer_takes_as_it_is() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let plan = PhantomPlan {
        fields: [6, 0, 0],
        seed: 300,
        look: PhantomLook::Demo,
        schema: PhantomSchema::Leukemia,
    };
    let data = draw_phantoms(&plan, &folder.path().join("fields")).expect("fields can be drawn");
    let (root, set) = (folder.path().join("data"), folder.path().join("set"));
    let mut station = Station::open(&root, &data);
    data.samples
        .iter()
        .for_each(|sample| station.count(sample, 0));
    let mut truths: Vec<(Label, Cell)> = data
        .samples
        .iter()
        .flat_map(|sample| &sample.cells)
        .map(|cell| (Label::Class(cell.class.expect("a class")), *cell))
        .collect();
    truths[0].0 = Label::Unidentified;
    truths[0].1.class = None;
    truths[1].0 = Label::Class(ClassId(13));
    truths[1].1.class = Some(ClassId(13));
    // Nobody can tell: that attribute alone is unknown.
    truths[2].1.attributes[0] = None;
    station.review(&truths);
    drop(station);
    for (_, cell) in &mut truths {
        if cell.class == Some(ClassId(0)) {
            cell.attributes = NO_ATTRIBUTES;
        }
    }

    let root = root.to_str().expect("UTF-8");
    let to = set.to_str().expect("UTF-8");
    let said = edge(&["export-training", "--root", root, "--to", to]);
    assert!(said.contains(": 6 fields, "), "{said}");
    let coco = set.join("annotations/train.json");
    for path in [set.as_path(), &coco] {
        host(&["data", "check", path.to_str().expect("UTF-8"), "--pixels"]);
        let read = open(path, &OpenOptions::strict()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read.split_counts(), [6, 0, 0]);
        assert_eq!((&read.classes, &read.schema), (&data.classes, &data.schema));
        assert!(read.report.dropped.is_empty(), "{:?}", read.report);
        assert!(read.samples.iter().all(|sample| sample.group == CASE));
        let cells: Vec<Cell> = read.samples.iter().flat_map(|s| s.cells.clone()).collect();
        let expected: Vec<Cell> = truths.iter().map(|(_, cell)| *cell).collect();
        assert_eq!(cells, expected, "{}", path.display());
    }
}

#[test]
fn the_labelled_region_of_a_field_with_cut_cells_is_the_trainers() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let plan = PhantomPlan {
        fields: [2, 0, 0],
        seed: 400,
        look: PhantomLook::Demo,
        schema: PhantomSchema::Leukemia,
    };
    let mut data =
        draw_phantoms(&plan, &folder.path().join("fields")).expect("fields can be drawn");
    // One in the middle, one across the border that 1.25 times 80 pixels make, one near the edge.
    let boxes = [
        [300.0, 200.0, 380.0, 270.5],
        [90.0, 210.0, 130.0, 250.0],
        [20.0, 20.0, 60.0, 60.0],
    ];
    let cell = |[x0, y0, x1, y1]: [f32; 4]| Cell {
        bbox: BBox::from_corners(x0, y0, x1, y1).expect("a box"),
        class: Some(ClassId(7)),
        attributes: NO_ATTRIBUTES,
    };
    for sample in &mut data.samples {
        sample.cells = boxes.map(cell).to_vec();
    }
    let (root, set) = (folder.path().join("data"), folder.path().join("set"));
    let mut station = Station::open(&root, &data);
    station.count(&data.samples[0], 1);
    station.count(&data.samples[1], 0);
    let truth = |cell: &Cell| (Label::Class(ClassId(7)), *cell);
    let cells = data.samples.iter().flat_map(|sample| &sample.cells);
    let truths: Vec<(Label, Cell)> = cells.map(truth).collect();
    station.review(&truths);
    drop(station);
    let root = root.to_str().expect("UTF-8");
    edge(&[
        "export-training",
        "--root",
        root,
        "--to",
        set.to_str().expect("UTF-8"),
    ]);
    for path in [set.clone(), set.join("annotations/train.json")] {
        host(&["data", "check", path.to_str().expect("UTF-8")]);
        let read = open(&path, &OpenOptions::strict()).unwrap_or_else(|error| panic!("{error}"));
        let [first, second] = read.samples.as_slice() else {
            panic!("{:?}", read.samples)
        };
        let region = first.region.map(|region| region.xyxy());
        assert_eq!(region, Some([130.0, 100.0, 540.0, 380.0]));
        assert_eq!(first.cells, [cell(boxes[0])]);
        assert_eq!((second.region, second.cells.len()), (None, 3));
    }
}
