//! A frame: a decoded picture with its place in the stream and its time.

use std::time::Duration;

use shared::geometry::Size;
use shared::pixels::{RgbView, RgbViewMut};

/// A decoded frame; its memory is reused from frame to frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// RGB, `width * height * 3` bytes, rows from the top, no padding.
    pub pixels: Vec<u8>,
    /// Width and height; 0x0 before the first frame.
    pub size: Size,
    /// The source's number of the frame, ascending; what is missing was replaced, damaged or never
    /// delivered, and is counted there.
    pub sequence: u64,
    /// When it was taken, since the start of the program.
    pub captured: Duration,
    /// Bytes of the compressed frame, of MJPEG only: a free signal of sharpness.
    pub compressed_bytes: Option<u32>,
    /// File of a picture of a folder; empty for others.
    pub name: String,
}

impl Frame {
    /// An empty frame, to be filled by a source.
    pub fn new() -> Self {
        Self {
            pixels: Vec::new(),
            size: Size::new(0, 0),
            sequence: 0,
            captured: Duration::ZERO,
            compressed_bytes: None,
            name: String::new(),
        }
    }

    /// The picture; `None` before the first frame, or when the bytes are not those of the size.
    pub fn view(&self) -> Option<RgbView<'_>> {
        let empty = self.pixels.is_empty();
        RgbView::new(&self.pixels, self.size)
            .ok()
            .filter(|_| !empty)
    }

    /// Makes room for a picture of `size` and gives it to be drawn over; its bytes are those of an
    /// earlier frame. Allocates only when no frame was as large before.
    ///
    /// `None` when the size does not fit into memory at all.
    pub fn room(&mut self, size: Size) -> Option<RgbViewMut<'_>> {
        let bytes = size.area()?.checked_mul(3)?;
        self.size = size;
        self.pixels.resize(bytes, 0);
        RgbViewMut::new(&mut self.pixels, size).ok()
    }
}

impl Default for Frame {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_shows_nothing_before_it_is_filled_and_its_memory_stays_when_it_shrinks() {
        let mut frame = Frame::new();
        assert!(frame.view().is_none());
        frame.room(Size::new(8, 4)).unwrap().bytes_mut().fill(7);
        assert_eq!(frame.view().unwrap().row(3), [7; 24]);
        let place = frame.pixels.as_ptr();
        frame.room(Size::new(2, 2)).unwrap();
        frame.room(Size::new(8, 4)).unwrap();
        assert_eq!(frame.pixels.as_ptr(), place);
        frame.pixels.pop();
        assert!(frame.view().is_none(), "one byte is missing");
        assert!(frame.room(Size::new(u32::MAX, u32::MAX)).is_none());
    }
}
