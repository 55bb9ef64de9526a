//! Augmentation on bytes before the network sees them, in the reference's order (attridet.md, 8.6):
//! mosaic, perspective, mixup, stain, colour, flips and quarter turns.
//!
//! Every picture is sampled once, through one map; flips and turns are part of it. What is drawn
//! depends on the stream of [`Rng`] and on the pictures, never on a thread or a clock.

mod colour;
mod mixup;
mod projective;
mod rng;
mod stain;
#[cfg(test)]
mod tests;
mod warp;

use std::sync::Arc;

use shared::fit::PAD_VALUE;
use shared::geometry::Size;

pub use colour::ColourJitter;
pub use projective::Projective;
pub use rng::Rng;
pub use stain::StainJitter;
pub use warp::{Packed, draw};

use crate::assign::Target;

/// What is varied, and by how much; a field that a file lacks has the value of [`Augmentation::LOW`].
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Probability of four pictures on a canvas.
    pub mosaic: f32,
    /// Probability that a second mosaic shines through a mosaic.
    pub mixup: f32,
    /// Rotation, degrees each way; boxes turn as the ellipses in them.
    pub degrees: f32,
    /// Shift, share of the canvas each way.
    pub translate: f32,
    /// Smallest and largest size, 1 = as fitted.
    pub scale: [f32; 2],
    /// Shear, degrees each way.
    pub shear: f32,
    /// Tilt, change of size per pixel each way, 0..=0.001.
    pub perspective: f32,
    /// Probability that up and down change places.
    pub flipud: f32,
    /// Probability that left and right change places.
    pub fliplr: f32,
    /// Quarter turns, each as likely: cells have no up. Only half turns where the canvas is not square.
    pub turns: bool,
    /// Colour gains.
    pub colour: ColourJitter,
    /// Changes of the dyes.
    pub stain: StainJitter,
}

impl Default for Augmentation {
    fn default() -> Self {
        Self::LOW
    }
}

impl Augmentation {
    /// The values of the reference's "low" file, with turns.
    pub const LOW: Self = Self {
        mosaic: 1.0,
        mixup: 0.0,
        degrees: 0.0,
        translate: 0.1,
        scale: [0.5, 1.5],
        shear: 0.0,
        perspective: 0.0,
        flipud: 0.0,
        fliplr: 0.5,
        turns: true,
        colour: ColourJitter {
            hue: 0.015,
            saturation: 0.7,
            value: 0.4,
        },
        stain: StainJitter::NONE,
    };

    /// Pictures as they are, in the middle of the canvas.
    pub const NONE: Self = Self {
        mosaic: 0.0,
        translate: 0.0,
        scale: [1.0, 1.0],
        fliplr: 0.0,
        turns: false,
        colour: ColourJitter::NONE,
        ..Self::LOW
    };
}

/// A picture fitted to the canvas' size, and its cells as `[x0, y0, x1, y1]` in its pixels.
#[derive(Clone, Debug)]
pub struct Fitted<'a> {
    /// Pixels.
    pub picture: Arc<Packed>,
    /// Boxes beside class and attributes (the `image` and `cxcywh` of the targets are not set).
    pub cells: &'a [([f32; 4], Target)],
}

/// Where the pictures of mosaics come from.
#[derive(Debug)]
pub struct Pictures<'p, F> {
    /// What a mosaic's other pictures are drawn from.
    pub pool: &'p [usize],
    /// The picture of a number.
    pub fetch: F,
}

/// An augmented canvas, planar, and its targets.
#[derive(Clone, Debug, PartialEq)]
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
    /// The canvas of picture `first`, of `size`.
    ///
    /// # Errors
    /// The first that `pictures` gives.
    pub fn apply<'a, E>(
        &self,
        first: usize,
        pictures: &Pictures<'_, impl Fn(usize) -> Result<Fitted<'a>, E>>,
        size: Size,
        rng: &mut Rng,
    ) -> Result<Augmented, E> {
        let is_mosaic = rng.chance(self.mosaic);
        // The turn comes last, so that it is the same for both canvases of a mixture.
        let turn = self.turn(size, rng);
        let mut out = self.layer(first, is_mosaic, pictures, (size, &turn), rng)?;
        if is_mosaic && rng.chance(self.mixup) {
            let other = partner(pictures.pool, first, rng);
            let second = self.layer(other, true, pictures, (size, &turn), rng)?;
            mixup::mix(&mut out.canvas, &second.canvas, mixup::ratio(rng));
            out.targets.extend(second.targets);
        }
        self.stain.apply(&mut out.canvas, rng);
        self.colour.apply(&mut out.canvas, rng);
        Ok(out)
    }

    /// One picture, or four as a mosaic, drawn on an empty canvas.
    fn layer<'a, E>(
        &self,
        first: usize,
        is_mosaic: bool,
        pictures: &Pictures<'_, impl Fn(usize) -> Result<Fitted<'a>, E>>,
        (size, turn): (Size, &Projective),
        rng: &mut Rng,
    ) -> Result<Augmented, E> {
        let mut chosen = vec![first];
        if is_mosaic {
            chosen.extend([(); 3].map(|()| partner(pictures.pool, first, rng)));
            rng.shuffle(&mut chosen);
        }
        let map = self.map(size, rng).then(turn);
        let corner = [size.width, size.height].map(|side| rng.uniform(-0.5, 0.5) * side as f32);
        let mut canvas = vec![PAD_VALUE; 3 * size.area().unwrap_or(0)];
        let mut targets = Vec::new();
        for (at, &number) in chosen.iter().enumerate() {
            let fitted = (pictures.fetch)(number)?;
            let place = if is_mosaic {
                quarter(at, corner, fitted.picture.size())
            } else {
                middle(fitted.picture.size())
            };
            let whole = place.then(&map);
            draw(&fitted.picture, &whole, &mut canvas, size);
            let seen = |cell| moved(cell, &whole, size);
            targets.extend(fitted.cells.iter().filter_map(seen));
        }
        Ok(Augmented { canvas, targets })
    }

    /// From coordinates around the middle to the canvas: perspective, rotation and scale, shear, shift.
    fn map(&self, size: Size, rng: &mut Rng) -> Projective {
        let mut within = |limit: f32| f64::from(rng.uniform(-limit, limit));
        let tilt = Projective::tilt(within(self.perspective), within(self.perspective));
        let (sin, cos) = within(self.degrees).to_radians().sin_cos();
        let mut shear = || within(self.shear).to_radians().tan();
        let shear = Projective::linear(1.0, shear(), shear(), 1.0);
        let mut shift = |side: u32| (0.5 + within(self.translate)) * f64::from(side);
        let shift = Projective::shift(shift(size.width), shift(size.height));
        let scale = f64::from(rng.uniform(self.scale[0], self.scale[1]));
        tilt.then(&Projective::linear(cos, -sin, sin, cos))
            .then(&Projective::linear(scale, 0.0, 0.0, scale))
            .then(&shear)
            .then(&shift)
    }

    /// Flips and turns about the middle of the canvas.
    fn turn(&self, size: Size, rng: &mut Rng) -> Projective {
        let mut sign = |p: f32| if rng.chance(p) { -1.0 } else { 1.0 };
        let (x, y) = (sign(self.fliplr), sign(self.flipud));
        let quarters = if self.turns { rng.below(4) } else { 0 };
        let quarters = if size.width == size.height {
            quarters
        } else {
            quarters & 2
        };
        let (sin, cos) = [(0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0)][quarters];
        let (cx, cy) = (f64::from(size.width) / 2.0, f64::from(size.height) / 2.0);
        Projective::shift(-cx, -cy)
            .then(&Projective::linear(x, 0.0, 0.0, y))
            .then(&Projective::linear(cos, -sin, sin, cos))
            .then(&Projective::shift(cx, cy))
    }
}

/// One of the pool; without a pool the picture itself.
fn partner(pool: &[usize], itself: usize, rng: &mut Rng) -> usize {
    match pool.len() {
        0 => itself,
        n => pool[rng.below(n)],
    }
}

/// Puts a picture's middle at the origin.
fn middle(picture: Size) -> Projective {
    Projective::shift(
        -f64::from(picture.width) / 2.0,
        -f64::from(picture.height) / 2.0,
    )
}

/// Puts picture `at` of a mosaic's four at its side of `corner`, where their inner corners meet.
fn quarter(at: usize, corner: [f32; 2], picture: Size) -> Projective {
    let [x, y] = corner.map(f64::from);
    let x = if at % 2 == 1 {
        x
    } else {
        x - f64::from(picture.width)
    };
    let y = if at / 2 == 1 {
        y
    } else {
        y - f64::from(picture.height)
    };
    Projective::shift(x, y)
}

/// The cell after the map, cut to the canvas; `None` when too little of it is left to learn from.
fn moved((bbox, target): &([f32; 4], Target), map: &Projective, size: Size) -> Option<Target> {
    let (width, height) = (size.width as f32, size.height as f32);
    let [x0, y0, x1, y1] = map.ellipse_bbox(*bbox)?;
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
