//! One JPEG a frame, as cameras of the USB video class send it.

use std::io::Cursor;

use image::codecs::jpeg::JpegDecoder;
use image::{ColorType, ImageDecoder, ImageError, Limits};
use shared::geometry::Size;
use shared::jpeg;

use super::{DecodeError, room};
use crate::frame::Frame;
use crate::picture::{DECODE_BYTES_MAX, SCAN_PIXELS_MAX};

/// Decodes a JPEG of exactly `size`.
///
/// Its markers are followed first: the decoder would draw a frame that was cut short as a full
/// picture. An EXIF orientation is not applied: a camera's frame is as large as was agreed.
pub(super) fn mjpeg(bytes: &[u8], size: Size, frame: &mut Frame) -> Result<(), DecodeError> {
    // Drivers that deliver frames of one length fill them up with zeros, which say nothing of
    // sharpness.
    let used = bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |at| at + 1);
    let bytes = &bytes[..used];
    let start = [0, 1].map(|at| bytes.get(at).copied().unwrap_or(0));
    if start != [0xff, 0xd8] {
        return Err(DecodeError::NoStart { found: start });
    }
    let markers = jpeg::walk(bytes).map_err(DecodeError::Markers)?;
    let wrong_size = |found| DecodeError::Size {
        expected: size,
        found,
    };
    if markers.size != size {
        return Err(wrong_size(markers.size));
    }
    if !matches!(markers.components, 1 | 3) {
        let found = markers.components;
        return Err(DecodeError::Colours { found });
    }
    let pixels = u64::from(size.width) * u64::from(size.height);
    if markers.scans > 1 && pixels * u64::from(markers.scans) > SCAN_PIXELS_MAX {
        let message = format!(
            "{} scans of {size}, expected at most {SCAN_PIXELS_MAX} pixels in all scans",
            markers.scans
        );
        return Err(DecodeError::Decoder(message));
    }
    let marked;
    let whole = if has_tables(bytes) {
        bytes
    } else {
        marked = [&USUAL_TABLES, &bytes[2..]].concat();
        &marked
    };
    let decoder = decoder(whole, size)?;
    let (width, height) = decoder.dimensions();
    if Size::new(width, height) != size {
        return Err(wrong_size(Size::new(width, height)));
    }
    let colours = decoder.color_type();
    let out = room(size, frame)?;
    match colours {
        ColorType::Rgb8 => decoder.read_image(out).map_err(refused)?,
        ColorType::L8 => {
            let grey = out.len() / 3;
            decoder.read_image(&mut out[..grey]).map_err(refused)?;
            spread(out);
        }
        other => {
            let found = other.channel_count();
            return Err(DecodeError::Colours { found });
        }
    }
    frame.compressed_bytes = u32::try_from(used).ok();
    Ok(())
}

/// A start with the mark of motion JPEG (`AVI1`), which tells the decoder to take the usual Huffman
/// tables: many cameras leave out the tables, and some of those the mark too.
const USUAL_TABLES: [u8; 20] = *b"\xff\xd8\xff\xe0\x00\x10AVI1\0\0\0\0\0\0\0\0\0\0";

/// Whether Huffman tables stand before the first scan of a JPEG whose markers were followed.
fn has_tables(bytes: &[u8]) -> bool {
    const HUFFMAN_TABLES: u8 = 0xc4;
    const START_OF_SCAN: u8 = 0xda;
    let mut at = 2;
    while let Some(&[_, code, high, low]) = bytes.get(at..at + 4).and_then(|it| it.first_chunk()) {
        match code {
            HUFFMAN_TABLES => return true,
            START_OF_SCAN => return false,
            // A fill byte, or a marker without a segment.
            0xff => at += 1,
            0x01 | 0xd0..=0xd8 => at += 2,
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
        }
    }
    false
}

fn decoder(bytes: &[u8], size: Size) -> Result<JpegDecoder<Cursor<&[u8]>>, DecodeError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(size.width);
    limits.max_image_height = Some(size.height);
    limits.max_alloc = Some(DECODE_BYTES_MAX);
    let mut decoder = JpegDecoder::new(Cursor::new(bytes)).map_err(refused)?;
    decoder.set_limits(limits).map_err(refused)?;
    Ok(decoder)
}

/// Makes RGB of grey in place: the first third of the bytes becomes all of them, from the end, so
/// that no grey is overwritten before it was read.
fn spread(bytes: &mut [u8]) {
    for pixel in (0..bytes.len() / 3).rev() {
        let grey = bytes[pixel];
        bytes[pixel * 3..][..3].fill(grey);
    }
}

fn refused(error: ImageError) -> DecodeError {
    DecodeError::Decoder(error.to_string().replace(['\n', '\r'], " "))
}
