//! `leuko-edge run` from outside: real processes, real signals, what the disk then holds.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use edge::case::event::CaseEvent;
use edge::case::state::{CaseState, Phase};
use edge::case::text::CaseId;
use edge::store::{Store, verify};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Far more than a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(300);

/// A data root with a configuration of its own.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A drawn slide of so many cells on a field.
    fn config(&self, phantom: &str) -> PathBuf {
        let file = self.folder.path().join("station.toml");
        let text = format!(
            "source = {{ kind = \"phantom\", phantom = {{ {phantom} }} }}\n\
             calibration.um_per_pixel = 0.08\n\
             counting.target = 100\n\
             store = {{ root = {:?}, floor_mb = 1, floor_files = 0 }}\n\
             http.address = \"127.0.0.1:0\"\n",
            self.root()
        );
        fs::write(&file, text).unwrap();
        file
    }

    /// As [`Place::config`], without a scale.
    fn config_without_scale(&self, phantom: &str) -> PathBuf {
        let file = self.config(phantom);
        let text = fs::read_to_string(&file).unwrap();
        let text = text.replace("calibration.um_per_pixel = 0.08\n", "");
        fs::write(&file, text).unwrap();
        file
    }

    fn events(&self, case: &str) -> Vec<CaseEvent> {
        let (store, _) = Store::open(&self.root()).unwrap();
        let history = store.history(&CaseId::try_from(case).unwrap()).unwrap();
        assert_eq!(history.flaw, None);
        let read = |json: &str| serde_json::from_str(json).unwrap();
        history.records.iter().map(|it| read(&it.json)).collect()
    }

    fn case(&self, case: &str) -> CaseState {
        CaseState::fold(self.events(case)).unwrap()
    }

    fn station_kinds(&self) -> Vec<String> {
        let (store, _) = Store::open(&self.root()).unwrap();
        let history = store.station_history().unwrap();
        let kinds = history.records.into_iter().map(|it| it.kind);
        // A machine's clock may be set while it is tested; what drawn slides look like to the model is
        // another test's matter.
        kinds
            .filter(|kind| kind != "wall_clock" && kind != "domain")
            .collect()
    }

    fn assert_sound(&self) {
        let verified = verify(&self.root()).unwrap();
        assert_eq!(verified.first_flaw(), None);
    }
}

/// A process.
struct Station {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<thread::JoinHandle<()>>,
    started: Instant,
}

impl Station {
    fn start(config: &Path, words: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_leuko-edge"))
            .args(["run", "--config"])
            .arg(config)
            .args(words)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let heard = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                heard.lock().unwrap().push(line);
            }
        });
        Self {
            child,
            lines,
            reader: Some(reader),
            started: Instant::now(),
        }
    }

    fn said(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// Waits until `look` finds something; `None` when the process has ended before.
    fn until<T>(&mut self, mut look: impl FnMut(&Self) -> Option<T>) -> Option<T> {
        loop {
            if let Some(found) = look(self) {
                return Some(found);
            }
            if self.child.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(self.started.elapsed() < PATIENCE, "{}", self.said());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Where the page is, once it is said.
    fn page(&self) -> Option<String> {
        let said = self.said();
        let at = said.find("\"address\":\"").map(|at| at + 11);
        let at = at.or_else(|| said.find("http://").map(|at| at + 7))?;
        let end = said[at..].find(['"', '/'])?;
        Some(said[at..at + end].to_owned())
    }

    fn wait_page(&mut self) -> String {
        let page = self.until(Self::page);
        page.unwrap_or_else(|| panic!("{}", self.said()))
    }

    fn wait_state(&mut self, right: impl Fn(&Value) -> bool) -> Value {
        let page = self.wait_page();
        let state = self.until(|_| get(&page, "/api/state").filter(&right));
        state.unwrap_or_else(|| panic!("{}", self.said()))
    }

    fn order(&mut self, order: &Value) -> (u16, Value) {
        let page = self.wait_page();
        post(&page, order).unwrap_or_else(|| panic!("{}", self.said()))
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    fn ended(&mut self) -> ExitStatus {
        self.until(|_| None::<()>);
        // What it said last may not have been read yet.
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.child.wait().unwrap()
    }

    /// SIGTERM; the code and how long it took.
    fn terminate(&mut self) -> (Option<i32>, Duration) {
        let asked = Instant::now();
        self.signal("-TERM");
        let code = self.ended().code();
        (code, asked.elapsed())
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn exchange(page: &str, request: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(page).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n")?.1.to_owned();
    Some((status, body))
}

fn get_text(page: &str, path: &str) -> Option<(u16, String)> {
    let head = "HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    exchange(page, &format!("GET {path} {head}"))
}

fn get(page: &str, path: &str) -> Option<Value> {
    let (status, body) = get_text(page, path)?;
    (status == 200).then(|| serde_json::from_str(&body).unwrap())
}

/// `None` when the station is gone.
fn post(page: &str, order: &Value) -> Option<(u16, Value)> {
    let body = order.to_string();
    let request = format!(
        "POST /api/command HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, body) = exchange(page, &request)?;
    Some((status, serde_json::from_str(&body).ok()?))
}

fn phase(state: &Value) -> &str {
    state["case"]["state"].as_str().unwrap_or("")
}

fn fields(state: &Value) -> u64 {
    state["case"]["fields"].as_u64().unwrap_or(0)
}

/// Banners under which nothing is counted.
fn errors(state: &Value) -> usize {
    let banners = state["banners"].as_array().unwrap().iter();
    banners.filter(|it| it["level"] == json!("error")).count()
}

fn has_banner(state: &Value, words: &str) -> bool {
    let mut banners = state["banners"].as_array().unwrap().iter();
    banners.any(|it| it["text"].as_str().unwrap().contains(words))
}

/// Reviews by agreeing with every suggestion, class by class, and signs. What the page does not list yet
/// is read from the case's own file, which is complete up to the last acknowledged record.
fn review_and_sign(station: &mut Station, root: &Path, case: &str) {
    let (status, answer) = station.order(&json!({ "do": "begin_review", "who": "Dr. A" }));
    assert_eq!(status, 200, "{answer}");
    let chain = fs::read_to_string(root.join("cases").join(case).join("audit.jsonl")).unwrap();
    let records = chain
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let events = records.map(|it| serde_json::from_value(it["event"].clone()).unwrap());
    let state = CaseState::fold(events).unwrap();
    let classes = &state.opened().model.classes;
    let mut labels: Vec<_> = state.cells().iter().map(|cell| cell.label()).collect();
    labels.dedup();
    for label in labels {
        let alike = state
            .undecided()
            .filter(|&n| state.cells()[n as usize].label() == label);
        let class = match label {
            edge::case::decision::Label::Class(class) => classes.name(class),
            edge::case::decision::Label::Unidentified => None,
        };
        let cells: Vec<u32> = alike.collect();
        let order = json!({ "do": "confirm", "cells": cells, "class": class, "who": "Dr. A" });
        let (status, answer) = station.order(&order);
        assert_eq!(status, 200, "{answer}");
    }
    let (status, answer) = station.order(&json!({ "do": "sign", "who": "Dr. A" }));
    assert_eq!(
        (status, &answer["message"]),
        (200, &json!("signed")),
        "{answer}"
    );
}

#[test]
fn a_case_is_counted_to_its_target_reviewed_and_signed() {
    let place = Place::new();
    let config = place.config("seed = 3, white_cells = [5, 7]");
    let mut station = Station::start(&config, &["--case", "RUN-1"]);
    let state = station.wait_state(|state| phase(state) == "target_reached");
    assert_eq!(
        (&state["mode"], &state["ready"]),
        (&json!("running"), &json!(true))
    );
    assert!(state["case"]["counted"].as_u64() >= Some(100), "{state}");
    assert_eq!(errors(&state), 0, "{state}");
    let held = fs::read_to_string(place.root().join("model/case")).unwrap();
    assert_eq!(held, "RUN-1");

    // Nothing is signed that nobody reviewed, and no other case is begun.
    let (status, answer) = station.order(&json!({ "do": "sign", "who": "Dr. A" }));
    assert_eq!(status, 409, "{answer}");
    let new = json!({ "do": "new_case", "patient": "p", "specimen": "s", "stain": "MGG" });
    let (status, answer) = station.order(&new);
    assert_eq!(status, 409, "{answer}");

    review_and_sign(&mut station, &place.root(), "RUN-1");
    assert!(!place.root().join("model/case").exists());
    let (status, answer) = station.order(&new);
    assert_eq!(
        (status, &answer["case"]),
        (200, &json!("C00001-02")),
        "{answer}"
    );
    let page = station.wait_page();
    let (_, metrics) = get_text(&page, "/metrics").unwrap();
    for name in [
        "leuko_fields_total",
        "leuko_stage_seconds_count{stage=\"network\"}",
    ] {
        assert!(metrics.contains(name), "{metrics}");
    }
    let (code, took) = station.terminate();
    assert_eq!(code, Some(0), "{}", station.said());
    assert!(took < Duration::from_secs(10), "{took:?}");

    place.assert_sound();
    let case = place.case("RUN-1");
    assert_eq!(case.phase(), Phase::Signed);
    assert!(case.white_cells() >= 100);
    let pictures = fs::read_dir(place.root().join("cases/RUN-1/fields")).unwrap();
    assert_eq!(pictures.count(), case.fields().len());
    assert!(place.root().join("config.last-good.toml").exists());
    let kinds = place.station_kinds();
    assert_eq!(
        kinds,
        ["station_started", "source_opened", "station_stopped"]
    );
}

#[test]
fn a_case_is_counted_by_the_calibration_of_its_source_and_by_no_other() {
    let place = Place::new();
    let right = "seed = 3, white_cells = [5, 7]";
    let config = place.config_without_scale(right);
    let made = Command::new(env!("CARGO_BIN_EXE_leuko-edge"))
        .args(["calibrate", "--um-per-pixel", "0.08", "--json", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let id = made["id"].as_str().unwrap();
    let foreign = "the calibration is not for this source: the source is";

    let config = place.config_without_scale("seed = 4");
    let mut other = Station::start(&config, &["--case", "NO"]);
    assert_eq!(other.ended().code(), Some(2), "{}", other.said());
    assert!(other.said().contains(foreign), "{}", other.said());

    let config = place.config_without_scale(right);
    let mut station = Station::start(&config, &["--case", "CAL"]);
    let state = station.wait_state(|state| {
        fields(state) >= 3 && !state["domain"]["nearness"].is_null() && errors(state) == 0
    });
    let domain = &state["domain"];
    println!("{} {}", domain["nearness"], state["banners"]);
    let meters = domain["meters"].as_array().unwrap();
    assert_eq!(meters.len(), 10);
    for meter in meters {
        let numbers = ["value", "min", "max"].map(|it| meter[it].as_f64());
        assert!(numbers.iter().all(Option::is_some), "{meter}");
    }
    let page = station.wait_page();
    let (_, metrics) = get_text(&page, "/metrics").unwrap();
    let name = "leuko_domain_deviations{quantity=\"cell side\"}";
    assert!(metrics.contains(name), "{metrics}");
    assert_eq!(station.terminate().0, Some(0), "{}", station.said());
    let calibration = place.case("CAL").calibration().cloned();
    assert_eq!(calibration.map(|it| it.to_string()).as_deref(), Some(id));

    // The case goes on under another source: nothing is counted until a person says that it may be.
    let before = place.case("CAL").fields().len() as u64;
    let config = place.config_without_scale("seed = 4, white_cells = [2, 3]");
    let mut station = Station::start(&config, &["--case", "CAL"]);
    let words = format!("Nothing is counted: {foreign}");
    let state = station.wait_state(|state| has_banner(state, &words));
    assert_eq!(fields(&state), before);
    let (status, answer) = station.order(&json!({ "do": "accept_scale", "who": "Dr. A" }));
    assert_eq!(status, 200, "{answer}");
    let state = station.wait_state(|state| fields(state) > before);
    assert!(has_banner(&state, "somebody accepted it"), "{state}");
    assert_eq!(station.terminate().0, Some(0), "{}", station.said());
    place.assert_sound();
    let kinds = place.station_kinds();
    assert!(kinds.iter().any(|it| it == "scale_accepted"), "{kinds:?}");
}

/// Pairs of cells of an island whose middles are nearer than half a cell.
fn seen_twice(case: &CaseState) -> usize {
    let cells: Vec<_> = case
        .cells()
        .iter()
        .map(|cell| {
            let place = case.fields()[cell.field as usize].place;
            let [x0, y0, x1, y1] = cell.bbox.map(f64::from);
            let middle = [place.x_px + (x0 + x1) / 2.0, place.y_px + (y0 + y1) / 2.0];
            (place.island, middle, (x1 - x0 + y1 - y0) / 2.0)
        })
        .collect();
    let near = |(a, b): (usize, usize)| {
        let ((island, at, wide), (other, there, _)) = (cells[a], cells[b]);
        island == other && (at[0] - there[0]).hypot(at[1] - there[1]) < wide / 2.0 * 0.8
    };
    let pairs = (0..cells.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
    pairs.filter(|&pair| near(pair)).count()
}

#[test]
fn a_restart_goes_on_with_the_case_and_counts_no_cell_twice() {
    let phantom = "seed = 5, slides = 1, white_cells = [3, 4]";
    let words = ["--case", "GO", "--until-end"];
    let straight = Place::new();
    let mut station = Station::start(&straight.config(phantom), &words);
    assert_eq!(station.ended().code(), Some(0), "{}", station.said());
    let straight = straight.case("GO");

    let place = Place::new();
    let config = place.config(phantom);
    let mut station = Station::start(&config, &words);
    let before = fields(&station.wait_state(|state| fields(state) >= 4));
    station.child.kill().unwrap();
    station.ended();
    let mut station = Station::start(&config, &words);
    assert_eq!(station.ended().code(), Some(0), "{}", station.said());
    assert!(
        station.said().contains("\"event\":\"fields_recalled\""),
        "{}",
        station.said()
    );

    place.assert_sound();
    let case = place.case("GO");
    assert!(case.fields().len() as u64 > before);
    assert_eq!((seen_twice(&straight), seen_twice(&case)), (0, 0));
    let (whole, halves) = (straight.cells().len(), case.cells().len());
    println!("{whole} cells at a stretch, {halves} with a kill after {before} fields");
    assert!(whole.abs_diff(halves) <= 1, "{whole} {halves}");
}

#[test]
fn a_second_station_on_the_same_data_is_refused_and_the_first_ends_as_it_is_asked() {
    let place = Place::new();
    let config = place.config("seed = 1");
    let mut first = Station::start(&config, &[]);
    first.wait_state(|state| state["ready"] == json!(true));
    let mut second = Station::start(&config, &[]);
    assert_eq!(second.ended().code(), Some(1), "{}", second.said());
    assert!(
        second.said().contains("held by process"),
        "{}",
        second.said()
    );
    let starts = fs::read_to_string(place.root().join("starts")).unwrap();
    assert_eq!(starts, "1\n", "the second one changed nothing");

    first.signal("-INT");
    assert_eq!(first.ended().code(), Some(130), "{}", first.said());
    place.assert_sound();
    assert_eq!(place.station_kinds().last().unwrap(), "station_stopped");
}

#[test]
fn a_configuration_that_cannot_be_used_is_told_by_a_page() {
    let place = Place::new();
    let file = place.folder.path().join("bad.toml");
    let root = place.root();
    let text =
        format!("[http]\naddress = \"127.0.0.1:0\"\n[gate]\nfocus = 1\n[store]\nroot = {root:?}\n");
    fs::write(&file, text).unwrap();
    let mut station = Station::start(&file, &[]);
    let state = station.wait_state(|state| state["mode"] == json!("safe"));
    let words = state["banners"][0]["text"].as_str().unwrap();
    assert!(
        words.contains("line 4 column 1: unknown field `focus`"),
        "{words}"
    );
    let page = station.wait_page();
    assert_eq!(get_text(&page, "/readyz").map(|it| it.0), Some(503));
    let (status, answer) = station.order(&json!({ "do": "new_field" }));
    assert_eq!(status, 503, "{answer}");
    assert_eq!(station.terminate().0, Some(0), "{}", station.said());

    // In a script there is nobody to look at a page.
    let mut station = Station::start(&file, &["--until-end"]);
    assert_eq!(station.ended().code(), Some(3), "{}", station.said());
}

#[test]
fn a_disk_that_refuses_stops_the_count_until_it_takes_again_and_damage_for_good() {
    let place = Place::new();
    let config = place.config("seed = 7");
    let mut station = Station::start(&config, &["--case", "D"]);
    station.wait_state(|state| fields(state) >= 1);
    let case = place.root().join("cases/D");
    fs::rename(case.join("fields"), place.folder.path().join("away")).unwrap();
    fs::write(case.join("fields"), "").unwrap();
    let banner = |state: &Value, words: &str| {
        let text = state["banners"][0]["text"].as_str();
        text.is_some_and(|text| text.starts_with(words))
    };
    let state = station.wait_state(|state| banner(state, "Nothing can be recorded"));
    let counted = fields(&state);
    let (status, answer) = station.order(&json!({ "do": "note", "text": "seen", "who": "B" }));
    assert_eq!(status, 200, "a note needs no picture: {answer}");
    fs::remove_file(case.join("fields")).unwrap();
    fs::rename(place.folder.path().join("away"), case.join("fields")).unwrap();
    station.wait_state(|state| fields(state) > counted && errors(state) == 0);

    let mut chain = fs::OpenOptions::new()
        .append(true)
        .open(case.join("audit.jsonl"))
        .unwrap();
    chain.write_all(b"{}\n").unwrap();
    let state = station.wait_state(|state| banner(state, "The record is damaged"));
    let (status, answer) = station.order(&json!({ "do": "note", "text": "no", "who": "B" }));
    assert_eq!(status, 409, "{answer}");
    let page = station.wait_page();
    assert_eq!(
        get(&page, "/api/state").map(|it| fields(&it)),
        Some(fields(&state))
    );
    assert_eq!(station.terminate().0, Some(0), "{}", station.said());
}

/// A case takes 100 notes.
const NOTES_OF_A_KILL: usize = 12;

/// What was acknowledged to somebody before the kill.
#[derive(Default)]
struct Told {
    fields: u64,
    counted: u64,
    notes: Vec<String>,
}

/// Looks until the kill, and writes notes without a pause shortly before it, so that it meets records
/// that are being written.
fn use_until(station: &mut Station, end: Instant, kill: usize, told: &mut Told) {
    let notes_from = end - Duration::from_millis(250).min(end - station.started);
    let mut notes = 0;
    while Instant::now() < end && station.child.try_wait().unwrap().is_none() {
        let Some(page) = station.page() else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        if Instant::now() >= notes_from && notes < NOTES_OF_A_KILL {
            let text = format!("note {kill}-{notes}");
            let order = json!({ "do": "note", "text": text, "who": "C" });
            // The kill comes from another thread, at any moment of it.
            if let Some((200, _)) = post(&page, &order) {
                told.notes.push(text);
            }
            notes += 1;
        } else if let Some(state) = get(&page, "/api/state") {
            told.fields = told.fields.max(fields(&state));
            let counted = state["case"]["counted"].as_u64().unwrap_or(0);
            told.counted = told.counted.max(counted);
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// SIGKILL at a moment, from a thread of its own.
fn kill_at(station: &Station, end: Instant) -> thread::JoinHandle<()> {
    let pid = station.child.id().to_string();
    thread::spawn(move || {
        thread::sleep(end.saturating_duration_since(Instant::now()));
        let sent = Command::new("kill").args(["-KILL", &pid]).status();
        assert!(sent.unwrap().success());
    })
}

fn assert_kept(place: &Place, case: &str, told: &Told) {
    let (store, repaired) = Store::open(&place.root()).unwrap();
    let is_there = store.cases().iter().any(|it| it.case.as_str() == case);
    drop(store);
    if !repaired.is_empty() {
        println!("put right after a kill: {repaired:?}");
    }
    place.assert_sound();
    if !is_there {
        assert_eq!((told.fields, told.notes.len()), (0, 0));
        return;
    }
    let state = place.case(case);
    assert!(state.fields().len() as u64 >= told.fields);
    assert!(u64::from(state.white_cells()) >= told.counted);
    let notes: Vec<&str> = state.notes().iter().map(|it| it.text.as_str()).collect();
    for note in &told.notes {
        assert!(notes.contains(&note.as_str()), "{note} is lost");
    }
    assert_eq!(seen_twice(&state), 0);
}

/// `LEUKO_KILLS` kills (8 when not set), at moments that `LEUKO_SEED` decides.
#[test]
fn nothing_that_was_acknowledged_is_lost_when_the_station_is_killed() {
    const OF_A_CASE: usize = 8;
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let kills = number("LEUKO_KILLS").unwrap_or(8) as usize;
    let mut random = number("LEUKO_SEED").unwrap_or(1);
    let place = Place::new();
    let (mut fields, mut notes, mut signed) = (0, 0, 0);
    for round in 0..kills.div_ceil(OF_A_CASE) {
        let case = format!("K{round}");
        let mut told = Told::default();
        for kill in 0..OF_A_CASE.min(kills - round * OF_A_CASE) {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let after = Duration::from_millis((random >> 33) % 2500);
            // Twice the same slide: the second time its fields are recognised.
            let seed = 1 + round * OF_A_CASE + kill / 2;
            let config = place.config(&format!("seed = {seed}, white_cells = [2, 3]"));
            let mut station = Station::start(&config, &["--case", &case]);
            let end = station.started + after;
            let killer = kill_at(&station, end);
            use_until(&mut station, end, kill, &mut told);
            killer.join().unwrap();
            let status = station.ended();
            assert_eq!(status.code(), None, "ended by itself: {}", station.said());
            assert_kept(&place, &case, &told);
        }
        fields += told.fields;
        notes += told.notes.len();
        // Signed, and killed as soon as that is acknowledged.
        let config = place.config(&format!("seed = {}", 1000 + round));
        let mut station = Station::start(&config, &["--case", &case]);
        station.wait_state(|state| !phase(state).is_empty());
        review_and_sign(&mut station, &place.root(), &case);
        station.child.kill().unwrap();
        station.ended();
        assert_kept(&place, &case, &told);
        let last = place.case(&case);
        assert_eq!(last.phase(), Phase::Signed);
        signed += 1;
    }
    println!(
        "{kills} kills: {fields} fields, {notes} notes, {signed} signatures acknowledged, none lost"
    );
}
