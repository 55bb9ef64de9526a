//! Sizes and boxes. A box says in its type which pixels it is measured in.

use core::fmt;
use core::marker::PhantomData;

use serde::{Deserialize, Serialize};

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
}

impl Size {
    /// A size; zero is allowed here and refused where a picture is made of it.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Pixels in all, `None` when they do not fit into `usize`.
    pub fn area(self) -> Option<usize> {
        (self.width as usize).checked_mul(self.height as usize)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// Pixels of the original picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Image {}

/// Pixels of the network's canvas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Canvas {}

/// A box in the pixels of `S`: half-open (`x0 <= x < x1`), finite, not empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BBox<S> {
    x0: f32,
    y0: f32,
    x1: f32,
    y1: f32,
    space: PhantomData<S>,
}

impl<S> BBox<S> {
    /// From left, top, right, bottom; `None` unless all are finite, `x0 < x1` and `y0 < y1`.
    pub fn from_corners(x0: f32, y0: f32, x1: f32, y1: f32) -> Option<Self> {
        let finite = x0.is_finite() && y0.is_finite() && x1.is_finite() && y1.is_finite();
        (finite && x0 < x1 && y0 < y1).then_some(Self {
            x0,
            y0,
            x1,
            y1,
            space: PhantomData,
        })
    }

    /// From centre and size; `None` unless finite with a positive size.
    pub fn from_centre(cx: f32, cy: f32, width: f32, height: f32) -> Option<Self> {
        let (half_width, half_height) = (width / 2.0, height / 2.0);
        Self::from_corners(
            cx - half_width,
            cy - half_height,
            cx + half_width,
            cy + half_height,
        )
    }

    /// Left edge.
    pub fn x0(&self) -> f32 {
        self.x0
    }

    /// Top edge.
    pub fn y0(&self) -> f32 {
        self.y0
    }

    /// Right edge, outside the box.
    pub fn x1(&self) -> f32 {
        self.x1
    }

    /// Bottom edge, outside the box.
    pub fn y1(&self) -> f32 {
        self.y1
    }

    /// `[x0, y0, x1, y1]`.
    pub fn xyxy(&self) -> [f32; 4] {
        [self.x0, self.y0, self.x1, self.y1]
    }

    /// Pixels from left to right.
    pub fn width(&self) -> f32 {
        self.x1 - self.x0
    }

    /// Pixels from top to bottom.
    pub fn height(&self) -> f32 {
        self.y1 - self.y0
    }

    /// Middle of the box, `(x, y)`.
    pub fn centre(&self) -> (f32, f32) {
        ((self.x0 + self.x1) / 2.0, (self.y0 + self.y1) / 2.0)
    }

    /// Square pixels.
    pub fn area(&self) -> f32 {
        self.width() * self.height()
    }

    /// The part inside `size`, `None` when nothing is left.
    pub fn clipped(&self, size: Size) -> Option<Self> {
        let (width, height) = (size.width as f32, size.height as f32);
        Self::from_corners(
            self.x0.clamp(0.0, width),
            self.y0.clamp(0.0, height),
            self.x1.clamp(0.0, width),
            self.y1.clamp(0.0, height),
        )
    }

    /// Intersection over union, 0..=1, symmetric.
    pub fn iou(&self, other: &Self) -> f32 {
        let width = self.x1.min(other.x1) - self.x0.max(other.x0);
        let height = self.y1.min(other.y1) - self.y0.max(other.y0);
        if width <= 0.0 || height <= 0.0 {
            return 0.0;
        }
        let shared = width * height;
        shared / (self.area() + other.area() - shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bbox(x0: f32, y0: f32, x1: f32, y1: f32) -> BBox<Image> {
        BBox::from_corners(x0, y0, x1, y1).expect("a proper box")
    }

    #[test]
    fn an_empty_or_endless_box_cannot_be_built() {
        for (x0, y0, x1, y1) in [
            (0.0, 0.0, 0.0, 1.0),
            (1.0, 0.0, 0.0, 1.0),
            (0.0, f32::NAN, 1.0, 1.0),
            (0.0, 0.0, f32::INFINITY, 1.0),
        ] {
            assert_eq!(
                BBox::<Image>::from_corners(x0, y0, x1, y1),
                None,
                "{x0} {y0} {x1} {y1}"
            );
        }
    }

    #[test]
    fn iou_is_symmetric_and_known() {
        let (a, b) = (bbox(0.0, 0.0, 10.0, 10.0), bbox(5.0, 0.0, 15.0, 10.0));
        assert_eq!(a.iou(&b), 50.0 / 150.0);
        assert_eq!(a.iou(&b), b.iou(&a));
        assert_eq!(a.iou(&a), 1.0);
        assert_eq!(
            a.iou(&bbox(10.0, 0.0, 20.0, 10.0)),
            0.0,
            "half-open boxes that touch share nothing"
        );
    }

    #[test]
    fn clipping_keeps_what_is_inside() {
        let clipped = bbox(-5.0, 2.0, 5.0, 30.0).clipped(Size::new(20, 20));
        assert_eq!(clipped, Some(bbox(0.0, 2.0, 5.0, 20.0)));
        assert_eq!(bbox(-5.0, 2.0, -1.0, 30.0).clipped(Size::new(20, 20)), None);
    }
}
