//! Picture to canvas in integers: a triangle filter as wide as the reduction (so that a large frame
//! does not alias), bilinear when enlarging; the same bits on every target.

use core::fmt;

use crate::fit::{Fit, PAD_VALUE};
use crate::pixels::RgbView;

/// Weights of an output pixel sum to exactly this.
const UNIT: u32 = 1 << 14;

/// The vertical pass keeps 8 + 6 bits a sample, so that the horizontal one fits into 32.
const LINE_SHIFT: u32 = 8;

/// Fraction bits of a position.
const FRACTION: u32 = 16;

/// A buffer of the caller is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferError {
    /// Which buffer.
    pub buffer: &'static str,
    /// Elements needed.
    pub expected: usize,
    /// Elements given.
    pub got: usize,
}

impl fmt::Display for BufferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} needs {} elements, got {}",
            self.buffer, self.expected, self.got
        )
    }
}

impl core::error::Error for BufferError {}

/// Bytes of a canvas: three planes of `canvas.height` rows.
pub fn canvas_len(fit: &Fit) -> usize {
    3 * fit.canvas().width as usize * fit.canvas().height as usize
}

/// Elements of scratch that [`canvas_into`] needs.
pub fn scratch_len(fit: &Fit) -> usize {
    let line = fit.image().width as usize * 3;
    let taps = Axis::horizontal(fit);
    line + taps.n_out as usize * (2 + taps.taps_max())
}

/// Lays `image` on the canvas: `canvas` becomes planar RGB, `[3, height, width]`, padding grey.
///
/// # Errors
/// When `image` is not of the fit's size or a buffer has not the right length
/// ([`canvas_len`] exactly, [`scratch_len`] at least).
pub fn canvas_into(
    image: RgbView<'_>,
    fit: &Fit,
    scratch: &mut [u32],
    canvas: &mut [u8],
) -> Result<(), BufferError> {
    let need = |buffer, expected, got| {
        Err(BufferError {
            buffer,
            expected,
            got,
        })
    };
    if image.size() != fit.image() {
        return need(
            "image",
            fit.image().width as usize * fit.image().height as usize * 3,
            image.bytes().len(),
        );
    }
    if canvas.len() != canvas_len(fit) {
        return need("canvas", canvas_len(fit), canvas.len());
    }
    if scratch.len() < scratch_len(fit) {
        return need("scratch", scratch_len(fit), scratch.len());
    }
    canvas.fill(PAD_VALUE);
    let (line, table) = scratch.split_at_mut(fit.image().width as usize * 3);
    let (horizontal, vertical) = (Axis::horizontal(fit), Axis::vertical(fit));
    let entry = 2 + horizontal.taps_max();
    for x in 0..horizontal.n_out {
        let at = &mut table[x as usize * entry..][..entry];
        let (first, count) = horizontal.taps(x, &mut at[2..]);
        (at[0], at[1]) = (first, count);
    }
    let plane = fit.canvas().width as usize * fit.canvas().height as usize;
    let (left, top) = fit.offset();
    for y in 0..vertical.n_out {
        blend_rows(image, &vertical, y, line);
        let row = (top + y) as usize * fit.canvas().width as usize + left as usize;
        for (x, at) in table
            .chunks_exact(entry)
            .take(horizontal.n_out as usize)
            .enumerate()
        {
            let rgb = blend_pixels(line, at);
            for (channel, value) in rgb.into_iter().enumerate() {
                canvas[channel * plane + row + x] = value;
            }
        }
    }
    Ok(())
}

/// `line[i]` = the weighted mean of the rows under output row `y`, 64 times a byte.
fn blend_rows(image: RgbView<'_>, axis: &Axis, y: u32, line: &mut [u32]) {
    line.fill(0);
    let first = axis.first(y);
    axis.each_weight(y, |index, weight| {
        for (sum, &byte) in line.iter_mut().zip(image.row(first + index)) {
            *sum += u32::from(byte) * weight;
        }
    });
    for sum in line.iter_mut() {
        *sum = (*sum + (1 << (LINE_SHIFT - 1))) >> LINE_SHIFT;
    }
}

/// The weighted mean of the pixels under one output pixel; `at` is first, count, weights.
fn blend_pixels(line: &[u32], at: &[u32]) -> [u8; 3] {
    let (first, count) = (at[0] as usize, at[1] as usize);
    let mut sums = [0u32; 3];
    for (pixel, weight) in line[first * 3..(first + count) * 3]
        .chunks_exact(3)
        .zip(&at[2..])
    {
        for (sum, sample) in sums.iter_mut().zip(pixel) {
            *sum += sample * weight;
        }
    }
    const SHIFT: u32 = 14 + 14 - LINE_SHIFT;
    sums.map(|sum| (((sum + (1 << (SHIFT - 1))) >> SHIFT).min(255)) as u8)
}

/// One direction of the resize.
struct Axis {
    n_in: u32,
    n_out: u32,
}

impl Axis {
    fn horizontal(fit: &Fit) -> Self {
        Self {
            n_in: fit.image().width,
            n_out: fit.inner().width,
        }
    }

    fn vertical(fit: &Fit) -> Self {
        Self {
            n_in: fit.image().height,
            n_out: fit.inner().height,
        }
    }

    /// Half the width of the triangle, in input pixels with [`FRACTION`] bits, at least one pixel.
    fn support(&self) -> i64 {
        let ratio = (i64::from(self.n_in) << FRACTION) / i64::from(self.n_out);
        ratio.max(1 << FRACTION)
    }

    /// Centre of output `at` on the input, with [`FRACTION`] bits; pixel centres are whole numbers.
    fn centre(&self, at: u32) -> i64 {
        let half_steps = 2 * i64::from(at) + 1;
        ((half_steps * i64::from(self.n_in)) << FRACTION) / (2 * i64::from(self.n_out))
            - (1 << (FRACTION - 1))
    }

    /// First input that counts for output `at`.
    fn first(&self, at: u32) -> u32 {
        let low = self.centre(at) - self.support();
        // The first whole number above `low`: at `low` itself the triangle is zero.
        ((low >> FRACTION) + 1).clamp(0, i64::from(self.n_in) - 1) as u32
    }

    /// One past the last input that counts for output `at`.
    fn end(&self, at: u32) -> u32 {
        let high = self.centre(at) + self.support();
        let end = (high + (1 << FRACTION) - 1) >> FRACTION;
        end.clamp(i64::from(self.first(at)) + 1, i64::from(self.n_in)) as u32
    }

    /// Most inputs of any output.
    fn taps_max(&self) -> usize {
        ((2 * self.support()) >> FRACTION) as usize + 2
    }

    /// Calls `f` with the offset from the first input and the weight; the weights sum to [`UNIT`].
    fn each_weight(&self, at: u32, mut f: impl FnMut(u32, u32)) {
        let (first, end, centre, support) = (
            self.first(at),
            self.end(at),
            self.centre(at),
            self.support(),
        );
        let height =
            |index: u32| (support - ((i64::from(index) << FRACTION) - centre).abs()).max(0);
        let total: i64 = (first..end).map(height).sum();
        if total == 0 {
            return f(0, UNIT);
        }
        // Cumulated rounding: every weight is a difference of rounded partial sums, so that the sum
        // is exact and no weight is off by more than one.
        let (mut partial, mut given) = (0, 0);
        for index in first..end {
            partial += height(index);
            let rounded = ((partial * i64::from(UNIT) + total / 2) / total) as u32;
            f(index - first, rounded - given);
            given = rounded;
        }
    }

    /// Writes the weights of output `at`; returns first input and count.
    fn taps(&self, at: u32, weights: &mut [u32]) -> (u32, u32) {
        self.each_weight(at, |index, weight| weights[index as usize] = weight);
        (self.first(at), self.end(at) - self.first(at))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::fit::FitKind;
    use crate::geometry::Size;

    fn canvas_of(bytes: &[u8], size: Size, kind: FitKind, side: u32) -> Vec<u8> {
        let fit = Fit::new(kind, size, Size::new(side, side)).unwrap();
        let mut scratch = vec![0; scratch_len(&fit)];
        let mut canvas = vec![0; canvas_len(&fit)];
        canvas_into(
            RgbView::new(bytes, size).unwrap(),
            &fit,
            &mut scratch,
            &mut canvas,
        )
        .unwrap();
        canvas
    }

    fn pattern(size: Size) -> Vec<u8> {
        (0..size.width * size.height * 3)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect()
    }

    #[test]
    fn the_same_size_is_the_same_picture() {
        let size = Size::new(24, 24);
        let bytes = pattern(size);
        let canvas = canvas_of(&bytes, size, FitKind::Letterbox, 24);
        for (at, pixel) in bytes.chunks_exact(3).enumerate() {
            let planes = [canvas[at], canvas[576 + at], canvas[2 * 576 + at]];
            assert_eq!(planes, pixel, "pixel {at}");
        }
    }

    #[test]
    fn a_flat_picture_stays_flat_at_every_ratio() {
        for (width, height) in [(7, 31), (640, 480), (33, 32), (1, 1), (1920, 1080)] {
            let size = Size::new(width, height);
            let canvas = canvas_of(
                &vec![201; (width * height * 3) as usize],
                size,
                FitKind::Stretch,
                32,
            );
            assert!(canvas.iter().all(|&b| b == 201), "{size}");
        }
    }

    #[test]
    fn halving_takes_the_mean_of_what_it_covers() {
        // Triangle of support 2 around 0.5: rows 0 and 1 weigh 1.5 each, row 2 and (outside) row -1 0.5.
        let size = Size::new(4, 4);
        let mut bytes = vec![0; 48];
        bytes[..24].fill(70);
        let canvas = canvas_of(&bytes, size, FitKind::Stretch, 2);
        assert_eq!(canvas[0], 60, "70 * 3 / 3.5");
        assert_eq!(canvas[2], 10, "70 * 0.5 / 3.5");
    }

    #[test]
    fn weights_sum_to_one_at_every_ratio_and_fit_their_room() {
        for n_in in [1, 2, 3, 7, 224, 363, 640, 1079, 4000] {
            for n_out in [1, 2, 5, 224, 320, 416, 640] {
                let axis = Axis { n_in, n_out };
                for at in 0..n_out {
                    let mut sum = 0;
                    axis.each_weight(at, |_, weight| sum += weight);
                    assert_eq!(sum, UNIT, "{n_in} -> {n_out} at {at}");
                    let count = (axis.end(at) - axis.first(at)) as usize;
                    assert!(
                        count <= axis.taps_max(),
                        "{n_in} -> {n_out} at {at}: {count}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_canvas_has_the_same_bits_on_every_target() {
        let size = Size::new(641, 487);
        let canvas = canvas_of(&pattern(size), size, FitKind::Letterbox, 320);
        let hash = canvas
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        assert_eq!(
            hash, 0x9912_ac7a_7c37_e954,
            "FNV-1a of the canvas: {hash:#x}"
        );
    }
}
