//! The thread `capture`: looks after the source and puts its frames into the mailbox.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::frame::Frame;
use crate::log::Level;
use crate::source::life::{LifeChange, LifeState};
use crate::source::watched::{Step, Watched};
use crate::source::{SourceIdentity, SourceKind};

use super::run::End;
use super::shared::{Shared, SourceSeen, Task};
use super::start::StartError;

/// Longest time without looking whether the station is to stop.
const LOOK: Duration = Duration::from_millis(200);

/// Least time between two looks at the source for the page.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// Damaged frames of which the words are logged, of a source that has no end.
const DAMAGE_LINES_MAX: u32 = 5;

/// The source and what was told of it.
pub struct Capture {
    shared: Arc<Shared>,
    watched: Watched,
    desk: SyncSender<Task>,
    ends: Sender<End>,
    /// Whether the source waits until its frames were seen, so that none is lost.
    waits: bool,
    /// Code of the process where the source cannot be opened at once; `None` = it is waited for.
    missing_code: Option<u8>,
    told_at: Option<Duration>,
    /// The identity that was opened last, until the desk has taken it.
    opened: Option<Box<SourceIdentity>>,
    damage_lines: u32,
    over: bool,
}

impl Capture {
    /// Around a source that is not open yet.
    pub fn new(
        shared: Arc<Shared>,
        watched: Watched,
        desk: SyncSender<Task>,
        ends: Sender<End>,
        waits: bool,
        missing_code: Option<u8>,
    ) -> Self {
        Self {
            shared,
            watched,
            desk,
            ends,
            waits,
            missing_code,
            told_at: None,
            opened: None,
            damage_lines: 0,
            over: false,
        }
    }

    /// Until the station stops; then no frame comes any more.
    pub fn run(mut self) {
        let mut frame = Frame::new();
        while !self.shared.is_stopping() {
            self.turn(&mut frame);
            self.shared.view.capture().turn();
        }
        self.shared.mailbox.close();
    }

    fn turn(&mut self, frame: &mut Frame) {
        if self.over {
            thread::sleep(LOOK);
            return;
        }
        if self.waits && !self.shared.mailbox.wait_empty(LOOK) {
            return;
        }
        if self.shared.accept_size.swap(false, Ordering::AcqRel) {
            self.watched.life_mut().acknowledge_size();
        }
        let clock = &self.shared.clock;
        let had_source = self.watched.source().is_some();
        let step = self.watched.step(|| clock.since_start(), frame);
        let may_count = self.watched.life().may_count();
        self.shared.may_count.store(may_count, Ordering::Release);
        if !had_source && let Some(source) = self.watched.source() {
            self.opened = Some(Box::new(source.identity().clone()));
            self.damage_lines = 0;
            self.told_at = None;
        }
        let is_frame = matches!(step, Step::Frame);
        match step {
            Step::Frame | Step::Nothing => {}
            Step::Rest(pause) => thread::sleep(pause.min(LOOK)),
            Step::End => self.end(),
        }
        // Before the frame: whether it may be counted hangs on what it is a frame of.
        self.tell();
        if is_frame {
            self.shared.mailbox.put(frame);
            let now = self.shared.clock.since_start();
            self.shared.view.capture().done(now);
        }
    }

    fn end(&mut self) {
        self.over = true;
        let frames = self.watched.counters().frames;
        let fields = json!({ "frames": frames });
        self.shared.say(Level::Info, "source_over", fields);
        self.told_at = None;
        // The main thread is there as long as this one.
        let _ = self.ends.send(End::SourceOver);
    }

    /// To the log, the desk and the page.
    fn tell(&mut self) {
        if let Some((reason, words)) = self.watched.damage() {
            self.damage_lines += 1;
            let source = self.watched.source();
            // Of a folder a person wants to know each.
            let each = source.is_some_and(|it| it.identity().kind == SourceKind::Folder);
            if each || self.damage_lines <= DAMAGE_LINES_MAX {
                let fields = json!({ "reason": reason, "problem": words });
                self.shared.say(Level::Warning, "frame_damaged", fields);
            }
        }
        let now = self.shared.clock.since_start();
        let change = self.watched.change();
        if let Some(LifeChange { from, to }) = change {
            let level = match to {
                LifeState::Starting | LifeState::Live => Level::Info,
                LifeState::Degraded | LifeState::Stalled | LifeState::Lost => Level::Warning,
            };
            let banner = self.watched.life().banner(now);
            let fields = json!({ "from": from, "to": to, "banner": banner });
            self.shared.say(level, "source", fields);
            let code = self
                .missing_code
                .filter(|_| self.watched.counters().frames == 0);
            if let (LifeState::Lost, Some(code)) = (to, code) {
                let words = self.watched.life().problem().to_owned();
                let missing = Box::new(StartError::Source { words, code });
                // The main thread is there as long as this one.
                let _ = self.ends.send(End::Refused(missing));
            }
        }
        if let Some(identity) = self.opened.take()
            && let Err(TrySendError::Full(Task::Source(identity))) =
                self.desk.try_send(Task::Source(identity))
        {
            self.opened = Some(identity);
        }
        let early = |at| now.saturating_sub(at) < TELL_EVERY;
        if change.is_none() && self.told_at.is_some_and(early) {
            return;
        }
        self.told_at = Some(now);
        let unseen = self.shared.mailbox.replaced();
        let counters = self.watched.counters();
        self.shared.numbers.set_source(&counters, unseen);
        let life = self.watched.life();
        let identity = life.identity();
        let name = identity.map(|it| it.name.clone());
        self.shared.set_source(SourceSeen {
            name: name.unwrap_or_default(),
            identity: identity.map(|it| Arc::new(it.clone())),
            state: Some(life.state()),
            banner: life.banner(now),
            size_changed: life.size_changed(),
            over: self.over,
        });
    }
}
