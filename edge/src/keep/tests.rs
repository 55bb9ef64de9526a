//! The commands on a synthetic station: drawn fields, decided about as people do.

mod kept;
mod learned;

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use clap::Parser;
use image::{ImageFormat, RgbImage};
use shared::attribute::{AttributeSchema, LEUKEMIA_ATTRIBUTES};
use shared::class::{ClassId, ClassTable, LEUKEMIA_CLASSES};
use shared::geometry::Size;
use shared::phantom::{FieldSpec, MAX_WHITE_CELLS, PhantomCell, draw_field};
use shared::pixels::RgbViewMut;
use shared::score::Score;

use crate::case::decision::{DecisionRules, Label};
use crate::case::event::{
    CaseEvent, CaseOpened, CellSeen, FieldCounted, FieldMeters, FieldPlace, ModelUsed, Target,
    ValueSeen,
};
use crate::case::state::CaseState;
use crate::case::text::{CaseId, Text};
use crate::cli::Cli;
use crate::exit::Failure;
use crate::store::{Entry, Floor, Store};

/// Pseudonym of a patient; it must be in no file that leaves the station.
const PATIENT: &str = "PSEUDONYM-17";
/// Name of a person, of whom the same holds.
const PERSON: &str = "Dr. Reader";
/// 2027-01-15 08:00 UTC.
const WALL: i64 = 1_800_000_000;

fn text(text: &str) -> Text {
    text.try_into().unwrap()
}

fn id(name: &str) -> CaseId {
    name.try_into().unwrap()
}

/// What a command prints, and how it ends.
fn edge(words: &[&str]) -> (String, Result<(), Failure>) {
    let cli = Cli::try_parse_from([&["leuko-edge"], words].concat()).unwrap();
    let mut printed = Vec::new();
    let outcome = crate::commands::run(cli, &mut printed);
    (String::from_utf8(printed).unwrap(), outcome)
}

fn code(outcome: Result<(), Failure>) -> u8 {
    outcome.map_or_else(|failure| failure.code(), |()| 0)
}

/// A drawn field: its PNG and its truth.
struct Drawn {
    png: Vec<u8>,
    size: Size,
    cells: Vec<PhantomCell>,
}

fn draw(seed: u64) -> Drawn {
    let spec = FieldSpec::demo(seed);
    let mut picture = RgbImage::new(spec.size.width, spec.size.height);
    let mut view = RgbViewMut::new(&mut picture, spec.size).unwrap();
    let mut truth: heapless::Vec<PhantomCell, { MAX_WHITE_CELLS as usize }> = heapless::Vec::new();
    draw_field(&spec, &mut view, &mut truth).unwrap();
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png).unwrap();
    Drawn {
        png: png.into_inner(),
        size: spec.size,
        cells: truth.to_vec(),
    }
}

/// What the model might say of a drawn cell: its class, and `value` of every attribute.
fn seen(cell: &PhantomCell, value: u8) -> CellSeen {
    let score = Score::new(0.9).unwrap();
    let (class, _) = shared::phantom::leukemia_attributes(&cell.morphology);
    CellSeen {
        bbox: cell.bbox.xyxy(),
        class,
        score,
        suggestion: Label::Class(class),
        attributes: vec![Some(ValueSeen { value, score }); LEUKEMIA_ATTRIBUTES.len()],
    }
}

/// A station that records one case.
struct Station {
    store: Store,
    case: CaseId,
    state: CaseState,
}

impl Station {
    fn open(root: &Path, name: &str, patient: Option<&str>, classes: &[&str]) -> Self {
        let floor = Floor {
            bytes: 0,
            inodes: 0,
        };
        let store = Store::open(root).unwrap().0.with_floor(floor);
        let classes = ClassTable::new(classes.iter().copied()).unwrap();
        let opened = CaseOpened {
            case: id(name),
            patient: patient.map(text),
            specimen: None,
            stain: None,
            target: Target::Hundred,
            rules: DecisionRules::new(0.5, &[], &classes).unwrap(),
            model: ModelUsed {
                name: text("wbc-nano"),
                version: None,
                sha256: "ab".repeat(32).as_str().try_into().unwrap(),
                classes,
                attributes: AttributeSchema::new(LEUKEMIA_ATTRIBUTES).unwrap(),
            },
            calibration: None,
            software: text("0.1.0"),
            who: text(PERSON),
        };
        let mut station = Self {
            store,
            case: id(name),
            state: CaseState::open(opened.clone()).unwrap(),
        };
        station.record(&CaseEvent::CaseOpened(Box::new(opened)), &[]);
        station
    }

    fn record(&mut self, event: &CaseEvent, pictures: &[(&str, &[u8])]) {
        let json = serde_json::to_string(event).unwrap();
        let entry = Entry {
            who: PERSON,
            kind: event.kind(),
            json: &json,
            boot: 1,
            wall: Some(WALL),
        };
        self.store.record(&self.case, entry, pictures).unwrap();
    }

    fn happen(&mut self, event: CaseEvent) {
        self.state.apply(&event).unwrap();
        self.record(&event, &[]);
    }

    /// Counts a field and gives the number of its first cell.
    fn count(&mut self, drawn: &Drawn, change: impl FnOnce(&mut FieldCounted)) -> u32 {
        let mut field = FieldCounted {
            field: self.state.fields().len() as u32,
            frame: 7,
            size: drawn.size,
            place: FieldPlace {
                island: 0,
                x_px: 0.0,
                y_px: 0.0,
            },
            meters: FieldMeters::default(),
            first_cell: self.state.cells().len() as u32,
            cells: drawn.cells.iter().map(|cell| seen(cell, 1)).collect(),
            duplicates: 0,
            margin: 0,
            no_room: 0,
        };
        change(&mut field);
        let (first, number) = (field.first_cell, field.field);
        let [name, crop] = ["fields", "crops"].map(|kind| format!("{kind}/{number:04}.png"));
        let event = CaseEvent::FieldCounted(Box::new(field));
        self.state.apply(&event).unwrap();
        let crop: (&str, &[u8]) = (&crop, b"not looked at");
        self.record(&event, &[(&name, &drawn.png), crop]);
        first
    }

    fn review(&mut self) {
        self.happen(CaseEvent::ReviewBegun {
            white_cells: self.state.white_cells(),
            sufficiency: self.state.sufficiency(),
            who: text(PERSON),
        });
    }

    fn confirm(&mut self, cells: impl IntoIterator<Item = u32>) {
        for cell in cells {
            let label = self.state.cells()[cell as usize].label();
            self.happen(CaseEvent::CellsConfirmed {
                cells: vec![cell],
                label,
                who: text(PERSON),
            });
        }
    }

    fn reclassify(&mut self, cell: u32, after: Label) {
        let before = self.state.cells()[cell as usize].label();
        self.happen(CaseEvent::CellReclassified {
            cell,
            before,
            after,
            who: text(PERSON),
        });
    }

    fn set(&mut self, cell: u32, attribute: u8, after: Option<u8>) {
        let before = self.state.cells()[cell as usize].attributes[usize::from(attribute)];
        self.happen(CaseEvent::AttributeChanged {
            cell,
            attribute,
            before,
            after,
            who: text(PERSON),
        });
    }

    fn sign(&mut self) {
        let cases = self.store.cases();
        let head = &cases.iter().find(|c| c.case == self.case).unwrap().head;
        self.happen(CaseEvent::Signed {
            who: text(PERSON),
            white_cells: self.state.white_cells(),
            sufficiency: self.state.sufficiency(),
            head: head.hash.as_str().try_into().unwrap(),
        });
    }

    /// A signed case of so many drawn fields.
    fn signed(root: &Path, name: &str, fields: u64) {
        let mut station = Self::open(root, name, None, &LEUKEMIA_CLASSES);
        for seed in 0..fields {
            station.count(&draw(seed), |_| ());
        }
        station.review();
        let cells = 0..station.state.cells().len() as u32;
        station.confirm(cells);
        station.sign();
    }
}

fn path(folder: &Path, name: &str) -> (PathBuf, String) {
    let path = folder.join(name);
    let words = path.to_str().unwrap().to_owned();
    (path, words)
}
