//! Drawn frames for the tests of this folder.

use heapless::Vec;
use shared::geometry::Size;
use shared::phantom::{FieldSpec, MAX_WHITE_CELLS, PhantomCell, draw_field};
use shared::pixels::{RgbView, RgbViewMut};

use super::grey::Reduced;

/// A frame and the cells in it.
pub(super) struct Scene {
    bytes: std::vec::Vec<u8>,
    size: Size,
    pub(super) cells: Vec<PhantomCell, { 4 * MAX_WHITE_CELLS as usize }>,
}

impl Scene {
    pub(super) fn draw(spec: &FieldSpec) -> Self {
        let size = spec.size;
        let mut bytes = vec![0; size.width as usize * size.height as usize * 3];
        let mut cells = Vec::new();
        let mut picture = RgbViewMut::new(&mut bytes, size).unwrap();
        let drawn = draw_field(spec, &mut picture, &mut cells).unwrap();
        assert_eq!(drawn.no_room, 0, "the truth is whole");
        Self { bytes, size, cells }
    }

    /// Dirt on the camera: spots that do not move with the slide and take a `part` of the light.
    pub(super) fn soil(&mut self, part: f32) {
        let width = self.size.width as usize;
        for (x, y, radius) in [
            (60_usize, 50_usize, 5_usize),
            (210, 90, 3),
            (130, 160, 7),
            (260, 200, 4),
            (30, 190, 3),
        ] {
            let spot = (y - radius..=y + radius)
                .flat_map(|row| (x - radius..=x + radius).map(move |column| (column, row)))
                .filter(|&(column, row)| {
                    column.abs_diff(x).pow(2) + row.abs_diff(y).pow(2) <= radius * radius
                });
            for (column, row) in spot {
                let at = (row * width + column) * 3;
                for value in &mut self.bytes[at..at + 3] {
                    *value = (f32::from(*value) * (1.0 - part)) as u8;
                }
            }
        }
    }

    pub(super) fn view(&self) -> RgbView<'_> {
        RgbView::new(&self.bytes, self.size).unwrap()
    }

    pub(super) fn reduced(&self) -> Reduced {
        let mut reduced = Reduced::new(self.size).unwrap();
        reduced.fill(self.view()).unwrap();
        reduced
    }
}

/// A frame of one colour, reduced.
pub(super) fn fill(colour: [u8; 3]) -> Reduced {
    let size = Size::new(640, 480);
    let bytes = colour.repeat(640 * 480);
    let mut reduced = Reduced::new(size).unwrap();
    reduced.fill(RgbView::new(&bytes, size).unwrap()).unwrap();
    reduced
}
