//! The one way from the bytes of a PNG or JPEG file to RGB: bounded, complete or refused.
//!
//! Grey, palette, CMYK, 16-bit and interlaced pictures become 8-bit RGB; an alpha channel is left
//! out; the EXIF orientation is applied, so that boxes are those of the picture as people see it.

use std::fmt;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::{DynamicImage, ImageDecoder, ImageError, Limits};
use shared::fit::SIDE_MAX;
use shared::geometry::Size;
use shared::jpeg;
use shared::pixels::{RgbView, RgbViewMut};

/// Largest file that is read, bytes.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// Most memory that decoding one picture may take, bytes; with the network beside it the process
/// stays below 256 MiB.
pub const DECODE_BYTES_MAX: u64 = 224 << 20;

/// Most pixels times scans of a JPEG: each scan of a progressive file visits the whole picture, and a
/// small file can hold hundreds of them.
pub const SCAN_PIXELS_MAX: u64 = 400_000_000;

/// Why a picture was not read; the file is named by whoever skips it.
#[derive(Debug)]
pub enum PictureError {
    /// The file cannot be opened or read.
    Unreadable(std::io::Error),
    /// A folder, a pipe or a device.
    NotAFile(&'static str),
    /// No bytes.
    Empty,
    /// Beyond [`FILE_BYTES_MAX`].
    FileTooLarge {
        /// Bytes of the file.
        got: u64,
    },
    /// Neither PNG nor JPEG by its first bytes.
    Format {
        /// The first bytes.
        got: Vec<u8>,
    },
    /// A side of 0 or above [`SIDE_MAX`].
    Sides(Size),
    /// Decoding would take more than [`DECODE_BYTES_MAX`].
    TooMuchMemory {
        /// The picture.
        size: Size,
        /// Bytes that would be needed.
        needed: u64,
    },
    /// A JPEG with more work in it than [`SCAN_PIXELS_MAX`].
    TooManyScans {
        /// The picture.
        size: Size,
        /// Scans in the file.
        scans: u32,
    },
    /// The JPEG's markers are broken or cut short.
    Jpeg(jpeg::MarkerError),
    /// The decoder's own words.
    Damaged(String),
}

impl fmt::Display for PictureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1 << 20;
        match self {
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
            Self::NotAFile(kind) => write!(f, "{kind}, expected a picture file"),
            Self::Empty => write!(f, "empty file, expected PNG or JPEG"),
            Self::FileTooLarge { got } => write!(
                f,
                "file of {} MiB, expected at most {}",
                got / MIB,
                FILE_BYTES_MAX / MIB
            ),
            Self::Format { got } => {
                write!(f, "starts with {got:02x?}, expected PNG or JPEG")
            }
            Self::Sides(size) => write!(f, "picture of {size}, expected sides of 1 to {SIDE_MAX}"),
            Self::TooMuchMemory { size, needed } => write!(
                f,
                "picture of {size} needs {} MiB to decode, expected at most {}",
                needed.div_ceil(MIB),
                DECODE_BYTES_MAX / MIB
            ),
            Self::TooManyScans { size, scans } => write!(
                f,
                "JPEG of {size} with {scans} scans, expected at most {SCAN_PIXELS_MAX} pixels in all scans"
            ),
            Self::Jpeg(error) => write!(f, "{error}"),
            Self::Damaged(error) => write!(f, "damaged: {error}"),
        }
    }
}

impl std::error::Error for PictureError {}

/// A decoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    bytes: Vec<u8>,
    size: Size,
}

impl Picture {
    /// From RGB bytes.
    ///
    /// # Errors
    /// When there are not `width * height * 3` of them.
    pub fn new(bytes: Vec<u8>, size: Size) -> Result<Self, shared::pixels::PixelsError> {
        RgbView::new(&bytes, size)?;
        Ok(Self { bytes, size })
    }

    /// Width and height.
    pub fn size(&self) -> Size {
        self.size
    }

    /// To read.
    pub fn view(&self) -> RgbView<'_> {
        RgbView::new(&self.bytes, self.size).expect("the length was checked when it was made")
    }

    /// To draw on.
    pub fn view_mut(&mut self) -> RgbViewMut<'_> {
        RgbViewMut::new(&mut self.bytes, self.size)
            .expect("the length was checked when it was made")
    }
}

/// Reads and decodes a file.
///
/// # Errors
/// Every reason of [`PictureError`].
pub fn read(path: &Path) -> Result<Picture, PictureError> {
    decode(&read_bytes(path)?)
}

/// Reads the bytes of a regular file of bounded size.
///
/// # Errors
/// What concerns the file, not the picture in it.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, PictureError> {
    // Asked before opening: opening a pipe would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(PictureError::Unreadable)?;
    if metadata.is_dir() {
        return Err(PictureError::NotAFile("a folder"));
    }
    if !metadata.is_file() {
        return Err(PictureError::NotAFile("a pipe, socket or device"));
    }
    let too_large = |got| Err(PictureError::FileTooLarge { got });
    if metadata.len() > FILE_BYTES_MAX {
        return too_large(metadata.len());
    }
    let file = File::open(path).map_err(PictureError::Unreadable)?;
    let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(PictureError::Unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return too_large(bytes.len() as u64);
    }
    Ok(bytes)
}

/// Decodes a PNG or JPEG, told apart by the first bytes, never by the name.
///
/// # Errors
/// Every reason of [`PictureError`] that concerns the bytes.
pub fn decode(bytes: &[u8]) -> Result<Picture, PictureError> {
    let limits = {
        let mut limits = Limits::default();
        limits.max_image_width = Some(SIDE_MAX);
        limits.max_image_height = Some(SIDE_MAX);
        limits.max_alloc = Some(DECODE_BYTES_MAX);
        limits
    };
    match bytes {
        [] => Err(PictureError::Empty),
        [0x89, b'P', b'N', b'G', ..] => {
            png_size(bytes).map_or(Ok(()), legal_sides)?;
            // Some limits concern the chunks before the picture and are taken here only.
            let decoder = PngDecoder::with_limits(Cursor::new(bytes), limits.clone());
            finish(decoder.map_err(damaged)?, limits, 0)
        }
        [0xff, 0xd8, ..] => {
            let markers = jpeg::walk(bytes).map_err(PictureError::Jpeg)?;
            let pixels = u64::from(markers.size.width) * u64::from(markers.size.height);
            let work = pixels.saturating_mul(u64::from(markers.scans));
            legal_sides(markers.size)?;
            if markers.scans > 1 && work > SCAN_PIXELS_MAX {
                let (size, scans) = (markers.size, markers.scans);
                return Err(PictureError::TooManyScans { size, scans });
            }
            // The decoder keeps the coefficients of all components of a file of several scans.
            let coefficients = if markers.scans > 1 {
                pixels * 2 * u64::from(markers.components)
            } else {
                0
            };
            let decoder = JpegDecoder::new(Cursor::new(bytes)).map_err(damaged)?;
            finish(decoder, limits, coefficients + 2 * bytes.len() as u64)
        }
        _ => Err(PictureError::Format {
            got: bytes.iter().take(4).copied().collect(),
        }),
    }
}

/// Checks what decoding costs beforehand, decodes, turns and converts.
fn finish(
    mut decoder: impl ImageDecoder,
    limits: Limits,
    aside: u64,
) -> Result<Picture, PictureError> {
    let (width, height) = decoder.dimensions();
    let size = Size::new(width, height);
    legal_sides(size)?;
    let rgb = u64::from(width) * u64::from(height) * 3;
    let turned = decoder.orientation().map_err(damaged)?;
    let copies = match (decoder.color_type(), turned) {
        (image::ColorType::Rgb8, image::metadata::Orientation::NoTransforms) => 0,
        _ => rgb,
    };
    let needed = decoder
        .total_bytes()
        .saturating_add(copies)
        .saturating_add(aside);
    if needed > DECODE_BYTES_MAX {
        return Err(PictureError::TooMuchMemory { size, needed });
    }
    decoder.set_limits(limits).map_err(damaged)?;
    let decoded = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    let mut rgb = DynamicImage::ImageRgb8(decoded.into_rgb8());
    rgb.apply_orientation(turned);
    let size = Size::new(rgb.width(), rgb.height());
    Picture::new(rgb.into_bytes(), size).map_err(|error| PictureError::Damaged(error.to_string()))
}

/// Width and height as the header chunk has them, so that a refusal can name them.
fn png_size(bytes: &[u8]) -> Option<Size> {
    let side = |at: usize| {
        let side = bytes.get(at..at + 4)?;
        Some(u32::from_be_bytes(side.try_into().ok()?))
    };
    Some(Size::new(side(16)?, side(20)?))
}

fn legal_sides(size: Size) -> Result<(), PictureError> {
    let legal = |side| (1..=SIDE_MAX).contains(&side);
    if legal(size.width) && legal(size.height) {
        Ok(())
    } else {
        Err(PictureError::Sides(size))
    }
}

fn damaged(error: ImageError) -> PictureError {
    PictureError::Damaged(error.to_string().replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests;
