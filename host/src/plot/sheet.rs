//! A white sheet to draw on, and its file.
//!
//! Everything is drawn at [`FINE`] times the size and averaged: plotters puts letters and thick
//! lines on whole pixels, which at the size of a screen looks torn.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, ImageError, RgbImage};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontTransform, TextStyle, register_font};

use super::PlotError;

/// Drawn pixels to a pixel of the picture, each way.
pub(super) const FINE: u32 = 2;

/// Quality of JPEG files, 1 to 100: letters stay sharp.
const JPEG_QUALITY: u8 = 92;

/// What plotters says when it cannot draw.
pub(super) type DrawError = Box<dyn std::error::Error>;

/// A part of the sheet; its coordinates are fine pixels.
pub(super) type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// Fine pixels of `pixels` of the picture.
pub(super) fn fine(pixels: u32) -> i32 {
    (pixels * FINE) as i32
}

/// Registers the one font, once.
fn with_font() -> Result<(), DrawError> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    let registered = REGISTERED.get_or_init(|| {
        let font = epaint_default_fonts::UBUNTU_LIGHT;
        register_font("sans-serif", FontStyle::Normal, font).is_ok()
    });
    if *registered {
        Ok(())
    } else {
        Err("the embedded font cannot be read".into())
    }
}

/// Letters `height` pixels high, in `colour`.
pub(super) fn letters(height: u32, colour: RGBColor) -> TextStyle<'static> {
    placed(height, colour, HPos::Left, VPos::Top)
}

/// Like [`letters`], placed by another corner than the upper left one.
pub(super) fn placed(height: u32, colour: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    TextStyle {
        font: ("sans-serif", fine(height)).into_font(),
        color: colour.to_backend_color(),
        pos: Pos::new(h, v),
    }
}

/// Like [`placed`], read from below.
pub(super) fn upright(height: u32, colour: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    let style = placed(height, colour, h, v);
    TextStyle {
        font: style.font.transform(FontTransform::Rotate270),
        ..style
    }
}

/// Width of `text` in letters `height` pixels high, in pixels of the picture.
pub(super) fn text_width(text: &str, height: u32) -> Result<u32, DrawError> {
    with_font()?;
    let font = ("sans-serif", fine(height)).into_font();
    let (width, _) = font.box_size(text)?;
    Ok(width.div_ceil(FINE))
}

/// The widest of `texts`, 0 without any.
pub(super) fn widest<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    height: u32,
) -> Result<u32, DrawError> {
    let mut most = 0;
    for text in texts {
        most = most.max(text_width(text, height)?);
    }
    Ok(most)
}

/// Draws on white.
pub(super) fn draw(
    width: u32,
    height: u32,
    paint: impl FnOnce(&Area<'_>) -> Result<(), DrawError>,
) -> Result<RgbImage, DrawError> {
    draw_over(vec![255; bytes_of(width, height)], width, height, paint)
}

/// Draws over a picture, which stays as it is where nothing is drawn.
pub(super) fn draw_on(
    picture: &RgbImage,
    paint: impl FnOnce(&Area<'_>) -> Result<(), DrawError>,
) -> Result<RgbImage, DrawError> {
    let (width, height) = picture.dimensions();
    let mut bytes = Vec::with_capacity(bytes_of(width, height));
    for row in picture.as_raw().chunks_exact(3 * width.max(1) as usize) {
        let wide: Vec<u8> = row
            .chunks_exact(3)
            .flat_map(|pixel| pixel.repeat(FINE as usize))
            .collect();
        (0..FINE).for_each(|_| bytes.extend_from_slice(&wide));
    }
    draw_over(bytes, width, height, paint)
}

fn bytes_of(width: u32, height: u32) -> usize {
    3 * (width * FINE) as usize * (height * FINE) as usize
}

fn draw_over(
    mut bytes: Vec<u8>,
    width: u32,
    height: u32,
    paint: impl FnOnce(&Area<'_>) -> Result<(), DrawError>,
) -> Result<RgbImage, DrawError> {
    with_font()?;
    let size = (width * FINE, height * FINE);
    let area = BitMapBackend::with_buffer(&mut bytes, size).into_drawing_area();
    paint(&area)?;
    area.present()?;
    drop(area);
    let averaged = averaged(&bytes, width as usize);
    RgbImage::from_raw(width, height, averaged).ok_or_else(|| "a sheet without pixels".into())
}

/// The mean of every `FINE x FINE` pixels.
fn averaged(bytes: &[u8], width: usize) -> Vec<u8> {
    let n = FINE as usize;
    let row = 3 * width * n;
    let mut out = Vec::with_capacity(bytes.len() / (n * n));
    let mut sums = vec![0_u16; 3 * width];
    for rows in bytes.chunks_exact(row * n) {
        sums.fill(0);
        for row in rows.chunks_exact(row) {
            for (sum, pixels) in sums.chunks_exact_mut(3).zip(row.chunks_exact(3 * n)) {
                for pixel in pixels.chunks_exact(3) {
                    (0..3).for_each(|channel| sum[channel] += u16::from(pixel[channel]));
                }
            }
        }
        let (half, n) = (FINE as u16 * FINE as u16 / 2, FINE as u16 * FINE as u16);
        out.extend(sums.iter().map(|&sum| ((sum + half) / n) as u8));
    }
    out
}

/// Draws and writes in one.
pub(super) fn draw_to(
    path: &Path,
    width: u32,
    height: u32,
    paint: impl FnOnce(&Area<'_>) -> Result<(), DrawError>,
) -> Result<(), PlotError> {
    let picture = draw(width, height, paint).map_err(PlotError::drawing(path))?;
    save(&picture, path)
}

/// Writes a PNG, or a JPEG where the name says so; whole or not at all.
pub(super) fn save(picture: &RgbImage, path: &Path) -> Result<(), PlotError> {
    let mut bytes = Vec::new();
    let is_jpeg = path.extension().is_some_and(|e| e == "jpg");
    let encoded = if is_jpeg {
        encode(
            JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY),
            picture,
        )
    } else {
        let (fast, filter) = (CompressionType::Fast, FilterType::Adaptive);
        encode(
            PngEncoder::new_with_quality(&mut bytes, fast, filter),
            picture,
        )
    };
    encoded.map_err(|error| PlotError::drawing(path)(error.into()))?;
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    fs::write(&part, bytes)
        .and_then(|()| fs::rename(&part, path))
        .map_err(|source| PlotError::Write {
            path: path.to_path_buf(),
            source,
        })
}

fn encode(encoder: impl ImageEncoder, picture: &RgbImage) -> Result<(), ImageError> {
    let (width, height) = picture.dimensions();
    encoder.write_image(picture.as_raw(), width, height, ExtendedColorType::Rgb8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_on_which_nothing_is_drawn_stays_as_it_is() {
        let picture = RgbImage::from_fn(7, 5, |x, y| image::Rgb([x as u8, y as u8, 200]));
        assert_eq!(draw_on(&picture, |_| Ok(())).unwrap(), picture);
    }

    #[test]
    fn half_a_pixel_is_half_as_dark() {
        let drawn = draw(2, 1, |area| {
            area.draw_pixel((0, 0), &BLACK)?;
            area.draw_pixel((1, 1), &BLACK)?;
            Ok(())
        });
        assert_eq!(drawn.unwrap().as_raw(), &[128, 128, 128, 255, 255, 255]);
    }

    #[test]
    fn a_text_is_as_wide_as_its_letters() {
        let (one, ten) = (
            text_width("n", 14).unwrap(),
            text_width("nnnnnnnnnn", 14).unwrap(),
        );
        assert!((6..=9).contains(&one), "{one}");
        assert!((60..=80).contains(&ten), "{ten}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = draw_to(Path::new("/nowhere/a.png"), 2, 2, |_| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "/nowhere/a.png cannot be written");
    }
}
