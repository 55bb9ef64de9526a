//! Which anchor answers for which cell: YOLOv5's rule (attridet.md, 8.3).

use shared::geometry::Size;
use shared::head::HeadSpec;

use super::Target;

/// A place of the head that shall answer for a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Positive {
    /// Position of the canvas in the batch.
    pub image: usize,
    /// Which prior box.
    pub anchor: usize,
    /// Row of the grid.
    pub gy: usize,
    /// Column of the grid.
    pub gx: usize,
    /// Centre relative to the grid cell and size, in grid cells.
    pub cxcywh: [f32; 4],
    /// Position of the target in the list.
    pub target: usize,
}

/// The positives of `level` on a grid of `canvas`, in the reference's order: own cell, then left,
/// upper, right and lower neighbour; inside each by anchor, then target.
///
/// `ratio_max` is the largest ratio between a cell's side and the prior box's, either way.
pub fn positives(
    head: &HeadSpec,
    level: usize,
    canvas: Size,
    targets: &[Target],
    ratio_max: f32,
) -> Vec<Positive> {
    let grid = head.grid(level, canvas);
    let stride = f32::from(head.levels[level].stride);
    let (width, height) = (grid.width as f32, grid.height as f32);
    let mut matched = Vec::new();
    for (anchor, prior) in head.levels[level].anchors.iter().enumerate() {
        for (index, target) in targets.iter().enumerate() {
            let [cx, cy, w, h] = target.cxcywh;
            let (w, h) = (w * width, h * height);
            let ratio =
                |side: f32, prior: f32| (side / (prior / stride)).max(prior / stride / side);
            if ratio(w, prior[0]).max(ratio(h, prior[1])) < ratio_max {
                matched.push((anchor, index, [cx * width, cy * height, w, h]));
            }
        }
    }
    /// Half a cell: a target also belongs to the neighbour it is nearer to.
    const REACH: f32 = 0.5;
    let left = |c: f32| c % 1.0 < REACH && c > 1.0;
    let mut out = Vec::new();
    for (dx, dy) in [
        (0.0, 0.0),
        (REACH, 0.0),
        (0.0, REACH),
        (-REACH, 0.0),
        (0.0, -REACH),
    ] {
        for &(anchor, index, [cx, cy, w, h]) in &matched {
            let chosen = match (dx, dy) {
                (REACH, _) => left(cx),
                (_, REACH) => left(cy),
                (x, _) if x < 0.0 => left(width - cx),
                (_, y) if y < 0.0 => left(height - cy),
                _ => true,
            };
            if !chosen {
                continue;
            }
            let column = (cx - dx).trunc().clamp(0.0, width - 1.0);
            let row = (cy - dy).trunc().clamp(0.0, height - 1.0);
            out.push(Positive {
                image: targets[index].image,
                anchor,
                gy: row as usize,
                gx: column as usize,
                cxcywh: [cx - column, cy - row, w, h],
                target: index,
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use shared::attribute::NO_ATTRIBUTES;

    use super::*;
    use crate::model::Architecture;

    /// `assignment_320` of the golden numbers (the reference's own code on these six targets): per
    /// stride the number of positives and the first 24 as image, anchor, gy, gx.
    #[test]
    fn the_assignment_is_the_reference_s() {
        let targets = [
            (0, 0, [0.5, 0.5, 0.2, 0.3]),
            (0, 17, [0.25, 0.3, 0.05, 0.06]),
            (0, 5, [0.9, 0.1, 0.15, 0.15]),
            (1, 2, [0.4, 0.6, 0.6, 0.5]),
            (1, 79, [0.05, 0.95, 0.08, 0.09]),
            (1, 2, [0.41, 0.61, 0.55, 0.52]),
        ]
        .map(|(image, class, cxcywh)| Target {
            image,
            class: Some(class),
            cxcywh,
            attributes: NO_ATTRIBUTES,
        });
        let head = HeadSpec {
            levels: Architecture::yolov5("n").unwrap().levels(),
            n_classes: 80,
            value_counts: Default::default(),
        };
        let golden: [(u16, usize, [[usize; 4]; 24]); 3] = [
            (
                8,
                40,
                [
                    [0, 0, 12, 10],
                    [1, 0, 38, 2],
                    [0, 1, 12, 10],
                    [0, 1, 4, 36],
                    [1, 1, 38, 2],
                    [0, 2, 12, 10],
                    [0, 2, 4, 36],
                    [1, 2, 38, 2],
                    [0, 0, 12, 9],
                    [1, 0, 38, 1],
                    [0, 1, 12, 9],
                    [0, 1, 4, 35],
                    [1, 1, 38, 1],
                    [0, 2, 12, 9],
                    [0, 2, 4, 35],
                    [1, 2, 38, 1],
                    [0, 0, 11, 10],
                    [1, 0, 37, 2],
                    [0, 1, 11, 10],
                    [0, 1, 3, 36],
                    [1, 1, 37, 2],
                    [0, 2, 11, 10],
                    [0, 2, 3, 36],
                    [1, 2, 37, 2],
                ],
            ),
            (
                16,
                62,
                [
                    [0, 0, 10, 10],
                    [0, 0, 6, 5],
                    [0, 0, 2, 18],
                    [1, 0, 19, 1],
                    [0, 1, 10, 10],
                    [0, 1, 6, 5],
                    [0, 1, 2, 18],
                    [1, 1, 12, 8],
                    [1, 1, 19, 1],
                    [1, 1, 12, 8],
                    [0, 2, 10, 10],
                    [0, 2, 2, 18],
                    [1, 2, 12, 8],
                    [1, 2, 12, 8],
                    [0, 0, 10, 9],
                    [0, 0, 6, 4],
                    [0, 0, 2, 17],
                    [0, 1, 10, 9],
                    [0, 1, 6, 4],
                    [0, 1, 2, 17],
                    [1, 1, 12, 7],
                    [1, 1, 12, 7],
                    [0, 2, 10, 9],
                    [0, 2, 2, 17],
                ],
            ),
            (
                32,
                37,
                [
                    [0, 0, 5, 5],
                    [0, 0, 1, 9],
                    [1, 0, 6, 4],
                    [1, 0, 6, 4],
                    [0, 1, 5, 5],
                    [1, 1, 6, 4],
                    [1, 1, 6, 4],
                    [1, 2, 6, 4],
                    [1, 2, 6, 4],
                    [0, 0, 5, 4],
                    [0, 0, 1, 8],
                    [1, 0, 6, 3],
                    [1, 0, 6, 3],
                    [0, 1, 5, 4],
                    [1, 1, 6, 3],
                    [1, 1, 6, 3],
                    [1, 2, 6, 3],
                    [1, 2, 6, 3],
                    [0, 0, 4, 5],
                    [1, 0, 5, 4],
                    [1, 0, 5, 4],
                    [0, 1, 4, 5],
                    [1, 1, 5, 4],
                    [1, 1, 5, 4],
                ],
            ),
        ];
        for (level, (stride, count, first)) in golden.into_iter().enumerate() {
            let found = positives(&head, level, Size::new(320, 320), &targets, 4.0);
            assert_eq!(found.len(), count, "stride {stride}");
            for (at, (positive, expected)) in found.iter().zip(first).enumerate() {
                let place = [positive.image, positive.anchor, positive.gy, positive.gx];
                assert_eq!(place, expected, "stride {stride}, positive {at}");
            }
        }
    }
}
