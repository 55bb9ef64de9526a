//! What the watched source makes of trouble: its states, and that it is opened again.

use std::thread::sleep;
use std::time::{Duration, Instant};

use edge::frame::Frame;
use edge::source::camera::Camera;
use edge::source::life::{LifeLimits, LifeState, Trouble};
use edge::source::watched::{Step, Watched};
use edge::source::{PixelFormat, SourceIdentity};

use super::{NODE, Outcome, check_gain, ensure, plug, push, same, settings, unplug, vivid};

/// Longer than any scenario may take to reach a state.
const PATIENCE: Duration = Duration::from_secs(30);

/// Of everything, so that a scenario takes seconds.
const SHORT: Duration = Duration::from_secs(1);

/// A watched camera, and the states it went through.
struct Probe {
    watched: Watched,
    frame: Frame,
    states: Vec<LifeState>,
    start: Instant,
}

impl Probe {
    /// A camera that is live.
    fn live(start: Instant) -> Result<Self, String> {
        let limits = LifeLimits {
            stall_after: SHORT,
            frozen_after: SHORT,
            blank_after: SHORT,
            lost_after: 3 * SHORT,
            ..LifeLimits::default()
        };
        let opener = Camera::opener(settings(PixelFormat::Yuyv), start);
        let mut probe = Self {
            watched: Watched::new(opener, limits, start.elapsed()),
            frame: Frame::new(),
            states: vec![LifeState::Starting],
            start,
        };
        probe.reach(LifeState::Live)?;
        Ok(probe)
    }

    fn step(&mut self) {
        let start = self.start;
        let step = self.watched.step(|| start.elapsed(), &mut self.frame);
        if let Some(change) = self.watched.change() {
            self.states.push(change.to);
        }
        if let Step::Rest(pause) = step {
            sleep(pause.min(SHORT / 10));
        }
    }

    fn until(&mut self, what: &str, so: impl Fn(&Watched) -> bool) -> Outcome {
        let begin = Instant::now();
        while !so(&self.watched) {
            ensure(begin.elapsed() < PATIENCE, || {
                format!(
                    "expected {what} within {PATIENCE:?}, found the states {:?}, {:?}",
                    self.states,
                    self.banner()
                )
            })?;
            self.step();
        }
        Ok(())
    }

    fn reach(&mut self, state: LifeState) -> Outcome {
        self.until(&format!("{state:?}"), |it| it.life().state() == state)
    }

    fn banner(&self) -> Option<String> {
        self.watched.life().banner(self.start.elapsed())
    }

    fn banner_says(&self, expected: &str) -> Outcome {
        let found = self.banner().unwrap_or_default();
        ensure(found.contains(expected), || {
            format!("banner: expected {expected:?} in it, found {found:?}")
        })
    }

    fn identity(&self) -> Result<SourceIdentity, String> {
        let identity = self.watched.life().identity().cloned();
        identity.ok_or_else(|| "identity: expected one, found none".to_owned())
    }

    /// It is live again, the same camera, with its controls locked anew, and is counted on.
    fn same_again(&mut self, before: &SourceIdentity, node: &str) -> Outcome {
        let frames = self.watched.counters().frames;
        self.reach(LifeState::Live)?;
        let after = self.identity()?;
        ensure(before.is_same_device(&after), || {
            format!("camera: expected {before:?}, found {after:?}")
        })?;
        same("node", Some(node), after.node.as_deref())?;
        check_gain(&after.controls)?;
        same("size", before.size, after.size)?;
        same("a change of size", None, self.watched.life().size_changed())?;
        same("banner", None, self.banner())?;
        let now = self.watched.counters().frames;
        ensure(frames > 0 && now > frames, || {
            format!("frames: expected more than {frames}, found {now}")
        })
    }
}

/// Frozen, black and white pictures are said, forbid counting, and are over when they are over.
pub fn picture_troubles(start: Instant) -> Outcome {
    let mut probe = Probe::live(start)?;
    for (pattern, trouble) in [
        (vivid::PATTERN_BARS, Trouble::Frozen),
        (vivid::PATTERN_BLACK, Trouble::Black),
        (vivid::PATTERN_WHITE, Trouble::White),
    ] {
        // The text is what changes from frame to frame, and is neither black nor white.
        push(vivid::TEXT, vivid::TEXT_NONE)?;
        push(vivid::PATTERN, pattern)?;
        probe.until(&format!("{trouble:?}"), |it| {
            it.life().troubles().any(|found| found == trouble)
        })?;
        same("state", LifeState::Degraded, probe.watched.life().state())?;
        same("may count", false, probe.watched.life().may_count())?;
        push(vivid::PATTERN, vivid::PATTERN_BARS)?;
        push(vivid::TEXT, vivid::TEXT_ALL)?;
        probe.reach(LifeState::Live)?;
        same("may count", true, probe.watched.life().may_count())?;
    }
    Ok(())
}

/// No frames: stalled, live again when they come; given up and opened again when they do not.
pub fn stall(start: Instant) -> Outcome {
    let mut probe = Probe::live(start)?;
    push(vivid::DROPPED_PERCENT, 100)?;
    probe.reach(LifeState::Stalled)?;
    probe.banner_says("No picture for 1 s")?;
    push(vivid::DROPPED_PERCENT, 0)?;
    probe.reach(LifeState::Live)?;

    let before = probe.identity()?;
    push(vivid::DROPPED_PERCENT, 100)?;
    probe.reach(LifeState::Lost)?;
    probe.banner_says("no picture for 3 s")?;
    push(vivid::DROPPED_PERCENT, 0)?;
    probe.same_again(&before, NODE)
}

pub fn fatal_error(start: Instant) -> Outcome {
    let mut probe = Probe::live(start)?;
    let before = probe.identity()?;
    push(vivid::FATAL_ERROR, 1)?;
    probe.reach(LifeState::Lost)?;
    probe.banner_says("(os error 5)")?;
    probe.same_again(&before, NODE)?;
    let expected = [
        LifeState::Starting,
        LifeState::Live,
        LifeState::Lost,
        LifeState::Starting,
        LifeState::Live,
    ];
    same("states", &expected[..], &probe.states)
}

/// The node answers ENODEV: the camera is closed at once, and there again when it is next opened.
pub fn disconnect(start: Instant) -> Outcome {
    let mut probe = Probe::live(start)?;
    let before = probe.identity()?;
    push(vivid::DISCONNECT, 1)?;
    probe.reach(LifeState::Lost)?;
    probe.banner_says("camera /dev/video0: gone")?;
    probe.same_again(&before, NODE)
}

/// Unplugged while it streams, away for a while, plugged in as another node, its controls forgotten.
pub fn replug(start: Instant) -> Outcome {
    let mut probe = Probe::live(start)?;
    let before = probe.identity()?;
    push(vivid::DISCONNECT, 1)?;
    probe.reach(LifeState::Lost)?;
    unplug()?;
    probe.until("a try without a camera", |it| {
        it.life()
            .banner(Duration::ZERO)
            .is_some_and(|it| it.contains("not found; there is no camera"))
    })?;
    same("state", LifeState::Lost, probe.watched.life().state())?;
    plug(2)?;
    probe.same_again(&before, "/dev/video2")
}
