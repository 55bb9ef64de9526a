//! A real small disk that fills, runs out of files, becomes read-only or is taken out under a running station.
//!
//! The disk is a tmpfs, which only root may mount; elsewhere the tests say that they were skipped.

mod station;

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use edge::case::state::Phase;
use edge::store::verify;
use serde_json::{Value, json};

use station::{
    Place, Station, errors, fields, get, get_text, has_banner, phase, review, review_and_sign, sign,
};

/// A data root on a disk of its own.
struct Disk {
    place: Place,
    /// Read-only mounts over the disk.
    covered: bool,
}

impl Disk {
    /// `None`, said aloud, where none can be mounted.
    fn new(options: &str) -> Option<Self> {
        let place = Place::new();
        let at = place.folder.path().join("disk");
        fs::create_dir(&at).unwrap();
        if let Err(reason) = mount(&["-t", "tmpfs", "-o", options, "tmpfs"], &at) {
            eprintln!("skipped: no tmpfs can be mounted (needs root): {reason}");
            return None;
        }
        let place = place.with_root(at.join("data"));
        Some(Self {
            place,
            covered: false,
        })
    }

    fn at(&self) -> PathBuf {
        self.place.folder.path().join("disk")
    }

    fn ballast(&self) -> PathBuf {
        self.at().join("ballast")
    }

    /// Not a byte is left.
    fn fill(&self) {
        let mut file = fs::File::create(self.ballast()).unwrap();
        for piece in [1 << 16, 1 << 12, 1] {
            let piece = vec![7; piece];
            loop {
                match file.write_all(&piece) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    /// Not a file more can be made.
    fn use_up_files(&self) {
        fs::create_dir(self.ballast()).unwrap();
        for n in 0.. {
            match fs::File::create(self.ballast().join(n.to_string())) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn empty(&self) {
        match self.ballast().is_dir() {
            true => fs::remove_dir_all(self.ballast()).unwrap(),
            false => fs::remove_file(self.ballast()).unwrap(),
        }
    }

    /// The disk cannot be made read-only itself while files of it are written: a read-only mount of it is
    /// laid over it, so that every name leads there.
    fn cover(&mut self) {
        let at = self.at();
        let from = at.to_str().unwrap().to_owned();
        mount(&["--bind", &from], &at).unwrap();
        self.covered = true;
        mount(&["-o", "remount,bind,ro"], &at).unwrap();
    }

    fn uncover(&mut self) {
        let done = Command::new("umount").arg(self.at()).status().unwrap();
        assert!(done.success());
        self.covered = false;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for _ in 0..1 + usize::from(self.covered) {
            // Lazily: where a test fails its station may still run.
            let _ = Command::new("umount").arg("-l").arg(self.at()).status();
        }
    }
}

fn mount(words: &[&str], at: &Path) -> Result<(), String> {
    let done = Command::new("mount").args(words).arg(at).output();
    let done = done.map_err(|error| format!("mount: {error}"))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&done.stderr).trim().to_owned()),
    }
}

/// White cells come often, the stage never ends.
const SLIDE: &str = "seed = 7, white_cells = [1, 2]";

fn note(text: &str) -> Value {
    json!({ "do": "note", "text": text, "who": "B" })
}

/// The command that anyone runs.
fn verify_command(root: &Path) -> (Option<i32>, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_leuko-edge"))
        .args(["verify", "--root"])
        .arg(root)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&done.stderr).into_owned();
    (done.status.code(), words)
}

/// The disk refuses: the banner says why, nothing more is counted, and what is there is shown and sound.
/// Gives the fields that are counted.
fn assert_refusing(station: &mut Station, root: &Path, words: &str) -> u64 {
    let state = station.wait_state(|state| has_banner(state, words));
    assert!(has_banner(&state, "Nothing can be recorded"), "{state}");
    let counted = fields(&state);
    thread::sleep(Duration::from_millis(1500));
    let page = station.wait_page();
    let state = get(&page, "/api/state").unwrap();
    assert_eq!(fields(&state), counted, "{state}");
    assert_eq!(state["mode"], json!("running"));
    for path in ["/", "/healthz", "/metrics", "/field.jpg"] {
        let status = station.until(|_| get_text(&page, path).filter(|it| it.0 == 200));
        assert!(status.is_some(), "{path}: {}", station.said());
    }
    let (code, said) = verify_command(root);
    assert_eq!(code, Some(0), "{said}");
    counted
}

/// Room again: the count goes on by itself.
fn assert_goes_on(station: &mut Station, counted: u64) {
    let freed = Instant::now();
    station.wait_state(|state| fields(state) > counted && errors(state) == 0);
    println!("counts again {:.1} s after", freed.elapsed().as_secs_f32());
}

fn end(mut station: Station, place: &Place, case: &str, counted: u64) {
    let last = fields(&station.wait_state(|_| true));
    assert_eq!(station.terminate().0, Some(0), "{}", station.said());
    place.assert_sound();
    assert_eq!(verify_command(&place.root()).0, Some(0));
    let state = place.case(case);
    assert!(state.fields().len() as u64 >= last.max(counted));
    let pictures = fs::read_dir(place.root().join("cases").join(case).join("fields")).unwrap();
    assert_eq!(pictures.count(), state.fields().len(), "no half field");
}

#[test]
fn a_full_disk_stops_the_count_with_a_reason_and_room_lets_it_go_on() {
    let Some(disk) = Disk::new("size=8m") else {
        return;
    };
    let root = disk.place.root();
    let config = disk.place.config(SLIDE);
    let mut station = Station::start(&config, &["--case", "FULL"]);
    station.wait_state(|state| fields(state) >= 2);
    let (status, answer) = station.order(&note("before"));
    assert_eq!(status, 200, "{answer}");
    disk.fill();
    let counted = assert_refusing(&mut station, &root, "No space left on device");
    // What needs room is refused with the reason, and nothing of it stays.
    let before = disk.place.lines("FULL");
    let mut refused = 0;
    for n in 0..100 {
        let (status, answer) = station.order(&note(&format!("{n} {}", "x".repeat(350))));
        assert!(matches!(status, 200 | 507), "{status} {answer}");
        refused += u32::from(status == 507);
        if refused == 3 {
            let words = answer["error"].as_str().unwrap_or_default();
            let says_why = ["No space left on device", "disk is full"];
            assert!(says_why.iter().any(|it| words.contains(it)), "{answer}");
            break;
        }
    }
    assert_eq!(refused, 3, "a full disk took 100 notes");
    assert!(disk.place.lines("FULL") >= before);
    let (status, answer) = station.order(&json!({ "do": "begin_review", "who": "Dr. A" }));
    assert_eq!(status, 507, "{answer}");

    disk.empty();
    assert_goes_on(&mut station, counted);
    let (status, answer) = station.order(&note("after"));
    assert_eq!(status, 200, "{answer}");
    end(station, &disk.place, "FULL", counted);
    let case = disk.place.case("FULL");
    let notes: Vec<&str> = case.notes().iter().map(|it| it.text.as_str()).collect();
    assert_eq!(
        (notes.first(), notes.last()),
        (Some(&"before"), Some(&"after"))
    );
}

#[test]
fn a_full_disk_refuses_the_signature_with_the_reason_and_takes_it_once_there_is_room() {
    let Some(disk) = Disk::new("size=8m") else {
        return;
    };
    let root = disk.place.root();
    let config = disk.place.config(SLIDE);
    let mut station = Station::start(&config, &["--case", "SIGN"]);
    let counted = fields(&station.wait_state(|state| fields(state) >= 2));
    review(&mut station, &root, "SIGN");
    disk.fill();
    // What is left in the last blocks of the files that are there, down to what a signature needs.
    for length in [350, 1] {
        let refuses = |station: &mut Station| {
            (0..50).any(|_| station.order(&note(&"x".repeat(length))).0 == 507)
        };
        let refused = (0..3).all(|_| refuses(&mut station));
        assert!(refused, "a full disk took 50 notes of {length} letters");
    }
    let (status, answer) = sign(&mut station);
    assert_eq!(status, 507, "{answer}");
    let says_why = ["No space left on device", "disk is full"];
    let said = answer.to_string();
    assert!(says_why.iter().any(|it| said.contains(it)), "{answer}");
    let state = station.wait_state(|_| true);
    assert_eq!(phase(&state), "review", "{state}");

    disk.empty();
    let (status, answer) = sign(&mut station);
    assert_eq!(status, 200, "{answer}");
    end(station, &disk.place, "SIGN", counted);
    assert_eq!(disk.place.case("SIGN").phase(), Phase::Signed);
}

/// A disk that stays in the machine; what is taken out is its place in the tree.
struct Slot<'a> {
    disk: &'a Disk,
    at: PathBuf,
}

impl<'a> Slot<'a> {
    fn new(disk: &'a Disk) -> Self {
        let at = disk.place.folder.path().join("slot");
        fs::create_dir(&at).unwrap();
        let slot = Self { disk, at };
        slot.insert();
        slot
    }

    /// The same data by way of the slot.
    fn config(&self) -> PathBuf {
        let config = self.disk.place.config(SLIDE);
        let text = fs::read_to_string(&config).unwrap();
        let outside = self.disk.place.root();
        let inside = self.at.join("data");
        let text = text.replace(outside.to_str().unwrap(), inside.to_str().unwrap());
        fs::write(&config, text).unwrap();
        config
    }

    fn insert(&self) {
        mount(&["--bind", self.disk.at().to_str().unwrap()], &self.at).unwrap();
    }

    /// Lazily: the station's files of it are open.
    fn take_out(&self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }

    fn assert_nothing_written(&self) {
        let left = fs::read_dir(&self.at).unwrap().count();
        assert_eq!(left, 0, "something is written where the disk was");
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.take_out();
    }
}

const TAKEN_OUT: &str = "the disk of the data was taken out";

#[test]
fn a_disk_that_is_taken_out_stops_the_count_until_it_is_back() {
    let Some(disk) = Disk::new("size=64m") else {
        return;
    };
    let slot = Slot::new(&disk);
    let mut station = Station::start(&slot.config(), &["--case", "GONE"]);
    station.wait_state(|state| fields(state) >= 2);
    slot.take_out();
    let state = station.wait_state(|state| has_banner(state, TAKEN_OUT));
    assert!(has_banner(&state, "Nothing can be recorded"), "{state}");
    let (status, answer) = station.order(&note("no"));
    assert_eq!(status, 507, "{answer}");
    let counted = fields(&state);
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(fields(&station.wait_state(|_| true)), counted);
    slot.assert_nothing_written();
    // The data of another station, perhaps of a start without the disk.
    let foreign = slot.at.join("data/cases");
    fs::create_dir_all(&foreign).unwrap();
    thread::sleep(Duration::from_secs(12));
    let state = station.wait_state(|_| true);
    assert!(has_banner(&state, TAKEN_OUT), "{state}");
    assert_eq!((phase(&state), fields(&state)), ("scanning", counted));
    fs::remove_dir_all(slot.at.join("data")).unwrap();
    slot.assert_nothing_written();
    slot.insert();
    assert_goes_on(&mut station, counted);
    let reopened = |it: &Station| {
        it.said()
            .contains("\"event\":\"data_reopened\"")
            .then_some(())
    };
    assert!(station.until(reopened).is_some(), "{}", station.said());
    end(station, &disk.place, "GONE", counted);
}

#[test]
fn a_disk_that_is_taken_out_after_a_signature_is_waited_for_with_the_next_case() {
    let Some(disk) = Disk::new("size=64m") else {
        return;
    };
    let slot = Slot::new(&disk);
    let root = slot.at.join("data");
    let mut station = Station::start(&slot.config(), &["--case", "FIRST"]);
    let counted = fields(&station.wait_state(|state| fields(state) >= 2));
    review_and_sign(&mut station, &root, "FIRST");
    slot.take_out();
    let new = json!({ "do": "new_case", "patient": "p", "specimen": "s", "stain": "MGG" });
    let (status, answer) = station.order(&new);
    assert_eq!(status, 507, "{answer}");
    assert!(answer.to_string().contains(TAKEN_OUT), "{answer}");
    slot.assert_nothing_written();
    slot.insert();
    let state = station.wait_state(|state| errors(state) == 0 && phase(state) == "signed");
    // Nobody records anything, and still it is seen.
    slot.take_out();
    station.wait_state(|state| has_banner(state, TAKEN_OUT));
    slot.insert();
    station.wait_state(|state| errors(state) == 0 && phase(state) == "signed");
    assert!(fields(&state) >= counted, "{state}");
    let (status, answer) = station.order(&new);
    assert_eq!(status, 200, "{answer}");
    station.wait_state(|state| phase(state) == "scanning" && fields(state) >= 1);
    assert_eq!(station.terminate().0, Some(0), "{}", station.said());
    disk.place.assert_sound();
    assert_eq!(disk.place.case("FIRST").phase(), Phase::Signed);
}

#[test]
fn a_disk_without_files_stops_the_count_and_lets_a_person_finish_the_case() {
    let Some(disk) = Disk::new("size=64m,nr_inodes=120") else {
        return;
    };
    let root = disk.place.root();
    let config = disk.place.config(SLIDE);
    let mut station = Station::start(&config, &["--case", "FILES"]);
    station.wait_state(|state| fields(state) >= 2);
    disk.use_up_files();
    let counted = assert_refusing(&mut station, &root, "No space left on device");
    // A note and a signature are lines of files that are there.
    let (status, answer) = station.order(&note("no files"));
    assert_eq!(status, 200, "{answer}");
    disk.empty();
    assert_goes_on(&mut station, counted);
    disk.use_up_files();
    let counted = assert_refusing(&mut station, &root, "No space left on device");
    review_and_sign(&mut station, &root, "FILES");
    disk.empty();
    end(station, &disk.place, "FILES", counted);
    assert_eq!(disk.place.case("FILES").phase(), Phase::Signed);
}

#[test]
fn a_disk_that_becomes_read_only_takes_no_count_and_no_signature_until_it_can_be_written() {
    let Some(mut disk) = Disk::new("size=64m") else {
        return;
    };
    let root = disk.place.root();
    let config = disk.place.config(SLIDE);
    let mut station = Station::start(&config, &["--case", "RO"]);
    station.wait_state(|state| fields(state) >= 2);
    disk.cover();
    let counted = assert_refusing(&mut station, &root, "Read-only file system");
    for order in [
        note("no"),
        json!({ "do": "begin_review", "who": "Dr. A" }),
        json!({ "do": "new_field", "who": "B" }),
    ] {
        let (status, answer) = station.order(&order);
        assert_eq!(status, 507, "{answer}");
        let words = answer.to_string();
        assert!(words.contains("Read-only file system"), "{words}");
    }
    disk.uncover();
    assert_goes_on(&mut station, counted);
    review(&mut station, &root, "RO");
    disk.cover();
    let (status, answer) = sign(&mut station);
    assert_eq!(status, 507, "{answer}");
    assert!(
        answer.to_string().contains("Read-only file system"),
        "{answer}"
    );
    disk.uncover();
    let (status, answer) = sign(&mut station);
    assert_eq!(status, 200, "{answer}");
    end(station, &disk.place, "RO", counted);
    let case = disk.place.case("RO");
    assert_eq!((case.phase(), case.notes().len()), (Phase::Signed, 0));
}

/// A start on a disk that takes nothing: the case is shown, no record is taken, and no new case opened.
/// When it takes records again the station goes on by itself.
fn start_without_room(disk: &Disk, refuse: impl Fn(), words: &str, allow: impl Fn()) {
    let root = disk.place.root();
    let config = disk.place.config(SLIDE);
    let mut station = Station::start(&config, &["--case", "OPEN"]);
    let counted = fields(&station.wait_state(|state| fields(state) >= 2));
    assert_eq!(station.terminate().0, Some(0), "{}", station.said());
    refuse();
    let before = disk.place.lines("OPEN");

    let mut station = Station::start(&config, &["--case", "OPEN"]);
    let state = station.wait_state(|state| has_banner(state, words));
    assert!(has_banner(&state, "Nothing can be recorded"), "{state}");
    assert!(has_banner(&state, "tried again by itself"), "{state}");
    let banners = state["banners"].to_string();
    let said = banners.matches("othing can be recorded").count();
    assert_eq!(said, 1, "{banners}");
    assert_eq!(state["mode"], json!("running"), "{state}");
    assert_eq!(phase(&state), "scanning", "{state}");
    assert!(fields(&state) >= counted, "{state}");
    let (status, answer) = station.order(&note("no"));
    assert_eq!(status, 507, "{answer}");
    assert!(answer.to_string().contains(words), "{answer}");
    assert_eq!(disk.place.lines("OPEN"), before);
    assert_eq!(verify(&root).unwrap().first_flaw(), None);

    allow();
    station.wait_state(|state| fields(state) > counted && errors(state) == 0);
    end(station, &disk.place, "OPEN", counted);
    // What could not be recorded at the start is there, before what came after it.
    let kinds = disk.place.station_kinds();
    let first = kinds.iter().position(|kind| kind == "station_stopped");
    let second = &kinds[first.unwrap() + 1..];
    assert_eq!(
        second,
        [
            "station_started",
            "source_opened",
            "data_reopened",
            "station_stopped"
        ]
    );
}

#[test]
fn a_start_on_a_read_only_disk_shows_the_case_and_records_nothing() {
    let Some(disk) = Disk::new("size=64m") else {
        return;
    };
    let remount = |how: &str| mount(&["-o", &format!("remount,{how}")], &disk.at()).unwrap();
    let (refuse, allow) = (|| remount("ro"), || remount("rw"));
    start_without_room(&disk, refuse, "ead-only", allow);
}

#[test]
fn a_start_on_a_full_disk_shows_the_case_and_records_nothing() {
    let Some(disk) = Disk::new("size=8m") else {
        return;
    };
    let (refuse, allow) = (|| disk.fill(), || disk.empty());
    start_without_room(&disk, refuse, " bytes free", allow);
}

#[test]
fn below_the_floor_a_new_case_is_refused_with_what_is_free_and_the_open_one_goes_on() {
    for (options, floor, words) in [
        ("size=16m", "floor_mb = 8, floor_files = 0", "bytes free"),
        (
            "size=64m,nr_inodes=300",
            "floor_mb = 1, floor_files = 200",
            "inodes free",
        ),
    ] {
        let Some(disk) = Disk::new(options) else {
            return;
        };
        let config = disk.place.config(SLIDE);
        let text = fs::read_to_string(&config).unwrap();
        let text = text.replace("floor_mb = 1, floor_files = 0", floor);
        fs::write(&config, text).unwrap();
        let mut station = Station::start(&config, &["--case", "FIRST"]);
        station.wait_state(|state| fields(state) >= 1);
        // Half of the disk: the floor is above, the open case has room.
        fs::create_dir(disk.ballast()).unwrap();
        fs::write(disk.ballast().join("half"), vec![7; 9_000_000]).unwrap();
        for n in 0..150 {
            fs::write(disk.ballast().join(n.to_string()), "").unwrap();
        }
        let counted = fields(&station.wait_state(|_| true));
        station.wait_state(|state| fields(state) > counted + 1);
        review_and_sign(&mut station, &disk.place.root(), "FIRST");
        let new = json!({ "do": "new_case", "patient": "p", "specimen": "s", "stain": "MGG" });
        let (status, answer) = station.order(&new);
        assert_eq!(status, 507, "{answer}");
        let said = answer.to_string();
        for part in [words, "expected at least", "to begin a case"] {
            assert!(said.contains(part), "{said}");
        }
        disk.empty();
        let (status, answer) = station.order(&new);
        assert_eq!(status, 200, "{answer}");
        end(station, &disk.place, "FIRST", counted);
    }
}
