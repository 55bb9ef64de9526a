//! `leuko-edge run` from outside: real processes, real signals, what the disk then holds.

mod station;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use edge::case::decision::Label;
use edge::case::state::{CaseState, Phase};
use edge::frame::Frame;
use edge::source::pace::Rate;
use edge::source::phantom::{Phantom, Walk};
use edge::source::{FrameSource, Received};
use edge::station::counted::jpeg;
use serde_json::{Value, json};
use shared::geometry::Size;
use shared::pixels::RgbView;

use station::{
    Place, Station, errors, fields, get, get_text, has_banner, phase, post, review_and_sign,
    seen_twice,
};

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

    count_on_and_edit(&mut station);
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
    assert!(case.white_cells() >= 119);
    let eosinophil = case.opened().model.classes.find("Eosinophil").unwrap();
    assert_eq!(case.cells()[0].label(), Label::Class(eosinophil));
    assert_eq!([1, 2].map(|cell| case.cells()[cell].removed), [false, true]);
    let files = |folder: &str| {
        let folder = place.root().join("cases/RUN-1").join(folder);
        fs::read_dir(folder).unwrap().count()
    };
    assert_eq!(files("fields"), case.fields().len());
    assert_eq!(files("crops"), case.cells().len());
    // Beyond the first slide the place is lost, and somebody says "new field".
    assert!(case.fields_by_hand() > 0);
    assert!(case.fields().last().unwrap().place.island > 0);
    assert_database_agrees(&place, &case);
    assert!(place.root().join("config.last-good.toml").exists());
    let kinds = place.station_kinds();
    assert_eq!(
        kinds,
        ["station_started", "source_opened", "station_stopped"]
    );
}

fn done(station: &mut Station, order: &Value) {
    let (status, answer) = station.order(order);
    assert_eq!(status, 200, "{order}: {answer}");
}

/// More cells than first wanted, then what a reviewer may do to a cell.
fn count_on_and_edit(station: &mut Station) {
    done(
        station,
        &json!({ "do": "resume_scanning", "goal": 120, "who": "Dr. A" }),
    );
    let enough = |state: &Value| {
        phase(state) == "target_reached" && state["case"]["counted"].as_u64() >= Some(120)
    };
    let state = station.wait_state(enough);
    let rows = state["case"]["rows"].as_array().unwrap();
    let counted = rows.iter().filter(|row| row["count"].as_u64() > Some(0));
    for row in counted.filter(|row| !row["percent"].is_null()) {
        let [low, high] = [0, 1].map(|at| row["limits_percent"][at].as_f64().unwrap());
        let percent = row["percent"].as_f64().unwrap();
        assert!(low < percent && percent < high, "{row}");
    }
    assert!(state["case"]["advice"].is_string(), "{state}");
    let mut done = |order: Value| done(station, &order);
    done(json!({ "do": "begin_review", "who": "Dr. A" }));
    for class in ["Basophil", "Eosinophil"] {
        done(json!({ "do": "reclassify", "cell": 0, "class": class, "who": "Dr. A" }));
    }
    let attribute = json!({ "do": "set_attribute", "cell": 0, "attribute": "granularity", "value": null, "who": "Dr. A" });
    done(attribute);
    done(json!({ "do": "remove_cell", "cell": 1, "who": "Dr. A" }));
    done(json!({ "do": "restore_cell", "cell": 1, "who": "Dr. A" }));
    done(json!({ "do": "remove_cell", "cell": 2, "who": "Dr. A" }));
}

/// What other programs read of a case in the database.
fn assert_database_agrees(place: &Place, case: &CaseState) {
    let database = rusqlite::Connection::open(place.root().join("station.sqlite")).unwrap();
    let count = |from: &str| {
        let sql = format!("SELECT count(*) FROM {from}");
        let count: i64 = database.query_row(&sql, [], |row| row.get(0)).unwrap();
        count as usize
    };
    let of_case = "WHERE case_id = 'RUN-1'";
    assert_eq!(count(&format!("fields {of_case}")), case.fields().len());
    assert_eq!(count(&format!("cells {of_case}")), case.cells().len());
    assert_eq!(count(&format!("signatures {of_case}")), 1);
    let confirmed = format!("edits {of_case} AND kind = 'cells_confirmed' AND who = 'Dr. A'");
    assert!(count(&confirmed) > 0);
    let last = case.cells().len() - 1;
    let sql = format!("SELECT class, score FROM cells {of_case} AND cell = {last}");
    let read = |row: &rusqlite::Row| Ok((row.get(0)?, row.get(1)?));
    let (class, score): (u8, f64) = database.query_row(&sql, [], read).unwrap();
    let cell = case.cells()[last].seen.as_ref().unwrap();
    assert_eq!(class, cell.class.0);
    assert!((score - f64::from(cell.score.get())).abs() < 1e-6);
}

#[test]
fn a_script_whose_pictures_are_not_there_ends_with_the_reason() {
    let place = Place::new();
    let missing = place.folder.path().join("missing");
    let config = place.config_of_folder(&missing);
    let mut station = Station::start(&config, &["--case", "NONE", "--until-end"]);
    assert_eq!(station.ended().code(), Some(3), "{}", station.said());
    let said = station.said();
    let last = said.lines().last().unwrap();
    assert!(last.contains(missing.to_str().unwrap()), "{said}");
    place.assert_sound();
    let cases = fs::read_dir(place.root().join("cases")).unwrap();
    assert_eq!(cases.count(), 0, "a case was begun without a picture");
}

#[test]
fn pictures_of_a_folder_are_fields_of_their_own_and_each_that_is_not_counted_is_named() {
    let place = Place::new();
    let pictures = place.folder.path().join("pictures");
    fs::create_dir(&pictures).unwrap();
    let mut frame = Frame::new();
    for seed in 1..=9 {
        let mut walk = Walk::demo(seed);
        walk.field.white_cells = [2, 3];
        let mut source = Phantom::new(walk, Rate::Free, Instant::now()).unwrap();
        source.next(Duration::ZERO, &mut frame).unwrap();
        let jpeg = jpeg(frame.view().unwrap(), 90).unwrap();
        fs::write(pictures.join(format!("{seed}.jpg")), &jpeg).unwrap();
        if seed == 4 {
            fs::write(pictures.join("8-the-4th-again.jpg"), &jpeg).unwrap();
        }
    }
    let blank = vec![200; 640 * 480 * 3];
    let view = RgbView::new(&blank, Size::new(640, 480)).unwrap();
    fs::write(pictures.join("5-blank.jpg"), jpeg(view, 90).unwrap()).unwrap();
    let small = RgbView::new(&blank[..320 * 240 * 3], Size::new(320, 240)).unwrap();
    fs::write(pictures.join("9-small.jpg"), jpeg(small, 90).unwrap()).unwrap();
    fs::create_dir(pictures.join("6-folder.jpg")).unwrap();
    fs::write(pictures.join("7-cut.jpg"), &jpeg(view, 90).unwrap()[..500]).unwrap();
    let config = place.config_of_folder(&pictures);

    let mut station = Station::start(&config, &["--case", "SET", "--until-end"]);
    assert_eq!(station.ended().code(), Some(0), "{}", station.said());
    let said = station.said();
    for (event, picture, reason) in [
        ("picture_not_counted", "5-blank.jpg", "blank: cells cover"),
        (
            "picture_not_counted",
            "8-the-4th-again.jpg",
            "this field is counted",
        ),
        ("picture_not_counted", "9-small.jpg", "320x240"),
        ("frame_damaged", "6-folder.jpg", "a folder"),
        ("frame_damaged", "7-cut.jpg", "JPEG cut short"),
    ] {
        let mut lines = said.lines().filter(|line| line.contains(event));
        let line = lines.find(|line| line.contains(picture));
        assert!(
            line.is_some_and(|it| it.contains(reason)),
            "{picture}: {said}"
        );
    }
    assert_eq!(said.matches("picture_not_counted").count(), 3, "{said}");
    let last = said.lines().last().unwrap();
    for words in [
        "station_stopped",
        "\"fields\":9",
        "\"already_counted\":1",
        "\"frames_missed\":1",
        "\"frames_while_not_counting\":0",
    ] {
        assert!(last.contains(words), "{last}");
    }
    place.assert_sound();
    let case = place.case("SET");
    assert_eq!(case.fields().len(), 9, "{said}");
    assert!(case.cells().len() >= 15, "{}", case.cells().len());
    let islands = case.fields().iter().map(|it| it.place.island);
    assert_eq!(islands.max(), Some(8));
}

#[test]
fn a_folder_waits_for_the_case_that_somebody_opens() {
    let place = Place::new();
    let pictures = place.folder.path().join("pictures");
    fs::create_dir(&pictures).unwrap();
    draw(&pictures, 0, Size::new(640, 480), 5, 1);
    let config = place.config_of_folder(&pictures);
    let mut station = Station::start(&config, &[]);
    station.wait_state(|state| state["ready"] == json!(true));
    thread::sleep(Duration::from_secs(1));
    let new = json!({ "do": "new_case", "patient": "p", "specimen": "s", "stain": "MGG" });
    let (status, answer) = station.order(&new);
    assert_eq!(status, 200, "{answer}");
    station.wait_state(|state| fields(state) >= 1 && has_banner(state, "everything was shown"));
    assert_eq!(station.terminate().0, Some(0), "{}", station.said());
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
    let case = place.case("CAL");
    let note = case.notes().last().unwrap();
    let although = "the scale was accepted although the source is phantom, seed 4";
    assert!(note.text.as_str().starts_with(although), "{note:?}");
}

/// Numbered pictures of a drawn slide, as many as asked for, of a size; `times` over.
fn draw(folder: &Path, first: usize, size: Size, frames: usize, times: usize) {
    let walk = Walk::demo(5).in_pixels(size);
    let mut source = Phantom::new(walk, Rate::Free, Instant::now()).unwrap();
    let mut frame = Frame::new();
    for n in 0..frames {
        let received = source.next(Duration::ZERO, &mut frame).unwrap();
        assert_eq!(received, Received::Frame);
        let jpeg = jpeg(frame.view().unwrap(), 90).unwrap();
        for time in 0..times {
            let number = first + time * frames + n;
            fs::write(folder.join(format!("{number:05}.jpg")), &jpeg).unwrap();
        }
    }
}

#[test]
fn another_size_stops_the_count_until_a_person_accepts_it() {
    let place = Place::new();
    let pictures = place.folder.path().join("pictures");
    fs::create_dir(&pictures).unwrap();
    draw(&pictures, 0, Size::new(640, 480), 16, 1);
    // Long enough for a person, and for a busy machine.
    draw(&pictures, 16, Size::new(320, 240), 24, 50);
    let config = place.config_of_folder(&pictures);

    let mut station = Station::start(&config, &["--case", "SIZE"]);
    let words = "The picture's size has changed from 640x480 to 320x240";
    station.wait_state(|state| has_banner(state, words));
    // The last field of the former size may still be on its way.
    thread::sleep(Duration::from_secs(1));
    let before = fields(&station.wait_state(|_| true));
    assert!(before >= 1, "{}", station.said());
    thread::sleep(Duration::from_secs(1));
    assert_eq!(fields(&station.wait_state(|_| true)), before);
    let (status, answer) = station.order(&json!({ "do": "accept_scale", "who": "Dr. A" }));
    assert_eq!(status, 200, "{answer}");
    station.wait_state(|state| fields(state) > before && !has_banner(state, words));
    assert_eq!(station.terminate().0, Some(0), "{}", station.said());
    place.assert_sound();
    let sizes: Vec<_> = place
        .case("SIZE")
        .fields()
        .iter()
        .map(|it| it.size.width)
        .collect();
    assert_eq!((sizes.first(), sizes.last()), (Some(&640), Some(&320)));
    let kinds = place.station_kinds();
    assert!(kinds.iter().any(|it| it == "size_accepted"), "{kinds:?}");
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
    // It can never be signed, and does not hold up the next case, now or after a start.
    let new =
        json!({ "do": "new_case", "patient": "p", "specimen": "s", "stain": "MGG", "case": "E" });
    // The data may be opened anew before that: the disk refused a picture.
    let opened = station.until(|it| match post(&it.page()?, &new)? {
        (200, _) => Some(()),
        (409, answer) if answer.to_string().contains("opened anew") => None,
        refused => panic!("{refused:?}"),
    });
    assert!(opened.is_some(), "{}", station.said());
    let state = station.wait_state(|state| fields(state) >= 1);
    assert!(has_banner(&state, "Case D was left"), "{state}");
    assert_eq!(errors(&state), 0, "{state}");
    assert_eq!(station.terminate().0, Some(0), "{}", station.said());
    let mut station = Station::start(&config, &[]);
    let state = station.wait_state(|state| fields(state) >= 2);
    assert_eq!(state["case"]["id"], json!("E"), "{state}");
    assert!(
        has_banner(&state, "The record of case D is damaged"),
        "{state}"
    );
    review_and_sign(&mut station, &place.root(), "E");
    assert_eq!(station.terminate().0, Some(0), "{}", station.said());

    // A signed case that vanished is missed, by the station and by the list.
    fs::remove_dir_all(place.root().join("cases/E")).unwrap();
    let mut station = Station::start(&config, &[]);
    let words = "The record of case E is damaged";
    let state = station.wait_state(|state| has_banner(state, words));
    assert!(
        has_banner(&state, "The record of case D is damaged"),
        "{state}"
    );
    assert_eq!(station.terminate().0, Some(0), "{}", station.said());
    let listed = Command::new(env!("CARGO_BIN_EXE_leuko-edge"))
        .args(["cases", "--root"])
        .arg(place.root())
        .output()
        .unwrap();
    let printed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.status.code(), Some(3), "{printed}");
    let lines: Vec<&str> = printed
        .lines()
        .filter(|line| line.contains("FLAW"))
        .collect();
    assert_eq!(lines.len(), 2, "{printed}");
}
