//! A station in a process of its own, for the tests: started, asked, ended, and what its disk then holds.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use edge::case::event::CaseEvent;
use edge::case::state::CaseState;
use edge::case::text::CaseId;
use edge::store::{Store, verify};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Far more than a busy machine needs.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A data root with a configuration of its own.
pub struct Place {
    pub folder: TempDir,
    root: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        Self { folder, root }
    }

    /// The same with its data elsewhere.
    pub fn with_root(self, root: PathBuf) -> Self {
        Self { root, ..self }
    }

    pub fn root(&self) -> PathBuf {
        self.root.clone()
    }

    /// Lines of the case's chain, of which each is a record on the disk.
    pub fn lines(&self, case: &str) -> usize {
        let chain = self.root.join("cases").join(case).join("audit.jsonl");
        fs::read_to_string(chain).unwrap().lines().count()
    }

    /// A drawn slide of so many cells on a field.
    pub fn config(&self, phantom: &str) -> PathBuf {
        self.config_of(&format!("kind = \"phantom\", phantom = {{ {phantom} }}"))
    }

    /// Pictures of a folder, at 20 a second.
    pub fn config_of_folder(&self, folder: &Path) -> PathBuf {
        self.config_of(&format!(
            "kind = \"folder\", folder = {folder:?}, fps = 20.0"
        ))
    }

    fn config_of(&self, source: &str) -> PathBuf {
        let file = self.folder.path().join("station.toml");
        let text = format!(
            "source = {{ {source} }}\n\
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
    pub fn config_without_scale(&self, phantom: &str) -> PathBuf {
        let file = self.config(phantom);
        let text = fs::read_to_string(&file).unwrap();
        let text = text.replace("calibration.um_per_pixel = 0.08\n", "");
        fs::write(&file, text).unwrap();
        file
    }

    pub fn events(&self, case: &str) -> Vec<CaseEvent> {
        let (store, _) = Store::open(&self.root()).unwrap();
        let history = store.history(&CaseId::try_from(case).unwrap()).unwrap();
        assert_eq!(history.flaw, None);
        let read = |json: &str| serde_json::from_str(json).unwrap();
        history.records.iter().map(|it| read(&it.json)).collect()
    }

    pub fn case(&self, case: &str) -> CaseState {
        CaseState::fold(self.events(case)).unwrap()
    }

    pub fn station_kinds(&self) -> Vec<String> {
        let (store, _) = Store::open(&self.root()).unwrap();
        let history = store.station_history().unwrap();
        let kinds = history.records.into_iter().map(|it| it.kind);
        // A machine's clock may be set while it is tested; what drawn slides look like to the model is
        // another test's matter.
        kinds
            .filter(|kind| kind != "wall_clock" && kind != "domain")
            .collect()
    }

    pub fn assert_sound(&self) {
        let verified = verify(&self.root()).unwrap();
        assert_eq!(verified.first_flaw(), None);
    }
}

/// A process.
pub struct Station {
    pub child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<thread::JoinHandle<()>>,
    pub started: Instant,
}

impl Station {
    pub fn start(config: &Path, words: &[&str]) -> Self {
        Self::start_with(config, words, &[])
    }

    /// With some more in its environment.
    pub fn start_with(config: &Path, words: &[&str], environment: &[(&str, &Path)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_leuko-edge"))
            .args(["run", "--config"])
            .arg(config)
            .args(words)
            .envs(environment.iter().copied())
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

    pub fn said(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    /// Waits until `look` finds something; `None` when the process has ended before.
    pub fn until<T>(&mut self, mut look: impl FnMut(&Self) -> Option<T>) -> Option<T> {
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
    pub fn page(&self) -> Option<String> {
        let said = self.said();
        let at = said.find("\"address\":\"").map(|at| at + 11);
        let at = at.or_else(|| said.find("http://").map(|at| at + 7))?;
        let end = said[at..].find(['"', '/'])?;
        Some(said[at..at + end].to_owned())
    }

    pub fn wait_page(&mut self) -> String {
        let page = self.until(Self::page);
        page.unwrap_or_else(|| panic!("{}", self.said()))
    }

    pub fn wait_state(&mut self, right: impl Fn(&Value) -> bool) -> Value {
        let page = self.wait_page();
        let state = self.until(|_| get(&page, "/api/state").filter(&right));
        state.unwrap_or_else(|| panic!("{}", self.said()))
    }

    pub fn order(&mut self, order: &Value) -> (u16, Value) {
        let page = self.wait_page();
        post(&page, order).unwrap_or_else(|| panic!("{}", self.said()))
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    pub fn ended(&mut self) -> ExitStatus {
        self.until(|_| None::<()>);
        // What it said last may not have been read yet.
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.child.wait().unwrap()
    }

    /// SIGTERM; the code and how long it took.
    pub fn terminate(&mut self) -> (Option<i32>, Duration) {
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

pub fn exchange(page: &str, request: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(page).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    // A picture is no text; its status is what is asked for.
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n")?.1.to_owned();
    Some((status, body))
}

pub fn get_text(page: &str, path: &str) -> Option<(u16, String)> {
    let head = "HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    exchange(page, &format!("GET {path} {head}"))
}

pub fn get(page: &str, path: &str) -> Option<Value> {
    let (status, body) = get_text(page, path)?;
    (status == 200).then(|| serde_json::from_str(&body).unwrap())
}

/// `None` when the station is gone.
pub fn post(page: &str, order: &Value) -> Option<(u16, Value)> {
    let body = order.to_string();
    let request = format!(
        "POST /api/command HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, body) = exchange(page, &request)?;
    Some((status, serde_json::from_str(&body).ok()?))
}

pub fn phase(state: &Value) -> &str {
    state["case"]["state"].as_str().unwrap_or("")
}

pub fn fields(state: &Value) -> u64 {
    state["case"]["fields"].as_u64().unwrap_or(0)
}

/// Banners under which nothing is counted.
pub fn errors(state: &Value) -> usize {
    let banners = state["banners"].as_array().unwrap().iter();
    banners.filter(|it| it["level"] == json!("error")).count()
}

pub fn has_banner(state: &Value, words: &str) -> bool {
    let mut banners = state["banners"].as_array().unwrap().iter();
    banners.any(|it| it["text"].as_str().unwrap().contains(words))
}

/// As [`review`], and signs.
pub fn review_and_sign(station: &mut Station, root: &Path, case: &str) {
    review(station, root, case);
    let (status, answer) = sign(station);
    assert_eq!(
        (status, &answer["message"]),
        (200, &json!("signed")),
        "{answer}"
    );
}

pub fn sign(station: &mut Station) -> (u16, Value) {
    station.order(&json!({ "do": "sign", "who": "Dr. A" }))
}

/// Reviews by agreeing with every suggestion, class by class. What the page does not list yet is read
/// from the case's own file, which is complete up to the last acknowledged record.
pub fn review(station: &mut Station, root: &Path, case: &str) {
    if phase(&station.wait_state(|_| true)) != "review" {
        let (status, answer) = station.order(&json!({ "do": "begin_review", "who": "Dr. A" }));
        assert_eq!(status, 200, "{answer}");
    }
    let chain = fs::read_to_string(root.join("cases").join(case).join("audit.jsonl")).unwrap();
    let records = chain
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let events = records.map(|it| serde_json::from_value(it["event"].clone()).unwrap());
    let state = CaseState::fold(events).unwrap();
    let classes = &state.opened().model.classes;
    let mut undecided: Vec<u32> = state.undecided().collect();
    let label_of = |n: u32| state.cells()[n as usize].label();
    while let Some(label) = undecided.first().map(|&n| label_of(n)) {
        let (cells, rest): (Vec<u32>, Vec<u32>) =
            undecided.iter().partition(|&&n| label_of(n) == label);
        undecided = rest;
        let class = match label {
            edge::case::decision::Label::Class(class) => classes.name(class),
            edge::case::decision::Label::Unidentified => None,
        };
        let order = json!({ "do": "confirm", "cells": cells, "class": class, "who": "Dr. A" });
        let (status, answer) = station.order(&order);
        assert_eq!(status, 200, "{answer}");
    }
}

/// Pairs of cells of an island whose middles are nearer than half a cell.
pub fn seen_twice(case: &CaseState) -> usize {
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
