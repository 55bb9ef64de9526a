//! Borrowed pictures: 8-bit RGB, rows from the top, no padding between rows.

use core::fmt;

use crate::geometry::Size;

/// The bytes do not make a picture of the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelsError {
    /// The size that was asked for.
    pub size: Size,
    /// The bytes that were given.
    pub got: usize,
}

impl fmt::Display for PixelsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a picture of {} needs width * height * 3 bytes, got {}",
            self.size, self.got
        )
    }
}

impl core::error::Error for PixelsError {}

fn check(len: usize, size: Size) -> Result<(), PixelsError> {
    let expected = size.area().and_then(|pixels| pixels.checked_mul(3));
    if expected == Some(len) {
        Ok(())
    } else {
        Err(PixelsError { size, got: len })
    }
}

/// A picture to read: `size.height` rows of `size.width` RGB triples.
#[derive(Clone, Copy, Debug)]
pub struct RgbView<'a> {
    bytes: &'a [u8],
    size: Size,
}

impl<'a> RgbView<'a> {
    /// Checks the length once.
    pub fn new(bytes: &'a [u8], size: Size) -> Result<Self, PixelsError> {
        check(bytes.len(), size)?;
        Ok(Self { bytes, size })
    }

    /// Width and height.
    pub fn size(&self) -> Size {
        self.size
    }

    /// All bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Row `y`, `width * 3` bytes; `y` must be below the height.
    pub fn row(&self, y: u32) -> &'a [u8] {
        let stride = self.size.width as usize * 3;
        &self.bytes[y as usize * stride..][..stride]
    }
}

/// A picture to draw on.
#[derive(Debug)]
pub struct RgbViewMut<'a> {
    bytes: &'a mut [u8],
    size: Size,
}

impl<'a> RgbViewMut<'a> {
    /// Checks the length once.
    pub fn new(bytes: &'a mut [u8], size: Size) -> Result<Self, PixelsError> {
        check(bytes.len(), size)?;
        Ok(Self { bytes, size })
    }

    /// Width and height.
    pub fn size(&self) -> Size {
        self.size
    }

    /// All bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// The same picture, to read.
    pub fn view(&self) -> RgbView<'_> {
        RgbView {
            bytes: self.bytes,
            size: self.size,
        }
    }

    /// Pixel at `(x, y)`; both must be inside.
    pub fn pixel_mut(&mut self, x: u32, y: u32) -> &mut [u8; 3] {
        let at = (y as usize * self.size.width as usize + x as usize) * 3;
        (&mut self.bytes[at..at + 3])
            .try_into()
            .expect("three bytes were sliced")
    }

    /// Sets the pixel when it is inside the picture.
    pub fn put(&mut self, x: i32, y: i32, colour: [u8; 3]) {
        if (0..self.size.width as i32).contains(&x) && (0..self.size.height as i32).contains(&y) {
            *self.pixel_mut(x as u32, y as u32) = colour;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_the_wrong_length_is_refused() {
        assert!(RgbView::new(&[0; 12], Size::new(2, 2)).is_ok());
        assert_eq!(
            RgbView::new(&[0; 11], Size::new(2, 2)).unwrap_err(),
            PixelsError {
                size: Size::new(2, 2),
                got: 11
            }
        );
        assert!(RgbView::new(&[], Size::new(u32::MAX, u32::MAX)).is_err());
    }
}
