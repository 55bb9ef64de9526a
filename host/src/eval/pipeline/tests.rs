use std::path::PathBuf;

use shared::fit::FitKind;
use shared::head::HeadSpec;
use untrained::Fixture;

use super::*;

/// A small untrained network; what it finds is nonsense, but always the same.
mod untrained {
    use super::*;
    use crate::checkpoint::build;
    use crate::model::{Architecture, Detector, RegionHead};

    pub(super) struct Fixture {
        pub folder: tempfile::TempDir,
        pub head: HeadSpec,
        pub network: Detector,
    }

    impl Fixture {
        pub(super) fn new() -> Self {
            Self::with(false)
        }

        /// With a region attribute head or with attributes in the detection head.
        pub(super) fn with(regions: bool) -> Self {
            tch::manual_seed(3);
            let architecture = Architecture::yolov5("n").unwrap();
            let head = HeadSpec {
                levels: architecture.levels(),
                n_classes: 2,
                value_counts: [2, 3]
                    .into_iter()
                    .take(if regions { 0 } else { 2 })
                    .collect(),
            };
            let store = tch::nn::VarStore::new(tch::Device::Cpu);
            let mut network = build(&store, &architecture, &head);
            if regions {
                let head = RegionHead::new(&store.root(), &architecture, &[2, 3]);
                network = network.with_regions(head);
            }
            let folder = tempfile::tempdir().unwrap();
            Self {
                folder,
                head,
                network,
            }
        }

        pub(super) fn evaluator(&self) -> Evaluator<'_> {
            Evaluator {
                network: &self.network,
                head: &self.head,
                fit: FitKind::Letterbox,
                canvas: Size::new(64, 64),
                device: tch::Device::Cpu,
            }
        }
    }
}

/// A picture that is like no other, and like no turn of itself.
fn paint(seed: u32, size: Size) -> Picture {
    let mut bytes = Vec::new();
    for y in 0..size.height {
        for x in 0..size.width {
            bytes.extend([
                (x * 5 + seed) as u8,
                (y * 3 + x) as u8,
                (x * y + 7 * seed) as u8,
            ]);
        }
    }
    Picture { bytes, size }
}

impl Fixture {
    fn save(&self, name: &str, picture: &Picture) -> PathBuf {
        let path = self.folder.path().join(name);
        let (width, height) = (picture.size.width, picture.size.height);
        let rgb = image::ColorType::Rgb8;
        image::save_buffer(&path, &picture.bytes, width, height, rgb).unwrap();
        path
    }

    fn pictures(&self, n: u32) -> Vec<PathBuf> {
        let name = |n: u32| format!("{n}.png");
        (0..n)
            .map(|n| self.save(&name(n), &paint(n, Size::new(40 + 3 * n, 50))))
            .collect()
    }
}

const ALL: Thresholds = Thresholds {
    score: 0.0,
    max_detections: 20,
    ..Thresholds::EVALUATION
};

fn found(pipeline: &Pipeline<'_>, images: &[PathBuf]) -> Vec<Found> {
    let images: Vec<&Path> = images.iter().map(PathBuf::as_path).collect();
    let mut out = Vec::new();
    let speed = pipeline.run(&images, &mut |_, _| (), |index, found| {
        assert_eq!(index, out.len(), "in the order of the list");
        out.push(found?);
        Ok::<_, EvalError>(())
    });
    assert_eq!(speed.unwrap().pictures, images.len());
    out
}

#[test]
fn neither_batch_nor_workers_decide_what_is_found() {
    let fixture = Fixture::new();
    let images = fixture.pictures(7);
    let evaluator = fixture.evaluator();
    let one_by_one: Vec<Found> = images
        .iter()
        .map(|path| {
            let picture = Picture::open(path).unwrap();
            evaluator.detect(&picture, "", &ALL).unwrap()
        })
        .collect();
    for (batch, workers) in [(1, 1), (3, 2), (16, 4)] {
        let pipeline = Pipeline {
            batch,
            workers,
            ..Pipeline::of(&evaluator, ALL)
        };
        let together = found(&pipeline, &images);
        if batch == 1 {
            assert_eq!(together, one_by_one, "the same to the last bit");
        }
        for (a, b) in together.iter().zip(&one_by_one) {
            assert_eq!(a.size, b.size);
            assert_eq!(a.detections.len(), 20);
            for (a, b) in a.detections.iter().zip(&b.detections) {
                assert!(
                    (a.score.get() - b.score.get()).abs() < 1e-6,
                    "batch {batch}"
                );
            }
        }
    }
}

#[test]
fn what_a_turned_look_finds_lies_where_it_is_on_the_upright_picture() {
    let fixture = Fixture::new();
    let picture = paint(1, Size::new(60, 40));
    let images = [fixture.save("a.png", &picture)];
    let evaluator = fixture.evaluator();
    for symmetry in Symmetry::AUGMENT {
        let turned = symmetry.apply(&picture);
        let by_hand = evaluator.detect(&turned, "", &ALL).unwrap();
        let views = [symmetry];
        let pipeline = Pipeline {
            views: &views,
            ..Pipeline::of(&evaluator, ALL)
        };
        let upright = found(&pipeline, &images).remove(0);
        assert_eq!(upright.size, picture.size);
        assert!(!upright.detections.is_empty());
        // Boxes that reach beyond the picture are cut there, and some then lie on each other.
        for found in &upright.detections {
            let same = by_hand.detections.iter().any(|seen| {
                let back = symmetry.undo(&seen.bbox, picture.size).unwrap().xyxy();
                let corners = found.bbox.xyxy().into_iter().zip(back);
                let near = corners.into_iter().all(|(a, b)| (a - b).abs() < 1e-4);
                near && seen.score == found.score
            });
            assert!(same, "{symmetry:?}: {found:?}");
        }
    }
}

#[test]
fn a_picture_that_cannot_be_used_is_told_in_its_place_and_the_others_are_looked_at() {
    let fixture = Fixture::new();
    let mut images = fixture.pictures(4);
    std::fs::write(&images[1], b"no picture").unwrap();
    images.push(fixture.folder.path().join("absent.png"));
    let paths: Vec<&Path> = images.iter().map(PathBuf::as_path).collect();
    let evaluator = fixture.evaluator();
    let pipeline = Pipeline {
        batch: 3,
        workers: 2,
        views: &Symmetry::AUGMENT,
        ..Pipeline::of(&evaluator, ALL)
    };
    let mut told = Vec::new();
    let speed = pipeline.run(&paths, &mut |_, _| (), |index, found| {
        told.push((index, found.is_ok()));
        Ok::<_, EvalError>(())
    });
    let usable = [(0, true), (1, false), (2, true), (3, true), (4, false)];
    assert_eq!(told, usable);
    assert_eq!(speed.unwrap().pictures, 3);

    let stopped = pipeline.run(&paths, &mut |_, _| (), |_, found| found.map(|_| ()));
    let error = stopped.unwrap_err();
    assert!(error.to_string().contains("1.png"), "{error}");
}

#[test]
fn no_pictures_are_no_work() {
    let fixture = Fixture::new();
    let evaluator = fixture.evaluator();
    assert_eq!(found(&Pipeline::of(&evaluator, ALL), &[]), []);
}

#[test]
fn a_region_head_describes_what_it_is_asked_to_on_the_upright_picture() {
    let fixture = Fixture::with(true);
    let images = fixture.pictures(3);
    let evaluator = fixture.evaluator();
    let attributes = |found: &[Found], picture: usize| {
        let described = |detection: &&Detection| detection.attributes[1].is_some();
        let all = &found[picture].detections;
        (all.iter().filter(described).count(), all.len())
    };
    let every = Pipeline::of(&evaluator, ALL);
    let all = found(&every, &images);
    // Wherever random weights find cells, some lie left of their middle and some do not.
    let centre = |found: &Detection| found.bbox.centre().0;
    let centres = all[1].detections.iter().map(centre);
    let middle = centres.clone().sum::<f32>() / centres.len() as f32;
    let middle = |found: &Detection| centre(found) < middle;
    let described = |picture: usize, found: &Detection| picture == 1 && middle(found);
    let some = found(
        &Pipeline {
            described: &described,
            ..every
        },
        &images,
    );
    assert_eq!(attributes(&all, 0), (20, 20));
    assert_eq!(attributes(&some, 0).0, 0);
    let (n, of) = attributes(&some, 1);
    assert!(0 < n && n < of, "{n} of {of}");
    for (a, b) in all[1].detections.iter().zip(&some[1].detections) {
        assert_eq!(b.attributes[1], a.attributes[1].filter(|_| middle(a)));
    }
    // Alone and in a batch of three the same is said of a cell.
    let picture = Picture::open(&images[2]).unwrap();
    let alone = evaluator.detect(&picture, "", &ALL).unwrap();
    let said = alone.detections[0].attributes[0].unwrap();
    let in_batch = all[2].detections[0].attributes[0].unwrap();
    assert_eq!(said.value, in_batch.value);
    assert!((said.score.get() - in_batch.score.get()).abs() < 1e-5);
}
