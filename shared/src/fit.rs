//! How a picture is laid on the canvas, and the way back.

use serde::{Deserialize, Serialize};

use crate::geometry::{BBox, Canvas, Image, Size};

/// Grey of the padding; the value the detector family was designed with.
pub const PAD_VALUE: u8 = 114;

/// Widest and highest picture that is accepted, in pixels.
pub const SIDE_MAX: u32 = 16_384;

/// The two ways to lay a picture on the canvas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FitKind {
    /// Keep the aspect ratio, fill the rest with [`PAD_VALUE`].
    Letterbox,
    /// Fill the canvas, each axis with its own ratio (LeukemiaAttri's fields are squeezed so).
    Stretch,
}

/// A picture of one size laid on a canvas of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    image: Size,
    canvas: Size,
    inner: Size,
    left: u32,
    top: u32,
}

impl Fit {
    /// Lays `image` on `canvas`; `None` when a side is 0 or above [`SIDE_MAX`].
    pub fn new(kind: FitKind, image: Size, canvas: Size) -> Option<Self> {
        let legal = |size: Size| {
            (1..=SIDE_MAX).contains(&size.width) && (1..=SIDE_MAX).contains(&size.height)
        };
        if !legal(image) || !legal(canvas) {
            return None;
        }
        let inner = match kind {
            FitKind::Stretch => canvas,
            FitKind::Letterbox => letterboxed(image, canvas),
        };
        let (left, top) = (
            (canvas.width - inner.width) / 2,
            (canvas.height - inner.height) / 2,
        );
        Some(Self {
            image,
            canvas,
            inner,
            left,
            top,
        })
    }

    /// The picture's size.
    pub fn image(&self) -> Size {
        self.image
    }

    /// The canvas' size.
    pub fn canvas(&self) -> Size {
        self.canvas
    }

    /// The size the picture has on the canvas.
    pub fn inner(&self) -> Size {
        self.inner
    }

    /// Padding left of and above the picture, in canvas pixels.
    pub fn offset(&self) -> (u32, u32) {
        (self.left, self.top)
    }

    /// Canvas pixels per image pixel, (x, y).
    pub fn ratio(&self) -> (f32, f32) {
        (
            self.inner.width as f32 / self.image.width as f32,
            self.inner.height as f32 / self.image.height as f32,
        )
    }

    /// A box of the picture on the canvas; `None` when rounding leaves nothing of it.
    pub fn canvas_from_image(&self, b: &BBox<Image>) -> Option<BBox<Canvas>> {
        let (rx, ry) = self.ratio();
        let (left, top) = (self.left as f32, self.top as f32);
        BBox::from_corners(
            b.x0() * rx + left,
            b.y0() * ry + top,
            b.x1() * rx + left,
            b.y1() * ry + top,
        )
    }

    /// A box of the canvas in the picture, clipped to it; `None` when it lies on the padding only.
    pub fn image_from_canvas(&self, b: &BBox<Canvas>) -> Option<BBox<Image>> {
        let (rx, ry) = self.ratio();
        let (left, top) = (self.left as f32, self.top as f32);
        BBox::from_corners(
            (b.x0() - left) / rx,
            (b.y0() - top) / ry,
            (b.x1() - left) / rx,
            (b.y1() - top) / ry,
        )?
        .clipped(self.image)
    }
}

/// The largest size of `image`'s aspect ratio inside `canvas`, at least 1x1, rounded to the nearest.
fn letterboxed(image: Size, canvas: Size) -> Size {
    let (iw, ih) = (u64::from(image.width), u64::from(image.height));
    let (cw, ch) = (u64::from(canvas.width), u64::from(canvas.height));
    if iw * ch >= ih * cw {
        let height = ((ih * cw + iw / 2) / iw).clamp(1, ch);
        Size::new(canvas.width, height as u32)
    } else {
        let width = ((iw * ch + ih / 2) / ih).clamp(1, cw);
        Size::new(width as u32, canvas.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_picture_is_centred_between_two_bars() {
        let fit = Fit::new(FitKind::Letterbox, Size::new(640, 480), Size::new(320, 320)).unwrap();
        assert_eq!(fit.inner(), Size::new(320, 240));
        assert_eq!(fit.offset(), (0, 40));
    }

    #[test]
    fn there_and_back_is_the_same_box() {
        for kind in [FitKind::Letterbox, FitKind::Stretch] {
            for size in [Size::new(640, 480), Size::new(333, 1000), Size::new(32, 32)] {
                let fit = Fit::new(kind, size, Size::new(320, 320)).unwrap();
                let b = BBox::from_corners(3.5, 4.0, 30.0, 31.5).unwrap();
                let back = fit
                    .image_from_canvas(&fit.canvas_from_image(&b).unwrap())
                    .unwrap();
                for (got, expected) in back.xyxy().into_iter().zip(b.xyxy()) {
                    assert!(
                        (got - expected).abs() < 1e-3,
                        "{kind:?} {size}: {got} {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_box_on_the_padding_is_no_box_of_the_picture() {
        let fit = Fit::new(FitKind::Letterbox, Size::new(640, 480), Size::new(320, 320)).unwrap();
        let padding = BBox::from_corners(10.0, 5.0, 50.0, 35.0).unwrap();
        assert_eq!(fit.image_from_canvas(&padding), None);
        let edge = BBox::from_corners(10.0, 5.0, 50.0, 60.0).unwrap();
        assert_eq!(
            fit.image_from_canvas(&edge).unwrap().xyxy(),
            [20.0, 0.0, 100.0, 40.0]
        );
    }

    #[test]
    fn a_picture_without_pixels_or_beyond_the_limit_has_no_fit() {
        for size in [Size::new(0, 5), Size::new(5, 0), Size::new(SIDE_MAX + 1, 5)] {
            assert_eq!(
                Fit::new(FitKind::Stretch, size, Size::new(320, 320)),
                None,
                "{size}"
            );
        }
        let thin = Fit::new(
            FitKind::Letterbox,
            Size::new(SIDE_MAX, 1),
            Size::new(320, 320),
        )
        .unwrap();
        assert_eq!(thin.inner(), Size::new(320, 1));
    }
}
