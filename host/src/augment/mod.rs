//! Augmentation on bytes before the network sees them: mosaic, affine, flips and quarter turns in a
//! single sampling, then colour. Seeded by (seed, epoch, index).

mod colour;
mod rng;
mod warp;

use shared::geometry::Size;

pub use colour::ColourJitter;
pub use rng::Rng;
pub use warp::{Affine, Planar};

use crate::assign::Target;

/// What is varied, and by how much.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// Probability of four pictures on a canvas.
    pub mosaic: f32,
    /// Rotation, degrees each way.
    pub degrees: f32,
    /// Shift, share of the canvas each way.
    pub translate: f32,
    /// Smallest and largest size, 1 = as fitted.
    pub scale: [f32; 2],
    /// Shear, degrees each way.
    pub shear: f32,
    /// Flips and quarter turns: cells have no up.
    pub turns: bool,
    /// Colour gains.
    pub colour: ColourJitter,
}

impl Augmentation {
    /// The values of the reference's "low" file, with turns.
    pub const LOW: Self = Self {
        mosaic: 1.0,
        degrees: 0.0,
        translate: 0.1,
        scale: [0.5, 1.5],
        shear: 0.0,
        turns: true,
        colour: ColourJitter {
            hue: 0.015,
            saturation: 0.7,
            value: 0.4,
        },
    };
}

/// A picture fitted to the canvas' size, and its cells as `[x0, y0, x1, y1]` in its pixels.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// Pixels.
    pub picture: Planar,
    /// Boxes beside class and attributes (the `image` and `cxcywh` of the targets are not set).
    pub cells: Vec<([f32; 4], Target)>,
}

/// An augmented canvas, planar, and its targets.
#[derive(Clone, Debug)]
pub struct Augmented {
    /// `[3, height, width]`.
    pub canvas: Vec<u8>,
    /// `image` is 0.
    pub targets: Vec<Target>,
}

/// Boxes narrower than this after the map are no targets, in pixels.
const SIDE_MIN: f32 = 2.0;
/// Boxes of which less than this share is left are no targets.
const VISIBLE_MIN: f32 = 0.1;
/// Boxes longer than this many times their width are no targets.
const ASPECT_MAX: f32 = 100.0;

impl Augmentation {
    /// Whether the sample of this stream is a mosaic: then three partners are needed.
    pub fn is_mosaic(&self, rng: &mut Rng) -> bool {
        rng.chance(self.mosaic)
    }

    /// Draws one picture, or four as a mosaic, on a canvas of `size`.
    pub fn apply(&self, pictures: &[&Fitted], size: Size, rng: &mut Rng) -> Augmented {
        let (width, height) = (size.width as f32, size.height as f32);
        let mut canvas = warp::blank(size);
        let mut targets = Vec::new();
        let mut order: Vec<&Fitted> = pictures.to_vec();
        rng.shuffle(&mut order);
        let map = self.map(width, height, rng);
        for (fitted, place) in places(&order, width, height, rng) {
            let whole = place.then(&map);
            warp::draw(&fitted.picture, &whole, &mut canvas, size);
            targets.extend(
                fitted
                    .cells
                    .iter()
                    .filter_map(|cell| moved(cell, &whole, size)),
            );
        }
        self.colour.apply(&mut canvas, rng);
        Augmented { canvas, targets }
    }

    /// From coordinates around the middle to the canvas.
    fn map(&self, width: f32, height: f32, rng: &mut Rng) -> Affine {
        let scale = rng.uniform(self.scale[0], self.scale[1]);
        let angle = rng.uniform(-self.degrees, self.degrees).to_radians();
        let (sin, cos) = (angle.sin() * scale, angle.cos() * scale);
        let mut shear = || rng.uniform(-self.shear, self.shear).to_radians().tan();
        let sheared = Affine::linear(1.0, shear(), shear(), 1.0);
        let turned = if self.turns {
            turn(rng)
        } else {
            Affine::shift(0.0, 0.0)
        };
        let mut offset = || rng.uniform(0.5 - self.translate, 0.5 + self.translate);
        let middle = Affine::shift(offset() * width, offset() * height);
        turned
            .then(&Affine::linear(cos, -sin, sin, cos))
            .then(&sheared)
            .then(&middle)
    }
}

/// One of the eight symmetries of a square.
fn turn(rng: &mut Rng) -> Affine {
    let flip = if rng.chance(0.5) { -1.0 } else { 1.0 };
    let (sin, cos) = [(0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0)][rng.below(4)];
    Affine::linear(cos * flip, -sin, sin * flip, cos)
}

/// Where the pictures lie before the map, in coordinates whose origin is the middle: one in the
/// middle, or four whose inner corners meet at a random centre.
fn places<'a>(
    order: &[&'a Fitted],
    width: f32,
    height: f32,
    rng: &mut Rng,
) -> Vec<(&'a Fitted, Affine)> {
    let side = |fitted: &Fitted| {
        (
            fitted.picture.size.width as f32,
            fitted.picture.size.height as f32,
        )
    };
    if let [one] = order {
        let (w, h) = side(one);
        return vec![(one, Affine::shift(-w / 2.0, -h / 2.0))];
    }
    let cx = rng.uniform(-width / 2.0, width / 2.0);
    let cy = rng.uniform(-height / 2.0, height / 2.0);
    let place = |(index, fitted): (usize, &&'a Fitted)| {
        let (w, h) = side(fitted);
        let x = if index % 2 == 1 { cx } else { cx - w };
        let y = if index / 2 == 1 { cy } else { cy - h };
        (*fitted, Affine::shift(x, y))
    };
    order.iter().enumerate().map(place).collect()
}

/// The cell after the map, cut to the canvas; `None` when too little of it is left to learn from.
fn moved((bbox, target): &([f32; 4], Target), map: &Affine, size: Size) -> Option<Target> {
    let (width, height) = (size.width as f32, size.height as f32);
    let [x0, y0, x1, y1] = map.bbox(*bbox);
    let whole = (x1 - x0) * (y1 - y0);
    let (x0, x1) = (x0.clamp(0.0, width), x1.clamp(0.0, width));
    let (y0, y1) = (y0.clamp(0.0, height), y1.clamp(0.0, height));
    let (w, h) = (x1 - x0, y1 - y0);
    let usable = w > SIDE_MIN
        && h > SIDE_MIN
        && w * h > VISIBLE_MIN * whole
        && (w / h).max(h / w) < ASPECT_MAX;
    let cxcywh = [
        (x0 + x1) / 2.0 / width,
        (y0 + y1) / 2.0 / height,
        w / width,
        h / height,
    ];
    usable.then_some(Target { cxcywh, ..*target })
}

#[cfg(test)]
mod tests {
    use shared::attribute::NO_ATTRIBUTES;

    use super::*;

    /// A grey picture with a black square, whose box is known.
    fn fitted() -> Fitted {
        let size = Size::new(64, 64);
        let mut bytes = vec![200; 3 * 64 * 64];
        for y in 20..40 {
            for x in 10..34 {
                for channel in 0..3 {
                    bytes[channel * 64 * 64 + y * 64 + x] = 0;
                }
            }
        }
        let target = Target {
            image: 0,
            class: Some(0),
            cxcywh: [0.0; 4],
            attributes: NO_ATTRIBUTES,
        };
        Fitted {
            picture: Planar { bytes, size },
            cells: vec![([10.0, 20.0, 34.0, 40.0], target)],
        }
    }

    #[test]
    fn boxes_move_with_their_pixels() {
        let picture = fitted();
        let plain = Augmentation {
            colour: ColourJitter {
                hue: 0.0,
                saturation: 0.0,
                value: 0.0,
            },
            degrees: 0.0,
            ..Augmentation::LOW
        };
        for index in 0..50 {
            let mut rng = Rng::new(7, 0, index);
            let partners = if index % 2 == 0 {
                vec![&picture]
            } else {
                vec![&picture; 4]
            };
            let out = plain.apply(&partners, Size::new(64, 64), &mut rng);
            // Every target's box is black inside, within a pixel of its edge.
            for target in &out.targets {
                let [cx, cy, w, h] = target.cxcywh.map(|v| v * 64.0);
                for y in (cy - h / 2.0 + 1.0).ceil() as usize..(cy + h / 2.0 - 1.0) as usize {
                    for x in (cx - w / 2.0 + 1.0).ceil() as usize..(cx + w / 2.0 - 1.0) as usize {
                        assert!(out.canvas[y * 64 + x] < 10, "sample {index} at {x} {y}");
                    }
                }
            }
            // And what is black lies in a box, but for cells of which less than a tenth is left.
            let forgotten = 4.0 * VISIBLE_MIN * (24.0 * 20.0) * 1.5 * 1.5;
            let black = out.canvas[..64 * 64].iter().filter(|&&v| v == 0).count() as f32;
            let boxes: f32 = out
                .targets
                .iter()
                .map(|t| t.cxcywh[2] * t.cxcywh[3] * 4096.0)
                .sum();
            assert!(
                black <= boxes + forgotten,
                "sample {index}: {black} black, {boxes} in boxes"
            );
        }
    }

    #[test]
    fn the_same_stream_gives_the_same_canvas() {
        let picture = fitted();
        let draw = |index| {
            Augmentation::LOW
                .apply(
                    &[&picture; 4],
                    Size::new(64, 64),
                    &mut Rng::new(3, 1, index),
                )
                .canvas
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }
}
