//! `train_batch0.jpg` and its like: what the network is shown.

use std::path::Path;

use image::{Rgb, RgbImage, imageops};
use shared::cell::Cell;
use shared::class::ClassTable;

use super::PlotError;
use super::marks::{Mark, Rect, class_colour, draw_marks};
use super::sheet::{draw_on, save};

/// Tiles on a sheet and in a row of it.
const TILES_MAX: usize = 16;
const COLUMNS: usize = 4;
/// Longest side of a tile, pixels.
const TILE_MAX: u32 = 480;

/// A canvas with its cells.
#[derive(Clone, Debug)]
pub struct Tile {
    /// As the network gets it.
    pub picture: RgbImage,
    /// In its pixels.
    pub cells: Vec<Cell>,
}

/// Writes up to 16 canvases as one sheet, with boxes and class names.
///
/// # Errors
/// The disk.
pub fn write_tiles(path: &Path, tiles: &[Tile], classes: &ClassTable) -> Result<(), PlotError> {
    let tiles = &tiles[..tiles.len().min(TILES_MAX)];
    let shown: Vec<(RgbImage, f32)> = tiles.iter().map(|tile| fitted(&tile.picture)).collect();
    let width = shown.iter().map(|(p, _)| p.width()).max().unwrap_or(1);
    let height = shown.iter().map(|(p, _)| p.height()).max().unwrap_or(1);
    let columns = tiles.len().clamp(1, COLUMNS) as u32;
    let rows = tiles.len().div_ceil(COLUMNS).max(1) as u32;
    let mut sheet = RgbImage::from_pixel(columns * width, rows * height, Rgb([255; 3]));
    let place = |index: u32| (index % columns * width, index / columns * height);
    for (index, (picture, _)) in (0u32..).zip(&shown) {
        let (x, y) = place(index);
        imageops::replace(&mut sheet, picture, i64::from(x), i64::from(y));
    }
    let drawn = draw_on(&sheet, |area| {
        for (index, (tile, (picture, ratio))) in (0u32..).zip(tiles.iter().zip(&shown)) {
            let (x, y) = place(index);
            let (x, y) = (x as i32, y as i32);
            let frame = Rect::sized(x, y, (picture.width() as i32, picture.height() as i32));
            let marks: Vec<Mark> = tile
                .cells
                .iter()
                .map(|cell| mark(cell, (x, y), *ratio, classes))
                .collect();
            draw_marks(area, frame, &marks)?;
        }
        Ok(())
    });
    save(&drawn.map_err(PlotError::drawing(path))?, path)
}

/// The picture no larger than a tile, and by how much it was made smaller.
fn fitted(picture: &RgbImage) -> (RgbImage, f32) {
    let longest = picture.width().max(picture.height()).max(1);
    if longest <= TILE_MAX {
        return (picture.clone(), 1.0);
    }
    let ratio = TILE_MAX as f32 / longest as f32;
    let side = |side: u32| ((side as f32 * ratio).round() as u32).max(1);
    let (width, height) = (side(picture.width()), side(picture.height()));
    let filter = imageops::FilterType::Triangle;
    (imageops::resize(picture, width, height, filter), ratio)
}

fn mark(cell: &Cell, (x, y): (i32, i32), ratio: f32, classes: &ClassTable) -> Mark {
    let name = cell.class.and_then(|class| classes.name(class));
    Mark {
        rect: Rect::of(&cell.bbox, (x, y), ratio),
        colour: class_colour(cell.class.map(|class| class.index())),
        is_broken: false,
        title: name.unwrap_or("white cell").to_owned(),
        lines: Vec::new(),
    }
}
