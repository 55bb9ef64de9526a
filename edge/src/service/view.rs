//! What the service shows of the station; written by its threads, read by any number of requests.
//!
//! Writers never wait for readers longer than it takes to exchange a pointer. The state is published
//! on a change of state and once or twice a second, not with every frame; a picture is drawn only
//! while somebody looks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use shared::domain::Nearness;

use super::metrics::Exposition;
use crate::clock::Moment;
use crate::config::HealthConfig;
use crate::count::RESEARCH_NOTE;

/// How long after it was last asked for a picture is still wanted.
const WANTED_FOR: Duration = Duration::from_secs(10);

/// What the station is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Not there yet.
    #[default]
    Starting,
    /// Looks and counts.
    Running,
    /// Could not start: shows why, counts nothing.
    Safe,
    /// On its way out.
    Stopping,
}

/// A line on top of the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Banner {
    /// Whether counting goes on under it.
    pub level: BannerLevel,
    /// For people.
    pub text: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BannerLevel {
    /// Counting goes on.
    Warning,
    /// Nothing is counted.
    Error,
}

/// A number with its limits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Meter {
    /// Of the number.
    pub name: &'static str,
    /// `None` while it cannot be known.
    pub value: Option<f32>,
    /// Least that is good.
    pub min: Option<f32>,
    /// Most that is good.
    pub max: Option<f32>,
    /// Of all three, empty for shares.
    pub unit: &'static str,
}

/// The field under the objective.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FieldView {
    /// Whether it may be counted.
    pub counted: bool,
    /// Why not, in words.
    pub reasons: Vec<String>,
    /// All numbers it was judged by.
    pub meters: Vec<Meter>,
}

/// How near the slide is to what the model was trained on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DomainView {
    /// `near`, `far` (unusual) or `foreign` (never seen); `None` before enough fields were measured.
    pub nearness: Option<Nearness>,
    /// Fields that it was judged by.
    pub fields: u32,
    /// Means over them, with the limits of what is near.
    pub meters: Vec<Meter>,
}

/// A class of the differential.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassRow {
    /// Its name.
    pub class: String,
    /// Cells.
    pub count: u32,
    /// Of the white cells; `None` for what never enters the per cent.
    pub percent: Option<f64>,
    /// 95 % limits of it, per cent, rounded outward.
    pub limits_percent: Option<[f64; 2]>,
}

/// The open case.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CaseView {
    /// Its name.
    pub id: String,
    /// `scanning`, `target_reached`, `review`, `signed`, `amended`.
    pub state: &'static str,
    /// White cells counted.
    pub counted: u32,
    /// White cells wanted.
    pub target: u32,
    /// Fields counted.
    pub fields: u32,
    /// Classes, in the order in which they are to be shown.
    pub rows: Vec<ClassRow>,
    /// What to do next, in words.
    pub advice: Option<String>,
}

/// The model that counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ModelView {
    /// Of its contract.
    pub name: String,
    /// Of its file.
    pub sha256: String,
}

/// Where frames come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SourceView {
    /// For people.
    pub name: String,
    /// `starting`, `live`, `degraded`, `stalled`, `lost`.
    pub state: &'static str,
}

/// All that is shown at a moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StationState {
    /// What it is about.
    pub mode: Mode,
    /// When this was true.
    pub moment: Option<Moment>,
    /// What people must know, worst first.
    pub banners: Vec<Banner>,
    /// Where frames come from.
    pub source: SourceView,
    /// The field under the objective.
    pub field: FieldView,
    /// The slide and the model's training pictures; `None` where the model does not know them, or no
    /// field was measured.
    pub domain: Option<DomainView>,
    /// The open case, if any.
    pub case: Option<CaseView>,
    /// The model that counts.
    pub model: ModelView,
}

/// A picture that is shown.
#[derive(Clone, Debug)]
pub struct FieldPicture {
    /// Sequence number of its frame.
    pub sequence: u64,
    /// A whole JPEG.
    pub jpeg: Arc<[u8]>,
    /// What was counted of the slide by then, and where this field lies, as SVG.
    pub coverage: Arc<str>,
}

/// Life of one thread: turns of its loop, and how much of them was of use.
#[derive(Debug, Default)]
pub struct Pulse {
    turns: AtomicU64,
    done: AtomicU64,
    /// When it was last of use, microseconds since the start.
    last_us: AtomicU64,
}

impl Pulse {
    /// The loop came round, with or without a frame: the thread does not hang.
    pub fn turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// A frame was captured, or analysed, at this time since the start.
    pub fn done(&self, since_start: Duration) {
        let us = u64::try_from(since_start.as_micros()).unwrap_or(u64::MAX);
        self.last_us.store(us, Ordering::Relaxed);
        self.done.fetch_add(1, Ordering::Release);
    }

    /// Turns up to now.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Time since it was last of use; `None` before the first time.
    fn age(&self, since_start: Duration) -> Option<Duration> {
        let any = self.done.load(Ordering::Acquire) > 0;
        let last = Duration::from_micros(self.last_us.load(Ordering::Relaxed));
        any.then(|| since_start.saturating_sub(last))
    }
}

/// Adds the station's own numbers to `/metrics`.
pub type Collect = Box<dyn Fn(&mut Exposition) + Send + Sync>;

/// What the service shows.
pub struct StationView {
    state: Mutex<Arc<StationState>>,
    picture: Mutex<Option<FieldPicture>>,
    /// Pictures shown so far.
    pictures: AtomicU64,
    /// When a picture was last asked for, microseconds since the start, plus 1; 0 = never.
    wanted_us: AtomicU64,
    capture: Pulse,
    analysis: Pulse,
    limits: HealthConfig,
    collect: Collect,
}

impl StationView {
    /// Shows nothing yet. `collect` is called for each request of `/metrics`.
    pub fn new(limits: HealthConfig, collect: Collect) -> Self {
        Self {
            state: Mutex::default(),
            picture: Mutex::default(),
            pictures: AtomicU64::new(0),
            wanted_us: AtomicU64::new(0),
            capture: Pulse::default(),
            analysis: Pulse::default(),
            limits,
            collect,
        }
    }

    /// A station that could not start and says why.
    pub fn safe_mode(reason: &str) -> Self {
        let view = Self::new(HealthConfig::default(), Box::new(|_| {}));
        let text = format!("The station could not start and counts nothing. {reason}");
        view.publish(StationState {
            mode: Mode::Safe,
            banners: vec![Banner {
                level: BannerLevel::Error,
                text,
            }],
            ..StationState::default()
        });
        view
    }

    /// Shows this from now on.
    pub fn publish(&self, state: StationState) {
        let state = Arc::new(state);
        let mut shown = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *shown, state);
        drop(shown);
        // Freed outside of the lock.
        drop(old);
    }

    /// What is shown.
    pub fn state(&self) -> Arc<StationState> {
        Arc::clone(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows this picture from now on.
    pub fn publish_picture(&self, picture: FieldPicture) {
        let mut shown = self.picture.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = Some(picture);
        self.pictures.fetch_add(1, Ordering::Release);
    }

    /// How many were shown so far.
    pub(super) fn pictures(&self) -> u64 {
        self.pictures.load(Ordering::Acquire)
    }

    /// Whether anybody has looked at the picture lately: else none need be drawn.
    pub fn picture_wanted(&self, since_start: Duration) -> bool {
        let asked = self.wanted_us.load(Ordering::Relaxed);
        let asked_at = Duration::from_micros(asked.saturating_sub(1));
        asked > 0 && since_start.saturating_sub(asked_at) <= WANTED_FOR
    }

    /// The picture for somebody who asks for it now.
    pub(super) fn picture(&self, since_start: Duration) -> Option<FieldPicture> {
        let us = u64::try_from(since_start.as_micros()).unwrap_or(u64::MAX);
        self.wanted_us
            .store(us.saturating_add(1), Ordering::Relaxed);
        let shown = self.picture.lock().unwrap_or_else(PoisonError::into_inner);
        shown.clone()
    }

    /// Life of the thread that captures.
    pub fn capture(&self) -> &Pulse {
        &self.capture
    }

    /// Life of the thread that looks for cells.
    pub fn analysis(&self) -> &Pulse {
        &self.analysis
    }

    /// Whether frames come and are analysed.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn ready(&self, since_start: Duration) -> Result<(), String> {
        let mode = self.state().mode;
        if mode != Mode::Running {
            return Err(format!("mode is {mode:?}, expected Running").to_lowercase());
        }
        let limits = &self.limits;
        for (what, pulse, limit) in [
            ("captured", &self.capture, limits.frame_within_s),
            ("analysed", &self.analysis, limits.analysis_within_s),
        ] {
            let age = pulse.age(since_start).map(|age| age.as_secs_f32());
            match age {
                None => return Err(format!("no frame {what} yet")),
                Some(age) if age > limit => {
                    return Err(format!(
                        "last frame {what} {age:.1} s ago, expected at most {limit}"
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// All numbers.
    pub(super) fn metrics(&self, since_start: Duration) -> Exposition {
        let mut text = Exposition::default();
        let done = |pulse: &Pulse| pulse.done.load(Ordering::Relaxed);
        text.gauge(
            "leuko_up_seconds",
            "Time since the program started.",
            since_start.as_secs_f64(),
        );
        text.gauge(
            "leuko_ready",
            "1 while frames come and are analysed.",
            f64::from(u8::from(self.ready(since_start).is_ok())),
        );
        text.counter(
            "leuko_captured_frames_total",
            "Frames captured.",
            done(&self.capture),
        );
        text.counter(
            "leuko_analysed_frames_total",
            "Frames analysed.",
            done(&self.analysis),
        );
        (self.collect)(&mut text);
        text
    }
}

/// The state with what is shown on every page.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    pub note: &'static str,
    pub software: &'static str,
    pub ready: bool,
    #[serde(flatten)]
    pub state: &'a StationState,
}

impl<'a> Shown<'a> {
    pub fn new(state: &'a StationState, ready: bool) -> Self {
        Self {
            note: RESEARCH_NOTE,
            software: env!("CARGO_PKG_VERSION"),
            ready,
            state,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> StationView {
        let view = StationView::new(HealthConfig::default(), Box::new(|_| {}));
        view.publish(StationState {
            mode: Mode::Running,
            ..StationState::default()
        });
        view
    }

    #[test]
    fn ready_is_who_captures_and_analyses_within_the_limits() {
        let at = Duration::from_secs;
        let view = StationView::new(HealthConfig::default(), Box::new(|_| {}));
        let words = |view: &StationView, second| view.ready(at(second)).unwrap_err();
        assert_eq!(words(&view, 0), "mode is starting, expected running");

        let view = running();
        assert_eq!(words(&view, 1), "no frame captured yet");
        view.capture().done(at(1));
        assert_eq!(words(&view, 1), "no frame analysed yet");
        // Turns that bring nothing do not make it ready.
        view.analysis().turn();
        assert_eq!(words(&view, 1), "no frame analysed yet");
        view.analysis().done(at(2));
        assert_eq!(view.ready(at(6)), Ok(()));
        assert_eq!(
            words(&view, 7),
            "last frame captured 6.0 s ago, expected at most 5"
        );
        view.capture().done(at(13));
        assert_eq!(
            words(&view, 13),
            "last frame analysed 11.0 s ago, expected at most 10"
        );
    }

    #[test]
    fn a_picture_is_wanted_while_somebody_looks() {
        let at = Duration::from_secs;
        let view = running();
        assert!(!view.picture_wanted(at(0)));
        assert!(view.picture(at(0)).is_none());
        assert!(view.picture_wanted(at(10)));
        assert!(!view.picture_wanted(at(11)));
    }
}
