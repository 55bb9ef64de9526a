//! From the bytes of a camera's buffer to RGB, in the caller's frame; integers only.
//!
//! A buffer that is too short, or a JPEG that is not whole, is refused: a half picture counted as a
//! whole one would be a wrong count. YUYV, NV12 and grey allocate nothing; the JPEG decoder takes
//! memory for itself while it works.

mod mjpeg;
mod yuv;

use shared::geometry::Size;
use shared::jpeg::MarkerError;

use super::{DamageReason, PixelFormat};
use crate::frame::Frame;

/// How brightness and colour are coded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Matrix {
    /// ITU-R BT.601, what cameras mean when they say nothing.
    #[default]
    Bt601,
    /// ITU-R BT.709.
    Bt709,
}

/// Which part of 0..=255 is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Range {
    /// Brightness 16 to 235, colour 16 to 240: what cameras mean when they say nothing.
    #[default]
    Limited,
    /// 0 to 255.
    Full,
}

/// What was agreed with the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How a frame lies in the buffer.
    pub format: PixelFormat,
    /// Of the picture.
    pub size: Size,
    /// Bytes from one row to the next, of YUYV, NV12 and grey; rows may be padded.
    pub bytes_per_line: u32,
    /// Of YUYV and NV12.
    pub matrix: Matrix,
    /// Of YUYV and NV12; grey is taken as it is.
    pub range: Range,
}

/// The bytes are no whole picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No bytes at all.
    #[error("{format} frame of 0 bytes")]
    Empty {
        /// As agreed.
        format: PixelFormat,
    },
    /// The picture needs more bytes.
    #[error("{format} frame of {found} bytes, expected at least {expected}")]
    Short {
        /// As agreed.
        format: PixelFormat,
        /// Bytes that the picture needs.
        expected: u64,
        /// Bytes used, as the driver says.
        found: usize,
    },
    /// The rows are said to be shorter than their pixels.
    #[error("{format} rows of {found} bytes, expected at least {expected}")]
    Rows {
        /// As agreed.
        format: PixelFormat,
        /// Bytes of the pixels of a row.
        expected: u64,
        /// Bytes from row to row.
        found: u32,
    },
    /// No JPEG by its first two bytes.
    #[error("JPEG frame starts with {found:02x?}, expected [ff, d8]")]
    NoStart {
        /// The first bytes.
        found: [u8; 2],
    },
    /// The JPEG's markers are broken or cut short.
    #[error("{0}")]
    Markers(MarkerError),
    /// Another size than agreed, or one that no picture has.
    #[error("frame of {found}, expected {expected}")]
    Size {
        /// As agreed.
        expected: Size,
        /// As the frame has it.
        found: Size,
    },
    /// Neither grey nor YCbCr.
    #[error("JPEG frame of {found} colour components, expected 1 or 3")]
    Colours {
        /// Components.
        found: u8,
    },
    /// The decoder's own words.
    #[error("JPEG frame: {0}")]
    Decoder(String),
}

impl DecodeError {
    /// Which counter it belongs to.
    pub fn reason(&self) -> DamageReason {
        match self {
            Self::Empty { .. } => DamageReason::Empty,
            Self::Short { .. } | Self::Rows { .. } => DamageReason::Short,
            Self::NoStart { .. } | Self::Markers(_) => DamageReason::Markers,
            Self::Size { .. } => DamageReason::Size,
            Self::Colours { .. } => DamageReason::Colours,
            Self::Decoder(_) => DamageReason::Decoder,
        }
    }
}

/// Decodes `bytes`, those of the buffer that the driver says are used, into the picture of `frame`
/// and sets its size and compressed bytes; its sequence and time are the caller's.
///
/// # Errors
/// When the bytes are no whole picture of the layout; the picture of `frame` is then undefined.
pub fn decode(bytes: &[u8], layout: &Layout, frame: &mut Frame) -> Result<(), DecodeError> {
    if bytes.is_empty() {
        let format = layout.format;
        return Err(DecodeError::Empty { format });
    }
    frame.compressed_bytes = None;
    match layout.format {
        PixelFormat::Yuyv => yuv::yuyv(bytes, layout, frame),
        PixelFormat::Nv12 => yuv::nv12(bytes, layout, frame),
        PixelFormat::Grey => yuv::grey(bytes, layout, frame),
        PixelFormat::Mjpeg => mjpeg::mjpeg(bytes, layout.size, frame),
    }
}

/// The pixels to draw on.
fn room(size: Size, frame: &mut Frame) -> Result<&mut [u8], DecodeError> {
    // A side of 0 has rows of no bytes, which cannot be walked through.
    if size.width == 0 || size.height == 0 || frame.room(size).is_none() {
        let (expected, found) = (size, size);
        return Err(DecodeError::Size { expected, found });
    }
    Ok(&mut frame.pixels)
}

#[cfg(test)]
mod tests;
