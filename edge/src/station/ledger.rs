//! The store with the clock: events and station records, each with who, when and in which start.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::case::event::CaseEvent;
use crate::case::text::{CaseId, Sha256};
use crate::clock::{self, Started};
use crate::exit;
use crate::log::Level;
use crate::store::{Acknowledged, Entry, Flaw, History, Repaired, Store, StoreError};

use super::shared::Shared;

/// Who acted where no person did.
pub const STATION: &str = "station";

/// How often the room on the disk is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The only one that records.
pub struct Ledger {
    shared: Arc<Shared>,
    store: Store,
    looked: Option<Duration>,
}

impl Ledger {
    /// Around an open store.
    pub fn new(shared: Arc<Shared>, store: Store) -> Self {
        Self {
            shared,
            store,
            looked: None,
        }
    }

    /// Records an event of a case with its picture; when this returns, both are on the disk.
    ///
    /// # Errors
    /// As [`Store::record`]; nothing is recorded then.
    pub fn record(
        &mut self,
        case: &CaseId,
        event: &CaseEvent,
        pictures: &[(&str, &[u8])],
    ) -> Result<Acknowledged, StoreError> {
        let json = serde_json::to_string(event).expect("numbers that were checked, and words");
        let who = event.who().map_or(STATION, |who| who.as_str());
        let entry = entry(&self.shared, who, event.kind(), &json);
        let started = Instant::now();
        let outcome = self.store.record(case, entry, pictures);
        self.done(started, outcome)
    }

    /// Records something of no case.
    ///
    /// # Errors
    /// As [`Store::record_station`]; nothing is recorded then.
    pub fn record_station(
        &mut self,
        kind: &'static str,
        value: &Value,
    ) -> Result<Acknowledged, StoreError> {
        let json = value.to_string();
        let started = Instant::now();
        let outcome = self
            .store
            .record_station(entry(&self.shared, STATION, kind, &json));
        self.done(started, outcome)
    }

    fn done(
        &self,
        started: Instant,
        outcome: Result<Acknowledged, StoreError>,
    ) -> Result<Acknowledged, StoreError> {
        let numbers = &self.shared.numbers;
        numbers.stages.store.add(started.elapsed());
        let count = match &outcome {
            Ok(_) => &numbers.records,
            Err(_) => &numbers.refused,
        };
        count.fetch_add(1, Ordering::Relaxed);
        outcome
    }

    /// Last hash of a case's chain: what a signature signs.
    pub fn head(&self, case: &CaseId) -> Option<Sha256> {
        Sha256::try_from(self.store.case(case)?.head.hash).ok()
    }

    /// What is wrong with a case's chain.
    pub fn flaw(&self, case: &CaseId) -> Option<Flaw> {
        self.store.case(case)?.flaw
    }

    /// Cases whose records are not what was written, as far as a start looks.
    pub fn damaged(&self) -> Vec<(CaseId, Flaw)> {
        let all = self.store.cases().into_iter();
        all.filter_map(|it| Some((it.case, it.flaw?))).collect()
    }

    /// What is wrong with the station's chain.
    pub fn station_flaw(&self) -> Option<&Flaw> {
        self.store.station_flaw()
    }

    /// Why nothing can be recorded, if so.
    pub fn read_only(&self) -> Option<&str> {
        self.store.read_only()
    }

    /// As [`Store::wants_reopening`].
    pub fn wants_reopening(&self) -> bool {
        self.store.wants_reopening()
    }

    /// As [`Store::can_be_reopened`].
    pub fn can_be_reopened(&self, case: Option<&CaseId>) -> bool {
        self.store.can_be_reopened(case)
    }

    /// As [`Store::reopen`]; also gives this start of the program its name, if it has none.
    ///
    /// # Errors
    /// As [`Store::reopen`]. The store may take no records all the same.
    pub fn reopen(&mut self) -> Result<Vec<Repaired>, StoreError> {
        let repaired = self.store.reopen()?;
        let clock = &self.shared.clock;
        if self.read_only().is_none() && !clock.is_named() {
            match clock::begin(self.store.root()) {
                Ok(Started { boot, mended }) => {
                    clock.name(boot);
                    if let Some(mended) = mended {
                        let fields = json!({ "problem": mended });
                        self.shared.say(Level::Warning, "starts_mended", fields);
                    }
                }
                Err(error) => self.store.refuse(error.to_string()),
            }
        }
        Ok(repaired)
    }

    /// As [`Store::check_writable`].
    ///
    /// # Errors
    /// As [`Store::check_writable`].
    pub fn check_writable(&mut self) -> Result<(), StoreError> {
        self.store.check_writable()
    }

    /// Whether there is such a case.
    pub fn knows(&self, case: &CaseId) -> bool {
        self.store.case(case).is_some()
    }

    /// Cases that are not signed.
    pub fn unfinished(&self) -> Vec<CaseId> {
        let all = self.store.cases().into_iter();
        let open = all.filter(|it| !it.head.signed && it.head.entries > 0);
        open.map(|it| it.case).collect()
    }

    /// A case, read back.
    ///
    /// # Errors
    /// As [`Store::history`].
    pub fn history(&self, case: &CaseId) -> Result<History, StoreError> {
        self.store.history(case)
    }

    /// A recorded picture.
    ///
    /// # Errors
    /// As [`Store::picture`].
    pub fn picture(&self, case: &CaseId, name: &str) -> Result<Vec<u8>, StoreError> {
        self.store.picture(case, name)
    }

    /// Now and then: tells the metrics what is left on the disk, and sees whether it is still there.
    ///
    /// # Errors
    /// [`StoreError::Gone`].
    pub fn look_at_disk(&mut self) -> Result<(), StoreError> {
        let now = self.shared.clock.since_start();
        let early = |at| now.saturating_sub(at) < LOOK_EVERY;
        if self.looked.is_some_and(early) {
            return Ok(());
        }
        self.looked = Some(now);
        // A disk that does not say shows itself with the next record.
        if let Ok(free) = self.store.free() {
            self.shared.numbers.set_free(free);
        }
        match self.read_only() {
            // Known, and looked after.
            Some(_) => Ok(()),
            None => self.check_writable(),
        }
    }
}

fn entry<'a>(shared: &Shared, who: &'a str, kind: &'a str, json: &'a str) -> Entry<'a> {
    let moment = shared.clock.moment();
    Entry {
        who,
        kind,
        json,
        boot: moment.boot.start(),
        wall: moment.wall,
    }
}

/// Whether the disk is at fault, so that it can be tried again.
pub fn is_disk(error: &StoreError) -> bool {
    error.exit_code() == exit::DISK
}
