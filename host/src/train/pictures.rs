//! The pictures of a run: what the network is shown, and how it learns.

use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage, imageops};
use plotters::prelude::*;
use shared::annotate::annotate_truth;
use shared::cell::Cell;
use shared::class::{ClassId, ClassTable};
use shared::geometry::{BBox, Image, Size};
use shared::pixels::RgbViewMut;

use crate::loader::Batch;

/// Canvases on the sheet of the first batch, and in a row of it.
const SHEET: usize = 16;
const COLUMNS: u32 = 4;

/// Colours of curves (Okabe and Ito).
const COLOURS: [RGBColor; 4] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
];

/// A picture that could not be written.
pub(super) type PictureFailure = (PathBuf, std::io::Error);

fn failure(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> PictureFailure {
    (path.to_path_buf(), std::io::Error::other(error))
}

/// `batch.png`: augmented canvases with their targets, as the network gets them.
pub(super) fn write_batch(
    batch: &Batch,
    canvas: Size,
    classes: &ClassTable,
    run: &Path,
) -> Result<(), PictureFailure> {
    let path = run.join("batch.png");
    let bytes = batch.bytes();
    let plane = (canvas.width * canvas.height) as usize;
    let n = (bytes.len() / (3 * plane)).min(SHEET);
    let rows = (n as u32).div_ceil(COLUMNS);
    let columns = COLUMNS.min(n as u32);
    let mut sheet =
        RgbImage::from_pixel(columns * canvas.width, rows * canvas.height, Rgb([255; 3]));
    for (index, planes) in bytes.chunks_exact(3 * plane).take(n).enumerate() {
        let mut rgb: Vec<u8> = (0..plane)
            .flat_map(|at| [planes[at], planes[plane + at], planes[2 * plane + at]])
            .collect();
        let cells: Vec<Cell> = batch
            .targets
            .iter()
            .filter(|t| t.image == index)
            .filter_map(|t| cell(t, canvas))
            .collect();
        let mut view = RgbViewMut::new(&mut rgb, canvas).map_err(|error| failure(&path, error))?;
        annotate_truth(&mut view, &cells, classes);
        if let Some(tile) = RgbImage::from_raw(canvas.width, canvas.height, rgb) {
            let at = index as u32;
            let (x, y) = (at % COLUMNS * canvas.width, at / COLUMNS * canvas.height);
            imageops::replace(&mut sheet, &tile, i64::from(x), i64::from(y));
        }
    }
    sheet.save(&path).map_err(|error| failure(&path, error))
}

fn cell(target: &crate::assign::Target, canvas: Size) -> Option<Cell> {
    let [cx, cy, w, h] = target.cxcywh;
    let (width, height) = (canvas.width as f32, canvas.height as f32);
    let bbox: BBox<Image> = BBox::from_centre(cx * width, cy * height, w * width, h * height)?;
    let class = target.class.map(ClassId);
    Some(Cell {
        bbox,
        class,
        attributes: target.attributes,
    })
}

/// `curves.svg`: losses above, what validation found below, by epoch; from `results.csv`, so that a
/// resumed run shows its first half too.
pub(super) fn write_curves(results: &Path, run: &Path) -> Result<(), PictureFailure> {
    let text =
        std::fs::read_to_string(results).map_err(|source| (results.to_path_buf(), source))?;
    let path = run.join("curves.svg");
    let mut svg = String::new();
    draw(&text, &mut svg)
        .map_err(|error| (path.clone(), std::io::Error::other(error.to_string())))?;
    std::fs::write(&path, svg).map_err(|source| (path, source))
}

type Line = (&'static str, Vec<(f64, f64)>);

/// The values of a column by epoch; epochs without a value are left out.
fn column(results: &str, name: &str) -> Vec<(f64, f64)> {
    let mut lines = results.lines();
    let header = lines.next().unwrap_or_default();
    let Some(at) = header.split(',').position(|column| column == name) else {
        return Vec::new();
    };
    let value = |line: &str, at: usize| line.split(',').nth(at)?.parse::<f64>().ok();
    lines
        .filter_map(|line| Some((value(line, 0)?, value(line, at)?)))
        .collect()
}

fn draw(results: &str, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, (960, 640)).into_drawing_area();
    area.fill(&WHITE)?;
    let halves = area.split_evenly((2, 1));
    let lines = |columns: [(&'static str, &str); 4]| -> [Line; 4] {
        columns.map(|(label, name)| (label, column(results, name)))
    };
    let losses = lines([
        ("box", "train/box_loss"),
        ("objectness", "train/obj_loss"),
        ("class", "train/cls_loss"),
        ("attribute", "train/attr_loss"),
    ]);
    panel(&halves[0], "training loss", &losses)?;
    let found = lines([
        ("mAP50", "metrics/mAP_0.5"),
        ("mAP50-95", "metrics/mAP_0.5:0.95"),
        ("any cell AP50", "metrics/cell_AP_0.5"),
        ("attribute macro-F1", "metrics/attribute_F1"),
    ]);
    panel(&halves[1], "validation", &found)?;
    area.present()?;
    Ok(())
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    lines: &[Line],
) -> Result<(), Box<dyn std::error::Error>> {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let last = points().map(|p| p.0).fold(2.0, f64::max);
    let most = points()
        .map(|p| p.1)
        .filter(|v| v.is_finite())
        .fold(0.01, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(50)
        .build_cartesian_2d(1.0..last, 0.0..most * 1.05)?;
    chart
        .configure_mesh()
        .x_desc("epoch")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .draw()?;
    for ((name, points), colour) in lines
        .iter()
        .zip(COLOURS)
        .filter(|((_, p), _)| !p.is_empty())
    {
        chart
            .draw_series(LineSeries::new(
                points.iter().copied(),
                colour.stroke_width(2),
            ))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}
