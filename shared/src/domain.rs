//! How a picture looks in a few numbers, and how far that is from what a model was trained on.
//!
//! A network is known to work on pictures like those it learned from. Its contract holds what those
//! look like ([`Domain`]); the station measures its own ([`look`]) and warns where they are strange
//! ([`Domain::distance`]). Measured is the canvas, not the picture: it is what the network sees, and
//! a camera with twice the pixels makes no other canvas.

use core::fmt;

use serde::Serialize;

use crate::fit::Fit;
use crate::geometry::{BBox, Image, Size};
use crate::resize::{BufferError, canvas_len};

mod distance;
mod gathered;
mod quantity;

pub use distance::{Distance, Domain, FAR_MAX, NEAR_MAX, Nearness, Spread};
pub use gathered::Gathered;
pub use quantity::{QUANTITIES, Quantity};

/// Shortest side, in canvas pixels, that sharpness can be measured on: the halved picture has a pixel
/// with four neighbours.
pub const SIDE_MIN: u32 = 6;

/// Background and stain are this part of the pixels, the brightest and the darkest.
const PART: u64 = 10;

/// How a picture looks on the canvas, its padding left out.
///
/// Grey is a quarter red, half green, a quarter blue.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Look {
    /// Mean red, green and blue of the brightest tenth of the pixels, the empty background; 0..=255.
    pub background: [f32; 3],
    /// Mean red, green and blue of the darkest tenth, what is stained most; 0..=255.
    pub stain: [f32; 3],
    /// Mean grey, 0..=255.
    pub brightness: f32,
    /// Standard deviation of grey, 0..=128.
    pub contrast: f32,
    /// Variance of the Laplacian of the halved picture's grey over the square of the brightness; no
    /// unit. Noise makes it larger, too.
    pub sharpness: f32,
    /// Median side of the cells in canvas pixels ([`side_of`], [`median_side`]); `None` without cells.
    pub cell_side: Option<f32>,
}

/// Why a canvas has no look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookError {
    /// The canvas is not of the fit.
    Canvas(BufferError),
    /// The picture is too small on the canvas.
    Small {
        /// Its size there.
        got: Size,
    },
}

impl fmt::Display for LookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Canvas(error) => write!(f, "{error}"),
            Self::Small { got } => write!(
                f,
                "a picture of {got} on the canvas, expected sides of at least {SIDE_MIN} to judge its look"
            ),
        }
    }
}

impl core::error::Error for LookError {}

/// The look of a picture that `fit` has laid on `canvas` (planar, as [`crate::resize::canvas_into`]
/// makes it); its cells are for the caller to add.
///
/// # Errors
/// A canvas of another length than the fit's, or a picture that is there smaller than [`SIDE_MIN`].
pub fn look(canvas: &[u8], fit: &Fit) -> Result<Look, LookError> {
    let picture = Laid::new(canvas, fit)?;
    let greys = Greys::of(&picture);
    let (n, sum) = (greys.n as f64, greys.sum as f64);
    let mean = sum / n;
    let variance = (greys.squares as f64 / n - mean * mean).max(0.0);
    let laplacian = laplacian_variance(&picture);
    // All black has no brightness to compare with: half a grey level stands for it.
    let reference = mean.max(f64::from(QUARTERS) / 2.0);
    let quarters = f64::from(QUARTERS);
    Ok(Look {
        background: first_tenth(greys.levels.iter().rev(), greys.n),
        stain: first_tenth(greys.levels.iter(), greys.n),
        brightness: (mean / quarters) as f32,
        contrast: (libm::sqrt(variance) / quarters) as f32,
        sharpness: (laplacian / (reference * reference)) as f32,
        cell_side: None,
    })
}

/// Side of the square of a cell's area, in canvas pixels.
pub fn side_of(bbox: &BBox<Image>, fit: &Fit) -> f32 {
    let (x, y) = fit.ratio();
    libm::sqrtf(bbox.width() * x * bbox.height() * y)
}

/// The median, which sorts `sides`; the mean of the two in the middle when their number is even.
pub fn median_side(sides: &mut [f32]) -> Option<f32> {
    sides.sort_unstable_by(f32::total_cmp);
    let middle = sides.len() / 2;
    let upper = *sides.get(middle)?;
    Some(if sides.len().is_multiple_of(2) {
        (sides[middle - 1] + upper) / 2.0
    } else {
        upper
    })
}

/// Grey is counted in quarters of a level, so that it is a whole number.
const QUARTERS: u32 = 4;

/// The picture's part of a canvas.
struct Laid<'a> {
    planes: [&'a [u8]; 3],
    stride: usize,
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl<'a> Laid<'a> {
    fn new(canvas: &'a [u8], fit: &Fit) -> Result<Self, LookError> {
        let (expected, got) = (canvas_len(fit), canvas.len());
        if got != expected {
            let buffer = "canvas";
            return Err(LookError::Canvas(BufferError {
                buffer,
                expected,
                got,
            }));
        }
        let inner = fit.inner();
        if inner.width < SIDE_MIN || inner.height < SIDE_MIN {
            return Err(LookError::Small { got: inner });
        }
        let (red, rest) = canvas.split_at(expected / 3);
        let (green, blue) = rest.split_at(expected / 3);
        let (left, top) = fit.offset();
        Ok(Self {
            planes: [red, green, blue],
            stride: fit.canvas().width as usize,
            left: left as usize,
            top: top as usize,
            width: inner.width as usize,
            height: inner.height as usize,
        })
    }

    /// Row `y` of each plane.
    fn row(&self, y: usize) -> [&'a [u8]; 3] {
        let from = (self.top + y) * self.stride + self.left;
        self.planes.map(|plane| &plane[from..from + self.width])
    }

    /// Grey of the four pixels from `(2x, 2y)` on, together: sixteen times a level.
    fn halved(&self, x: usize, y: usize) -> i64 {
        let rows = [self.row(2 * y), self.row(2 * y + 1)];
        let greys = rows
            .iter()
            .flat_map(|row| [2 * x, 2 * x + 1].map(|at| grey(row.map(|plane| plane[at]))));
        greys.map(i64::from).sum()
    }
}

/// Four times the grey level.
fn grey([red, green, blue]: [u8; 3]) -> u32 {
    u32::from(red) + 2 * u32::from(green) + u32::from(blue)
}

/// Pixels of one grey level.
#[derive(Clone, Copy, Default)]
struct Level {
    n: u64,
    rgb: [u64; 3],
}

/// All pixels by grey level.
struct Greys {
    levels: [Level; 256],
    n: u64,
    /// Of four times the grey.
    sum: u64,
    /// Of its squares.
    squares: u64,
}

impl Greys {
    fn of(picture: &Laid<'_>) -> Self {
        let mut greys = Self {
            levels: [Level::default(); 256],
            n: 0,
            sum: 0,
            squares: 0,
        };
        for y in 0..picture.height {
            let row = picture.row(y);
            for x in 0..picture.width {
                greys.add(row.map(|plane| plane[x]));
            }
        }
        greys
    }

    fn add(&mut self, pixel: [u8; 3]) {
        let grey = grey(pixel);
        self.n += 1;
        self.sum += u64::from(grey);
        self.squares += u64::from(grey * grey);
        let level = &mut self.levels[(grey / QUARTERS) as usize];
        level.n += 1;
        for (sum, value) in level.rgb.iter_mut().zip(pixel) {
            *sum += u64::from(value);
        }
    }
}

/// Mean colour of the first tenth of `n` pixels; the level in which it ends is taken whole, so that
/// nothing hangs on the order of pixels.
fn first_tenth<'a>(levels: impl Iterator<Item = &'a Level>, n: u64) -> [f32; 3] {
    let mut taken = Level::default();
    for level in levels {
        taken.n += level.n;
        for (sum, more) in taken.rgb.iter_mut().zip(level.rgb) {
            *sum += more;
        }
        if taken.n * PART >= n {
            break;
        }
    }
    let n = taken.n as f64;
    taken.rgb.map(|sum| (sum as f64 / n) as f32)
}

/// Variance of the Laplacian (four neighbours) of the halved picture, in squared quarters of a level.
///
/// Halved first, because otherwise a sensor's noise hides how blurred the picture is.
fn laplacian_variance(picture: &Laid<'_>) -> f64 {
    let (width, height) = (picture.width / 2, picture.height / 2);
    let (mut n, mut sum, mut squares) = (0_u64, 0_i64, 0_i64);
    for y in 1..height - 1 {
        for x in 1..width - 1 {
            let around = [(x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)];
            let around: i64 = around.iter().map(|&(x, y)| picture.halved(x, y)).sum();
            let value = 4 * picture.halved(x, y) - around;
            n += 1;
            sum += value;
            squares += value * value;
        }
    }
    let n = n as f64;
    let mean = sum as f64 / n;
    // From four pixels together to their mean.
    (squares as f64 / n - mean * mean).max(0.0) / 16.0
}

#[cfg(test)]
mod tests;
