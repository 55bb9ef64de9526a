//! What the source itself answers.

use std::thread::sleep;
use std::time::{Duration, Instant};

use edge::frame::Frame;
use edge::source::camera::{Camera, CameraChoice, cameras, choose, offers};
use edge::source::{DamageReason, FrameSource, PixelFormat, Received, SourceCounters};
use shared::geometry::Size;

use super::{
    FPS, NODE, Outcome, SIZE, WAIT, check_gain, ensure, plug, push, record, same, settings, unplug,
    vivid, words,
};

/// Eight bars of 75 per cent brightness from the left: white, yellow, cyan, green, magenta, red,
/// blue, black.
const BARS: [[u8; 3]; 8] = [
    [191, 191, 191],
    [191, 191, 0],
    [0, 191, 191],
    [0, 191, 0],
    [191, 0, 191],
    [191, 0, 0],
    [0, 0, 191],
    [0, 0, 0],
];

/// By how much the drawing of the driver and our arithmetic may round apart, twice, in YCbCr of 8
/// bits.
const ROUNDING: u8 = 6;

fn open(start: Instant) -> Result<Camera, String> {
    Camera::open(&settings(PixelFormat::Yuyv), None, start).map_err(words)
}

/// Takes a whole frame, within [`WAIT`].
fn whole(camera: &mut Camera, frame: &mut Frame) -> Outcome {
    let received = camera.next(WAIT, frame).map_err(words)?;
    same("next", Received::Frame, received)
}

/// Numbers of the driver that are accounted for: shown, replaced, damaged or missing. A busy machine
/// may miss a frame anywhere; it may not miss one in silence.
fn counted(camera: &Camera) -> u64 {
    let found = camera.counters();
    found.frames + found.replaced + found.damaged.total() + found.gaps
}

/// So many frames were shown and none was damaged.
fn all_whole(frames: u64, found: SourceCounters) -> Outcome {
    same("frames", frames, found.frames)?;
    same("damaged", 0, found.damaged.total())
}

pub fn no_camera(start: Instant) -> Outcome {
    unplug()?;
    let error = open(start).err();
    let expected = "camera (any): not found; there is no camera".to_owned();
    same("open", Some(expected), error)?;
    plug(0)?;
    let found = cameras();
    let camera = choose(&found, &CameraChoice::default()).map_err(words)?;
    same("card", "vivid", &camera.card)?;
    same("bus", "platform:vivid-000", &camera.bus)?;
    same("node", NODE, &camera.node)
}

pub fn formats(start: Instant) -> Outcome {
    let mut frame = Frame::new();
    for format in [PixelFormat::Yuyv, PixelFormat::Nv12, PixelFormat::Grey] {
        let mut camera = Camera::open(&settings(format), None, start).map_err(words)?;
        let identity = camera.identity();
        same("format read back", Some(format), identity.format)?;
        same("size read back", Some(SIZE), identity.size)?;
        same("rate read back", Some(FPS), identity.fps)?;
        whole(&mut camera, &mut frame)?;
        same("size of the frame", SIZE, frame.size)?;
        bars(format, &frame)?;
    }
    Ok(())
}

/// The bars are where and what they should be, near the lower edge, where no text stands.
fn bars(format: PixelFormat, frame: &Frame) -> Outcome {
    let view = frame.view().ok_or("view: expected a picture, found none")?;
    let row = view.row(SIZE.height - 10);
    let found = [1, 3, 5, 7, 9, 11, 13, 15].map(|sixteenth: usize| {
        let at = SIZE.width as usize * sixteenth / 16 * 3;
        [row[at], row[at + 1], row[at + 2]]
    });
    let right = if format == PixelFormat::Grey {
        let grey = found.iter().all(|it| it[0] == it[1] && it[1] == it[2]);
        grey && found.is_sorted_by(|a, b| a[0] > b[0])
    } else {
        let pairs = found.as_flattened().iter().zip(BARS.as_flattened());
        pairs.into_iter().all(|(a, b)| a.abs_diff(*b) <= ROUNDING)
    };
    ensure(right, || {
        format!("bars in {format}: expected {BARS:?}, found {found:?}")
    })
}

/// vivid has no MJPG, and takes YUYV instead without an error.
pub fn refused_format(start: Instant) -> Outcome {
    let error = Camera::open(&settings(PixelFormat::Mjpeg), None, start).err();
    let found = error.map(words).unwrap_or_default();
    let right = found.contains("format YUYV 320x180 (it offers YUYV 320x180, 640x360")
        && found.contains("expected MJPG 320x180");
    ensure(right, || {
        format!("open: expected a refusal of YUYV with what there is, found {found:?}")
    })
}

/// vivid takes the nearest size it has without an error.
pub fn refused_size(start: Instant) -> Outcome {
    let mut wish = settings(PixelFormat::Yuyv);
    wish.size = Size::new(320, 240);
    let found = Camera::open(&wish, None, start).err().map(words);
    let found = found.unwrap_or_default();
    let right = found.contains("format YUYV 320x180") && found.contains("expected YUYV 320x240");
    ensure(right, || {
        format!("open: expected a refusal of 320x180, found {found:?}")
    })
}

/// vivid has no 11 frames a second: the nearest is what is recorded.
pub fn rate(start: Instant) -> Outcome {
    let mut wish = settings(PixelFormat::Yuyv);
    wish.fps = Some(11.0);
    let camera = Camera::open(&wish, None, start).map_err(words)?;
    let found = camera.identity().fps;
    ensure(found.is_some_and(|fps| [10.0, 12.5].contains(&fps)), || {
        format!("rate: expected 10 or 12.5, found {found:?}")
    })
}

pub fn busy(start: Instant) -> Outcome {
    let mut first = open(start)?;
    let second = open(start).err();
    let expected = "camera /dev/video0: in use by another program".to_owned();
    same("second open", Some(expected), second)?;
    whole(&mut first, &mut Frame::new())
}

/// What `leuko-edge cameras` lists, also while another program streams from the camera.
pub fn offered(start: Instant) -> Outcome {
    let streaming = open(start)?;
    let found = offers();
    same("closed nodes", 0, found.closed.len())?;
    let [camera] = &found.cameras[..] else {
        return Err(format!("cameras: expected one, found {found:?}"));
    };
    same("node", NODE, camera.node.as_str())?;
    println!("{camera}");
    let yuyv = camera
        .formats
        .iter()
        .find(|it| it.config.as_deref() == Some("yuyv"));
    let yuyv = yuyv.ok_or_else(|| format!("formats: no YUYV in {:?}", camera.formats))?;
    let size = yuyv
        .sizes
        .iter()
        .find(|it| it.size == SIZE && it.to.is_none());
    let size = size.ok_or_else(|| format!("sizes: no {SIZE} in {:?}", yuyv.sizes))?;
    ensure(size.fps.contains(&FPS), || {
        format!("rates of {SIZE}: expected {FPS} among {:?}", size.fps)
    })?;
    let control = |key| {
        let found = camera.controls.iter().find(|it| it.config == Some(key));
        found.ok_or_else(|| format!("controls: no {key} in {:?}", camera.controls))
    };
    let gain = control("gain")?;
    same("range of gain", (0, 255), (gain.min, gain.max))?;
    ensure(camera.controls.iter().any(|it| !it.menu.is_empty()), || {
        format!("menus: expected one among {:?}", camera.controls)
    })?;
    drop(streaming);
    Ok(())
}

pub fn control_lock(start: Instant) -> Outcome {
    let mut wish = settings(PixelFormat::Yuyv);
    wish.controls.exposure_100us = Some(100);
    let camera = Camera::open(&wish, None, start).map_err(words)?;
    let records = &camera.identity().controls;
    check_gain(records)?;
    // vivid has no exposure.
    let exposure = record(records, "exposure_100us")?;
    same("asked", Some(100), exposure.asked)?;
    same("found", None, exposure.found)?;
    same(
        "problem",
        Some("no such control"),
        exposure.problem.as_deref(),
    )?;
    drop(camera);

    wish.controls.gain = Some(1000);
    let camera = Camera::open(&wish, None, start).map_err(words)?;
    let gain = record(&camera.identity().controls, "gain")?;
    same("gain, clamped", Some(255), gain.found)?;
    same(
        "problem of gain",
        Some("is 255, expected 1000; legal are 0 to 255"),
        gain.problem.as_deref(),
    )
}

/// A time-out is no error, and frames come after it as before.
pub fn time_outs(start: Instant) -> Outcome {
    let (mut camera, mut frame) = (open(start)?, Frame::new());
    whole(&mut camera, &mut frame)?;
    push(vivid::DROPPED_PERCENT, 100)?;
    // A frame may have been under way.
    camera.next(WAIT / 10, &mut frame).map_err(words)?;
    for wait in [0, 1, 5, 250, 500].map(Duration::from_millis) {
        let begin = Instant::now();
        let received = camera.next(wait, &mut frame).map_err(words)?;
        same("next without frames", Received::Nothing, received)?;
        let took = begin.elapsed();
        ensure(took >= wait && took < wait + WAIT / 10, || {
            format!("time-out: expected {wait:?}, found {took:?}")
        })?;
    }
    push(vivid::DROPPED_PERCENT, 0)?;
    whole(&mut camera, &mut frame)
}

/// After a sleep the newest comes and the others are given back and counted; after one in which all
/// buffers became full, and so old, a fresh one comes.
pub fn newest_frame(start: Instant) -> Outcome {
    let (mut camera, mut frame) = (open(start)?, Frame::new());
    whole(&mut camera, &mut frame)?;
    let (first, before) = (frame.sequence, counted(&camera));

    let unread = camera.counters().replaced;
    sleep(Duration::from_millis(350));
    let asked = start.elapsed();
    whole(&mut camera, &mut frame)?;
    let replaced = camera.counters().replaced;
    ensure(replaced > unread, || {
        format!("replaced after 0.35 s: expected above {unread}, found {replaced}")
    })?;
    let received = camera.next(Duration::ZERO, &mut frame);
    let received = received.map_err(words)?;
    // On a slow machine the next one may be there already; none of those that waited is.
    ensure(
        received == Received::Nothing || frame.captured > asked,
        || {
            let captured = frame.captured;
            format!(
                "a newer one at once: expected none, or one of after {asked:?}, found {captured:?}"
            )
        },
    )?;

    sleep(Duration::from_secs(2));
    let asked = start.elapsed();
    whole(&mut camera, &mut frame)?;
    let captured = frame.captured;
    ensure(captured > asked, || {
        format!("frame after 2 s: expected a fresh one, of {asked:?} or later, found {captured:?}")
    })?;
    // Four buffers were full.
    let found = camera.counters();
    same("replaced after 2 s", replaced + 4, found.replaced)?;
    ensure(found.gaps >= 10, || {
        format!("frames without a buffer: expected 10 or more, found {found:?}")
    })?;
    let numbers = frame.sequence - first;
    same("numbers and counts", numbers, counted(&camera) - before)
}

pub fn damaged_buffers(start: Instant) -> Outcome {
    let (mut camera, mut frame) = (open(start)?, Frame::new());
    whole(&mut camera, &mut frame)?;
    let flagged = Received::Damaged(DamageReason::Flagged);
    for damaged in 1..=3 {
        push(vivid::BUFFER_ERROR, 1)?;
        let mut received = Received::Nothing;
        for _ in 0..5 {
            received = camera.next(WAIT, &mut frame).map_err(words)?;
            if received == flagged {
                break;
            }
        }
        same("next after the error", flagged, received)?;
        let said = camera.last_damage().unwrap_or_default();
        ensure(said.ends_with("the driver says that it is damaged"), || {
            format!("words: expected those of a damaged buffer, found {said:?}")
        })?;
        let counts = camera.counters().damaged;
        same("damaged", damaged, counts.get(DamageReason::Flagged))?;
        whole(&mut camera, &mut frame)?;
    }
    // A damaged one that a newer one has replaced is counted, too, once, and as damaged.
    let replaced = camera.counters().replaced;
    push(vivid::BUFFER_ERROR, 1)?;
    sleep(Duration::from_secs(1));
    whole(&mut camera, &mut frame)?;
    let found = camera.counters();
    same("damaged unseen", 4, found.damaged.total())?;
    same("replaced beside it", replaced + 3, found.replaced)
}

pub fn dropped_frames(start: Instant) -> Outcome {
    let (mut camera, mut frame) = (open(start)?, Frame::new());
    whole(&mut camera, &mut frame)?;
    let (first, before) = (frame.sequence, counted(&camera));
    push(vivid::DROPPED_PERCENT, 50)?;
    for _ in 0..20 {
        whole(&mut camera, &mut frame)?;
    }
    let numbers = frame.sequence - first;
    same("numbers and counts", numbers, counted(&camera) - before)?;
    let found = camera.counters();
    ensure(found.gaps >= 5, || {
        format!("gaps of half the frames: expected 5 or more, found {found:?}")
    })
}

/// The driver's number goes from its largest to 0; ours goes on.
pub fn numbers_turn_over(start: Instant) -> Outcome {
    push(vivid::WRAP_NUMBERS, 1)?;
    let mut wish = settings(PixelFormat::Yuyv);
    wish.fps = Some(50.0);
    let mut camera = Camera::open(&wish, None, start).map_err(words)?;
    let mut frame = Frame::new();
    whole(&mut camera, &mut frame)?;
    let (first, before) = (frame.sequence, counted(&camera));
    let near = u64::from(u32::MAX) - 127;
    ensure((near..near + 100).contains(&first), || {
        format!("first number: expected about {near}, found {first}")
    })?;
    while frame.sequence < (1 << 32) + 3 {
        let last = frame.sequence;
        whole(&mut camera, &mut frame)?;
        ensure(frame.sequence > last, || {
            format!("number: expected above {last}, found {}", frame.sequence)
        })?;
    }
    let numbers = frame.sequence - first;
    same("numbers and counts", numbers, counted(&camera) - before)
}

/// The driver's times are absurd; ours stay between the start of the program and now.
pub fn time_of_another_age(start: Instant) -> Outcome {
    push(vivid::WRAP_TIMES, 1)?;
    let (mut camera, mut frame) = (open(start)?, Frame::new());
    for _ in 0..3 {
        let begin = start.elapsed();
        whole(&mut camera, &mut frame)?;
        let (end, found) = (start.elapsed(), frame.captured);
        ensure((begin..=end).contains(&found), || {
            format!("captured: expected {begin:?} to {end:?}, found {found:?}")
        })?;
    }
    all_whole(3, camera.counters())
}

/// Each call that opening needs fails once: it is named, nothing stays open, and the next opening
/// works.
pub fn refused_calls(start: Instant) -> Outcome {
    for (control, call) in [
        (vivid::REQBUFS_ERROR, "VIDIOC_REQBUFS"),
        (vivid::QBUF_ERROR, "VIDIOC_QBUF"),
        (vivid::STREAMON_ERROR, "VIDIOC_STREAMON"),
    ] {
        push(control, 1)?;
        let expected = format!("camera {NODE}: {call}: Invalid argument (os error 22)");
        same("open", Some(expected), open(start).err())?;
        whole(&mut open(start)?, &mut Frame::new())?;
    }
    Ok(())
}

pub fn opened_often(start: Instant) -> Outcome {
    let mut frame = Frame::new();
    for _ in 0..30 {
        let mut camera = open(start)?;
        whole(&mut camera, &mut frame)?;
        all_whole(1, camera.counters())?;
    }
    Ok(())
}
