//! The block of words beside a box, and where it goes.

use heapless::{String, Vec};

use super::paint::{GLYPH, Rect, fill, text};
use crate::attribute::MAX_ATTRIBUTES;
use crate::geometry::Size;
use crate::pixels::RgbViewMut;

/// One line of words.
pub(super) type Line = String<48>;

/// Pixels around the words, at scale 1.
const PADDING: i32 = 2;

/// Pixels from one line to the next, at scale 1.
const LEADING: i32 = GLYPH + 2;

/// Boxes and labels that later labels keep clear of; beyond this many they may overlap.
const PLACES_MAX: usize = 256;

/// Darkness under the attribute lines, of 256.
const VEIL: u32 = 176;

/// What is already taken on the picture.
pub(super) struct Places {
    size: Size,
    scale: i32,
    taken: Vec<Rect, PLACES_MAX>,
}

impl Places {
    pub fn new(size: Size, scale: i32) -> Self {
        Self {
            size,
            scale,
            taken: Vec::new(),
        }
    }

    /// Keeps later labels off `rect`.
    pub fn take(&mut self, rect: Rect) {
        let _ = self.taken.push(rect);
    }

    /// The first place beside `rect` for a block that is wholly on the picture and on nothing else.
    fn beside(&self, rect: Rect, width: i32, height: i32) -> Option<Rect> {
        let away = 2 * self.scale;
        let places = [
            (rect.x0, rect.y0 - away - height),
            (rect.x1 + away, rect.y0),
            (rect.x0 - away - width, rect.y0),
            (rect.x0, rect.y1 + away),
            (rect.x1 - width, rect.y0 - away - height),
            (rect.x1 - width, rect.y1 + away),
            (rect.x1 + away, rect.y1 - height),
            (rect.x0 - away - width, rect.y1 - height),
        ];
        places
            .into_iter()
            .map(|(x, y)| Rect::sized(x, y, width, height))
            .find(|place| {
                place.inside(self.size) && self.taken.iter().all(|taken| !taken.overlaps(*place))
            })
    }

    /// Where a title goes when nothing is free: on the top edge of its box, pushed into the picture.
    fn on_the_edge(&self, rect: Rect, width: i32, height: i32) -> Rect {
        let room = |picture: u32, block: i32| (picture as i32 - block).max(0);
        let x = rect.x0.clamp(0, room(self.size.width, width));
        let y = rect.y0.clamp(0, room(self.size.height, height));
        Rect::sized(x, y, width, height)
    }
}

/// What is written beside a box.
pub(super) struct Label {
    pub colour: [u8; 3],
    pub title: Line,
    pub lines: Vec<Line, MAX_ATTRIBUTES>,
}

impl Label {
    /// As many lines as find a free place beside `rect`; the title always.
    pub fn draw(&self, picture: &mut RgbViewMut<'_>, places: &mut Places, rect: Rect) {
        let scale = places.scale;
        let rect = rect.clipped(places.size);
        let chosen = (0..=self.lines.len()).rev().find_map(|count| {
            let (width, height) = self.extent(count, scale);
            Some((count, places.beside(rect, width, height)?))
        });
        let (count, place) = chosen.unwrap_or_else(|| {
            let (width, height) = self.extent(0, scale);
            (0, places.on_the_edge(rect, width, height))
        });
        places.take(place);
        self.paint(picture, place, count, scale);
    }

    /// Width and height in pixels with `count` attribute lines.
    fn extent(&self, count: usize, scale: i32) -> (i32, i32) {
        let letters = |line: &Line| line.chars().count() as i32;
        let longest = self.lines[..count]
            .iter()
            .map(letters)
            .fold(letters(&self.title), i32::max);
        (
            (longest * GLYPH + 2 * PADDING) * scale,
            ((count as i32 + 1) * LEADING + PADDING) * scale,
        )
    }

    fn paint(&self, picture: &mut RgbViewMut<'_>, place: Rect, count: usize, scale: i32) {
        let title = Rect {
            y1: place.y0 + (LEADING + PADDING) * scale,
            ..place
        };
        let below = Rect {
            y0: title.y1,
            ..place
        };
        fill(picture, title, self.colour, 256);
        fill(picture, below, [0, 0, 0], VEIL);
        let ink = ink_on(self.colour);
        let left = place.x0 + PADDING * scale;
        let mut top = place.y0 + PADDING * scale;
        text(picture, (left, top), &self.title, scale, ink);
        for line in &self.lines[..count] {
            top += LEADING * scale;
            text(picture, (left, top + scale), line, scale, [255; 3]);
        }
    }
}

/// Black or white, whichever is further from the ground.
fn ink_on(ground: [u8; 3]) -> [u8; 3] {
    let [r, g, b] = ground.map(u32::from);
    // Luma of BT.601 in 1000 parts.
    if 299 * r + 587 * g + 114 * b > 110_000 {
        [0, 0, 0]
    } else {
        [255; 3]
    }
}
