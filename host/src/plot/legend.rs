//! Which line is which, in columns beside the plot: never on it.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::palette::{INK, LineLook};
use super::sheet::{Area, DrawError, fine, placed, widest};

/// Letters, one line to the next, the sample of a line with its gap; pixels.
const LETTERS: u32 = 14;
const ROW: u32 = 20;
const SAMPLE: u32 = 42;
const MARGIN: u32 = 12;

/// A line and its name.
pub(super) struct Entry {
    pub look: LineLook,
    pub width: u32,
    pub text: String,
}

/// Entries in columns of so many rows.
pub(super) struct Legend {
    entries: Vec<Entry>,
    rows: usize,
    column: u32,
}

impl Legend {
    /// For a plot `height` pixels high.
    pub fn new(entries: Vec<Entry>, height: u32) -> Result<Self, DrawError> {
        let text = widest(entries.iter().map(|entry| entry.text.as_str()), LETTERS)?;
        Ok(Self {
            entries,
            rows: (height.saturating_sub(2 * MARGIN) / ROW).max(1) as usize,
            column: SAMPLE + text + MARGIN,
        })
    }

    /// Its width in pixels.
    pub fn width(&self) -> u32 {
        self.entries.len().div_ceil(self.rows) as u32 * self.column + MARGIN
    }

    /// Draws it from the upper left of `area` on.
    pub fn draw(&self, area: &Area<'_>) -> Result<(), DrawError> {
        for (index, entry) in self.entries.iter().enumerate() {
            let left = (index / self.rows) as u32 * self.column;
            let middle = fine(MARGIN + (index % self.rows) as u32 * ROW + ROW / 2);
            draw_sample(area, entry, (fine(left), fine(left + SAMPLE - 10)), middle)?;
            let style = placed(LETTERS, INK, HPos::Left, VPos::Center);
            area.draw_text(&entry.text, &style, (fine(left + SAMPLE), middle))?;
        }
        Ok(())
    }
}

fn draw_sample(
    area: &Area<'_>,
    entry: &Entry,
    (from, to): (i32, i32),
    y: i32,
) -> Result<(), DrawError> {
    let (stroke, gap) = entry.look.dash.map_or((to - from, 1), |(stroke, gap)| {
        (fine(stroke * entry.width), fine(gap * entry.width))
    });
    let half = fine(entry.width) / 2;
    let mut x = from;
    while x < to {
        let end = (x + stroke).min(to);
        let bar = [(x, y - half), (end, y + half)];
        area.draw(&Rectangle::new(bar, entry.look.colour.filled()))?;
        x = end + gap;
    }
    Ok(())
}
