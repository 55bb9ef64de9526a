//! Two axes with their names, numbers and grid, all in one look.

use std::ops::Range;

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::palette::{FAINT, GRID, INK, LineLook};
use super::sheet::{Area, DrawError, fine, letters};

/// A plot with numbers on both axes.
pub(super) type Chart<'a, 'b> =
    ChartContext<'a, BitMapBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// What stands around a plot.
pub(super) struct Axes<'t> {
    pub title: &'t str,
    pub title_height: u32,
    pub x: Range<f64>,
    pub y: Range<f64>,
    pub x_name: &'t str,
    pub y_name: &'t str,
    /// Most numbers on each axis.
    pub numbers: (usize, usize),
    /// Whether x has whole numbers only.
    pub counts_x: bool,
}

impl Axes<'_> {
    /// Draws them; what is drawn later lies above.
    pub fn draw<'a, 'b>(&self, area: &'a Area<'b>) -> Result<Chart<'a, 'b>, DrawError> {
        let mut builder = ChartBuilder::on(area);
        builder
            .caption(self.title, letters(self.title_height, INK))
            .margin(fine(8))
            .margin_right(fine(18))
            .x_label_area_size(fine(if self.x_name.is_empty() { 22 } else { 42 }))
            .y_label_area_size(fine(if self.y_name.is_empty() { 52 } else { 64 }));
        let x_step = (self.x.end - self.x.start).abs();
        let y_step = (self.y.end - self.y.start).abs();
        let (counts_x, mut x_numbers) = (self.counts_x, self.numbers.0);
        if counts_x {
            x_numbers = x_numbers.min(x_step as usize + 1);
        }
        let mut chart = builder.build_cartesian_2d(self.x.clone(), self.y.clone())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID.stroke_width(fine(1) as u32))
            .axis_style(FAINT.stroke_width(fine(1) as u32))
            .set_all_tick_mark_size(fine(4))
            .label_style(letters(13, INK))
            .axis_desc_style(letters(14, FAINT))
            .x_labels(x_numbers)
            .y_labels(self.numbers.1)
            .x_label_formatter(&move |x| match counts_x {
                true if x.fract().abs() > 1e-6 => String::new(),
                true => format!("{x:.0}"),
                false => number(*x, x_step),
            })
            .y_label_formatter(&move |y| number(*y, y_step))
            .x_desc(self.x_name)
            .y_desc(self.y_name)
            .draw()?;
        Ok(chart)
    }
}

/// As many digits as an axis of this `length` needs to tell its numbers apart.
pub(super) fn number(value: f64, length: f64) -> String {
    // A number that was added up from steps may miss 0 by a rounding error.
    let value = if value.abs() < length * 1e-9 {
        0.0
    } else {
        value
    };
    if value != 0.0 && (length < 1e-3 || value.abs() >= 1e6) {
        let digits = 0.7 + value.abs().log10() - length.log10();
        let digits = digits.ceil().clamp(1.0, 5.0) as usize;
        return format!("{value:.digits$e}");
    }
    let digits = (1.7 - length.log10()).ceil().clamp(0.0, 6.0) as usize;
    format!("{value:.digits$}")
}

/// Draws a line through `points`, as thick as said.
pub(super) fn draw_line(
    chart: &mut Chart<'_, '_>,
    points: &[(f64, f64)],
    look: LineLook,
    width: u32,
) -> Result<(), DrawError> {
    let style = look.colour.stroke_width(fine(width) as u32);
    let points = points.iter().copied();
    match look.dash {
        None => chart.draw_series(LineSeries::new(points, style))?,
        Some((stroke, gap)) => chart.draw_series(DashedLineSeries::new(
            points,
            fine(stroke * width),
            fine(gap * width),
            style,
        ))?,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_an_axis_have_the_digits_they_need() {
        let cases = [
            (0.2, 1.0, "0.20"),
            (0.0004, 0.001, "0.00040"),
            (50.0, 300.0, "50"),
            (1e-17, 1.0, "0.00"),
            (2_500_000.0, 5e6, "2.5e6"),
            (0.00002, 0.0001, "2.0e-5"),
            (0.001236, 0.0001, "1.24e-3"),
        ];
        for (value, length, text) in cases {
            assert_eq!(number(value, length), text, "{value} of {length}");
        }
    }
}
