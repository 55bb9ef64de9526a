//! A file to RGB bytes, with limits.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use crate::dataset::read_bytes;
use image::{ImageReader, Limits};
use shared::fit::{Fit, FitKind, SIDE_MAX};
use shared::geometry::Size;
use shared::pixels::RgbView;
use shared::resize::{canvas_into, canvas_len, scratch_len};

/// Most memory a decoder may take, in bytes.
const DECODE_BYTES_MAX: u64 = 224 << 20;

/// Largest picture file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A picture that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", .path.display())]
pub struct PictureError {
    /// Which file.
    pub path: PathBuf,
    /// Expected and found.
    pub reason: String,
}

/// A decoded picture: RGB rows from the top.
#[derive(Clone, Debug)]
pub struct Picture {
    /// `width * height * 3`.
    pub bytes: Vec<u8>,
    /// Its size.
    pub size: Size,
}

impl Picture {
    /// Decodes a JPEG or PNG file, told by its contents.
    ///
    /// # Errors
    /// When it cannot be read, is of another format, or is larger than the limits.
    pub fn open(path: &Path) -> Result<Self, PictureError> {
        let error = |reason: String| PictureError {
            path: path.to_path_buf(),
            reason,
        };
        let bytes = read_bytes(path, FILE_BYTES_MAX).map_err(|e| error(e.to_string()))?;
        if bytes.starts_with(&[0xff, 0xd8]) {
            // The decoder takes a file that was cut for a whole picture.
            shared::jpeg::walk(&bytes).map_err(|e| error(e.to_string()))?;
        }
        let mut reader = ImageReader::new(Cursor::new(&bytes))
            .with_guessed_format()
            .map_err(|e| error(e.to_string()))?;
        let mut limits = Limits::default();
        limits.max_image_width = Some(SIDE_MAX);
        limits.max_image_height = Some(SIDE_MAX);
        limits.max_alloc = Some(DECODE_BYTES_MAX);
        reader.limits(limits);
        let rgb = reader
            .decode()
            .map_err(|e| error(e.to_string()))?
            .into_rgb8();
        Ok(Self {
            size: Size::new(rgb.width(), rgb.height()),
            bytes: rgb.into_raw(),
        })
    }

    /// The bytes, to read.
    pub fn view(&self) -> RgbView<'_> {
        RgbView::new(&self.bytes, self.size).expect("a decoded picture has its size")
    }

    /// The picture on a canvas, planar; `None` when a side is outside the limits.
    pub fn on_canvas(&self, kind: FitKind, canvas: Size) -> Option<(Fit, Vec<u8>)> {
        let fit = Fit::new(kind, self.size, canvas)?;
        let mut bytes = vec![0; canvas_len(&fit)];
        let mut scratch = vec![0; scratch_len(&fit)];
        canvas_into(self.view(), &fit, &mut scratch, &mut bytes)
            .expect("the buffers were made for this fit");
        Some((fit, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jpeg_that_was_cut_is_refused() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("a.jpg");
        let grey = image::RgbImage::from_pixel(64, 64, image::Rgb([128; 3]));
        grey.save(&path).expect("written");
        assert!(Picture::open(&path).is_ok());
        let bytes = std::fs::read(&path).expect("read");
        std::fs::write(&path, &bytes[..bytes.len() * 2 / 3]).expect("written");
        assert!(Picture::open(&path).is_err());
    }
}
