//! Affine maps of planar u8 pictures onto a canvas, bilinear, with the boxes moving along.

use shared::fit::PAD_VALUE;
use shared::geometry::Size;

/// `x' = a x + b y + c`, `y' = d x + e y + f`; pixel centres lie at halves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// `[a, b, c, d, e, f]`.
    pub m: [f32; 6],
}

impl Affine {
    /// A move.
    pub fn shift(x: f32, y: f32) -> Self {
        Self {
            m: [1.0, 0.0, x, 0.0, 1.0, y],
        }
    }

    /// A linear map around the origin.
    pub fn linear(a: f32, b: f32, d: f32, e: f32) -> Self {
        Self {
            m: [a, b, 0.0, d, e, 0.0],
        }
    }

    /// First `self`, then `next`.
    pub fn then(&self, next: &Self) -> Self {
        let ([a, b, c, d, e, f], [p, q, r, s, t, u]) = (self.m, next.m);
        Self {
            m: [
                p * a + q * d,
                p * b + q * e,
                p * c + q * f + r,
                s * a + t * d,
                s * b + t * e,
                s * c + t * f + u,
            ],
        }
    }

    /// The way back; `None` when the map flattens the plane.
    pub fn inverse(&self) -> Option<Self> {
        let [a, b, c, d, e, f] = self.m;
        let det = a * e - b * d;
        if det.abs() < 1e-9 {
            return None;
        }
        let (ia, ib, id, ie) = (e / det, -b / det, -d / det, a / det);
        Some(Self {
            m: [ia, ib, -(ia * c + ib * f), id, ie, -(id * c + ie * f)],
        })
    }

    /// Where a point goes.
    pub fn point(&self, x: f32, y: f32) -> (f32, f32) {
        let [a, b, c, d, e, f] = self.m;
        (a * x + b * y + c, d * x + e * y + f)
    }

    /// The upright box around the image of an upright box `[x0, y0, x1, y1]`.
    pub fn bbox(&self, [x0, y0, x1, y1]: [f32; 4]) -> [f32; 4] {
        let corners = [(x0, y0), (x1, y0), (x0, y1), (x1, y1)].map(|(x, y)| self.point(x, y));
        let fold = |f: fn(f32, f32) -> f32, start: f32| {
            corners
                .iter()
                .fold((start, start), |(u, v), &(x, y)| (f(u, x), f(v, y)))
        };
        let (low, high) = (
            fold(f32::min, f32::INFINITY),
            fold(f32::max, f32::NEG_INFINITY),
        );
        [low.0, low.1, high.0, high.1]
    }
}

/// A planar picture, `[3, height, width]`.
#[derive(Clone, Debug)]
pub struct Planar {
    /// `3 * width * height` bytes.
    pub bytes: Vec<u8>,
    /// Its size.
    pub size: Size,
}

/// Draws `picture` through `map` (picture to canvas) on those pixels of `canvas` that it covers.
pub fn draw(picture: &Planar, map: &Affine, canvas: &mut [u8], side: Size) {
    let Some(back) = map.inverse() else { return };
    let size = picture.size;
    let covered = map.bbox([0.0, 0.0, size.width as f32, size.height as f32]);
    let low = |at: usize| covered[at].max(0.0).floor() as usize;
    let high = |at: usize, limit: u32| covered[at].min(limit as f32).ceil().max(0.0) as usize;
    let (columns, rows) = (low(0)..high(2, side.width), low(1)..high(3, side.height));
    let plane = side.width as usize * side.height as usize;
    for y in rows {
        for x in columns.clone() {
            let (u, v) = back.point(x as f32 + 0.5, y as f32 + 0.5);
            if u < 0.0 || v < 0.0 || u >= size.width as f32 || v >= size.height as f32 {
                continue;
            }
            let rgb = bilinear(picture, u - 0.5, v - 0.5);
            for (channel, value) in rgb.into_iter().enumerate() {
                canvas[channel * plane + y * side.width as usize + x] = value;
            }
        }
    }
}

/// Sample at pixel-index coordinates, edges repeated; weights of 8 bits.
fn bilinear(picture: &Planar, x: f32, y: f32) -> [u8; 3] {
    let (width, height) = (picture.size.width as i32, picture.size.height as i32);
    let (fx, fy) = ((x * 256.0).floor() as i32, (y * 256.0).floor() as i32);
    let (x0, y0) = (fx >> 8, fy >> 8);
    let (wx, wy) = ((fx & 255) as u32, (fy & 255) as u32);
    let clamp = |v: i32, n: i32| v.clamp(0, n - 1) as usize;
    let (left, right) = (clamp(x0, width), clamp(x0 + 1, width));
    let (top, bottom) = (
        clamp(y0, height) * width as usize,
        clamp(y0 + 1, height) * width as usize,
    );
    let plane = width as usize * height as usize;
    let mut out = [0; 3];
    for (channel, value) in out.iter_mut().enumerate() {
        let p = &picture.bytes[channel * plane..][..plane];
        let mix =
            |row: usize| u32::from(p[row + left]) * (256 - wx) + u32::from(p[row + right]) * wx;
        *value = ((mix(top) * (256 - wy) + mix(bottom) * wy + (1 << 15)) >> 16) as u8;
    }
    out
}

/// A canvas of padding.
pub fn blank(side: Size) -> Vec<u8> {
    vec![PAD_VALUE; 3 * side.width as usize * side.height as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(size: Size) -> Planar {
        let n = size.width * size.height;
        Planar {
            bytes: (0..3 * n).map(|i| (i * 7 % 251) as u8).collect(),
            size,
        }
    }

    #[test]
    fn the_identity_copies() {
        let picture = gradient(Size::new(13, 9));
        let mut canvas = blank(picture.size);
        draw(
            &picture,
            &Affine::shift(0.0, 0.0),
            &mut canvas,
            picture.size,
        );
        assert_eq!(canvas, picture.bytes);
    }

    #[test]
    fn a_map_and_its_inverse_cancel() {
        let map = Affine::linear(0.6, -0.8, 0.9, 0.5).then(&Affine::shift(3.0, -7.0));
        let back = map.then(&map.inverse().unwrap());
        for (got, expected) in back.m.into_iter().zip(Affine::shift(0.0, 0.0).m) {
            assert!((got - expected).abs() < 1e-5, "{back:?}");
        }
    }

    #[test]
    fn a_quarter_turn_moves_pixels_and_boxes_alike() {
        let picture = gradient(Size::new(8, 8));
        let turn = Affine::linear(0.0, -1.0, 1.0, 0.0).then(&Affine::shift(8.0, 0.0));
        let mut canvas = blank(picture.size);
        draw(&picture, &turn, &mut canvas, picture.size);
        assert_eq!(turn.bbox([1.0, 2.0, 2.0, 3.0]), [5.0, 1.0, 6.0, 2.0]);
        assert_eq!(canvas[8 + 5], picture.bytes[2 * 8 + 1]);
    }
}
