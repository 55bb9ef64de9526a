//! The wall clock of a running station jumps: back, to 1970, forward by a year.
//!
//! Only the station's process sees the other time: `clock/wall.c`, put before its C library.

mod station;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use edge::case::text::CaseId;
use edge::store::Store;
use serde_json::{Value, json};

use station::{Place, Station, fields};

const DAY: i64 = 86_400;
const YEAR: i64 = 365 * DAY;

/// A wall clock that can be set.
struct Wall {
    library: PathBuf,
    offset: PathBuf,
}

impl Wall {
    /// `None`, said aloud, without a C compiler.
    fn new(folder: &Path) -> Option<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clock/wall.c");
        let library = folder.join("wall.so");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .status();
        if !built.is_ok_and(|it| it.success()) {
            eprintln!("skipped: no wall clock to set, `cc` cannot build tests/clock/wall.c");
            return None;
        }
        let wall = Self {
            library,
            offset: folder.join("offset"),
        };
        wall.set(0);
        Some(wall)
    }

    /// Seconds more than the system's clock says.
    fn set(&self, offset: i64) {
        // In one step: no half a number is read.
        let part = self.offset.with_extension("part");
        fs::write(&part, offset.to_string()).unwrap();
        fs::rename(&part, &self.offset).unwrap();
    }

    fn start(&self, config: &Path) -> Station {
        let environment = [
            ("LD_PRELOAD", self.library.as_path()),
            ("LEUKO_WALL", self.offset.as_path()),
        ];
        Station::start_with(config, &["--case", "T"], &environment)
    }
}

fn changes(station: &Station) -> Vec<Value> {
    let said = station.said();
    let lines = said
        .lines()
        .filter(|line| line.contains("\"event\":\"wall_clock\""));
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_wall_clock_that_jumps_is_recorded_and_changes_no_order_and_loses_nothing() {
    let place = Place::new();
    let Some(wall) = Wall::new(place.folder.path()) else {
        return;
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let to_1970 = -i64::try_from(now.as_secs()).unwrap();
    let config = place.config("seed = 9, white_cells = [1, 2]");
    let mut station = wall.start(&config);
    station.wait_state(|state| fields(state) >= 1);
    let mut told = Vec::new();
    for (n, offset) in [-DAY, to_1970, YEAR, 0].into_iter().enumerate() {
        wall.set(offset);
        station.until(|it| (changes(it).len() > n).then_some(()));
        let text = format!("note {n}");
        let (status, answer) = station.order(&json!({ "do": "note", "text": text, "who": "B" }));
        assert_eq!(status, 200, "{answer}");
        told.push(text);
        let counted = fields(&station.wait_state(|_| true));
        station.wait_state(|state| fields(state) > counted);
    }
    let words: Vec<String> = changes(&station)
        .iter()
        .map(|it| it["change"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(words, ["jumped", "unset", "set", "jumped"]);
    let by_s = changes(&station)[3]["by_s"].as_i64().unwrap();
    assert!((by_s + YEAR).abs() < 60, "{by_s}");
    let counted = fields(&station.wait_state(|_| true));
    // A kill and a start in 1970.
    station.child.kill().unwrap();
    station.ended();
    wall.set(to_1970);
    let mut station = wall.start(&config);
    let state = station.wait_state(|state| fields(state) > counted);
    assert_eq!(state["moment"]["wall"], Value::Null);
    let counted = fields(&state);
    assert_eq!(station.terminate().0, Some(0), "{}", station.said());

    place.assert_sound();
    let case = place.case("T");
    assert!(case.fields().len() as u64 >= counted);
    let notes: Vec<&str> = case.notes().iter().map(|it| it.text.as_str()).collect();
    assert_eq!(notes, told);
    let (store, repaired) = Store::open(&place.root()).unwrap();
    assert_eq!(repaired, []);
    let history = store.history(&CaseId::try_from("T").unwrap()).unwrap();
    let order: Vec<_> = history
        .records
        .iter()
        .map(|it| (it.boot, it.sequence))
        .collect();
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!(
        (order.first(), order.last().map(|it| it.0)),
        (Some(&(1, 1)), Some(2))
    );
    let walls: Vec<_> = history.records.iter().map(|it| it.wall).collect();
    assert!(!walls.is_sorted() && walls.contains(&None), "{walls:?}");
    let station = store.station_history().unwrap();
    let recorded: Vec<Value> = station
        .records
        .iter()
        .filter(|it| it.kind == "wall_clock")
        .map(|it| serde_json::from_str(&it.json).unwrap())
        .collect();
    let recorded: Vec<_> = recorded
        .iter()
        .map(|it| it["change"].as_str().unwrap())
        .collect();
    assert_eq!(recorded, words);
}
