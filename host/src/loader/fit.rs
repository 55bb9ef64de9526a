//! A sample as it is laid on the canvas, without padding.

use shared::fit::{Fit, FitKind, PAD_VALUE};
use shared::geometry::Size;

use crate::assign::Target;
use crate::augment::Packed;
use crate::dataset::Sample;
use crate::picture::{Picture, PictureError};

/// Boxes in fitted pixels, beside class and attributes.
pub(super) type Cells = Vec<([f32; 4], Target)>;

/// What a sample is fitted to: the size it has on the canvas, stretched.
pub(super) fn fit_of(sample: &Sample, kind: FitKind, canvas: Size) -> Option<Fit> {
    let inner = Fit::new(kind, sample.size, canvas)?.inner();
    Fit::new(FitKind::Stretch, sample.size, inner)
}

/// The cells of a sample in fitted pixels.
pub(super) fn cells_of(sample: &Sample, fit: &Fit) -> Cells {
    let fitted = |cell: &shared::cell::Cell| {
        let target = Target {
            image: 0,
            class: cell.class.map(|class| class.0),
            cxcywh: [0.0; 4],
            attributes: cell.attributes,
        };
        Some((fit.canvas_from_image(&cell.bbox)?.xyxy(), target))
    };
    sample.cells.iter().filter_map(fitted).collect()
}

/// Decodes a sample, brings it to size and paints over what nobody labelled.
///
/// # Errors
/// A picture that cannot be decoded or has another size than its labels say.
pub(super) fn picture_of(sample: &Sample, fit: Option<&Fit>) -> Result<Packed, PictureError> {
    let picture = Picture::open(&sample.image)?;
    let reason = || PictureError {
        path: sample.image.clone(),
        reason: format!(
            "size {}, expected {} as the labels say",
            picture.size, sample.size
        ),
    };
    let fit = fit
        .filter(|_| picture.size == sample.size)
        .ok_or_else(reason)?;
    let inner = fit.inner();
    let (_, mut planes) = picture
        .on_canvas(FitKind::Stretch, inner)
        .ok_or_else(reason)?;
    if let Some(region) = sample.region.and_then(|r| fit.canvas_from_image(&r)) {
        grey_outside(&mut planes, inner, region.xyxy());
    }
    Packed::from_planes(&planes, inner).ok_or_else(reason)
}

/// Paints over what nobody labelled: unlabelled cells must not teach background.
fn grey_outside(planes: &mut [u8], size: Size, [x0, y0, x1, y1]: [f32; 4]) {
    let (width, height) = (size.width as usize, size.height as usize);
    for plane in planes.chunks_exact_mut(width * height) {
        for (at, value) in plane.iter_mut().enumerate() {
            let (x, y) = ((at % width) as f32 + 0.5, (at / width) as f32 + 0.5);
            if x < x0 || x >= x1 || y < y0 || y >= y1 {
                *value = PAD_VALUE;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_labelled_is_painted_over() {
        let mut planes = vec![7; 3 * 4 * 2];
        grey_outside(&mut planes, Size::new(4, 2), [1.0, 0.0, 3.0, 1.0]);
        let pad = PAD_VALUE;
        let plane = [pad, 7, 7, pad, pad, pad, pad, pad];
        assert_eq!(planes, plane.repeat(3));
    }
}
