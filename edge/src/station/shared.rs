//! What the threads of the station share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use shared::geometry::Size;

use crate::clock::Clock;
use crate::log::{Level, Log};
use crate::service::StationView;
use crate::service::command::Order;
use crate::source::SourceIdentity;
use crate::source::life::{LifeState, SizeChanged};
use field::Seen;

use super::counted::FieldFound;
use super::gauge::Gauged;
use super::mailbox::Mailbox;
use super::numbers::Numbers;
use super::plan::Posted;

/// Tasks that wait at the desk at most: the page's commands, a field, and a little more.
pub const TASKS_MAX: usize = crate::service::command::WAITING_MAX + 8;

/// What the desk is asked to do.
pub enum Task {
    /// A command of the page.
    Order(Order),
    /// Record a field.
    Field {
        /// With its picture.
        found: Box<FieldFound>,
        /// Whether it is on the disk.
        recorded: SyncSender<bool>,
    },
    /// Nobody is there to say that this is a new field, and it is one.
    NewField(SyncSender<bool>),
    /// The picture of a recorded field.
    Picture {
        /// Its number.
        field: u32,
        /// Its JPEG, or why not.
        answer: SyncSender<Result<Vec<u8>, String>>,
    },
    /// The source was opened.
    Source(Box<SourceIdentity>),
    /// A slide begins with a frame of this size: the plan is to be what it says of such frames.
    Slide {
        /// Of the frame.
        size: Size,
        /// The plan is posted.
        done: SyncSender<()>,
    },
    /// Finish what was asked before this, and end.
    Stop,
}

impl From<Order> for Task {
    fn from(order: Order) -> Self {
        Self::Order(order)
    }
}

/// Where tasks come out.
pub type Tasks = Receiver<Task>;

/// How the source is.
#[derive(Clone, Debug, Default)]
pub struct SourceSeen {
    /// For people.
    pub name: String,
    /// Of the source that was opened last.
    pub identity: Option<Arc<SourceIdentity>>,
    /// Of its life; `None` before it was looked at.
    pub state: Option<LifeState>,
    /// What people must know.
    pub banner: Option<String>,
    /// A change of size that nobody has accepted.
    pub size_changed: Option<SizeChanged>,
    /// Everything it had was shown.
    pub over: bool,
}

/// The last frame as it was judged.
#[derive(Clone, Debug, Default)]
pub struct FieldSeen {
    /// All about it; `None` before the first frame and when it could not be judged.
    pub seen: Option<Seen>,
    /// Why it could not be judged or searched.
    pub problem: Option<String>,
}

/// Everything that more than one thread needs.
pub struct Shared {
    /// The time.
    pub clock: Clock,
    /// Lines about what changes.
    pub log: Arc<Log>,
    /// What the page shows.
    pub view: Arc<StationView>,
    /// What `/metrics` tells.
    pub numbers: Arc<Numbers>,
    /// Between capture and analysis.
    pub mailbox: Mailbox,
    /// What is to be done with the frames.
    pub plan: Posted,
    /// No more frames are wanted.
    pub stop: AtomicBool,
    /// Whether the source's frames may be counted.
    pub may_count: AtomicBool,
    /// A person says that the scale holds for the present size.
    pub accept_size: AtomicBool,
    /// A frame was analysed without any trouble.
    pub analysed_well: AtomicBool,
    /// Written by capture.
    source: Mutex<SourceSeen>,
    /// Written by analysis.
    field: Mutex<FieldSeen>,
    /// Written by analysis, with the number of the slide.
    gauged: Mutex<Option<(u64, Gauged)>>,
}

impl Shared {
    /// Before the threads start.
    pub fn new(
        clock: Clock,
        log: Arc<Log>,
        view: Arc<StationView>,
        numbers: Arc<Numbers>,
        plan: Posted,
    ) -> Self {
        Self {
            clock,
            log,
            view,
            numbers,
            mailbox: Mailbox::default(),
            plan,
            stop: AtomicBool::new(false),
            may_count: AtomicBool::new(false),
            accept_size: AtomicBool::new(false),
            analysed_well: AtomicBool::new(false),
            source: Mutex::default(),
            field: Mutex::default(),
            gauged: Mutex::default(),
        }
    }

    /// One line.
    pub fn say(&self, level: Level, event: &'static str, fields: Value) {
        self.log.write(&self.clock.moment(), level, event, fields);
    }

    /// Whether the threads are to end.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// How the source is.
    pub fn source(&self) -> SourceSeen {
        self.source
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Told by capture.
    pub fn set_source(&self, seen: SourceSeen) {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// The last frame.
    pub fn field(&self) -> FieldSeen {
        self.field
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Told by analysis.
    pub fn set_field(&self, seen: FieldSeen) {
        *self.field.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// How near a slide is to the training pictures; `None` where that was not measured.
    pub fn gauged(&self, slide: u64) -> Option<Gauged> {
        let gauged = *self.gauged.lock().unwrap_or_else(PoisonError::into_inner);
        gauged.filter(|it| it.0 == slide).map(|it| it.1)
    }

    /// Told by analysis.
    pub fn set_gauged(&self, slide: u64, gauged: Gauged) {
        self.numbers.set_gauged(&gauged);
        *self.gauged.lock().unwrap_or_else(PoisonError::into_inner) = Some((slide, gauged));
    }
}
