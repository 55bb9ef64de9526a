extern crate std;

use std::string::ToString;
use std::vec::Vec;
use std::{format, vec};

use super::*;
use crate::fit::FitKind;
use crate::phantom::{FieldSpec, MAX_WHITE_CELLS, PhantomCell, draw_field};
use crate::pixels::{RgbView, RgbViewMut};
use crate::resize::{canvas_into, scratch_len};

const SIDE: u32 = 320;

/// A picture on a square canvas of its longer side: nothing is resized, the rest is padding.
fn look_of(size: Size, pixel: impl Fn(u32, u32) -> [u8; 3]) -> Look {
    let side = size.width.max(size.height);
    let pixels = (0..size.height).flat_map(|y| (0..size.width).map(move |x| (x, y)));
    let bytes: Vec<u8> = pixels.flat_map(|(x, y)| pixel(x, y)).collect();
    look_of_bytes(&bytes, size, side)
}

fn look_of_bytes(bytes: &[u8], size: Size, side: u32) -> Look {
    let fit = Fit::new(FitKind::Letterbox, size, Size::new(side, side)).unwrap();
    let (mut scratch, mut canvas) = (vec![0; scratch_len(&fit)], vec![0; canvas_len(&fit)]);
    let view = RgbView::new(bytes, size).unwrap();
    canvas_into(view, &fit, &mut scratch, &mut canvas).unwrap();
    look(&canvas, &fit).unwrap()
}

const FIELD: Size = Size::new(640, 480);

fn field(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; FIELD.area().unwrap() * 3];
    let mut cells: heapless::Vec<PhantomCell, { MAX_WHITE_CELLS as usize }> = heapless::Vec::new();
    let mut view = RgbViewMut::new(&mut bytes, FIELD).unwrap();
    draw_field(&FieldSpec::demo(seed), &mut view, &mut cells).unwrap();
    bytes
}

fn plain() -> Look {
    Look {
        background: [230.0, 220.0, 225.0],
        stain: [90.0, 60.0, 130.0],
        brightness: 180.0,
        contrast: 40.0,
        sharpness: 0.0625,
        cell_side: Some(32.0),
    }
}

fn gathered(looks: &[Look]) -> Gathered {
    let mut all = Gathered::default();
    looks.iter().for_each(|look| all.add(look));
    all
}

#[test]
fn a_tenth_of_stain_on_an_empty_background_is_measured_without_the_padding() {
    // 4 of 40 columns are stained; 10 rows of padding above and below.
    let size = Size::new(40, 20);
    let found = look_of(size, |x, _| {
        if x % 10 == 0 {
            [90, 50, 140]
        } else {
            [240, 230, 220]
        }
    });
    assert_eq!(found.background, [240.0, 230.0, 220.0]);
    assert_eq!(found.stain, [90.0, 50.0, 140.0]);
    // Grey 82.5 and 230: 0.9 * 230 + 0.1 * 82.5, and sqrt(0.9 * 0.1) * 147.5.
    assert_eq!((found.brightness, found.contrast), (215.25, 44.25));
    assert_eq!(found.cell_side, None);
}

#[test]
fn the_level_in_which_a_tenth_ends_is_taken_whole() {
    // 5 of 100 pixels are black, all others alike: the darkest tenth is the whole picture.
    let found = look_of(Size::new(10, 10), |x, y| {
        if x == 0 && y < 5 { [0; 3] } else { [200; 3] }
    });
    assert_eq!(found.stain, [190.0; 3]);
    assert_eq!(found.background, [200.0; 3]);
    let flat = look_of(Size::new(8, 8), |_, _| [7, 8, 9]);
    assert_eq!(flat.stain, flat.background);
    assert_eq!((flat.contrast, flat.sharpness), (0.0, 0.0));
}

#[test]
fn sharpness_is_of_structures_not_of_single_pixels_and_knows_no_exposure() {
    let squares = |side: u32, bright: u8| {
        look_of(Size::new(64, 64), move |x, y| {
            let is_bright = (x / side + y / side).is_multiple_of(2);
            [if is_bright { bright } else { bright / 2 }; 3]
        })
        .sharpness
    };
    // Single pixels are gone in the halved picture, where they all have the same mean.
    assert_eq!(squares(1, 200), 0.0);
    // Pixels of the halved picture are 200 and 100, their Laplacians +-400, the mean is 150.
    assert!((squares(2, 200) - (400.0 * 400.0) / (150.0 * 150.0)).abs() < 1e-5);
    assert!(squares(2, 200) > 4.0 * squares(8, 200));
    assert_eq!(squares(2, 200), squares(2, 100));
    let black = look_of(Size::new(6, 6), |_, _| [0; 3]);
    assert_eq!((black.brightness, black.sharpness), (0.0, 0.0));
}

#[test]
fn a_canvas_that_cannot_be_judged_is_refused() {
    let fit = |size| Fit::new(FitKind::Letterbox, size, Size::new(SIDE, SIDE)).unwrap();
    let canvas = vec![0; 3 * (SIDE * SIDE) as usize];
    let refused = |canvas: &[u8], size| look(canvas, &fit(size)).unwrap_err().to_string();
    assert_eq!(
        refused(&canvas[1..], FIELD),
        "canvas needs 307200 elements, got 307199"
    );
    assert_eq!(
        refused(&canvas, Size::new(3200, 50)),
        "a picture of 320x5 on the canvas, expected sides of at least 6 to judge its look"
    );
    assert!(look(&canvas, &fit(Size::new(3200, 60))).is_ok());
}

#[test]
fn a_cell_has_its_side_on_the_canvas() {
    let fit = Fit::new(FitKind::Letterbox, FIELD, Size::new(SIDE, SIDE)).unwrap();
    let bbox = BBox::from_corners(100.0, 100.0, 120.0, 180.0).unwrap();
    // 10 by 40 pixels there.
    assert_eq!(side_of(&bbox, &fit), 20.0);
    for (sides, expected) in [
        (&mut [][..], None),
        (&mut [3.0], Some(3.0)),
        (&mut [9.0, 1.0], Some(5.0)),
        (&mut [9.0, 1.0, 2.0], Some(2.0)),
        (&mut [8.0, 1.0, 2.0, 4.0], Some(3.0)),
    ] {
        assert_eq!(median_side(sides), expected, "{sides:?}");
    }
}

#[test]
fn a_drawn_field_has_the_same_look_on_every_machine() {
    let found = look_of_bytes(&field(7), FIELD, SIDE);
    let values = Quantity::ALL.map(|quantity| quantity.of(&found).map(f32::to_bits));
    assert_eq!(values, GOLDEN, "{found:?}");
}

/// Bits of the numbers that this program found on x86-64: other machines must find the same.
const GOLDEN: [Option<u32>; QUANTITIES] = [
    Some(0x4355_ebfb),
    Some(0x4357_6f7b),
    Some(0x4354_39a8),
    Some(0x42b9_3ba9),
    Some(0x428f_a905),
    Some(0x4320_7958),
    Some(0x4335_1030),
    Some(0x420b_53f5),
    Some(0xc0ed_14f3),
    None,
];

#[test]
fn a_small_set_weighs_as_much_as_a_large_one() {
    let bright = |brightness| Look {
        brightness,
        ..plain()
    };
    let large = gathered(&[bright(100.0), bright(100.0), bright(100.0)]);
    let small = gathered(&[bright(190.0), bright(210.0)]);
    let domain = Domain::of(&[large, small]).unwrap();
    // Means 100 and 200, variances 0 and 100: (0 + 100) / 2 + 50 * 50.
    let deviation = 2550.0_f32.sqrt();
    assert_eq!(
        domain.brightness,
        Spread {
            mean: 150.0,
            deviation
        }
    );
    assert_eq!(domain.pictures, 5);
    assert!(domain.is_usable());
    assert_eq!(Domain::of(&[]), None);
    assert_eq!(Domain::of(&[Gathered::default()]), None);
}

#[test]
fn a_set_without_labelled_cells_says_nothing_of_their_size() {
    let bare = Look {
        cell_side: None,
        ..plain()
    };
    let with_cells = gathered(&[plain(), bare]);
    let spread = Domain::of(&[with_cells, gathered(&[bare])]).unwrap();
    assert_eq!(spread.cell_side.map(|s| s.mean), Some(5.0), "log2 of 32");
    let without = Domain::of(&[gathered(&[bare])]).unwrap();
    assert_eq!(without.cell_side, None);
    assert_eq!(without.distance(&plain()).z[9], None);
    assert!(without.is_usable());
}

#[test]
fn the_mean_look_of_a_slide_is_a_look() {
    let other = Look {
        background: [210.0; 3],
        sharpness: 0.25,
        cell_side: Some(8.0),
        ..plain()
    };
    let bare = Look {
        cell_side: None,
        ..plain()
    };
    let mean = gathered(&[plain(), other]).mean().unwrap();
    assert_eq!(mean.background, [220.0, 215.0, 217.5]);
    // Geometric means.
    assert_eq!((mean.sharpness, mean.cell_side), (0.125, Some(16.0)));
    assert_eq!(gathered(&[bare]).mean(), Some(bare));
    assert_eq!(Gathered::default().mean(), None);
}

#[test]
fn distance_is_in_deviations_but_never_finer_than_differences_that_mean_something() {
    // Pictures that are all the same: every deviation is 0.
    let domain = Domain::of(&[gathered(&[plain(), plain()])]).unwrap();
    let at = |look: &Look| {
        let distance = domain.distance(look);
        (distance.worst, distance.worst_z, distance.nearness)
    };
    assert_eq!(domain.distance(&plain()).z, [Some(0.0); QUANTITIES]);
    assert_eq!(at(&plain()).2, Nearness::Near);
    let mut look = plain();
    look.stain[2] -= 16.0;
    look.brightness += 8.0;
    assert_eq!(at(&look), (Quantity::StainBlue, -4.0, Nearness::Far));
    // A cell of twice the side is one octave, eight of the least deviations.
    look.cell_side = Some(64.0);
    assert_eq!(at(&look), (Quantity::CellSide, 8.0, Nearness::Foreign));
    look.contrast = f32::NAN;
    assert_eq!(at(&look).0, Quantity::Contrast);
    assert_eq!(at(&look).2, Nearness::Foreign);
}

#[test]
fn the_limits_of_what_is_near_are_where_distance_leaves_it() {
    let wide = Look {
        brightness: 220.0,
        cell_side: Some(64.0),
        ..plain()
    };
    let domain = Domain::of(&[gathered(&[plain(), wide])]).unwrap();
    // Means 200 and 5.5 octaves, deviations 20 and half an octave; the stain is always the same.
    let limits = |quantity| domain.near_limits(quantity).unwrap();
    assert_eq!(limits(Quantity::Brightness), [140.0, 260.0]);
    assert_eq!(limits(Quantity::CellSide), [16.0, 128.0]);
    assert_eq!(limits(Quantity::StainRed), [78.0, 102.0]);
    let at = Look {
        cell_side: Some(128.5),
        ..plain()
    };
    assert_eq!(domain.distance(&at).nearness, Nearness::Far);
}

#[test]
fn nearness_has_its_limits() {
    for (z, expected) in [
        (0.0, Nearness::Near),
        (-3.0, Nearness::Near),
        (3.001, Nearness::Far),
        (-6.0, Nearness::Far),
        (6.001, Nearness::Foreign),
        (f32::NEG_INFINITY, Nearness::Foreign),
        (f32::NAN, Nearness::Foreign),
    ] {
        assert_eq!(Nearness::of(z), expected, "{z}");
    }
    assert!(Nearness::Near < Nearness::Far && Nearness::Far < Nearness::Foreign);
}

#[test]
fn another_drawn_field_is_near_and_a_spoilt_one_is_not() {
    let looks: Vec<Look> = (0..24)
        .map(|seed| look_of_bytes(&field(seed), FIELD, SIDE))
        .collect();
    let domain = Domain::of(&[gathered(&looks)]).unwrap();
    let judged = |spoil: &dyn Fn(&mut [u8])| {
        let mut bytes = field(1000);
        spoil(&mut bytes);
        domain.distance(&look_of_bytes(&bytes, FIELD, SIDE))
    };
    let as_drawn = judged(&|_| ());
    assert_eq!(as_drawn.nearness, Nearness::Near, "{as_drawn:?}");
    let swapped = judged(&|bytes| bytes.chunks_exact_mut(3).for_each(|rgb| rgb.swap(0, 2)));
    assert_eq!(swapped.nearness, Nearness::Foreign, "{swapped:?}");
    let dark = judged(&|bytes| bytes.iter_mut().for_each(|value| *value /= 2));
    assert_eq!(dark.nearness, Nearness::Foreign, "{dark:?}");
    let blurred = judged(&blur);
    assert_eq!(blurred.worst, Quantity::Sharpness, "{blurred:?}");
    assert!(
        blurred.worst_z < 0.0 && blurred.nearness != Nearness::Near,
        "{blurred:?}"
    );
}

/// The mean of 9 pixels along each row: about one and a half red cell's rims wide.
fn blur(bytes: &mut [u8]) {
    let sharp = bytes.to_vec();
    for (at, value) in bytes.iter_mut().enumerate() {
        let around = (0..9).filter_map(|step| sharp.get((at + step * 3).checked_sub(12)?));
        let (n, sum) = around.fold((0, 0), |(n, sum), &v| (n + 1, sum + u32::from(v)));
        *value = (sum / n.max(1)) as u8;
    }
}

#[test]
fn a_domain_that_cannot_be_is_not_usable() {
    let good = Domain::of(&[gathered(&[plain()])]).unwrap();
    let spoilt: [fn(&mut Domain); 4] = [
        |d| d.pictures = 0,
        |d| d.stain[1].mean = f32::NAN,
        |d| d.contrast.deviation = -1.0,
        |d| d.cell_side.as_mut().unwrap().deviation = f32::INFINITY,
    ];
    for (index, spoil) in spoilt.into_iter().enumerate() {
        let mut domain = good;
        spoil(&mut domain);
        assert!(!domain.is_usable(), "{index}");
    }
}

#[test]
fn a_domain_survives_its_json_and_unknown_keys_do_not() {
    let domain = Domain::of(&[gathered(&[plain(), look_of_bytes(&field(3), FIELD, SIDE)])]);
    let domain = domain.unwrap();
    let json = serde_json::to_string(&domain).unwrap();
    assert_eq!(serde_json::from_str::<Domain>(&json).unwrap(), domain);
    let other = json.replacen("\"pictures\"", "\"fields\":1,\"pictures\"", 1);
    let refused = serde_json::from_str::<Domain>(&other).unwrap_err();
    assert!(format!("{refused}").starts_with("unknown field `fields`"));
}
