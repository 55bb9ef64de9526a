//! A file to RGB bytes, with limits.

use std::path::{Path, PathBuf};

use image::{ImageReader, Limits};
use shared::fit::{Fit, FitKind, SIDE_MAX};
use shared::geometry::Size;
use shared::pixels::RgbView;
use shared::resize::{canvas_into, canvas_len, scratch_len};

/// Most memory a decoder may take, in bytes.
const DECODE_BYTES_MAX: u64 = 224 << 20;

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
        let mut reader = ImageReader::open(path)
            .and_then(ImageReader::with_guessed_format)
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
