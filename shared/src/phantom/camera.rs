//! The light and the camera: illumination before the cells, defocus and noise after them.

use crate::pixels::RgbViewMut;

use super::field::FieldSpec;
use super::random::{Random, lattice, noise_at, sub_seed};
use super::stage::Window;

/// Blur of at most this many pixels (standard deviation).
pub(super) const MAX_BLUR_PX: f32 = 4.0;

/// Taps on each side of the blur's middle: three standard deviations.
const MAX_REACH: usize = 12;

/// Columns that the vertical blur takes at once, for the cache's sake.
const STRIP: usize = 16;

/// Fills the picture with the light that passes an empty field: uneven lamp, stained plasma.
pub(super) fn illuminate(spec: &FieldSpec, window: &Window, picture: &mut RgbViewMut<'_>) {
    let mut random = Random::new(sub_seed(spec.seed, 0x11f7));
    let [slope_x, slope_y] = random.direction().map(|part| part * spec.gradient);
    let vignette = spec.gradient * random.between(0.2, 0.8);
    let seed = random.bits() as u32;
    let plasma = Plasma::new(window, seed);
    let [width, height] = window.size;
    for row in 0..height {
        let v = 2.0 * (row as f32 + 0.5) / height as f32 - 1.0;
        for column in 0..width {
            let u = 2.0 * (column as f32 + 0.5) / width as f32 - 1.0;
            let lamp = 1.0 + (slope_x * u + slope_y * v) / 2.0 - vignette * (u * u + v * v) / 2.0;
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

    /// Blurs a line of `len` positions in place; position `i` is `LANES` bytes at `at(i)`.
    ///
    /// The line's ends are continued by their last value.
    fn blur_line<const LANES: usize>(
        &self,
        bytes: &mut [u8],
        len: usize,
        at: impl Fn(usize) -> usize,
        lanes: usize,
    ) {
        let span = 2 * self.reach + 1;
        let mut ring = [[0_u8; LANES]; 2 * MAX_REACH + 1];
        let fetch = |bytes: &[u8], position: usize| {
            let mut value = [0_u8; LANES];
            let from = at(position.min(len - 1));
            value[..lanes].copy_from_slice(&bytes[from..from + lanes]);
            value
        };
        for (slot, value) in ring.iter_mut().enumerate().take(span) {
            *value = fetch(bytes, slot.saturating_sub(self.reach));
        }
        // `ring[(position + k) % span]` holds the value at `position - reach + k`.
        for position in 0..len {
            let tap = |offset: usize| &ring[(position + offset) % span];
            let mut sums = [2048_u32; LANES];
            for (sum, &value) in sums.iter_mut().zip(tap(self.reach)) {
                *sum += self.weights[0] * u32::from(value);
            }
            for k in 1..=self.reach {
                let (before, after) = (tap(self.reach - k), tap(self.reach + k));
                for ((sum, &a), &b) in sums.iter_mut().zip(before).zip(after) {
                    *sum += self.weights[k] * (u32::from(a) + u32::from(b));
                }
            }
            let to = at(position);
            for (byte, sum) in bytes[to..to + lanes].iter_mut().zip(sums) {
                *byte = (sum >> 12) as u8;
            }
            ring[position % span] = fetch(bytes, position + self.reach + 1);
        }
    }
}

/// Defocus: a Gaussian of `spec.blur_px`, narrower across where the picture is squeezed.
pub(super) fn blur(spec: &FieldSpec, picture: &mut RgbViewMut<'_>) {
    let (width, height) = (spec.size.width as usize, spec.size.height as usize);
    let bytes = picture.bytes_mut();
    if let Some(kernel) = Kernel::new(spec.blur_px * spec.squeeze) {
        for line in bytes.chunks_exact_mut(width * 3) {
            kernel.blur_line::<3>(line, width, |x| x * 3, 3);
        }
    }
    if let Some(kernel) = Kernel::new(spec.blur_px) {
        for first in (0..width).step_by(STRIP) {
            let lanes = STRIP.min(width - first) * 3;
            let at = |y: usize| (y * width + first) * 3;
            kernel.blur_line::<{ STRIP * 3 }>(bytes, height, at, lanes);
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
        let mut line = [0_u8; 21];
        line[10] = 255;
        kernel.blur_line::<1>(&mut line, 21, |x| x, 1);
        // numpy: k=np.exp(-np.arange(-3,4)**2/2); np.round(255*k/k.sum())
        assert_eq!(line[7..14], [1, 14, 62, 102, 62, 14, 1]);
        let mut flat = [77_u8; 30];
        kernel.blur_line::<3>(&mut flat, 10, |x| x * 3, 3);
        assert_eq!(flat, [77; 30]);
        assert!(Kernel::new(0.1).is_none());
    }
}
