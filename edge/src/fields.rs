//! Drawn fields: the demonstration, the self-test and the benchmark need no picture from outside.

use heapless::Vec;
use shared::phantom::{FieldSpec, MAX_WHITE_CELLS, PhantomCell, SpecError, draw_field};
use shared::pixels::RgbViewMut;

use crate::picture::Picture;

/// Draws a field; its truth is not kept, because nothing here may know it.
///
/// # Errors
/// When the spec is out of range.
pub fn draw(spec: &FieldSpec) -> Result<Picture, SpecError> {
    spec.check()?;
    let size = spec.size;
    let mut bytes = vec![0; size.width as usize * size.height as usize * 3];
    let mut picture = RgbViewMut::new(&mut bytes, size).expect("made with this size");
    let mut truth: Vec<PhantomCell, { MAX_WHITE_CELLS as usize }> = Vec::new();
    draw_field(spec, &mut picture, &mut truth)?;
    Ok(Picture::new(bytes, size).expect("made with this size"))
}

/// Field `seed` of the demonstration: 640 x 480, one to three white cells.
pub fn demonstration(seed: u64) -> Picture {
    draw(&FieldSpec::demo(seed)).expect("the demonstration's spec is in range")
}
