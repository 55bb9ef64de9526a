//! `reliability.png`: whether a confidence of 0.8 is right eight times in ten.

use std::path::{Path, PathBuf};

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::PlotError;
use super::axes::{Axes, draw_line};
use super::palette::{ALL, FAINT, INK, LineLook, bar_colour};
use super::sheet::{DrawError, draw_to, fine, placed};
use crate::score::{ReliabilityRow, ScoreReport};

const WIDTH: u32 = 760;
const HEIGHT: u32 = 600;

pub(super) fn write(out: &Path, report: &ScoreReport) -> Result<PathBuf, PlotError> {
    let path = out.join("reliability.png");
    let row = &report.reliability;
    let n: u32 = row.bins.iter().map(|(n, _)| n).sum();
    let error = row.expected_error;
    let error = error.map_or_else(|| "nothing to judge".to_owned(), |e| format!("ECE {e:.3}"));
    let title = format!(
        "Reliability: {error}, {n} findings of score {:.2} or more",
        report.score_min
    );
    draw_to(&path, WIDTH, HEIGHT, |area| {
        let mut chart = Axes {
            title: &title,
            title_height: 17,
            x: 0.0..1.0,
            y: 0.0..1.06,
            x_name: "confidence (a bar each fifteenth; dot: mean confidence; number: findings)",
            y_name: "share right",
            numbers: (11, 11),
            counts_x: false,
        }
        .draw(area)?;
        chart.draw_series(bars(row).map(|(left, right, _, share)| {
            let corners = [(left, 0.0), (right, share)];
            Rectangle::new(corners, bar_colour(0).mix(0.75).filled())
        }))?;
        let perfect = LineLook {
            colour: FAINT,
            dash: Some((6, 4)),
        };
        draw_line(&mut chart, &[(0.0, 0.0), (1.0, 1.0)], perfect, 1)?;
        let means = row.bins.iter().filter_map(|(_, means)| *means);
        chart.draw_series(means.map(|point| Circle::new(point, fine(4), ALL.filled())))?;
        let above = placed(12, INK, HPos::Center, VPos::Bottom);
        let counts = bars(row).map(|(left, right, n, share)| {
            let at = ((left + right) / 2.0, share + 0.012);
            Text::new(n.to_string(), at, above.clone())
        });
        chart.draw_series(counts)?;
        Ok::<(), DrawError>(())
    })?;
    Ok(path)
}

/// Left and right edge, findings and share right of every bin that has findings.
fn bars(row: &ReliabilityRow) -> impl Iterator<Item = (f64, f64, u32, f64)> {
    let n_bins = row.bins.len() as f64;
    let bins = row.bins.iter().enumerate();
    bins.filter_map(move |(bin, &(n, means))| {
        let (_, share) = means?;
        let left = bin as f64 / n_bins;
        Some((left + 0.004, left + 1.0 / n_bins - 0.004, n, share))
    })
}
