//! A picture's size, from its header alone; and, on request, whether the rest is there too.

use std::path::Path;

use image::metadata::Orientation;
use image::{ImageDecoder, ImageReader, Limits};
use shared::fit::SIDE_MAX;
use shared::geometry::Size;

use super::Dataset;
use super::problem::{Collector, DataError, Mode, ReadReport};
use crate::picture::Picture;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureHeader {
    /// Width and height as stored.
    pub size: Size,
}

/// Most memory a decoder may take for a header, in bytes.
const HEADER_MEMORY_MAX: u64 = 256 << 20;

/// Reads the header of a JPEG or PNG file, by its contents and not by its name.
///
/// # Errors
/// No plain file, another format, a side of 0 or above [`SIDE_MAX`], or a picture that asks to be
/// turned (EXIF): nobody can know whether its boxes were drawn before or after the turn.
pub fn read_header(path: &Path) -> Result<PictureHeader, DataError> {
    let kind = std::fs::metadata(path).map_err(DataError::io(path))?;
    if !kind.is_file() {
        return Err(DataError::file(
            path,
            "expected a picture, found a folder or a device",
        ));
    }
    let mut reader = ImageReader::open(path)
        .and_then(ImageReader::with_guessed_format)
        .map_err(DataError::io(path))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(HEADER_MEMORY_MAX);
    reader.limits(limits);
    let refuse = |error| DataError::file(path, format!("expected a JPEG or PNG picture: {error}"));
    let mut decoder = reader.into_decoder().map_err(refuse)?;
    let (width, height) = decoder.dimensions();
    let legal = 1..=SIDE_MAX;
    if !legal.contains(&width) || !legal.contains(&height) {
        let detail = format!("expected sides of 1 to {SIDE_MAX} pixels, found {width}x{height}");
        return Err(DataError::file(path, detail));
    }
    let orientation = decoder.orientation().map_err(refuse)?;
    if orientation != Orientation::NoTransforms {
        let detail =
            format!("expected an upright picture, found EXIF {orientation:?}: save it upright");
        return Err(DataError::file(path, detail));
    }
    Ok(PictureHeader {
        size: Size::new(width, height),
    })
}

/// Decodes every picture to its last pixel: a cut file has a good header. In lenient mode what
/// cannot be decoded is taken out of `data`.
///
/// # Errors
/// In strict mode, pictures that cannot be decoded.
pub fn check_pixels(data: &mut Dataset, mode: Mode) -> Result<ReadReport, DataError> {
    let mut problems = Collector::new(mode);
    data.samples.retain(|sample| {
        let decoded = Picture::open(&sample.image);
        if let Err(error) = &decoded {
            let detail = format!("expected a whole picture: {}", error.reason);
            problems.refuse(
                "picture that cannot be decoded",
                sample.image.display(),
                detail,
            );
        }
        decoded.is_ok()
    });
    problems.finish()
}
