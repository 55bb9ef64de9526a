//! The model inside the station's binary, on drawn fields whose truth is known.

use edge::detector::Detector;
use edge::model::ModelFile;
use edge::tract::TractNetwork;
use shared::geometry::Size;
use shared::phantom::{FieldSpec, MAX_WHITE_CELLS, PhantomCell, draw_field};
use shared::pixels::{RgbView, RgbViewMut};

/// Fields drawn for this test; training and demonstration have other seeds.
const SEEDS: std::ops::Range<u64> = 500_000..500_012;

#[test]
fn the_embedded_model_finds_the_cells_of_unseen_drawn_fields() {
    let file = ModelFile::embedded();
    let mut detector = Detector::new(Box::new(
        TractNetwork::load(&file).expect("the embedded model loads"),
    ));
    let size = Size::new(640, 480);
    let (mut truths, mut found, mut hits) = (0, 0, 0);
    for seed in SEEDS {
        let mut bytes = vec![0; 640 * 480 * 3];
        let mut cells: heapless::Vec<PhantomCell, { MAX_WHITE_CELLS as usize }> =
            heapless::Vec::new();
        let mut picture = RgbViewMut::new(&mut bytes, size).expect("made with this size");
        draw_field(&FieldSpec::demo(seed), &mut picture, &mut cells).expect("the look is legal");
        let view = RgbView::new(&bytes, size).expect("made with this size");
        let detections = detector
            .detect(view)
            .expect("the network runs")
            .detections
            .to_vec();
        truths += cells.len();
        found += detections.len();
        hits += cells
            .iter()
            .filter(|cell| detections.iter().any(|d| d.bbox.iou(&cell.bbox) >= 0.5))
            .count();
    }
    assert!(truths >= 20, "{truths} cells were drawn");
    let (recall, precision) = (
        hits as f64 / truths as f64,
        hits as f64 / found.max(1) as f64,
    );
    assert!(
        recall >= 0.9 && precision >= 0.9,
        "{hits} of {truths} cells found by {found} detections"
    );
}
