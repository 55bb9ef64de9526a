//! Copies, and cases that go.

use super::full::Disk;
use super::retention::{Agreed, Kept, Rule, kept};
use super::*;

#[test]
fn a_copy_is_the_case_and_can_become_a_station_again() {
    let folder = scratch();
    let (root, stick) = (folder.path().join("data"), folder.path().join("stick"));
    two_cases(&root);
    fs::create_dir(&stick).unwrap();
    let mut store = open(&root);
    let copies: Vec<_> = store
        .export_all(&stick)
        .into_iter()
        .map(|(case, done)| (case.to_string(), done.unwrap()))
        .collect();
    assert_eq!(copies.len(), 2);
    assert_eq!(copies[0].1.folder, stick.join("A-4"));
    assert!(!copies[0].1.was_there);
    // A later state lies beside the earlier one; the same is not copied twice.
    store.record(&id("A"), entry("amended", "{}"), &[]).unwrap();
    assert_eq!(
        store.export(&id("A"), &stick).unwrap().folder,
        stick.join("A-5")
    );
    assert!(store.export(&id("A"), &stick).unwrap().was_there);
    let names: Vec<_> = folder::contents(&stick).unwrap().parts;
    assert!(names.is_empty());

    let restored = folder.path().join("restored");
    fs::create_dir_all(restored.join("cases")).unwrap();
    copy_root(&stick.join("A-5"), &restored.join("cases/A"));
    let (again, repaired) = reopen(&restored);
    assert!(
        matches!(
            repaired[..],
            [Repaired::Indexed {
                from: 1,
                records: 5,
                ..
            }]
        ),
        "{repaired:?}"
    );
    assert_eq!(
        again.history(&id("A")).unwrap(),
        store.history(&id("A")).unwrap()
    );
    drop(again);
    assert_sound(&restored);
}

#[test]
fn a_copy_or_a_case_that_is_not_right_is_refused_and_named() {
    let folder = scratch();
    let (root, stick) = (folder.path().join("data"), folder.path().join("stick"));
    two_cases(&root);
    fs::create_dir(&stick).unwrap();
    let store = open(&root);
    store.export(&id("A"), &stick).unwrap();
    fs::write(stick.join("A-4/fields/0001.jpg"), "other").unwrap();
    let refused = store.export(&id("A"), &stick).unwrap_err().to_string();
    assert!(
        refused.contains("stick/A-4/fields/0001.jpg: expected SHA-256 "),
        "{refused}"
    );

    fs::write(root.join("cases/B/fields/0001.jpg"), "other").unwrap();
    let results = store.export_all(&stick);
    assert!(
        results[1]
            .1
            .as_ref()
            .unwrap_err()
            .to_string()
            .contains("fields/0001.jpg: expected SHA-256 ")
    );
    assert!(!stick.join("B-5").exists() && !stick.join("B-5.part").exists());

    let missing = store
        .export(&id("A"), &folder.path().join("no stick"))
        .unwrap_err();
    assert_eq!(missing.exit_code(), crate::exit::DISK);
    assert!(matches!(
        store.export(&id("Z"), &stick),
        Err(StoreError::Unknown(_))
    ));
}

#[test]
fn a_stick_without_room_is_refused_before_anything_is_copied() {
    let Some(stick) = Disk::new("size=1m") else {
        return;
    };
    let folder = scratch();
    two_cases(folder.path());
    let store = open(folder.path());
    let refused = store.export(&id("A"), stick.path()).unwrap_err();
    assert!(
        matches!(refused, StoreError::Floor { what: "bytes", .. }),
        "{refused}"
    );
    assert_eq!(fs::read_dir(stick.path()).unwrap().count(), 0);
}

#[test]
fn a_case_may_go_when_it_is_signed_sound_and_surely_old() {
    let folder = scratch();
    two_cases(folder.path());
    let store = open(folder.path());
    let rule = Rule { keep_days: 10 };
    let last = 1_800_000_000;
    let old = Some(last + 10 * 86_400);
    let [a, b] = store.cases().try_into().unwrap();
    let mut damaged = a.clone();
    damaged.flaw = Some(verify::missing_folder(&store.layout, &a.case));
    let mut undated = a.clone();
    undated.head.wall = None;
    for (case, now, answer) in [
        (&a, old, None),
        (&a, Some(last + 10 * 86_400 - 1), Some(Kept::Young)),
        (&a, Some(0), Some(Kept::Young)),
        (&a, None, Some(Kept::AgeUnknown)),
        (&undated, old, Some(Kept::AgeUnknown)),
        (&b, old, Some(Kept::Unsigned)),
        (&damaged, old, Some(Kept::Damaged)),
    ] {
        assert_eq!(kept(case, rule, now), answer);
    }
    assert_eq!(store.may_go(rule, old), [a]);
    assert_eq!(store.cases().len(), 2);
}

fn yes(head: &str) -> Agreed<'_> {
    Agreed {
        who: "head of the laboratory",
        head,
        boot: 1,
        wall: None,
    }
}

#[test]
fn a_case_goes_by_an_explicit_yes_and_leaves_a_tombstone() {
    let folder = scratch();
    two_cases(folder.path());
    let mut store = open(folder.path());
    let [a, b] = store.cases().try_into().unwrap();
    for (case, head) in [(&a, "yes"), (&a, ""), (&a, b.head.hash.as_str())] {
        let refused = store.delete(&case.case, yes(head)).unwrap_err();
        assert!(matches!(refused, StoreError::NotAgreed { .. }), "{refused}");
    }
    // Changed since it was shown.
    store
        .record(&b.case, entry("note_added", "{}"), &[])
        .unwrap();
    store.delete(&b.case, yes(&b.head.hash)).unwrap_err();
    assert_eq!(store.cases().len(), 2);

    store.delete(&a.case, yes(&a.head.hash)).unwrap();
    assert!(!folder.path().join("cases/A").exists());
    assert!(matches!(
        store.history(&a.case),
        Err(StoreError::Unknown(_))
    ));
    let again = store
        .record(&a.case, entry("case_opened", "{}"), &[])
        .unwrap_err();
    assert!(matches!(again, StoreError::Taken { .. }));
    drop(store);
    let mut store = open(folder.path());
    assert!(
        store
            .record(&a.case, entry("case_opened", "{}"), &[])
            .is_err()
    );
    let tombstone = store.station_history().unwrap().records.pop().unwrap();
    assert_eq!(
        (tombstone.kind.as_str(), tombstone.who.as_str()),
        ("case_deleted", "head of the laboratory")
    );
    assert_eq!(
        tombstone.json,
        format!(
            r#"{{"case":"A","records":4,"signed":true,"hash":"{}"}}"#,
            a.head.hash
        )
    );
    assert_sound(folder.path());
}

#[test]
fn a_deletion_that_was_cut_off_is_finished() {
    let folder = scratch();
    let (root, before) = (folder.path().join("data"), folder.path().join("before"));
    two_cases(&root);
    copy_root(&root, &before);
    let mut store = open(&root);
    let a = store.cases().remove(0);
    store.delete(&a.case, yes(&a.head.hash)).unwrap();
    drop(store);
    // The tombstone is on the disk; folder and rows are still there.
    fs::copy(
        root.join("station/audit.jsonl"),
        before.join("station/audit.jsonl"),
    )
    .unwrap();
    assert!(verify(&before).unwrap().first_flaw().is_some());
    let (store, repaired) = reopen(&before);
    assert!(
        matches!(repaired[1], Repaired::DeletionFinished { .. }),
        "{repaired:?}"
    );
    assert_eq!(store.cases().len(), 1);
    drop(store);
    assert_sound(&before);
}
