//! What a station and the system it runs on say to each other: systemd's notices, signals, a configuration
//! that was damaged while nobody looked.

mod station;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use station::{PATIENCE, Place, Station, errors, fields, has_banner};

/// Where systemd would listen.
struct Listener(UnixDatagram);

impl Listener {
    fn new(at: &Path) -> Self {
        let socket = UnixDatagram::bind(at).unwrap();
        let wait = Some(Duration::from_millis(100));
        socket.set_read_timeout(wait).unwrap();
        Self(socket)
    }

    /// The next notice within `wait`.
    fn next(&self, wait: Duration) -> Option<String> {
        let (begun, mut bytes) = (Instant::now(), [0; 64]);
        loop {
            match self.0.recv(&mut bytes) {
                Ok(length) => return Some(String::from_utf8_lossy(&bytes[..length]).into_owned()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            if begun.elapsed() >= wait {
                return None;
            }
        }
    }
}

#[test]
fn systemd_hears_ready_alive_and_stopping_and_nothing_of_a_station_that_hangs() {
    let place = Place::new();
    let at = place.folder.path().join("notify");
    let listener = Listener::new(&at);
    let limit = Path::new("600000");
    let environment = [("NOTIFY_SOCKET", at.as_path()), ("WATCHDOG_USEC", limit)];
    let mut station = Station::start_with(&place.config("seed = 1"), &[], &environment);
    assert_eq!(listener.next(PATIENCE).as_deref(), Some("READY=1"));
    for _ in 0..3 {
        assert_eq!(listener.next(PATIENCE).as_deref(), Some("WATCHDOG=1"));
    }
    // The process of a station that hangs.
    station.signal("-STOP");
    while listener.next(Duration::from_millis(500)).is_some() {}
    assert_eq!(listener.next(Duration::from_millis(1500)), None);
    station.signal("-CONT");
    assert_eq!(listener.next(PATIENCE).as_deref(), Some("WATCHDOG=1"));

    assert_eq!(station.terminate().0, Some(0), "{}", station.said());
    let last: Vec<_> = std::iter::from_fn(|| listener.next(Duration::ZERO)).collect();
    assert!(last.iter().any(|it| it == "STOPPING=1"), "{last:?}");
}

#[test]
fn a_source_that_is_not_there_is_no_hang() {
    let place = Place::new();
    let at = place.folder.path().join("notify");
    let listener = Listener::new(&at);
    let config = place.config_of_folder(&place.folder.path().join("missing"));
    let limit = Path::new("600000");
    let environment = [("NOTIFY_SOCKET", at.as_path()), ("WATCHDOG_USEC", limit)];
    let mut station = Station::start_with(&config, &[], &environment);
    assert_eq!(listener.next(PATIENCE).as_deref(), Some("READY=1"));
    let state = station.wait_state(|state| errors(state) > 0);
    assert_eq!(state["ready"], json!(false), "{state}");
    // What was said before that.
    while listener.next(Duration::ZERO).is_some() {}
    for _ in 0..3 {
        assert_eq!(listener.next(PATIENCE).as_deref(), Some("WATCHDOG=1"));
    }
    assert_eq!(station.terminate().0, Some(0), "{}", station.said());
}

#[test]
fn a_second_signal_ends_at_once_and_loses_nothing() {
    let place = Place::new();
    let config = place.config("seed = 7, white_cells = [1, 2]");
    let mut station = Station::start(&config, &["--case", "TWICE"]);
    let counted = fields(&station.wait_state(|state| fields(state) >= 2));
    // Both wait for the process when it goes on.
    station.signal("-STOP");
    station.signal("-TERM");
    station.signal("-INT");
    station.signal("-CONT");
    assert_eq!(station.ended().code(), Some(130), "{}", station.said());
    // Opened as a next start opens it, which puts right what was begun.
    assert!(place.case("TWICE").fields().len() as u64 >= counted);
    place.assert_sound();
}

#[test]
fn a_configuration_that_is_damaged_leaves_the_one_that_worked_in_use() {
    let place = Place::new();
    let config = place.config("seed = 7");
    let mut station = Station::start(&config, &["--case", "KEPT"]);
    station.wait_state(|state| fields(state) >= 1);
    assert_eq!(station.terminate().0, Some(0), "{}", station.said());

    let text = fs::read_to_string(&config).unwrap();
    let of_no_model = format!("{text}thresholds.classes = {{ platypus = 0.5 }}\n");
    let broken = text.replace("counting.target = 100", "counting.target = \"many\"");
    for (text, problem) in [
        (broken, "line 3 column"),
        (of_no_model, "thresholds.classes.platypus: no such class"),
    ] {
        let before = place.case("KEPT").fields().len() as u64;
        fs::write(&config, text).unwrap();
        let mut station = Station::start(&config, &["--case", "KEPT"]);
        let state = station.wait_state(|state| fields(state) > before);
        assert_eq!(state["mode"], json!("running"), "{state}");
        for words in [problem, "the last one that worked is used"] {
            assert!(has_banner(&state, words), "{state}");
        }
        assert_eq!(station.terminate().0, Some(0), "{}", station.said());
    }
    place.assert_sound();
    assert_eq!(place.case("KEPT").opened().target.cells(), 100);
}
