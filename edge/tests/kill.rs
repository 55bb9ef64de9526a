//! SIGKILL at random moments of a count, of notes, of a review and right after a signature: nothing that was
//! acknowledged is lost, and of what was not, at most one frame.

mod station;

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use edge::case::decision::Label;
use edge::case::state::Phase;
use edge::store::{Repaired, Store};
use serde_json::json;

use station::{Place, Station, fields, get, phase, post, review_and_sign, seen_twice};

/// A case takes 100 notes.
const NOTES_OF_A_KILL: usize = 12;

/// What was acknowledged to somebody before the kill.
#[derive(Default)]
struct Told {
    fields: u64,
    counted: u64,
    notes: Vec<String>,
    /// Cell and name of its class.
    decisions: Vec<(u32, &'static str)>,
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

/// Decides about one cell after another until the kill.
fn review_until(station: &mut Station, told: &mut Told) {
    const CLASSES: [&str; 2] = ["Basophil", "Eosinophil"];
    let page = station.wait_page();
    let begin = json!({ "do": "begin_review", "who": "Dr. A" });
    // The kill may come before the answer.
    if post(&page, &begin).is_none_or(|(status, _)| status != 200) {
        return;
    }
    for (cell, class) in (0..told.counted as u32).zip(CLASSES.into_iter().cycle()) {
        let order = json!({ "do": "reclassify", "cell": cell, "class": class, "who": "Dr. A" });
        match post(&page, &order) {
            Some((200, _)) => told.decisions.push((cell, class)),
            // It is what the model says.
            Some((409, _)) => {}
            Some((status, answer)) => panic!("{status} {answer}"),
            None => return,
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
    let begun = |it: &&Repaired| match it {
        Repaired::Unrecorded { picture, .. } => {
            picture.parent().is_some_and(|it| it.ends_with("fields"))
        }
        _ => false,
    };
    let halves = |it: &&Repaired| matches!(it, Repaired::HalfRecord { .. });
    assert!(repaired.iter().filter(begun).count() <= 1, "{repaired:?}");
    assert!(repaired.iter().filter(halves).count() <= 1, "{repaired:?}");
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
    let classes = &state.opened().model.classes;
    for &(cell, class) in &told.decisions {
        let label = state.cells()[cell as usize].label();
        assert_eq!(
            label,
            Label::Class(classes.find(class).unwrap()),
            "cell {cell}"
        );
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
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        Duration::from_millis((random >> 33) % below)
    };
    let (mut fields, mut notes, mut decisions, mut signed) = (0, 0, 0, 0);
    for round in 0..kills.div_ceil(OF_A_CASE) {
        let case = format!("K{round}");
        let mut told = Told::default();
        for kill in 0..OF_A_CASE.min(kills - round * OF_A_CASE) {
            let after = next(2500);
            // Twice the same slide: the second time its fields are recognised.
            let seed = 1 + round * OF_A_CASE + kill / 2;
            let config = place.config(&format!("seed = {seed}, white_cells = [2, 3]"));
            let mut station = Station::start(&config, &["--case", &case]);
            // Every other one is killed at any moment of its start, too.
            let end = match kill % 2 {
                0 => station.started + after,
                _ => {
                    station.wait_page();
                    Instant::now() + after
                }
            };
            let killer = kill_at(&station, end);
            use_until(&mut station, end, kill, &mut told);
            killer.join().unwrap();
            let status = station.ended();
            assert_eq!(status.code(), None, "ended by itself: {}", station.said());
            assert_kept(&place, &case, &told);
        }
        fields += told.fields;
        notes += told.notes.len();
        let config = place.config(&format!("seed = {}", 1000 + round));
        let mut station = Station::start(&config, &["--case", &case]);
        let state = station.wait_state(|state| !phase(state).is_empty());
        told.counted = state["case"]["counted"].as_u64().unwrap();
        let killer = kill_at(&station, Instant::now() + next(600));
        review_until(&mut station, &mut told);
        killer.join().unwrap();
        station.ended();
        assert_kept(&place, &case, &told);
        decisions += told.decisions.len();
        // Signed, and killed as soon as that is acknowledged.
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
    if kills >= OF_A_CASE {
        assert!(
            fields > 0 && notes > 0 && decisions > 0,
            "the kills came before anything was done"
        );
    }
    println!(
        "{kills} kills of counts, {signed} of reviews, {signed} after signatures: {fields} fields, {notes} notes, \
         {decisions} decisions, {signed} signatures acknowledged, none lost"
    );
}
