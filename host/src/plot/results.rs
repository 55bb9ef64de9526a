//! `results.png`: every column of `results.csv` by epoch.

use std::path::Path;

use plotters::prelude::*;

use super::PlotError;
use super::axes::{Axes, draw_line};
use super::palette::{FAINT, LineLook, bar_colour};
use super::sheet::{Area, DrawError, draw_to, fine};

/// Panels in a row, and their size in pixels.
const COLUMNS: usize = 5;
const PANEL: (u32, u32) = (330, 240);

/// Widest bell that smooths a line, epochs; a short run has a narrower one.
const SMOOTHING_EPOCHS: f64 = 3.0;

/// Most points that are drawn as points; a longer run is a line.
const POINTS_MAX: usize = 400;

/// A column that has numbers.
#[derive(Debug, PartialEq)]
struct Column {
    name: String,
    /// Epoch and value; epochs without a value are left out.
    points: Vec<(f64, f64)>,
}

/// Draws the table at `csv` to `out`, a panel for every column with at least one number: the
/// numbers as points, and a line smoothed over up to three epochs. Whatever wrote the table, its
/// first column is the epoch.
///
/// # Errors
/// A table that is not there or has no header, or the disk.
pub fn write_results(csv: &Path, out: &Path) -> Result<(), PlotError> {
    let columns = read(csv)?;
    let rows = columns.len().div_ceil(COLUMNS).max(1);
    let wide = columns.len().clamp(1, COLUMNS);
    let (width, height) = (PANEL.0 * wide as u32, PANEL.1 * rows as u32);
    draw_to(out, width, height, |area| {
        let panels = area.split_evenly((rows, wide));
        for (column, panel) in columns.iter().zip(&panels) {
            draw_column(column, panel)?;
        }
        Ok(())
    })
}

fn read(path: &Path) -> Result<Vec<Column>, PlotError> {
    let table = |detail: String| PlotError::Table {
        path: path.to_path_buf(),
        detail,
    };
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .trim(csv::Trim::All)
        .from_path(path)
        .map_err(|error| table(error.to_string()))?;
    let header = reader.headers().map_err(|error| table(error.to_string()))?;
    let mut columns: Vec<Column> = header
        .iter()
        .map(|name| Column {
            name: name.to_owned(),
            points: Vec::new(),
        })
        .collect();
    if columns.len() < 2 {
        let n = columns.len();
        return Err(table(format!(
            "expected a header of epoch and columns, found {n}"
        )));
    }
    for line in reader.records() {
        let line = line.map_err(|error| table(error.to_string()))?;
        let finite = |text: &str| text.parse::<f64>().ok().filter(|v| v.is_finite());
        let Some(epoch) = line.get(0).and_then(finite) else {
            continue;
        };
        for (column, text) in columns.iter_mut().zip(&line) {
            column
                .points
                .extend(finite(text).map(|value| (epoch, value)));
        }
    }
    columns.remove(0);
    columns.retain(|column| !column.points.is_empty());
    Ok(columns)
}

fn draw_column(column: &Column, area: &Area<'_>) -> Result<(), DrawError> {
    let points = &column.points;
    let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::INFINITY, f64::min);
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::NEG_INFINITY, f64::max);
    let (first, last) = (
        least(&mut points.iter().map(|p| p.0)),
        most(&mut points.iter().map(|p| p.0)),
    );
    let (low, high) = (
        least(&mut points.iter().map(|p| p.1)),
        most(&mut points.iter().map(|p| p.1)),
    );
    // A single value or a level line still needs an axis of some length.
    let room = if high == low && high == 0.0 {
        1.0
    } else {
        ((high - low) * 0.06).max(high.abs() * 0.02)
    };
    let low = if low >= 0.0 {
        (low - room).max(0.0)
    } else {
        low - room
    };
    let mut chart = Axes {
        title: &column.name,
        title_height: 16,
        x: first..last.max(first + 1.0),
        y: low..high + room,
        x_name: "",
        y_name: "",
        numbers: (5, 5),
        counts_x: true,
    }
    .draw(area)?;
    let colour = bar_colour(0);
    if points.len() <= POINTS_MAX {
        let dots = points
            .iter()
            .map(|&p| Circle::new(p, fine(2), FAINT.mix(0.7).filled()));
        chart.draw_series(dots)?;
    }
    let line = LineLook { colour, dash: None };
    draw_line(&mut chart, &smoothed(points), line, 2)
}

/// Means weighted by a bell over the epochs around each point.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let first_and_last = points.first().zip(points.last());
    let span = first_and_last.map_or(0.0, |(first, last)| last.0 - first.0);
    let bell = (span / 20.0).clamp(0.3, SMOOTHING_EPOCHS);
    let around = |&(epoch, _): &(f64, f64)| {
        let reach = 4.0 * bell;
        let from = points.partition_point(|p| p.0 < epoch - reach);
        let near = points[from..].iter().take_while(|p| p.0 <= epoch + reach);
        let (sum, weights) = near.fold((0.0, 0.0), |(sum, weights), &(at, value)| {
            let weight = (-0.5 * ((at - epoch) / bell).powi(2)).exp();
            (sum + weight * value, weights + weight)
        });
        (epoch, if weights > 0.0 { sum / weights } else { 0.0 })
    };
    points.iter().map(around).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_without_a_number_and_values_that_are_none_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        let text = "   epoch,  train/box_loss, val/box_loss, metrics/precision\n\
            0, 0.5, , nan\n1, 0.25, , 0.75\n2, inf,\n";
        std::fs::write(&path, text).unwrap();
        let columns = read(&path).unwrap();
        let expected = [
            ("train/box_loss", vec![(0.0, 0.5), (1.0, 0.25)]),
            ("metrics/precision", vec![(1.0, 0.75)]),
        ];
        let expected = expected.map(|(name, points)| Column {
            name: name.to_owned(),
            points,
        });
        assert_eq!(columns, expected);
    }

    #[test]
    fn a_level_line_stays_level_and_a_step_becomes_a_slope() {
        let level: Vec<_> = (0..20).map(|epoch| (f64::from(epoch), 2.0)).collect();
        assert!(smoothed(&level).iter().all(|p| (p.1 - 2.0).abs() < 1e-12));
        let step: Vec<_> = (0..41)
            .map(|e| (f64::from(e), f64::from(u8::from(e > 20))))
            .collect();
        let smooth = smoothed(&step);
        // Symmetric around 20.5: the middle two add up to one.
        assert!((smooth[20].1 + smooth[21].1 - 1.0).abs() < 1e-3);
        assert!(smooth.windows(2).all(|p| p[0].1 <= p[1].1 + 1e-12));
    }

    #[test]
    fn a_table_that_is_missing_or_empty_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        let out = folder.path().join("results.png");
        let error = |path: &Path| write_results(path, &out).unwrap_err().to_string();
        assert!(error(&path).contains("results.csv: "), "{}", error(&path));
        std::fs::write(&path, "").unwrap();
        assert!(error(&path).ends_with("expected a header of epoch and columns, found 0"));
        assert!(!out.exists());
    }

    #[test]
    fn a_run_of_one_epoch_and_one_of_none_are_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.csv");
        let out = folder.path().join("results.png");
        for (text, size) in [
            ("epoch,a,b\n1,0.5,\n", (330, 240)),
            ("epoch,a\n", (330, 240)),
        ] {
            std::fs::write(&path, text).unwrap();
            write_results(&path, &out).unwrap();
            assert_eq!(image::image_dimensions(&out).unwrap(), size);
        }
    }
}
