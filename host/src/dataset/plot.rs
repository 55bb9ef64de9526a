//! The cells of a data set as a sheet of crops.

use std::path::Path;

use image::{RgbImage, imageops};
use shared::annotate::annotate_truth;
use shared::cell::Cell;
use shared::geometry::{BBox, Image, Size};
use shared::pixels::RgbViewMut;

use super::problem::DataError;
use super::{Dataset, Sample};

/// Side of a tile of the sheet, pixels.
const TILE: u32 = 224;

/// Tiles in a row of the sheet.
const COLUMNS: u32 = 6;

/// Writes a PNG of at most `tiles` cells, spread evenly over the classes and the set, each in its
/// surroundings with its box and its class.
///
/// # Errors
/// A picture that cannot be decoded, or whatever the disk says.
pub fn cell_sheet(data: &Dataset, tiles: usize, path: &Path) -> Result<(), DataError> {
    let chosen = choose(data, tiles);
    let rows = (chosen.len() as u32).div_ceil(COLUMNS).max(1);
    let mut sheet = RgbImage::from_pixel(COLUMNS * TILE, rows * TILE, image::Rgb([255; 3]));
    for ((sample, cell), at) in chosen.into_iter().zip(0u32..) {
        let tile = crop(data, sample, cell)?;
        let (x, y) = (at % COLUMNS * TILE, at / COLUMNS * TILE);
        imageops::replace(&mut sheet, &tile, i64::from(x), i64::from(y));
    }
    sheet
        .save(path)
        .map_err(|error| DataError::file(path, error))
}

/// Evenly spaced cells of each class in turn, until there are enough.
fn choose(data: &Dataset, tiles: usize) -> Vec<(&Sample, &Cell)> {
    let mut by_class = vec![Vec::new(); data.classes.len() + 1];
    for sample in &data.samples {
        for cell in &sample.cells {
            let class = cell.class.map_or(data.classes.len(), |class| class.index());
            by_class[class].push((sample, cell));
        }
    }
    by_class.retain(|cells| !cells.is_empty());
    let each = tiles / by_class.len().max(1);
    let spread = by_class.into_iter().flat_map(|cells| {
        let step = (cells.len() / each.max(1)).max(1);
        cells.into_iter().step_by(step).take(each.max(1))
    });
    spread.take(tiles).collect()
}

/// The cell in the middle of a square of twice its size, as far as the picture reaches.
fn crop(data: &Dataset, sample: &Sample, cell: &Cell) -> Result<RgbImage, DataError> {
    let path = sample.image.as_path();
    let picture = image::open(path)
        .map_err(|error| DataError::file(path, error))?
        .to_rgb8();
    let side = (cell.bbox.width().max(cell.bbox.height()) * 2.0)
        .ceil()
        .max(1.0);
    let (cx, cy) = cell.bbox.centre();
    let reach = |centre: f32, limit: u32| {
        let wide = (side as u32).clamp(1, limit);
        let start = (centre - wide as f32 / 2.0).clamp(0.0, (limit - wide) as f32) as u32;
        (start, wide)
    };
    let (x, width) = reach(cx, picture.width());
    let (y, height) = reach(cy, picture.height());
    let part = imageops::crop_imm(&picture, x, y, width, height).to_image();
    let mut tile = imageops::resize(&part, TILE, TILE, imageops::FilterType::Triangle);
    let (rx, ry) = (TILE as f32 / width as f32, TILE as f32 / height as f32);
    let moved = sample.cells.iter().filter_map(|cell| {
        let [x0, y0, x1, y1] = cell.bbox.xyxy();
        let (x, y) = (x as f32, y as f32);
        let bbox: BBox<Image> =
            BBox::from_corners((x0 - x) * rx, (y0 - y) * ry, (x1 - x) * rx, (y1 - y) * ry)?;
        let bbox = bbox.clipped(Size::new(TILE, TILE))?;
        Some(Cell { bbox, ..*cell })
    });
    let moved: Vec<Cell> = moved.collect();
    let mut view = RgbViewMut::new(&mut tile, Size::new(TILE, TILE))
        .map_err(|error| DataError::file(path, error))?;
    annotate_truth(&mut view, &moved, &data.classes);
    Ok(tile)
}
