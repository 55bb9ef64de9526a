//! The uncompressed formats.

use shared::geometry::Size;

use super::{DecodeError, Layout, Matrix, Range, room};
use crate::frame::Frame;

/// Integer factors of 1/256: what brightness and the two colours add to red, green and blue.
#[derive(Clone, Copy)]
struct Factors {
    /// Brightness that is black.
    black: i32,
    y: i32,
    red_v: i32,
    green_u: i32,
    green_v: i32,
    blue_u: i32,
}

impl Factors {
    /// 256 times the real factors of the standards, rounded; a limited range is widened by 255/219
    /// (brightness) and 255/224 (colour).
    const fn of(matrix: Matrix, range: Range) -> Self {
        let [black, y, red_v, green_u, green_v, blue_u] = match (matrix, range) {
            (Matrix::Bt601, Range::Limited) => [16, 298, 409, -100, -208, 516],
            (Matrix::Bt601, Range::Full) => [0, 256, 359, -88, -183, 454],
            (Matrix::Bt709, Range::Limited) => [16, 298, 459, -55, -136, 541],
            (Matrix::Bt709, Range::Full) => [0, 256, 403, -48, -120, 475],
        };
        Self {
            black,
            y,
            red_v,
            green_u,
            green_v,
            blue_u,
        }
    }

    /// What a pair of colours adds to red, green and blue, rounding included.
    fn colour(&self, u: u8, v: u8) -> [i32; 3] {
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        [
            self.red_v * v + 128,
            self.green_u * u + self.green_v * v + 128,
            self.blue_u * u + 128,
        ]
    }

    fn rgb(&self, y: u8, colour: [i32; 3]) -> [u8; 3] {
        let y = self.y * (i32::from(y) - self.black);
        colour.map(|part| ((y + part) >> 8).clamp(0, 255) as u8)
    }
}

/// Rows of `row` bytes that begin every `bytes_per_line` bytes; the last one need not be padded.
struct Plane<'a> {
    bytes: &'a [u8],
    stride: usize,
    row: usize,
}

impl Plane<'_> {
    fn rows(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes
            .chunks(self.stride)
            .map(|padded| &padded[..self.row])
    }
}

/// Checks that rows of `row` bytes fit into the layout's.
fn check_row(layout: &Layout, row: u64) -> Result<(), DecodeError> {
    if u64::from(layout.bytes_per_line) >= row {
        return Ok(());
    }
    Err(DecodeError::Rows {
        format: layout.format,
        expected: row,
        found: layout.bytes_per_line,
    })
}

/// The plane of `rows` (not 0) rows of `row` bytes that begins at byte `from`.
fn plane<'a>(
    bytes: &'a [u8],
    layout: &Layout,
    from: u64,
    row: u64,
    rows: u32,
) -> Result<Plane<'a>, DecodeError> {
    check_row(layout, row)?;
    let end = from + u64::from(layout.bytes_per_line) * u64::from(rows - 1) + row;
    if (bytes.len() as u64) < end {
        return Err(DecodeError::Short {
            format: layout.format,
            expected: end,
            found: bytes.len(),
        });
    }
    Ok(Plane {
        bytes: &bytes[from as usize..end as usize],
        stride: layout.bytes_per_line as usize,
        row: row as usize,
    })
}

/// Refuses a side of 0 before anything is computed from it.
fn sides(size: Size) -> Result<(u64, u32), DecodeError> {
    if size.width == 0 || size.height == 0 {
        let (expected, found) = (size, size);
        return Err(DecodeError::Size { expected, found });
    }
    Ok((u64::from(size.width), size.height))
}

/// Y0 U Y1 V: two pixels, one colour.
pub(super) fn yuyv(bytes: &[u8], layout: &Layout, frame: &mut Frame) -> Result<(), DecodeError> {
    let (width, height) = sides(layout.size)?;
    let source = plane(bytes, layout, 0, width.div_ceil(2) * 4, height)?;
    let factors = Factors::of(layout.matrix, layout.range);
    let stride = layout.size.width as usize * 3;
    let pixels = room(layout.size, frame)?;
    for (row, out) in source.rows().zip(pixels.chunks_exact_mut(stride)) {
        for (pair, out) in row.chunks_exact(4).zip(out.chunks_mut(6)) {
            let colour = factors.colour(pair[1], pair[3]);
            for (pixel, y) in out.chunks_exact_mut(3).zip([pair[0], pair[2]]) {
                pixel.copy_from_slice(&factors.rgb(y, colour));
            }
        }
    }
    Ok(())
}

/// A plane of Y, then a plane of U V for two by two pixels.
pub(super) fn nv12(bytes: &[u8], layout: &Layout, frame: &mut Frame) -> Result<(), DecodeError> {
    let (width, height) = sides(layout.size)?;
    let bright = plane(bytes, layout, 0, width, height)?;
    let from = u64::from(layout.bytes_per_line) * u64::from(height);
    let row = width.div_ceil(2) * 2;
    let colours = plane(bytes, layout, from, row, height.div_ceil(2))?;
    let factors = Factors::of(layout.matrix, layout.range);
    let stride = layout.size.width as usize * 3;
    let pixels = room(layout.size, frame)?;
    let colour_rows = colours.rows().flat_map(|row| [row, row]);
    let rows = bright.rows().zip(colour_rows);
    for ((bright, colours), out) in rows.zip(pixels.chunks_exact_mut(stride)) {
        let pairs = bright.chunks(2).zip(colours.chunks_exact(2));
        for ((pair, uv), out) in pairs.zip(out.chunks_mut(6)) {
            let colour = factors.colour(uv[0], uv[1]);
            for (pixel, &y) in out.chunks_exact_mut(3).zip(pair) {
                pixel.copy_from_slice(&factors.rgb(y, colour));
            }
        }
    }
    Ok(())
}

/// One byte a pixel, taken as it is: sensors that are grey use all of 0..=255.
pub(super) fn grey(bytes: &[u8], layout: &Layout, frame: &mut Frame) -> Result<(), DecodeError> {
    let (width, height) = sides(layout.size)?;
    let source = plane(bytes, layout, 0, width, height)?;
    let stride = layout.size.width as usize * 3;
    let pixels = room(layout.size, frame)?;
    for (row, out) in source.rows().zip(pixels.chunks_exact_mut(stride)) {
        for (pixel, &grey) in out.chunks_exact_mut(3).zip(row) {
            pixel.fill(grey);
        }
    }
    Ok(())
}
