//! A station that counts, is killed, is tampered with, and runs out of disk.

mod copies;
mod crash;
mod full;
mod refused;
mod tamper;

use std::fs;
use std::path::Path;

use super::*;

/// A folder in memory where there is one: thousands of small changes wait for no disk. What happens
/// to a file when its process is killed is the same there.
pub(super) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// No floor: the tests' disks are small.
pub(super) const NO_FLOOR: Floor = Floor {
    bytes: 0,
    inodes: 0,
};

pub(super) fn id(name: &str) -> CaseId {
    CaseId::try_from(name).unwrap()
}

pub(super) fn entry<'a>(kind: &'a str, json: &'a str) -> Entry<'a> {
    Entry {
        who: "reader",
        kind,
        json,
        boot: 1,
        wall: Some(1_800_000_000),
    }
}

/// Opens a root that needs no repair.
pub(super) fn open(root: &Path) -> Store {
    let (store, repaired) = Store::open(root).unwrap();
    assert_eq!(repaired, []);
    store.with_floor(NO_FLOOR)
}

/// Opens a root and tells what was repaired.
pub(super) fn reopen(root: &Path) -> (Store, Vec<Repaired>) {
    let (store, repaired) = Store::open(root).unwrap();
    (store.with_floor(NO_FLOOR), repaired)
}

/// A case of four records and three pictures.
pub(super) fn count_case(store: &mut Store, name: &str) {
    let case = id(name);
    let mut record = |kind, json, pictures: &[(&str, &[u8])]| {
        store.record(&case, entry(kind, json), pictures).unwrap();
    };
    record("case_opened", r#"{"target":200}"#, &[]);
    record(
        "field_counted",
        r#"{"field":1}"#,
        &[
            ("fields/0001.jpg", b"first field"),
            ("crops/0001-1.jpg", b"cell"),
        ],
    );
    record(
        "field_counted",
        r#"{"field":2}"#,
        &[("fields/0002.jpg", b"second field")],
    );
    record("signed", r#"{"who":"reader"}"#, &[]);
}

/// A station with cases `A` (signed) and `B` (open), closed.
pub(super) fn two_cases(root: &Path) {
    let mut store = open(root);
    store.record_station(entry("started", "{}")).unwrap();
    count_case(&mut store, "A");
    count_case(&mut store, "B");
    store
        .record(&id("B"), entry("amended", r#"{"reason":"x"}"#), &[])
        .unwrap();
    store.record_station(entry("stopped", "{}")).unwrap();
}

pub(super) fn copy_root(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy_root(&item.path(), &target);
        } else {
            fs::copy(item.path(), target).unwrap();
        }
    }
}

pub(super) fn assert_sound(root: &Path) {
    assert_eq!(verify(root).unwrap().flaws, []);
}

#[test]
fn a_case_comes_back_in_order_with_its_pictures() {
    let folder = scratch();
    let root = folder.path().join("new/data");
    two_cases(&root);
    let store = open(&root);
    let history = store.history(&id("A")).unwrap();
    assert_eq!(history.flaw, None);
    let kinds: Vec<&str> = history.records.iter().map(|r| r.kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["case_opened", "field_counted", "field_counted", "signed"]
    );
    assert_eq!(history.records[1].json, r#"{"field":1}"#);
    assert_eq!(history.records[1].pictures[1].name, "crops/0001-1.jpg");
    assert_eq!(
        store.picture(&id("A"), "fields/0002.jpg").unwrap(),
        b"second field"
    );
    let cases: Vec<_> = store
        .cases()
        .into_iter()
        .map(|c| (c.case.to_string(), c.head.entries, c.head.signed))
        .collect();
    assert_eq!(
        cases,
        [("A".to_owned(), 4, true), ("B".to_owned(), 5, false)]
    );
    let station = store.station_history().unwrap();
    assert_eq!(station.records.len(), 2);
    let verified = store.verify().unwrap();
    assert_eq!(
        (verified.cases, verified.records, verified.pictures),
        (2, 11, 6)
    );
    assert_eq!(verified.flaws, []);
}

#[test]
fn the_manifest_is_what_sha256sum_reads() {
    let folder = scratch();
    two_cases(folder.path());
    let manifest = fs::read_to_string(folder.path().join("cases/A/manifest.sha256")).unwrap();
    assert_eq!(
        manifest.lines().nth(1).unwrap(),
        // printf cell | sha256sum
        "39d02b42938b2b75d027ebeb25c9d1fd0b71b6e0453e217a2e85cedc7e4637b4  crops/0001-1.jpg"
    );
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let folder = scratch();
    two_cases(folder.path());
    let mut store = open(folder.path());
    let note = || entry("note_added", "{}");
    let x: &[u8] = b"x";
    let many: Vec<String> = (0..4097).map(|n| format!("crops/{n}.jpg")).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|n| (n.as_str(), x)).collect();
    type Try<'a> = (&'a str, Entry<'a>, &'a [(&'a str, &'a [u8])], &'a str);
    let table: [Try<'_>; 10] = [
        ("C", note(), &[], "case C: not found"),
        (
            "A",
            entry("case_opened", "{}"),
            &[],
            "case A: there is or was a case A",
        ),
        (
            "a",
            entry("case_opened", "{}"),
            &[],
            "case a: there is or was a case A",
        ),
        (
            "C",
            entry("case_opened", "{}"),
            &[("fields/1.jpg", x)],
            "picture: \"fields/1.jpg\", expected none with case_opened",
        ),
        (
            "A",
            note(),
            &[("fields/0001.jpg", x)],
            "picture: \"fields/0001.jpg\", expected a name that is new",
        ),
        (
            "A",
            note(),
            &[("fields/9.jpg", x), ("fields/9.jpg", x)],
            "expected a name that is new",
        ),
        (
            "A",
            note(),
            &[("../B/1.jpg", x)],
            "picture: \"../B/1.jpg\", expected folder/file",
        ),
        ("A", note(), &many, "picture: 4097, expected at most 4096"),
        ("A", entry("note_added", "{"), &[], "event: "),
        ("C", entry("case_opened", "{"), &[], "event: "),
    ];
    for (case, entry, pictures, words) in table {
        let refused = store.record(&id(case), entry, pictures).unwrap_err();
        assert!(refused.to_string().contains(words), "{refused}");
        assert_eq!(refused.exit_code(), crate::exit::USAGE);
    }
    drop(store);
    assert_sound(folder.path());
    open(folder.path());
}

#[test]
fn a_second_station_is_refused_by_the_number_of_the_first() {
    let folder = scratch();
    let first = open(folder.path());
    let refused = Store::open(folder.path()).unwrap_err();
    let me = std::process::id();
    assert_eq!(
        refused.to_string(),
        format!(
            "{}/lock: held by process {me}, expected no other station on these data",
            folder.path().display()
        )
    );
    drop(first);
    open(folder.path());
}

#[test]
fn order_is_by_sequence_however_the_clock_jumps() {
    let folder = scratch();
    let mut store = open(folder.path());
    let case = id("A");
    let times = [
        Some(1_900_000_000),
        None,
        Some(-5),
        Some(0),
        Some(i64::MAX),
        Some(i64::MIN),
        Some(1_800_000_000),
    ];
    for (n, wall) in times.iter().enumerate() {
        let kind = if n == 0 { "case_opened" } else { "note_added" };
        let json = n.to_string();
        // A start of the program can have any number.
        let boot = [u64::MAX, 3, 1 << 63][n % 3];
        let entry = Entry {
            wall: *wall,
            boot,
            ..entry(kind, &json)
        };
        store.record(&case, entry, &[]).unwrap();
    }
    drop(store);
    let store = open(folder.path());
    let records = store.history(&case).unwrap().records;
    let read: Vec<_> = records.iter().map(|r| r.wall).collect();
    assert_eq!(read, times);
    let events: Vec<_> = records.iter().map(|r| r.json.as_str()).collect();
    assert_eq!(events, ["0", "1", "2", "3", "4", "5", "6"]);
    assert_eq!(records[0].boot, u64::MAX);
    assert_sound(folder.path());
}

#[test]
fn the_views_show_what_the_lines_say() {
    let folder = scratch();
    two_cases(folder.path());
    let database = rusqlite::Connection::open(folder.path().join("station.sqlite")).unwrap();
    let signed: Vec<(String, i64, String)> = database
        .prepare("SELECT case_id, sequence, who FROM signatures ORDER BY case_id")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        signed,
        [
            ("A".to_owned(), 4, "reader".to_owned()),
            ("B".to_owned(), 4, "reader".to_owned())
        ]
    );
    let field: i64 = database
        .query_row(
            "SELECT event ->> '$.field' FROM records WHERE case_id = 'A' AND sequence = 3",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(field, 2);
}

#[test]
fn a_database_without_the_views_of_today_gets_them() {
    let folder = scratch();
    two_cases(folder.path());
    let path = folder.path().join("station.sqlite");
    let drop_views = "DROP VIEW cells; DROP VIEW edits; DROP VIEW fields;";
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute_batch(drop_views).unwrap();
    drop(database);
    drop(open(folder.path()));
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute_batch(drop_views).unwrap();
}
