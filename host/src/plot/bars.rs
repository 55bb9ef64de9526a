//! Counts as bars that lie, their names before and their numbers behind.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::palette::{FAINT, INK};
use super::sheet::{Area, DrawError, fine, letters, placed, widest};

/// A row of bars, their letters, and the room of a heading.
const ROW: u32 = 20;
const LETTERS: u32 = 13;
const HEADING: u32 = 44;
const MARGIN: u32 = 14;

/// A line of a bar chart; without a count it is the name of what follows.
pub(super) struct Bar {
    pub name: String,
    pub count: Option<usize>,
    pub colour: RGBColor,
}

/// Height in pixels of so many lines with their title.
pub(super) fn bars_height(lines: usize) -> u32 {
    HEADING + ROW * lines as u32 + MARGIN
}

/// Draws the bars under a title on an area `width` pixels wide.
pub(super) fn draw_bars(
    area: &Area<'_>,
    width: u32,
    title: &str,
    bars: &[Bar],
) -> Result<(), DrawError> {
    area.draw_text(title, &letters(16, INK), (fine(MARGIN), fine(MARGIN)))?;
    let names = widest(bars.iter().map(|bar| bar.name.as_str()), LETTERS)?;
    let start = MARGIN + names + 10;
    let most = bars
        .iter()
        .filter_map(|bar| bar.count)
        .max()
        .unwrap_or(0)
        .max(1);
    // The count stands behind its bar.
    let room = f64::from(width.saturating_sub(start + 70));
    let name_end = placed(LETTERS, INK, HPos::Right, VPos::Center);
    let group_start = placed(LETTERS, FAINT, HPos::Left, VPos::Center);
    let behind = placed(LETTERS, FAINT, HPos::Left, VPos::Center);
    for (index, bar) in (0u32..).zip(bars) {
        let top = HEADING + index * ROW;
        let middle = fine(top + ROW / 2);
        let Some(count) = bar.count else {
            area.draw_text(&bar.name, &group_start, (fine(start), middle))?;
            continue;
        };
        area.draw_text(&bar.name, &name_end, (fine(start - 8), middle))?;
        let length = (room * count as f64 / most as f64).round() as u32;
        let corners = [
            (fine(start), fine(top + 3)),
            (fine(start + length), fine(top + ROW - 3)),
        ];
        if count > 0 {
            area.draw(&Rectangle::new(corners, bar.colour.filled()))?;
        }
        area.draw_text(
            &count.to_string(),
            &behind,
            (fine(start + length + 6), middle),
        )?;
    }
    Ok(())
}
