//! From what the field watch and the detector say to what a case records, and back: the one place where
//! the two kinds of types meet.

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageResult};
use shared::geometry::Size;
use shared::pixels::RgbView;

use crate::case::event::{CellSeen, FieldCounted, FieldMeters, FieldPlace};
use crate::case::state::CaseState;
use field::map::Place;
use field::quality::Meters;

use super::plan::RecordedField;

/// Quality of a stored field's JPEG, 1 to 100.
pub const FIELD_QUALITY: u8 = 90;

/// What is shown around a cell, as a part of its sides.
const AROUND: f32 = 0.25;

/// A field on its way to the desk.
#[derive(Debug)]
pub struct FieldFound {
    /// Number of the slide that it was found on.
    pub slide: u64,
    /// Number of the frame.
    pub frame: u64,
    /// Of the picture.
    pub size: Size,
    /// Where it lies.
    pub place: Place,
    /// What the gate measured.
    pub meters: FieldMeters,
    /// The new ones.
    pub cells: Vec<CellSeen>,
    /// Cells counted before.
    pub duplicates: u32,
    /// Cells at the edge.
    pub margin: u32,
    /// Cells beyond a limit.
    pub no_room: u32,
    /// The picture.
    pub jpeg: Vec<u8>,
    /// The new cells' own pictures, in their order.
    pub crops: Vec<Vec<u8>>,
}

impl FieldFound {
    /// Makes the pictures to be stored: that of the field, and those of its new cells.
    ///
    /// # Errors
    /// As [`jpeg`].
    pub fn draw(&mut self, view: RgbView<'_>) -> ImageResult<()> {
        self.jpeg = jpeg(view, FIELD_QUALITY)?;
        let crops = self.cells.iter().map(|cell| crop(view, cell.bbox));
        self.crops = crops.collect::<ImageResult<_>>()?;
        Ok(())
    }

    /// The event of this field as the next one of `case`; takes the cells.
    pub fn next_of(&mut self, case: &CaseState) -> FieldCounted {
        FieldCounted {
            field: case.fields().len() as u32,
            frame: self.frame,
            size: self.size,
            place: place_to_record(self.place),
            meters: self.meters,
            first_cell: case.cells().len() as u32,
            cells: std::mem::take(&mut self.cells),
            duplicates: self.duplicates,
            margin: self.margin,
            no_room: self.no_room,
        }
    }
}

/// Where in the case folder the picture of a field lies.
pub fn picture_name(field: u32) -> String {
    format!("fields/{field:04}.jpg")
}

/// Where in the case folder the picture of a cell lies.
pub fn crop_name(cell: u32) -> String {
    format!("crops/{cell:05}.jpg")
}

/// A cell's own picture, with a quarter of its sides around it where the field has that.
///
/// # Errors
/// As [`jpeg`].
pub fn crop(view: RgbView<'_>, [x0, y0, x1, y1]: [f32; 4]) -> ImageResult<Vec<u8>> {
    let Size { width, height } = view.size();
    // Into the picture, and at least a pixel of it.
    let span = |low: f32, high: f32, side: u32| {
        let around = (high - low) * AROUND;
        let first = ((low - around).max(0.0) as u32).min(side - 1);
        let end = ((high + around).ceil() as u32).clamp(first + 1, side);
        first as usize..end as usize
    };
    let (columns, rows) = (span(x0, x1, width), span(y0, y1, height));
    let size = Size::new(columns.len() as u32, rows.len() as u32);
    let lines = rows.flat_map(|row| &view.row(row as u32)[columns.start * 3..columns.end * 3]);
    let bytes: Vec<u8> = lines.copied().collect();
    let part = RgbView::new(&bytes, size).expect("as many bytes as its pixels need");
    jpeg(part, FIELD_QUALITY)
}

/// A picture as JPEG of `quality`, 1 to 100, with colours at full resolution: nuclei are judged by them.
///
/// # Errors
/// When a side is above 65,535.
pub fn jpeg(view: RgbView<'_>, quality: u8) -> ImageResult<Vec<u8>> {
    let Size { width, height } = view.size();
    let mut bytes = Vec::with_capacity(view.bytes().len() / 8);
    let encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
    encoder.write_image(view.bytes(), width, height, ExtendedColorType::Rgb8)?;
    Ok(bytes)
}

/// A place as it is recorded.
pub fn place_to_record(place: Place) -> FieldPlace {
    FieldPlace {
        island: place.island,
        x_px: place.x_px,
        y_px: place.y_px,
    }
}

/// A recorded place on the map.
pub fn place_of_record(place: FieldPlace) -> Place {
    Place {
        island: place.island,
        x_px: place.x_px,
        y_px: place.y_px,
    }
}

/// The numbers that are recorded.
pub fn meters_to_record(meters: &Meters) -> FieldMeters {
    FieldMeters {
        focus_share: meters.focus_share,
        compressed_share: meters.compressed_share,
        motion_px: meters.motion_px,
        peak: meters.peak,
        brightness: meters.brightness,
        white_balance: meters.white_balance,
        clipped_low: meters.clipped_low,
        clipped_high: meters.clipped_high,
        covered: meters.covered,
    }
}

/// What a count that goes on must know of the fields that are in the record.
pub fn recorded_fields(case: &CaseState) -> Vec<RecordedField> {
    let mut fields: Vec<_> = (0..)
        .zip(case.fields())
        .map(|(field, it)| RecordedField {
            field,
            size: it.size,
            place: place_of_record(it.place),
            boxes: Vec::new(),
        })
        .collect();
    for cell in case.cells() {
        if let Some(field) = fields.get_mut(cell.field as usize) {
            field.boxes.push(cell.bbox);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture;

    #[test]
    fn a_place_comes_back_as_it_was_and_a_picture_nearly() {
        let place = Place {
            island: 3,
            x_px: -12.25,
            y_px: 1e6,
        };
        assert_eq!(place_of_record(place_to_record(place)), place);
        let size = Size::new(32, 24);
        let bytes: Vec<u8> = (0..32 * 24).flat_map(|i| [i as u8 / 4; 3]).collect();
        let view = RgbView::new(&bytes, size).unwrap();
        let back = picture::decode(&jpeg(view, FIELD_QUALITY).unwrap()).unwrap();
        assert_eq!(back.size(), size);
        let pairs = back.view().bytes().iter().zip(&bytes);
        let worst = pairs.map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(24), "{worst:?}");
        assert_eq!(picture_name(7), "fields/0007.jpg");
        assert_eq!(crop_name(7), "crops/00007.jpg");
        // A quarter of the sides around it, inside of the field, and never nothing.
        for (bbox, expected) in [
            ([8.0, 8.0, 16.0, 16.0], Size::new(12, 12)),
            ([-3.0, 0.0, 8.0, 40.0], Size::new(11, 24)),
            ([31.9, 23.9, 90.0, 90.0], Size::new(15, 17)),
            ([50.0, 50.0, 51.0, 51.0], Size::new(1, 1)),
        ] {
            let back = picture::decode(&crop(view, bbox).unwrap()).unwrap();
            assert_eq!(back.size(), expected, "{bbox:?}");
        }
    }
}
