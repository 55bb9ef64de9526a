//! Which cases may go, and how one goes: listed, agreed to by a person, and remembered.

use std::fs;

use super::chain::{Entry, scan};
use super::error::{Flaw, StoreError};
use super::folder::{self, Layout};
use super::{Access, Acknowledged, CaseSummary, Store};
use crate::case::text::CaseId;

/// Kind of the record of the station that remembers a deleted case.
const DELETED: &str = "case_deleted";

/// How long a signed case is kept at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Days after the last record.
    pub keep_days: u32,
}

/// Why a case may not go by a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// Nobody has signed it, or it was amended since.
    Unsigned,
    /// Its last record is younger than the rule asks.
    Young,
    /// The clock was not set when it was recorded, or is not set now.
    AgeUnknown,
    /// Something is wrong with it, and may have to be looked into.
    Damaged,
}

/// A person's yes to the deletion of one case in one state.
#[derive(Clone, Copy, Debug)]
pub struct Agreed<'a> {
    /// Who agrees.
    pub who: &'a str,
    /// Last hash of the case as it was shown ([`CaseSummary`]): a case that was changed since is
    /// another one than the one agreed to.
    pub head: &'a str,
    /// Which start of the program.
    pub boot: u64,
    /// Seconds since 1970; `None` while the clock is not set.
    pub wall: Option<i64>,
}

/// Why `case` is kept by `rule` at `now` (seconds since 1970); `None` when it may go.
pub fn kept(case: &CaseSummary, rule: Rule, now: Option<i64>) -> Option<Kept> {
    if case.flaw.is_some() {
        return Some(Kept::Damaged);
    }
    if !case.head.signed {
        return Some(Kept::Unsigned);
    }
    let (Some(now), Some(last)) = (now, case.head.wall) else {
        return Some(Kept::AgeUnknown);
    };
    let keep = i64::from(rule.keep_days) * 86_400;
    (now.saturating_sub(last) < keep).then_some(Kept::Young)
}

impl Store {
    /// Cases that may go by `rule` at `now` (seconds since 1970). Nothing is deleted.
    pub fn may_go(&self, rule: Rule, now: Option<i64>) -> Vec<CaseSummary> {
        let mut cases = self.cases();
        cases.retain(|case| kept(case, rule, now).is_none());
        cases
    }

    /// Deletes a case that a person has agreed to delete, whatever its state: the station's chain
    /// says so first, and its name is not given again. A crash on the way is finished by
    /// [`Store::open`].
    ///
    /// # Errors
    /// [`StoreError::NotAgreed`] when the case is not the one agreed to; [`StoreError::Unknown`]; or
    /// the disk refuses.
    pub fn delete(&mut self, case: &CaseId, yes: Agreed<'_>) -> Result<Acknowledged, StoreError> {
        self.writable()?;
        let head = self.known(case)?.head.clone();
        if head.hash != yes.head {
            return Err(StoreError::NotAgreed {
                case: case.to_string(),
                agreed: super::id::shown(yes.head),
                found: head.hash,
            });
        }
        // Both strings are plain letters and digits.
        let json = format!(
            r#"{{"case":"{case}","records":{},"signed":{},"hash":"{}"}}"#,
            head.entries, head.signed, head.hash
        );
        let remembered = self.record_station(Entry {
            who: yes.who,
            kind: DELETED,
            json: &json,
            boot: yes.boot,
            wall: yes.wall,
        })?;
        self.chains.remove(&Some(case.clone()));
        self.deleted.insert(case.clone());
        remove_folder(&self.layout, case)?;
        if let Access::Writing(database) = &mut self.access {
            database.remove(case)?;
        }
        Ok(remembered)
    }
}

#[derive(serde::Deserialize)]
struct Tombstone {
    case: String,
}

/// Hands out each case that the station's chain says was deleted.
pub(super) fn each_tombstone(
    layout: &Layout,
    mut take: impl FnMut(CaseId) -> bool,
) -> Result<(), StoreError> {
    scan(&layout.chain(None), None, |_, record, _| {
        if record.kind == DELETED {
            // A record of this kind that somebody else made names no case, and deletes none.
            let named = serde_json::from_str::<Tombstone>(&record.json);
            if let Some(Ok(case)) = named.ok().map(|t| CaseId::try_from(t.case)) {
                take(case);
            }
        }
        Ok(())
    })?;
    Ok(())
}

/// A case that was deleted and is there.
pub(super) fn returned(layout: &Layout) -> Result<Option<Flaw>, StoreError> {
    let mut found = None;
    each_tombstone(layout, |case| {
        let file = layout.folder(Some(&case));
        if found.is_none() && file.exists() {
            found = Some(Flaw {
                file,
                record: None,
                expected: "no folder: the station's chain says it was deleted".to_owned(),
                found: "a folder".to_owned(),
            });
        }
        found.is_none()
    })?;
    Ok(found)
}

/// Removes a case folder for good.
pub(super) fn remove_folder(layout: &Layout, case: &CaseId) -> Result<(), StoreError> {
    let folder = layout.folder(Some(case));
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::disk(&folder, "remove")(error))
        }
        _ => folder::sync_names(&layout.cases()),
    }
}
