use super::*;
use crate::fixture::{TINY, detector};

/// A network that has one cell in the middle of its canvas, whatever it sees.
struct Fake {
    contract: ModelContract,
    objectness: f32,
}

impl Network for Fake {
    fn contract(&self) -> &ModelContract {
        &self.contract
    }

    fn run(&mut self, _canvas: &[u8], heads: &mut HeadBuffers) -> Result<(), NetworkError> {
        let spec = self.contract.head();
        for level in 0..heads.len() {
            let grid = spec.grid(level, self.contract.canvas);
            let plane = grid.width as usize * grid.height as usize;
            let mut head = vec![0.0; spec.level_len(level, self.contract.canvas)];
            head[4 * plane..5 * plane].fill(-20.0);
            if level == 2 {
                // Row 5, column 5 of 10 x 10, class 3 above the others.
                head[4 * plane + 55] = self.objectness;
                head[8 * plane + 55] = 4.0;
            }
            heads.fill(level, &head)?;
        }
        Ok(())
    }

    fn values(&mut self, _region: &[f32], values: &mut [f32]) -> Result<(), NetworkError> {
        values.fill(0.0);
        Ok(())
    }
}

fn fake(objectness: f32) -> Detector {
    let contract = detector(TINY).contract().clone();
    Detector::new(Box::new(Fake {
        contract,
        objectness,
    }))
}

#[test]
fn a_cell_on_the_canvas_comes_back_in_the_picture() {
    let bytes = vec![200; 640 * 480 * 3];
    let picture = RgbView::new(&bytes, Size::new(640, 480)).unwrap();
    let mut detector = fake(6.0);
    let findings = detector.detect(picture).unwrap();
    assert_eq!(findings.detections.len(), 1);
    let cell = findings.detections[0];
    assert_eq!(cell.class.0, 3);
    // Offsets of logit 0: centre (5.5 * 32, 5.5 * 32), size of the prior, 112 x 112, on the canvas
    // of 320; the picture has twice the pixels and lies 40 canvas pixels lower.
    let half = 56.0;
    let expected = [
        (176.0 - half) * 2.0,
        (176.0 - half - 40.0) * 2.0,
        (176.0 + half) * 2.0,
        (176.0 + half - 40.0) * 2.0,
    ];
    assert_eq!(cell.bbox.xyxy(), expected);
    assert_eq!(findings.dropped, Dropped::default());
}

#[test]
fn heads_that_are_not_finite_are_an_error_and_no_empty_field() {
    let bytes = [200; 64 * 48 * 3];
    let picture = RgbView::new(&bytes, Size::new(64, 48)).unwrap();
    let error = fake(f32::NAN).detect(picture).unwrap_err();
    assert_eq!(error.to_string(), "output 2 holds NaN or infinity");
}

#[test]
fn pictures_of_different_sizes_take_turns() {
    let mut detector = fake(6.0);
    for (width, height) in [(640, 480), (1, 1), (31, 2000), (640, 480)] {
        let bytes = vec![9; (width * height * 3) as usize];
        let picture = RgbView::new(&bytes, Size::new(width, height)).unwrap();
        assert!(detector.detect(picture).is_ok(), "{width}x{height}");
    }
    let none = RgbView::new(&[], Size::new(0, 5)).unwrap();
    assert_eq!(
        detector.detect(none).unwrap_err().to_string(),
        "picture of 0x5 cannot be laid on the canvas, expected sides of 1 to 16384"
    );
}
