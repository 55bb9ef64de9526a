//! One byte changed anywhere is named.

use rusqlite::Connection;

use super::*;

/// The first flaw after `bytes` were put in the place of the file `name`; the file is put back.
fn first_flaw(root: &Path, name: &str, bytes: &[u8]) -> Option<Flaw> {
    let path = root.join(name);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let flaw = verify(root).unwrap().flaws.into_iter().next();
    fs::write(&path, whole).unwrap();
    flaw
}

#[test]
fn any_byte_of_a_chain_a_manifest_or_a_picture_is_named_with_its_record() {
    let folder = scratch();
    let root = folder.path();
    two_cases(root);
    let table = [
        ("cases/A/audit.jsonl", true),
        ("cases/B/manifest.sha256", true),
        ("cases/B/fields/0002.jpg", false),
        ("station/audit.jsonl", true),
    ];
    for (name, has_records) in table {
        let whole = fs::read(root.join(name)).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            let flaw =
                first_flaw(root, name, &changed).unwrap_or_else(|| panic!("{name}, byte {at}"));
            assert_eq!(flaw.file, root.join(name), "{flaw}");
            let lines = whole[..at].iter().filter(|b| **b == b'\n').count() as u64;
            assert_eq!(
                flaw.record,
                has_records.then_some(lines + 1),
                "byte {at}: {flaw}"
            );
        }
    }
    assert_sound(root);
}

#[test]
fn a_file_that_is_shorter_longer_gone_or_new_is_named() {
    let folder = scratch();
    let root = folder.path();
    two_cases(root);
    for name in [
        "cases/A/audit.jsonl",
        "cases/A/manifest.sha256",
        "cases/A/crops/0001-1.jpg",
        "station/audit.jsonl",
    ] {
        let whole = fs::read(root.join(name)).unwrap();
        for length in 0..whole.len() {
            let flaw = first_flaw(root, name, &whole[..length]);
            assert_eq!(flaw.expect("shorter").file, root.join(name));
        }
        for more in [&b"\n"[..], b"x", b"{}\n"] {
            let flaw = first_flaw(root, name, &[&whole, more].concat());
            assert_eq!(flaw.expect("longer").file, root.join(name));
        }
        fs::remove_file(root.join(name)).unwrap();
        assert_eq!(verify(root).unwrap().flaws[0].file, root.join(name));
        fs::write(root.join(name), whole).unwrap();
    }
    for name in [
        "cases/A/fields/0009.jpg",
        "cases/A/note.txt",
        "cases/A/fields/a.part",
        "cases/stray",
    ] {
        fs::write(root.join(name), "x").unwrap();
        assert_eq!(verify(root).unwrap().flaws[0].file, root.join(name));
        fs::remove_file(root.join(name)).unwrap();
    }
    assert_sound(root);
}

#[test]
fn a_change_of_any_row_is_named_with_its_record() {
    let folder = scratch();
    let root = folder.path();
    two_cases(root);
    let kept = scratch();
    let kept = kept.path().join("kept");
    copy_root(root, &kept);
    let table = [
        (
            "UPDATE entries SET line = replace(line, 'reader', 'writer') WHERE case_id = 'A' AND sequence = 3",
            Some(3),
        ),
        (
            "UPDATE entries SET line = '' WHERE case_id = 'B' AND sequence = 1",
            Some(1),
        ),
        (
            "UPDATE entries SET line = line || ' ' WHERE case_id = '' AND sequence = 2",
            Some(2),
        ),
        (
            "DELETE FROM entries WHERE case_id = 'A' AND sequence = 2",
            Some(2),
        ),
        ("DELETE FROM entries WHERE case_id = 'A'", Some(1)),
        (
            "UPDATE entries SET sequence = 0 WHERE case_id = 'A' AND sequence = 1",
            Some(1),
        ),
        (
            "UPDATE entries SET case_id = 'C' WHERE case_id = 'A' AND sequence = 4",
            Some(4),
        ),
        ("INSERT INTO entries VALUES ('A', 0, '{}')", None),
        ("UPDATE cases SET entries = 3 WHERE case_id = 'A'", None),
        ("UPDATE cases SET bytes = 3 WHERE case_id = 'A'", None),
        ("UPDATE cases SET pictures = 4 WHERE case_id = ''", None),
        (
            "UPDATE cases SET manifest_bytes = 4 WHERE case_id = 'B'",
            None,
        ),
        ("UPDATE cases SET signed = 1 WHERE case_id = 'B'", None),
        ("UPDATE cases SET boot = 2 WHERE case_id = 'B'", None),
        ("UPDATE cases SET wall = NULL WHERE case_id = 'B'", None),
        (
            "UPDATE cases SET head = replace(head, 'a', 'b') WHERE case_id = 'B'",
            None,
        ),
        ("DELETE FROM cases WHERE case_id = 'B'", None),
    ];
    for (change, record) in table {
        copy_root(&kept, root);
        let database = Connection::open(root.join("station.sqlite")).unwrap();
        assert_eq!(database.execute(change, []).unwrap().min(1), 1);
        drop(database);
        let verified = verify(root).unwrap();
        let flaw = verified.first_flaw().unwrap_or_else(|| panic!("{change}"));
        assert_eq!(flaw.file, root.join("station.sqlite"), "{change}: {flaw}");
        assert_eq!(flaw.record, record, "{change}: {flaw}");
    }
    // More rows than records: the chain is named, because it has lost something.
    copy_root(&kept, root);
    let database = Connection::open(root.join("station.sqlite")).unwrap();
    database
        .execute("INSERT INTO entries VALUES ('A', 5, '{}')", [])
        .unwrap();
    drop(database);
    let flaw = verify(root).unwrap().flaws.remove(0);
    assert_eq!(
        flaw.to_string(),
        format!(
            "{}/cases/A/audit.jsonl, record 5: expected record 5, which the database holds, found the end of the chain",
            root.display()
        )
    );
}

#[test]
fn a_spoilt_row_is_read_again_from_the_chain() {
    let folder = scratch();
    let root = folder.path();
    two_cases(root);
    let database = Connection::open(root.join("station.sqlite")).unwrap();
    let change = "UPDATE entries SET line = replace(line, 'field', 'fie1d') WHERE case_id = 'B' AND sequence = 3";
    database.execute(change, []).unwrap();
    drop(database);
    let (_, repaired) = reopen(root);
    let chain = root.join("cases/B/audit.jsonl");
    assert_eq!(
        repaired,
        [Repaired::Indexed {
            chain,
            from: 3,
            records: 3
        }]
    );
    assert_sound(root);
}

#[test]
fn any_bytes_of_the_database_file_are_named_as_its_or_do_not_matter_and_are_repaired() {
    let folder = scratch();
    let root = folder.path();
    two_cases(root);
    let kept = scratch();
    let kept = kept.path().join("kept");
    copy_root(root, &kept);
    let whole = fs::read(kept.join("station.sqlite")).unwrap();
    let (mut seed, mut named) = (7_u64, 0);
    for _ in 0..400 {
        copy_root(&kept, root);
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let at = (seed >> 20) as usize % whole.len();
        let mut changed = whole.clone();
        changed[at] ^= 1 << ((seed >> 10) % 8);
        fs::write(root.join("station.sqlite"), &changed).unwrap();
        match verify(root) {
            Ok(verified) => {
                // A row that SQLite reads as another number says of a chain that it is too short.
                named += u64::from(verified.first_flaw().is_some());
            }
            Err(error) => assert!(error.to_string().contains("station.sqlite"), "{error}"),
        }
        match Store::open(root) {
            Ok((store, _)) => {
                assert_eq!(
                    store.history(&id("A")).unwrap().records.len(),
                    4,
                    "byte {at}"
                );
                assert_eq!(
                    store.history(&id("B")).unwrap().records.len(),
                    5,
                    "byte {at}"
                );
            }
            Err(error) => assert!(
                matches!(error, StoreError::Newer { .. }),
                "byte {at}: {error}"
            ),
        }
    }
    println!("{named} of 400 changed bits of the database mattered");
    assert!(named > 20);
}

#[test]
fn a_case_that_was_tampered_with_takes_no_records_and_the_others_go_on() {
    type Tamper = fn(&Path);
    let table: [(Tamper, &str); 5] = [
        (
            |root| {
                let path = root.join("cases/B/audit.jsonl");
                let text = fs::read_to_string(&path).unwrap();
                fs::write(path, text.replacen("reader", "writer", 1)).unwrap();
            },
            "cases/B/audit.jsonl, record 1: expected the hash of its text, ",
        ),
        (
            |root| fs::remove_file(root.join("cases/B/fields/0002.jpg")).unwrap(),
            "cases/B/fields/0002.jpg: expected SHA-256 ",
        ),
        (
            |root| fs::write(root.join("cases/B/manifest.sha256"), "0").unwrap(),
            "cases/B/manifest.sha256, record 1: expected ",
        ),
        (
            |root| fs::remove_dir_all(root.join("cases/B")).unwrap(),
            "cases/B: expected the folder of a case that the database holds, found nothing",
        ),
        (
            // Another history with good hashes, in the place of the one that the database saw.
            |root| {
                let other = scratch();
                let mut store = open(other.path());
                count_case(&mut store, "B");
                let foreign = Entry {
                    who: "writer",
                    ..entry("amended", "{}")
                };
                store.record(&id("B"), foreign, &[]).unwrap();
                drop(store);
                let path = "cases/B/audit.jsonl";
                fs::copy(other.path().join(path), root.join(path)).unwrap();
            },
            "station.sqlite, record 5: expected the line of ",
        ),
    ];
    for (tamper, words) in table {
        let folder = scratch();
        two_cases(folder.path());
        tamper(folder.path());
        let (mut store, _) = reopen(folder.path());
        let refused = store
            .record(&id("B"), entry("signed", "{}"), &[])
            .unwrap_err();
        assert!(refused.to_string().contains(words), "{refused}");
        assert_eq!(refused.exit_code(), crate::exit::BAD_DATA);
        assert!(store.cases()[1].flaw.is_some());
        store.record(&id("A"), entry("amended", "{}"), &[]).unwrap();
        store
            .record(&id("C"), entry("case_opened", "{}"), &[])
            .unwrap();
        // It is not repaired away by opening again.
        drop(store);
        let (store, _) = reopen(folder.path());
        assert!(store.cases()[1].flaw.is_some(), "{words}");
    }
}

#[test]
fn bytes_that_were_added_while_the_station_runs_are_not_sealed_in() {
    let folder = scratch();
    two_cases(folder.path());
    let mut store = open(folder.path());
    folder::append(&folder.path().join("cases/B/audit.jsonl"), b"{}\n").unwrap();
    let refused = store
        .record(&id("B"), entry("signed", "{}"), &[])
        .unwrap_err();
    assert!(
        refused.to_string().contains("as this station wrote it"),
        "{refused}"
    );
}

#[test]
fn a_changed_picture_is_not_shown() {
    let folder = scratch();
    two_cases(folder.path());
    let store = open(folder.path());
    fs::write(
        folder.path().join("cases/A/fields/0001.jpg"),
        b"First field",
    )
    .unwrap();
    let refused = store.picture(&id("A"), "fields/0001.jpg").unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("cases/A/fields/0001.jpg: expected SHA-256 "),
        "{refused}"
    );
    for (case, name, words) in [
        (
            "A",
            "fields/0009.jpg",
            "case A, picture fields/0009.jpg: not found",
        ),
        ("A", "../B/audit.jsonl", "picture: \"../B/audit.jsonl\""),
        ("Z", "fields/0001.jpg", "case Z: not found"),
    ] {
        let refused = store.picture(&id(case), name).unwrap_err().to_string();
        assert!(refused.starts_with(words), "{refused}");
    }
}
