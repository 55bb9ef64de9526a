//! Pictures drawn through a map onto a canvas: bilinear, in whole numbers.

use std::ops::Range;

use shared::geometry::Size;

use super::projective::Projective;

/// Bytes behind the last pixel, so that eight can be read at the last but one.
const TAIL: usize = 2;

/// Bits of the weights: a 64th of a pixel, so that a sum of four weighted bytes has 20 bits.
const WEIGHT_BITS: u32 = 6;

/// Bits behind the point of coordinates that are stepped along a row.
const FRACTION: u32 = 32;

/// A picture, three bytes a pixel, to read at any place of.
#[derive(Clone, Debug, PartialEq)]
pub struct Packed {
    bytes: Vec<u8>,
    size: Size,
}

impl Packed {
    /// From planes `[3, height, width]`; `None` when the length is another.
    pub fn from_planes(planes: &[u8], size: Size) -> Option<Self> {
        let plane = size.area()?;
        if plane == 0 || planes.len() != 3 * plane {
            return None;
        }
        let mut bytes = vec![0; 3 * plane + TAIL];
        for (channel, values) in planes.chunks_exact(plane).enumerate() {
            for (pixel, &value) in bytes.chunks_exact_mut(3).zip(values) {
                pixel[channel] = value;
            }
        }
        Some(Self { bytes, size })
    }

    /// From pixels of three bytes; `None` when the length is another.
    pub fn from_pixels(mut pixels: Vec<u8>, size: Size) -> Option<Self> {
        let plane = size.area()?;
        if plane == 0 || pixels.len() != 3 * plane {
            return None;
        }
        pixels.extend_from_slice(&[0; TAIL]);
        Some(Self {
            bytes: pixels,
            size,
        })
    }

    /// Bytes to reserve for [`Packed::from_pixels`], so that nothing is copied there.
    pub fn capacity(size: Size) -> Option<usize> {
        size.area()?.checked_mul(3)?.checked_add(TAIL)
    }

    /// Its size.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Three bytes a pixel, rows from the top.
    pub fn pixels(&self) -> &[u8] {
        &self.bytes[..self.bytes.len() - TAIL]
    }

    /// Eight bytes from pixel `at`: the pixel, the one behind it, and two that are not looked at.
    #[inline(always)]
    fn pair(&self, at: usize) -> u64 {
        let bytes = &self.bytes[at * 3..][..8];
        u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    }

    #[inline(always)]
    fn pixel(&self, x: usize, y: usize) -> u64 {
        let at = (y * self.size.width as usize + x) * 3;
        let pixel = &self.bytes[at..at + 3];
        u64::from(pixel[0]) | u64::from(pixel[1]) << 8 | u64::from(pixel[2]) << 16
    }
}

/// The three low bytes, 21 bits apart: room for a weighted sum of each.
#[inline(always)]
fn spread(pixel: u64) -> u64 {
    (pixel & 0xff) | (pixel & 0xff00) << 13 | (pixel & 0x00ff_0000) << 26
}

/// The weighted mean of left and right of two rows, and its three bytes.
#[inline(always)]
fn blend(top: [u64; 2], bottom: [u64; 2], wx: u64, wy: u64) -> [u8; 3] {
    const ONE: u64 = 1 << WEIGHT_BITS;
    const ROUND: u64 = 1 << (2 * WEIGHT_BITS - 1);
    let both = wx * wy;
    let (right, below) = ((wx << WEIGHT_BITS) - both, (wy << WEIGHT_BITS) - both);
    let corner = ONE * ONE - right - below - both;
    let sum = spread(top[0]) * corner
        + spread(top[1]) * right
        + spread(bottom[0]) * below
        + spread(bottom[1]) * both
        + (ROUND | ROUND << 21 | ROUND << 42);
    const SHIFT: u32 = 2 * WEIGHT_BITS;
    [
        (sum >> SHIFT) as u8,
        (sum >> (21 + SHIFT)) as u8,
        (sum >> (42 + SHIFT)) as u8,
    ]
}

/// One row of the canvas.
type Row<'a> = [&'a mut [u8]; 3];

/// Draws `picture` through `map` (picture to canvas) on those pixels of the planar `canvas` of
/// `size` that it covers.
pub fn draw(picture: &Packed, map: &Projective, canvas: &mut [u8], size: Size) {
    let Some(back) = map.inverse() else { return };
    let (width, height) = (picture.size.width as f32, picture.size.height as f32);
    let Some(covered) = map.bbox([0.0, 0.0, width, height]) else {
        return;
    };
    let low = |value: f32| value.max(0.0).floor() as usize;
    let high = |value: f32, limit: u32| value.min(limit as f32).ceil().max(0.0) as usize;
    let columns = low(covered[0])..high(covered[2], size.width);
    let line = size.width as usize;
    let (red, rest) = canvas.split_at_mut(line * size.height as usize);
    let (green, blue) = rest.split_at_mut(line * size.height as usize);
    let rows = low(covered[1])..high(covered[3], size.height);
    for columns in strips(columns, back.step()) {
        for y in rows.clone() {
            let at = y * line..(y + 1) * line;
            let row: Row<'_> = [&mut red[at.clone()], &mut green[at.clone()], &mut blue[at]];
            let start = back.point(0.5, y as f64 + 0.5);
            if back.is_affine() {
                Line::new(picture, start, back.step()).draw(row, columns.clone());
            } else {
                draw_tilted(picture, start, back.step(), row, columns.clone());
            }
        }
    }
}

/// All columns at once where a row of the canvas runs along rows of the picture; narrow strips where
/// it runs across them, so that the lines it touches stay in the first cache until the next row.
fn strips(columns: Range<usize>, step: [f64; 3]) -> impl Iterator<Item = Range<usize>> {
    let width = if step[1].abs() > step[0].abs() {
        64
    } else {
        columns.len().max(1)
    };
    let end = columns.end;
    columns
        .step_by(width)
        .map(move |first| first..(first + width).min(end))
}

/// A row of the canvas as it lies on the picture, affine: pixel indices with [`FRACTION`] bits.
struct Line<'a> {
    picture: &'a Packed,
    start: [i64; 2],
    step: [i64; 2],
}

impl<'a> Line<'a> {
    fn new(picture: &'a Packed, start: [f64; 3], step: [f64; 3]) -> Self {
        /// Half the finest weight, so that weights are rounded.
        const HALF_WEIGHT: i64 = 1 << (FRACTION - WEIGHT_BITS - 1);
        let fixed = |value: f64| (value * (1_i64 << FRACTION) as f64).round() as i64;
        Self {
            picture,
            start: [start[0], start[1]].map(|value| fixed(value - 0.5) + HALF_WEIGHT),
            step: [step[0], step[1]].map(fixed),
        }
    }

    /// Columns for which both indices plus `shift` lie in `0..size - margin`.
    fn within(&self, shift: i64, margin: i64) -> Range<i64> {
        let size = self.picture.size;
        let span = |axis: usize, side: u32| {
            let limit = (i64::from(side) - margin) << FRACTION;
            span(self.start[axis] + shift, self.step[axis], limit)
        };
        overlap(span(0, size.width), span(1, size.height))
    }

    fn draw(&self, row: Row<'_>, columns: Range<usize>) {
        let columns = columns.start as i64..columns.end as i64;
        let half = 1 << (FRACTION - 1);
        let covered = overlap(self.within(half, 0), columns);
        let inner = overlap(self.within(0, 1), covered.clone());
        let [red, green, blue] = row;
        let mut edge = |columns: Range<i64>| {
            for x in columns {
                let rgb = self.clamped(x);
                [red[x as usize], green[x as usize], blue[x as usize]] = rgb;
            }
        };
        if inner.is_empty() {
            return edge(covered);
        }
        edge(covered.start..inner.start);
        edge(inner.end..covered.end);
        let at = inner.start as usize..inner.end as usize;
        let outputs = (red[at.clone()].iter_mut().zip(&mut green[at.clone()])).zip(&mut blue[at]);
        let width = self.picture.size.width as usize;
        let [mut u, mut v] = self.at(inner.start);
        for ((red, green), blue) in outputs {
            let at = (v >> FRACTION) as usize * width + (u >> FRACTION) as usize;
            let (top, bottom) = (self.picture.pair(at), self.picture.pair(at + width));
            let (wx, wy) = (weight(u), weight(v));
            [*red, *green, *blue] = blend([top, top >> 24], [bottom, bottom >> 24], wx, wy);
            u += self.step[0];
            v += self.step[1];
        }
    }

    fn at(&self, x: i64) -> [i64; 2] {
        [0, 1].map(|axis| self.start[axis] + x * self.step[axis])
    }

    /// The value at column `x`, edges repeated.
    fn clamped(&self, x: i64) -> [u8; 3] {
        let [u, v] = self.at(x);
        clamped(
            self.picture,
            u >> FRACTION,
            v >> FRACTION,
            weight(u),
            weight(v),
        )
    }
}

/// The fraction of an index, in weights.
#[inline(always)]
fn weight(index: i64) -> u64 {
    u64::from(index as u32 >> (FRACTION - WEIGHT_BITS))
}

/// The value right and below of pixel `(x, y)`, edges repeated.
#[inline(always)]
fn clamped(picture: &Packed, x: i64, y: i64, wx: u64, wy: u64) -> [u8; 3] {
    let near = |v: i64, side: u32| v.clamp(0, i64::from(side) - 1) as usize;
    let (width, height) = (picture.size.width, picture.size.height);
    let (left, right) = (near(x, width), near(x + 1, width));
    let (top, bottom) = (near(y, height), near(y + 1, height));
    blend(
        [picture.pixel(left, top), picture.pixel(right, top)],
        [picture.pixel(left, bottom), picture.pixel(right, bottom)],
        wx,
        wy,
    )
}

/// The whole `x` for which `0 <= start + x step < limit`.
fn span(start: i64, step: i64, limit: i64) -> Range<i64> {
    // The first x for which start + x step reaches `bound`, rising.
    let reaches = |start: i64, step: i64, bound: i64| -(start - bound).div_euclid(step);
    match step.signum() {
        1 => reaches(start, step, 0)..reaches(start, step, limit),
        -1 => reaches(-start, -step, 1 - limit)..reaches(-start, -step, 1),
        _ if (0..limit).contains(&start) => i64::MIN..i64::MAX,
        _ => 0..0,
    }
}

fn overlap(a: Range<i64>, b: Range<i64>) -> Range<i64> {
    let start = a.start.max(b.start);
    start..a.end.min(b.end).max(start)
}

/// The same with a division a pixel.
fn draw_tilted(
    picture: &Packed,
    start: [f64; 3],
    step: [f64; 3],
    row: Row<'_>,
    columns: Range<usize>,
) {
    const ONE: i64 = 1 << WEIGHT_BITS;
    let (width, height) = (picture.size.width as usize, picture.size.height as usize);
    let columns = seen(picture.size, start, step, columns);
    let mut at = [0, 1, 2].map(|k| start[k] + columns.start as f64 * step[k]);
    let [red, green, blue] = row;
    for x in columns {
        let [u, v, w] = at;
        let (u, v) = (u / w, v / w);
        let inside = u >= 0.0 && v >= 0.0 && u < width as f64 && v < height as f64;
        if Projective::is_seen(w) && inside {
            // An index from the pixel before the first, so that cutting rounds down.
            let fixed = |v: f64| ((v + 0.5) * ONE as f64 + 0.5) as i64 - ONE;
            let (u, v) = (fixed(u), fixed(v));
            let (left, top) = (u >> WEIGHT_BITS, v >> WEIGHT_BITS);
            let (wx, wy) = ((u & (ONE - 1)) as u64, (v & (ONE - 1)) as u64);
            let inner = |index: i64, side: usize| index >= 0 && index + 1 < side as i64;
            let rgb = if inner(left, width) && inner(top, height) {
                let at = top as usize * width + left as usize;
                let (top, bottom) = (picture.pair(at), picture.pair(at + width));
                blend([top, top >> 24], [bottom, bottom >> 24], wx, wy)
            } else {
                clamped(picture, left, top, wx, wy)
            };
            [red[x], green[x], blue[x]] = rgb;
        }
        at = [at[0] + step[0], at[1] + step[1], at[2] + step[2]];
    }
}

/// The columns of a row that lie on the picture, and up to one more on either side.
fn seen(size: Size, start: [f64; 3], step: [f64; 3], columns: Range<usize>) -> Range<usize> {
    let (width, height) = (f64::from(size.width), f64::from(size.height));
    // Each is a line over the columns that is not negative on the picture.
    let lines = |[u, v, w]: [f64; 3]| [u, width * w - u, v, height * w - v, w];
    let (mut low, mut high) = (columns.start as f64, columns.end as f64);
    for (at_zero, slope) in lines(start).into_iter().zip(lines(step)) {
        let crossing = -at_zero / slope;
        if slope > 0.0 {
            low = low.max(crossing);
        } else if slope < 0.0 {
            high = high.min(crossing);
        } else if at_zero < 0.0 {
            return 0..0;
        }
    }
    let (low, high) = (
        (low - 1.0).max(0.0) as usize,
        (high + 2.0).max(0.0) as usize,
    );
    let first = low.clamp(columns.start, columns.end);
    first..high.clamp(first, columns.end)
}

#[cfg(test)]
mod tests {
    use shared::fit::PAD_VALUE;

    use super::*;

    fn gradient(size: Size) -> (Vec<u8>, Packed) {
        let n = size.width * size.height;
        let planes: Vec<u8> = (0..3 * n).map(|i| (i * 7 % 251) as u8).collect();
        let packed = Packed::from_planes(&planes, size).expect("of its size");
        (planes, packed)
    }

    fn drawn(picture: &Packed, map: &Projective, size: Size) -> Vec<u8> {
        let mut canvas = vec![PAD_VALUE; 3 * (size.width * size.height) as usize];
        draw(picture, map, &mut canvas, size);
        canvas
    }

    #[test]
    fn the_identity_copies() {
        for size in [
            Size::new(13, 9),
            Size::new(1, 1),
            Size::new(1, 5),
            Size::new(6, 1),
        ] {
            let (planes, picture) = gradient(size);
            assert_eq!(
                drawn(&picture, &Projective::IDENTITY, size),
                planes,
                "{size}"
            );
        }
    }

    #[test]
    fn a_quarter_turn_moves_pixels_and_boxes_alike() {
        let size = Size::new(8, 8);
        let (planes, picture) = gradient(size);
        let turn = Projective::linear(0.0, -1.0, 1.0, 0.0).then(&Projective::shift(8.0, 0.0));
        let canvas = drawn(&picture, &turn, size);
        assert_eq!(turn.bbox([1.0, 2.0, 2.0, 3.0]), Some([5.0, 1.0, 6.0, 2.0]));
        assert_eq!(canvas[8 + 5], planes[2 * 8 + 1]);
        let back = Projective::linear(0.0, 1.0, -1.0, 0.0).then(&Projective::shift(0.0, 8.0));
        let again = Packed::from_planes(&canvas, size).expect("of its size");
        assert_eq!(drawn(&again, &back, size), planes);
    }

    #[test]
    fn the_whole_numbers_of_a_span_are_those_a_loop_finds() {
        for start in -7..8 {
            for step in -4..5 {
                let expected: Vec<i64> = (-20..20)
                    .filter(|x| (0..6).contains(&(start + x * step)))
                    .collect();
                let got: Vec<i64> = overlap(span(start, step, 6), -20..20).collect();
                assert_eq!(got, expected, "{start} {step}");
            }
        }
    }

    /// The definition: bilinear in real numbers, edges repeated, nothing outside.
    fn slow(picture: &Packed, map: &Projective, canvas: &mut [u8], size: Size) {
        let back = map.inverse().expect("not flat");
        let (w, h) = (
            f64::from(picture.size.width),
            f64::from(picture.size.height),
        );
        let plane = (size.width * size.height) as usize;
        for y in 0..size.height {
            for x in 0..size.width {
                let [u, v, d] = back.point(f64::from(x) + 0.5, f64::from(y) + 0.5);
                let (u, v) = (u / d, v / d);
                if !Projective::is_seen(d) || u < 0.0 || v < 0.0 || u >= w || v >= h {
                    continue;
                }
                let (u, v) = (u - 0.5, v - 0.5);
                let at = |x: f64, y: f64, channel: usize| {
                    let (x, y) = (x.clamp(0.0, w - 1.0), y.clamp(0.0, h - 1.0));
                    let pixel = y as usize * picture.size.width as usize + x as usize;
                    f64::from(picture.bytes[3 * pixel + channel])
                };
                let (x0, y0) = (u.floor(), v.floor());
                let (fx, fy) = (u - x0, v - y0);
                for channel in 0..3 {
                    let row =
                        |y: f64| at(x0, y, channel) * (1.0 - fx) + at(x0 + 1.0, y, channel) * fx;
                    let value = row(y0) * (1.0 - fy) + row(y0 + 1.0) * fy;
                    canvas[channel * plane + (y * size.width + x) as usize] = value.round() as u8;
                }
            }
        }
    }

    #[test]
    fn every_map_gives_what_the_definition_gives() {
        // Smooth, so that a 128th of a pixel is less than a level; edges may fall either way.
        let from = Size::new(57, 43);
        let value = |i: u32| (i % 57) as u8 + (i / 57 % 43) as u8;
        let planes: Vec<u8> = (0..3 * 57 * 43).map(value).collect();
        let picture = Packed::from_planes(&planes, from).expect("of its size");
        let size = Size::new(64, 48);
        let middle = |map: Projective| {
            Projective::shift(-28.5, -21.5)
                .then(&map)
                .then(&Projective::shift(30.0, 25.0))
        };
        for map in [
            middle(Projective::linear(0.7, 0.0, 0.0, 1.3)),
            middle(Projective::linear(0.0, -1.4, 1.4, 0.0)),
            middle(Projective::linear(-0.6, 0.8, 0.8, 0.6)),
            middle(Projective::tilt(0.006, -0.004)),
            middle(Projective::tilt(0.04, 0.02).then(&Projective::linear(0.9, 0.3, -0.2, 1.1))),
        ] {
            let canvas = drawn(&picture, &map, size);
            let mut expected = vec![PAD_VALUE; canvas.len()];
            slow(&picture, &map, &mut expected, size);
            let off = |(a, b): (&u8, &u8)| a.abs_diff(*b);
            let far = canvas.iter().zip(&expected).filter(|&p| off(p) > 1).count();
            assert!(far <= 3, "{map:?}: {far} of {} bytes", canvas.len());
        }
    }
}
