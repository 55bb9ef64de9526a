//! In the steady state a frame costs no memory: what judging, finding and handing over allocate, counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use edge::detector::Detector;
use edge::frame::Frame;
use edge::model::ModelFile;
use edge::network::HeadBuffers;
use edge::source::pace::Rate;
use edge::source::phantom::{Phantom, Walk};
use edge::source::{FrameSource, Received};
use edge::station::mailbox::{Mailbox, Taken};
use edge::tract::TractNetwork;
use field::{FieldWatch, WatchOptions};

/// The system's, counted.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is passed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How many allocations the work takes.
fn of<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let done = work();
    (ALLOCATIONS.load(Ordering::Relaxed) - before, done)
}

/// Frames of a small walk: standing, moving and standing again.
fn frames() -> Vec<Frame> {
    let walk = Walk {
        columns: 2,
        rows: 2,
        ..Walk::demo(1)
    };
    let mut source = Phantom::new(walk, Rate::Free, Instant::now()).unwrap();
    let mut all = Vec::new();
    let mut frame = Frame::new();
    while source.next(Duration::ZERO, &mut frame).unwrap() == Received::Frame {
        all.push(frame.clone());
    }
    all
}

/// Allocations by what allocated.
#[derive(Debug, Default, PartialEq, Eq)]
struct Spent {
    mailbox: u64,
    see: u64,
    /// Beside the engine's.
    detect: u64,
    engine: u64,
}

/// Of the engine (tract) for one canvas of the built-in model at most: its tensors, which it makes anew
/// for each run. 267 were counted on x86-64, in every frame.
const ENGINE_MAX: u64 = 300;

#[test]
fn after_the_first_frames_only_the_engine_allocates() {
    const WARM: usize = 2;
    const ROUNDS: usize = 5;
    let frames = frames();
    let network = TractNetwork::load(&ModelFile::embedded()).unwrap();
    let mut detector = Detector::new(Box::new(network));
    let mut heads = HeadBuffers::new(detector.contract());
    let mut watch = FieldWatch::new(WatchOptions::new(frames[0].size)).unwrap();
    let mailbox = Mailbox::default();
    // Two that circulate beside the one in the mailbox, as in the threads.
    let (mut captured, mut taken) = (frames[0].clone(), frames[0].clone());
    let mut spent = Spent::default();
    let (mut found, mut n) = (0, 0);
    for round in 0..WARM + ROUNDS {
        for frame in &frames {
            let (mail, got) = of(|| {
                let mut room = captured.room(frame.size).unwrap();
                room.bytes_mut().copy_from_slice(&frame.pixels);
                mailbox.put(&mut captured);
                mailbox.take(Duration::ZERO, &mut taken)
            });
            assert_eq!(got, Taken::Frame);
            let view = taken.view().unwrap();
            let (see, _) = of(|| watch.see(view, None).unwrap());
            let (detect, cells) = of(|| detector.detect(view).unwrap().detections.len());
            let canvas = detector.canvas().to_vec();
            let (engine, ran) = of(|| detector.network().run(&canvas, &mut heads));
            ran.unwrap();
            if round < WARM {
                continue;
            }
            n += 1;
            found += cells;
            spent.mailbox += mail;
            spent.see += see;
            spent.detect += detect - engine;
            spent.engine += engine;
        }
    }
    println!("{n} frames, {found} cells: {spent:?}");
    assert!(n >= 300 && found > n / 2, "{n} frames, {found} cells");
    let engine = spent.engine;
    assert!(engine <= n as u64 * ENGINE_MAX, "{engine} by the engine");
    assert_eq!(engine % n as u64, 0, "as many in every frame");
    assert_eq!(
        spent,
        Spent {
            engine,
            ..Spent::default()
        }
    );
}
