//! What stands between convolutions: sums, pooling, doubling, joining, and the way from and to floats.

use crate::map::Shape;
use crate::table::Table;

/// The sum of two maps on scales of their own:
/// `clamp(round_half_even((a - zero_a) * ratio_a + (b - zero_b) * ratio_b) + zero_point, range)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Add {
    /// The bytes that mean zero in the two inputs.
    pub zero_points: [u8; 2],
    /// Scale of each input over that of the output.
    pub ratios: [f32; 2],
    /// The byte that means zero in the output.
    pub zero_point: u8,
    /// Least and largest byte: an activation that clamps.
    pub range: [u8; 2],
}

impl Add {
    /// Adds value by value.
    ///
    /// # Panics
    /// When the three have not one length.
    pub fn run(&self, a: &[u8], b: &[u8], out: &mut [u8]) {
        assert!(a.len() == out.len() && b.len() == out.len(), "one length");
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the feature.
            return unsafe { self.run_avx2(a, b, out) };
        }
        self.run_plain(a, b, out);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    unsafe fn run_avx2(&self, a: &[u8], b: &[u8], out: &mut [u8]) {
        self.run_plain(a, b, out);
    }

    /// The same arithmetic whatever instructions it becomes.
    #[inline(always)]
    fn run_plain(&self, a: &[u8], b: &[u8], out: &mut [u8]) {
        let [zero_a, zero_b] = self.zero_points.map(f32::from);
        let [ratio_a, ratio_b] = self.ratios;
        let zero_point = f32::from(self.zero_point);
        let [least, most] = self.range.map(|byte| f32::from(byte) - zero_point);
        for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
            let sum = (f32::from(a) - zero_a) * ratio_a + (f32::from(b) - zero_b) * ratio_b;
            let sum = if sum < most { sum } else { most };
            let sum = if sum > least { sum } else { least };
            // SAFETY: both limits are at most 255 from zero, and what is no number became a limit.
            let sum: i32 = unsafe { (sum.round_ties_even() + zero_point).to_int_unchecked() };
            *out = sum as u8;
        }
    }
}

/// The largest byte of a window that steps over the map; what lies outside does not count.
///
/// `window`: sides, steps and padding (top, left), rows first.
///
/// # Panics
/// When `x` or `out` has not the length of its shape, or a window lies wholly outside.
pub fn max_pool(x: &[u8], input: Shape, window: [[usize; 2]; 3], out: &mut [u8], output: Shape) {
    assert!(
        x.len() == input.len() && out.len() == output.len(),
        "lengths of the maps"
    );
    let [side, stride, padding] = window;
    let channels = input.channels;
    let row_bytes = input.width * channels;
    let inside = |place: usize, axis: usize, size: usize| {
        let from = place * stride[axis];
        from.saturating_sub(padding[axis])
            ..(from + side[axis]).saturating_sub(padding[axis]).min(size)
    };
    let mut tallest = vec![0; row_bytes];
    for (y, out) in out.chunks_exact_mut(output.width * channels).enumerate() {
        let rows = inside(y, 0, input.height);
        tallest.copy_from_slice(&x[rows.start * row_bytes..][..row_bytes]);
        for row in rows.skip(1) {
            largest(&mut tallest, &x[row * row_bytes..][..row_bytes]);
        }
        for (place, out) in out.chunks_exact_mut(channels).enumerate() {
            let columns = inside(place, 1, input.width);
            out.copy_from_slice(&tallest[columns.start * channels..][..channels]);
            for column in columns.skip(1) {
                largest(out, &tallest[column * channels..][..channels]);
            }
        }
    }
}

fn largest(of: &mut [u8], and: &[u8]) {
    for (of, &and) in of.iter_mut().zip(and) {
        *of = (*of).max(and);
    }
}

/// Each pixel `times[0]` rows high and `times[1]` columns wide.
///
/// # Panics
/// When `x` has not the length of its shape or `out` not that of the larger one.
pub fn upsample(x: &[u8], input: Shape, times: [usize; 2], out: &mut [u8]) {
    assert!(
        x.len() == input.len() && out.len() == x.len() * times[0] * times[1],
        "lengths of the maps"
    );
    let channels = input.channels;
    let row_bytes = input.width * times[1] * channels;
    let rows = out.chunks_exact_mut(row_bytes * times[0]);
    for (out, x) in rows.zip(x.chunks_exact(input.width * channels)) {
        let (first, others) = out.split_at_mut(row_bytes);
        let pixels = first.chunks_exact_mut(times[1] * channels);
        for (out, x) in pixels.zip(x.chunks_exact(channels)) {
            out.chunks_exact_mut(channels)
                .for_each(|out| out.copy_from_slice(x));
        }
        others
            .chunks_exact_mut(row_bytes)
            .for_each(|row| row.copy_from_slice(first));
    }
}

/// Channels of all inputs one after the other, each through its table where scales differ.
///
/// # Panics
/// When the inputs have not as many pixels as `out`.
pub fn concat(inputs: &[(&[u8], usize, Option<&Table>)], out: &mut [u8]) {
    let channels: usize = inputs.iter().map(|(_, channels, _)| channels).sum();
    assert_eq!(out.len() % channels, 0, "whole pixels");
    let mut first = 0;
    for &(x, n, table) in inputs {
        assert_eq!(x.len() / n, out.len() / channels, "pixels of an input");
        let mut changed;
        let x = match table {
            None => x,
            Some(table) => {
                changed = x.to_vec();
                table.apply(&mut changed);
                &changed
            }
        };
        let out = &mut out[first..];
        match n {
            16 => copy_pixels::<16>(x, out, channels),
            32 => copy_pixels::<32>(x, out, channels),
            64 => copy_pixels::<64>(x, out, channels),
            128 => copy_pixels::<128>(x, out, channels),
            _ => {
                let pixels = x.chunks_exact(n).zip(out.chunks_mut(channels));
                pixels.for_each(|(x, out)| out[..n].copy_from_slice(x));
            }
        }
        first += n;
    }
}

/// A copy whose length is known beforehand needs no call.
fn copy_pixels<const N: usize>(x: &[u8], out: &mut [u8], channels: usize) {
    let pixels = x.as_chunks::<N>().0.iter().zip(out.chunks_mut(channels));
    pixels.for_each(|(x, out)| out[..N].copy_from_slice(x));
}

/// Floats, one plane a channel, to bytes, channels innermost:
/// `clamp(round_half_even(x / scale) + zero_point, 0..=255)`; what is no number becomes the zero point.
///
/// # Panics
/// When the two have not the length of `shape`.
pub fn quantize_planes(x: &[f32], shape: Shape, scale: f32, zero_point: u8, out: &mut [u8]) {
    assert!(
        x.len() == shape.len() && out.len() == x.len(),
        "lengths of the maps"
    );
    for (channel, plane) in x.chunks_exact(shape.pixels()).enumerate() {
        let places = out.iter_mut().skip(channel).step_by(shape.channels);
        for (out, &x) in places.zip(plane) {
            let steps = (x / scale).round_ties_even() as i32;
            *out = steps.saturating_add(zero_point.into()).clamp(0, 255) as u8;
        }
    }
}

/// Bytes, channels innermost, to floats, one plane a channel: `(x - zero_point) * scale`.
///
/// # Panics
/// When the two have not the length of `shape`.
pub fn dequantize_planes(x: &[u8], shape: Shape, scale: f32, zero_point: u8, out: &mut [f32]) {
    assert!(
        x.len() == shape.len() && out.len() == x.len(),
        "lengths of the maps"
    );
    let zero_point = i32::from(zero_point);
    for (channel, plane) in out.chunks_exact_mut(shape.pixels()).enumerate() {
        let values = x.iter().skip(channel).step_by(shape.channels);
        for (out, &x) in plane.iter_mut().zip(values) {
            *out = (i32::from(x) - zero_point) as f32 * scale;
        }
    }
}
