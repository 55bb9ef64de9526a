//! `PR_curve.png`, `F1_curve.png`, `P_curve.png` and `R_curve.png`.

use std::path::{Path, PathBuf};

use plotters::prelude::*;
use shared::metrics::average_precision::recall_at;
use shared::metrics::operating_point::{CONFIDENCE_POINTS, confidence_at};

use super::PlotError;
use super::axes::{Axes, draw_line};
use super::legend::{Entry, Legend};
use super::palette::{ALL, FAINT, LineLook, line_look};
use super::sheet::{DrawError, draw, fine, save};
use crate::score::{Curve, Curves};

/// The plot without its legend, pixels.
const WIDTH: u32 = 760;
const HEIGHT: u32 = 600;

/// One of the four pictures.
struct Kind {
    file: &'static str,
    title: &'static str,
    x_name: &'static str,
    y_name: &'static str,
    points: fn(&Curve) -> Vec<(f64, f64)>,
    /// What the legend says of a line; the argument beside it is the confidence of the best F1.
    number: fn(&Curve, Option<f64>) -> String,
    /// Whether the best F1 lies on the mean line.
    marks_best: bool,
}

const KINDS: [Kind; 4] = [
    Kind {
        file: "PR_curve.png",
        title: "Precision against recall, IoU 0.50 (legend: AP50, cells)",
        x_name: "recall",
        y_name: "precision",
        points: |curve| {
            let precision = curve.precision_at_recall.iter().enumerate();
            precision.map(|(at, &p)| (recall_at(at), p)).collect()
        },
        number: |curve, _| format!("{:.3}", curve.ap50),
        marks_best: false,
    },
    Kind {
        file: "F1_curve.png",
        title: "F1 against confidence, IoU 0.50 (legend: F1 at the best, cells)",
        x_name: "confidence",
        y_name: "F1",
        points: |curve| by_confidence(&curve.f1),
        number: |curve, best| at(&curve.f1, best),
        marks_best: true,
    },
    Kind {
        file: "P_curve.png",
        title: "Precision against confidence, IoU 0.50 (legend: at the best F1, cells)",
        x_name: "confidence",
        y_name: "precision",
        points: |curve| by_confidence(&curve.precision),
        number: |curve, best| at(&curve.precision, best),
        marks_best: true,
    },
    Kind {
        file: "R_curve.png",
        title: "Recall against confidence, IoU 0.50 (legend: at the best F1, cells)",
        x_name: "confidence",
        y_name: "recall",
        points: |curve| by_confidence(&curve.recall),
        number: |curve, best| at(&curve.recall, best),
        marks_best: true,
    },
];

fn by_confidence(values: &[f64]) -> Vec<(f64, f64)> {
    let values = values.iter().enumerate();
    values
        .map(|(at, &value)| (confidence_at(at), value))
        .collect()
}

fn point_of(confidence: f64) -> usize {
    let last = CONFIDENCE_POINTS - 1;
    ((confidence * last as f64).round() as usize).min(last)
}

fn at(values: &[f64], best: Option<f64>) -> String {
    let value = best.and_then(|best| values.get(point_of(best)));
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

/// A line to be drawn, thick or thin.
struct Line<'a> {
    curve: &'a Curve,
    look: LineLook,
    width: u32,
    is_class: bool,
}

/// The classes thin, any white cell dashed, their mean on top.
fn lines(curves: &Curves) -> Vec<Line<'_>> {
    let look = |colour, dash| LineLook { colour, dash };
    let line = |curve, look, width, is_class| Line {
        curve,
        look,
        width,
        is_class,
    };
    let classes = curves.classes.iter().zip(&curves.class_numbers);
    let classes = classes.map(|(curve, &class)| line(curve, line_look(class), 2, true));
    let cell = curves.cell.iter();
    let cell = cell.map(|curve| line(curve, look(FAINT, Some((3, 2))), 2, false));
    let mean = curves.mean.iter();
    let mean = mean.map(|curve| line(curve, look(ALL, None), 4, false));
    classes.chain(cell).chain(mean).collect()
}

/// Writes all four; `best` is the confidence at which the report reads precision, recall and F1.
pub(super) fn write(
    out: &Path,
    curves: &Curves,
    best: Option<f64>,
) -> Result<Vec<PathBuf>, PlotError> {
    let lines = lines(curves);
    // Without a class the report has no operating point; any white cell has its own.
    let best = best.or_else(|| curves.cell.as_ref().map(|cell| cell.best_f1().0));
    let paths = KINDS.iter().map(|kind| {
        let path = out.join(kind.file);
        let picture = draw_kind(kind, &lines, best).map_err(PlotError::drawing(&path))?;
        save(&picture, &path)?;
        Ok(path)
    });
    paths.collect()
}

fn draw_kind(
    kind: &Kind,
    lines: &[Line<'_>],
    best: Option<f64>,
) -> Result<image::RgbImage, DrawError> {
    let entry = |line: &Line<'_>| Entry {
        look: line.look,
        width: line.width,
        text: format!(
            "{}  {}  ({})",
            line.curve.name,
            (kind.number)(line.curve, best),
            line.curve.truths
        ),
    };
    // Means are drawn last and named first, the classes in their order.
    let (classes, means): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.is_class);
    let named = means.into_iter().rev().chain(classes);
    let legend = Legend::new(named.map(entry).collect(), HEIGHT - 60)?;
    draw(WIDTH + legend.width(), HEIGHT, |area| {
        let (left, right) = area.split_horizontally(fine(WIDTH));
        let title = match best {
            Some(best) if kind.marks_best => format!("{}, best at {best:.3}", kind.title),
            _ => kind.title.to_owned(),
        };
        let mut chart = Axes {
            title: &title,
            title_height: 17,
            x: 0.0..1.0,
            y: 0.0..1.02,
            x_name: kind.x_name,
            y_name: kind.y_name,
            numbers: (11, 11),
            counts_x: false,
        }
        .draw(&left)?;
        if let Some(best) = best.filter(|_| kind.marks_best) {
            let faint = LineLook {
                colour: FAINT,
                dash: Some((2, 4)),
            };
            draw_line(&mut chart, &[(best, 0.0), (best, 1.02)], faint, 1)?;
        }
        for line in lines {
            draw_line(
                &mut chart,
                &(kind.points)(line.curve),
                line.look,
                line.width,
            )?;
        }
        if let (Some(best), Some(line)) = (best.filter(|_| kind.marks_best), lines.last()) {
            let point = (kind.points)(line.curve)[point_of(best)];
            chart.draw_series([Circle::new(point, fine(5), ALL.filled())])?;
        }
        legend.draw(&right.margin(fine(36), 0, 0, 0))
    })
}
