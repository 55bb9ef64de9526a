//! `confusion_matrix.png` and one `confusion_<attribute>.png` an attribute.

use std::path::{Path, PathBuf};

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::PlotError;
use super::palette::{FAINT, INK, ink_on, shade};
use super::sheet::{
    Area, DrawError, draw, fine, letters, placed, save, text_width, upright, widest,
};
use crate::score::{AttributeConfusion, ScoreReport};

/// Letters of names, pixels.
const NAMES: u32 = 14;
/// Letters of counts, pixels, where there is room.
const COUNTS: u32 = 13;
/// Sides of a field, pixels: with counts, and without when there are many.
const FIELD: u32 = 48;
const SMALL_FIELD: u32 = 16;
/// Most columns whose counts are written.
const COUNTED_MAX: usize = 32;
const MARGIN: u32 = 16;
/// Room of the title and of the names of the axes.
const TITLE: u32 = 34;
const AXIS: u32 = 24;

/// Names and counts.
struct Matrix<'a> {
    title: String,
    subtitle: String,
    rows: Vec<&'a str>,
    columns: Vec<&'a str>,
    counts: Vec<Vec<u32>>,
}

pub(super) fn write_classes(out: &Path, report: &ScoreReport) -> Result<PathBuf, PlotError> {
    let names: Vec<&str> = report.confusion.names.iter().map(String::as_str).collect();
    let mut subtitle = format!(
        "least score {:.2}, least IoU {:.2}; colour: share of the row",
        report.score_min, report.iou_min
    );
    let (found, missed) = (
        report.confusion.unsaid_found,
        report.confusion.unsaid_missed,
    );
    if found + missed > 0 {
        subtitle += &format!("; of unsaid class: {found} found, {missed} missed");
    }
    let matrix = Matrix {
        title: "Confusion of classes".to_owned(),
        subtitle,
        rows: names.clone(),
        columns: names,
        counts: report.confusion.rows.clone(),
    };
    write(&out.join("confusion_matrix.png"), &matrix)
}

/// Nothing is written of an attribute that no found cell is labelled with.
pub(super) fn write_attribute(
    out: &Path,
    confusion: &AttributeConfusion,
) -> Result<Option<PathBuf>, PlotError> {
    let labelled = confusion.rows.iter().flatten().chain(&confusion.unsaid);
    let labelled: u32 = labelled.sum();
    if labelled == 0 {
        return Ok(None);
    }
    let names: Vec<&str> = confusion.values.iter().map(String::as_str).collect();
    let right: u32 = (0..names.len()).map(|i| confusion.rows[i][i]).sum();
    let mut columns = names.clone();
    let mut counts = confusion.rows.clone();
    if confusion.unsaid.iter().any(|&n| n > 0) {
        columns.push("not said");
        for (row, &n) in counts.iter_mut().zip(&confusion.unsaid) {
            row.push(n);
        }
    }
    let matrix = Matrix {
        title: format!("Confusion of {}", confusion.attribute),
        subtitle: format!("cells found and labelled: {right} of {labelled} right"),
        rows: names,
        columns,
        counts,
    };
    let file: String = confusion.attribute.chars().map(file_letter).collect();
    write(&out.join(format!("confusion_{file}.png")), &matrix).map(Some)
}

/// Names of attributes come from data files; a file name takes only what every disk takes.
fn file_letter(letter: char) -> char {
    if letter.is_alphanumeric() || "-_".contains(letter) {
        letter
    } else {
        '_'
    }
}

fn write(path: &Path, matrix: &Matrix<'_>) -> Result<PathBuf, PlotError> {
    let picture = matrix.draw().map_err(PlotError::drawing(path))?;
    save(&picture, path)?;
    Ok(path.to_path_buf())
}

impl Matrix<'_> {
    fn draw(&self) -> Result<image::RgbImage, DrawError> {
        let counted = self.columns.len() <= COUNTED_MAX;
        let field = if counted { FIELD } else { SMALL_FIELD };
        let left = MARGIN + AXIS + widest(self.rows.iter().copied(), NAMES)? + 10;
        let top = MARGIN + 2 * TITLE;
        let below = widest(self.columns.iter().copied(), NAMES)? + 10 + AXIS + MARGIN;
        let inner = (
            field * self.columns.len() as u32,
            field * self.rows.len() as u32,
        );
        let heading = text_width(&self.title, 20)?.max(text_width(&self.subtitle, 14)?);
        let width = (left + inner.0 + MARGIN).max(heading + 2 * MARGIN);
        let height = top + inner.1 + below;
        draw(width, height, |area| {
            area.draw_text(&self.title, &letters(20, INK), (fine(MARGIN), fine(MARGIN)))?;
            let under = (fine(MARGIN), fine(MARGIN + 28));
            area.draw_text(&self.subtitle, &letters(14, FAINT), under)?;
            self.draw_fields(area, (left, top), field, counted)?;
            self.draw_names(area, (left, top), field)?;
            let middle = (fine(left + inner.0 / 2), fine(height - MARGIN));
            let across = placed(NAMES, FAINT, HPos::Center, VPos::Bottom);
            area.draw_text("found", &across, middle)?;
            let middle = (fine(MARGIN), fine(top + inner.1 / 2));
            area.draw_text(
                "truth",
                &upright(NAMES, FAINT, HPos::Center, VPos::Top),
                middle,
            )?;
            Ok(())
        })
    }

    fn draw_fields(
        &self,
        area: &Area<'_>,
        (left, top): (u32, u32),
        field: u32,
        counted: bool,
    ) -> Result<(), DrawError> {
        for (y, row) in (0u32..).zip(&self.counts) {
            let sum: u32 = row.iter().sum();
            for (x, &count) in (0u32..).zip(row) {
                let share = f64::from(count) / f64::from(sum.max(1));
                let (x0, y0) = (left + x * field, top + y * field);
                let corners = [(fine(x0), fine(y0)), (fine(x0 + field), fine(y0 + field))];
                area.draw(&Rectangle::new(corners, shade(share).filled()))?;
                area.draw(&Rectangle::new(corners, FAINT.mix(0.35).stroke_width(1)))?;
                if counted && count > 0 {
                    let style = placed(COUNTS, ink_on(shade(share)), HPos::Center, VPos::Center);
                    let middle = (fine(x0 + field / 2), fine(y0 + field / 2));
                    area.draw_text(&count.to_string(), &style, middle)?;
                }
            }
        }
        Ok(())
    }

    fn draw_names(
        &self,
        area: &Area<'_>,
        (left, top): (u32, u32),
        field: u32,
    ) -> Result<(), DrawError> {
        let beside = placed(NAMES, INK, HPos::Right, VPos::Center);
        for (y, name) in (0u32..).zip(&self.rows) {
            let at = (fine(left - 8), fine(top + y * field + field / 2));
            area.draw_text(name, &beside, at)?;
        }
        let bottom = top + field * self.rows.len() as u32 + 8;
        let below = upright(NAMES, INK, HPos::Right, VPos::Center);
        for (x, name) in (0u32..).zip(&self.columns) {
            let at = (fine(left + x * field + field / 2), fine(bottom));
            area.draw_text(name, &below, at)?;
        }
        Ok(())
    }
}
