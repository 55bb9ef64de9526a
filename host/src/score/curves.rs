//! Precision, recall and F1 against confidence, and precision against recall, for drawing.

use shared::class::ClassTable;
use shared::differential::ClassSet;
use shared::metrics::average_precision::{self, RECALL_POINTS};
use shared::metrics::matching::{Verdict, judge_yolov5};
use shared::metrics::operating_point::{CONFIDENCE_POINTS, confidence_at, curve};

use super::Judged;
use super::precision::{any_cell, class_ids, judge_all, of_class, truths_of};

/// One line of each plot, by YOLOv5's definition at an overlap of 0.50.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The class, `all classes` or `any white cell`.
    pub name: String,
    /// Cells in truth; at least 1.
    pub truths: u32,
    /// Area under `precision_at_recall`, 0..=1.
    pub ap50: f64,
    /// Precision, 0..=1, at the recalls 0.00, 0.01, ... 1.00.
    pub precision_at_recall: [f64; RECALL_POINTS],
    /// Precision, 0..=1, at the confidences 0, 1/999, ... 1.
    pub precision: Vec<f64>,
    /// Recall, 0..=1, at the same confidences.
    pub recall: Vec<f64>,
    /// F1, 0..=1, at the same confidences.
    pub f1: Vec<f64>,
}

/// All lines.
#[derive(Clone, Debug, PartialEq)]
pub struct Curves {
    /// The classes that have truth, in the order of the class table.
    pub classes: Vec<Curve>,
    /// Class numbers of `classes`.
    pub class_numbers: Vec<usize>,
    /// Their mean at every point; `None` without a class.
    pub mean: Option<Curve>,
    /// White cells whatever their class; `None` without truth.
    pub cell: Option<Curve>,
}

impl Curve {
    fn of(name: &str, verdicts: &[Verdict], truths: u32) -> Option<Self> {
        let ap = average_precision::yolov5(verdicts, truths)?;
        let zeros = || vec![0.0; CONFIDENCE_POINTS];
        let (mut precision, mut recall, mut f1) = (zeros(), zeros(), zeros());
        curve(verdicts, truths, |point, value| {
            precision[point] = value.precision;
            recall[point] = value.recall;
            f1[point] = value.f1();
        });
        Some(Self {
            name: name.to_owned(),
            truths,
            ap50: ap.ap50(),
            precision_at_recall: average_precision::yolov5_curve(verdicts, truths, 0),
            precision,
            recall,
            f1,
        })
    }

    fn mean(classes: &[Self]) -> Option<Self> {
        let (first, others) = classes.split_first()?;
        let mut mean = first.clone();
        "all classes".clone_into(&mut mean.name);
        for other in others {
            mean.truths += other.truths;
            mean.ap50 += other.ap50;
            let theirs = [&other.precision, &other.recall, &other.f1];
            let ours = [&mut mean.precision, &mut mean.recall, &mut mean.f1];
            ours.into_iter()
                .zip(theirs)
                .for_each(|(sum, values)| add(sum, values));
            add(&mut mean.precision_at_recall, &other.precision_at_recall);
        }
        let n = classes.len() as f64;
        mean.ap50 /= n;
        let lines = [&mut mean.precision, &mut mean.recall, &mut mean.f1];
        let values = lines.into_iter().flatten();
        values
            .chain(&mut mean.precision_at_recall)
            .for_each(|sum| *sum /= n);
        Some(mean)
    }

    /// Confidence and value of the greatest F1, the lowest such confidence.
    pub fn best_f1(&self) -> (f64, f64) {
        let mut best = (0.0, f64::NEG_INFINITY);
        for (point, &f1) in self.f1.iter().enumerate() {
            if f1 > best.1 {
                best = (confidence_at(point), f1);
            }
        }
        best
    }
}

fn add(sums: &mut [f64], values: &[f64]) {
    sums.iter_mut()
        .zip(values)
        .for_each(|(sum, value)| *sum += value);
}

pub(super) fn curves(pictures: &[Judged<'_>], classes: &ClassTable, not_white: ClassSet) -> Curves {
    let by_class: Vec<_> = pictures
        .iter()
        .map(|picture| (picture.truths.to_vec(), picture.all.as_slice()))
        .collect();
    let verdicts = judge_all(&by_class, judge_yolov5);
    let (mut lines, mut class_numbers) = (Vec::new(), Vec::new());
    for (class, name) in classes.iter() {
        let truths = truths_of(&by_class, class);
        if let Some(line) = Curve::of(name, of_class(&verdicts, class), truths) {
            lines.push(line);
            class_numbers.push(class.index());
        }
    }
    let any: Vec<_> = pictures.iter().map(|p| any_cell(p, not_white)).collect();
    let any: Vec<_> = any.iter().map(|(t, f)| (t.clone(), f.as_slice())).collect();
    let verdicts = judge_all(&any, judge_yolov5);
    let cell = class_ids(1).find_map(|class| {
        let truths = truths_of(&any, class);
        Curve::of("any white cell", of_class(&verdicts, class), truths)
    });
    Curves {
        mean: Curve::mean(&lines),
        classes: lines,
        class_numbers,
        cell,
    }
}
