//! The thread `desk`: owns the case and the store, and is the only one that records.
//!
//! An event is checked, stored, then applied; only then is anyone told, and only then may the next field
//! count.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::time::{Duration, SystemTime};

use serde_json::json;
use shared::domain::Nearness;

use crate::case::event::CaseEvent;
use crate::case::legal::Refused;
use crate::case::state::{CaseState, Phase};
use crate::case::text::{CaseId, Text};
use crate::clock::{JumpWatch, WallChange};
use crate::config::{self, Config};
use crate::install::Models;
use crate::log::Level;
use crate::service::command::Refusal;
use crate::service::view::Banner;
use crate::store::StoreError;

use super::counted::{FieldFound, crop_name, picture_name, recorded_fields};
use super::ledger::{Ledger, STATION, is_disk};
use super::owed::Owed;
use super::plan::{Plan, RecordedField, Rules};
use super::reopen::Reopening;
use super::run::End;
use super::scale::Ruler;
use super::settings::CaseSettings;
use super::shared::{Shared, Task, Tasks};
use super::show::{self, Showing};
use super::start::StartError;

/// Longest wait for a task, so that the page and the clock are looked after.
const TICK: Duration = Duration::from_millis(200);

/// Least time between two states for the page when nothing has changed.
const SHOW_EVERY: Duration = Duration::from_millis(500);

/// How long after a refusal of the disk it is tried again.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(10);

/// What a person can do about a damaged case.
pub(super) const WAY_OUT: &str = "a new case can be opened; the damaged one stays as it is, and `leuko-edge verify` names the place";

/// The case that is worked on.
#[derive(Debug)]
pub struct OpenCase {
    /// Its name.
    pub id: CaseId,
    /// As it stands.
    pub state: CaseState,
}

/// Why records fail.
#[derive(Clone, Debug)]
pub struct Problem {
    /// For the page.
    pub text: String,
    /// Since the start of the program; tried again some time later. `None` = a person has to look.
    pub retry_from: Option<Duration>,
    /// The case's record is not what was written, so that the case can never be signed.
    pub damaged: bool,
}

/// What the desk is made of.
pub struct DeskParts {
    /// Shared by all.
    pub shared: Arc<Shared>,
    /// The store.
    pub ledger: Ledger,
    /// To hold the model while a case is open.
    pub models: Models,
    /// What cases begin with.
    pub settings: CaseSettings,
    /// What is measured by.
    pub ruler: Ruler,
    /// The case that goes on.
    pub case: Option<OpenCase>,
    /// What is wrong with it.
    pub problem: Option<Problem>,
    /// What people must know until the next start.
    pub banners: Vec<Banner>,
    /// What they must know of cases that do not go on.
    pub case_banners: Vec<Banner>,
    /// The configuration, to be kept once it has worked.
    pub keep: Option<Config>,
}

/// The desk.
pub struct Desk {
    pub(super) shared: Arc<Shared>,
    pub(super) ledger: Ledger,
    pub(super) models: Models,
    pub(super) settings: CaseSettings,
    pub(super) ruler: Ruler,
    pub(super) case: Option<OpenCase>,
    pub(super) problem: Option<Problem>,
    banners: Vec<Banner>,
    /// About cases.
    pub(super) case_banners: Vec<Banner>,
    keep: Option<Config>,
    pub(super) slide: u64,
    recorded: Arc<[RecordedField]>,
    /// Cases opened in this start of the program.
    pub(super) opened: u32,
    /// To be opened, unattended, once the calibration was compared with the source.
    pub(super) awaited: Option<CaseId>,
    /// Why that was refused.
    pub(super) refused: Option<StartError>,
    /// The worst that the record says of the case's slide and the training pictures.
    pub(super) domain_told: Nearness,
    posted: Option<Key>,
    shown: Option<Duration>,
    jump: JumpWatch,
    jump_looked: Option<Duration>,
    pub(super) reopening: Reopening,
    pub(super) owed: Owed,
}

/// What makes a plan another one.
type Key = (u64, u32, Option<String>);

impl Desk {
    /// Takes its place, with the case that goes on.
    pub fn new(parts: DeskParts) -> Self {
        let mut desk = Self {
            shared: parts.shared,
            ledger: parts.ledger,
            models: parts.models,
            settings: parts.settings,
            ruler: parts.ruler,
            case: parts.case,
            problem: parts.problem,
            banners: parts.banners,
            case_banners: parts.case_banners,
            keep: parts.keep,
            slide: 0,
            recorded: Arc::new([]),
            opened: 0,
            awaited: None,
            refused: None,
            domain_told: Nearness::Near,
            posted: None,
            shown: None,
            jump: JumpWatch::default(),
            jump_looked: None,
            reopening: Reopening::default(),
            owed: Owed::default(),
        };
        desk.begin_slide();
        desk
    }

    /// Until it is told to stop; `ends` is told when the case that it was started for is refused.
    pub fn run(mut self, tasks: &Tasks, ends: &Sender<End>) {
        self.follow_up();
        loop {
            match tasks.recv_timeout(TICK) {
                Ok(Task::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(task) => self.take(task),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.tick();
            if let Some(error) = self.refused.take() {
                // The main thread is there as long as this one.
                let _ = ends.send(End::Refused(Box::new(error)));
            }
        }
        while let Ok(task) = tasks.try_recv() {
            if let Task::Order(order) = task {
                order.answer(Err(Refusal::NotNow("the station stops".to_owned())));
            }
        }
        self.record_station("station_stopped", json!({}));
        self.shown = None;
        self.tick();
    }

    fn take(&mut self, task: Task) {
        match task {
            Task::Order(order) => {
                let answer = self.follow(order.command());
                // What is shown is never older than what was answered.
                self.shown = None;
                self.tick();
                order.answer(answer);
            }
            Task::Field { found, recorded } => {
                let done = self.field(*found);
                // The analysis may have ended.
                let _ = recorded.send(done);
            }
            Task::NewField(done) => {
                let who = Text::try_from(STATION).expect("a short line");
                let outcome = self.act(CaseEvent::NewFieldByHand { who }, &[]);
                self.post();
                // Whoever asked may have ended.
                let _ = done.send(outcome.is_ok());
            }
            Task::Picture { field, answer } => {
                let picture = match &self.case {
                    Some(case) => self.ledger.picture(&case.id, &picture_name(field)),
                    None => Err(StoreError::Unknown("none".to_owned())),
                };
                let _ = answer.send(picture.map_err(|error| error.to_string()));
            }
            Task::Source(identity) => self.source(&identity),
            Task::Slide { size, done } => {
                self.slide_begins(size);
                // The analysis may have ended.
                let _ = done.send(());
            }
            Task::Stop => {}
        }
    }

    /// Records a field, and posts what follows for the next one; `false` when it is not recorded.
    fn field(&mut self, found: FieldFound) -> bool {
        let done = self.record_field(found);
        self.post();
        if self.case.as_ref().map(|it| it.state.phase()) != Some(Phase::Scanning) {
            self.shown = None;
        }
        done
    }

    fn record_field(&mut self, mut found: FieldFound) -> bool {
        if self.why_not().is_some() || found.slide != self.slide {
            // It came while that was decided.
            return false;
        }
        let Some(case) = &self.case else { return false };
        let event = found.next_of(&case.state);
        let (first, cells) = (event.first_cell, event.cells.len() as u64);
        let mut names = vec![picture_name(event.field)];
        names.extend((first..).map(crop_name).take(found.crops.len()));
        let pictures = std::iter::once(&found.jpeg).chain(&found.crops);
        let named = names.iter().map(String::as_str);
        let named: Vec<(&str, &[u8])> = named.zip(pictures.map(Vec::as_slice)).collect();
        let event = CaseEvent::FieldCounted(Box::new(event));
        match self.act(event, &named) {
            Ok(()) => {
                self.shared.numbers.fields.fetch_add(1, Ordering::Relaxed);
                self.shared
                    .numbers
                    .cells
                    .fetch_add(cells, Ordering::Relaxed);
                true
            }
            Err(refusal) => {
                if self.problem.is_none() {
                    // Not the store, so the case itself takes no such field: no more are offered.
                    self.problem = Some(Problem {
                        text: format!("The case takes no more fields: {refusal}"),
                        retry_from: None,
                        damaged: false,
                    });
                }
                false
            }
        }
    }

    /// Lets an event happen: checks, stores, applies; then what the machine owes because of it.
    ///
    /// # Errors
    /// Why it did not happen; nothing has changed then.
    pub(super) fn act(
        &mut self,
        event: CaseEvent,
        pictures: &[(&str, &[u8])],
    ) -> Result<(), Refusal> {
        self.act_once(event, pictures)?;
        self.follow_up();
        Ok(())
    }

    fn act_once(&mut self, event: CaseEvent, pictures: &[(&str, &[u8])]) -> Result<(), Refusal> {
        let case = self.case.as_mut().ok_or_else(no_case)?;
        case.state.check(&event).map_err(|it| refusal(&it))?;
        match self.ledger.record(&case.id, &event, pictures) {
            Ok(recorded) => {
                case.state
                    .apply(&event)
                    .expect("checked before it was stored");
                if is_told(&event) {
                    let fields = json!({ "case": case.id.as_str(), "record": recorded.sequence });
                    self.shared.say(Level::Info, event.kind(), fields);
                }
                self.recorded_well();
                Ok(())
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// What is due, also right after a start.
    pub(super) fn follow_up(&mut self) {
        let due = self.case.as_ref().and_then(|case| case.state.due());
        if let Some(due) = due {
            // A refusal was logged, and is due again with the next event or start.
            let _ = self.act_once(due, &[]);
        }
    }

    /// Notes that the store refused.
    pub(super) fn failed(&mut self, error: &StoreError) -> Refusal {
        let words = error.to_string();
        let is_disk = is_disk(error);
        let text = match is_disk {
            true => format!("Nothing can be recorded, so nothing is counted: {words}"),
            false => {
                format!("The record is damaged, so nothing is counted: {words}; {WAY_OUT}")
            }
        };
        if self.problem.as_ref().is_none_or(|it| it.text != text) {
            let fields = json!({ "problem": words });
            self.shared.say(Level::Error, "record_refused", fields);
        }
        let now = self.shared.clock.since_start();
        self.problem = Some(Problem {
            text,
            retry_from: is_disk.then_some(now + RETRY_AFTER),
            damaged: !is_disk,
        });
        match is_disk {
            true => Refusal::Disk(words),
            false => Refusal::NotNow(words),
        }
    }

    /// An event of a case is on the disk.
    pub(super) fn recorded_well(&mut self) {
        if self.problem.take().is_some() {
            self.shared.say(Level::Info, "records_again", json!({}));
        }
        if !self.ledger.wants_reopening() {
            self.reopening.worked();
        }
        self.record_owed();
    }

    /// From now on frames belong to another slide, or to this one as it is in the record.
    pub(super) fn begin_slide(&mut self) {
        self.slide += 1;
        let open = self.case.as_ref();
        let open = open.filter(|case| case.state.phase() != Phase::Signed);
        let fields = open.map(|case| recorded_fields(&case.state));
        self.recorded = fields.unwrap_or_default().into();
        self.post();
    }

    /// Why no field is counted now, for people; `None` when fields are.
    pub(super) fn why_not(&self) -> Option<String> {
        let Some(case) = &self.case else {
            return Some("no case is open".to_owned());
        };
        let (phase, opened) = (case.state.phase(), case.state.opened());
        if phase != Phase::Scanning {
            return Some(format!("the case is not scanned any more: {phase}"));
        }
        if let Some(reason) = self.ledger.read_only() {
            return Some(format!("nothing can be recorded: {reason}"));
        }
        if opened.model.sha256 != self.settings.model.sha256 {
            return Some(format!(
                "the case was begun with model {} ({}), running is {} ({}): no case is counted by two models",
                opened.model.name,
                opened.model.sha256,
                self.settings.model.name,
                self.settings.model.sha256
            ));
        }
        let now = self.shared.clock.since_start();
        let holds = |problem: &&Problem| problem.retry_from.is_none_or(|from| now < from);
        if let Some(problem) = self.problem.as_ref().filter(holds) {
            return Some(problem.text.clone());
        }
        self.scale_problem(&case.state)
    }

    fn scale_problem(&self, case: &CaseState) -> Option<String> {
        let scale = self.ruler.scale();
        if let Some(problem) = scale.problem() {
            return Some(problem);
        }
        let name = |id: Option<&Text>| id.map_or("none".to_owned(), ToString::to_string);
        (case.calibration() != scale.id()).then(|| {
            format!(
                "the case has the calibration {}, the station now {}: accept it, or set the former again",
                name(case.calibration()),
                name(scale.id())
            )
        })
    }

    /// Tells the analysis what to do, if that is something else than before.
    pub(super) fn post(&mut self) {
        let why_not = self.why_not();
        let by_hand = self.case.as_ref().map(|case| case.state.fields_by_hand());
        let new_fields = by_hand.unwrap_or(0);
        let key = (self.slide, new_fields, why_not.clone());
        if self.posted.as_ref() == Some(&key) {
            return;
        }
        let rules = self.case.as_ref().filter(|_| why_not.is_none());
        let rules = rules.map(|case| {
            let opened = case.state.opened();
            Arc::new(Rules {
                decision: opened.rules.clone(),
                attributes: opened.model.attributes.len(),
            })
        });
        self.shared.plan.post(Plan {
            slide: self.slide,
            rules,
            why_not,
            new_fields,
            recorded: Arc::clone(&self.recorded),
            optics: self.ruler.optics(),
        });
        self.posted = Some(key);
    }

    pub(super) fn tick(&mut self) {
        self.look_at_clock();
        if let Err(error) = self.ledger.look_at_disk() {
            self.failed(&error);
        }
        self.keep_config();
        self.look_at_domain();
        self.look_at_data();
        self.post();
        let now = self.shared.clock.since_start();
        let early = |at| now.saturating_sub(at) < SHOW_EVERY;
        if self.shown.is_some_and(early) {
            return;
        }
        self.shown = Some(now);
        let mut banners = [&self.banners[..], &self.case_banners].concat();
        banners.extend(self.ruler.banners(self.shared.clock.moment().wall));
        let state = show::state(&Showing {
            shared: &self.shared,
            case: self.case.as_ref(),
            settings: &self.settings,
            why_not: self.why_not(),
            problem: self.problem.as_ref(),
            read_only: self.ledger.read_only(),
            station_flaw: self.ledger.station_flaw(),
            banners: &banners,
            gauged: self.shared.gauged(self.slide),
        });
        self.shared.view.publish(state);
    }

    fn look_at_clock(&mut self) {
        let now = self.shared.clock.since_start();
        let early = |at| now.saturating_sub(at) < Duration::from_secs(1);
        if self.jump_looked.is_some_and(early) {
            return;
        }
        self.jump_looked = Some(now);
        let Some(change) = self.jump.observe(now, SystemTime::now()) else {
            return;
        };
        let fields = match change {
            WallChange::Set => json!({ "change": "set" }),
            WallChange::Unset => json!({ "change": "unset" }),
            WallChange::Jumped { by_s } => json!({ "change": "jumped", "by_s": by_s }),
        };
        self.shared
            .say(Level::Warning, "wall_clock", fields.clone());
        self.record_station("wall_clock", fields);
    }

    fn keep_config(&mut self) {
        if !self.shared.analysed_well.load(Ordering::Acquire) {
            return;
        }
        if self.keep.is_none() || self.ledger.check_writable().is_err() {
            return;
        }
        let Some(config) = self.keep.take() else {
            return;
        };
        if let Err(error) = config::keep(&config) {
            let fields = json!({ "problem": error.to_string() });
            self.shared.say(Level::Warning, "config_not_kept", fields);
        }
    }
}

/// What comes with every field is in the record, and not in the log.
fn is_told(event: &CaseEvent) -> bool {
    match event {
        CaseEvent::FieldCounted(_) => false,
        CaseEvent::NewFieldByHand { who } => who.as_str() != STATION,
        _ => true,
    }
}

pub(super) fn no_case() -> Refusal {
    Refusal::NotNow("no case is open".to_owned())
}

/// In the page's words.
pub(super) fn refusal(refused: &Refused) -> Refusal {
    let words = refused.to_string();
    match refused {
        Refused::Unknown { .. } => Refusal::NotFound(words),
        Refused::Phase { .. }
        | Refused::Stale { .. }
        | Refused::NoChange { .. }
        | Refused::Removed { .. }
        | Refused::NotRemoved { .. }
        | Refused::TooMany { .. }
        | Refused::TooFew { .. }
        | Refused::Undecided { .. } => Refusal::NotNow(words),
        _ => Refusal::Invalid(words),
    }
}
