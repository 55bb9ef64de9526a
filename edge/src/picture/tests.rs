use std::path::PathBuf;

use super::*;

fn fixture(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/pictures");
    std::fs::read(folder.join(name)).expect("a fixture of the project")
}

/// Middle of the left half, middle of the right half, top left corner.
fn spots(picture: &Picture) -> [[u8; 3]; 3] {
    let at = |x: u32, y: u32| {
        let row = picture.view().row(y);
        let pixel = &row[x as usize * 3..][..3];
        [pixel[0], pixel[1], pixel[2]]
    };
    [at(6, 10), at(18, 10), at(1, 1)]
}

fn near(got: [u8; 3], expected: [u8; 3], tolerance: u8) -> bool {
    got.into_iter()
        .zip(expected)
        .all(|(a, b)| a.abs_diff(b) <= tolerance)
}

#[test]
fn every_kind_of_picture_becomes_the_same_rgb() {
    const COLOURS: [[u8; 3]; 3] = [[200, 0, 0], [0, 0, 200], [255, 255, 255]];
    const RED_AS_GREY: [[u8; 3]; 3] = [[200; 3], [0; 3], [255; 3]];
    // 0.299 * 200 = 60 and 0.114 * 200 = 23, rounded by the encoder.
    const LUMA: [[u8; 3]; 3] = [[60; 3], [23; 3], [255; 3]];
    struct Case {
        name: &'static str,
        expected: [[u8; 3]; 3],
        tolerance: u8,
    }
    let case = |name, expected, tolerance| Case {
        name,
        expected,
        tolerance,
    };
    for Case {
        name,
        expected,
        tolerance,
    } in [
        case("plain.png", COLOURS, 0),
        case("interlaced.png", COLOURS, 0),
        case("sixteen.png", COLOURS, 0),
        case("alpha.png", COLOURS, 0),
        case("palette.png", COLOURS, 0),
        case("grey.png", RED_AS_GREY, 0),
        case("plain.jpg", COLOURS, 6),
        case("progressive.jpg", COLOURS, 6),
        case("cmyk.jpg", COLOURS, 12),
        case("grey.jpg", LUMA, 4),
    ] {
        let picture = decode(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(picture.size(), Size::new(24, 16), "{name}");
        for (got, expected) in spots(&picture).into_iter().zip(expected) {
            assert!(
                near(got, expected, tolerance),
                "{name}: {got:?}, expected {expected:?}"
            );
        }
    }
}

#[test]
fn a_turned_picture_is_turned_back() {
    let picture = decode(&fixture("turned.jpg")).unwrap();
    assert_eq!(picture.size(), Size::new(24, 16));
    let [left, right, corner] = spots(&picture);
    assert!(near(left, [200, 0, 0], 6), "{left:?}");
    assert!(near(right, [0, 0, 200], 6), "{right:?}");
    assert!(near(corner, [255; 3], 6), "{corner:?}");
}

#[test]
fn a_bomb_is_refused_with_its_size() {
    for (name, expected) in [
        ("huge.png", "100000x100000"),
        ("deep.png", "needs 2686 MiB to decode, expected at most 224"),
    ] {
        let message = decode(&fixture(name)).unwrap_err().to_string();
        assert!(message.contains(expected), "{name}: {message}");
    }
}

#[test]
fn a_jpeg_or_png_cut_anywhere_is_never_a_picture() {
    for name in ["plain.jpg", "progressive.jpg", "turned.jpg", "plain.png"] {
        let whole = fixture(name);
        // Behind the last pixel a PNG still has its 12-byte end chunk.
        let least = if name.ends_with("png") { 12 } else { 0 };
        for len in 0..whole.len() - least {
            assert!(decode(&whole[..len]).is_err(), "{name} cut to {len}");
        }
    }
}

#[test]
fn damage_is_named() {
    for (bytes, expected) in [
        (vec![], "empty file, expected PNG or JPEG"),
        (
            b"GIF89a..".to_vec(),
            "starts with [47, 49, 46, 38], expected PNG or JPEG",
        ),
        (fixture("crc.png"), "damaged: "),
        (
            fixture("plain.jpg")[..300].to_vec(),
            "JPEG cut short: 300 bytes and no end marker",
        ),
    ] {
        let message = decode(&bytes).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn a_flipped_bit_never_panics() {
    for name in ["plain.jpg", "progressive.jpg", "cmyk.jpg", "interlaced.png"] {
        let whole = fixture(name);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            // Either a picture or a reason; small flips in the entropy data stay pictures.
            let _ = decode(&bytes);
        }
    }
}

#[test]
fn what_is_no_file_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let message = read(folder.path()).unwrap_err().to_string();
    assert_eq!(message, "a folder, expected a picture file");
    let missing = read(&folder.path().join("x.png")).unwrap_err().to_string();
    assert!(missing.starts_with("cannot be read: "), "{missing}");
}
