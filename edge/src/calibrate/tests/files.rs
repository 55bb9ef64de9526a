//! The files that keep a calibration, and whether it still fits.

use std::fs;
use std::path::Path;

use shared::geometry::Size;

use super::super::keep::{FILE, FOLDER, KeepError, Keeper, load, load_blank, read};
use super::super::record::{Blank, Content, InForce, Mark, RedCellBasis, Scale, ScaleBy};
use super::super::standing::Standing;
use super::{SIZE, camera, content, moment};
use crate::config::CalibrationConfig;
use crate::source::{SourceIdentity, SourceKind};

const WALL: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

fn keep(root: &Path, content: Content) -> super::super::Calibration {
    Keeper::of(root).unwrap().keep(content).unwrap()
}

/// With red cells, and with a blank field whose picture lies in the data root.
fn full(root: &Path) -> Content {
    let rgb: Vec<u8> = (0..4 * 3 * 3).map(|value| 100 + value).collect();
    let size = Size::new(4, 3);
    let (picture, sha256) = Keeper::of(root).unwrap().keep_picture(&rgb, size).unwrap();
    let made = moment(Some(WALL));
    Content {
        scale: Some(Scale {
            um_per_px: 0.1 + 0.2,
            by: ScaleBy::RedCells(RedCellBasis {
                red_cell_um: 7.2,
                cells: 211,
                fields: 14,
                spread: 1.0 / 3.0,
                standard_error: 1e-7,
            }),
            made,
        }),
        blank: Some(Blank {
            frames: 16,
            background: [201.3, 199.9, 150.1],
            gains: [0.993, 1.0, 1.332],
            evenness: 0.87,
            picture,
            sha256,
            size,
            made,
        }),
        ..content(&camera("Eyepiece", "usb-1"), Some(WALL))
    }
}

#[test]
fn a_calibration_comes_back_as_it_was_and_every_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    assert_eq!(load(&root).unwrap(), None);
    let first = keep(&root, content(&camera("Eyepiece", "usb-1"), None));
    let second = keep(&root, full(&root));
    assert_ne!(first.id(), second.id());
    assert_eq!(load(&root).unwrap().unwrap(), second);
    for one in [&first, &second] {
        let path = root.join(FOLDER).join(format!("{}.json", one.id()));
        assert_eq!(&read(&path).unwrap(), one);
    }
    assert_eq!(load_blank(&root, &first).unwrap(), None);
    let picture = load_blank(&root, &second).unwrap().unwrap();
    assert_eq!(picture.view().bytes()[..4], [100, 101, 102, 103]);
    // The same content has the same id, another moment another one.
    assert_eq!(keep(&root, full(&root)).id(), second.id());
    let later = content(&camera("Eyepiece", "usb-1"), Some(WALL));
    assert_ne!(keep(&root, later).id(), first.id());
}

#[test]
fn a_file_that_is_not_what_was_kept_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    keep(root, full(root));
    let path = root.join(FILE);
    let good = fs::read_to_string(&path).unwrap();
    for (name, text, expected) in [
        (
            "empty",
            String::new(),
            "EOF while parsing a value at line 1 column 0",
        ),
        ("cut", good[..good.len() / 2].to_owned(), "at line "),
        (
            "foreign",
            "{\"current\": null}".to_owned(),
            "missing field `version` at line 1",
        ),
        (
            "text",
            "scale = 3".to_owned(),
            "expected value at line 1 column 1",
        ),
        (
            "newer",
            good.replacen("\"version\": 1", "\"version\": 2", 1),
            "version 2, expected 1 to 1",
        ),
        (
            "newer, of another shape",
            "{\"version\": 9, \"lenses\": []}".to_owned(),
            "version 9, expected 1 to 1",
        ),
        (
            "further key",
            good.replacen("\"version\": 1,", "\"version\": 1, \"more\": 1,", 1),
            "unknown field `more`",
        ),
        (
            "a number by hand",
            good.replacen("211", "212", 1),
            "damaged, or changed by hand",
        ),
        (
            "long",
            format!("{good}{}", " ".repeat(1 << 16)),
            "more than 65536 bytes",
        ),
    ] {
        fs::write(&path, text).unwrap();
        let refused = load(root).unwrap_err().to_string();
        assert!(refused.contains("calibration.json: "), "{name}: {refused}");
        assert!(refused.contains(expected), "{name}: {refused}");
    }
    fs::write(&path, b"{\xff}").unwrap();
    let refused = load(root).unwrap_err().to_string();
    assert!(refused.contains("byte 1 is no UTF-8"), "{refused}");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let refused = load(root).unwrap_err().to_string();
    assert!(refused.contains("no file, expected one"), "{refused}");
}

#[test]
fn numbers_and_names_that_cannot_be_are_refused_although_the_id_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let good = full(root);
    let spoilt = |spoil: fn(&mut Content)| {
        let mut content = good.clone();
        spoil(&mut content);
        keep(root, content);
        load(root).unwrap_err().to_string()
    };
    let scale = spoilt(|it| it.scale.as_mut().unwrap().um_per_px = 0.0);
    assert!(
        scale.ends_with("um_per_px is 0, expected above 0 to 10"),
        "{scale}"
    );
    let squeeze = spoilt(|it| it.squeeze.as_mut().unwrap().value = 7.0);
    assert!(
        squeeze.ends_with("squeeze is 7, expected 0.2 to 5"),
        "{squeeze}"
    );
    let gain = spoilt(|it| it.blank.as_mut().unwrap().gains[2] = 1e9);
    assert!(gain.contains("gains is 1000000000, expected"), "{gain}");
    let name = spoilt(|it| it.blank.as_mut().unwrap().picture = "../../etc/passwd".to_owned());
    assert!(
        name.contains("picture is \"../../etc/passwd\", expected"),
        "{name}"
    );
}

#[test]
fn a_blank_picture_that_is_not_what_was_kept_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let kept = keep(root, full(root));
    let name = kept.content().blank.as_ref().unwrap().picture.clone();
    let path = root.join(FOLDER).join(name);
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, bytes).unwrap();
    let refused = load_blank(root, &kept).unwrap_err().to_string();
    assert!(
        refused.contains(".png: SHA-256 ") && refused.contains(", expected "),
        "{refused}"
    );
    fs::remove_file(&path).unwrap();
    let refused = load_blank(root, &kept).unwrap_err().to_string();
    assert!(
        refused.contains("cannot be read: No such file"),
        "{refused}"
    );
}

#[test]
fn one_program_calibrates_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let first = Keeper::of(folder.path()).unwrap();
    let second = Keeper::of(folder.path()).unwrap_err();
    assert!(matches!(second, KeepError::Busy { .. }), "{second}");
    drop(first);
    Keeper::of(folder.path()).unwrap();
}

#[test]
fn a_calibration_stands_for_its_source_its_size_and_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let eyepiece = camera("Eyepiece", "usb-1");
    let mismatch = |what, expected: &str, found: &str| Standing::Mismatch {
        what,
        expected: expected.to_owned(),
        found: found.to_owned(),
    };
    let moved = SourceIdentity {
        node: Some("/dev/video2".to_owned()),
        ..eyepiece.clone()
    };
    let folder_source = SourceIdentity::of_pictures(SourceKind::Folder, "/a".to_owned());
    let hd = Size::new(1920, 1080);
    let made = Some(WALL);
    for (name, made, identity, size, now, expected) in [
        ("at once", made, &eyepiece, SIZE, made, Standing::Good),
        ("another node", made, &moved, SIZE, made, Standing::Good),
        (
            "30 days",
            made,
            &eyepiece,
            SIZE,
            Some(WALL + 31 * DAY - 1),
            Standing::Good,
        ),
        (
            "31 days",
            made,
            &eyepiece,
            SIZE,
            Some(WALL + 31 * DAY),
            Standing::Old {
                days: 31,
                after: 30,
            },
        ),
        (
            "no clock now",
            made,
            &eyepiece,
            SIZE,
            None,
            Standing::AgeUnknown,
        ),
        (
            "no clock then",
            None,
            &eyepiece,
            SIZE,
            made,
            Standing::AgeUnknown,
        ),
        (
            "clock went back",
            made,
            &eyepiece,
            SIZE,
            Some(WALL - 1),
            Standing::AgeUnknown,
        ),
        (
            "another camera",
            made,
            &camera("Webcam", "usb-1"),
            SIZE,
            None,
            mismatch("the camera", "Eyepiece", "Webcam"),
        ),
        (
            "another port",
            made,
            &camera("Eyepiece", "usb-2"),
            SIZE,
            made,
            mismatch("the port", "usb-1", "usb-2"),
        ),
        (
            "another size",
            made,
            &eyepiece,
            hd,
            Some(WALL + 99 * DAY),
            mismatch("the frame", "640x480", "1920x1080"),
        ),
        (
            "no camera",
            made,
            &folder_source,
            SIZE,
            made,
            mismatch("the kind", "camera", "folder"),
        ),
    ] {
        let kept = keep(root, content(&eyepiece, made));
        let found = kept.stands(identity, size, now, 30);
        assert_eq!(found, expected, "{name}");
        assert_eq!(found.banner().is_none(), found == Standing::Good, "{name}");
        let fits = !matches!(found, Standing::Mismatch { .. });
        assert_eq!(found.may_be_used(), fits, "{name}");
    }
    let other = SourceIdentity::of_pictures(SourceKind::Folder, "/b".to_owned());
    let kept = keep(root, content(&folder_source, made));
    assert_eq!(
        kept.stands(&other, SIZE, made, 30),
        mismatch("the source", "/a", "/b")
    );
    let banner = mismatch("the frame", "640x480", "1920x1080")
        .banner()
        .unwrap();
    assert_eq!(
        banner,
        "The calibration is not for this source: the frame is 1920x1080, expected 640x480. It is not used: \
         calibrate again."
    );
}

#[test]
fn the_oldest_part_says_the_age() {
    let folder = tempfile::tempdir().unwrap();
    let mut content = content(&camera("Eyepiece", "usb-1"), Some(WALL));
    content.squeeze.as_mut().unwrap().made = moment(Some(WALL - 40 * DAY));
    let kept = keep(folder.path(), content);
    let old = Standing::Old {
        days: 40,
        after: 30,
    };
    assert_eq!(kept.age(Some(WALL), 30), old);
    let words = old.banner().unwrap();
    assert!(
        words.contains("40 days old, expected at most 30"),
        "{words}"
    );
}

#[test]
fn what_the_configuration_says_counts_before_the_calibration() {
    let folder = tempfile::tempdir().unwrap();
    let eyepiece = camera("Eyepiece", "usb-1");
    let kept = keep(folder.path(), content(&eyepiece, None));
    let nothing = keep(
        folder.path(),
        Content::new(Mark::of(&eyepiece, SIZE), moment(None)),
    );
    let unset = CalibrationConfig::default();
    let said = CalibrationConfig {
        um_per_pixel: Some(0.2),
        ..unset
    };
    let squeezed = CalibrationConfig {
        squeeze: Some(0.75),
        ..unset
    };
    let id = Some(kept.id());
    let by_config = Some("configuration-0.2-um-per-px");
    for (config, calibration, scale, squeeze, expected) in [
        (unset, None, None, 1.0, None),
        (unset, Some(&nothing), None, 1.0, None),
        (unset, Some(&kept), Some(0.11), 0.5625, id),
        (said, Some(&kept), Some(0.2), 0.5625, by_config),
        (said, None, Some(0.2), 1.0, by_config),
        (squeezed, Some(&kept), Some(0.11), 0.75, id),
    ] {
        let found = InForce::of(&config, calibration);
        assert_eq!(
            (found.um_per_px, found.squeeze),
            (scale, squeeze),
            "{config:?}"
        );
        assert_eq!(found.id.as_deref(), expected, "{config:?}");
    }
}
