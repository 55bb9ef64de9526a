//! Annotated pictures as PNG files.

use std::path::Path;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use shared::annotate::annotate;
use shared::cell::Detection;
use shared::contract::ModelContract;

use crate::atomic::{AtomicFile, OutputError, make_folder};
use crate::picture::Picture;

/// Draws `detections` on `picture` and writes it to `path`, making the folders above it.
///
/// # Errors
/// When the file cannot be written.
pub fn write_annotated(
    picture: &mut Picture,
    detections: &[Detection],
    contract: &ModelContract,
    path: &Path,
) -> Result<(), OutputError> {
    annotate(
        &mut picture.view_mut(),
        detections,
        &contract.classes,
        &contract.attributes,
    );
    let mut png = Vec::new();
    PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::Adaptive)
        .write_image(
            picture.view().bytes(),
            picture.size().width,
            picture.size().height,
            ExtendedColorType::Rgb8,
        )
        .map_err(|error| OutputError::at(path, std::io::Error::other(error)))?;
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let mut file = AtomicFile::create(path)?;
    file.write(&png)?;
    file.commit()
}
