//! Outlines and letters on a borrowed picture; everything is clipped to it.

use font8x8::{BASIC_FONTS, LATIN_FONTS, UnicodeFonts};

use crate::geometry::Size;
use crate::pixels::RgbViewMut;

/// Pixels of a letter's cell at scale 1.
pub const GLYPH: i32 = 8;

/// Colour around every line.
const HALO: [u8; 3] = [0, 0, 0];

/// Length of a dash and of the gap behind it, at scale 1.
const DASH: i32 = 7;
const GAP: i32 = 5;

/// Pixels `x0..x1`, `y0..y1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rect {
    pub x0: i32,
    pub y0: i32,
    pub x1: i32,
    pub y1: i32,
}

impl Rect {
    pub fn sized(x0: i32, y0: i32, width: i32, height: i32) -> Self {
        Self {
            x0,
            y0,
            x1: x0.saturating_add(width),
            y1: y0.saturating_add(height),
        }
    }

    pub fn grown(self, by: i32) -> Self {
        Self {
            x0: self.x0.saturating_sub(by),
            y0: self.y0.saturating_sub(by),
            x1: self.x1.saturating_add(by),
            y1: self.y1.saturating_add(by),
        }
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.x0 < other.x1 && other.x0 < self.x1 && self.y0 < other.y1 && other.y0 < self.y1
    }

    pub fn inside(self, size: Size) -> bool {
        self.x0 >= 0
            && self.y0 >= 0
            && self.x1 <= size.width as i32
            && self.y1 <= size.height as i32
    }

    pub fn clipped(self, size: Size) -> Self {
        let (width, height) = (size.width as i32, size.height as i32);
        Self {
            x0: self.x0.clamp(0, width),
            y0: self.y0.clamp(0, height),
            x1: self.x1.clamp(0, width),
            y1: self.y1.clamp(0, height),
        }
    }
}

/// A frame of `2 * scale` pixels inside `rect`, with a halo on both sides.
pub(super) fn outline(
    picture: &mut RgbViewMut<'_>,
    rect: Rect,
    scale: i32,
    colour: [u8; 3],
    dashed: bool,
) {
    // A box at the very edge keeps all four sides in sight.
    let size = picture.size();
    let rect = rect.clipped(size);
    let width = 2 * scale;
    for (inset, colour) in [(-scale, HALO), (width, HALO), (0, colour)] {
        let thick = if inset == 0 { width } else { scale };
        for ring in inset..inset + thick {
            ring_of(picture, rect.grown(-ring), scale, colour, dashed);
        }
    }
}

/// One pixel wide, around the inside of `rect`.
fn ring_of(picture: &mut RgbViewMut<'_>, rect: Rect, scale: i32, colour: [u8; 3], dashed: bool) {
    if rect.x0 >= rect.x1 || rect.y0 >= rect.y1 {
        return;
    }
    let drawn = |along: i32| !dashed || along.rem_euclid((DASH + GAP) * scale) < DASH * scale;
    for x in (rect.x0..rect.x1).filter(|&x| drawn(x)) {
        picture.put(x, rect.y0, colour);
        picture.put(x, rect.y1 - 1, colour);
    }
    for y in (rect.y0..rect.y1).filter(|&y| drawn(y)) {
        picture.put(rect.x0, y, colour);
        picture.put(rect.x1 - 1, y, colour);
    }
}

/// Blends `colour` over `rect`: `opacity` of 256 parts.
pub(super) fn fill(picture: &mut RgbViewMut<'_>, rect: Rect, colour: [u8; 3], opacity: u32) {
    let rect = rect.clipped(picture.size());
    for y in rect.y0..rect.y1 {
        for x in rect.x0..rect.x1 {
            let pixel = picture.pixel_mut(x as u32, y as u32);
            for (under, over) in pixel.iter_mut().zip(colour) {
                let mixed = u32::from(*under) * (256 - opacity) + u32::from(over) * opacity;
                *under = (mixed >> 8) as u8;
            }
        }
    }
}

/// Writes one line with its top left corner at `(x, y)`; letters are `8 * scale` pixels square.
///
/// A letter that the font lacks is drawn as `?`.
pub fn text(
    picture: &mut RgbViewMut<'_>,
    (x, y): (i32, i32),
    line: &str,
    scale: i32,
    ink: [u8; 3],
) {
    for (index, letter) in line.chars().enumerate() {
        let glyph = BASIC_FONTS
            .get(letter)
            .or_else(|| LATIN_FONTS.get(letter))
            .or_else(|| BASIC_FONTS.get('?'))
            .unwrap_or_default();
        let left = x + index as i32 * GLYPH * scale;
        for (row, bits) in glyph.into_iter().enumerate() {
            for column in (0..GLYPH).filter(|column| bits >> column & 1 == 1) {
                let (dx, dy) = (left + column * scale, y + row as i32 * scale);
                fill(picture, Rect::sized(dx, dy, scale, scale), ink, 256);
            }
        }
    }
}
