//! The reduced picture that every judgement but focus stands on: box means, so that a pixel of it
//! is a whole number of the frame's pixels and noise is averaged, not sampled.

use shared::geometry::Size;
use shared::pixels::RgbView;

use super::FieldError;

/// Longest side of the reduced picture, pixels: shifts are exact there and a transform is cheap.
pub const REDUCED_SIDE_MAX: u32 = 320;

/// Shortest side of the reduced picture, pixels; below, a shift means nothing.
pub const REDUCED_SIDE_MIN: u32 = 32;

/// Longest side of a frame, pixels: the sums of a box's lines stay inside 16 bits.
pub const FRAME_SIDE_MAX: u32 = 16_384;

/// A value up to this is black to the camera, from [`WHITE`] on it is white.
const BLACK: u8 = 2;
const WHITE: u8 = 253;

/// Least brightness of a blank field, everywhere; below, dividing by it makes noise.
pub const BLANK_MIN: u8 = 16;

/// A frame in boxes of `factor` x `factor` pixels; what does not fill a box at the right and lower
/// edge is left out. Its memory is reused from frame to frame.
#[derive(Clone, Debug)]
pub struct Reduced {
    frame: Size,
    size: Size,
    factor: u32,
    rgb: Vec<u8>,
    grey: Vec<u8>,
    /// Of the lines of one row of boxes, byte by byte.
    sums: Vec<u16>,
    clipped: Clipped,
    /// Brightness of a blank field; empty while none was shown.
    blank: Vec<u8>,
}

/// Pixels of the frame at the ends of the scale, all three channels, as shares 0..=1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clipped {
    /// Black ones.
    pub low: f32,
    /// White ones.
    pub high: f32,
}

impl Reduced {
    /// Room for frames of `frame`; black until the first [`Reduced::fill`].
    ///
    /// # Errors
    /// When a side of the frame, or of what it is reduced to, is out of range.
    pub fn new(frame: Size) -> Result<Self, FieldError> {
        let longer = frame.width.max(frame.height);
        let factor = longer.div_ceil(REDUCED_SIDE_MAX).max(1);
        let size = Size::new(frame.width / factor, frame.height / factor);
        if longer > FRAME_SIDE_MAX || size.width.min(size.height) < REDUCED_SIDE_MIN {
            return Err(FieldError::Shape { got: frame });
        }
        let pixels = size.width as usize * size.height as usize;
        Ok(Self {
            frame,
            size,
            factor,
            rgb: vec![0; pixels * 3],
            grey: vec![0; pixels],
            sums: vec![0; (size.width * factor) as usize * 3],
            clipped: Clipped::default(),
            blank: Vec::new(),
        })
    }

    /// Takes a frame in.
    ///
    /// # Errors
    /// When the frame has another size than this was made for; nothing is changed then.
    pub fn fill(&mut self, view: RgbView<'_>) -> Result<(), FieldError> {
        if view.size() != self.frame {
            return Err(FieldError::Size {
                expected: self.frame,
                got: view.size(),
            });
        }
        let boxes_wide = self.size.width as usize * 3;
        let mut ends = [0_u64; 2];
        for row in 0..self.size.height {
            self.sums.fill(0);
            for line in 0..self.factor {
                let line = &view.row(row * self.factor + line)[..self.sums.len()];
                for (sum, &value) in self.sums.iter_mut().zip(line) {
                    *sum += u16::from(value);
                }
                count_ends(line, &mut ends);
            }
            let start = row as usize * boxes_wide;
            let boxes = self.rgb[start..][..boxes_wide].as_chunks_mut::<3>().0;
            mean_of_columns(&self.sums, self.factor, boxes);
        }
        for (grey, colour) in self.grey.iter_mut().zip(self.rgb.as_chunks::<3>().0) {
            *grey = luma(*colour);
        }
        self.flatten();
        let seen = self.grey.len() as f32 * (self.factor * self.factor) as f32;
        let [low, high] = ends.map(|count| count as f32 / seen);
        self.clipped = Clipped { low, high };
        Ok(())
    }

    /// Takes the last frame for a blank field: from the next one on, brightness is relative to it.
    /// An uneven lamp and dirt on the camera, which do not move with the slide, are then gone. A
    /// black frame is no blank field and is not taken; says whether it was.
    pub fn take_for_blank(&mut self) -> bool {
        let rgb = self.rgb.as_chunks::<3>().0;
        take_lit(rgb, &mut self.blank)
    }

    /// Takes a blank field that was kept, reduced as frames are; says whether it was lit.
    ///
    /// # Errors
    /// When it is not of the reduced size; nothing is changed then.
    pub fn recall_blank(&mut self, picture: RgbView<'_>) -> Result<bool, FieldError> {
        if picture.size() != self.size {
            return Err(FieldError::Blank {
                expected: self.size,
                got: picture.size(),
            });
        }
        let rgb = picture.bytes().as_chunks::<3>().0;
        Ok(take_lit(rgb, &mut self.blank))
    }

    fn flatten(&mut self) {
        let sum: u64 = self.blank.iter().map(|&value| u64::from(value)).sum();
        let level = (sum / self.blank.len().max(1) as u64) as u32;
        for (grey, &blank) in self.grey.iter_mut().zip(&self.blank) {
            let blank = u32::from(blank);
            let flat = (u32::from(*grey) * level + blank / 2) / blank;
            *grey = flat.min(255) as u8;
        }
    }

    /// Of the reduced picture.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Of the frames this takes.
    pub fn frame(&self) -> Size {
        self.frame
    }

    /// Pixels of the frame to a pixel of this, along each axis.
    pub fn factor(&self) -> u32 {
        self.factor
    }

    /// Brightness (BT.601), relative to the blank field where one was shown, row by row.
    pub fn grey(&self) -> &[u8] {
        &self.grey
    }

    /// Red, green, blue, row by row.
    pub fn rgb(&self) -> &[[u8; 3]] {
        self.rgb.as_chunks::<3>().0
    }

    /// Of the last frame.
    pub fn clipped(&self) -> Clipped {
        self.clipped
    }
}

/// Counts the pixels at the lower and at the upper end of the scale. Most stretches of a line have no
/// value that is near them, which is found out many values at a time.
fn count_ends(line: &[u8], [low, high]: &mut [u64; 2]) {
    for stretch in line.chunks(96) {
        let (mut least, mut most) = (u8::MAX, 0);
        for &value in stretch {
            least = least.min(value);
            most = most.max(value);
        }
        if least > BLACK && most < WHITE {
            continue;
        }
        for pixel in stretch.as_chunks::<3>().0 {
            *low += u64::from(pixel.iter().all(|&value| value <= BLACK));
            *high += u64::from(pixel.iter().all(|&value| value >= WHITE));
        }
    }
}

/// Boxes of `factor` pixels a side, from the sums of their lines.
fn mean_of_columns(sums: &[u16], factor: u32, boxes: &mut [[u8; 3]]) {
    let area = factor * factor;
    // A product instead of a division, exact for sums below 2^20 of areas below 2^12.
    let part = (1_u64 << 40).div_ceil(u64::from(area));
    let columns = sums.as_chunks::<3>().0.chunks_exact(factor as usize);
    for (mean, columns) in boxes.iter_mut().zip(columns) {
        let mut box_sum = [area / 2; 3];
        for column in columns {
            for (sum, &part) in box_sum.iter_mut().zip(column) {
                *sum += u32::from(part);
            }
        }
        *mean = box_sum.map(|sum| ((u64::from(sum) * part) >> 40) as u8);
    }
}

/// Takes the brightness of a picture that is lit everywhere; says whether it is.
fn take_lit(rgb: &[[u8; 3]], blank: &mut Vec<u8>) -> bool {
    let is_lit = rgb.iter().all(|&colour| luma(colour) >= BLANK_MIN);
    if is_lit {
        blank.clear();
        blank.extend(rgb.iter().map(|&colour| luma(colour)));
    }
    is_lit
}

/// Brightness of a colour, BT.601 in 256ths.
pub fn luma([red, green, blue]: [u8; 3]) -> u8 {
    let sum = 77 * u32::from(red) + 150 * u32::from(green) + 29 * u32::from(blue);
    ((sum + 128) >> 8) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_the_mean_of_its_pixels_and_the_rest_is_left_out() {
        // 641 x 129: factor 3, 213 x 43 boxes; two columns are left over.
        let size = Size::new(641, 129);
        let mut bytes = vec![0_u8; 641 * 129 * 3];
        for (index, pixel) in bytes.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let (x, y) = (index % 641, index / 641);
            if x < 3 && y < 3 {
                *pixel = [9 * (x + 3 * y) as u8, 90, 255];
            } else if x >= 639 {
                *pixel = [255; 3];
            }
        }
        let mut reduced = Reduced::new(size).unwrap();
        reduced.fill(RgbView::new(&bytes, size).unwrap()).unwrap();
        assert_eq!((reduced.factor(), reduced.size()), (3, Size::new(213, 43)));
        assert_eq!(reduced.rgb()[0], [36, 90, 255]);
        assert!(reduced.rgb()[1..].iter().all(|&pixel| pixel == [0; 3]));
        // (77*36 + 150*90 + 29*255 + 128) >> 8
        assert_eq!(reduced.grey()[0], 92);
        // All but the one box is black; white is only what was left out.
        let black = 1.0 - 9.0 / (639.0 * 129.0);
        assert!((reduced.clipped().low - black).abs() < 1e-6);
        assert_eq!(reduced.clipped().high, 0.0);
    }

    #[test]
    fn brightness_is_relative_to_a_blank_field_once_one_was_shown() {
        let size = Size::new(64, 48);
        let lamp = |index: usize| if index % 64 < 32 { 200 } else { 100 };
        let frame = |part: u32| -> Vec<u8> {
            (0..64 * 48)
                .flat_map(|index| [(lamp(index) * part / 100) as u8; 3])
                .collect()
        };
        let mut reduced = Reduced::new(size).unwrap();
        assert!(!reduced.take_for_blank(), "black");
        reduced
            .fill(RgbView::new(&frame(100), size).unwrap())
            .unwrap();
        assert!(reduced.take_for_blank());
        reduced
            .fill(RgbView::new(&frame(50), size).unwrap())
            .unwrap();
        assert!(
            reduced.grey().iter().all(|&value| value == 75),
            "half of the mean, 150"
        );
        assert_eq!(reduced.rgb()[0], [100; 3], "colour stays as it came");
        // The same blank field, kept and shown to another.
        let mut other = Reduced::new(size).unwrap();
        let kept = frame(100);
        assert!(
            other
                .recall_blank(RgbView::new(&kept, size).unwrap())
                .unwrap()
        );
        other.fill(RgbView::new(&frame(50), size).unwrap()).unwrap();
        assert_eq!(other.grey(), reduced.grey());
        let black = vec![0; kept.len()];
        assert!(
            !other
                .recall_blank(RgbView::new(&black, size).unwrap())
                .unwrap()
        );
        let small = Size::new(48, 64);
        let refused = other.recall_blank(RgbView::new(&kept, small).unwrap());
        assert_eq!(
            refused.unwrap_err().to_string(),
            "blank field of 48x64, expected 64x48: kept for frames of another size"
        );
    }

    #[test]
    fn frames_of_a_size_that_cannot_be_judged_are_refused_by_name() {
        for (width, height) in [(1, 1), (31, 400), (640, 20), (16_385, 9_000), (0, 0)] {
            let size = Size::new(width, height);
            assert_eq!(
                Reduced::new(size).unwrap_err(),
                FieldError::Shape { got: size },
                "{size}"
            );
        }
        let mut reduced = Reduced::new(Size::new(64, 48)).unwrap();
        let other = Size::new(48, 64);
        let bytes = vec![0; 64 * 48 * 3];
        let error = reduced.fill(RgbView::new(&bytes, other).unwrap());
        assert_eq!(
            error.unwrap_err().to_string(),
            "frame of 48x64, expected 64x48: the source changed its size"
        );
    }
}
