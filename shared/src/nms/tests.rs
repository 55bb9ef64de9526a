extern crate std;

use std::vec::Vec;

use heapless::Vec as Fixed;
use serde::Deserialize;

use super::*;

/// tests/golden/README.md says who made the numbers.
#[derive(Deserialize)]
struct Golden {
    candidates: Vec<[f32; 9]>,
    best_class: Vec<[f64; 6]>,
    multi_label: GoldenHead,
}

#[derive(Deserialize)]
struct GoldenHead {
    count: usize,
    score_sum: f64,
    first: Vec<[f64; 6]>,
}

fn golden() -> Golden {
    let text = include_str!("../../tests/golden/yolov5_nms.json");
    serde_json::from_str(text).unwrap()
}

type Candidates = Fixed<Candidate, 2048>;

/// What the head's decoding makes of the rows: score = objectness * class, both above `score_min`.
fn read(rows: &[[f32; 9]], score_min: f32, multi_label: bool) -> Candidates {
    let mut out = Candidates::new();
    for (row, &[cx, cy, w, h, objectness, ref classes @ ..]) in rows.iter().enumerate() {
        let likeliest = (0..classes.len())
            .reduce(|a, b| if classes[b] > classes[a] { b } else { a })
            .unwrap();
        for (class, &probability) in classes.iter().enumerate() {
            let score = objectness * probability;
            let wanted = multi_label || class == likeliest;
            if wanted && objectness > score_min && score > score_min {
                let bbox = BBox::from_centre(cx, cy, w, h).unwrap();
                out.push(candidate(bbox, score, class as u8, row as u16))
                    .unwrap();
            }
        }
    }
    out
}

fn candidate(bbox: BBox<Canvas>, score: f32, class: u8, gx: u16) -> Candidate {
    Candidate {
        bbox,
        score: Score::new(score).unwrap(),
        class: ClassId(class),
        cell: HeadCell {
            level: 0,
            anchor: 0,
            gy: 0,
            gx,
        },
    }
}

/// A box of 10 x 10 pixels at `x`, 0.
fn square(x: f32) -> BBox<Canvas> {
    BBox::from_corners(x, 0.0, x + 10.0, 10.0).unwrap()
}

fn assert_survivors(found: &[Candidate], expected: &[[f64; 6]]) {
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let [corners @ .., score, class] = *expected;
        let is_near = |a: f32, b: f64| (f64::from(a) - b).abs() < 1e-4;
        assert!(
            found.class.index() as f64 == class
                && (f64::from(found.score.get()) - score).abs() < 1e-5
                && (found.bbox.xyxy().into_iter().zip(corners)).all(|(a, b)| is_near(a, b)),
            "survivor {place}: {found:?}, expected {expected:?}"
        );
    }
}

/// Fisher and Yates' shuffle by ANSI C's generator.
fn shuffled(candidates: &[Candidate], mut seed: u64) -> Candidates {
    let mut out: Candidates = candidates.iter().copied().collect();
    for last in (1..out.len()).rev() {
        seed = (seed * 1_103_515_245 + 12_345) % (1 << 31);
        out.swap(last, (seed >> 16) as usize % (last + 1));
    }
    out
}

#[test]
fn the_likeliest_classes_survive_as_in_yolov5() {
    let golden = golden();
    let mut candidates = read(&golden.candidates, 0.25, false);
    assert_eq!(suppress(&mut candidates, 0.45, false, 300), 0);
    assert_eq!(candidates.len(), 260);
    assert_eq!(candidates.len(), golden.best_class.len());
    assert_survivors(&candidates, &golden.best_class);
}

#[test]
fn every_class_survives_as_in_yolov5() {
    let golden = golden();
    let mut candidates = read(&golden.candidates, 0.05, true);
    let over = suppress(&mut candidates, 0.6, false, 300);
    assert!(over > 0, "more than 300 stand clear");
    assert_eq!(candidates.len(), golden.multi_label.count);
    assert_eq!(golden.multi_label.first.len(), 20);
    assert_survivors(&candidates, &golden.multi_label.first);
    let sum: f64 = candidates.iter().map(|c| f64::from(c.score.get())).sum();
    let expected = golden.multi_label.score_sum;
    assert!((sum - expected).abs() < 1e-4, "{sum}, expected {expected}");
}

#[test]
fn survivors_survive_again() {
    let rows = golden().candidates;
    for across_classes in [false, true] {
        let mut once = read(&rows, 0.05, true);
        suppress(&mut once, 0.6, across_classes, 2048);
        let mut twice = once.clone();
        assert_eq!(suppress(&mut twice, 0.6, across_classes, 2048), 0);
        assert_eq!(twice, once);
        let clear = |(index, a): (usize, &Candidate)| {
            once[..index]
                .iter()
                .all(|b| (!across_classes && a.class != b.class) || b.bbox.iou(&a.bbox) <= 0.6)
        };
        assert!(once.iter().enumerate().all(clear), "two survivors overlap");
    }
}

#[test]
fn the_order_of_the_input_does_not_matter() {
    let given = read(&golden().candidates, 0.05, true);
    let mut expected = given.clone();
    let over = suppress(&mut expected, 0.45, false, 100);
    for seed in 1..=20 {
        let mut candidates = shuffled(&given, seed);
        assert_ne!(candidates, given);
        assert_eq!(suppress(&mut candidates, 0.45, false, 100), over);
        assert_eq!(candidates, expected, "seed {seed}");
    }
}

#[test]
fn equal_scores_have_one_order() {
    let low_class = candidate(square(5.0), 0.5, 0, 9);
    let left = candidate(square(0.0), 0.5, 1, 8);
    let early = candidate(square(1.0), 0.5, 1, 2);
    let late = candidate(square(1.0), 0.5, 1, 3);
    let best = candidate(square(9.0), 0.6, 7, 9);
    let expected = [best, low_class, left, early, late];
    for seed in 1..=20 {
        let mut sorted = shuffled(&expected, seed);
        sorted.sort_unstable_by(best_first);
        assert_eq!(sorted[..], expected, "seed {seed}");
    }
    assert_eq!(best_first(&late, &late), Ordering::Equal);
}

#[test]
fn of_two_equal_boxes_the_one_earlier_in_the_head_stays() {
    let (early, late) = (
        candidate(square(0.0), 0.5, 1, 2),
        candidate(square(0.0), 0.5, 1, 3),
    );
    for given in [[early, late], [late, early]] {
        let mut candidates: Candidates = given.into_iter().collect();
        assert_eq!(suppress(&mut candidates, 0.9, false, 9), 0);
        assert_eq!(candidates[..], [early]);
    }
}

#[test]
fn an_overlap_of_exactly_the_limit_is_allowed() {
    // Shifted by 5 of 10 pixels: 50 shared of 150.
    let (best, worse) = (
        candidate(square(0.0), 0.9, 0, 0),
        candidate(square(5.0), 0.8, 0, 1),
    );
    let limit: f32 = 50.0 / 150.0;
    for (iou_max, left) in [(limit, 2), (limit.next_down(), 1), (0.0, 1), (1.0, 2)] {
        let mut candidates: Candidates = [worse, best].into_iter().collect();
        suppress(&mut candidates, iou_max, false, 9);
        assert_eq!(candidates.len(), left, "limit {iou_max}");
        assert_eq!(candidates[0], best);
    }
}

#[test]
fn another_class_is_suppressed_only_across_classes() {
    let given = [
        candidate(square(0.0), 0.9, 0, 0),
        candidate(square(1.0), 0.8, 1, 1),
        candidate(square(50.0), 0.7, 1, 2),
    ];
    let mut by_class: Candidates = given.into_iter().collect();
    suppress(&mut by_class, 0.45, false, 9);
    assert_eq!(by_class[..], given);
    let mut across: Candidates = given.into_iter().collect();
    suppress(&mut across, 0.45, true, 9);
    assert_eq!(across[..], [given[0], given[2]]);
}

#[test]
fn what_is_removed_removes_nothing_itself() {
    // 0 covers 3, 3 would cover 6, 0 does not cover 6 (40 shared of 160).
    let given = [0.0, 3.0, 6.0].map(|x| candidate(square(x), 0.9 - x / 100.0, 0, x as u16));
    let mut candidates: Candidates = given.into_iter().collect();
    suppress(&mut candidates, 0.4, false, 9);
    assert_eq!(candidates[..], [given[0], given[2]]);
}

#[test]
fn what_falls_to_the_limit_is_counted_and_what_is_covered_is_not() {
    let boxes = [
        (0.0, 0.9),
        (1.0, 0.8),
        (20.0, 0.7),
        (40.0, 0.6),
        (41.0, 0.5),
    ];
    let given = boxes.map(|(x, score)| candidate(square(x), score, 0, x as u16));
    for (max, left, over) in [(0, 0, 5), (1, 1, 3), (2, 2, 2), (3, 3, 0), (9, 3, 0)] {
        let mut candidates: Candidates = given.into_iter().collect();
        let counted = suppress(&mut candidates, 0.45, false, max);
        assert_eq!((candidates.len(), counted), (left, over), "limit {max}");
    }
}

#[test]
fn nothing_in_is_nothing_out() {
    let mut none = Candidates::new();
    assert_eq!(suppress(&mut none, 0.45, true, 300), 0);
    assert!(none.is_empty());
}

fn offered<const ROOM: usize>(given: &[Candidate]) -> (Vec<Candidate>, u32) {
    let mut best: Fixed<Candidate, ROOM> = Fixed::new();
    let mut dropped = 0;
    for &candidate in given {
        offer(&mut best, &mut dropped, candidate);
    }
    best.sort_unstable_by(best_first);
    (best.to_vec(), dropped)
}

#[test]
fn a_full_house_keeps_the_best_and_counts_the_rest() {
    let given = read(&golden().candidates, 0.05, true);
    let mut sorted = given.to_vec();
    sorted.sort_unstable_by(best_first);
    let total = given.len();
    for seed in 1..=5 {
        let given = shuffled(&given, seed);
        let by_room = [
            (0, offered::<0>(&given)),
            (1, offered::<1>(&given)),
            (2, offered::<2>(&given)),
            (37, offered::<37>(&given)),
            (256, offered::<256>(&given)),
        ];
        for (room, (best, dropped)) in by_room {
            assert_eq!(best, sorted[..room], "room {room}, seed {seed}");
            assert_eq!(dropped as usize, total - room, "room {room}");
        }
        assert_eq!(offered::<2048>(&given), (sorted.clone(), 0));
    }
}

#[test]
fn best_first_and_worst_first_arrivals_end_the_same() {
    let ascending: Vec<Candidate> = (0..10)
        .map(|n| candidate(square(0.0), n as f32 / 10.0, 0, n))
        .collect();
    let descending: Vec<Candidate> = ascending.iter().rev().copied().collect();
    let expected = (descending[..4].to_vec(), 6);
    assert_eq!(offered::<4>(&ascending), expected);
    assert_eq!(offered::<4>(&descending), expected);
}
