//! The cells of a batch that teach a region attribute head.

use shared::attribute::Attributes;
use shared::geometry::Size;

use crate::assign::Target;
use crate::loss::knows_any;
use crate::model::PlacedRegion;

/// Cells whose morphology is known, as they lie on the augmented canvases.
#[derive(Debug)]
pub(crate) struct Taught {
    pub(crate) regions: Vec<PlacedRegion>,
    pub(crate) truths: Vec<Attributes>,
    /// Cells beyond the most that a batch may have.
    pub(crate) left_out: usize,
}

impl Taught {
    /// At most `max` cells, spread evenly over the batch.
    pub(crate) fn of(targets: &[Target], canvas: Size, max: usize) -> Self {
        let known: Vec<&Target> = targets
            .iter()
            .filter(|target| knows_any(&target.attributes))
            .collect();
        let n = known.len().min(max);
        let chosen = || (0..n).map(|at| known[at * known.len() / n]);
        Self {
            regions: chosen().map(|target| placed(target, canvas)).collect(),
            truths: chosen().map(|target| target.attributes).collect(),
            left_out: known.len() - n,
        }
    }
}

fn placed(target: &Target, canvas: Size) -> PlacedRegion {
    let [cx, cy, w, h] = target.cxcywh;
    let (width, height) = (canvas.width as f32, canvas.height as f32);
    let region = [
        (cx - w / 2.0) * width,
        (cy - h / 2.0) * height,
        (cx + w / 2.0) * width,
        (cy + h / 2.0) * height,
    ];
    PlacedRegion {
        image: target.image,
        region,
    }
}

#[cfg(test)]
mod tests {
    use shared::attribute::{NO_ATTRIBUTES, ValueId};

    use super::*;

    fn target(image: usize, known: bool) -> Target {
        let mut attributes = NO_ATTRIBUTES;
        attributes[3] = ValueId::new(usize::from(known)).filter(|_| known);
        Target {
            image,
            class: None,
            cxcywh: [0.5, 0.25, 0.25, 0.5],
            attributes,
        }
    }

    #[test]
    fn cells_of_unknown_morphology_teach_nothing() {
        let targets = [target(0, false), target(1, true), target(2, false)];
        let taught = Taught::of(&targets, Size::new(320, 160), 10);
        let region = [120.0, 0.0, 200.0, 80.0];
        assert_eq!(taught.regions, [PlacedRegion { image: 1, region }]);
        assert_eq!((taught.truths.len(), taught.left_out), (1, 0));
        let none = Taught::of(&targets[..1], Size::new(320, 160), 10);
        assert!(none.regions.is_empty());
    }

    #[test]
    fn cells_beyond_the_most_are_counted_and_every_picture_keeps_some() {
        let targets: Vec<Target> = (0..12).map(|at| target(at / 4, true)).collect();
        let taught = Taught::of(&targets, Size::new(320, 320), 6);
        let images: Vec<usize> = taught.regions.iter().map(|placed| placed.image).collect();
        assert_eq!(images, [0, 0, 1, 1, 2, 2]);
        assert_eq!(taught.left_out, 6);
    }
}
