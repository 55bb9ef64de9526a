use std::vec;
use std::vec::Vec;

use super::*;
use crate::class::ClassId;
use crate::contract::fnv1a;
use crate::geometry::Size;
use crate::pixels::RgbViewMut;

type Truth = heapless::Vec<PhantomCell, 64>;

fn drawn(spec: &FieldSpec) -> (Vec<u8>, Truth, DrawnField) {
    let mut bytes = vec![0; spec.size.area().unwrap() * 3];
    let mut truth = Truth::new();
    let mut picture = RgbViewMut::new(&mut bytes, spec.size).unwrap();
    let counts = draw_field(spec, &mut picture, &mut truth).unwrap();
    (bytes, truth, counts)
}

/// The same field without camera and without anything but white cells.
fn only_white(spec: FieldSpec) -> FieldSpec {
    FieldSpec {
        red_cell_density: 0.0,
        platelet_density: 0.0,
        artefact_density: 0.0,
        gradient: 0.0,
        plasma: 0.0,
        blur_px: 0.0,
        noise: 0.0,
        ..spec
    }
}

#[test]
fn a_seed_gives_the_same_bytes_on_every_target() {
    // Made by this code itself, the same in debug and release. They must not change silently:
    // contracts carry seeds of golden fields. To renew them, run this test and copy `left`.
    let hashes = [
        FieldSpec::demo(7),
        FieldSpec::wide(7),
        FieldSpec::randomised(7),
    ]
    .map(|spec| fnv1a(&drawn(&spec).0));
    assert_eq!(
        hashes,
        [
            14_422_405_752_166_056_603,
            6_149_629_568_009_935_594,
            13_992_766_931_505_161_648
        ]
    );
}

#[test]
fn another_seed_gives_another_field_and_another_frame_only_other_noise() {
    let spec = FieldSpec::demo(1);
    let (bytes, truth, _) = drawn(&spec);
    assert_ne!(bytes, drawn(&FieldSpec::demo(2)).0);
    let (later, later_truth, _) = drawn(&FieldSpec { frame: 1, ..spec });
    assert_eq!(truth, later_truth);
    assert_ne!(bytes, later);
    let worst = bytes.iter().zip(&later).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst < Some(20), "{worst:?} grey levels");
}

#[test]
fn a_field_that_is_one_tile_shows_the_cells_that_were_asked_for_whole() {
    for seed in 0..12 {
        let spec = FieldSpec {
            white_cells: [3, 3],
            ..FieldSpec::wide(seed)
        };
        let (_, truth, counts) = drawn(&spec);
        assert_eq!(truth.len() + usize::from(counts.crowded_out), 3);
        assert_eq!((counts.cut, counts.no_room), (0, 0));
        assert!(truth.iter().all(|cell| cell.visible == 1.0), "{truth:?}");
    }
}

#[test]
fn truth_boxes_are_inside_and_tight() {
    for seed in 0..12 {
        let mut spec = only_white(FieldSpec::randomised(seed));
        spec.white_cells = [1, 1];
        spec.stain_strength = 1.0;
        let (bytes, truth, _) = drawn(&spec);
        let (empty, ..) = drawn(&FieldSpec {
            white_cells: [0, 0],
            ..spec.clone()
        });
        for cell in &truth {
            let (width, height) = (spec.size.width as f32, spec.size.height as f32);
            let [x0, y0, x1, y1] = cell.bbox.xyxy();
            assert!(x0 >= 0.0 && y0 >= 0.0 && x1 <= width && y1 <= height);
            let alone = truth
                .iter()
                .all(|other| other.id == cell.id || other.bbox.iou(&cell.bbox) == 0.0);
            if cell.morphology.artefact.is_some() || !alone {
                continue;
            }
            // A pixel half covered by the palest cytoplasm loses about 12 grey levels of green.
            let mut mask = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
            for y in (y0 as u32).saturating_sub(4)..(y1 as u32 + 4).min(spec.size.height) {
                for x in (x0 as u32).saturating_sub(4)..(x1 as u32 + 4).min(spec.size.width) {
                    let at = ((y * spec.size.width + x) * 3 + 1) as usize;
                    if empty[at].abs_diff(bytes[at]) >= 10 {
                        let (x, y) = (x as f32, y as f32);
                        mask[0] = mask[0].min(x);
                        mask[1] = mask[1].min(y);
                        mask[2] = mask[2].max(x + 1.0);
                        mask[3] = mask[3].max(y + 1.0);
                    }
                }
            }
            for (side, expected) in cell.bbox.xyxy().iter().zip(mask) {
                assert!(
                    (side - expected).abs() <= 1.0,
                    "seed {seed}: {cell:?}, mask {mask:?}"
                );
            }
        }
    }
}

#[test]
fn a_cell_seen_in_two_fields_is_the_same_cell_and_looks_the_same() {
    for look in [FieldSpec::demo as fn(u64) -> FieldSpec, FieldSpec::wide] {
        let spec = FieldSpec {
            gradient: 0.0,
            noise: 0.0,
            stage: StagePosition {
                x_um: -13.04,
                y_um: 250.0,
            },
            ..look(5)
        };
        // 160 pixels to the right, 96 down.
        let mut moved = spec.clone();
        moved.stage.x_um += 160.0 * spec.um_per_px / spec.squeeze;
        moved.stage.y_um += 96.0 * spec.um_per_px;
        let ((a, cells_a, _), (b, cells_b, _)) = (drawn(&spec), drawn(&moved));
        let width = spec.size.width as usize;
        let rim = 3 * spec.blur_px as usize + 4;
        for row in rim..spec.size.height as usize - 96 - rim {
            let from = |left: usize, row: usize| (row * width + left) * 3;
            let row_a = &a[from(160 + rim, row + 96)..from(width - rim, row + 96)];
            let row_b = &b[from(rim, row)..from(width - 160 - rim, row)];
            assert!(row_a == row_b, "row {row}");
        }
        let mut shared = 0;
        for cell in cells_a.iter().filter(|cell| cell.visible == 1.0) {
            let Some(other) = cells_b.iter().find(|other| other.id == cell.id) else {
                continue;
            };
            assert_eq!(other.morphology, cell.morphology);
            if other.visible == 1.0 {
                assert_eq!(other.bbox.x0(), cell.bbox.x0() - 160.0);
                assert_eq!(other.bbox.y0(), cell.bbox.y0() - 96.0);
                shared += 1;
            }
        }
        assert!(
            shared > 0,
            "the windows share no whole cell: choose another seed"
        );
    }
}

#[test]
fn every_class_can_be_drawn_and_differs_from_the_empty_field() {
    let spec = FieldSpec::analyser(3);
    for class in 0..N_CLASSES as u8 {
        let cell = Morphology::sample(ClassId(class), 40).unwrap();
        let mut bytes = vec![0; spec.size.area().unwrap() * 3];
        let mut truth = Truth::new();
        let mut picture = RgbViewMut::new(&mut bytes, spec.size).unwrap();
        let counts = draw_portrait(&spec, &cell, &mut picture, &mut truth).unwrap();
        assert_eq!(counts.in_truth, 1);
        assert_eq!(truth[0].morphology, cell);
        let (cx, cy) = truth[0].bbox.centre();
        assert!(
            (cx - 112.0).abs() < 12.0 && (cy - 112.0).abs() < 12.0,
            "class {class}"
        );
        let pixel_um2 = spec.um_per_px * spec.um_per_px;
        let dark = bytes.chunks_exact(3).filter(|pixel| pixel[1] < 120).count() as f32 * pixel_um2;
        assert!(
            dark > 12.0,
            "class {class}: {dark} square micrometres are dark"
        );
    }
}

#[test]
fn a_nucleus_takes_the_share_of_the_cell_that_its_truth_says() {
    let spec = only_white(FieldSpec::analyser(3));
    for (class, seed) in [(3, 1), (7, 2), (10, 3), (8, 4)] {
        let mut cell = Morphology::sample(ClassId(class), seed).unwrap();
        cell.granules = Granules::None;
        cell.cytoplasm = CytoplasmColour::Pale;
        cell.vacuoles = 0;
        let mut bytes = vec![0; spec.size.area().unwrap() * 3];
        let mut truth = Truth::new();
        let mut picture = RgbViewMut::new(&mut bytes, spec.size).unwrap();
        draw_portrait(&spec, &cell, &mut picture, &mut truth).unwrap();
        let below = |limit| {
            bytes
                .chunks_exact(3)
                .filter(|pixel| pixel[1] < limit)
                .count() as f32
        };
        let share = below(130) / below(215);
        assert!(
            (share - cell.nuclear_ratio).abs() < 0.05,
            "class {class}: {share}, {cell:?}"
        );
    }
}

#[test]
fn cells_without_room_in_the_truth_are_counted() {
    let spec = FieldSpec {
        white_cells: [5, 5],
        ..FieldSpec::wide(2)
    };
    let mut bytes = vec![0; spec.size.area().unwrap() * 3];
    let mut picture = RgbViewMut::new(&mut bytes, spec.size).unwrap();
    let mut truth: heapless::Vec<PhantomCell, 2> = heapless::Vec::new();
    let counts = draw_field(&spec, &mut picture, &mut truth).unwrap();
    assert_eq!((counts.in_truth, counts.no_room), (2, 3));
}

#[test]
fn a_cell_cut_to_a_sliver_is_counted_and_is_not_truth() {
    let mut cut = 0;
    for seed in 0..20 {
        let (_, truth, counts) = drawn(&FieldSpec::randomised(seed));
        assert!(truth.iter().all(|cell| cell.visible >= VISIBLE_MIN));
        assert_eq!(usize::from(counts.in_truth), truth.len());
        cut += counts.cut;
    }
    assert!(cut > 3, "{cut} cut cells in 20 fields at random places");
}

#[test]
fn a_field_that_cannot_be_drawn_is_refused_with_its_reason() {
    let demo = FieldSpec::demo(0);
    let cases = [
        (
            FieldSpec {
                size: Size::new(640, 8),
                ..demo.clone()
            },
            "field of 640x8, expected sides of 16 to 4096",
        ),
        (
            FieldSpec {
                um_per_px: f32::NAN,
                ..demo.clone()
            },
            "um_per_px NaN, expected 0.02 to 1",
        ),
        (
            FieldSpec {
                cast: [0.5, 1.5, 0.5],
                ..demo.clone()
            },
            "cast 1.5, expected 0.1 to 1",
        ),
        (
            FieldSpec {
                white_cells: [9, 4],
                ..demo.clone()
            },
            "white_cells 9 to 4, expected ascending numbers up to 40",
        ),
        (
            FieldSpec {
                class_weights: [0; N_CLASSES],
                ..demo.clone()
            },
            "class_weights are all 0, expected one above",
        ),
        (
            FieldSpec {
                size: Size::new(320, 240),
                ..demo.clone()
            },
            "picture of 640x480, expected the field's 320x240",
        ),
    ];
    let mut bytes = vec![9; 640 * 480 * 3];
    let mut picture = RgbViewMut::new(&mut bytes, demo.size).unwrap();
    for (spec, message) in cases {
        let error = draw_field(&spec, &mut picture, &mut Truth::new()).unwrap_err();
        assert_eq!(std::format!("{error}"), message);
    }
    assert!(bytes.iter().all(|&byte| byte == 9), "nothing was drawn");
}

#[test]
fn every_random_look_is_legal() {
    for seed in 0..2000 {
        assert_eq!(FieldSpec::randomised(seed).check(), Ok(()), "seed {seed}");
    }
}
