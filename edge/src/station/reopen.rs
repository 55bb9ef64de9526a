//! Data that took nothing at the start, or whose disk was taken out or failed: opened anew when they are
//! there, while camera and page go on.

use std::time::Duration;

use serde_json::json;

use crate::case::state::Phase;
use crate::log::Level;
use crate::store::Repaired;

use super::desk::{Desk, RETRY_AFTER};
use super::resume::unfinished;

/// Longest pause between two attempts that did not help.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// When the data are opened anew. Looking is cheap; opening reads all of them, so a disk that can be
/// written and still takes no records is opened less and less often.
#[derive(Clone, Copy, Debug)]
pub struct Reopening {
    /// Next look.
    look_from: Option<Duration>,
    /// Earliest attempt.
    try_from: Duration,
    pause: Duration,
}

impl Default for Reopening {
    fn default() -> Self {
        Self {
            look_from: None,
            try_from: Duration::ZERO,
            pause: RETRY_AFTER,
        }
    }
}

impl Reopening {
    /// An event was recorded, and all is well.
    pub fn worked(&mut self) {
        *self = Self::default();
    }

    /// Whether to look now; not right away, for it has just failed.
    fn looks(&mut self, now: Duration) -> bool {
        let due = self.look_from.is_some_and(|from| now >= from);
        if due || self.look_from.is_none() {
            self.look_from = Some(now + RETRY_AFTER);
        }
        due && now >= self.try_from
    }

    /// An attempt is made.
    fn tries(&mut self, now: Duration) {
        self.try_from = now + self.pause;
        self.pause = (2 * self.pause).min(PAUSE_MAX);
    }
}

impl Desk {
    /// Opens the data anew where that is needed and possible, now and then.
    pub(super) fn look_at_data(&mut self) {
        if !self.ledger.wants_reopening() {
            self.reopening.look_from = None;
            return;
        }
        let now = self.shared.clock.since_start();
        // A disk without the case that is worked on is another one.
        let open = self.case.as_ref();
        let open = open.filter(|case| case.state.phase() != Phase::Signed);
        if self.reopening.looks(now) && self.ledger.can_be_reopened(open.map(|case| &case.id)) {
            self.reopening.tries(now);
            self.reopen();
        }
    }

    fn reopen(&mut self) {
        let outcome = self.ledger.reopen();
        let problem = outcome.as_ref().err().map(ToString::to_string);
        self.tell_repaired(&outcome.unwrap_or_default());
        if let Some(problem) = problem.or(self.ledger.read_only().map(str::to_owned)) {
            // The page says it of the store now.
            self.problem = None;
            let fields = json!({ "problem": problem });
            self.shared.say(Level::Error, "data_not_reopened", fields);
            return;
        }
        self.take_up();
        let case = self.case.as_ref().map(|case| case.id.to_string());
        let fields = json!({ "case": case, "boot": self.shared.clock.boot() });
        self.shared
            .say(Level::Info, "data_reopened", fields.clone());
        self.record_station("data_reopened", fields);
        self.follow_up();
    }

    /// The unfinished case as it stands on the disk; else the one that was worked on, if it is signed.
    fn take_up(&mut self) {
        let before = self.case.take().map(|case| case.id);
        let mut resumed = unfinished(&self.ledger, &self.models);
        let signed = before.filter(|id| resumed.case.is_none() && self.ledger.knows(id));
        if let Some(id) = signed {
            resumed.take(&self.ledger, id);
        }
        self.case = resumed.case;
        self.problem = resumed.problem;
        self.case_banners = resumed.banners;
        self.begin_slide();
    }

    /// What was put right, to the log and into the station's record.
    pub(super) fn tell_repaired(&mut self, repaired: &[Repaired]) {
        for repair in repaired {
            let fields = json!({ "repaired": repair, "words": repair.to_string() });
            self.shared.say(Level::Warning, "repaired", fields);
            let value = serde_json::to_value(repair).expect("words and numbers");
            self.record_station("repaired", value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn what_does_not_help_is_tried_less_and_less_often() {
        let mut reopening = Reopening::default();
        let mut tried = Vec::new();
        for now in 0..3600 {
            if reopening.looks(S(now)) {
                reopening.tries(S(now));
                tried.push(now);
            }
        }
        assert_eq!(
            tried,
            [10, 20, 40, 80, 160, 320, 640, 1240, 1840, 2440, 3040]
        );
        reopening.worked();
        assert!(!reopening.looks(S(4000)));
        assert!(reopening.looks(S(4010)));
    }
}
