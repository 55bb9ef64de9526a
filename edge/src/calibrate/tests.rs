//! Calibrations of drawn slides, of the files that keep them, and by the command line.

mod by_command;
mod files;
mod of_pictures;

use shared::geometry::Size;
use shared::phantom::{FieldSpec, MAX_WHITE_CELLS, PhantomCell, draw_field};

use super::record::{Content, Mark, Scale, ScaleBy, Squeeze};
use crate::clock::{BootId, Moment};
use crate::picture::Picture;
use crate::source::{SourceIdentity, SourceKind};

/// A drawn field.
fn draw(spec: &FieldSpec) -> Picture {
    let bytes = vec![0; spec.size.area().unwrap() * 3];
    let mut picture = Picture::new(bytes, spec.size).unwrap();
    let mut cells: heapless::Vec<PhantomCell, { 4 * MAX_WHITE_CELLS as usize }> =
        heapless::Vec::new();
    draw_field(spec, &mut picture.view_mut(), &mut cells).unwrap();
    picture
}

/// A field without anything on it.
fn bare(spec: FieldSpec) -> FieldSpec {
    FieldSpec {
        red_cell_density: 0.0,
        platelet_density: 0.0,
        artefact_density: 0.0,
        white_cells: [0, 0],
        ..spec
    }
}

fn save(picture: &Picture, path: &std::path::Path) {
    let size = picture.size();
    let bytes = picture.view().bytes().to_vec();
    let image = image::RgbImage::from_raw(size.width, size.height, bytes).unwrap();
    image.save(path).unwrap();
}

const SIZE: Size = Size::new(640, 480);

fn moment(wall: Option<i64>) -> Moment {
    Moment {
        boot: BootId::new(7, 3),
        sequence: 5,
        since_start: std::time::Duration::from_millis(1250),
        wall,
    }
}

fn camera(card: &str, bus: &str) -> SourceIdentity {
    SourceIdentity {
        card: Some(card.to_owned()),
        bus: Some(bus.to_owned()),
        node: Some("/dev/video0".to_owned()),
        ..SourceIdentity::of_pictures(SourceKind::Camera, format!("{card} at {bus}"))
    }
}

/// With a scale and a squeeze that were said.
fn content(identity: &SourceIdentity, wall: Option<i64>) -> Content {
    let made = moment(wall);
    Content {
        scale: Some(Scale {
            um_per_px: 0.11,
            by: ScaleBy::Given,
            made,
        }),
        squeeze: Some(Squeeze {
            value: 0.5625,
            standard_error: None,
            made,
        }),
        ..Content::new(Mark::of(identity, SIZE), made)
    }
}
