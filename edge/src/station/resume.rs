//! The case that was open when the station ended, from its history.

use crate::case::event::CaseEvent;
use crate::case::state::CaseState;
use crate::case::text::CaseId;
use crate::install::{InstallError, Models};
use crate::service::view::{Banner, BannerLevel};
use crate::store::{Flaw, StoreError};

use super::desk::{OpenCase, Problem, WAY_OUT};
use super::ledger::Ledger;

/// What goes on, and what people must know of it.
#[derive(Debug, Default)]
pub struct Resumed {
    /// The case.
    pub case: Option<OpenCase>,
    /// Why it takes no more records.
    pub problem: Option<Problem>,
    /// About cases that do not go on.
    pub banners: Vec<Banner>,
}

impl Resumed {
    /// This case, unless there is another.
    pub fn take(&mut self, ledger: &Ledger, id: CaseId) {
        match read(ledger, &id) {
            Ok((_, Some(flaw))) if self.case.is_some() => self.damaged(&id, &flaw),
            Ok(_) if self.case.is_some() => self.banners.push(Banner {
                level: BannerLevel::Warning,
                text: format!("Case {id} is not signed either; it goes on at a later start."),
            }),
            Ok((state, flaw)) => {
                self.problem = flaw.map(|flaw| Problem {
                    text: format!("{}; {WAY_OUT}", is_damaged(&id, &flaw)),
                    retry_from: None,
                    damaged: true,
                });
                self.case = Some(OpenCase { id, state });
            }
            Err(problem) => self.banners.push(Banner {
                level: BannerLevel::Error,
                text: format!("Case {id} cannot go on: {problem}"),
            }),
        }
    }

    /// Of a case that does not go on.
    fn damaged(&mut self, id: &CaseId, flaw: &Flaw) {
        self.banners.push(Banner {
            level: BannerLevel::Warning,
            text: is_damaged(id, flaw),
        });
    }
}

fn is_damaged(id: &CaseId, flaw: &Flaw) -> String {
    format!("The record of case {id} is damaged: {flaw}")
}

/// The unfinished case: the one that holds the model, else the first by name, a damaged one last. The model
/// is held for it, or for nobody.
pub fn unfinished(ledger: &Ledger, models: &Models) -> Resumed {
    let mut resumed = Resumed::default();
    // What cannot be read holds nothing up: the model is held again below.
    let held = models.open_case().ok().flatten();
    let mut cases = ledger.unfinished();
    cases.sort_by_key(|case| {
        let is_damaged = ledger.flaw(case).is_some();
        (is_damaged, Some(case.as_str()) != held.as_deref())
    });
    let finished = ledger.damaged().into_iter();
    let finished: Vec<_> = finished.filter(|(id, _)| !cases.contains(id)).collect();
    for id in cases {
        resumed.take(ledger, id);
    }
    for (id, flaw) in finished {
        resumed.damaged(&id, &flaw);
    }
    if let Err(error) = hold(models, resumed.case.as_ref()) {
        resumed.banners.push(Banner {
            level: BannerLevel::Warning,
            text: format!("The model is not held for the open case: {error}"),
        });
    }
    resumed
}

/// The case as it stands, as far as its record is good.
fn read(ledger: &Ledger, id: &CaseId) -> Result<(CaseState, Option<Flaw>), String> {
    let words = |error: StoreError| error.to_string();
    let history = ledger.history(id).map_err(words)?;
    let mut events = Vec::with_capacity(history.records.len());
    for record in &history.records {
        let event: CaseEvent = serde_json::from_str(&record.json)
            .map_err(|error| format!("record {}: {error}", record.sequence))?;
        events.push(event);
    }
    let state = CaseState::fold(events).map_err(|error| error.to_string())?;
    Ok((state, history.flaw.or_else(|| ledger.flaw(id))))
}

/// A hold of an earlier start is stale: this station alone has the data.
fn hold(models: &Models, case: Option<&OpenCase>) -> Result<(), InstallError> {
    let Some(case) = case else {
        return match models.open_case()? {
            Some(_) => models.release(),
            None => Ok(()),
        };
    };
    let running = case.state.opened().model.sha256.as_str();
    match models.hold(case.id.as_str(), running) {
        Err(InstallError::CaseOpen { .. }) => {
            models.release()?;
            models.hold(case.id.as_str(), running)
        }
        outcome => outcome,
    }
}
