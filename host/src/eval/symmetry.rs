//! The eight ways to lay a square on itself: cells have no up, so each shows the same cells.

use shared::geometry::{BBox, Image, Size};

use crate::picture::Picture;

/// A flip or quarter turn: the axes are exchanged first, then flipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symmetry {
    /// Rows become columns.
    pub transpose: bool,
    /// Left becomes right.
    pub flip_x: bool,
    /// Top becomes bottom.
    pub flip_y: bool,
}

impl Symmetry {
    /// As it is.
    pub const IDENTITY: Self = Self::new(false, false, false);

    /// What `--augment` looks at beside the picture itself: its mirror image and both quarter turns.
    pub const AUGMENT: [Self; 4] = [
        Self::IDENTITY,
        Self::new(false, true, false),
        Self::new(true, true, false),
        Self::new(true, false, true),
    ];

    const fn new(transpose: bool, flip_x: bool, flip_y: bool) -> Self {
        Self {
            transpose,
            flip_x,
            flip_y,
        }
    }

    /// The size of a picture of `size` after this.
    pub fn size(self, size: Size) -> Size {
        if self.transpose {
            Size::new(size.height, size.width)
        } else {
            size
        }
    }

    /// The picture after this.
    pub fn apply(self, picture: &Picture) -> Picture {
        let size = self.size(picture.size);
        let (width, height) = (size.width as usize, size.height as usize);
        let row = picture.size.width as usize;
        let mut bytes = Vec::with_capacity(picture.bytes.len());
        for y in 0..height {
            let y = if self.flip_y { height - 1 - y } else { y };
            for x in 0..width {
                let x = if self.flip_x { width - 1 - x } else { x };
                let at = if self.transpose {
                    x * row + y
                } else {
                    y * row + x
                };
                bytes.extend_from_slice(&picture.bytes[3 * at..3 * at + 3]);
            }
        }
        Picture { bytes, size }
    }

    /// A box of the picture after this, back on the picture of `size` before it; `None` when
    /// rounding leaves nothing of it.
    pub fn undo(self, bbox: &BBox<Image>, size: Size) -> Option<BBox<Image>> {
        let turned = self.size(size);
        let [mut x0, mut y0, mut x1, mut y1] = bbox.xyxy();
        if self.flip_x {
            let width = turned.width as f32;
            (x0, x1) = (width - x1, width - x0);
        }
        if self.flip_y {
            let height = turned.height as f32;
            (y0, y1) = (height - y1, height - y0);
        }
        if self.transpose {
            (x0, y0, x1, y1) = (y0, x0, y1, x1);
        }
        BBox::from_corners(x0, y0, x1, y1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = Symmetry> {
        (0..8).map(|bits| Symmetry::new(bits & 4 != 0, bits & 2 != 0, bits & 1 != 0))
    }

    /// A black picture with one white pixel.
    fn dot(size: Size, x: u32, y: u32) -> Picture {
        let mut bytes = vec![0; (size.width * size.height * 3) as usize];
        let at = (3 * (y * size.width + x)) as usize;
        bytes[at..at + 3].fill(255);
        Picture { bytes, size }
    }

    fn place_of_dot(picture: &Picture) -> (u32, u32) {
        let at = picture.bytes.iter().position(|b| *b == 255).unwrap() as u32 / 3;
        (at % picture.size.width, at / picture.size.width)
    }

    #[test]
    fn the_box_of_a_pixel_comes_back_to_the_pixel_from_every_symmetry() {
        let size = Size::new(5, 3);
        for symmetry in all() {
            for (x, y) in [(0, 0), (4, 0), (1, 2), (3, 1)] {
                let turned = symmetry.apply(&dot(size, x, y));
                assert_eq!(turned.size, symmetry.size(size));
                let (tx, ty) = place_of_dot(&turned);
                let (left, top) = (tx as f32, ty as f32);
                let seen = BBox::from_corners(left, top, left + 1.0, top + 1.0).unwrap();
                let (x, y) = (x as f32, y as f32);
                let back = symmetry.undo(&seen, size).unwrap().xyxy();
                assert_eq!(back, [x, y, x + 1.0, y + 1.0], "{symmetry:?}");
            }
        }
    }

    #[test]
    fn augmentation_mirrors_and_turns_both_ways() {
        let size = Size::new(5, 3);
        let corner = dot(size, 0, 0);
        let places = Symmetry::AUGMENT.map(|symmetry| place_of_dot(&symmetry.apply(&corner)));
        // Of a picture 5 wide and 3 high: itself, mirrored, turned right (3 wide), turned left.
        assert_eq!(places, [(0, 0), (4, 0), (2, 0), (0, 4)]);
    }
}
