//! What is measured of pictures: drawn ones with known truth, and real ones.

use std::path::PathBuf;

use shared::geometry::Size;
use shared::phantom::{FieldSpec, StagePosition};

use super::super::blank::{BlankError, BlankField, BlankMeasure};
use super::super::measure::{MeasureError, measure};
use super::{bare, draw};
use crate::picture::{self, Picture};
use crate::source::phantom::Walk;
use field::grey::Reduced;
use field::red_cells::{RED_CELL_UM, RedCells, ScaleError};

/// Shows fields side by side until there are `wanted` red cells.
fn cells_of(spec: &FieldSpec, wanted: usize) -> RedCells {
    let mut cells = RedCells::default();
    let mut reduced = Reduced::new(spec.size).unwrap();
    for field in 0..100 {
        let stage = StagePosition {
            x_um: 300.0 * field as f32,
            y_um: 0.0,
        };
        let picture = draw(&FieldSpec {
            stage,
            ..spec.clone()
        });
        reduced.fill(picture.view()).unwrap();
        cells.add(&reduced);
        if cells.scale().is_ok_and(|scale| scale.cells >= wanted) {
            break;
        }
    }
    cells
}

#[test]
fn scale_and_squeeze_of_drawn_slides_are_right_within_two_per_cent() {
    let mut worst = [0.0_f32; 2];
    for (index, squeeze) in [0.57, 0.7, 0.85, 1.0].into_iter().enumerate() {
        for seed in [11, 12, 13] {
            let spec = FieldSpec {
                squeeze,
                um_per_px: [0.125, 0.1, 0.11, 0.16][index],
                blur_px: 1.5,
                clumping: 0.1,
                ..FieldSpec::wide(seed)
            };
            let found = measure(&cells_of(&spec, 400), RED_CELL_UM).unwrap();
            let off = [
                found.um_per_px / spec.um_per_px - 1.0,
                found.squeeze / squeeze - 1.0,
            ];
            let [scale, shape] = off.map(|part| part * 100.0);
            let of_scale = found.basis.standard_error / found.um_per_px * 100.0;
            println!(
                "squeeze {squeeze} seed {seed}: scale {scale:+.2} % (standard error {of_scale:.2} %), squeeze \
                 {shape:+.2} %, {} cells of {} fields, spread {:.3}",
                found.basis.cells, found.basis.fields, found.basis.spread
            );
            for (worst, off) in worst.iter_mut().zip(off) {
                *worst = worst.max(off.abs());
            }
        }
    }
    println!("worst: scale and squeeze off by {worst:?}");
    assert!(worst.iter().all(|&off| off < 0.02), "{worst:?}");
}

#[test]
fn the_limits_of_a_scale_of_few_cells_contain_the_true_one() {
    for seed in 1..=4 {
        let spec = Walk::demo(seed).field;
        let found = measure(&cells_of(&spec, 200), RED_CELL_UM).unwrap();
        let off = found.um_per_px - spec.um_per_px;
        let [part, limit] = [off, 1.96 * found.basis.standard_error].map(|it| it / spec.um_per_px);
        println!(
            "seed {seed}: {:+.2} %, limits +-{:.2} %",
            part * 100.0,
            limit * 100.0
        );
        assert!(part.abs() < 0.03 && part.abs() <= limit, "{part} {limit}");
    }
}

#[test]
fn the_ruler_of_the_configuration_is_the_one_that_is_used() {
    let spec = FieldSpec {
        clumping: 0.1,
        ..FieldSpec::wide(4)
    };
    let cells = cells_of(&spec, 60);
    let [normal, small] = [7.2, 6.0].map(|um| measure(&cells, um).unwrap());
    assert!((small.um_per_px / normal.um_per_px - 6.0 / 7.2).abs() < 1e-5);
    assert_eq!(small.squeeze, normal.squeeze);
    assert_eq!(
        (small.basis.red_cell_um, small.basis.cells),
        (6.0, normal.basis.cells)
    );
}

#[test]
fn too_few_cells_and_cells_of_any_size_give_no_scale() {
    let few = measure(&cells_of(&bare(FieldSpec::demo(1)), 1), RED_CELL_UM);
    let none = ScaleError::TooFew { got: 0, min: 30 };
    assert_eq!(few, Err(MeasureError::Cells(none)));
    // Discs whose diameters are spread evenly over a factor of two.
    let size = Size::new(320, 320);
    let mut cells = RedCells::default();
    let mut reduced = Reduced::new(size).unwrap();
    for field in 0..20 {
        let mut bytes = vec![220_u8; 320 * 320 * 3];
        for (index, pixel) in bytes.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let (x, y) = (index % 320, index / 320);
            let (column, row) = (x / 80, y / 80);
            let radius = 13.0 + 9.0 * ((column + 4 * row + 3 * field) % 16) as f32 / 15.0;
            let [dx, dy] = [x % 80, y % 80].map(|it| it as f32 - 39.5);
            if dx * dx + dy * dy <= radius * radius {
                *pixel = [120, 90, 110];
            }
        }
        let picture = Picture::new(bytes, size).unwrap();
        reduced.fill(picture.view()).unwrap();
        cells.add(&reduced);
    }
    let refused = measure(&cells, RED_CELL_UM).unwrap_err();
    assert!(matches!(refused, MeasureError::Spread { .. }), "{refused}");
    let words = refused.to_string();
    assert!(words.contains("expected at most 17 %"), "{words}");
}

fn blank_of(pictures: &[Picture]) -> Result<BlankMeasure, BlankError> {
    let mut blank = BlankField::new(pictures[0].size()).unwrap();
    for picture in pictures {
        blank.add(picture.view()).unwrap();
    }
    blank.measure()
}

/// Eight frames of a field, each with its own noise.
fn frames(spec: &FieldSpec) -> Vec<Picture> {
    let of = |frame| {
        draw(&FieldSpec {
            frame,
            ..spec.clone()
        })
    };
    (0..8).map(of).collect()
}

#[test]
fn a_blank_field_is_taken_with_its_colour_under_any_lamp() {
    for (name, cast, gradient) in [
        ("even and grey", [0.8, 0.8, 0.8], 0.0),
        ("yellow", [0.85, 0.80, 0.55], 0.1),
        ("dark at its edges", [0.62, 0.66, 0.6], 0.6),
    ] {
        let spec = FieldSpec {
            cast,
            gradient,
            noise: 4.0,
            ..bare(FieldSpec::demo(3))
        };
        let found = blank_of(&frames(&spec)).unwrap();
        println!(
            "{name}: {:?} {:?} {}",
            found.background, found.gains, found.evenness
        );
        assert_eq!((found.frames, found.size), (8, Size::new(320, 240)));
        assert_eq!(found.rgb.len(), 320 * 240 * 3);
        for (gain, expected) in found.gains.into_iter().zip(cast.map(|it| cast[1] / it)) {
            assert!(
                (gain / expected - 1.0).abs() < 0.02,
                "{name}: {gain}, {expected}"
            );
        }
        // The slope alone takes half of the gradient at either side.
        let even = 1.0 - 2.0 * gradient - 0.03..=1.0 - gradient / 2.0;
        assert!(even.contains(&found.evenness), "{name}: {}", found.evenness);
        // The station divides by it: what was uneven is even.
        let mut reduced = Reduced::new(spec.size).unwrap();
        let kept = Picture::new(found.rgb, found.size).unwrap();
        assert!(reduced.recall_blank(kept.view()).unwrap());
        reduced
            .fill(draw(&FieldSpec { frame: 99, ..spec }).view())
            .unwrap();
        let grey = reduced.grey();
        let mean = grey.iter().map(|&it| f64::from(it)).sum::<f64>() / grey.len() as f64;
        let off = grey
            .iter()
            .map(|&it| (f64::from(it) - mean).abs())
            .sum::<f64>();
        assert!(off / (grey.len() as f64) < 0.02 * mean, "{name}");
    }
}

#[test]
fn what_is_no_blank_field_is_refused_with_the_reason() {
    let spec = bare(FieldSpec::demo(5));
    let lit = |cast: f32| FieldSpec {
        cast: [cast; 3],
        ..spec.clone()
    };
    let red_cells = FieldSpec {
        red_cell_density: 1.5,
        ..spec.clone()
    };
    let one_white = FieldSpec {
        white_cells: [1, 1],
        ..spec.clone()
    };
    let mut brighter = frames(&spec);
    brighter.extend(frames(&lit(0.88)));
    let mut moving = frames(&spec);
    moving.extend(frames(&FieldSpec::demo(5)));
    let too_blue = FieldSpec {
        cast: [0.6, 0.6, 1.0],
        gradient: 0.0,
        ..spec.clone()
    };
    let edge = FieldSpec {
        gradient: 0.6,
        cast: [0.75, 0.75, 0.1],
        ..spec.clone()
    };
    for (name, pictures, expected) in [
        ("dark", frames(&lit(0.2)), "brightness 5"),
        ("white", frames(&lit(1.0)), "red is clipped on"),
        ("one channel", frames(&too_blue), "blue is clipped on"),
        (
            "no blue at the edge",
            frames(&edge),
            "darkest place has a channel of",
        ),
        ("red cells", frames(&red_cells), "something lies on"),
        ("a white cell", frames(&one_white), "something lies on"),
        ("a smear", frames(&FieldSpec::demo(5)), "something lies on"),
        ("automatic exposure", brighter, "brightness goes from"),
        ("a moving stage", moving, ", expected"),
    ] {
        let refused = blank_of(&pictures).unwrap_err().to_string();
        println!("{name}: {refused}");
        assert!(refused.contains(expected), "{name}: {refused}");
    }
}

/// The folder of the real sets: `WBC_DATA`, else `../shared/data` from the project's root.
fn real(set: &str) -> Option<PathBuf> {
    let root = std::env::var_os("WBC_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")),
        PathBuf::from,
    );
    let folder = root.join(set);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no WBC_DATA");
    None
}

fn cells_of_folder(folder: &std::path::Path) -> RedCells {
    let mut cells = RedCells::default();
    let listing = crate::source::folder::list(folder, &[]).unwrap();
    for entry in &listing.entries {
        let picture = picture::read(&entry.path).unwrap();
        let mut reduced = Reduced::new(picture.size()).unwrap();
        reduced.fill(picture.view()).unwrap();
        cells.add(&reduced);
    }
    cells
}

#[test]
fn red_cells_of_real_fields_give_the_squeeze_that_was_measured_by_hand() {
    let Some(folder) = real("leukemiaattri-fields") else {
        return;
    };
    let found = measure(&cells_of_folder(&folder), RED_CELL_UM).unwrap();
    println!("{found:?}");
    assert!((0.55..=0.61).contains(&found.squeeze), "{found:?}");
    assert!((0.1..=0.2).contains(&found.um_per_px), "{found:?}");
}

#[test]
fn real_fields_of_cells_that_touch_give_square_pixels_or_no_scale() {
    let Some(folder) = real("bccd") else { return };
    let cells = cells_of_folder(&folder);
    let scale = cells.scale().unwrap();
    let found = measure(&cells, RED_CELL_UM);
    println!("{scale:?}\n{found:?}");
    assert!((0.93..=1.07).contains(&scale.squeeze), "{scale:?}");
    let honest = matches!(found, Ok(_) | Err(MeasureError::Spread { .. }));
    assert!(honest, "{found:?}");
}
