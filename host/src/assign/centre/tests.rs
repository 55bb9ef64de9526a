use shared::attribute::NO_ATTRIBUTES;
use shared::head::HeadLevel;

use super::*;

const CANVAS: Size = Size::new(64, 64);

/// A grid of 8 x 8 places with a stride of 8 pixels, and two classes.
fn head(strides: &[u16]) -> HeadSpec {
    let level = |&stride: &u16| HeadLevel {
        stride,
        anchors: heapless::Vec::new(),
    };
    HeadSpec {
        levels: strides.iter().map(level).collect(),
        n_classes: 2,
        value_counts: heapless::Vec::new(),
    }
}

/// A cell by its centre and size in pixels.
fn cell(image: usize, class: Option<u8>, cxcywh: [f32; 4]) -> Target {
    Target {
        image,
        class,
        cxcywh: cxcywh.map(|pixels| pixels / 64.0),
        attributes: NO_ATTRIBUTES,
    }
}

/// Column, row and target of the places that answer, when the network says `logits` at a column and row.
fn answering(
    targets: &[Target],
    logits: impl Fn(usize, usize) -> [f32; 7],
) -> Vec<(usize, usize, usize)> {
    let places = Places::new(&head(&[8]), CANVAS);
    let candidates = candidates(&places, CANVAS, 2, targets);
    let place = |candidate: usize| places.at(candidates.places[candidate].1);
    let said: Vec<f32> = (0..candidates.places.len())
        .flat_map(|candidate| logits(place(candidate).gx, place(candidate).gy))
        .collect();
    let answers = answers(&places, CANVAS, targets, &candidates, &said);
    let told = |a: &Answer| (place(a.candidate).gx, place(a.candidate).gy, a.target);
    answers.iter().map(told).collect()
}

/// Every place says a box of its own size in its own middle.
fn plain(_: usize, _: usize) -> [f32; 7] {
    [0.0; 7]
}

#[test]
fn places_are_numbered_level_by_level_and_row_by_row() {
    let places = Places::new(&head(&[8, 16]), CANVAS);
    assert_eq!((places.len(), places.is_empty()), (64 + 16, false));
    let at = |number: usize| {
        let place = places.at(number);
        (place.stride, place.gx, place.gy)
    };
    assert_eq!([at(0), at(10), at(63)], [(8, 0, 0), (8, 2, 1), (8, 7, 7)]);
    assert_eq!(
        [at(64), at(69), at(79)],
        [(16, 0, 0), (16, 1, 1), (16, 3, 3)]
    );
}

/// In the middle of the canvas at 32 = 4 strides: places with centres from 1.5 to 6.5 strides, 6 a
/// side; of them those at 3.5 and 4.5 lie inside a cell of 2 strides. In the corner: 0.5 to 2.5.
#[test]
fn candidates_lie_within_two_and_a_half_strides() {
    let places = Places::new(&head(&[8]), CANVAS);
    let targets = [
        cell(0, None, [32.0, 32.0, 16.0, 16.0]),
        cell(0, None, [2.0, 2.0, 1.0, 1.0]),
        cell(1, None, [63.9, 2.0, 1.0, 1.0]),
    ];
    let found = candidates(&places, CANVAS, 2, &targets);
    let count = |target: usize, outside: bool| {
        let pairs = found.pairs.iter();
        pairs
            .filter(|p| p.target == target && p.outside == outside)
            .count()
    };
    assert_eq!((count(0, false), count(0, true)), (4, 32));
    assert_eq!((count(1, false), count(1, true)), (0, 9));
    assert_eq!((count(2, false), count(2, true)), (0, 9));
    // Places (1, 1), (2, 1), (1, 2) and (2, 2) of the first canvas are shared.
    assert_eq!(found.places.len(), 36 + 9 - 4 + 9);
}

/// Each of the four places inside covers a quarter of the cell: together 1. All cost the same.
#[test]
fn as_many_places_answer_as_their_overlaps_add_up_to_and_the_first_of_equals() {
    let targets = [cell(0, Some(0), [32.0, 32.0, 16.0, 16.0])];
    assert_eq!(answering(&targets, plain), [(3, 3, 0)]);
    // Boxes of 16 pixels: 144 / 368 for the four inside, 48 / 464 for the best six outside: 2.19.
    let twice = |_, _| [0.0, 0.0, 2.0_f32.ln(), 2.0_f32.ln(), 0.0, 0.0, 0.0];
    assert_eq!(answering(&targets, twice), [(3, 3, 0), (4, 3, 0)]);
}

#[test]
fn at_least_one_place_answers_however_badly() {
    let tiny = [cell(1, Some(1), [30.0, 30.0, 1.0, 1.0])];
    assert_eq!(answering(&tiny, plain), [(3, 3, 0)]);
    let far = |_, _| [90.0, 90.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    assert_eq!(answering(&tiny, far), [(1, 1, 0)]);
}

/// The place at (28, 28) is the first cell's (overlap 1, cost 0) and would be the second's (48 / 80);
/// the second takes its next best: (36, 28) with 16 / 112, though outside of its box.
#[test]
fn a_place_answers_for_the_cell_it_is_cheapest_for_and_the_other_takes_its_next() {
    let first = cell(0, None, [28.0, 28.0, 8.0, 8.0]);
    let second = cell(0, None, [30.0, 28.0, 8.0, 8.0]);
    assert_eq!(answering(&[first, second], plain), [(3, 3, 0), (4, 3, 1)]);
    assert_eq!(answering(&[second, first], plain), [(4, 3, 0), (3, 3, 1)]);
    // On another canvas it is free.
    let elsewhere = Target { image: 1, ..second };
    assert_eq!(
        answering(&[first, elsewhere], plain),
        [(3, 3, 0), (3, 3, 1)]
    );
    // Of two equal cells the earlier one has it, and the other has the nearest of equals.
    assert_eq!(answering(&[first, first], plain)[0], (3, 3, 0));
}

/// With a logit of 2 for class 1 and -2 for class 0 a place costs 2 ln(1 + e^-2) = 0.25 instead of
/// 2 ln 2 = 1.39: all else equal it answers, unless the class is unknown.
#[test]
fn the_place_that_knows_the_class_answers() {
    let knows = |gx: usize, gy: usize| {
        let sure = if (gx, gy) == (4, 4) { 2.0 } else { 0.0 };
        [0.0, 0.0, 0.0, 0.0, 0.0, -sure, sure]
    };
    let of_class = |class| [cell(0, class, [32.0, 32.0, 16.0, 16.0])];
    assert_eq!(answering(&of_class(Some(1)), knows), [(4, 4, 0)]);
    assert_eq!(answering(&of_class(Some(0)), knows), [(3, 3, 0)]);
    assert_eq!(answering(&of_class(None), knows), [(3, 3, 0)]);
}

/// A negative logarithm of 0.25 three times is 4.16 dearer than a certain overlap: more than a
/// class missed by a logit of 4.
#[test]
fn a_good_box_counts_more_than_a_good_class() {
    let logits = |gx: usize, gy: usize| match (gx, gy) {
        // The box of the cell: 4 pixels right and down, twice the size.
        (3, 3) => [0.5, 0.5, 2.0_f32.ln(), 2.0_f32.ln(), 0.0, 2.0, -2.0],
        (4, 4) => [0.0, 0.0, 0.0, 0.0, 0.0, -2.0, 2.0],
        _ => [0.0, 0.0, -9.0, -9.0, 0.0, 0.0, 0.0],
    };
    let targets = [cell(0, Some(1), [32.0, 32.0, 16.0, 16.0])];
    assert_eq!(answering(&targets, logits), [(3, 3, 0)]);
}

#[test]
fn without_cells_nothing_answers() {
    assert_eq!(answering(&[], plain), []);
}

/// 300 cells in a row overlap: every one of them is answered for, no place answers twice.
#[test]
fn hundreds_of_cells_are_all_answered_for() {
    let canvas = Size::new(640, 640);
    let places = Places::new(&head(&[8, 16, 32]), canvas);
    let targets: Vec<Target> = (0..300)
        .map(|n| {
            let (column, row) = ((n % 20) as f32, (n / 20) as f32);
            Target {
                cxcywh: [(column + 0.5) / 20.0, (row + 0.5) / 15.0, 0.06, 0.08],
                ..cell(0, Some((n % 2) as u8), [0.0; 4])
            }
        })
        .collect();
    let candidates = candidates(&places, canvas, 1, &targets);
    let said = vec![0.0; 7 * candidates.places.len()];
    let answers = answers(&places, canvas, &targets, &candidates, &said);
    let mut asked: Vec<usize> = answers.iter().map(|a| a.target).collect();
    asked.dedup();
    assert_eq!(asked, (0..300).collect::<Vec<_>>());
    let mut used: Vec<usize> = answers.iter().map(|a| a.candidate).collect();
    used.sort_unstable();
    used.dedup();
    assert_eq!(used.len(), answers.len());
}
