//! Average precision class by class, and for any white cell.

use shared::cell::{Cell, Detection};
use shared::class::{ClassId, ClassTable};
use shared::differential::ClassSet;
use shared::metrics::average_precision;
use shared::metrics::matching::{Verdict, by_class_then_best, judge_coco, judge_yolov5};
use shared::metrics::operating_point::{CONFIDENCE_POINTS, best_smoothed_f1, precision_recall_at};
use shared::score::Score;

use super::Judged;
use super::report::{Coco, Yolov5};

/// The one class of "any white cell".
const ANY_CELL: ClassId = ClassId(0);

/// Average precision of a class; `None` for a class without truth.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClassAverage {
    pub truths: u32,
    pub yolov5: Option<Yolov5>,
    pub coco: Option<Coco>,
}

/// Of all classes and of any cell.
pub(super) struct Averages {
    pub classes: Vec<ClassAverage>,
    pub cell: ClassAverage,
    pub best_f1_confidence: Option<f64>,
}

type Judge = fn(&[Cell], &[Detection], u32, &mut [u16], &mut [Verdict]);

pub(super) fn average_precision(
    pictures: &[Judged<'_>],
    classes: &ClassTable,
    not_white: ClassSet,
) -> Averages {
    let by_class: Vec<(Vec<Cell>, &[Detection])> = pictures
        .iter()
        .map(|picture| (picture.truths.to_vec(), picture.all.as_slice()))
        .collect();
    let (classes, best_f1_confidence) = averages(&by_class, classes.len());

    let any: Vec<(Vec<Cell>, Vec<Detection>)> = pictures
        .iter()
        .map(|picture| any_cell(picture, not_white))
        .collect();
    let any: Vec<_> = any.iter().map(|(t, f)| (t.clone(), f.as_slice())).collect();
    let (cell, _) = averages(&any, 1);
    Averages {
        classes,
        cell: cell[0],
        best_f1_confidence,
    }
}

/// White cells and findings of white cells as one class, every cell once.
pub(super) fn any_cell(picture: &Judged<'_>, not_white: ClassSet) -> (Vec<Cell>, Vec<Detection>) {
    let is_white = |class: Option<ClassId>| class.is_none_or(|class| !not_white.contains(class));
    let truths = picture.truths.iter().filter(|truth| is_white(truth.class));
    let found = picture.once.iter().filter(|d| is_white(Some(d.class)));
    let truths = truths.map(|&truth| Cell {
        class: Some(ANY_CELL),
        ..truth
    });
    let found = found.map(|&detection| Detection {
        class: ANY_CELL,
        ..detection
    });
    // Still best first: equal scores were ordered by class, then corners.
    (truths.collect(), found.collect())
}

fn averages(
    pictures: &[(Vec<Cell>, &[Detection])],
    n_classes: usize,
) -> (Vec<ClassAverage>, Option<f64>) {
    let yolov5 = judge_all(pictures, judge_yolov5);
    let coco = judge_all(pictures, judge_coco);
    let mut mean_f1 = Box::new([0.0; CONFIDENCE_POINTS]);
    let with_truths =
        class_ids(n_classes).map(|class| (of_class(&yolov5, class), truths_of(pictures, class)));
    let best = best_smoothed_f1(with_truths, &mut mean_f1);
    let rows = class_ids(n_classes).map(|class| {
        let truths = truths_of(pictures, class);
        let verdicts = of_class(&yolov5, class);
        let ap = average_precision::yolov5(verdicts, truths);
        ClassAverage {
            truths,
            yolov5: ap.zip(best).map(|(ap, best)| {
                let at = precision_recall_at(verdicts, truths, best.point);
                Yolov5 {
                    ap50: ap.ap50(),
                    ap50_95: ap.ap50_95(),
                    precision: at.precision,
                    recall: at.recall,
                    f1: at.f1(),
                }
            }),
            coco: average_precision::coco(of_class(&coco, class), truths).map(|ap| Coco {
                ap50: ap.ap50(),
                ap50_95: ap.ap50_95(),
            }),
        }
    });
    (rows.collect(), best.map(|best| best.confidence))
}

pub(super) fn class_ids(n_classes: usize) -> impl Iterator<Item = ClassId> {
    (0..n_classes).map(|index| ClassId(index as u8))
}

/// Cells labelled as `class`.
pub(super) fn truths_of(pictures: &[(Vec<Cell>, &[Detection])], class: ClassId) -> u32 {
    let cells = pictures.iter().flat_map(|(cells, _)| cells);
    cells.filter(|cell| cell.class == Some(class)).count() as u32
}

/// The verdicts of all pictures, class by class.
pub(super) fn judge_all(pictures: &[(Vec<Cell>, &[Detection])], judge: Judge) -> Vec<Verdict> {
    const UNJUDGED: Verdict = Verdict {
        score: Score::ZERO,
        class: ANY_CELL,
        sequence: 0,
        hits: 0,
        ignored: 0,
    };
    let n = pictures.iter().map(|(_, found)| found.len()).sum();
    let mut verdicts = vec![UNJUDGED; n];
    let mut taken = Vec::new();
    let mut first = 0;
    for (truths, found) in pictures {
        taken.resize(truths.len(), 0);
        let own = &mut verdicts[first..first + found.len()];
        judge(truths, found, first as u32, &mut taken, own);
        first += found.len();
    }
    verdicts.sort_unstable_by(by_class_then_best);
    verdicts
}

pub(super) fn of_class(verdicts: &[Verdict], class: ClassId) -> &[Verdict] {
    let start = verdicts.partition_point(|verdict| verdict.class < class);
    let end = verdicts.partition_point(|verdict| verdict.class <= class);
    &verdicts[start..end]
}
