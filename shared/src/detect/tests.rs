extern crate std;

use std::vec::Vec as Heap;

use heapless::Vec;

use super::*;
use crate::class::ClassId;
use crate::fit::FitKind;
use crate::geometry::Size;
use crate::head::HeadLevel;

/// A grid of 8 x 8.
const CANVAS: Size = Size::new(64, 64);

/// One anchor of 16 x 8 at stride 8, two classes, one attribute of two values: 9 channels.
fn spec() -> HeadSpec {
    let level = HeadLevel {
        stride: 8,
        anchors: [[16.0, 8.0]].into_iter().collect(),
    };
    HeadSpec {
        levels: [level].into_iter().collect(),
        n_classes: 2,
        value_counts: [2].into_iter().collect(),
    }
}

/// A head with a box of the anchor's size in the middle of each of `cells`: x, y, class, its logit.
fn drawn(cells: &[(usize, usize, usize, f32)]) -> Heap<f32> {
    let mut head = std::vec![0.0; 9 * 64];
    head[4 * 64..7 * 64].fill(-100.0);
    for &(gx, gy, class, logit) in cells {
        let at = gy * 8 + gx;
        head[4 * 64 + at] = 100.0;
        head[(5 + class) * 64 + at] = logit;
        head[8 * 64 + at] = 100.0;
    }
    head
}

fn found<const ROOM: usize>(
    fit: &Fit,
    head: &[f32],
    thresholds: &Thresholds,
) -> (Heap<Detection>, Dropped) {
    let mut candidates: Vec<Candidate, 16> = Vec::new();
    let mut out: Vec<Detection, ROOM> = Vec::new();
    let (spec, heads) = (spec(), [head]);
    let dropped = detections(&spec, fit, &heads, thresholds, &mut candidates, &mut out).unwrap();
    (out.to_vec(), dropped)
}

fn fit(kind: FitKind, width: u32, height: u32) -> Fit {
    Fit::new(kind, Size::new(width, height), CANVAS).unwrap()
}

#[test]
fn a_drawn_head_is_one_cell_at_the_right_pixels_of_the_picture() {
    // (4 + 0.5) * 8 = 36: on the canvas 28, 32 to 44, 40. The letterbox halves both sides and puts 16 rows
    // of padding above; stretching halves the width only. A tall picture has the padding on its left.
    let cases = [
        (FitKind::Letterbox, 128, 64, [56.0, 32.0, 88.0, 48.0]),
        (FitKind::Stretch, 128, 64, [56.0, 32.0, 88.0, 40.0]),
        (FitKind::Letterbox, 64, 128, [24.0, 64.0, 56.0, 80.0]),
        (FitKind::Stretch, 64, 128, [28.0, 64.0, 44.0, 80.0]),
        (FitKind::Letterbox, 32, 32, [14.0, 16.0, 22.0, 20.0]),
    ];
    let head = drawn(&[(4, 4, 1, 0.0)]);
    for (kind, width, height, xyxy) in cases {
        let (found, dropped) = found::<4>(&fit(kind, width, height), &head, &Thresholds::COUNTING);
        assert_eq!(dropped, Dropped::default());
        assert_eq!(found.len(), 1, "{kind:?} {width}x{height}");
        let Detection {
            bbox,
            class,
            score,
            attributes,
        } = found[0];
        assert_eq!(bbox.xyxy(), xyxy, "{kind:?} {width}x{height}");
        assert_eq!((class, score.get()), (ClassId(1), 0.5));
        let attribute = attributes[0].unwrap();
        assert_eq!((attribute.value.index(), attribute.score.get()), (1, 1.0));
        assert_eq!(attributes[1..], [None; 11]);
    }
}

#[test]
fn a_suppressed_box_of_the_same_cell_speaks_of_its_attributes() {
    // Boxes of 16 x 8: the best from x = 30, one of half its score from 32 (overlap 14 / 18), and one that
    // it suppresses too but that is not the same cell from 20 (overlap 6 / 26).
    let mut head = drawn(&[(4, 4, 0, 0.0), (5, 4, 0, 0.0), (3, 4, 0, 0.0)]);
    let at = |gx: usize| 4 * 8 + gx;
    // Centres at (2 sigmoid - 0.5 + gx) * 8: sigmoids of 5/8 and 1/4.
    head[at(4)] = (5.0_f32 / 3.0).ln();
    head[at(5)] = -(3_f32.ln());
    head[5 * 64 + at(4)] = 1.0;
    head[8 * 64 + at(4)] = -1.0;
    head[8 * 64 + at(5)] = 9.0;
    head[8 * 64 + at(3)] = 100.0;
    let square = fit(FitKind::Stretch, 64, 64);
    let thresholds = Thresholds {
        iou: 0.1,
        ..Thresholds::COUNTING
    };
    let (found, dropped) = found::<4>(&square, &head, &thresholds);
    assert_eq!((found.len(), dropped), (1, Dropped::default()));
    let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
    let (first, second) = (sigmoid(1.0), 0.5);
    let expected = (first * sigmoid(-1.0) + second * sigmoid(9.0)) / (first + second);
    let attribute = found[0].attributes[0].unwrap();
    assert_eq!(attribute.value.index(), 1);
    assert!(
        (attribute.score.get() - expected).abs() < 1e-6,
        "{expected} {attribute:?}"
    );
}

#[test]
fn a_box_on_the_padding_only_is_counted_as_outside() {
    // Rows 0 to 16 and 48 to 64 of the canvas are padding.
    let wide = fit(FitKind::Letterbox, 128, 64);
    let (found, dropped) = found::<4>(
        &wide,
        &drawn(&[(4, 0, 0, 2.0), (4, 7, 0, 2.0), (4, 4, 0, 1.0)]),
        &Thresholds::COUNTING,
    );
    assert_eq!(found.len(), 1);
    let expected = Dropped {
        outside: 2,
        ..Dropped::default()
    };
    assert_eq!(dropped, expected);
}

#[test]
fn a_box_half_outside_is_cut_at_the_border() {
    let (found, dropped) = found::<4>(
        &fit(FitKind::Stretch, 64, 64),
        &drawn(&[(0, 3, 0, 2.0)]),
        &Thresholds::COUNTING,
    );
    assert_eq!(dropped, Dropped::default());
    assert_eq!(found[0].bbox.xyxy(), [0.0, 24.0, 12.0, 32.0]);
}

#[test]
fn what_is_beyond_the_most_detections_is_counted_and_the_best_stay() {
    let head = drawn(&[
        (1, 1, 0, 1.0),
        (5, 1, 0, 3.0),
        (1, 5, 1, 2.0),
        (5, 5, 0, 0.5),
    ]);
    let square = fit(FitKind::Stretch, 64, 64);
    let most = |max_detections| Thresholds {
        max_detections,
        ..Thresholds::COUNTING
    };
    let by_limit = found::<9>(&square, &head, &most(2));
    // The caller's room is a limit like the threshold's.
    let by_room = found::<2>(&square, &head, &most(300));
    for (found, dropped) in [by_limit, by_room] {
        let corners: Heap<[f32; 2]> = found.iter().map(|d| [d.bbox.x0(), d.bbox.y0()]).collect();
        assert_eq!(corners, [[36.0, 8.0], [4.0, 40.0]]);
        let expected = Dropped {
            detections: 2,
            ..Dropped::default()
        };
        assert_eq!(dropped, expected);
    }
    assert_eq!(found::<9>(&square, &head, &most(4)).0.len(), 4);
}

#[test]
fn candidates_without_room_are_counted() {
    let cells: Heap<_> = (0..20).map(|n| (n % 8, n / 8, 0, 2.0)).collect();
    let square = fit(FitKind::Stretch, 64, 64);
    let (_, dropped) = found::<9>(&square, &drawn(&cells), &Thresholds::COUNTING);
    assert_eq!(dropped.candidates, 4);
}

#[test]
fn broken_heads_leave_no_detections_of_the_picture_before() {
    let square = fit(FitKind::Stretch, 64, 64);
    let mut candidates: Vec<Candidate, 16> = Vec::new();
    let mut out: Vec<Detection, 4> = Vec::new();
    let spec = spec();
    let mut run = |head: &[f32]| {
        let thresholds = Thresholds::COUNTING;
        let result = detections(
            &spec,
            &square,
            &[head],
            &thresholds,
            &mut candidates,
            &mut out,
        );
        (result, out.len())
    };
    let mut head = drawn(&[(4, 4, 1, 0.0)]);
    assert_eq!(run(&head), (Ok(Dropped::default()), 1));
    head[0] = f32::NAN;
    assert_eq!(run(&head), (Err(HeadError::NotFinite { level: 0 }), 0));
}
