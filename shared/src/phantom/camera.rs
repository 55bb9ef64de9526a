//! The light and the camera: illumination before the cells, defocus and noise after them.

use crate::pixels::RgbViewMut;

use super::field::{FieldSpec, MAX_SIDE};
use super::random::{Random, lattice, noise_at, sub_seed};
use super::stage::Window;

/// Blur of at most this many pixels (standard deviation).
pub(super) const MAX_BLUR_PX: f32 = 4.0;

/// Taps on each side of the blur's middle: three standard deviations.
const MAX_REACH: usize = 12;

/// Bytes that are blurred at once, sixteen pixels: enough for vector units, few enough for a cache.
const LANES: usize = 48;

/// Fills the picture with the light that passes an empty field: uneven lamp, stained plasma.
pub(super) fn illuminate(spec: &FieldSpec, window: &Window, picture: &mut RgbViewMut<'_>) {
    let lamp = Lamp::new(spec, window);
    let plasma = Plasma::new(window, sub_seed(spec.seed, 0x91a5) as u32);
    let [width, height] = window.size;
    for row in 0..height {
        for column in 0..width {
            let lamp = lamp.at(column, row);
            let stained = if spec.plasma > 0.0 {
                spec.plasma * plasma.amount(column, row)
            } else {
                0.0
            };
            let pixel = picture.pixel_mut(column as u32, row as u32);
            for (c, value) in pixel.iter_mut().enumerate() {
                let tint = [0.6, 1.0, 0.35][c] * stained;
                *value = (255.0 * spec.cast[c] * lamp * (1.0 - tint) + 0.5) as u8;
            }
        }
    }
}

/// The lamp, fixed to the camera: a slope and a fall towards the corners.
pub(super) struct Lamp {
    slope: [f32; 2],
    vignette: f32,
    size: [f32; 2],
}

impl Lamp {
    pub(super) fn new(spec: &FieldSpec, window: &Window) -> Self {
        let mut random = Random::new(sub_seed(spec.seed, 0x11f7));
        Self {
            slope: random.direction().map(|part| part * spec.gradient / 2.0),
            vignette: spec.gradient * random.between(0.1, 0.4),
            size: window.size.map(|side| side as f32),
        }
    }

    /// Brightness at a pixel, 1 in the middle of the field.
    pub(super) fn at(&self, column: i32, row: i32) -> f32 {
        let u = 2.0 * (column as f32 + 0.5) / self.size[0] - 1.0;
        let v = 2.0 * (row as f32 + 0.5) / self.size[1] - 1.0;
        1.0 + self.slope[0] * u + self.slope[1] * v - self.vignette * (u * u + v * v)
    }
}

/// Clouds of plasma, fixed to the slide.
struct Plasma {
    origin: [i32; 2],
    spacing: [[i32; 2]; 2],
    seed: u32,
}

impl Plasma {
    fn new(window: &Window, seed: u32) -> Self {
        let spacing = |um: f32| {
            window
                .pitch
                .map(|pitch| (libm::roundf(um / pitch) as i32).max(2))
        };
        Self {
            origin: window.origin,
            spacing: [spacing(17.0), spacing(3.1)],
            seed,
        }
    }

    /// 0..1.
    fn amount(&self, column: i32, row: i32) -> f32 {
        let at = [column + self.origin[0], row + self.origin[1]];
        let octave = |index: usize| {
            let spacing = self.spacing[index];
            let cell = [at[0].div_euclid(spacing[0]), at[1].div_euclid(spacing[1])];
            let inside = core::array::from_fn(|axis| {
                at[axis].rem_euclid(spacing[axis]) as f32 / spacing[axis] as f32
            });
            noise_at(self.seed ^ index as u32, cell, inside)
        };
        0.75 * octave(0) + 0.25 * octave(1)
    }
}

/// Weights that sum to 4096; index 0 is the middle.
struct Kernel {
    weights: [u32; MAX_REACH + 1],
    reach: usize,
}

impl Kernel {
    /// `None` when the blur would change nothing.
    fn new(sigma: f32) -> Option<Self> {
        if sigma < 0.2 {
            return None;
        }
        let reach = (libm::ceilf(sigma * 3.0) as usize).min(MAX_REACH);
        let bell = |k: usize| libm::expf(-((k * k) as f32) / (2.0 * sigma * sigma));
        let sum: f32 = (0..=reach)
            .map(|k| if k == 0 { 1.0 } else { 2.0 * bell(k) })
            .sum();
        let mut weights = [0; MAX_REACH + 1];
        for (k, weight) in weights.iter_mut().enumerate().take(reach + 1).skip(1) {
            *weight = (4096.0 * bell(k) / sum + 0.5) as u32;
        }
        weights[0] = 4096 - 2 * weights[1..].iter().sum::<u32>();
        Some(Self { weights, reach })
    }

    /// Weighted sum of values; `at(k)` are those `k - reach` steps from the middle.
    fn sum<'a>(&self, at: impl Fn(usize) -> &'a [u8; LANES]) -> [u8; LANES] {
        let mut sums = [2048_u32; LANES];
        for (sum, &value) in sums.iter_mut().zip(at(self.reach)) {
            *sum += self.weights[0] * u32::from(value);
        }
        for k in 1..=self.reach {
            let pairs = at(self.reach - k).iter().zip(at(self.reach + k));
            for (sum, (&a, &b)) in sums.iter_mut().zip(pairs) {
                *sum += self.weights[k] * (u32::from(a) + u32::from(b));
            }
        }
        sums.map(|sum| (sum >> 12) as u8)
    }

    /// Blurs a row of RGB triples in place; its ends are continued by their last value.
    fn blur_row(&self, row: &mut [u8]) {
        const ROOM: usize = (MAX_SIDE as usize + 2 * MAX_REACH) * 3 + LANES;
        let mut padded = [0_u8; ROOM];
        let last = row.len() - 3;
        padded[self.reach * 3..][..row.len()].copy_from_slice(row);
        for k in 0..self.reach {
            padded[k * 3..][..3].copy_from_slice(&row[..3]);
            padded[(self.reach + k) * 3 + row.len()..][..3].copy_from_slice(&row[last..]);
        }
        for (strip, bytes) in row.chunks_mut(LANES).enumerate() {
            let blurred = self.sum(|k| {
                let from = strip * LANES + k * 3;
                (&padded[from..from + LANES])
                    .try_into()
                    .expect("LANES bytes were sliced")
            });
            bytes.copy_from_slice(&blurred[..bytes.len()]);
        }
    }

    /// Blurs [`LANES`] bytes from byte `first` of each row of `stride` bytes, from top to bottom.
    fn blur_columns(&self, bytes: &mut [u8], stride: usize, first: usize) {
        let (lanes, height) = (LANES.min(stride - first), bytes.len() / stride);
        let span = 2 * self.reach + 1;
        let fetch = |bytes: &[u8], row: usize| {
            let mut value = [0_u8; LANES];
            let from = row.min(height - 1) * stride + first;
            value[..lanes].copy_from_slice(&bytes[from..from + lanes]);
            value
        };
        // The rows around the current one, written twice, so that they always lie in one piece.
        let mut ring = [[0_u8; LANES]; 2 * (2 * MAX_REACH + 1)];
        for slot in 0..span {
            ring[slot] = fetch(bytes, slot.saturating_sub(self.reach));
            ring[slot + span] = ring[slot];
        }
        let mut oldest = 0;
        for row in 0..height {
            let blurred = self.sum(|k| &ring[oldest + k]);
            bytes[row * stride + first..][..lanes].copy_from_slice(&blurred[..lanes]);
            ring[oldest] = fetch(bytes, row + self.reach + 1);
            ring[oldest + span] = ring[oldest];
            oldest = if oldest + 1 == span { 0 } else { oldest + 1 };
        }
    }
}

/// Defocus: a Gaussian of `spec.blur_px`, narrower across where the picture is squeezed.
pub(super) fn blur(spec: &FieldSpec, picture: &mut RgbViewMut<'_>) {
    let stride = spec.size.width as usize * 3;
    let bytes = picture.bytes_mut();
    if let Some(kernel) = Kernel::new(spec.blur_px * spec.squeeze) {
        for row in bytes.chunks_exact_mut(stride) {
            kernel.blur_row(row);
        }
    }
    if let Some(kernel) = Kernel::new(spec.blur_px) {
        for first in (0..stride).step_by(LANES) {
            kernel.blur_columns(bytes, stride, first);
        }
    }
}

/// Noise of the sensor: brightness and, half as strong, colour; another one in every frame.
pub(super) fn add_noise(spec: &FieldSpec, window: &Window, picture: &mut RgbViewMut<'_>) {
    if spec.noise <= 0.0 {
        return;
    }
    let place = (u64::from(window.origin[0] as u32) << 32) | u64::from(window.origin[1] as u32);
    let seed = sub_seed(
        sub_seed(spec.seed, place),
        0x5e50 ^ (u64::from(spec.frame) << 32),
    ) as u32;
    // The sum of two bytes has a standard deviation of 104.5.
    let scale = spec.noise / 104.5;
    for row in 0..spec.size.height {
        for column in 0..spec.size.width {
            let [a, b, c, d] = lattice(seed, column as i32, row as i32)
                .to_le_bytes()
                .map(f32::from);
            let luma = (a + b - 255.0) * scale;
            let chroma = [c - 127.5, 0.0, d - 127.5].map(|part| part * scale * 0.7);
            let pixel = picture.pixel_mut(column, row);
            for (value, chroma) in pixel.iter_mut().zip(chroma) {
                *value = (f32::from(*value) + luma + chroma + 0.5) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blur_keeps_the_light_and_spreads_a_point_as_the_bell_says() {
        let kernel = Kernel::new(1.0).unwrap();
        // numpy: k=np.exp(-np.arange(-3,4)**2/2); np.round(255*k/k.sum())
        let bell = [1, 14, 62, 102, 62, 14, 1];
        let mut row = [0_u8; 21 * 3];
        row[10 * 3 + 1] = 255;
        kernel.blur_row(&mut row);
        assert!((0..7).all(|k| row[(7 + k) * 3 + 1] == bell[k]), "{row:?}");
        assert_eq!(row.iter().map(|&byte| u32::from(byte)).sum::<u32>(), 256);
        let mut column = [0_u8; 21 * 6];
        column[10 * 6 + 5] = 255;
        kernel.blur_columns(&mut column, 6, 0);
        assert!(
            (0..7).all(|k| column[(7 + k) * 6 + 5] == bell[k]),
            "{column:?}"
        );
        let mut flat = [77_u8; 30];
        kernel.blur_row(&mut flat);
        kernel.blur_columns(&mut flat, 3, 0);
        assert_eq!(flat, [77; 30]);
        assert!(Kernel::new(0.1).is_none());
    }
}
