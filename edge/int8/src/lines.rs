//! The output of a convolution as lines of pixels, and where the bytes lie that a line is made of.

use crate::map::Shape;

/// How a window moves over the input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) side: [usize; 2],
    pub(crate) stride: [usize; 2],
    /// Top, left, bottom, right.
    pub(crate) padding: [usize; 4],
    pub(crate) zero_point: u8,
    /// The input is one plane a channel, as a canvas is, rather than channels innermost.
    pub(crate) planar: bool,
}

impl Window {
    /// Rows and columns of the places; `None` when the window does not fit.
    pub(crate) fn places(&self, input: Shape) -> Option<[usize; 2]> {
        let [top, left, bottom, right] = self.padding;
        let along = |size: usize, axis: usize| {
            Some(size.checked_sub(self.side[axis])? / self.stride[axis] + 1)
        };
        Some([
            along(input.height.checked_add(top + bottom)?, 0)?,
            along(input.width.checked_add(left + right)?, 1)?,
        ])
    }

    /// Neighbours are never looked at, and a pixel's bytes are whole groups.
    fn is_flat(&self, channels: usize) -> bool {
        self.side == [1, 1]
            && self.stride == [1, 1]
            && self.padding == [0; 4]
            && !self.planar
            && channels.is_multiple_of(crate::kernel::GROUP)
    }
}

/// A picture's input bytes and the output pixels they make, line by line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines<'a> {
    window: Window,
    x: &'a [u8],
    input: Shape,
    is_flat: bool,
    /// Lines in all.
    pub(crate) n: usize,
    /// Pixels of a line; the last one may be shorter where pixels have no neighbours.
    pub(crate) len: usize,
    pixels: usize,
}

/// Where the bytes of some lines lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operands {
    /// Of the first line's first pixel.
    pub(crate) x: *const u8,
    pub(crate) line_pitch: usize,
    pub(crate) run_pitch: usize,
    pub(crate) pixel_stride: usize,
}

/// Bytes that a kernel may read behind the last run.
const SLACK: usize = 4;

impl<'a> Lines<'a> {
    /// `flat_len`: pixels of a line where pixels have no neighbours.
    pub(crate) fn new(
        window: Window,
        x: &'a [u8],
        input: Shape,
        [height, width]: [usize; 2],
        flat_len: usize,
    ) -> Self {
        let pixels = height * width;
        let is_flat = window.is_flat(input.channels);
        let [n, len] = match is_flat {
            true => [pixels.div_ceil(flat_len), flat_len.min(pixels)],
            false => [height, width],
        };
        Self {
            window,
            x,
            input,
            is_flat,
            n,
            len,
            pixels,
        }
    }

    /// Pixels of a line.
    pub(crate) fn pixels_of(&self, line: usize) -> usize {
        self.len.min(self.pixels - line * self.len)
    }

    /// Input bytes that one more line reads.
    pub(crate) fn bytes_of_line(&self) -> usize {
        match self.is_flat {
            true => self.len * self.input.channels,
            false => self.window.stride[0] * self.row_bytes(),
        }
    }

    /// Where the bytes of the lines from `first` on lie: in the input, or copied to `scratch` with
    /// the padding around them.
    pub(crate) fn operands(&self, first: usize, n: usize, scratch: &mut Vec<u8>) -> Operands {
        let channels = self.input.channels;
        if self.is_flat {
            return Operands {
                x: self.x[first * self.len * channels..].as_ptr(),
                line_pitch: self.len * channels,
                run_pitch: 0,
                pixel_stride: channels,
            };
        }
        self.copy(first, n, scratch);
        let (row_bytes, columns) = (self.row_bytes(), self.columns());
        let planar = self.window.planar;
        Operands {
            x: scratch.as_ptr(),
            line_pitch: self.window.stride[0] * row_bytes,
            run_pitch: if planar { columns } else { row_bytes },
            pixel_stride: self.window.stride[1] * if planar { 1 } else { channels },
        }
    }

    /// Columns of the input, padding included, that a line reads.
    fn columns(&self) -> usize {
        (self.len - 1) * self.window.stride[1] + self.window.side[1]
    }

    fn row_bytes(&self) -> usize {
        self.columns() * self.input.channels
    }

    fn copy(&self, first: usize, n: usize, scratch: &mut Vec<u8>) {
        let Window {
            side,
            stride,
            padding: [top, ..],
            zero_point,
            ..
        } = self.window;
        let rows = (n - 1) * stride[0] + side[0];
        let row_bytes = self.row_bytes();
        let len = rows * row_bytes;
        // Grows to the largest strip of the network once.
        if scratch.len() < len + SLACK {
            scratch.resize(len + SLACK, 0);
        }
        for (row, to) in scratch[..len].chunks_exact_mut(row_bytes).enumerate() {
            let y = (first * stride[0] + row).checked_sub(top);
            match y.filter(|&y| y < self.input.height) {
                Some(y) => self.copy_row(y, to),
                None => to.fill(zero_point),
            }
        }
    }

    fn copy_row(&self, y: usize, to: &mut [u8]) {
        let Shape {
            height,
            width,
            channels,
        } = self.input;
        if self.window.planar {
            for (channel, to) in to.chunks_exact_mut(self.columns()).enumerate() {
                let from = &self.x[(channel * height + y) * width..][..width];
                self.copy_padded(from, to, 1);
            }
        } else {
            let from = &self.x[y * width * channels..][..width * channels];
            self.copy_padded(from, to, channels);
        }
    }

    /// `size` bytes are one pixel.
    fn copy_padded(&self, from: &[u8], to: &mut [u8], size: usize) {
        let zero_point = self.window.zero_point;
        let left = (self.window.padding[1] * size).min(to.len());
        let (padding, rest) = to.split_at_mut(left);
        padding.fill(zero_point);
        let n = from.len().min(rest.len());
        let (inside, padding) = rest.split_at_mut(n);
        inside.copy_from_slice(&from[..n]);
        padding.fill(zero_point);
    }
}
