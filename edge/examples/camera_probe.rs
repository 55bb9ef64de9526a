//! Drives the camera source against the kernel's test driver `vivid` and says what it found.
//!
//! Runs inside the virtual machine of `tests/camera/vivid`, as root, where `modprobe` stands for
//! the hand that plugs the camera in. Each line of its output is `PASS name` or `FAIL name: why`.

use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::{Duration, Instant};

use edge::frame::Frame;
use edge::source::camera::{
    Camera, CameraChoice, CameraSettings, ControlWishes, cameras, choose, set_control,
};
use edge::source::life::{LifeLimits, LifeState, Trouble};
use edge::source::watched::{Step, Watched};
use edge::source::{
    ControlRecord, DamageReason, FrameSource, PixelFormat, Received, SourceError, SourceIdentity,
};
use shared::geometry::Size;

const SIZE: Size = Size::new(320, 180);
const WAIT: Duration = Duration::from_secs(5);

/// Controls by which vivid misbehaves, and one of its own.
const OSD_TEXT: u32 = 0x00f0_f001;
const DROPPED_PERCENT: u32 = 0x00f0_f040;
const DISCONNECT: u32 = 0x00f0_f041;
const BUFFER_ERROR: u32 = 0x00f0_f042;
const FATAL_ERROR: u32 = 0x00f0_f046;

type Outcome = Result<(), String>;

/// Turns a condition into an outcome.
fn ensure(condition: bool, words: impl FnOnce() -> String) -> Outcome {
    if condition { Ok(()) } else { Err(words()) }
}

fn words(error: SourceError) -> String {
    error.to_string()
}

struct Probe {
    start: Instant,
    frame: Frame,
}

impl Probe {
    fn settings(format: PixelFormat) -> CameraSettings {
        CameraSettings {
            choice: CameraChoice::default(),
            format,
            size: SIZE,
            fps: Some(10.0),
            controls: ControlWishes::default(),
        }
    }

    fn open(&self, format: PixelFormat) -> Result<Camera, String> {
        Camera::open(&Self::settings(format), None, self.start).map_err(words)
    }

    /// The next whole frame.
    fn whole(&mut self, camera: &mut Camera) -> Outcome {
        match camera.next(WAIT, &mut self.frame).map_err(words)? {
            Received::Frame => Ok(()),
            other => Err(format!("{other:?}, expected a frame")),
        }
    }

    /// vivid draws bars of 75 %: white, yellow, cyan, green, magenta, red, blue, black.
    fn formats(&mut self) -> Outcome {
        for format in [PixelFormat::Yuyv, PixelFormat::Nv12, PixelFormat::Grey] {
            let mut camera = self.open(format)?;
            let identity = camera.identity().clone();
            println!("  {}", serde_json::to_string(&identity).unwrap_or_default());
            ensure(
                identity.format == Some(format) && identity.size == Some(SIZE),
                || format!("identity {identity:?}"),
            )?;
            let mut last = None;
            for _ in 0..3 {
                self.whole(&mut camera)?;
                let now = Some((self.frame.sequence, self.frame.captured));
                ensure(now > last, || format!("{now:?} after {last:?}"))?;
                last = now;
            }
            self.bars(format)?;
        }
        Ok(())
    }

    fn bars(&self, format: PixelFormat) -> Outcome {
        let view = self.frame.view().ok_or("no picture")?;
        let row = view.row(SIZE.height * 9 / 10);
        let expected = [7, 6, 3, 2, 5, 4, 1, 0]
            .map(|bits: usize| [4, 2, 1].map(|bit| if bits & bit > 0 { 191 } else { 0 }));
        let mut last = u8::MAX;
        for (bar, expected) in expected.iter().enumerate() {
            let at = (SIZE.width as usize * (2 * bar + 1) / 16) * 3;
            let found = &row[at..at + 3];
            let right = if format == PixelFormat::Grey {
                found[0] == found[1] && found[1] == found[2] && found[0] < last
            } else {
                found
                    .iter()
                    .zip(expected)
                    .all(|(a, b)| a.abs_diff(*b) <= 12)
            };
            ensure(right, || {
                format!("{format} bar {bar} is {found:?}, expected {expected:?} (before: {last})")
            })?;
            last = found[0];
        }
        Ok(())
    }

    fn refusals(&mut self) -> Outcome {
        let mjpeg = self.open(PixelFormat::Mjpeg).err().unwrap_or_default();
        println!("  {mjpeg}");
        ensure(
            mjpeg.contains("expected MJPG 320x180") && mjpeg.contains("it offers"),
            || format!("MJPG: {mjpeg:?}"),
        )?;
        let mut settings = Self::settings(PixelFormat::Yuyv);
        settings.size = Size::new(321, 777);
        let refused = Camera::open(&settings, None, self.start).err().map(words);
        ensure(
            refused
                .as_ref()
                .is_some_and(|it| it.contains("expected YUYV 321x777")),
            || format!("size: {refused:?}"),
        )
    }

    fn time_outs(&mut self) -> Outcome {
        let mut camera = self.open(PixelFormat::Yuyv)?;
        let mut nothing = 0;
        for _ in 0..3 {
            self.whole(&mut camera)?;
            for _ in 0..5 {
                let wait = Duration::from_millis(1);
                let received = camera.next(wait, &mut self.frame).map_err(words)?;
                nothing += u32::from(received == Received::Nothing);
            }
        }
        ensure(nothing > 3, || format!("{nothing} time-outs of 15"))
    }

    fn newest(&mut self) -> Outcome {
        let mut camera = self.open(PixelFormat::Yuyv)?;
        self.whole(&mut camera)?;
        let before = camera.counters();
        sleep(Duration::from_secs(2));
        self.whole(&mut camera)?;
        let age = self.start.elapsed() - self.frame.captured;
        let after = camera.counters();
        let replaced = after.replaced - before.replaced;
        println!("  after 2 s: age {} ms, {after:?}", age.as_millis());
        // All four buffers were full long ago: three are given back, the fourth is the newest.
        ensure(replaced >= 2, || format!("{replaced} replaced"))?;
        self.whole(&mut camera)?;
        let age = self.start.elapsed() - self.frame.captured;
        ensure(age < Duration::from_millis(500), || format!("age {age:?}"))
    }

    fn damaged(&mut self) -> Outcome {
        let mut camera = self.open(PixelFormat::Yuyv)?;
        self.whole(&mut camera)?;
        let node = node(camera.identity());
        set_control(&node, BUFFER_ERROR, 1).map_err(words)?;
        let mut seen = Vec::new();
        for _ in 0..10 {
            seen.push(camera.next(WAIT, &mut self.frame).map_err(words)?);
        }
        let flagged = Received::Damaged(DamageReason::Flagged);
        println!("  {:?}", camera.last_damage());
        ensure(
            seen.contains(&flagged) && seen.last() == Some(&Received::Frame),
            || format!("{seen:?}"),
        )
    }

    fn gaps(&mut self) -> Outcome {
        let mut camera = self.open(PixelFormat::Yuyv)?;
        let node = node(camera.identity());
        set_control(&node, DROPPED_PERCENT, 50).map_err(words)?;
        for _ in 0..20 {
            self.whole(&mut camera)?;
        }
        set_control(&node, DROPPED_PERCENT, 0).map_err(words)?;
        let counters = camera.counters();
        println!("  {counters:?}");
        ensure(counters.gaps >= 5, || format!("{counters:?}"))
    }

    fn busy(&mut self) -> Outcome {
        let _camera = self.open(PixelFormat::Yuyv)?;
        match Camera::open(&Self::settings(PixelFormat::Yuyv), None, self.start) {
            Err(SourceError::Busy { .. }) => Ok(()),
            other => Err(format!("{:?}", other.map(|it| it.identity().clone()))),
        }
    }

    fn control_lock(&mut self) -> Outcome {
        let mut settings = Self::settings(PixelFormat::Yuyv);
        settings.controls.gain = Some(77);
        settings.controls.exposure_100us = Some(100);
        let camera = Camera::open(&settings, None, self.start).map_err(words)?;
        let records = &camera.identity().controls;
        check_gain(records)?;
        let exposure = record(records, "exposure_100us")?;
        ensure(
            exposure.problem.as_deref() == Some("no such control"),
            || format!("{exposure:?}"),
        )
    }

    /// Runs a watched source until `done` says so, for at most a minute; keeps its states.
    fn watch(
        &mut self,
        watched: &mut Watched,
        states: &mut Vec<LifeState>,
        mut done: impl FnMut(&Watched, Step) -> bool,
    ) -> Outcome {
        let end = Instant::now() + Duration::from_secs(60);
        let start = self.start;
        while Instant::now() < end {
            let step = watched.step(|| start.elapsed(), &mut self.frame);
            if let Some(change) = watched.change() {
                states.push(change.to);
                let banner = watched.life().banner(start.elapsed());
                println!("  {:?}: {}", change.to, banner.unwrap_or_default());
            }
            if done(watched, step) {
                return Ok(());
            }
            if let Step::Rest(pause) = step {
                sleep(pause.min(Duration::from_millis(100)));
            }
        }
        Err(format!("not done in a minute; states {states:?}"))
    }

    fn watched(&self) -> Watched {
        let mut settings = Self::settings(PixelFormat::Yuyv);
        settings.controls.gain = Some(77);
        let limits = LifeLimits {
            frozen_after: Duration::from_secs(2),
            ..LifeLimits::default()
        };
        let opener = Camera::opener(settings, self.start);
        Watched::new(opener, limits, self.start.elapsed())
    }

    fn live(&mut self, watched: &mut Watched, states: &mut Vec<LifeState>) -> Outcome {
        self.watch(watched, states, |watched, step| {
            step == Step::Frame && watched.life().state() == LifeState::Live
        })
    }

    fn fatal_error(&mut self) -> Outcome {
        let (mut watched, mut states) = (self.watched(), Vec::new());
        self.live(&mut watched, &mut states)?;
        set_control(&watched_node(&watched)?, FATAL_ERROR, 1).map_err(words)?;
        self.watch(&mut watched, &mut states, |it, _| {
            it.life().state() == LifeState::Lost
        })?;
        self.live(&mut watched, &mut states)
    }

    fn frozen(&mut self) -> Outcome {
        let (mut watched, mut states) = (self.watched(), Vec::new());
        self.live(&mut watched, &mut states)?;
        let node = watched_node(&watched)?;
        set_control(&node, OSD_TEXT, 2).map_err(words)?;
        let seen = self.watch(&mut watched, &mut states, |watched, _| {
            watched.life().troubles().any(|it| it == Trouble::Frozen)
        });
        set_control(&node, OSD_TEXT, 0).map_err(words)?;
        seen?;
        self.live(&mut watched, &mut states)
    }

    fn replug(&mut self) -> Outcome {
        let (mut watched, mut states) = (self.watched(), Vec::new());
        self.live(&mut watched, &mut states)?;
        let before = watched.life().identity().cloned();
        set_control(&watched_node(&watched)?, DISCONNECT, 1).map_err(words)?;
        self.watch(&mut watched, &mut states, |it, _| {
            it.life().state() == LifeState::Lost
        })?;
        // Some tries without a camera.
        let until = Instant::now() + Duration::from_secs(3);
        self.watch(&mut watched, &mut states, |_, _| Instant::now() > until)?;
        modprobe(&["-r", "vivid"])?;
        load_vivid()?;
        self.live(&mut watched, &mut states)?;
        let after = watched.life().identity().cloned();
        let same = before.as_ref().zip(after.as_ref());
        ensure(same.is_some_and(|(a, b)| a.is_same_device(b)), || {
            format!("{before:?} {after:?}")
        })?;
        check_gain(&after.map(|it| it.controls).unwrap_or_default())?;
        println!("  {:?}", watched.counters());
        Ok(())
    }
}

fn node(identity: &SourceIdentity) -> String {
    identity.node.clone().unwrap_or_default()
}

fn watched_node(watched: &Watched) -> Result<String, String> {
    watched
        .life()
        .identity()
        .map(node)
        .ok_or("not open".to_owned())
}

fn record<'a>(records: &'a [ControlRecord], name: &str) -> Result<&'a ControlRecord, String> {
    let found = records.iter().find(|it| it.name == name);
    found.ok_or(format!("no record of {name}"))
}

/// The automatic is off and the gain is the one that was asked for.
fn check_gain(records: &[ControlRecord]) -> Outcome {
    let (auto, gain) = (record(records, "gain_auto")?, record(records, "gain")?);
    ensure(auto.found == Some(0) && gain.found == Some(77), || {
        format!("{auto:?} {gain:?}")
    })
}

fn modprobe(arguments: &[&str]) -> Outcome {
    let status = Command::new("modprobe").args(arguments).status();
    let status = status.map_err(|error| error.to_string())?;
    ensure(status.success(), || {
        format!("modprobe {arguments:?}: {status}")
    })
}

/// One device with one webcam input.
fn load_vivid() -> Outcome {
    modprobe(&[
        "vivid",
        "n_devs=1",
        "node_types=0x1",
        "num_inputs=1",
        "input_types=0x0",
    ])
}

fn no_camera() -> Outcome {
    let there = cameras();
    let error = choose(&there, &CameraChoice::default()).err().map(words);
    let expected = "camera (any): not found; there is no camera";
    ensure(error.as_deref() == Some(expected), || format!("{error:?}"))?;
    load_vivid()?;
    println!("  there {}", cameras());
    ensure(cameras().found.len() == 1, || cameras().to_string())
}

fn main() -> ExitCode {
    let mut probe = Probe {
        start: Instant::now(),
        frame: Frame::new(),
    };
    let checks: [(&str, fn(&mut Probe) -> Outcome); 12] = [
        ("no camera, then one", |_| no_camera()),
        ("formats", Probe::formats),
        ("refusals", Probe::refusals),
        ("time-outs", Probe::time_outs),
        ("newest frame", Probe::newest),
        ("damaged buffers", Probe::damaged),
        ("gaps", Probe::gaps),
        ("busy", Probe::busy),
        ("control lock", Probe::control_lock),
        ("frozen picture", Probe::frozen),
        ("fatal error", Probe::fatal_error),
        ("unplug and replug", Probe::replug),
    ];
    let mut code = ExitCode::SUCCESS;
    for (name, check) in checks {
        let begin = Instant::now();
        match check(&mut probe) {
            Ok(()) => println!("PASS {name} ({} ms)", begin.elapsed().as_millis()),
            Err(why) => {
                println!("FAIL {name}: {why}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
