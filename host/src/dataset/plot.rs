//! Pictures of a data set: its counts as SVG, its cells as a sheet of crops.

use std::path::Path;

use image::{RgbImage, imageops};
use plotters::prelude::*;
use shared::annotate::annotate_truth;
use shared::cell::Cell;
use shared::geometry::{BBox, Image, Size};
use shared::pixels::RgbViewMut;

use super::problem::DataError;
use super::stats::{Stats, side_ratios};
use super::{Dataset, Sample, Split};

/// Colours of train, val and test (Okabe and Ito).
const COLOURS: [RGBColor; 3] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
];

/// Widest box that is plotted, as part of the picture; bars of the histogram.
const BINS: usize = 40;

/// Side of a tile of the sheet, pixels.
const TILE: u32 = 224;

/// Tiles in a row of the sheet.
const COLUMNS: u32 = 6;

/// Writes the class counts and the distribution of box sizes of every split as one SVG.
///
/// # Errors
/// Whatever the disk says.
pub fn plot_stats(data: &Dataset, path: &Path) -> Result<(), DataError> {
    let stats = Stats::new(data);
    let height = 110 + 34 * (stats.classes.len() as u32 + 1);
    let mut svg = String::new();
    draw(data, &stats, &mut svg, height).map_err(|error| DataError::file(path, error))?;
    std::fs::write(path, svg).map_err(DataError::write(path))
}

fn draw(
    data: &Dataset,
    stats: &Stats,
    svg: &mut String,
    height: u32,
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, (960, height + 340)).into_drawing_area();
    area.fill(&WHITE)?;
    let (upper, lower) = area.split_vertically(height);
    draw_classes(stats, &upper)?;
    draw_sides(data, &lower)?;
    area.present()?;
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw_classes(stats: &Stats, area: &Area<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let mut names: Vec<&str> = stats.classes.iter().map(String::as_str).collect();
    names.push("class unknown");
    let count = |split: usize, class: usize| {
        let split = &stats.splits[split];
        split
            .classes
            .get(class)
            .copied()
            .unwrap_or(split.unclassified)
    };
    let cells = (0..3).flat_map(|split| (0..names.len()).map(move |class| count(split, class)));
    let most = cells.max().unwrap_or(0).max(1) as f64;
    let last = names.len() as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(
            format!("{}: cells of each class", stats.name),
            ("sans-serif", 20),
        )
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(190)
        .build_cartesian_2d(0.0..most * 1.1, last..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .y_labels(0)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .draw()?;
    for (split, colour) in COLOURS.iter().enumerate() {
        let bars = (0..names.len()).map(|class| {
            let top = class as f64 + 0.12 + 0.25 * split as f64;
            let right = count(split, class) as f64;
            Rectangle::new([(0.0, top), (right, top + 0.23)], colour.filled())
        });
        chart
            .draw_series(bars)?
            .label(Split::ALL[split].name())
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour.filled()));
    }
    for (class, name) in names.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(0.0, class as f64 + 0.5));
        let (left, top) = area.get_base_pixel();
        let style =
            ("sans-serif", 14)
                .into_text_style(area)
                .pos(plotters::style::text_anchor::Pos::new(
                    plotters::style::text_anchor::HPos::Right,
                    plotters::style::text_anchor::VPos::Center,
                ));
        area.draw_text(name, &style, (x - left - 8, y - top))?;
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK)
        .draw()?;
    Ok(())
}

fn draw_sides(data: &Dataset, area: &Area<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let share = |split: Split| {
        let mut bins = [0usize; BINS];
        for ratio in side_ratios(data.split(split)) {
            bins[((ratio * BINS as f32) as usize).min(BINS - 1)] += 1;
        }
        let all = bins.iter().sum::<usize>().max(1) as f64;
        bins.map(|bin| 100.0 * bin as f64 / all)
    };
    let shares = Split::ALL.map(share);
    let most = shares.iter().flatten().copied().fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(
            "Box side as part of the picture (root of area), per cent of boxes",
            ("sans-serif", 20),
        )
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..1.0, 0.0..most * 1.1)?;
    chart
        .configure_mesh()
        .y_label_formatter(&|y| format!("{y:.0} %"))
        .draw()?;
    for ((bins, colour), split) in shares.iter().zip(COLOURS).zip(Split::ALL) {
        let steps = bins.iter().enumerate().flat_map(|(bin, &share)| {
            let left = bin as f64 / BINS as f64;
            [(left, share), (left + 1.0 / BINS as f64, share)]
        });
        chart
            .draw_series(LineSeries::new(steps, colour.stroke_width(2)))?
            .label(split.name())
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour.filled()));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK)
        .draw()?;
    Ok(())
}

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
