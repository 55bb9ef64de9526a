use std::time::Instant;

use super::*;
use crate::dataset::real_data::wbc_data;
use crate::dataset::{OpenOptions, Split, open};
use crate::model::Architecture;

fn levels() -> Levels {
    Architecture::yolov5("n").unwrap().levels()
}

fn checked(sizes: &[[f32; 2]]) -> AnchorCheck {
    check_anchors(sizes, &levels(), 4.0, 7)
}

/// Sides on a grid, all between the given ones.
fn between(low: f32, high: f32) -> Vec<[f32; 2]> {
    let side = |at: i32| low + (high - low) * at as f32 / 19.0;
    (0..400).map(|i| [side(i % 20), side(i / 20)]).collect()
}

#[test]
fn cells_that_the_reference_s_prior_boxes_cover_keep_them() {
    let check = checked(&between(40.0, 120.0));
    assert_eq!((check.bpr_before, check.bpr_after), (1.0, 1.0));
    assert_eq!((check.levels, check.cells), (None, 400));
    // By hand: of 9 boxes these 7 are within a factor of 4 of 60x60: 16x30, 33x23, 30x61, 62x45,
    // 59x119, 116x90, 156x198 (2.6 and 3.3), not 10x13 (6) nor 373x326.
    let [found, per_cell] = recall(&[[60.0, 60.0]], &DEFAULT, 4.0);
    assert_eq!((found, per_cell), (1.0, 7.0));
}

const DEFAULT: [[f32; 2]; 9] = [
    [10.0, 13.0],
    [16.0, 30.0],
    [33.0, 23.0],
    [30.0, 61.0],
    [62.0, 45.0],
    [59.0, 119.0],
    [116.0, 90.0],
    [156.0, 198.0],
    [373.0, 326.0],
];

#[test]
fn recall_is_the_share_of_cells_within_the_factor() {
    // 2 is a fifth of 10, 3 is more than a quarter of 10 and of 13 less: 3 / 13 = 0.23.
    let sizes = [
        [2.0, 13.0],
        [3.0, 3.0],
        [3.0, 4.0],
        [1500.0, 1000.0],
        [1400.0, 1300.0],
    ];
    let [found, _] = recall(&sizes, &DEFAULT, 4.0);
    assert_eq!(found, 2.0 / 5.0);
}

#[test]
fn tiny_cells_get_prior_boxes_of_their_own() {
    let sizes = between(2.0, 9.0);
    let check = checked(&sizes);
    assert!(check.bpr_before < 0.8, "{check}");
    assert!(check.bpr_after > 0.99, "{check}");
    assert!(check.to_string().contains("made anew, was 0."), "{check}");
    let levels = check.levels.clone().expect("new ones");
    let areas: Vec<f32> = levels
        .iter()
        .flat_map(|level| level.anchors.iter().map(|[w, h]| w * h))
        .collect();
    assert_eq!(areas.len(), 9);
    assert!(areas.is_sorted(), "{areas:?}");
    let strides: Vec<u16> = levels.iter().map(|level| level.stride).collect();
    assert_eq!(strides, [8, 16, 32]);
    assert_eq!(checked(&sizes), check, "the same seed gives the same boxes");
}

#[test]
fn what_cannot_be_improved_stays() {
    assert_eq!(checked(&[]).levels, None);
    assert_eq!(checked(&[]).bpr_before, 0.0);
    // Fewer cells than prior boxes, and cells that are all the same.
    assert_eq!(checked(&between(2.0, 3.0)[..8]).levels, None);
    assert_eq!(checked(&[[2.0, 2.0]; 40]).levels, None);
    let broken = [[f32::NAN, 3.0], [0.0, 4.0], [-1.0, 2.0]];
    assert_eq!(checked(&broken).cells, 0);
}

#[test]
fn the_real_cells_are_covered_or_get_better_boxes() {
    for (set, canvas) in [("bccd", 320), ("bccd", 640), ("pbc-wbcatt", 320)] {
        let Some(folder) = wbc_data(set) else {
            return;
        };
        let data = open(&folder, &OpenOptions::default()).expect("a real set");
        let train: Vec<&Sample> = data.split(Split::Train).collect();
        let sizes = sizes_on_canvas(&train, FitKind::Letterbox, Size::new(canvas, canvas));
        for anchor_t in [4.0, 1.5] {
            let started = Instant::now();
            let check = check_anchors(&sizes, &levels(), anchor_t, 0);
            eprintln!(
                "{set} at {canvas}, anchor_t {anchor_t}: {check} ({:.2} s)",
                started.elapsed().as_secs_f64()
            );
            assert!(check.bpr_after >= check.bpr_before);
            assert!(anchor_t < 4.0 || check.bpr_after > 0.98, "{check}");
            assert_eq!(check.levels.is_some(), check.bpr_after > check.bpr_before);
        }
    }
}
