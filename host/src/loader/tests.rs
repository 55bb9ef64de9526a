use std::collections::BTreeMap;
use std::path::Path;

use shared::attribute::NO_ATTRIBUTES;
use shared::cell::Cell;
use shared::class::ClassId;
use shared::geometry::BBox;

use super::*;
use crate::augment::StainJitter;
use crate::dataset::Split;

const CANVAS: Size = Size::new(64, 64);

/// Pictures of noise, each with a cell of its own class.
fn samples(folder: &Path, n: u32) -> Vec<Sample> {
    let sample = |index: u32| {
        let image = folder.join(format!("{index}.png"));
        let noise = |x: u32, y: u32| {
            let hash = (x + 97 * y + 7919 * index).wrapping_mul(2_654_435_761);
            image::Rgb([(hash >> 24) as u8, (hash >> 16) as u8, index as u8])
        };
        image::RgbImage::from_fn(48, 40, noise)
            .save(&image)
            .expect("written");
        let cell = Cell {
            bbox: BBox::from_corners(8.0, 6.0, 30.0, 28.0).expect("a box"),
            class: Some(ClassId(index as u8)),
            attributes: NO_ATTRIBUTES,
        };
        Sample {
            image,
            size: Size::new(48, 40),
            split: Split::Train,
            group: String::new(),
            cells: vec![cell],
            region: None,
        }
    };
    (0..n).map(sample).collect()
}

fn plan(batch: usize, workers: usize) -> EpochPlan {
    EpochPlan {
        seed: 5,
        epoch: 2,
        batch,
        workers,
        augmentation: Augmentation {
            mixup: 0.3,
            degrees: 20.0,
            perspective: 0.001,
            stain: StainJitter {
                gain: 0.2,
                offset: 0.05,
            },
            ..Augmentation::LOW
        },
        rank: 0,
        world: 1,
    }
}

type Seen = (Vec<u8>, Vec<Target>, usize);

fn epoch(loader: &Loader<'_>, plan: &EpochPlan) -> Vec<Seen> {
    let mut out = Vec::new();
    let each = |batch: Batch| {
        out.push((batch.bytes(), batch.targets.clone(), batch.global));
        true
    };
    loader.epoch(plan, each).expect("every picture is right");
    out
}

fn loader<'a>(samples: &'a [Sample], cache: &CachePlan) -> Loader<'a> {
    Loader::new(samples.iter().collect(), FitKind::Letterbox, CANVAS, cache)
}

const RAM: CachePlan = CachePlan::Ram { bytes: 1 << 30 };

#[test]
fn neither_threads_nor_caches_change_a_byte() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let samples = samples(folder.path(), 13);
    let disk = CachePlan::Disk {
        folder: folder.path().join("cache"),
        bytes: 1 << 20,
    };
    let expected = epoch(&loader(&samples, &RAM), &plan(4, 1));
    assert_eq!(expected.len(), 4);
    assert_eq!(expected[3].0.len(), 3 * 64 * 64);
    for workers in [1, 2, 9] {
        for cache in [&CachePlan::None, &RAM, &disk] {
            let got = epoch(&loader(&samples, cache), &plan(4, workers));
            assert!(got == expected, "{workers} workers, {cache:?}");
        }
    }
    let other = EpochPlan {
        epoch: 3,
        ..plan(4, 1)
    };
    assert!(epoch(&loader(&samples, &RAM), &other) != expected);
}

#[test]
fn two_processes_see_together_what_one_sees() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let samples = samples(folder.path(), 13);
    let factors: Vec<f64> = (0..13).map(|at| 1.0 + f64::from(at) / 8.0).collect();
    for repeated in [false, true] {
        let loader = || {
            let loader = loader(&samples, &RAM);
            if repeated {
                loader.repeated(&factors)
            } else {
                loader
            }
        };
        let whole = epoch(&loader(), &plan(6, 2));
        let [first, second] = [0, 1].map(|rank| {
            let part = EpochPlan {
                rank,
                world: 2,
                ..plan(3, 2)
            };
            epoch(&loader(), &part)
        });
        assert_eq!((first.len(), second.len()), (whole.len(), whole.len()));
        for ((a, b), (bytes, targets, global)) in first.into_iter().zip(second).zip(whole) {
            let images = a.0.len() / (3 * 64 * 64);
            let moved = |t: &Target| Target {
                image: t.image + images,
                ..*t
            };
            let joined: Vec<Target> = a.1.iter().copied().chain(b.1.iter().map(moved)).collect();
            assert!([a.0, b.0].concat() == bytes);
            assert_eq!(joined, targets);
            assert_eq!((a.2, b.2), (global, global));
        }
    }
}

#[test]
fn a_batch_that_has_nothing_for_a_process_is_empty() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let samples = samples(folder.path(), 5);
    let part = EpochPlan {
        rank: 1,
        world: 2,
        ..plan(2, 1)
    };
    let mut shapes = Vec::new();
    let each = |batch: Batch| {
        shapes.push((batch.canvases.size(), batch.targets.len(), batch.global));
        true
    };
    loader(&samples, &RAM)
        .epoch(&part, each)
        .expect("every picture is right");
    assert_eq!(shapes.len(), 2);
    assert_eq!((shapes[0].0.clone(), shapes[0].2), (vec![2, 3, 64, 64], 4));
    assert_eq!(shapes[1], (vec![0, 3, 64, 64], 0, 1));
}

#[test]
fn rare_pictures_are_shown_more_often_and_each_time_otherwise() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let samples = samples(folder.path(), 6);
    let factors = [1.0, 1.0, 1.0, 1.0, 1.0, 5.0];
    let loader = loader(&samples, &RAM).repeated(&factors);
    assert_eq!((loader.len(), loader.batches(4)), (10, 3));
    let still = EpochPlan {
        augmentation: Augmentation {
            translate: 0.1,
            ..Augmentation::NONE
        },
        ..plan(10, 2)
    };
    let [batch] = &epoch(&loader, &still)[..] else {
        panic!("one batch")
    };
    let mut boxes = BTreeMap::<Option<u8>, Vec<[f32; 4]>>::new();
    for target in &batch.1 {
        boxes.entry(target.class).or_default().push(target.cxcywh);
    }
    let rare = boxes.get_mut(&Some(5)).expect("shown");
    assert_eq!(rare.len(), 5);
    rare.sort_by(|a, b| a[0].total_cmp(&b[0]));
    assert!(rare.windows(2).all(|pair| pair[0] != pair[1]));
    assert!((0..5).all(|class| boxes[&Some(class)].len() == 1));
}

#[test]
fn a_picture_that_is_wrong_is_named_and_nothing_hangs() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let mut samples = samples(folder.path(), 8);
    samples[3].size = Size::new(50, 40);
    for workers in [1, 3] {
        let result = loader(&samples, &RAM).epoch(&plan(2, workers), |_| true);
        let error = result.expect_err("the sizes differ").to_string();
        let expected = "3.png: size 48x40, expected 50x40 as the labels say";
        assert!(error.ends_with(expected), "{error}");
    }
    std::fs::remove_file(&samples[3].image).expect("removed");
    let result = loader(&samples, &CachePlan::None).epoch(&plan(2, 1), |_| true);
    assert!(result.expect_err("no file").to_string().contains("3.png"));
}
