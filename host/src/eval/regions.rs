//! Attributes of found cells by a region attribute head.

use shared::attribute::AttributeFindings;
use shared::cell::Detection;
use shared::fit::Fit;
use shared::geometry::{BBox, Image};
use shared::head::HeadError;
use shared::roi::region_of;
use tch::Tensor;

use crate::model::{PlacedRegion, RegionHead};

/// Fills in the attributes of those `detections` of one picture that are `wanted`; the same box found
/// as several classes is read once.
///
/// # Shapes
/// `fine` as [`Outputs::fine`](crate::model::Outputs::fine); `image` is the picture's position in it.
///
/// # Errors
/// When the head's answer is not finite.
pub fn read_attributes(
    head: &RegionHead,
    fine: &[Tensor; 2],
    image: usize,
    fit: &Fit,
    detections: &mut [Detection],
    wanted: impl Fn(&Detection) -> bool,
) -> Result<(), HeadError> {
    let mut boxes: Vec<BBox<Image>> = Vec::new();
    let mut box_of: Vec<Option<usize>> = Vec::with_capacity(detections.len());
    for detection in detections.iter() {
        let known = boxes.iter().position(|known| *known == detection.bbox);
        box_of.push(known.or_else(|| {
            wanted(detection).then(|| {
                boxes.push(detection.bbox);
                boxes.len() - 1
            })
        }));
    }
    let placed = |bbox: &BBox<Image>| PlacedRegion {
        image,
        region: region_of(fit, bbox),
    };
    let regions: Vec<PlacedRegion> = boxes.iter().map(placed).collect();
    let findings: Vec<AttributeFindings> = head.findings(fine, &regions)?;
    for (detection, index) in detections.iter_mut().zip(box_of) {
        if let Some(index) = index {
            detection.attributes = findings[index];
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use shared::attribute::NO_FINDINGS;
    use shared::class::ClassId;
    use shared::fit::FitKind;
    use shared::geometry::Size;
    use shared::score::Score;
    use tch::{Device, Kind, nn};

    use super::*;
    use crate::model::Architecture;

    fn found(class: u8, x0: f32) -> Detection {
        Detection {
            bbox: BBox::from_corners(x0, 10.0, x0 + 40.0, 60.0).unwrap(),
            class: ClassId(class),
            score: Score::new(0.5).unwrap(),
            attributes: NO_FINDINGS,
        }
    }

    #[test]
    fn only_wanted_boxes_are_read_and_one_box_has_one_answer() {
        tch::manual_seed(5);
        let store = nn::VarStore::new(Device::Cpu);
        let architecture = Architecture::yolov5("n").unwrap();
        let head = RegionHead::new(&store.root(), &architecture, &[2, 4]);
        let fine = [(32, 24), (64, 12)].map(|(channels, side)| {
            Tensor::randn([2, channels, side, side], (Kind::Float, Device::Cpu))
        });
        let size = Size::new(96, 96);
        let fit = Fit::new(FitKind::Letterbox, size, size).unwrap();
        let mut detections = [found(0, 5.0), found(1, 5.0), found(0, 50.0)];
        let left = |detection: &Detection| detection.bbox.x0() < 20.0;
        read_attributes(&head, &fine, 1, &fit, &mut detections, left).unwrap();
        assert_eq!(detections[0].attributes.iter().flatten().count(), 2);
        assert_eq!(detections[0].attributes, detections[1].attributes);
        assert_eq!(detections[2].attributes, NO_FINDINGS);
        read_attributes(&head, &fine, 1, &fit, &mut detections, |_| true).unwrap();
        assert!(detections[2].attributes[1].is_some());
    }
}
