use shared::attribute::NO_FINDINGS;
use shared::cell::Detection;
use shared::class::ClassId;
use shared::geometry::BBox;
use shared::score::Score;

use super::super::golden::are_same;

fn cell(class: u8, score: f32, x0: f32) -> Detection {
    Detection {
        bbox: BBox::from_corners(x0, 10.0, x0 + 100.0, 110.0).unwrap(),
        class: ClassId(class),
        score: Score::new(score).unwrap(),
        attributes: NO_FINDINGS,
    }
}

#[test]
fn cells_are_the_same_in_any_order_when_place_class_and_score_hardly_differ() {
    let cells = [cell(0, 0.7, 10.0), cell(1, 0.6, 300.0)];
    assert!(are_same(
        &cells,
        &[cell(1, 0.62, 301.0), cell(0, 0.69, 10.5)]
    ));
    assert!(are_same(&[], &[]));
    let others = [
        vec![cell(0, 0.7, 10.0)],
        vec![cell(0, 0.7, 10.0), cell(1, 0.6, 300.0), cell(1, 0.6, 300.0)],
        vec![cell(0, 0.7, 10.0), cell(0, 0.6, 300.0)],
        vec![cell(0, 0.7, 14.0), cell(1, 0.6, 300.0)],
        vec![cell(0, 0.74, 10.0), cell(1, 0.6, 300.0)],
    ];
    for others in others {
        assert!(!are_same(&cells, &others), "{others:?}");
    }
}
