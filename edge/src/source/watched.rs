//! A source that is opened, looked after and opened again, one step at a time.
//!
//! The thin rim around [`Life`]: it owns the source and asks the clock it is given; it never sleeps
//! beyond the wait of one frame.

use std::time::Duration;

use super::life::{Advice, Glance, Life, LifeChange, LifeEvent, LifeLimits};
use super::{DamageReason, FrameSource, Received, SourceCounters, SourceError, SourceIdentity};
use crate::frame::Frame;

/// Opens the source; told which one was open before, it opens that one and no other.
pub type Opener =
    Box<dyn FnMut(Option<&SourceIdentity>) -> Result<Box<dyn FrameSource>, SourceError> + Send>;

/// What a step brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The frame is filled.
    Frame,
    /// No frame this time; ask again.
    Nothing,
    /// Ask again after so long, or after less.
    Rest(Duration),
    /// The folder or the walk is over.
    End,
}

/// The source and its life.
pub struct Watched {
    open: Opener,
    source: Option<Box<dyn FrameSource>>,
    life: Life,
    /// Of sources that are closed.
    closed: SourceCounters,
    changed: Option<LifeChange>,
    damage: Option<(DamageReason, String)>,
}

impl Watched {
    /// A source that is opened by the first step; `now` is the time since the start of the program.
    pub fn new(open: Opener, limits: LifeLimits, now: Duration) -> Self {
        Self {
            open,
            source: None,
            life: Life::new(limits, now),
            closed: SourceCounters::default(),
            changed: None,
            damage: None,
        }
    }

    /// Its state, banner and identity.
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// To acknowledge a changed size.
    pub fn life_mut(&mut self) -> &mut Life {
        &mut self.life
    }

    /// The source, while it is open.
    pub fn source(&self) -> Option<&dyn FrameSource> {
        self.source.as_deref()
    }

    /// Of all sources since the beginning.
    pub fn counters(&self) -> SourceCounters {
        match &self.source {
            Some(source) => self.closed.plus(&source.counters()),
            None => self.closed,
        }
    }

    /// The change of state of the last step, if there was one: a line for the log.
    pub fn change(&self) -> Option<LifeChange> {
        self.changed
    }

    /// What was wrong with the damaged frame of the last step, if there was one.
    pub fn damage(&self) -> Option<(DamageReason, &str)> {
        let (reason, words) = self.damage.as_ref()?;
        Some((*reason, words))
    }

    /// Does what is next: opens the source, or waits for a frame, at most [`LifeLimits::wait`].
    pub fn step(&mut self, clock: impl Fn() -> Duration, frame: &mut Frame) -> Step {
        self.changed = None;
        self.damage = None;
        match self.life.advice(clock()) {
            Advice::Rest(pause) => {
                self.close();
                Step::Rest(pause)
            }
            Advice::Open => {
                self.close();
                self.reopen(clock);
                Step::Nothing
            }
            Advice::Receive(wait) => self.receive(wait, clock, frame),
        }
    }

    /// A camera must be closed before it can be opened again.
    fn close(&mut self) {
        if let Some(source) = self.source.take() {
            self.closed = self.closed.plus(&source.counters());
        }
    }

    fn reopen(&mut self, clock: impl Fn() -> Duration) {
        self.changed = match (self.open)(self.life.identity()) {
            Ok(source) => {
                let change = self.life.on(LifeEvent::Opened(source.identity()), clock());
                self.source = Some(source);
                change
            }
            Err(error) => {
                let problem = error.to_string();
                self.life.on(LifeEvent::OpenFailed(&problem), clock())
            }
        };
    }

    fn receive(&mut self, wait: Duration, clock: impl Fn() -> Duration, frame: &mut Frame) -> Step {
        let received = match &mut self.source {
            Some(source) => source.next(wait, frame),
            // Life has a source open exactly when there is one here.
            None => Ok(Received::Nothing),
        };
        match received {
            Ok(Received::Frame) => self.judge(clock(), frame),
            Ok(Received::Nothing) => {
                self.changed = self.life.on(LifeEvent::Nothing, clock());
                Step::Nothing
            }
            Ok(Received::Damaged(reason)) => {
                let words = self.source.as_ref().and_then(|it| it.last_damage());
                self.damage = Some((reason, words.unwrap_or_default().to_owned()));
                self.changed = self.life.on(LifeEvent::Damaged, clock());
                Step::Nothing
            }
            Ok(Received::End) => Step::End,
            Err(error) => {
                self.close();
                let problem = error.to_string();
                self.changed = self.life.on(LifeEvent::Failed(&problem), clock());
                Step::Nothing
            }
        }
    }

    fn judge(&mut self, now: Duration, frame: &Frame) -> Step {
        let Some(view) = frame.view() else {
            self.changed = self.life.on(LifeEvent::Damaged, now);
            return Step::Nothing;
        };
        let event = LifeEvent::Frame {
            captured: frame.captured,
            size: frame.size,
            glance: Glance::of(view),
        };
        self.changed = self.life.on(event, now);
        Step::Frame
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use shared::geometry::Size;

    use super::super::SourceKind;
    use super::super::life::LifeState;
    use super::*;

    /// What a scripted source does next.
    enum Act {
        Frame,
        Damaged,
        Unplug,
        End,
    }

    type Script = Arc<Mutex<VecDeque<Act>>>;

    struct Scripted {
        identity: SourceIdentity,
        script: Script,
        counters: SourceCounters,
    }

    impl FrameSource for Scripted {
        fn identity(&self) -> &SourceIdentity {
            &self.identity
        }

        fn next(&mut self, _: Duration, frame: &mut Frame) -> Result<Received, SourceError> {
            match self.script.lock().unwrap().pop_front() {
                None => Ok(Received::Nothing),
                Some(Act::Frame) => {
                    self.counters.frames += 1;
                    frame.sequence += 1;
                    let mut picture = frame.room(Size::new(8, 8)).unwrap();
                    picture.bytes_mut().fill(100);
                    Ok(Received::Frame)
                }
                Some(Act::Damaged) => {
                    self.counters.damaged.add(DamageReason::Short);
                    Ok(Received::Damaged(DamageReason::Short))
                }
                Some(Act::End) => Ok(Received::End),
                Some(Act::Unplug) => Err(SourceError::Gone {
                    node: "/dev/video0".to_owned(),
                }),
            }
        }

        fn counters(&self) -> SourceCounters {
            self.counters
        }

        fn last_damage(&self) -> Option<&str> {
            Some("3 bytes, expected 4")
        }
    }

    /// A watched source whose openings number `refused` fail first; also what it was asked to open.
    fn watched(script: Script, mut refused: u32) -> (Watched, Arc<Mutex<Vec<Option<String>>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let names = Arc::clone(&asked);
        let open: Opener = Box::new(move |before| {
            let name = before.map(|identity| identity.name.clone());
            names.lock().unwrap().push(name);
            if refused > 0 {
                refused -= 1;
                return Err(SourceError::Busy {
                    node: "/dev/video0".to_owned(),
                });
            }
            Ok(Box::new(Scripted {
                identity: SourceIdentity::of_pictures(SourceKind::Camera, "scripted".to_owned()),
                script: Arc::clone(&script),
                counters: SourceCounters::default(),
            }))
        });
        (
            Watched::new(open, LifeLimits::default(), Duration::ZERO),
            asked,
        )
    }

    #[test]
    fn a_source_is_opened_fails_rests_and_is_opened_again_as_the_same_one() {
        let acts = [Act::Frame, Act::Damaged, Act::Unplug, Act::Frame, Act::End];
        let script = Arc::new(Mutex::new(VecDeque::from(acts)));
        let (mut watched, asked) = watched(script, 1);
        let now = Cell::new(Duration::ZERO);
        let mut frame = Frame::new();
        let mut log = Vec::new();
        let mut states = vec![watched.life().state()];
        for _ in 0..40 {
            let step = watched.step(|| now.get(), &mut frame);
            states.extend(watched.change().map(|change| change.to));
            if let Some((reason, words)) = watched.damage() {
                log.push(format!("{reason}: {words}"));
            }
            now.set(now.get() + Duration::from_millis(100));
            match step {
                Step::Frame => log.push("frame".to_owned()),
                Step::End => break,
                Step::Rest(_) | Step::Nothing => {}
            }
        }
        assert_eq!(log, ["frame", "short: 3 bytes, expected 4", "frame"]);
        use LifeState::{Live, Lost, Starting};
        assert_eq!(
            states,
            [Starting, Lost, Starting, Live, Lost, Starting, Live]
        );
        let scripted = Some("scripted".to_owned());
        assert_eq!(*asked.lock().unwrap(), [None, None, scripted]);
        let counters = watched.counters();
        assert_eq!((counters.frames, counters.damaged.total()), (2, 1));
    }
}
