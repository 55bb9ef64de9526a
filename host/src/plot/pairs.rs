//! `val_batch0_labels_pred.jpg` and its like: truth beside prediction, the worst pictures first.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage, imageops};
use plotters::style::RGBColor;
use shared::annotate::{ABSENCES, attribute_line};
use shared::attribute::{AttributeSchema, ValueId};
use shared::cell::{Cell, Detection};
use shared::class::ClassTable;

use super::PlotError;
use super::marks::{Mark, Rect, Words, class_colour, draw_marks};
use super::palette::{FAINT, INK};
use super::sheet::{Area, DrawError, draw_on, fine, letters, save, text_width};
use crate::dataset::Sample;
use crate::picture::Picture;
use crate::score::JudgedPicture;

/// Most sheets that are written.
const SHEETS: usize = 3;
/// Widest and highest a sheet may become, pixels.
const SHEET_MAX: (u32, u32) = (1960, 2200);
/// Longest side of a picture on the sheet: small ones are enlarged, large ones made smaller.
const SIDE: (u32, u32) = (448, 720);
const MARGIN: u32 = 12;
/// Between truth and prediction.
const GAP: u32 = 6;
/// Room of a caption above a pair, and of the heading above all.
const CAPTION: u32 = 24;
const HEADING: u32 = 58;
const LETTERS: u32 = 15;

/// The list of the pictures that were drawn.
const LIST: &str = "val_pictures.txt";

/// A sample and what became of it.
#[derive(Clone, Copy)]
struct Pair<'a> {
    sample: &'a Sample,
    judged: &'a JudgedPicture,
}

/// How a sheet is laid out, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    /// Of one picture.
    panel: (u32, u32),
    /// Pairs in a row, and rows.
    columns: u32,
    rows: u32,
}

/// Names of classes and attributes.
#[derive(Clone, Copy)]
struct Names<'a> {
    classes: &'a ClassTable,
    schema: &'a AttributeSchema,
}

pub(super) fn write(
    out: &Path,
    samples: &[&Sample],
    judged: &[JudgedPicture],
    classes: &ClassTable,
    schema: &AttributeSchema,
) -> Result<Vec<PathBuf>, PlotError> {
    let pairs = samples.iter().zip(judged);
    let mut pairs: Vec<Pair<'_>> = pairs
        .map(|(sample, judged)| Pair { sample, judged })
        .collect();
    pairs.sort_by_key(|pair| std::cmp::Reverse((pair.judged.faults(), pair.judged.misses)));
    let layout = Layout::of(&pairs);
    let each = (layout.columns * layout.rows) as usize;
    pairs.truncate(SHEETS * each);
    let names = Names { classes, schema };
    let mut written = Vec::new();
    let mut list = String::from(
        "Validation pictures that were drawn, the most faults first: misses, extras, other classes.\n",
    );
    for (number, sheet) in pairs.chunks(each).enumerate() {
        let file = format!("val_batch{number}_labels_pred.jpg");
        let path = out.join(&file);
        let drawn = draw_sheet(&path, sheet, layout, names)?;
        save(&drawn, &path)?;
        written.push(path);
        for pair in sheet {
            let (name, faults) = (pair.sample.image.display(), pair.faults());
            // Writing to a string cannot fail.
            let _ = writeln!(list, "{file}\t{name}\t{faults}");
        }
    }
    // Sheets of an earlier validation of more pictures would be taken for this one's.
    for number in written.len()..SHEETS {
        let path = out.join(format!("val_batch{number}_labels_pred.jpg"));
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(PlotError::Write { path, source });
            }
            _ => {}
        }
    }
    let path = out.join(LIST);
    std::fs::write(&path, list).map_err(|source| PlotError::Write { path, source })?;
    Ok(written)
}

impl Pair<'_> {
    /// "2 missed, 1 extra, 0 of another class".
    fn faults(&self) -> String {
        let judged = self.judged;
        let (misses, extras, confused) = (judged.misses, judged.extras, judged.confused);
        format!("{misses} missed, {extras} extra, {confused} of another class")
    }

    /// File name and faults.
    fn caption(&self) -> String {
        let name = self.sample.image.file_name().unwrap_or_default();
        format!("{}: {}", name.to_string_lossy(), self.faults())
    }
}

/// By how much a picture of this size is enlarged.
fn ratio_of(width: u32, height: u32) -> f32 {
    let longest = width.max(height).max(1);
    longest.clamp(SIDE.0, SIDE.1) as f32 / longest as f32
}

fn shown_size(width: u32, height: u32) -> (u32, u32) {
    let ratio = ratio_of(width, height);
    let side = |side: u32| ((side as f32 * ratio).round() as u32).max(1);
    (side(width), side(height))
}

impl Layout {
    fn of(pairs: &[Pair<'_>]) -> Self {
        let sizes = || {
            let sizes = pairs.iter().map(|pair| pair.sample.size);
            sizes.map(|size| shown_size(size.width, size.height))
        };
        let panel = (
            sizes().map(|size| size.0).max().unwrap_or(SIDE.0),
            sizes().map(|size| size.1).max().unwrap_or(SIDE.0),
        );
        let mut layout = Self {
            panel,
            columns: 1,
            rows: 1,
        };
        let (width, height) = layout.pair();
        layout.columns = ((SHEET_MAX.0 - MARGIN) / width).max(1);
        layout.rows = ((SHEET_MAX.1 - HEADING) / height).max(1);
        layout
    }

    /// Size of a pair with its caption and the margin behind it.
    fn pair(self) -> (u32, u32) {
        let (width, height) = self.panel;
        (2 * width + GAP + MARGIN, CAPTION + height + MARGIN)
    }

    /// Size of a sheet with so many pairs.
    fn sheet(self, pairs: usize) -> (u32, u32) {
        let (width, height) = self.pair();
        let columns = self.columns.min(pairs as u32).max(1);
        let rows = (pairs as u32).div_ceil(columns).max(1);
        (MARGIN + columns * width, HEADING + rows * height)
    }

    /// Where the caption of a pair begins.
    fn place(self, index: u32) -> (u32, u32) {
        let (width, height) = self.pair();
        let (column, row) = (index % self.columns, index / self.columns);
        (MARGIN + column * width, HEADING + row * height)
    }
}

fn draw_sheet(
    path: &Path,
    pairs: &[Pair<'_>],
    layout: Layout,
    names: Names<'_>,
) -> Result<RgbImage, PlotError> {
    let (width, height) = layout.sheet(pairs.len());
    let mut sheet = RgbImage::from_pixel(width, height, Rgb([255; 3]));
    let mut panels = Vec::new();
    for (index, pair) in (0u32..).zip(pairs) {
        let picture = Picture::open(&pair.sample.image)?;
        let (x, y) = layout.place(index);
        let shown = shown_size(picture.size.width, picture.size.height);
        let (left, right, top) = (x, x + layout.panel.0 + GAP, y + CAPTION);
        let ratio = ratio_of(picture.size.width, picture.size.height);
        let size = picture.size;
        if let Some(rgb) = RgbImage::from_raw(size.width, size.height, picture.bytes) {
            let filter = imageops::FilterType::Triangle;
            let rgb = imageops::resize(&rgb, shown.0, shown.1, filter);
            for x in [left, right] {
                imageops::replace(&mut sheet, &rgb, i64::from(x), i64::from(top));
            }
        }
        let frame = |x: u32| {
            let size = (shown.0 as i32, shown.1 as i32);
            Rect::sized(x as i32, top as i32, size)
        };
        panels.push((*pair, frame(left), frame(right), ratio));
    }
    let drawn = draw_on(&sheet, |area| {
        draw_heading(area, pairs, names.classes, width)?;
        for (pair, left, right, ratio) in &panels {
            let at = (left.x0 * fine(1), (left.y0 - CAPTION as i32 + 4) * fine(1));
            area.draw_text(&pair.caption(), &letters(LETTERS, INK), at)?;
            draw_marks(area, *left, &truth_marks(*pair, *left, *ratio, names))?;
            draw_marks(area, *right, &found_marks(*pair, *right, *ratio, names))?;
        }
        Ok(())
    });
    drawn.map_err(PlotError::drawing(path))
}

/// What the sides and the lines mean, and the colours of the classes on this sheet.
fn draw_heading(
    area: &Area<'_>,
    pairs: &[Pair<'_>],
    classes: &ClassTable,
    width: u32,
) -> Result<(), DrawError> {
    let text = "Left truth, right prediction. Broken line: missed or extra. \u{2260}: differs from the truth. Worst pictures first.";
    area.draw_text(text, &letters(LETTERS, FAINT), (fine(MARGIN), fine(8)))?;
    let is_shown = |class: usize| {
        pairs.iter().any(|pair| {
            let truths = pair.sample.cells.iter();
            let mut truths = truths.filter_map(|cell| cell.class);
            let mut found = pair.judged.found.iter();
            truths.any(|c| c.index() == class) || found.any(|d| d.class.index() == class)
        })
    };
    let mut x = MARGIN;
    for (class, name) in classes.iter().filter(|(class, _)| is_shown(class.index())) {
        let end = x + 20 + text_width(name, LETTERS)?;
        if end + MARGIN > width {
            // The name stands beside every box all the same.
            break;
        }
        draw_key(area, x, class_colour(Some(class.index())))?;
        area.draw_text(name, &letters(LETTERS, INK), (fine(x + 20), fine(32)))?;
        x = end + 18;
    }
    Ok(())
}

fn draw_key(area: &Area<'_>, x: u32, colour: RGBColor) -> Result<(), DrawError> {
    use plotters::prelude::{Color, Rectangle};
    let corners = [(fine(x), fine(34)), (fine(x + 14), fine(46))];
    area.draw(&Rectangle::new(corners, colour.filled()))?;
    area.draw(&Rectangle::new(corners, INK.stroke_width(1)))?;
    Ok(())
}

fn truth_marks(pair: Pair<'_>, frame: Rect, ratio: f32, names: Names<'_>) -> Vec<Mark> {
    let cells = pair.sample.cells.iter().zip(&pair.judged.of_truth);
    let marks = cells.map(|(cell, partner)| {
        let name = cell.class.and_then(|class| names.classes.name(class));
        let name = name.unwrap_or("white cell");
        let title = match partner {
            Some(_) => name.to_owned(),
            None => format!("missed: {name}"),
        };
        Mark {
            rect: Rect::of(&cell.bbox, (frame.x0, frame.y0), ratio),
            colour: class_colour(cell.class.map(|class| class.index())),
            is_broken: partner.is_none(),
            title,
            lines: truth_lines(cell, names.schema),
        }
    });
    marks.collect()
}

fn found_marks(pair: Pair<'_>, frame: Rect, ratio: f32, names: Names<'_>) -> Vec<Mark> {
    let found = pair.judged.found.iter().zip(&pair.judged.of_found);
    let marks = found.map(|(detection, partner)| {
        let truth = partner.and_then(|index| pair.sample.cells.get(index));
        Mark {
            rect: Rect::of(&detection.bbox, (frame.x0, frame.y0), ratio),
            colour: class_colour(Some(detection.class.index())),
            is_broken: partner.is_none(),
            title: found_title(detection, truth, names.classes),
            lines: found_lines(detection, truth, names.schema),
        }
    });
    marks.collect()
}

fn found_title(detection: &Detection, truth: Option<&Cell>, classes: &ClassTable) -> String {
    let name = classes.name(detection.class).unwrap_or("?");
    let title = format!("{name} {:.2}", detection.score.get());
    match truth {
        None => format!("extra: {title}"),
        Some(cell) if cell.class.is_some_and(|class| class != detection.class) => {
            format!("\u{2260} {title}")
        }
        Some(_) => title,
    }
}

/// The attributes that say something is there.
fn truth_lines(cell: &Cell, schema: &AttributeSchema) -> Vec<Words> {
    let values = schema.iter().zip(cell.attributes);
    let lines = values.filter_map(|((_, attribute), value)| {
        let value = attribute.value_name(value?)?;
        (!ABSENCES.contains(&value)).then(|| Words {
            text: attribute_line(&attribute.name, value).to_string(),
            is_fault: false,
        })
    });
    lines.collect()
}

/// The attributes that say something is there, and all that differ from the truth.
fn found_lines(
    detection: &Detection,
    truth: Option<&Cell>,
    schema: &AttributeSchema,
) -> Vec<Words> {
    let values = schema.iter().zip(detection.attributes);
    let lines = values.filter_map(|((id, attribute), finding)| {
        let found: ValueId = finding?.value;
        let value = attribute.value_name(found)?;
        let truth = truth.and_then(|cell| cell.attributes[id.index()]);
        let is_fault = truth.is_some_and(|truth| truth != found);
        let sign = if is_fault { "\u{2260} " } else { "" };
        (is_fault || !ABSENCES.contains(&value)).then(|| Words {
            text: format!("{sign}{}", attribute_line(&attribute.name, value)),
            is_fault,
        })
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pictures_are_enlarged_large_ones_made_smaller() {
        assert_eq!(shown_size(224, 224), (448, 448));
        assert_eq!(shown_size(640, 480), (640, 480));
        assert_eq!(shown_size(4000, 3000), (720, 540));
        assert_eq!(shown_size(5000, 1), (720, 1));
    }

    #[test]
    fn as_many_pairs_stand_on_a_sheet_as_it_has_room_for() {
        let layout = |panel| {
            let mut layout = Layout {
                panel,
                columns: 2,
                rows: 4,
            };
            layout.columns = ((SHEET_MAX.0 - MARGIN) / layout.pair().0).max(1);
            layout
        };
        assert_eq!(layout((448, 448)).columns, 2);
        assert_eq!(layout((640, 480)).columns, 1);
        assert_eq!(
            layout((448, 448)).sheet(3),
            (MARGIN + 2 * 914, HEADING + 2 * 484)
        );
        assert_eq!(layout((448, 448)).place(3), (MARGIN + 914, HEADING + 484));
    }
}
