//! What a blank field looks like, of several frames; refused when it is none.
//!
//! Pure. The lamp is told from what lies in the field by its shape: a polynomial of the fourth degree
//! follows every lamp and no cell.

use std::ops::RangeInclusive;

use shared::geometry::Size;
use shared::pixels::RgbView;

use field::FieldError;
use field::grey::{BLANK_MIN, Reduced, luma};

/// Mean brightness of a blank field: enough to measure, and room above for a lamp that warms up.
const BRIGHTNESS: RangeInclusive<f32> = 60.0..=245.0;

/// A mean from here on stands for pixels that were at the end of the scale in some frames.
const CLIPPED_FROM: u8 = 250;

/// Most of the field that may be clipped in a channel: a glint on dust.
const CLIPPED_MAX: f32 = 0.005;

/// Difference from the lamp's shape that is something in the field; noise of 16 frames is a tenth of
/// it, a red cell five times.
const SHOWN_FROM: f64 = 0.05;

/// Most of the field that something may lie on: dirt on the camera is part of the blank field, a red
/// cell at 100x covers more.
const SHOWN_MAX: f32 = 0.01;

/// Most that the brightness may change over the frames, as a part of it: the exposure is automatic
/// beyond.
const CHANGE_MAX: f32 = 0.03;

/// Terms of the lamp's polynomial: two variables, degree 4.
const TERMS: usize = 15;

/// Why what was shown is no blank field.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum BlankError {
    /// Too little or too much light.
    #[error("blank field: brightness {got:.0}, expected {} to {}", BRIGHTNESS.start(), BRIGHTNESS.end())]
    Brightness {
        /// Mean, 0..=255.
        got: f32,
    },
    /// A dark place or channel, by which nothing can be divided.
    #[error("blank field: darkest place has a channel of {got}, expected at least {BLANK_MIN}")]
    Dark {
        /// The least value of a channel.
        got: u8,
    },
    /// A channel is at its end.
    #[error(
        "blank field: {channel} is clipped on {:.1} % of the field, expected at most {:.1} %: less light \
         or exposure",
        got * 100.0,
        CLIPPED_MAX * 100.0
    )]
    Clipped {
        /// Which.
        channel: &'static str,
        /// Part of the field.
        got: f32,
    },
    /// Cells or dirt.
    #[error(
        "blank field: something lies on {:.1} % of the field, expected at most {:.1} %: show a place \
         without cells, or clean the camera",
        got * 100.0,
        SHOWN_MAX * 100.0
    )]
    Shown {
        /// Part of the field.
        got: f32,
    },
    /// The light changes.
    #[error(
        "blank field: brightness goes from {low:.0} to {high:.0}, expected less than {:.0} % of change: \
         is the exposure automatic, or does the stage move?",
        CHANGE_MAX * 100.0
    )]
    Unsteady {
        /// Least mean of a frame.
        low: f32,
        /// Most.
        high: f32,
    },
}

/// A blank field that was accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct BlankMeasure {
    /// Frames it is the mean of.
    pub frames: u32,
    /// Mean red, green, blue, 0..=255.
    pub background: [f32; 3],
    /// What red, green, blue must be multiplied by to be as bright as green.
    pub gains: [f32; 3],
    /// Brightness of the darkest place over that of the brightest, of the lamp alone, 0..=1.
    pub evenness: f32,
    /// The mean picture, reduced; red, green, blue, row by row.
    pub rgb: Vec<u8>,
    /// Of that.
    pub size: Size,
}

/// Gathers the frames of a blank field.
#[derive(Clone, Debug)]
pub struct BlankField {
    reduced: Reduced,
    sums: Vec<u32>,
    frames: u32,
    /// Least and most mean brightness of a frame.
    range: [f32; 2],
}

impl BlankField {
    /// For frames of this size.
    ///
    /// # Errors
    /// When such frames cannot be judged.
    pub fn new(frame: Size) -> Result<Self, FieldError> {
        let reduced = Reduced::new(frame)?;
        Ok(Self {
            sums: vec![0; reduced.rgb().len() * 3],
            frames: 0,
            range: [f32::MAX, 0.0],
            reduced,
        })
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// When it has another size.
    pub fn add(&mut self, view: RgbView<'_>) -> Result<(), FieldError> {
        self.reduced.fill(view)?;
        let values = self.reduced.rgb().as_flattened();
        for (sum, &value) in self.sums.iter_mut().zip(values) {
            *sum += u32::from(value);
        }
        let light: u64 = self.reduced.grey().iter().map(|&it| u64::from(it)).sum();
        let mean = light as f32 / self.reduced.grey().len() as f32;
        self.range = [self.range[0].min(mean), self.range[1].max(mean)];
        self.frames += 1;
        Ok(())
    }

    /// The blank field.
    ///
    /// # Errors
    /// When it is none.
    pub fn measure(&self) -> Result<BlankMeasure, BlankError> {
        let frames = self.frames.max(1);
        let mean = |&sum: &u32| ((sum + frames / 2) / frames) as u8;
        let rgb: Vec<u8> = self.sums.iter().map(mean).collect();
        let pixels = rgb.as_chunks::<3>().0;
        let scale = 1.0 / (f64::from(frames) * pixels.len() as f64);
        let background: [f32; 3] = std::array::from_fn(|channel| {
            let sums = self.sums.iter().skip(channel).step_by(3);
            (sums.map(|&sum| f64::from(sum)).sum::<f64>() * scale) as f32
        });
        self.check_light(pixels)?;
        let lamp = Lamp::fit(pixels, self.reduced.size());
        let shown = lamp.shown as f32 / pixels.len() as f32;
        if shown > SHOWN_MAX {
            return Err(BlankError::Shown { got: shown });
        }
        Ok(BlankMeasure {
            frames: self.frames,
            background,
            gains: background.map(|channel| background[1] / channel),
            evenness: lamp.evenness,
            size: self.reduced.size(),
            rgb,
        })
    }

    fn check_light(&self, pixels: &[[u8; 3]]) -> Result<(), BlankError> {
        let light: u64 = pixels.iter().map(|&it| u64::from(luma(it))).sum();
        let got = light as f32 / pixels.len() as f32;
        let clipped = ["red", "green", "blue"].iter().enumerate();
        for (index, &channel) in clipped {
            let at_end = |pixel: &&[u8; 3]| pixel[index] >= CLIPPED_FROM;
            let got = pixels.iter().filter(at_end).count() as f32 / pixels.len() as f32;
            if got > CLIPPED_MAX {
                return Err(BlankError::Clipped { channel, got });
            }
        }
        if !BRIGHTNESS.contains(&got) {
            return Err(BlankError::Brightness { got });
        }
        let darkest = pixels.as_flattened().iter().copied().min();
        let got = darkest.unwrap_or(0);
        if got < BLANK_MIN {
            return Err(BlankError::Dark { got });
        }
        let [low, high] = self.range;
        if high - low > CHANGE_MAX * high {
            return Err(BlankError::Unsteady { low, high });
        }
        Ok(())
    }
}

/// The lamp's shape, and what does not follow it.
struct Lamp {
    evenness: f32,
    /// Pixels that differ from it.
    shown: usize,
}

impl Lamp {
    /// Fits green by least squares, then again without what is dark against the first fit.
    fn fit(pixels: &[[u8; 3]], size: Size) -> Self {
        let all = |_: f64| true;
        let first = solve(pixels, size, &[0.0; TERMS], all);
        let bright = |part: f64| part > 1.0 - SHOWN_FROM / 2.0;
        let fit = solve(pixels, size, &first, bright);
        let (mut low, mut high, mut shown) = (f64::MAX, 0.0_f64, 0);
        for (pixel, terms) in pixels.iter().zip(places(size)) {
            let lamp = value(&fit, &terms);
            (low, high) = (low.min(lamp), high.max(lamp));
            shown += usize::from((f64::from(pixel[1]) / lamp - 1.0).abs() > SHOWN_FROM);
        }
        Self {
            evenness: (low / high).clamp(0.0, 1.0) as f32,
            shown,
        }
    }
}

/// The terms of the polynomial at every pixel, row by row.
fn places(size: Size) -> impl Iterator<Item = [f64; TERMS]> {
    let on_side = |at: u32, side: u32| 2.0 * (f64::from(at) + 0.5) / f64::from(side) - 1.0;
    (0..size.height).flat_map(move |row| {
        let v = on_side(row, size.height);
        (0..size.width).map(move |column| terms(on_side(column, size.width), v))
    })
}

fn terms(u: f64, v: f64) -> [f64; TERMS] {
    let mut out = [0.0; TERMS];
    let powers = (0..=4_i32).flat_map(|degree| (0..=degree).map(move |of_v| (degree - of_v, of_v)));
    for (term, (of_u, of_v)) in out.iter_mut().zip(powers) {
        *term = u.powi(of_u) * v.powi(of_v);
    }
    out
}

fn value(fit: &[f64; TERMS], terms: &[f64; TERMS]) -> f64 {
    fit.iter().zip(terms).map(|(a, b)| a * b).sum()
}

/// Least squares over the pixels whose part of the fit `before` is `wanted`; where `before` is nothing,
/// over all.
fn solve(
    pixels: &[[u8; 3]],
    size: Size,
    before: &[f64; TERMS],
    wanted: impl Fn(f64) -> bool,
) -> [f64; TERMS] {
    let mut rows = [[0.0; TERMS + 1]; TERMS];
    for (pixel, terms) in pixels.iter().zip(places(size)) {
        let green = f64::from(pixel[1]);
        let lamp = value(before, &terms);
        if lamp > 0.0 && !wanted(green / lamp) {
            continue;
        }
        for (row, &term) in rows.iter_mut().zip(&terms) {
            for (sum, &other) in row.iter_mut().zip(&terms) {
                *sum += term * other;
            }
            row[TERMS] += term * green;
        }
    }
    eliminate(rows)
}

/// Gauss with the largest pivot; a direction that no pixel tells stays 0.
fn eliminate(mut rows: [[f64; TERMS + 1]; TERMS]) -> [f64; TERMS] {
    for step in 0..TERMS {
        let largest = (step..TERMS).max_by(|&a, &b| {
            let size = |row: usize| rows[row][step].abs();
            size(a).total_cmp(&size(b))
        });
        rows.swap(step, largest.unwrap_or(step));
        let pivot = rows[step];
        if pivot[step].abs() < 1e-9 {
            continue;
        }
        for (index, row) in rows.iter_mut().enumerate() {
            let factor = row[step] / pivot[step];
            if index != step {
                for (value, upper) in row.iter_mut().zip(&pivot) {
                    *value -= factor * upper;
                }
            }
        }
    }
    std::array::from_fn(|step| match rows[step][step].abs() < 1e-9 {
        true => 0.0,
        false => rows[step][TERMS] / rows[step][step],
    })
}
