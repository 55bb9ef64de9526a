extern crate std;

use std::string::ToString;
use std::vec;
use std::vec::Vec as Heap;

use super::*;
use crate::attribute::NO_FINDINGS;

/// Grids of 4 x 6 and 2 x 3.
const CANVAS: Size = Size::new(32, 48);

/// The logit of 3/4; that of 1/4 is its negative, that of 1/2 is 0.
const THREE_QUARTERS: f32 = 1.098_612_3;

/// No cell here: a probability of 4e-44.
const NEVER: f32 = -100.0;

/// Two classes, an attribute of two and one of three values: 12 channels an anchor.
fn spec() -> HeadSpec {
    let level = |stride, anchors: [[f32; 2]; 2]| HeadLevel {
        stride,
        anchors: anchors.into_iter().collect(),
    };
    HeadSpec {
        levels: [
            level(8, [[10.0, 13.0], [16.0, 30.0]]),
            level(16, [[30.0, 61.0], [62.0, 45.0]]),
        ]
        .into_iter()
        .collect(),
        n_classes: 2,
        value_counts: [2, 3].into_iter().collect(),
    }
}

/// Raw heads on which nothing is found until something is drawn.
struct Heads([Heap<f32>; 2]);

impl Heads {
    fn empty() -> Self {
        let spec = spec();
        Self([0, 1].map(|level| {
            let plane = spec.grid(level, CANVAS).area().unwrap();
            (0..spec.level_len(level, CANVAS))
                .map(|index| if index / plane % 12 == 4 { NEVER } else { 0.0 })
                .collect()
        }))
    }

    fn with(mut self, cell: HeadCell, logits: [f32; 12]) -> Self {
        let level = usize::from(cell.level);
        let grid = spec().grid(level, CANVAS);
        let (width, plane) = (grid.width as usize, grid.area().unwrap());
        for (channel, logit) in logits.into_iter().enumerate() {
            let channel = usize::from(cell.anchor) * 12 + channel;
            let at = usize::from(cell.gy) * width + usize::from(cell.gx);
            self.0[level][channel * plane + at] = logit;
        }
        self
    }

    fn slices(&self) -> [&[f32]; 2] {
        [&self.0[0], &self.0[1]]
    }

    fn read(&self, thresholds: &Thresholds) -> (Heap<Candidate>, u32) {
        let mut best: Vec<Candidate, 64> = Vec::new();
        let dropped = spec().candidates(CANVAS, &self.slices(), thresholds, &mut best);
        (best.to_vec(), dropped.unwrap())
    }
}

fn place(level: u8, anchor: u8, gy: u16, gx: u16) -> HeadCell {
    HeadCell {
        level,
        anchor,
        gy,
        gx,
    }
}

/// Objectness and class logits at the middle of a grid cell, with the anchor's own size.
fn certain(objectness: f32, classes: [f32; 2]) -> [f32; 12] {
    let mut logits = [0.0; 12];
    logits[4] = objectness;
    logits[5..7].copy_from_slice(&classes);
    logits
}

fn above(score: f32, multi_label: bool) -> Thresholds {
    Thresholds {
        score,
        multi_label,
        ..Thresholds::EVALUATION
    }
}

fn assert_close(found: f32, expected: f32) {
    assert!((found - expected).abs() < 1e-4, "{found}, not {expected}");
}

#[test]
fn a_box_is_decoded_as_worked_by_hand() {
    struct Case {
        cell: HeadCell,
        /// x, y, w, h.
        logits: [f32; 4],
        /// Centre and size, by `(2s - 0.5 + grid) * stride` and `(2s)^2 * anchor`.
        cxcywh: [f32; 4],
    }
    let t = THREE_QUARTERS;
    let cases = [
        // ((1.5 - 0.5) + 3) * 8, ((1 - 0.5) + 2) * 8, 1 * 16, 2.25 * 30.
        Case {
            cell: place(0, 1, 2, 3),
            logits: [t, 0.0, 0.0, t],
            cxcywh: [32.0, 20.0, 16.0, 67.5],
        },
        // ((0.5 - 0.5) + 0) * 8, ((1.5 - 0.5) + 5) * 8, 0.25 * 10, 1 * 13.
        Case {
            cell: place(0, 0, 5, 0),
            logits: [-t, t, -t, 0.0],
            cxcywh: [0.0, 48.0, 2.5, 13.0],
        },
        // ((1 - 0.5) + 1) * 16, ((0.5 - 0.5) + 2) * 16, 2.25 * 62, 0.25 * 45.
        Case {
            cell: place(1, 1, 2, 1),
            logits: [0.0, -t, t, -t],
            cxcywh: [24.0, 32.0, 139.5, 11.25],
        },
    ];
    for Case {
        cell,
        logits,
        cxcywh: [cx, cy, w, h],
    } in cases
    {
        let mut channels = certain(t, [0.0, t]);
        channels[..4].copy_from_slice(&logits);
        let (found, dropped) = Heads::empty().with(cell, channels).read(&above(0.5, false));
        assert_eq!((found.len(), dropped), (1, 0), "{cell:?}");
        let expected = [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0];
        for (found, expected) in found[0].bbox.xyxy().into_iter().zip(expected) {
            assert_close(found, expected);
        }
        assert_eq!((found[0].class, found[0].cell), (ClassId(1), cell));
        assert_close(found[0].score.get(), 0.75 * 0.75);
    }
}

#[test]
fn the_likeliest_class_or_every_class_is_a_candidate() {
    let cell = place(0, 0, 1, 1);
    // Scores 0.375 and 0.5625.
    let heads = Heads::empty().with(cell, certain(THREE_QUARTERS, [0.0, THREE_QUARTERS]));
    let classes = |thresholds: &Thresholds| -> Heap<u8> {
        heads.read(thresholds).0.iter().map(|c| c.class.0).collect()
    };
    assert_eq!(classes(&above(0.3, true)), [0, 1]);
    assert_eq!(classes(&above(0.4, true)), [1]);
    assert_eq!(classes(&above(0.3, false)), [1]);
    assert!(classes(&above(0.6, true)).is_empty());
    assert!(classes(&above(0.6, false)).is_empty());
}

#[test]
fn of_equally_likely_classes_the_first_is_taken() {
    let heads = Heads::empty().with(place(0, 0, 1, 1), certain(THREE_QUARTERS, [2.0, 2.0]));
    assert_eq!(heads.read(&above(0.3, false)).0[0].class, ClassId(0));
}

#[test]
fn a_score_of_exactly_the_threshold_is_too_low() {
    // Objectness 1/2 with a certain class, then a certain cell with a class of 1/2: both 0.5.
    for logits in [certain(0.0, [90.0, NEVER]), certain(90.0, [0.0, NEVER])] {
        let heads = Heads::empty().with(place(0, 0, 1, 1), logits);
        for multi_label in [false, true] {
            let found = |score| heads.read(&above(score, multi_label)).0.len();
            assert_eq!(found(0.5), 0);
            assert_eq!(found(0.5_f32.next_down()), 1);
        }
    }
}

#[test]
fn what_has_no_room_is_counted_and_the_best_stays() {
    let mut heads = Heads::empty();
    for (gx, logit) in [(0, 0.5), (1, 2.0), (2, 1.0)] {
        heads = heads.with(place(1, 0, 2, gx % 2), certain(9.0, [NEVER, NEVER]));
        heads = heads.with(place(0, 0, 0, gx), certain(9.0, [logit, NEVER]));
    }
    let mut best: Vec<Candidate, 1> = Vec::new();
    for _ in 0..2 {
        // The second time over the remains of the first.
        let dropped = spec().candidates(CANVAS, &heads.slices(), &above(0.4, false), &mut best);
        assert_eq!(dropped, Ok(2));
        assert_eq!(best[0].cell, place(0, 0, 0, 1));
    }
}

#[test]
fn a_box_without_a_size_is_counted() {
    let mut thin = certain(9.0, [9.0, 9.0]);
    thin[2] = -60.0;
    let heads = Heads::empty().with(place(0, 0, 1, 1), thin);
    assert_eq!(heads.read(&above(0.4, false)), (vec![], 1));
    assert_eq!(heads.read(&above(0.4, true)), (vec![], 2));
}

#[test]
fn the_largest_logits_are_still_numbers() {
    // (2 - 0.5 + 1) * 8 and (0 - 0.5 + 1) * 8; 4 * 10 pixels wide.
    for (logit, centre) in [(f32::MAX, 20.0), (f32::MIN, 4.0)] {
        let mut logits = [logit; 12];
        logits[2..7].fill(f32::MAX);
        let (found, dropped) = Heads::empty()
            .with(place(0, 0, 1, 1), logits)
            .read(&above(0.5, false));
        assert_eq!((found.len(), dropped), (1, 0));
        assert_eq!(found[0].score, Score::ONE);
        assert_eq!(found[0].bbox.centre(), (centre, centre));
        assert_eq!(found[0].bbox.width(), 40.0);
    }
}

#[test]
fn heads_of_another_shape_are_refused_with_the_numbers() {
    let heads = Heads::empty();
    let [fine, coarse] = heads.slices();
    assert_eq!((fine.len(), coarse.len()), (2 * 12 * 24, 2 * 12 * 6));
    let cases: [(&[&[f32]], &str); 6] = [
        (&[], "network gave 0 outputs, the contract says 2"),
        (&[fine], "network gave 1 outputs, the contract says 2"),
        (
            &[fine, coarse, coarse],
            "network gave 3 outputs, the contract says 2",
        ),
        (
            &[coarse, fine],
            "output 0 has 144 values, the contract says 576",
        ),
        (
            &[fine, &coarse[1..]],
            "output 1 has 143 values, the contract says 144",
        ),
        (&[fine, &[]], "output 1 has 0 values, the contract says 144"),
    ];
    let mut best: Vec<Candidate, 4> = Vec::new();
    for (heads, message) in cases {
        let refused = spec().candidates(CANVAS, heads, &Thresholds::COUNTING, &mut best);
        assert_eq!(refused.unwrap_err().to_string(), message);
    }
}

#[test]
fn a_head_that_is_no_number_anywhere_is_refused() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        // The last channel is an attribute's: nothing would read it here.
        let mut heads = Heads::empty();
        *heads.0[1].last_mut().unwrap() = bad;
        assert_eq!(
            spec().check(CANVAS, &heads.slices()),
            Err(HeadError::NotFinite { level: 1 })
        );
    }
    let message = HeadError::NotFinite { level: 1 }.to_string();
    assert_eq!(message, "output 1 holds NaN or infinity");
}

fn voter(cell: HeadCell, score: f32) -> [Candidate; 1] {
    [Candidate {
        bbox: BBox::from_corners(0.0, 0.0, 8.0, 8.0).unwrap(),
        score: Score::new(score).unwrap(),
        class: ClassId(0),
        cell,
    }]
}

#[test]
fn attributes_are_read_behind_the_classes_of_their_anchor() {
    let cell = place(0, 1, 2, 3);
    let t = THREE_QUARTERS;
    let mut logits = certain(t, [t, t]);
    // 1/4 and 3/4; then e^-t, 1, 1/3 of a sum of 5/3.
    logits[7..].copy_from_slice(&[7.0, 7.0 + t, -t, 0.0, -t]);
    let heads = Heads::empty().with(cell, logits);
    let findings = spec().attributes(CANVAS, &heads.slices(), voter(cell, 0.5).iter());
    let [shape, colour] = [0, 1].map(|attribute: usize| findings[attribute].unwrap());
    assert_eq!((shape.value.index(), colour.value.index()), (1, 1));
    assert_close(shape.score.get(), 0.75);
    assert_close(colour.score.get(), 0.6);
    assert!(findings[2..].iter().all(Option::is_none));

    // Everywhere else the logits are equal: the first value, as likely as any.
    for other in [place(0, 0, 2, 3), place(0, 1, 3, 2), place(1, 1, 2, 1)] {
        let findings = spec().attributes(CANVAS, &heads.slices(), voter(other, 0.5).iter());
        let [shape, colour] = [0, 1].map(|attribute: usize| findings[attribute].unwrap());
        assert_eq!((shape.value.index(), shape.score.get()), (0, 0.5));
        assert_eq!((colour.value.index(), colour.score.get()), (0, 1.0 / 3.0));
    }
}

#[test]
fn places_of_a_cell_have_a_voice_by_their_score() {
    let (first, second) = (place(0, 1, 2, 3), place(1, 0, 0, 0));
    let logits = |shape: [f32; 2]| {
        let mut logits = certain(0.0, [0.0, 0.0]);
        logits[7..9].copy_from_slice(&shape);
        logits
    };
    // 3/4 against, 1/4 for the first value; then the other way round with 0.9 instead of 3/4.
    let heads = Heads::empty()
        .with(first, logits([0.0, THREE_QUARTERS]))
        .with(second, logits([9_f32.ln(), 0.0]));
    for (scores, value, score) in [
        ([0.8, 0.2], 1, 0.8 * 0.75 + 0.2 * 0.1),
        ([0.2, 0.2], 0, 0.5 * 0.25 + 0.5 * 0.9),
    ] {
        let voters = [voter(first, scores[0]), voter(second, scores[1])].concat();
        let found = spec().attributes(CANVAS, &heads.slices(), voters.iter());
        let shape = found[0].unwrap();
        assert_eq!(shape.value.index(), value);
        assert_close(shape.score.get(), score);
    }
    let nobody = spec().attributes(CANVAS, &heads.slices(), [].iter());
    assert_eq!(nobody, NO_FINDINGS);
}

#[test]
fn attribute_logits_without_measure_are_still_a_softmax() {
    let cell = place(1, 0, 0, 0);
    let mut logits = certain(0.0, [0.0, 0.0]);
    logits[7..].copy_from_slice(&[f32::MIN, f32::MAX, f32::MAX, f32::MAX, f32::MIN]);
    let heads = Heads::empty().with(cell, logits);
    let findings = spec().attributes(CANVAS, &heads.slices(), voter(cell, 0.5).iter());
    let found = [0, 1].map(|attribute: usize| {
        let finding = findings[attribute].unwrap();
        (finding.value.index(), finding.score.get())
    });
    assert_eq!(found, [(1, 1.0), (0, 0.5)]);
}

#[test]
fn a_plain_detector_finds_no_attributes() {
    let plain = HeadSpec {
        value_counts: Vec::new(),
        ..spec()
    };
    assert_eq!(plain.channels_per_anchor(), 7);
    let heads = [vec![0.0; 2 * 7 * 24], vec![0.0; 2 * 7 * 6]];
    let heads = [heads[0].as_slice(), heads[1].as_slice()];
    assert_eq!(plain.check(CANVAS, &heads), Ok(()));
    assert_eq!(
        plain.attributes(CANVAS, &heads, voter(place(0, 1, 5, 3), 0.5).iter()),
        NO_FINDINGS
    );
}

#[test]
fn thresholds_outside_their_range_are_illegal() {
    let good = Thresholds::COUNTING;
    assert!(good.is_legal() && Thresholds::EVALUATION.is_legal());
    for bad in [-0.1, 1.1, f32::NAN, f32::INFINITY] {
        assert!(!Thresholds { score: bad, ..good }.is_legal(), "score {bad}");
        assert!(!Thresholds { iou: bad, ..good }.is_legal(), "iou {bad}");
    }
    for (max_detections, legal) in [(0, false), (1, true), (1000, true), (1001, false)] {
        let thresholds = Thresholds {
            max_detections,
            ..good
        };
        assert_eq!(thresholds.is_legal(), legal, "{max_detections}");
    }
}

/// One class, no attributes, no anchors: 6 channels a place on a grid of 4 x 6.
fn free_spec() -> HeadSpec {
    let level = HeadLevel {
        stride: 8,
        anchors: Vec::new(),
    };
    HeadSpec {
        levels: [level].into_iter().collect(),
        n_classes: 1,
        value_counts: Vec::new(),
    }
}

/// What is read of an anchor-free head that says `logits` at row 2, column 3 and nothing elsewhere.
fn read_free(logits: [f32; 6]) -> (Heap<Candidate>, u32) {
    let spec = free_spec();
    assert_eq!((spec.channels(0), spec.level_len(0, CANVAS)), (6, 6 * 24));
    let mut head = vec![0.0; 6 * 24];
    head[4 * 24..5 * 24].fill(NEVER);
    for (channel, logit) in logits.into_iter().enumerate() {
        head[channel * 24 + 2 * 4 + 3] = logit;
    }
    let mut best: Vec<Candidate, 4> = Vec::new();
    let dropped = spec.candidates(CANVAS, &[&head], &above(0.5, false), &mut best);
    (best.to_vec(), dropped.unwrap())
}

#[test]
fn an_anchor_free_box_is_decoded_as_worked_by_hand() {
    let ln = |x: f32| libm::logf(x);
    // (3 + 0.5 + 0.25) * 8, (2 + 0.5 - 1) * 8, 2 * 8, 3 * 8.
    let (found, dropped) = read_free([0.25, -1.0, ln(2.0), ln(3.0), 9.0, 9.0]);
    assert_eq!((found.len(), dropped), (1, 0));
    let expected = [30.0 - 8.0, 12.0 - 12.0, 30.0 + 8.0, 12.0 + 12.0];
    for (found, expected) in found[0].bbox.xyxy().into_iter().zip(expected) {
        assert_close(found, expected);
    }
    assert_eq!(found[0].cell, place(0, 0, 2, 3));
}

#[test]
fn an_anchor_free_side_neither_overflows_nor_vanishes_silently() {
    let (found, dropped) = read_free([0.0, 0.0, f32::MAX, SIDE_LOGIT_MAX, 9.0, 9.0]);
    assert_eq!((found.len(), dropped), (1, 0));
    let bbox = found[0].bbox;
    assert_eq!(bbox.width(), bbox.height());
    // e^8 = 2980.958.
    assert!((bbox.width() - 23_847.66).abs() < 0.01, "{}", bbox.width());
    // A side of nothing and a centre beyond all numbers are no boxes.
    assert_eq!(read_free([0.0, 0.0, f32::MIN, 0.0, 9.0, 9.0]), (vec![], 1));
    assert_eq!(read_free([f32::MAX, 0.0, 0.0, 0.0, 9.0, 9.0]), (vec![], 1));
}
