//! Disks that are full or read-only.

use std::process::Command;

use super::*;

/// A small disk of its own, where this process may make one.
pub(super) struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// `None` without the right to mount; the test says so.
    pub(super) fn new(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let done = mount(&[
            "-t",
            "tmpfs",
            "-o",
            options,
            "tmpfs",
            folder.path().to_str().unwrap(),
        ]);
        if !done {
            eprintln!("not tested: this process may not mount a disk");
        }
        done.then_some(Self { folder })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(mount(&["-o", &options, self.path().to_str().unwrap()]));
    }

    /// Leaves so many bytes.
    fn fill(&self, leave: u64) {
        let free = disk::free(self.path()).unwrap().bytes;
        let filler = vec![0; free.saturating_sub(leave) as usize];
        fs::write(self.path().join("filler"), filler).unwrap();
    }

    fn empty(&self) {
        fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.path())
            .stderr(std::process::Stdio::null())
            .status();
    }
}

fn mount(arguments: &[&str]) -> bool {
    let status = Command::new("mount")
        .args(arguments)
        .stderr(std::process::Stdio::null())
        .status();
    status.is_ok_and(|s| s.success())
}

#[test]
fn below_the_floor_no_case_is_begun_and_the_open_ones_go_on() {
    let folder = scratch();
    two_cases(folder.path());
    for (floor, words) in [
        (
            Floor {
                bytes: u64::MAX,
                inodes: 0,
            },
            "bytes free, expected at least 18446744073709551615 to begin a case",
        ),
        (
            Floor {
                bytes: 0,
                inodes: u64::MAX,
            },
            "inodes free, expected at least",
        ),
    ] {
        if floor.bytes == 0 && disk::free(folder.path()).unwrap().inodes.is_none() {
            continue;
        }
        let mut store = open(folder.path()).with_floor(floor);
        let refused = store
            .record(&id("C"), entry("case_opened", "{}"), &[])
            .unwrap_err();
        assert!(refused.to_string().contains(words), "{refused}");
        assert_eq!(refused.exit_code(), crate::exit::DISK);
        store
            .record(&id("B"), entry("note_added", "{}"), &[])
            .unwrap();
        drop(store);
        assert_sound(folder.path());
    }
}

#[test]
fn a_disk_that_fills_at_any_step_refuses_the_record_and_keeps_no_half_of_it() {
    let Some(disk) = Disk::new("size=4m") else {
        return;
    };
    let root = disk.path().join("data");
    let mut store = open(&root);
    count_case(&mut store, "A");
    let picture = vec![7; 9_000];
    let long = format!("{:?}", "x".repeat(30_000));
    let (mut signed, mut refusals) = (4, Vec::new());
    for step in 0..60_u64 {
        // Once a picture is most of the record, once its line.
        disk.fill(step / 2 * 4096);
        let json = if step % 2 == 0 { "{}" } else { long.as_str() };
        let name = format!("fields/{:04}.jpg", 100 + step);
        let pictures: &[(&str, &[u8])] = &[(&name, &picture)];
        let pictures = if step % 2 == 0 { pictures } else { &[] };
        match store.record(&id("A"), entry("signed", json), pictures) {
            Ok(done) => {
                signed += 1;
                assert_eq!(done.sequence, signed);
            }
            Err(refused) => {
                assert_eq!(refused.exit_code(), crate::exit::DISK, "{refused}");
                refusals.push(refused.to_string());
                assert!(!root.join("cases/A").join(&name).exists());
            }
        }
        // Reading and reviewing go on while the disk is full.
        assert_eq!(
            store.history(&id("A")).unwrap().records.len() as u64,
            signed
        );
        assert_eq!(
            store.picture(&id("A"), "fields/0001.jpg").unwrap(),
            b"first field"
        );
        disk.empty();
        assert_sound(&root);
    }
    for words in ["fields/", "audit.jsonl", "station.sqlite"] {
        let count = refusals.iter().filter(|r| r.contains(words)).count();
        assert!(count > 0, "no disk was full at {words}: {refusals:?}");
    }
    assert!(
        refusals
            .iter()
            .any(|r| r.contains("No space left on device")),
        "{refusals:?}"
    );
    assert!(!refusals.is_empty() && signed > 4);
    drop(store);
    assert_eq!(
        open(&root).history(&id("A")).unwrap().records.len() as u64,
        signed
    );
}

#[test]
fn a_disk_without_inodes_refuses_and_goes_on_when_there_are_some() {
    let Some(disk) = Disk::new("size=8m,nr_inodes=40") else {
        return;
    };
    let root = disk.path().join("data");
    let mut store = open(&root);
    count_case(&mut store, "A");
    let mut refused = None;
    for n in 0..40 {
        let name = format!("fields/{:04}.jpg", 100 + n);
        let pictures: &[(&str, &[u8])] = &[(&name, b"x")];
        if let Err(error) = store.record(&id("A"), entry("field_counted", "{}"), pictures) {
            refused = Some(error);
            break;
        }
    }
    let refused = refused.expect("40 files on a disk of 40 with other files");
    assert_eq!(refused.exit_code(), crate::exit::DISK, "{refused}");
    let open_case = store.record(&id("B"), entry("case_opened", "{}"), &[]);
    assert_eq!(open_case.unwrap_err().exit_code(), crate::exit::DISK);
    // Signing needs no new file.
    store.record(&id("A"), entry("signed", "{}"), &[]).unwrap();
    assert_sound(&root);
    disk.remount("nr_inodes=400");
    store
        .record(&id("B"), entry("case_opened", "{}"), &[])
        .unwrap();
    assert_sound(&root);
}

#[test]
fn a_read_only_disk_refuses_with_the_reason_and_can_be_reviewed() {
    let Some(disk) = Disk::new("size=8m") else {
        return;
    };
    let root = disk.path().join("data");
    two_cases(&root);
    disk.remount("ro");
    let mut store = open(&root);
    let reason = store.read_only().expect("the disk is read-only").to_owned();
    assert!(reason.contains("ead-only"), "{reason}");
    assert_eq!(store.history(&id("A")).unwrap().records.len(), 4);
    assert_eq!(store.cases().len(), 2);
    assert_eq!(
        store.picture(&id("A"), "fields/0001.jpg").unwrap(),
        b"first field"
    );
    assert_sound(&root);
    for refused in [
        store
            .record(&id("B"), entry("signed", "{}"), &[])
            .unwrap_err(),
        store.record_station(entry("started", "{}")).unwrap_err(),
    ] {
        assert_eq!(
            refused.to_string(),
            format!("nothing can be recorded: {reason}")
        );
        assert_eq!(refused.exit_code(), crate::exit::DISK);
    }
    let target = scratch();
    store.export(&id("A"), target.path()).unwrap();
    drop(store);
    disk.remount("rw");
    let mut store = open(&root);
    store.record(&id("B"), entry("signed", "{}"), &[]).unwrap();
}

#[test]
fn a_full_disk_is_opened_for_reviewing_and_for_recording_when_it_has_room() {
    let Some(disk) = Disk::new("size=4m") else {
        return;
    };
    let root = disk.path().join("data");
    two_cases(&root);
    disk.fill(0);
    let (mut store, _) = reopen(&root);
    assert_eq!(store.history(&id("A")).unwrap().records.len(), 4);
    let refused = store
        .record(&id("B"), entry("signed", "{}"), &[])
        .unwrap_err();
    assert_eq!(refused.exit_code(), crate::exit::DISK, "{refused}");
    drop(store);
    disk.empty();
    let mut store = open(&root);
    store.record(&id("B"), entry("signed", "{}"), &[]).unwrap();
    assert_sound(&root);
}

#[test]
fn a_disk_that_was_pulled_out_takes_no_record_and_nothing_is_written_in_its_place() {
    let Some(disk) = Disk::new("size=8m") else {
        return;
    };
    let root = disk.path().join("data");
    two_cases(&root);
    let mut store = open(&root);
    let pulled = Command::new("umount").arg("-l").arg(disk.path()).status();
    assert!(pulled.unwrap().success());
    let picture: &[(&str, &[u8])] = &[("fields/0009.jpg", b"x")];
    let refused = store
        .record(&id("B"), entry("signed", "{}"), picture)
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "{}: the disk of the data was taken out, or another lies there",
            root.display()
        )
    );
    assert_eq!(refused.exit_code(), crate::exit::DISK);
    let opened = store.record(&id("C"), entry("case_opened", "{}"), &[]);
    assert!(opened.is_err());
    assert!(store.wants_reopening() && !store.can_be_reopened(None));
    assert!(matches!(store.reopen(), Err(StoreError::Gone { .. })));
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);
    // A folder in its place is not the disk; another disk with data of a station is one that can be opened.
    fs::create_dir(&root).unwrap();
    assert!(!store.can_be_reopened(None));
    fs::remove_dir(&root).unwrap();
    two_cases(&root);
    let refused = store.record(&id("B"), entry("signed", "{}"), &[]);
    assert!(matches!(refused, Err(StoreError::ReadOnly { .. })));
    assert!(store.can_be_reopened(None) && store.can_be_reopened(Some(&id("B"))));
    assert!(!store.can_be_reopened(Some(&id("D"))));
    assert_eq!(store.reopen().unwrap(), []);
    assert!(!store.wants_reopening());
    store.record(&id("B"), entry("signed", "{}"), &[]).unwrap();
    assert_sound(&root);
}
