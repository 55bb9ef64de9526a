use std::convert::Infallible;
use std::fs;
use std::path::Path;

use shared::geometry::Size;

use super::*;
use crate::dataset::{Sample, Split};

const SIZE: Size = Size::new(6, 4);
const FILE: u64 = 8 + 32 + 12 + 3 * 6 * 4;

fn picture(value: u8) -> Packed {
    Packed::from_pixels(vec![value; 72], SIZE).expect("of its size")
}

/// Files that stand for pictures: only their names, lengths and times matter here.
fn samples(folder: &Path, n: usize) -> Vec<Sample> {
    let sample = |index: usize| {
        let image = folder.join(format!("{index}.png"));
        fs::write(&image, vec![0; index]).expect("written");
        Sample {
            image,
            size: SIZE,
            split: Split::Train,
            group: String::new(),
            cells: Vec::new(),
            region: None,
        }
    };
    (0..n).map(sample).collect()
}

fn opened(plan: &CachePlan, samples: &[Sample]) -> Cache {
    let sizes = vec![Some(SIZE); samples.len()];
    Cache::open(plan, &sizes, |at| EntryKey::new(&samples[at], SIZE))
}

/// The value of picture `index`, which is made as `index + 10` when it is not kept.
fn got(cache: &Cache, samples: &[Sample], index: usize) -> u8 {
    let key = || EntryKey::new(&samples[index], SIZE);
    let make = || Ok::<_, Infallible>(picture(index as u8 + 10));
    let Ok(picture) = cache.get(index, key, make);
    assert_eq!(picture.size(), SIZE);
    picture.pixels()[71]
}

fn counts(cache: &Cache) -> [u64; 4] {
    let report = cache.report();
    assert_eq!(report.failure, None);
    [report.hits, report.made, report.damaged, report.left_out]
}

fn disk(folder: &Path, bytes: u64) -> CachePlan {
    CachePlan::Disk {
        folder: folder.join("cache"),
        bytes,
    }
}

#[test]
fn memory_keeps_what_there_is_room_for() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let samples = samples(folder.path(), 3);
    let cache = opened(&CachePlan::Ram { bytes: 2 * 72 }, &samples);
    for round in 0..2 {
        for index in 0..3 {
            assert_eq!(got(&cache, &samples, index), index as u8 + 10, "{round}");
        }
    }
    assert_eq!(counts(&cache), [2, 4, 0, 2]);
    let none = opened(&CachePlan::None, &samples);
    for _ in 0..2 {
        assert_eq!(got(&none, &samples, 1), 11);
    }
    assert_eq!(counts(&none), [0, 2, 0, 0]);
}

#[test]
fn the_next_run_finds_what_was_kept_on_disk() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let samples = samples(folder.path(), 3);
    let plan = disk(folder.path(), 1 << 20);
    let first = opened(&plan, &samples);
    let second_time = || {
        let cache = opened(&plan, &samples);
        (0..3).for_each(|index| assert_eq!(got(&cache, &samples, index), index as u8 + 10));
        counts(&cache)
    };
    (0..3).for_each(|index| assert_eq!(got(&first, &samples, index), index as u8 + 10));
    assert_eq!(counts(&first), [0, 3, 0, 0]);
    assert_eq!(second_time(), [3, 0, 0, 0]);
    // A picture that changed is another one, though its name is the same.
    fs::write(&samples[1].image, "longer than before").expect("written");
    assert_eq!(second_time(), [2, 1, 0, 0]);
    assert_eq!(second_time(), [3, 0, 0, 0]);
}

#[test]
fn a_damaged_entry_is_made_again_and_counted() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let samples = samples(folder.path(), 1);
    let plan = disk(folder.path(), FILE);
    let fill = opened(&plan, &samples);
    got(&fill, &samples, 0);
    let key = EntryKey::new(&samples[0], SIZE).expect("a file");
    let path = folder.path().join("cache").join(key.file_name());
    let whole = fs::read(&path).expect("there");
    assert_eq!(whole.len() as u64, FILE);
    let mut flipped = whole.clone();
    flipped[80] ^= 1;
    let mut huge = whole.clone();
    huge[40..48].fill(0xff);
    let cases = [
        flipped,
        huge,
        whole[..100].to_vec(),
        whole[..10].to_vec(),
        Vec::new(),
    ];
    for damaged in cases {
        fs::write(&path, &damaged).expect("written");
        let cache = opened(&plan, &samples);
        assert_eq!(got(&cache, &samples, 0), 10);
        assert_eq!(got(&cache, &samples, 0), 10);
        assert_eq!(counts(&cache), [1, 1, 1, 0], "{} bytes", damaged.len());
        assert_eq!(fs::read(&path).expect("there"), whole);
    }
}

#[test]
fn the_folder_stays_within_its_limit_and_old_entries_give_way() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let cache_folder = folder.path().join("cache");
    let files = || fs::read_dir(&cache_folder).expect("there").count();
    let samples = samples(folder.path(), 5);
    let plan = disk(folder.path(), 3 * FILE);
    // Room for three of five.
    let cache = opened(&plan, &samples);
    (0..5).for_each(|index| assert_eq!(got(&cache, &samples, index), index as u8 + 10));
    assert_eq!(counts(&cache), [0, 5, 0, 2]);
    assert_eq!(files(), 3);
    // Another run needs two: of the three that are not its own, two go. What is no entry stays.
    fs::write(cache_folder.join("notes.txt"), "mine").expect("written");
    let other = &samples[3..];
    let cache = opened(&plan, other);
    assert_eq!(files(), 2);
    (0..2).for_each(|index| assert_eq!(got(&cache, other, index), index as u8 + 10));
    assert_eq!(counts(&cache), [0, 2, 0, 0]);
    assert_eq!(files(), 4);
    assert!(cache_folder.join("notes.txt").exists());
}

#[test]
fn a_folder_that_cannot_be_written_is_told_once_and_the_run_goes_on() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let samples = samples(folder.path(), 2);
    // A file where the folder shall be: no one may write into that, not even root.
    fs::write(folder.path().join("cache"), "a file").expect("written");
    let cache = opened(&disk(folder.path(), 1 << 20), &samples);
    assert_eq!(got(&cache, &samples, 1), 11);
    let reason = cache.failure_to_tell().expect("it failed").to_owned();
    assert!(reason.contains("cache: "), "{reason}");
    assert!(reason.ends_with("goes on without keeping more pictures"));
    assert_eq!(cache.failure_to_tell(), None);
    assert_eq!(cache.report().failure, Some(reason));
}

#[test]
fn a_disk_that_fails_on_the_way_ends_the_keeping_not_the_run() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let samples = samples(folder.path(), 3);
    let cache = opened(&disk(folder.path(), 1 << 20), &samples);
    assert_eq!(got(&cache, &samples, 0), 10);
    assert_eq!(cache.failure_to_tell(), None);
    fs::remove_dir_all(folder.path().join("cache")).expect("removed");
    for index in [1, 2, 1] {
        assert_eq!(got(&cache, &samples, index), index as u8 + 10);
    }
    assert!(cache.failure_to_tell().is_some());
    assert_eq!(cache.failure_to_tell(), None);
}
