//! Records of no case: a start, a source, another clock. What the disk does not take is owed to it.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

use crate::log::Level;

use super::desk::Desk;

/// Most records that wait; beyond them the oldest stands only in the log.
const OWED_MAX: usize = 64;

/// Records that wait for a disk that takes them, in their order.
#[derive(Debug, Default)]
pub struct Owed(VecDeque<Waiting>);

#[derive(Debug)]
struct Waiting {
    kind: &'static str,
    value: Value,
    since_start: Duration,
}

impl Owed {
    fn add(&mut self, waiting: Waiting) {
        self.0.push_back(waiting);
        if self.0.len() > OWED_MAX {
            self.0.pop_front();
        }
    }
}

impl Desk {
    /// Records something of no case: now, or when the disk takes it, with how many seconds ago it was.
    pub(super) fn record_station(&mut self, kind: &'static str, value: Value) {
        let since_start = self.shared.clock.since_start();
        self.owed.add(Waiting {
            kind,
            value,
            since_start,
        });
        self.record_owed();
    }

    /// What is owed, up to the first record that is refused; a refusal does not hold anything up. A damaged
    /// chain takes nothing.
    pub(super) fn record_owed(&mut self) {
        while self.ledger.read_only().is_none()
            && self.ledger.station_flaw().is_none()
            && let Some(Waiting {
                kind,
                value,
                since_start,
            }) = self.owed.0.front_mut()
        {
            let late = self.shared.clock.since_start().saturating_sub(*since_start);
            if late >= Duration::from_secs(1)
                && let Some(fields) = value.as_object_mut()
            {
                fields.insert("seconds_ago".to_owned(), json!(late.as_secs()));
            }
            if let Err(error) = self.ledger.record_station(kind, value) {
                let fields = json!({ "kind": *kind, "problem": error.to_string() });
                self.shared.say(Level::Error, "record_refused", fields);
                return;
            }
            self.owed.0.pop_front();
        }
    }
}
