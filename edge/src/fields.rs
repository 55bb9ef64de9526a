//! Drawn fields: the demonstration, the self-test and the benchmark need no picture from outside.

use shared::geometry::Size;

use crate::picture::Picture;

/// Size of the fields of demonstration and benchmark, pixels.
pub const FIELD_SIZE: Size = Size::new(640, 480);

/// Draws the field of `seed`.
pub fn draw(seed: u64, size: Size) -> Picture {
    let mut bytes = vec![0; size.width as usize * size.height as usize * 3];
    for (i, px) in bytes.chunks_exact_mut(3).enumerate() {
        let (x, y) = (
            (i as u32 % size.width) as f32,
            (i as u32 / size.width) as f32,
        );
        let (cx, cy) = (100.0 + 37.0 * seed as f32 % 400.0, 200.0);
        let d = (x - cx).powi(2) + (y - cy).powi(2);
        px.copy_from_slice(if d < 2500.0 {
            &[90, 50, 140]
        } else {
            &[220, 210, 215]
        });
    }
    Picture::new(bytes, size).expect("made with this size")
}
