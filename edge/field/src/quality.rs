//! What a frame is like, as numbers: focus, light, colour of the background, density of cells.
//!
//! Nothing here says whether that is good: the limits lie in [`super::gate`].

use serde::Serialize;
use shared::pixels::RgbView;

use super::grey::Reduced;
use super::map::Place;
use super::otsu;

/// Least difference between dark and bright part, 0..=1, for the dark part to be cells: a blank
/// field's noise, which is split as well, differs by a few hundredths.
const CELL_CONTRAST_MIN: f32 = 0.08;

/// Every number a field is judged by; shown to the user and written into the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Meters {
    /// Variance of the Laplacian of green after a 2x2 mean, over the squared brightness.
    pub focus: f32,
    /// The same as a part of the slide's best, 0..=1.
    pub focus_share: f32,
    /// Bytes of the compressed frame as a part of the slide's most, 0..=1; `None` when the source
    /// does not compress.
    pub compressed_share: Option<f32>,
    /// Shift against the frame before, pixels of the frame; `None` when it could not be measured.
    pub motion_px: Option<f32>,
    /// Height of the correlation peak the place stands on, 0..=1.
    pub peak: Option<f32>,
    /// Mean brightness, 0..=255.
    pub brightness: f32,
    /// Mean red, green, blue of the brightest tenth, 0..=255.
    pub background: [f32; 3],
    /// Largest difference of a background channel from the mean of the three, as a part of it.
    pub white_balance: f32,
    /// Part of the pixels that is black, 0..=1.
    pub clipped_low: f32,
    /// Part of the pixels that is white, 0..=1.
    pub clipped_high: f32,
    /// Part of the field covered with cells, 0..=1.
    pub covered: f32,
    /// Where the field lies; `None` while registration is lost.
    pub place: Option<Place>,
    /// A field that was counted lies at this place.
    pub already_counted: bool,
}

/// A running maximum that one freak value cannot set: two frames in a row must reach it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Best {
    best: f32,
    last: f32,
}

impl Best {
    /// Takes a value and says what part it is of the best so far, 0..=1; 1 for the first, and 0
    /// where nothing above 0 was seen.
    pub fn share(&mut self, value: f32) -> f32 {
        if self.last == 0.0 {
            self.last = value;
        }
        self.best = self.best.max(value.min(self.last));
        self.last = value;
        if self.best > 0.0 {
            (value / self.best).clamp(0.0, 1.0)
        } else {
            0.0
        }
    }
}

/// Measures focus on the frame itself, because the reduced picture is sharp when the frame is not.
/// Its memory is reused from frame to frame.
#[derive(Clone, Debug, Default)]
pub struct FocusProbe {
    /// The last three lines of both halves.
    lines: [[Vec<i16>; 3]; 2],
}

impl FocusProbe {
    /// Variance of the Laplacian of green after a 2x2 mean, over the squared mean: does not depend
    /// on the lamp. The sensor's noise, which would hide the blur, is left out: the variance is the
    /// covariance of the two diagonals of each 2x2 square, which see the same cell but not the same
    /// noise. 0 for a black frame and for one of less than 6 pixels a side.
    pub fn measure(&mut self, view: RgbView<'_>) -> f32 {
        let width = view.size().width as usize / 2;
        let height = view.size().height / 2;
        if width < 3 || height < 3 {
            return 0.0;
        }
        for line in self.lines.iter_mut().flatten() {
            line.resize(width, 0);
        }
        // Sums of the Laplacians of both halves, of their products, and of the light.
        let (mut sums, mut products, mut light) = ([0_i64; 2], 0_i64, 0_u64);
        for row in 0..height {
            for half in &mut self.lines {
                half.rotate_left(1);
            }
            let [[_, _, falling], [_, _, rising]] = &mut self.lines;
            light += halve([view.row(2 * row), view.row(2 * row + 1)], falling, rising);
            if row >= 2 {
                let (line_sums, product) = second_differences(&self.lines);
                sums = [sums[0] + line_sums[0], sums[1] + line_sums[1]];
                products += product;
            }
        }
        let n = (width - 2) as f64 * f64::from(height - 2);
        let mean = light as f64 / (2.0 * width as f64 * f64::from(height));
        if mean <= 0.0 {
            return 0.0;
        }
        let [a, b] = sums.map(|sum| sum as f64 / n);
        ((products as f64 / n - a * b).max(0.0) / (mean * mean)) as f32
    }
}

/// Sums of green over both diagonals of 2 x 2 pixels; the sum of all.
fn halve([upper, lower]: [&[u8]; 2], falling: &mut [i16], rising: &mut [i16]) -> u64 {
    let mut light = 0;
    let squares = upper
        .as_chunks::<6>()
        .0
        .iter()
        .zip(lower.as_chunks::<6>().0);
    for ((square, falling), rising) in squares.zip(falling).zip(rising) {
        let [a, b, c, d] = [square.0[1], square.0[4], square.1[1], square.1[4]].map(i16::from);
        (*falling, *rising) = (a + d, b + c);
        light += (*falling + *rising) as u32;
    }
    u64::from(light)
}

/// Of the Laplacians of both halves along the middle line without its ends: their sums, and the sum
/// of their products.
fn second_differences(lines: &[[Vec<i16>; 3]; 2]) -> ([i64; 2], i64) {
    /// So many products, of up to 2040 squared each, fit into 32 bits.
    const STRETCH: usize = 256;
    let width = lines[0][1].len();
    let (mut sums, mut products) = ([0_i64; 2], 0_i64);
    for start in (1..width - 1).step_by(STRETCH) {
        let len = STRETCH.min(width - 1 - start);
        let (mut a_sum, mut b_sum, mut product) = (0_i32, 0_i32, 0_i32);
        let [a, b] = lines
            .each_ref()
            .map(|half| Laplacians::new(half, start, len));
        for at in 0..len {
            let (a, b) = (a.at(at), b.at(at));
            a_sum += i32::from(a);
            b_sum += i32::from(b);
            product += i32::from(a) * i32::from(b);
        }
        sums = [sums[0] + i64::from(a_sum), sums[1] + i64::from(b_sum)];
        products += i64::from(product);
    }
    (sums, products)
}

/// Laplacians of a stretch of the middle one of three lines.
struct Laplacians<'a> {
    above: &'a [i16],
    left: &'a [i16],
    middle: &'a [i16],
    right: &'a [i16],
    below: &'a [i16],
}

impl<'a> Laplacians<'a> {
    fn new([above, middle, below]: &'a [Vec<i16>; 3], start: usize, len: usize) -> Self {
        Self {
            above: &above[start..][..len],
            left: &middle[start - 1..][..len],
            middle: &middle[start..][..len],
            right: &middle[start + 1..][..len],
            below: &below[start..][..len],
        }
    }

    /// -2040..=2040.
    fn at(&self, at: usize) -> i16 {
        let around = self.left[at] + self.right[at] + self.above[at] + self.below[at];
        4 * self.middle[at] - around
    }
}

/// Light, colour and density of a reduced picture; what needs other frames is left at its default.
pub fn measure(reduced: &Reduced) -> Meters {
    let mut histogram = [0_u32; 256];
    for &value in reduced.grey() {
        histogram[usize::from(value)] += 1;
    }
    let pixels = reduced.grey().len() as f64;
    let light = |(value, &count): (usize, &u32)| value as f64 * f64::from(count);
    let brightness = histogram.iter().enumerate().map(light).sum::<f64>() / pixels;
    let background = background(reduced, &histogram);
    let mean = background.iter().sum::<f32>() / 3.0;
    let off = |channel: f32| {
        if mean > 0.0 {
            (channel / mean - 1.0).abs()
        } else {
            0.0
        }
    };
    let cells = otsu::split(reduced.rgb().iter().map(|pixel| pixel[1]));
    Meters {
        brightness: brightness as f32,
        background,
        white_balance: background.map(off).into_iter().fold(0.0, f32::max),
        clipped_low: reduced.clipped().low,
        clipped_high: reduced.clipped().high,
        covered: cells
            .filter(|split| split.contrast() >= CELL_CONTRAST_MIN)
            .map_or(0.0, |split| split.dark_share),
        ..Meters::default()
    }
}

/// Mean colour of the brightest tenth: there is no cell.
fn background(reduced: &Reduced, histogram: &[u32; 256]) -> [f32; 3] {
    let tenth = reduced.grey().len().div_ceil(10) as u32;
    let mut above = 0;
    let level = (0..=255_u8).rev().find(|&level| {
        above += histogram[usize::from(level)];
        above >= tenth
    });
    let level = level.unwrap_or(0);
    let bright = reduced.grey().iter().zip(reduced.rgb());
    let bright = bright.filter(|&(&grey, _)| grey >= level);
    let (mut sums, mut count) = ([0_u64; 3], 0_u64);
    for (_, pixel) in bright {
        for (sum, &value) in sums.iter_mut().zip(pixel) {
            *sum += u64::from(value);
        }
        count += 1;
    }
    sums.map(|sum| (sum as f64 / count.max(1) as f64) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::{Scene, fill};
    use shared::geometry::Size;
    use shared::phantom::FieldSpec;

    fn focus(spec: &FieldSpec) -> f32 {
        let scene = Scene::draw(spec);
        FocusProbe::default().measure(scene.view())
    }

    #[test]
    fn focus_falls_with_every_step_of_blur_although_the_sensor_is_noisy() {
        let mut spec = FieldSpec::demo(3);
        spec.noise = 4.0;
        let values: Vec<f32> = [1.0, 2.0, 3.0, 4.0]
            .map(|blur_px| {
                focus(&FieldSpec {
                    blur_px,
                    ..spec.clone()
                })
            })
            .to_vec();
        println!("focus at a blur of 1 to 4 px: {values:?}");
        assert!(values.is_sorted_by(|a, b| *a > *b * 1.2), "{values:?}");
        // The lamp is no part of focus.
        spec.noise = 0.0;
        let bright = focus(&spec);
        spec.cast = spec.cast.map(|channel| channel * 0.7);
        let dim = focus(&spec);
        assert!((dim / bright - 1.0).abs() < 0.05, "{bright} {dim}");
    }

    #[test]
    fn a_checkerboard_has_the_focus_that_was_worked_out_by_hand() {
        // 2x2 squares of 0 and 100: sums of two differ by 200 from square to square.
        // Laplacian +-800, variance 800^2, mean 100.
        let size = Size::new(16, 16);
        let mut bytes = vec![0_u8; 16 * 16 * 3];
        for (index, pixel) in bytes.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let (x, y) = (index % 16, index / 16);
            *pixel = [((x / 2 + y / 2) % 2 * 100) as u8; 3];
        }
        let found = FocusProbe::default().measure(RgbView::new(&bytes, size).unwrap());
        assert!((found - 64.0).abs() < 1e-3, "{found}");
        let black = vec![0; bytes.len()];
        assert_eq!(
            FocusProbe::default().measure(RgbView::new(&black, size).unwrap()),
            0.0
        );
    }

    #[test]
    fn one_freak_frame_does_not_become_the_slides_best() {
        let mut best = Best::default();
        assert_eq!(best.share(10.0), 1.0);
        assert_eq!(best.share(100.0), 1.0);
        assert_eq!(best.share(10.0), 1.0, "100 was seen once");
        assert_eq!(best.share(20.0), 1.0);
        assert_eq!(best.share(20.0), 1.0);
        assert_eq!(best.share(5.0), 0.25, "20 was seen twice");
        assert_eq!(Best::default().share(0.0), 0.0);
    }

    #[test]
    fn light_colour_and_density_are_those_of_the_scene() {
        let grey = measure(&fill([200, 200, 200]));
        assert_eq!((grey.brightness, grey.background), (200.0, [200.0; 3]));
        assert_eq!((grey.white_balance, grey.covered), (0.0, 0.0));
        let yellow = measure(&fill([200, 200, 80]));
        assert!((yellow.white_balance - 0.5).abs() < 1e-6, "{yellow:?}");
        for (colour, low, high) in [([0; 3], 1.0, 0.0), ([255; 3], 0.0, 1.0)] {
            let found = measure(&fill(colour));
            assert_eq!((found.clipped_low, found.clipped_high), (low, high));
        }
        let mut spec = FieldSpec::wide(5);
        let full = measure(&Scene::draw(&spec).reduced());
        spec.red_cell_density = 0.0;
        spec.platelet_density = 0.0;
        spec.artefact_density = 0.0;
        spec.white_cells = [0, 0];
        let blank = measure(&Scene::draw(&spec).reduced());
        assert!((0.2..0.6).contains(&full.covered), "{full:?}");
        assert_eq!(blank.covered, 0.0, "{blank:?}");
        // cast 0.655, 0.66, 0.61: blue is 5 % below the mean.
        assert!((blank.white_balance - 0.05).abs() < 0.02, "{blank:?}");
    }
}
