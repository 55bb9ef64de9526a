//! How long a training canvas takes, stage by stage, and how many the loader makes in a second.
//!
//! `cargo bench -p host --bench loader`; the first table is time of one core, whatever else the
//! machine does, the second is time by the clock. What is timed is first checked.

use std::convert::Infallible;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use host::augment::{Augmentation, ColourJitter, Fitted, Packed, Pictures, Rng, StainJitter};
use host::cache::CachePlan;
use host::dataset::{PhantomLook, PhantomPlan, PhantomSchema, Sample, draw_phantoms};
use host::loader::{EpochPlan, Loader};
use shared::fit::FitKind;
use shared::geometry::Size;

/// Canvases of a measurement, and measurements of which the fastest counts.
const CANVASES: u64 = 100;
const ROUNDS: u64 = 5;

const GEOMETRY: Augmentation = Augmentation {
    colour: ColourJitter::NONE,
    ..Augmentation::LOW
};

fn main() {
    println!("side  stage                       ms/canvas");
    for side in [320, 640] {
        stages(side);
    }
    println!("side  cache  workers  canvases/s");
    let folder = tempfile::tempdir().expect("a scratch folder");
    for side in [320, 640] {
        rates(side, folder.path());
    }
}

fn stages(side: u32) {
    let plans = [
        ("mosaic", GEOMETRY),
        (
            "mosaic, rotated",
            Augmentation {
                degrees: 15.0,
                ..GEOMETRY
            },
        ),
        (
            "mosaic, perspective",
            Augmentation {
                perspective: 0.0005,
                ..GEOMETRY
            },
        ),
        (
            "one picture",
            Augmentation {
                mosaic: 0.0,
                ..GEOMETRY
            },
        ),
        (
            "mosaic, mixup",
            Augmentation {
                mixup: 1.0,
                ..GEOMETRY
            },
        ),
        (
            "mosaic, stain",
            Augmentation {
                stain: StainJitter {
                    gain: 0.2,
                    offset: 0.05,
                },
                ..GEOMETRY
            },
        ),
        ("mosaic, HSV", Augmentation::LOW),
    ];
    let inner = Size::new(side, side * 3 / 4);
    let noise = |i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8;
    let pixels = (0..3 * inner.width * inner.height).map(noise).collect();
    let picture = Arc::new(Packed::from_pixels(pixels, inner).expect("of its size"));
    let canvas = Size::new(side, side);
    for (name, plan) in plans {
        let draw = |index: u64| {
            let fetch = |_| {
                Ok::<_, Infallible>(Fitted {
                    picture: Arc::clone(&picture),
                    cells: &[],
                })
            };
            let pictures = Pictures { pool: &[0], fetch };
            let Ok(out) = plan.apply(0, &pictures, canvas, &mut Rng::new(1, 0, index));
            out.canvas
        };
        assert_eq!(draw(3), draw(3), "{name}");
        let round = |_| {
            let before = cpu_seconds();
            (0..CANVASES).for_each(|index| drop(black_box(draw(index))));
            (cpu_seconds() - before) / CANVASES as f64
        };
        let best = (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min);
        println!("{side:<5} {name:<24} {:>12.3}", best * 1e3);
    }
}

/// Seconds that this thread was on a core, as Linux counts them.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = text
        .split(' ')
        .next()
        .and_then(|first| first.parse::<f64>().ok());
    nanoseconds.expect("three numbers") / 1e9
}

fn rates(side: u32, folder: &Path) {
    let plan = PhantomPlan {
        fields: [64, 0, 0],
        seed: 1,
        look: PhantomLook::Demo,
        schema: PhantomSchema::Wbcatt,
    };
    let data = draw_phantoms(&plan, &folder.join("fields")).expect("drawn");
    let disk = CachePlan::Disk {
        folder: folder.join("cache"),
        bytes: 1 << 30,
    };
    let caches = [
        ("none", CachePlan::None),
        ("disk", disk),
        ("ram", CachePlan::Ram { bytes: 1 << 30 }),
    ];
    for (name, cache) in caches {
        let samples: Vec<&Sample> = data.samples.iter().collect();
        let canvas = Size::new(side, side);
        let loader = Loader::new(samples, FitKind::Letterbox, canvas, &cache);
        for workers in [1, 2] {
            let epoch = |epoch: usize| {
                let plan = EpochPlan {
                    seed: 1,
                    epoch,
                    batch: 16,
                    workers,
                    augmentation: Augmentation::LOW,
                    rank: 0,
                    world: 1,
                };
                let started = Instant::now();
                let mut canvases = 0;
                let each = |batch: host::loader::Batch| {
                    canvases += batch.canvases.size()[0];
                    true
                };
                loader.epoch(&plan, each).expect("every picture is right");
                assert_eq!(canvases, 64);
                canvases as f64 / started.elapsed().as_secs_f64()
            };
            epoch(0);
            let best = (1..6).map(epoch).fold(0.0, f64::max);
            println!("{side:<5} {name:<6} {workers:>7} {best:>11.0}");
        }
    }
}
