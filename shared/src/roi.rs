//! RoIAlign: the features of a cell, at one size whatever the cell's (attridet.md, 1.2).
//!
//! The samples of a bin form a grid, and bilinear interpolation is a product of the two axes, so that
//! the mean over a bin is one too: `pooled[c, i, j] = sum over y, x of Wy[i, y] F[c, y, x] Wx[j, x]`.
//! [`axis_weights`] gives `Wy` and `Wx`; trainer and station use the same.
//!
//! Boxes are exact on the map (canvas pixels over the stride). The AttriDet reference truncates them
//! to whole map pixels and multiplies x by the map's height; neither is done here.

use crate::fit::Fit;
use crate::geometry::{BBox, Image, Size};

/// Rows of a pooled region.
pub const ROWS: usize = 24;

/// Columns of a pooled region.
pub const COLUMNS: usize = 30;

/// Strides of the maps that regions are read from, in the order of their channels.
pub const STRIDES: [u16; 2] = [4, 8];

/// A cell's place on the canvas, pixels: left, top, right, bottom.
pub type Region = [f32; 4];

/// The region of a cell of the picture.
///
/// A cell so thin that its edges fall together on the canvas keeps its place: [`axis_weights`] gives
/// it one map pixel.
pub fn region_of(fit: &Fit, bbox: &BBox<Image>) -> Region {
    let (rx, ry) = fit.ratio();
    let (left, top) = fit.offset();
    let (left, top) = (left as f32, top as f32);
    [
        bbox.x0() * rx + left,
        bbox.y0() * ry + top,
        bbox.x1() * rx + left,
        bbox.y1() * ry + top,
    ]
}

/// What each of `len` map pixels gives to each of `bins` equal parts of `lo..hi`, by torchvision's
/// rules (adaptive sampling, not aligned).
///
/// A side below one map pixel counts as one. Each part is sampled at `ceil(side / bins)` places; a
/// sample farther than one pixel outside the map weighs 0 and still counts in the mean, one that is
/// nearer takes the outermost pixel.
///
/// # Shapes
/// `out` is `[bins, len]`, overwritten.
///
/// # Panics
/// When `out` has not `bins * len` values.
pub fn axis_weights(lo: f32, hi: f32, bins: usize, len: usize, out: &mut [f32]) {
    assert_eq!(out.len(), bins * len, "one weight a bin and map pixel");
    out.fill(0.0);
    if bins == 0 || len == 0 {
        return;
    }
    let side = (hi - lo).max(1.0);
    let bin = side / bins as f32;
    let samples = libm::ceilf(bin);
    let n = samples as usize;
    for (index, weights) in out.chunks_exact_mut(len).enumerate() {
        for sample in 0..n {
            let at = lo + index as f32 * bin + (sample as f32 + 0.5) * bin / samples;
            add_sample(at, 1.0 / samples, weights);
        }
    }
}

/// One sample between two map pixels.
fn add_sample(at: f32, share: f32, weights: &mut [f32]) {
    let last = weights.len() - 1;
    if !(-1.0..=weights.len() as f32).contains(&at) {
        return;
    }
    let at = at.max(0.0);
    let low = at as usize;
    if low >= last {
        weights[last] += share;
        return;
    }
    let rest = at - low as f32;
    weights[low] += (1.0 - rest) * share;
    weights[low + 1] += rest * share;
}

/// Values of scratch that [`roi_align`] needs for maps of `size`.
pub fn scratch_len(size: Size) -> usize {
    let (height, width) = (size.height as usize, size.width as usize);
    ROWS * height + COLUMNS * width + ROWS * width
}

/// Pools one region of a feature map.
///
/// `stride` is in canvas pixels per map pixel.
///
/// # Shapes
/// `feature` `[channels, size.height, size.width]`, `scratch` at least [`scratch_len`] values
/// → `out` `[channels, ROWS, COLUMNS]`, overwritten.
///
/// # Panics
/// When a slice has another length.
pub fn roi_align(
    feature: &[f32],
    size: Size,
    stride: u16,
    region: Region,
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let (height, width) = (size.height as usize, size.width as usize);
    let channels = out.len() / (ROWS * COLUMNS);
    assert_eq!(out.len(), channels * ROWS * COLUMNS, "whole channels");
    assert_eq!(feature.len(), channels * height * width, "a map a channel");
    let [x0, y0, x1, y1] = region.map(|edge| edge / f32::from(stride));
    let (rows, rest) = scratch.split_at_mut(ROWS * height);
    let (columns, rest) = rest.split_at_mut(COLUMNS * width);
    let between = &mut rest[..ROWS * width];
    axis_weights(y0, y1, ROWS, height, rows);
    axis_weights(x0, x1, COLUMNS, width, columns);
    let (top, bottom) = touched(rows, height);
    let (left, right) = touched(columns, width);
    let planes = feature.chunks_exact((height * width).max(1));
    for (plane, out) in planes.zip(out.chunks_exact_mut(ROWS * COLUMNS)) {
        between.fill(0.0);
        for (weights, line) in rows
            .chunks_exact(height)
            .zip(between.chunks_exact_mut(width))
        {
            for y in (top..bottom).filter(|&y| weights[y] != 0.0) {
                let source = &plane[y * width + left..y * width + right];
                let weight = weights[y];
                for (sum, value) in line[left..right].iter_mut().zip(source) {
                    *sum += weight * value;
                }
            }
        }
        for (line, out) in between
            .chunks_exact(width)
            .zip(out.chunks_exact_mut(COLUMNS))
        {
            for (weights, out) in columns.chunks_exact(width).zip(out) {
                let pairs = weights[left..right].iter().zip(&line[left..right]);
                *out = pairs.map(|(weight, value)| weight * value).sum();
            }
        }
    }
}

/// First map pixel that any bin weighs, and the one behind the last; `(0, 0)` when none is.
fn touched(weights: &[f32], len: usize) -> (usize, usize) {
    let is_touched = |&at: &usize| weights.chunks_exact(len).any(|bin| bin[at] != 0.0);
    let first = (0..len).find(is_touched);
    let last = (0..len).rev().find(is_touched);
    first
        .zip(last)
        .map_or((0, 0), |(first, last)| (first, last + 1))
}

#[cfg(test)]
mod tests;
