//! Every picture of a validation, on drawn data: LeukemiaAttri's fourteen classes and seven
//! attributes, so that nothing depends on there being few.

use std::path::Path;

use image::{Rgb, RgbImage};
use shared::attribute::{
    AttributeFinding, LEUKEMIA_ATTRIBUTES, NO_ATTRIBUTES, NO_FINDINGS, ValueId,
};
use shared::cell::{Cell, Detection};
use shared::class::{ClassId, LEUKEMIA_CLASSES};
use shared::detect::Dropped;
use shared::geometry::{BBox, Size};
use shared::head::Thresholds;
use shared::score::Score;

use super::*;
use crate::dataset::Split;
use crate::score::score_samples;

const SIZE: Size = Size::new(640, 640);

/// Numbers that look drawn by chance and are the same everywhere.
struct Chance(u64);

impl Chance {
    /// 0 to below `n`.
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % n
    }

    /// 0..=1.
    fn share(&mut self) -> f32 {
        self.below(1001) as f32 / 1000.0
    }
}

fn leukemia() -> (ClassTable, AttributeSchema) {
    let schema = AttributeSchema::new(LEUKEMIA_ATTRIBUTES).unwrap();
    (ClassTable::new(LEUKEMIA_CLASSES).unwrap(), schema)
}

/// Fields with up to eight cells on disk, and findings that are right four times in five.
fn drawn(folder: &Path, n: usize) -> (Vec<Sample>, Vec<PictureFindings>) {
    let (classes, schema) = leukemia();
    let mut chance = Chance(7);
    let mut samples = Vec::new();
    let mut findings = Vec::new();
    for number in 0..n {
        let image = folder.join(format!("field_{number:02}_100x_APML.png"));
        let mut picture = RgbImage::from_pixel(SIZE.width, SIZE.height, Rgb([225, 200, 190]));
        let mut cells = Vec::new();
        let mut detections = Vec::new();
        for place in 0..=chance.below(8) {
            let (x, y) = ((place % 3) as f32 * 205.0, (place / 3) as f32 * 205.0);
            let (x, y) = (x + 60.0 * chance.share(), y + 60.0 * chance.share());
            let side = 60.0 + 70.0 * chance.share();
            fill(&mut picture, x, y, side);
            let class = ClassId(chance.below(classes.len()) as u8);
            let mut attributes = NO_ATTRIBUTES;
            let mut found = NO_FINDINGS;
            for (at, values) in schema.value_counts().enumerate() {
                attributes[at] = ValueId::new(chance.below(values));
                let value = match chance.below(5) {
                    0 => ValueId::new(chance.below(values)),
                    _ => attributes[at],
                };
                found[at] = value.map(|value| AttributeFinding {
                    value,
                    score: Score::ONE,
                });
            }
            cells.push(Cell {
                bbox: BBox::from_corners(x, y, x + side, y + side).unwrap(),
                class: Some(class),
                attributes,
            });
            let class = match chance.below(5) {
                0 => ClassId(chance.below(classes.len()) as u8),
                _ => class,
            };
            if chance.below(10) > 0 {
                let x = x + 20.0 * chance.share();
                detections.push(Detection {
                    bbox: BBox::from_corners(x, y, x + side, y + side).unwrap(),
                    class,
                    score: Score::new(0.2 + 0.8 * chance.share()).unwrap(),
                    attributes: found,
                });
            }
        }
        picture.save(&image).unwrap();
        detections.sort_by(shared::metrics::matching::best_first);
        findings.push(PictureFindings {
            image: image.to_string_lossy().into_owned(),
            size: SIZE,
            model_sha256: String::new(),
            thresholds: Thresholds::EVALUATION,
            dropped: Dropped::default(),
            detections,
        });
        samples.push(Sample {
            image,
            size: SIZE,
            split: Split::Val,
            group: String::new(),
            cells,
            region: None,
        });
    }
    (samples, findings)
}

/// A purple square where a cell lies.
fn fill(picture: &mut RgbImage, x: f32, y: f32, side: f32) {
    let (from, to) = ((side * 0.2) as u32, (side * 0.8) as u32);
    for dy in from..to {
        for dx in from..to {
            picture.put_pixel(x as u32 + dx, y as u32 + dy, Rgb([110, 70, 150]));
        }
    }
}

fn size_of(path: &Path) -> (u32, u32) {
    image::image_dimensions(path).unwrap()
}

#[test]
fn everything_is_drawn_of_fourteen_classes_and_seven_attributes() {
    let folder = tempfile::tempdir().unwrap();
    let (classes, schema) = leukemia();
    let (samples, findings) = drawn(folder.path(), 12);
    let samples: Vec<&Sample> = samples.iter().collect();
    let options = ScoreOptions::default();
    let report = score_samples(&samples, &findings, &classes, &schema, &options).unwrap();
    let out = tempfile::tempdir().unwrap();
    let written =
        write_validation_pictures(out.path(), &samples, &findings, &report, &classes, &schema)
            .unwrap();
    let names: Vec<String> = written
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let expected = [
        "PR_curve.png",
        "F1_curve.png",
        "P_curve.png",
        "R_curve.png",
        "confusion_matrix.png",
        "confusion_cell_size.png",
        "confusion_nuclear_chromatio.png",
        "confusion_nuclear_shape.png",
        "confusion_nucleolus.png",
        "confusion_cytoplasm.png",
        "confusion_cytoplasmic_basophilia.png",
        "confusion_cytoplasmic_vacuoles.png",
        "reliability.png",
        "val_batch0_labels_pred.jpg",
        "val_batch1_labels_pred.jpg",
        "val_batch2_labels_pred.jpg",
    ];
    assert_eq!(names, expected);
    assert_eq!(size_of(&written[0]).1, 600);
    // Fifteen rows and columns of 48 pixels, and names beside them.
    let (width, height) = size_of(&written[4]);
    assert!(
        width > 15 * 48 + 150 && height > 15 * 48 + 150,
        "{width}x{height}"
    );
    // One pair of 640 pixels a row, three rows.
    assert_eq!(
        size_of(&written[13]),
        (12 + 2 * 640 + 6 + 12, 58 + 3 * (24 + 640 + 12))
    );
    write_labels(out.path(), &samples, &classes, &schema).unwrap();
    assert_eq!(size_of(&out.path().join("labels.jpg")).0, 1200);
}

#[test]
fn the_worst_pictures_come_first_and_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let (classes, schema) = leukemia();
    let (samples, mut findings) = drawn(folder.path(), 5);
    // Nothing is found on the third, its cells are missed.
    let cells = samples[2].cells.len();
    findings[2].detections.clear();
    let perfect = |index: usize, findings: &mut [PictureFindings]| {
        let cells = samples[index].cells.iter();
        let exact = cells.map(|cell| Detection {
            bbox: cell.bbox,
            class: cell.class.unwrap(),
            score: Score::ONE,
            attributes: NO_FINDINGS,
        });
        findings[index].detections = exact.collect();
    };
    for index in [0, 1, 3, 4] {
        perfect(index, &mut findings);
    }
    let samples: Vec<&Sample> = samples.iter().collect();
    let options = ScoreOptions::default();
    let report = score_samples(&samples, &findings, &classes, &schema, &options).unwrap();
    let earlier = folder.path().join("val_batch2_labels_pred.jpg");
    std::fs::write(&earlier, "of another validation").unwrap();
    write_validation_pictures(
        folder.path(),
        &samples,
        &findings,
        &report,
        &classes,
        &schema,
    )
    .unwrap();
    assert!(!earlier.exists(), "two sheets hold these five pictures");
    let list = std::fs::read_to_string(folder.path().join("val_pictures.txt")).unwrap();
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 6);
    assert!(lines[0].contains("the most faults first"), "{}", lines[0]);
    let worst = format!("field_02_100x_APML.png\t{cells} missed, 0 extra, 0 of another class");
    assert!(lines[1].ends_with(&worst), "{}", lines[1]);
    assert!(
        lines[2].ends_with("\t0 missed, 0 extra, 0 of another class"),
        "{}",
        lines[2]
    );
}

#[test]
fn a_validation_without_findings_and_a_picture_that_is_gone_have_their_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (classes, schema) = leukemia();
    let (samples, _) = drawn(folder.path(), 2);
    let references: Vec<&Sample> = samples.iter().collect();
    let options = ScoreOptions::default();
    let report = score_samples(&references, &[], &classes, &schema, &options).unwrap();
    let write =
        || write_validation_pictures(folder.path(), &references, &[], &report, &classes, &schema);
    // No found cell is labelled: no confusion of attributes.
    assert_eq!(write().unwrap().len(), 4 + 1 + 1 + 1);
    std::fs::remove_file(&samples[0].image).unwrap();
    let error = write().unwrap_err();
    assert!(matches!(error, PlotError::Picture(_)), "{error}");
}

#[test]
fn tiles_of_any_number_and_size_become_a_sheet() {
    let folder = tempfile::tempdir().unwrap();
    let (classes, _) = leukemia();
    let path = folder.path().join("train_batch0.jpg");
    let tile = |side: u32, n: u32| Tile {
        picture: RgbImage::from_pixel(side, side, Rgb([200; 3])),
        cells: (0..n)
            .map(|at| Cell {
                bbox: BBox::from_centre(30.0 * at as f32, 40.0, 50.0, 50.0).unwrap(),
                class: (at > 0).then_some(ClassId(at as u8)),
                attributes: NO_ATTRIBUTES,
            })
            .collect(),
    };
    let cases = [
        (vec![tile(960, 3)], (480, 480)),
        ((0..5).map(|n| tile(320, n)).collect(), (4 * 320, 2 * 320)),
        ((0..40).map(|_| tile(64, 1)).collect(), (4 * 64, 4 * 64)),
    ];
    for (tiles, size) in cases {
        write_tiles(&path, &tiles, &classes).unwrap();
        assert_eq!(size_of(&path), size, "{} tiles", tiles.len());
    }
}
