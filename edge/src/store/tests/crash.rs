//! Killed at any moment, and a database that is gone.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;

/// The data before and after one record, and a place to mix them.
struct Moments {
    _folder: tempfile::TempDir,
    before: std::path::PathBuf,
    after: std::path::PathBuf,
    mixed: std::path::PathBuf,
}

fn moments(prepare: impl FnOnce(&mut Store), last: impl FnOnce(&mut Store)) -> Moments {
    let folder = scratch();
    let [root, before, after, mixed] =
        ["root", "before", "after", "mixed"].map(|n| folder.path().join(n));
    let mut store = open(&root);
    prepare(&mut store);
    drop(store);
    copy_root(&root, &before);
    let mut store = open(&root);
    last(&mut store);
    drop(store);
    copy_root(&root, &after);
    Moments {
        _folder: folder,
        before,
        after,
        mixed,
    }
}

const DATABASE: &str = "station.sqlite";

impl Moments {
    /// All as after the record, except the named files.
    fn mix(&self, chain: (&str, usize), as_before: &[&str]) {
        copy_root(&self.after, &self.mixed);
        let path = self.mixed.join(chain.0);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..chain.1]).unwrap();
        for name in as_before {
            let _ = fs::remove_file(self.mixed.join(name));
            let _ = fs::copy(self.before.join(name), self.mixed.join(name));
        }
    }

    fn lengths(&self, chain: &str) -> (usize, usize) {
        let length = |root: &Path| fs::read(root.join(chain)).map_or(0, |b| b.len());
        (length(&self.before), length(&self.after))
    }
}

#[test]
fn a_record_cut_at_any_byte_is_whole_or_gone_and_the_case_goes_on() {
    let record: (&str, &[u8]) = ("fields/0003.jpg", b"third field");
    let moments = moments(
        |store| count_case(store, "A"),
        |store| {
            let entry = entry("field_counted", r#"{"field":3}"#);
            store.record(&id("A"), entry, &[record]).unwrap();
        },
    );
    let chain = "cases/A/audit.jsonl";
    let (from, to) = moments.lengths(chain);
    for cut in from..=to {
        for database_is_old in [true, false] {
            let old: &[&str] = if database_is_old { &[DATABASE] } else { &[] };
            moments.mix((chain, cut), old);
            let (mut store, repaired) = reopen(&moments.mixed);
            let found = store.history(&id("A")).unwrap();
            let is_whole = cut == to || !database_is_old;
            assert_eq!(
                found.records.len(),
                if is_whole { 5 } else { 4 },
                "cut at {cut}"
            );
            assert_eq!(found.flaw, None);
            assert_eq!(
                repaired.is_empty(),
                cut == to && !database_is_old,
                "cut at {cut}: {repaired:?}"
            );
            assert_sound(&moments.mixed);
            let entry = entry("field_counted", r#"{"field":4}"#);
            store
                .record(&id("A"), entry, &[("fields/0004.jpg", b"x")])
                .unwrap();
            drop(store);
            assert_sound(&moments.mixed);
            open(&moments.mixed);
        }
    }
}

#[test]
fn a_crash_before_the_chain_leaves_no_trace_in_the_case() {
    let moments = moments(
        |store| count_case(store, "A"),
        |store| {
            let pictures: &[(&str, &[u8])] = &[
                ("fields/0003.jpg", b"third"),
                ("fields/0004.jpg", b"fourth"),
            ];
            store
                .record(&id("A"), entry("field_counted", "{}"), pictures)
                .unwrap();
        },
    );
    let (chain, manifest) = ("cases/A/audit.jsonl", "cases/A/manifest.sha256");
    let (at, _) = moments.lengths(chain);
    let (shortest, longest) = moments.lengths(manifest);
    for length in shortest..=longest {
        moments.mix((chain, at), &[DATABASE]);
        let path = moments.mixed.join(manifest);
        let lines = fs::read(&path).unwrap();
        fs::write(&path, &lines[..length]).unwrap();
        if length % 2 == 0 {
            // Killed between two pictures, with half of the second.
            fs::write(moments.mixed.join("cases/A/fields/0004.jpg"), b"fou").unwrap();
        }
        assert!(verify(&moments.mixed).unwrap().first_flaw().is_some());
        let (mut store, repaired) = reopen(&moments.mixed);
        assert!(
            repaired
                .iter()
                .any(|r| matches!(r, Repaired::Unrecorded { .. })),
            "{repaired:?}"
        );
        assert_eq!(store.history(&id("A")).unwrap().records.len(), 4);
        assert_sound(&moments.mixed);
        let kept = moments.mixed.join("cases/A/unrecorded/fields-0003.jpg");
        assert_eq!(fs::read(kept).unwrap(), b"third");
        // The same field is counted again.
        let again: (&str, &[u8]) = ("fields/0003.jpg", b"third, again");
        store
            .record(&id("A"), entry("field_counted", "{}"), &[again])
            .unwrap();
        drop(store);
        assert_sound(&moments.mixed);
    }
}

#[test]
fn a_manifest_that_is_behind_is_written_again() {
    let folder = scratch();
    two_cases(folder.path());
    let manifest = folder.path().join("cases/B/manifest.sha256");
    let whole = fs::read(&manifest).unwrap();
    for length in 0..whole.len() {
        fs::write(&manifest, &whole[..length]).unwrap();
        let (_, repaired) = reopen(folder.path());
        assert_eq!(
            repaired,
            [Repaired::Manifest {
                manifest: manifest.clone()
            }]
        );
        assert_eq!(fs::read(&manifest).unwrap(), whole);
    }
    // Of a signed case too, which is not read at each start.
    let manifest = folder.path().join("cases/A/manifest.sha256");
    fs::remove_file(&manifest).unwrap();
    let (_, repaired) = reopen(folder.path());
    assert_eq!(repaired, [Repaired::Manifest { manifest }]);
    assert_sound(folder.path());
}

#[test]
fn a_case_whose_opening_was_cut_off_never_was() {
    let moments = moments(
        |store| count_case(store, "A"),
        |store| {
            store
                .record(&id("B"), entry("case_opened", "{}"), &[])
                .unwrap();
        },
    );
    let chain = "cases/B/audit.jsonl";
    let (_, to) = moments.lengths(chain);
    for cut in 0..to {
        moments.mix((chain, cut), &[DATABASE]);
        let (mut store, repaired) = reopen(&moments.mixed);
        assert!(
            matches!(repaired.last(), Some(Repaired::NeverOpened { .. })),
            "{repaired:?}"
        );
        assert_sound(&moments.mixed);
        store
            .record(&id("B"), entry("case_opened", "{}"), &[])
            .unwrap();
        drop(store);
        // The database has the record: it was acknowledged, and comes back.
        moments.mix((chain, cut), &[]);
        let (store, _) = reopen(&moments.mixed);
        assert_eq!(store.history(&id("B")).unwrap().records.len(), 1);
        assert_sound(&moments.mixed);
    }
}

#[test]
fn the_chain_of_the_station_is_repaired_as_one_of_a_case() {
    let moments = moments(
        |store| {
            store.record_station(entry("started", "{}")).unwrap();
        },
        |store| {
            store.record_station(entry("stopped", "{}")).unwrap();
        },
    );
    let chain = "station/audit.jsonl";
    let (from, to) = moments.lengths(chain);
    for cut in from..to {
        for (old, records) in [(&[DATABASE][..], 1), (&[][..], 2)] {
            moments.mix((chain, cut), old);
            let (mut store, _) = reopen(&moments.mixed);
            assert_eq!(store.station_history().unwrap().records.len(), records);
            store.record_station(entry("started", "{}")).unwrap();
            drop(store);
            assert_sound(&moments.mixed);
        }
    }
}

#[test]
fn zeros_that_a_power_cut_left_at_the_end_are_cut_off_and_kept() {
    let folder = scratch();
    two_cases(folder.path());
    let chain = folder.path().join("cases/B/audit.jsonl");
    folder::append(&chain, &[0; 4096]).unwrap();
    let (_, repaired) = reopen(folder.path());
    let words = repaired[0].to_string();
    assert!(
        words.ends_with("cases/B/audit.jsonl: 4096 bytes of an unfinished record 6 cut off"),
        "{words}"
    );
    let kept = folder.path().join("cases/B/unrecorded/audit-6.half");
    assert_eq!(fs::read(kept).unwrap(), [0; 4096]);
    assert_sound(folder.path());
}

#[test]
fn a_database_that_is_gone_damaged_or_behind_is_made_again_from_the_folders() {
    let folder = scratch();
    let root = folder.path();
    two_cases(root);
    let path = root.join(DATABASE);
    let behind = {
        let other = scratch();
        let mut store = open(other.path());
        store.record_station(entry("started", "{}")).unwrap();
        drop(store);
        fs::read(other.path().join(DATABASE)).unwrap()
    };
    let whole = fs::read(&path).unwrap();
    let mut spoilt = whole.clone();
    spoilt[4096..].fill(0xa5);
    let foreign = {
        let other = root.join("other.sqlite");
        let c = rusqlite::Connection::open(&other).unwrap();
        c.execute_batch("CREATE TABLE t (x); PRAGMA user_version = 9;")
            .unwrap();
        drop(c);
        let bytes = fs::read(&other).unwrap();
        fs::remove_file(other).unwrap();
        bytes
    };
    let table: [(&str, Option<&[u8]>, bool); 7] = [
        ("gone", None, false),
        ("empty", Some(b""), false),
        (
            "text",
            Some(b"this is no database, and long enough to be sure of it"),
            true,
        ),
        ("cut", Some(&whole[..5000]), true),
        ("spoilt", Some(&spoilt), true),
        ("foreign", Some(&foreign), true),
        ("behind", Some(&behind), false),
    ];
    for (name, bytes, is_set_aside) in table {
        let _ = fs::remove_file(root.join("station.sqlite.damaged"));
        match bytes {
            None => fs::remove_file(&path).unwrap(),
            Some(bytes) => fs::write(&path, bytes).unwrap(),
        }
        assert!(verify(root).unwrap().first_flaw().is_some(), "{name}");
        let (store, repaired) = reopen(root);
        assert_eq!(store.history(&id("A")).unwrap().records.len(), 4, "{name}");
        drop(store);
        assert_sound(root);
        assert_eq!(
            root.join("station.sqlite.damaged").exists(),
            is_set_aside,
            "{name}"
        );
        let indexed = repaired
            .iter()
            .filter(|r| matches!(r, Repaired::Indexed { .. }))
            .count();
        assert_eq!(indexed, 3, "{name}: {repaired:?}");
        open(root);
    }
}

#[test]
fn a_database_of_a_later_version_is_left_alone() {
    let folder = scratch();
    two_cases(folder.path());
    let c = rusqlite::Connection::open(folder.path().join(DATABASE)).unwrap();
    c.execute_batch("PRAGMA user_version = 2").unwrap();
    drop(c);
    let refused = Store::open(folder.path()).unwrap_err();
    assert!(
        refused
            .to_string()
            .ends_with("schema 2, expected at most 1: written by a later version"),
        "{refused}"
    );
    assert_eq!(refused.exit_code(), crate::exit::BAD_DATA);
    assert!(!folder.path().join("station.sqlite.damaged").exists());
}

const CHILD: &str = "LEUKO_STORE_TEST_ROOT";

/// Not a test: the station that the next test kills. It tells each acknowledged record.
#[test]
#[ignore = "a process of the test below"]
fn killed_station() {
    let Some(root) = std::env::var_os(CHILD) else {
        return;
    };
    let (mut store, _) = reopen(Path::new(&root));
    let case = id("K");
    if store.history(&case).is_err() {
        store
            .record(&case, entry("case_opened", "{}"), &[])
            .unwrap();
    }
    let begun = store.history(&case).unwrap().records.len();
    for n in begun.. {
        let (name, json) = (format!("fields/{n}.jpg"), format!("{{\"n\":{n}}}"));
        let picture = vec![n as u8; 20_000];
        let kind = if n % 7 == 0 {
            "signed"
        } else {
            "field_counted"
        };
        let pictures: &[(&str, &[u8])] = &[(&name, &picture)];
        let done = store.record(&case, entry(kind, &json), pictures).unwrap();
        println!("acknowledged {} {}", done.sequence, done.hash);
    }
}

#[test]
fn killed_at_random_moments_nothing_acknowledged_is_lost() {
    let folder = scratch();
    let mut acknowledged: Vec<(u64, String)> = Vec::new();
    let mut seed = 1_u64;
    for round in 0..40 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::tests::crash::killed_station",
                "--ignored",
                "--nocapture",
            ])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            let told = lines.filter_map(|line| {
                let (number, hash) = line.split_once("acknowledged ")?.1.split_once(' ')?;
                // The last line may be cut.
                (hash.len() == 64).then(|| (number.parse().unwrap(), hash.to_owned()))
            });
            told.collect::<Vec<(u64, String)>>()
        });
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(5 + (seed >> 33) % 120));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(reader.join().unwrap());

        let (store, _) = reopen(folder.path());
        let records = store.history(&id("K")).map_or(Vec::new(), |h| h.records);
        let unacknowledged = records.len() as u64 - acknowledged.last().map_or(0, |a| a.0);
        // The opening is not told; a record may be on the disk and not told yet.
        assert!(unacknowledged <= 2, "round {round}: {unacknowledged}");
        for (sequence, hash) in &acknowledged {
            assert_eq!(records[*sequence as usize - 1].hash, *hash, "round {round}");
        }
        drop(store);
        assert_sound(folder.path());
    }
    println!("{} records acknowledged in 40 lives", acknowledged.len());
    assert!(acknowledged.len() > 40);
}

#[test]
fn what_was_half_written_by_a_repair_or_a_copy_is_removed() {
    let folder = scratch();
    two_cases(folder.path());
    let file = folder.path().join("cases/B/manifest.sha256.part");
    fs::write(&file, "x").unwrap();
    let (_, repaired) = reopen(folder.path());
    assert_eq!(repaired, [Repaired::Part { file: file.clone() }]);
    assert!(!file.exists());
    assert_sound(folder.path());
}
