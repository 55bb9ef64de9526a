//! The scale without a ruler: a red cell is about 7.2 micrometres across, so that the pixels of many
//! of them give micrometres a pixel, and their width against their height the frame's squeeze.
//!
//! Only cells that lie alone are measured, and what is smaller or larger than most of them
//! (platelets, white cells, clumps) is set aside. Not for smears with much anisocytosis: a
//! microcytic patient's scale comes out too large by as much as the cells are too small.

use std::ops::RangeInclusive;

use serde::Serialize;
use shared::geometry::Size;
use thiserror::Error;

use super::grey::Reduced;
use super::otsu;

/// Mean diameter of a red cell on a smear, micrometres.
pub const RED_CELL_UM: f32 = 7.2;

/// Fewest cells a scale stands on: with a spread of 10 %, its standard error is then 2 %.
pub const CELLS_MIN: usize = 30;

/// Most cells that are kept; further ones are counted only.
pub const CELLS_MAX: usize = 4096;

/// Least difference of cells and background for the two to be told apart, 0..=1.
const CONTRAST_MIN: f32 = 0.08;

/// Smallest side of a blob that is looked at, reduced pixels: below, its size is guesswork.
const SIDE_MIN_PX: f32 = 5.0;

/// Least area of a blob, holes filled, as a part of the ellipse with the same second moments: two
/// cells that touch reach 0.90, one cell 0.98.
const ROUNDNESS_MIN: f32 = 0.955;

/// Largest ratio of the axes of a blob's own ellipse, once the squeeze is undone.
const ELONGATION_MAX: f32 = 1.35;

/// A cell is one of many when its diameter is within these parts of their median.
const LIKE_MANY: RangeInclusive<f32> = 0.75..=1.3;

/// Why there is no scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ScaleError {
    /// Not enough red cells lie alone.
    #[error("scale from red cells: {got} lie alone, expected at least {min}: show more fields")]
    TooFew {
        /// Found.
        got: usize,
        /// Needed.
        min: usize,
    },
}

/// The scale and what it stands on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RedCellScale {
    /// Micrometres a pixel of the frame, downwards.
    pub um_per_px: f32,
    /// Width of a circle's picture over its height.
    pub squeeze: f32,
    /// Median width of the red cells, pixels of the frame.
    pub width_px: f32,
    /// Median height of the red cells, pixels of the frame.
    pub height_px: f32,
    /// Half of the cells' diameters differ from the median by less than this part of it.
    pub spread: f32,
    /// The same of their heights.
    pub height_spread: f32,
    /// The same of their widths over their heights.
    pub squeeze_spread: f32,
    /// Red cells it stands on.
    pub cells: usize,
    /// Round blobs of another size, set aside.
    pub set_aside: usize,
    /// Fields it stands on.
    pub fields: u32,
    /// Fields in which cells and background could not be told apart.
    pub fields_without_contrast: u32,
}

/// Gathers red cells from field to field.
#[derive(Clone, Debug, Default)]
pub struct RedCells {
    blobs: Vec<Blob>,
    no_room: usize,
    fields: u32,
    without_contrast: u32,
    labels: Vec<u32>,
    stack: Vec<u32>,
}

/// A round thing that lies alone, pixels of the frame.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Blob {
    width: f32,
    height: f32,
    /// Correlation of its two axes, -1..=1; 0 for an upright ellipse.
    tilt: f32,
}

impl Blob {
    fn diameter(&self) -> f32 {
        (self.width * self.height).sqrt()
    }

    /// Ratio of its longer to its shorter axis, once it is stretched to be as wide as high on
    /// average.
    fn elongation(&self, squeeze: f32) -> f32 {
        let (a, c) = ((self.width / squeeze).powi(2), self.height.powi(2));
        let b = self.tilt * (a * c).sqrt();
        let root = ((a - c).powi(2) / 4.0 + b * b).sqrt();
        let mean = (a + c) / 2.0;
        ((mean + root) / (mean - root).max(f32::MIN_POSITIVE)).sqrt()
    }
}

impl RedCells {
    /// Looks for cells in a field and says how many round ones lie alone in it.
    pub fn add(&mut self, reduced: &Reduced) -> usize {
        self.fields += 1;
        let mut histogram = [0_u32; 256];
        for pixel in reduced.rgb() {
            histogram[usize::from(pixel[1])] += 1;
        }
        let split = otsu::split_histogram(&histogram);
        let Some(split) = split.filter(|split| split.contrast() >= CONTRAST_MIN) else {
            self.without_contrast += 1;
            return 0;
        };
        self.labels.clear();
        let threshold = red_threshold(&histogram, &split);
        let mark = |pixel: &[u8; 3]| u32::from(pixel[1] <= threshold);
        self.labels.extend(reduced.rgb().iter().map(mark));
        let (mut found, mut label) = (0, 1);
        for start in 0..self.labels.len() {
            if self.labels[start] != 1 {
                continue;
            }
            label += 1;
            let bounds = self.flood(start, label, reduced.size());
            if let Some(blob) = self.blob(label, bounds, reduced) {
                found += 1;
                if self.blobs.len() < CELLS_MAX {
                    self.blobs.push(blob);
                } else {
                    self.no_room += 1;
                }
            }
        }
        found
    }

    /// Round blobs there was no room for.
    pub fn no_room(&self) -> usize {
        self.no_room
    }

    /// The scale.
    ///
    /// # Errors
    /// When fewer than [`CELLS_MIN`] red cells were found.
    pub fn scale(&self) -> Result<RedCellScale, ScaleError> {
        let too_few = |got| ScaleError::TooFew {
            got,
            min: CELLS_MIN,
        };
        if self.blobs.len() < CELLS_MIN {
            return Err(too_few(self.blobs.len()));
        }
        let rough = median(self.blobs.iter().map(|blob| blob.width / blob.height));
        let round = self
            .blobs
            .iter()
            .filter(|blob| blob.elongation(rough) <= ELONGATION_MAX);
        let round: Vec<Blob> = round.copied().collect();
        let mut centre = weighted_median(&round);
        let mut cells: Vec<Blob> = Vec::new();
        for _ in 0..4 {
            let like = |blob: &&Blob| LIKE_MANY.contains(&(blob.diameter() / centre));
            cells = round.iter().filter(like).copied().collect();
            if cells.len() < CELLS_MIN {
                return Err(too_few(cells.len()));
            }
            centre = median(cells.iter().map(Blob::diameter));
        }
        let width_px = median(cells.iter().map(|blob| blob.width));
        let height_px = median(cells.iter().map(|blob| blob.height));
        let ratio = |blob: &Blob| blob.width / blob.height;
        let height_spread = spread(cells.iter().map(|blob| blob.height / height_px));
        let ratio_px = median(cells.iter().map(ratio));
        let squeeze_spread = spread(cells.iter().map(|blob| ratio(blob) / ratio_px));
        Ok(RedCellScale {
            um_per_px: RED_CELL_UM / height_px,
            squeeze: width_px / height_px,
            width_px,
            height_px,
            spread: spread(cells.iter().map(|blob| blob.diameter() / centre)),
            height_spread,
            squeeze_spread,
            cells: cells.len(),
            set_aside: self.blobs.len() - cells.len(),
            fields: self.fields,
            fields_without_contrast: self.without_contrast,
        })
    }

    /// Labels what hangs together with `start` (four neighbours); left, top, right, bottom of it.
    fn flood(&mut self, start: usize, label: u32, size: Size) -> [usize; 4] {
        let (width, height) = (size.width as usize, size.height as usize);
        let mut bounds = [width, height, 0, 0];
        self.labels[start] = label;
        self.stack.push(start as u32);
        while let Some(at) = self.stack.pop() {
            let at = at as usize;
            let (x, y) = (at % width, at / width);
            bounds = [
                bounds[0].min(x),
                bounds[1].min(y),
                bounds[2].max(x),
                bounds[3].max(y),
            ];
            let neighbours = [
                (x > 0).then(|| at - 1),
                (x + 1 < width).then_some(at + 1),
                (y > 0).then(|| at - width),
                (y + 1 < height).then_some(at + width),
            ];
            for next in neighbours.into_iter().flatten() {
                if self.labels[next] == 1 {
                    self.labels[next] = label;
                    self.stack.push(next as u32);
                }
            }
        }
        bounds
    }

    /// From which row to which a blob reaches, column by column from its left one.
    fn column_spans(
        &self,
        label: u32,
        [left, top, right, bottom]: [usize; 4],
        width: usize,
    ) -> Vec<RangeInclusive<usize>> {
        let of = |column: usize| {
            let is_in = |row: &usize| self.labels[row * width + column] == label;
            let first = (top..=bottom).find(is_in).unwrap_or(bottom);
            first..=(top..=bottom).rfind(is_in).unwrap_or(top)
        };
        (left..=right).map(of).collect()
    }

    /// Second moments of a blob, its pale middle filled (what lies between its outermost pixels of
    /// both the row and the column); `None` unless it is whole, large enough and round.
    fn blob(
        &self,
        label: u32,
        [left, top, right, bottom]: [usize; 4],
        reduced: &Reduced,
    ) -> Option<Blob> {
        let (width, height) = (
            reduced.size().width as usize,
            reduced.size().height as usize,
        );
        let sides = [right - left + 1, bottom - top + 1];
        let is_cut = left == 0 || top == 0 || right + 1 == width || bottom + 1 == height;
        if is_cut || sides.iter().any(|&side| (side as f32) < SIDE_MIN_PX) {
            return None;
        }
        let columns = self.column_spans(label, [left, top, right, bottom], width);
        let [mut n, mut x, mut y, mut xx, mut yy, mut xy] = [0.0_f64; 6];
        for row in top..=bottom {
            let line = &self.labels[row * width..][left..=right];
            let first = line.iter().position(|&found| found == label)?;
            let last = line.iter().rposition(|&found| found == label)?;
            for (column, span) in columns.iter().enumerate().take(last + 1).skip(first) {
                if !span.contains(&row) {
                    continue;
                }
                let (px, py) = (column as f64, (row - top) as f64);
                n += 1.0;
                x += px;
                y += py;
                xx += px * px;
                yy += py * py;
                xy += px * py;
            }
        }
        // A pixel is a square, not a point: 1/12.
        let var_x = xx / n - (x / n).powi(2) + 1.0 / 12.0;
        let var_y = yy / n - (y / n).powi(2) + 1.0 / 12.0;
        let cov = xy / n - (x / n) * (y / n);
        let ellipse = 4.0 * std::f64::consts::PI * (var_x * var_y - cov * cov).max(0.0).sqrt();
        if n / ellipse < f64::from(ROUNDNESS_MIN) {
            return None;
        }
        let factor = f64::from(reduced.factor());
        Some(Blob {
            width: (4.0 * var_x.sqrt() * factor) as f32,
            height: (4.0 * var_y.sqrt() * factor) as f32,
            tilt: (cov / (var_x * var_y).sqrt()) as f32,
        })
    }
}

/// Half-way from the background to what most dark pixels are: the few very dark ones of white cells'
/// nuclei would draw the split towards them, and the edges of red cells inwards.
fn red_threshold(histogram: &[u32; 256], split: &otsu::Split) -> u8 {
    let dark = &histogram[..=usize::from(split.threshold)];
    let half = dark.iter().map(|&count| u64::from(count)).sum::<u64>() / 2;
    let mut sum = 0;
    let median = dark.iter().position(|&count| {
        sum += u64::from(count);
        sum > half
    });
    let median = median.map_or(split.dark, |value| value as f32);
    ((split.bright + median) / 2.0) as u8
}

/// Middle value of a non-empty list.
fn median(values: impl Iterator<Item = f32>) -> f32 {
    let mut values: Vec<f32> = values.collect();
    values.sort_by(f32::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Median difference from 1.
fn spread(parts: impl Iterator<Item = f32>) -> f32 {
    median(parts.map(|part| (part - 1.0).abs()))
}

/// The diameter at which half of the sum of diameters is reached: the many specks weigh little, the
/// few white cells too.
fn weighted_median(blobs: &[Blob]) -> f32 {
    let mut diameters: Vec<f32> = blobs.iter().map(Blob::diameter).collect();
    diameters.sort_by(f32::total_cmp);
    let half = diameters.iter().sum::<f32>() / 2.0;
    let mut sum = 0.0;
    let middle = diameters.iter().find(|&&diameter| {
        sum += diameter;
        sum >= half
    });
    middle.copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::{Scene, fill};
    use shared::phantom::{FieldSpec, StagePosition};

    fn scale_of(spec: &FieldSpec, fields: u32) -> Result<RedCellScale, ScaleError> {
        let mut cells = RedCells::default();
        for field in 0..fields {
            let stage = StagePosition {
                x_um: 500.0 * field as f32,
                y_um: 0.0,
            };
            cells.add(
                &Scene::draw(&FieldSpec {
                    stage,
                    ..spec.clone()
                })
                .reduced(),
            );
        }
        cells.scale()
    }

    #[test]
    fn the_scale_and_the_squeeze_of_drawn_slides_are_found() {
        struct Case {
            name: &'static str,
            spec: FieldSpec,
            fields: u32,
        }
        let cases = [
            Case {
                name: "LeukemiaAttri, squeezed",
                spec: FieldSpec::wide(1),
                fields: 4,
            },
            Case {
                name: "BCCD",
                spec: FieldSpec::demo(2),
                fields: 30,
            },
            Case {
                name: "a low power",
                spec: FieldSpec {
                    um_per_px: 0.25,
                    squeeze: 1.0,
                    ..FieldSpec::wide(3)
                },
                fields: 2,
            },
            Case {
                name: "large and blurred",
                spec: FieldSpec {
                    size: Size::new(1280, 720),
                    um_per_px: 0.07,
                    blur_px: 3.0,
                    ..FieldSpec::demo(4)
                },
                fields: 10,
            },
        ];
        for Case { name, spec, fields } in cases {
            let found = scale_of(&spec, fields).unwrap();
            println!("{name}: {found:?}");
            let scale = found.um_per_px / spec.um_per_px;
            let squeeze = found.squeeze / spec.squeeze;
            assert!((scale - 1.0).abs() < 0.05, "{name}: scale off by {scale}");
            assert!(
                (squeeze - 1.0).abs() < 0.04,
                "{name}: squeeze off by {squeeze}"
            );
        }
    }

    #[test]
    fn too_few_cells_give_no_scale() {
        let few = scale_of(&FieldSpec::demo(2), 1).unwrap_err();
        assert!(
            matches!(
                few,
                ScaleError::TooFew {
                    got: 0..30,
                    min: 30
                }
            ),
            "{few}"
        );
        let mut blank = RedCells::default();
        for colour in [[200; 3], [0; 3], [255; 3]] {
            assert_eq!(blank.add(&fill(colour)), 0);
        }
        assert_eq!(
            blank.scale().unwrap_err().to_string(),
            "scale from red cells: 0 lie alone, expected at least 30: show more fields"
        );
        assert_eq!(blank.without_contrast, 3);
    }

    #[test]
    fn a_drawn_ellipse_is_measured_and_a_pair_is_not() {
        // Axes 40 x 24 around (100, 60), with a hole; a pair of touching discs around (220, 60).
        let size = Size::new(320, 120);
        let mut bytes = vec![220_u8; 320 * 120 * 3];
        for (index, pixel) in bytes.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let (x, y) = ((index % 320) as f32, (index / 320) as f32);
            let in_ellipse =
                |cx: f32, a: f32, b: f32| ((x - cx) / a).powi(2) + ((y - 60.0) / b).powi(2) <= 1.0;
            let ring = in_ellipse(100.0, 20.0, 12.0) && !in_ellipse(100.0, 8.0, 5.0);
            if ring || in_ellipse(208.0, 12.0, 12.0) || in_ellipse(231.0, 12.0, 12.0) {
                *pixel = [150, 120, 140];
            }
        }
        let mut reduced = Reduced::new(size).unwrap();
        reduced
            .fill(shared::pixels::RgbView::new(&bytes, size).unwrap())
            .unwrap();
        let mut cells = RedCells::default();
        assert_eq!(cells.add(&reduced), 1);
        let blob = cells.blobs[0];
        assert!(
            (blob.width - 40.0).abs() < 0.5 && (blob.height - 24.0).abs() < 0.5,
            "{blob:?}"
        );
        assert!((blob.elongation(1.0) - 40.0 / 24.0).abs() < 0.05);
        assert!((blob.elongation(40.0 / 24.0) - 1.0).abs() < 0.05);
    }
}
