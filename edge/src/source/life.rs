//! Whether the source is alive: a state machine fed with what the source answers and with the time.
//!
//! Pure: it opens nothing, sleeps never and reads no clock; [`Life::advice`] says what is to be
//! done. While frames are missing, frozen, black or white nothing can be counted, and the banner
//! says so until it is over.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;
use shared::geometry::Size;
use shared::pixels::RgbView;

use super::SourceIdentity;

/// When a source is no longer what it should be. All times are since the last whole frame or since
/// the trouble began.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LifeLimits {
    /// Longest wait for one frame before looking around, 0.25 s.
    pub wait: Duration,
    /// Until the first frame after opening, 5 s; slow cameras take 2.
    pub start_within: Duration,
    /// Without a whole frame until the source has stalled, 2 s, or the time of three frames at the
    /// source's own rate if that is more.
    pub stall_after: Duration,
    /// Without a whole frame until the source is given up and opened again, 10 s.
    pub lost_after: Duration,
    /// Without any change of the picture until it is frozen, 5 s; a sensor's noise changes every
    /// frame.
    pub frozen_after: Duration,
    /// Of black or white pictures until that is said, 2 s: a hand passes the lamp quicker.
    pub blank_after: Duration,
    /// How long a step back in time is remembered, 5 s.
    pub time_back_for: Duration,
    /// Damaged frames among the last [`RECENT`] from which that is said, 7: a fifth.
    pub damaged_max: u32,
    /// First pause before opening again, 0.5 s; it doubles.
    pub retry_first: Duration,
    /// Longest pause before opening again, 10 s.
    pub retry_max: Duration,
    /// Of frames after which an opening has succeeded and the pauses begin anew, 5 s.
    pub steady_after: Duration,
}

impl Default for LifeLimits {
    fn default() -> Self {
        Self {
            wait: Duration::from_millis(250),
            start_within: Duration::from_secs(5),
            stall_after: Duration::from_secs(2),
            lost_after: Duration::from_secs(10),
            frozen_after: Duration::from_secs(5),
            blank_after: Duration::from_secs(2),
            time_back_for: Duration::from_secs(5),
            damaged_max: 7,
            retry_first: Duration::from_millis(500),
            retry_max: Duration::from_secs(10),
            steady_after: Duration::from_secs(5),
        }
    }
}

/// Frames of which the damaged ones are counted.
pub const RECENT: u32 = 32;

/// How the source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LifeState {
    /// Being opened, or open and before its first frame.
    Starting,
    /// Frames come and are good.
    Live,
    /// Frames come, and something is wrong with them: see [`Trouble`].
    Degraded,
    /// Open, and no whole frame comes.
    Stalled,
    /// Gone or given up; it is opened again and again.
    Lost,
}

/// What is wrong with frames that come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// The picture does not change at all.
    Frozen,
    /// The picture is black.
    Black,
    /// The picture is white.
    White,
    /// The camera's time went back.
    TimeBack,
    /// Many frames are damaged.
    Damaged,
}

impl Trouble {
    /// All of them, the worst first.
    pub const ALL: [Self; 5] = [
        Self::Frozen,
        Self::Black,
        Self::White,
        Self::TimeBack,
        Self::Damaged,
    ];
}

/// What a look at a frame's pixels tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// Of the sampled pixels (FNV-1a): the same picture has the same, a sensor's noise makes it
    /// another one every time.
    pub content: u64,
    /// At least 99 of 100 samples are below 16 in all colours.
    pub black: bool,
    /// At least 99 of 100 samples are 250 or more in all colours.
    pub white: bool,
}

impl Glance {
    /// Rows and columns from sample to sample.
    const STEP: usize = 8;

    /// Samples a picture.
    pub fn of(picture: RgbView<'_>) -> Self {
        let (mut content, mut all, mut black, mut white) = (0xcbf2_9ce4_8422_2325_u64, 0, 0, 0);
        for y in (0..picture.size().height).step_by(Self::STEP) {
            let pixels = picture.row(y).chunks_exact(3);
            for pixel in pixels.step_by(Self::STEP) {
                for &value in pixel {
                    content = (content ^ u64::from(value)).wrapping_mul(0x0100_0000_01b3);
                }
                all += 1;
                black += u64::from(pixel.iter().all(|&value| value < 16));
                white += u64::from(pixel.iter().all(|&value| value >= 250));
            }
        }
        Self {
            content,
            black: black * 100 >= all * 99,
            white: white * 100 >= all * 99,
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum LifeEvent<'a> {
    /// The source was opened.
    Opened(&'a SourceIdentity),
    /// It could not be opened, and why.
    OpenFailed(&'a str),
    /// A whole frame came.
    Frame {
        /// Its time.
        captured: Duration,
        /// Its size.
        size: Size,
        /// Its look.
        glance: Glance,
    },
    /// A damaged frame came.
    Damaged,
    /// Nothing came in time.
    Nothing,
    /// The source failed and is of no use any more, and why.
    Failed(&'a str),
}

/// A state has become another: one line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LifeChange {
    /// Before.
    pub from: LifeState,
    /// After.
    pub to: LifeState,
}

/// Frames have another size than before: what was measured in pixels holds no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SizeChanged {
    /// Of the frames for which the scale was valid.
    pub before: Size,
    /// Of the frames now.
    pub after: Size,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Close the source, if it is open, and open it (again).
    Open,
    /// Ask the source for a frame and wait so long.
    Receive(Duration),
    /// Close the source, if it is open, and do nothing for so long.
    Rest(Duration),
}

/// The state machine.
#[derive(Clone, Debug)]
pub struct Life {
    limits: LifeLimits,
    state: LifeState,
    since: Duration,
    now: Duration,
    identity: Option<SourceIdentity>,
    opened: Option<Opened>,
    retry: Retry,
    /// Of the frames the scale is valid for.
    size: Option<Size>,
    size_changed: Option<SizeChanged>,
}

/// What is known of a source that is open.
#[derive(Clone, Debug)]
struct Opened {
    at: Duration,
    first_frame: Option<Duration>,
    last_frame: Option<Duration>,
    captured: Option<Duration>,
    content: Option<(u64, Duration)>,
    black: Option<Duration>,
    white: Option<Duration>,
    time_back: Option<Duration>,
    /// One bit a frame, 1 = damaged, the newest lowest.
    damaged: u32,
}

/// When it is opened again.
#[derive(Clone, Debug, Default)]
struct Retry {
    at: Duration,
    pause: Duration,
    /// Openings and sources that failed since the last steady one.
    failures: u32,
    problem: String,
}

impl Life {
    /// Before anything was opened.
    pub fn new(limits: LifeLimits, now: Duration) -> Self {
        Self {
            limits,
            state: LifeState::Starting,
            since: now,
            now,
            identity: None,
            opened: None,
            retry: Retry {
                at: now,
                pause: limits.retry_first,
                ..Retry::default()
            },
            size: None,
            size_changed: None,
        }
    }

    /// The state.
    pub fn state(&self) -> LifeState {
        self.state
    }

    /// When the state began.
    pub fn since(&self) -> Duration {
        self.since
    }

    /// The source that was opened last: the one to look for when it is opened again.
    pub fn identity(&self) -> Option<&SourceIdentity> {
        self.identity.as_ref()
    }

    /// A change of size that nobody has acknowledged.
    pub fn size_changed(&self) -> Option<SizeChanged> {
        self.size_changed
    }

    /// The scale was measured anew, or is said to be valid for the present size.
    pub fn acknowledge_size(&mut self) {
        self.size_changed = None;
    }

    /// Whether frames may be counted: they come, show something new, and have the size that the
    /// scale is valid for.
    pub fn may_count(&self) -> bool {
        let seen = match self.state {
            LifeState::Live => true,
            LifeState::Degraded => !self.troubles().any(|trouble| trouble != Trouble::Damaged),
            LifeState::Starting | LifeState::Stalled | LifeState::Lost => false,
        };
        seen && self.size_changed.is_none()
    }

    /// Takes in what happened at `now`, the time since the start of the program; a `now` before the
    /// last one counts as the last one.
    pub fn on(&mut self, event: LifeEvent<'_>, now: Duration) -> Option<LifeChange> {
        self.now = self.now.max(now);
        match event {
            LifeEvent::Opened(identity) => self.open(identity),
            LifeEvent::OpenFailed(problem) | LifeEvent::Failed(problem) => self.fail(problem),
            LifeEvent::Frame {
                captured,
                size,
                glance,
            } => self.frame(captured, size, glance),
            LifeEvent::Damaged => {
                if let Some(opened) = &mut self.opened {
                    opened.damaged = opened.damaged << 1 | 1;
                }
            }
            LifeEvent::Nothing => {}
        }
        self.give_up_when_silent();
        self.turn()
    }

    /// What is to be done at `now`.
    pub fn advice(&self, now: Duration) -> Advice {
        if self.opened.is_some() {
            Advice::Receive(self.limits.wait)
        } else if now >= self.retry.at {
            Advice::Open
        } else {
            Advice::Rest(self.retry.at - now)
        }
    }

    fn open(&mut self, identity: &SourceIdentity) {
        self.opened = Some(Opened {
            at: self.now,
            first_frame: None,
            last_frame: None,
            captured: None,
            content: None,
            black: None,
            white: None,
            time_back: None,
            damaged: 0,
        });
        self.identity = Some(identity.clone());
        if let Some(size) = identity.size {
            self.compare_size(size);
        }
    }

    /// A change back to the size before is no change any more.
    fn compare_size(&mut self, after: Size) {
        let before = self.size_changed.map(|it| it.before).or(self.size);
        self.size = Some(after);
        self.size_changed = before
            .filter(|&before| before != after)
            .map(|before| SizeChanged { before, after });
    }

    fn fail(&mut self, problem: &str) {
        self.opened = None;
        self.retry.at = self.now + self.retry.pause;
        self.retry.pause = (self.retry.pause * 2).min(self.limits.retry_max);
        self.retry.failures = self.retry.failures.saturating_add(1);
        problem.clone_into(&mut self.retry.problem);
    }

    fn frame(&mut self, captured: Duration, size: Size, glance: Glance) {
        if self.size != Some(size) {
            self.compare_size(size);
        }
        let now = self.now;
        let Some(opened) = &mut self.opened else {
            return;
        };
        let first = *opened.first_frame.get_or_insert(now);
        opened.last_frame = Some(now);
        opened.damaged <<= 1;
        if opened.captured.is_some_and(|before| captured < before) {
            opened.time_back = Some(now);
        }
        opened.captured = Some(captured);
        if opened.content.is_none_or(|(it, _)| it != glance.content) {
            opened.content = Some((glance.content, now));
        }
        let begun = |since: Option<Duration>, on: bool| on.then(|| since.unwrap_or(now));
        opened.black = begun(opened.black, glance.black);
        opened.white = begun(opened.white, glance.white);
        if now - first >= self.limits.steady_after {
            self.retry.failures = 0;
            self.retry.pause = self.limits.retry_first;
        }
    }

    /// Time without a whole frame, and how much of it is allowed until the source has stalled.
    fn silence(&self, opened: &Opened) -> (Duration, Duration) {
        let (silent, allowed) = match opened.last_frame {
            Some(last) => (self.now - last, self.limits.stall_after),
            None => (self.now - opened.at, self.limits.start_within),
        };
        (silent, allowed.max(self.three_frames()))
    }

    /// What a source that is slow by its nature may take.
    fn three_frames(&self) -> Duration {
        let fps = self.identity.as_ref().and_then(|identity| identity.fps);
        fps.and_then(|fps| Duration::try_from_secs_f32(3.0 / fps).ok())
            .unwrap_or_default()
    }

    fn give_up_when_silent(&mut self) {
        let Some(opened) = &self.opened else {
            return;
        };
        let (silent, allowed) = self.silence(opened);
        let patience = allowed.max(self.limits.lost_after);
        if silent >= patience {
            let what = if opened.damaged & 1 == 1 {
                "whole picture"
            } else {
                "picture"
            };
            self.fail(&format!("no {what} for {} s", silent.as_secs()));
        }
    }

    fn judge(&self) -> LifeState {
        let Some(opened) = &self.opened else {
            return match self.retry.failures {
                0 => LifeState::Starting,
                _ => LifeState::Lost,
            };
        };
        let (silent, allowed) = self.silence(opened);
        if silent >= allowed {
            LifeState::Stalled
        } else if opened.last_frame.is_none() {
            LifeState::Starting
        } else if self.troubles().next().is_some() {
            LifeState::Degraded
        } else {
            LifeState::Live
        }
    }

    fn turn(&mut self) -> Option<LifeChange> {
        let (from, to) = (self.state, self.judge());
        if from == to {
            return None;
        }
        self.state = to;
        self.since = self.now;
        Some(LifeChange { from, to })
    }

    /// What is wrong with the frames that come, the worst first.
    pub fn troubles(&self) -> impl Iterator<Item = Trouble> {
        Trouble::ALL
            .into_iter()
            .filter(|&trouble| self.has(trouble))
    }

    fn has(&self, trouble: Trouble) -> bool {
        let Some(opened) = &self.opened else {
            return false;
        };
        let lasts = |since: Option<Duration>, limit: Duration| {
            since.is_some_and(|since| self.now - since >= limit)
        };
        match trouble {
            Trouble::Frozen => lasts(
                opened.content.map(|(_, since)| since),
                self.limits.frozen_after,
            ),
            Trouble::Black => lasts(opened.black, self.limits.blank_after),
            Trouble::White => lasts(opened.white, self.limits.blank_after),
            Trouble::TimeBack => opened
                .time_back
                .is_some_and(|at| self.now - at < self.limits.time_back_for),
            Trouble::Damaged => opened.damaged.count_ones() >= self.limits.damaged_max,
        }
    }

    /// Why the source could not be opened or was given up; empty before that.
    pub fn problem(&self) -> &str {
        &self.retry.problem
    }

    /// What people must know, for the screen; `None` when all is well.
    pub fn banner(&self, now: Duration) -> Option<String> {
        let mut text = match self.state {
            LifeState::Live => String::new(),
            LifeState::Starting => self.starting(),
            LifeState::Degraded => self.degraded(),
            LifeState::Stalled => self.stalled(),
            LifeState::Lost => self.lost(now),
        };
        if let Some(SizeChanged { before, after }) = self.size_changed {
            let separator = if text.is_empty() { "" } else { " " };
            write!(
                text,
                "{separator}The picture's size has changed from {before} to {after}: the scale is no \
                 longer valid, calibrate again."
            )
            .expect("a string takes all that is written");
        }
        (!text.is_empty()).then_some(text)
    }

    fn starting(&self) -> String {
        match &self.identity {
            Some(identity) => format!("Starting: {}.", identity.name),
            None => "Starting: looking for the picture source.".to_owned(),
        }
    }

    fn degraded(&self) -> String {
        let sentence = |trouble| match trouble {
            Trouble::Frozen => {
                "The picture does not change at all: the camera may hang, unplug it and plug it in."
                    .to_owned()
            }
            Trouble::Black => {
                "The picture is black: look at lamp, shutter and exposure.".to_owned()
            }
            Trouble::White => "The picture is white: reduce light or exposure.".to_owned(),
            Trouble::TimeBack => "The camera's clock went back.".to_owned(),
            Trouble::Damaged => format!(
                "{} of the last {RECENT} pictures were damaged: look at the cable.",
                self.opened.as_ref().map_or(0, |it| it.damaged.count_ones())
            ),
        };
        let sentences: Vec<String> = self.troubles().map(sentence).collect();
        sentences.join(" ")
    }

    fn stalled(&self) -> String {
        let silent = self.opened.as_ref().map(|it| self.silence(it).0);
        format!(
            "No picture for {} s: nothing is counted.",
            silent.unwrap_or_default().as_secs()
        )
    }

    fn lost(&self, now: Duration) -> String {
        let left = self.retry.at.saturating_sub(now);
        format!(
            "No picture source: {}; nothing is counted. Trying again in {} s (attempt {}).",
            self.retry.problem,
            left.as_millis().div_ceil(1000),
            self.retry.failures + 1
        )
    }
}

#[cfg(test)]
mod tests;
