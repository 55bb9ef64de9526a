//! A case read back from its records.

use std::collections::BTreeMap;

use crate::case::event::CaseEvent;
use crate::case::state::{CaseState, FoldError};
use crate::case::text::CaseId;
use crate::exit;
use crate::store::{Picture, Store, StoreError};

/// Why a case cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum CaseError {
    /// The store would not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record that this program does not understand.
    #[error("case {case}, record {record}: {error}")]
    Event {
        case: CaseId,
        record: u64,
        error: serde_json::Error,
    },
    /// Records that are no case.
    #[error("case {case}: {error}")]
    Fold { case: CaseId, error: FoldError },
}

impl CaseError {
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Store(error) => error.exit_code(),
            Self::Event { .. } | Self::Fold { .. } => exit::BAD_DATA,
        }
    }
}

/// A case, and what its state does not tell.
pub(super) struct ReadCase {
    pub state: CaseState,
    /// By number of the field, the files that were recorded with it.
    pub pictures: BTreeMap<u32, Vec<Picture>>,
    /// By cell and attribute, what a person last said of it.
    pub said: BTreeMap<(u32, u8), Option<u8>>,
}

/// Reads a case as far as its chain is good.
pub(super) fn read(store: &Store, case: &CaseId) -> Result<ReadCase, CaseError> {
    let history = store.history(case)?;
    let mut events = Vec::with_capacity(history.records.len());
    let (mut pictures, mut said) = (BTreeMap::new(), BTreeMap::new());
    for record in history.records {
        let event = serde_json::from_str(&record.json).map_err(|error| CaseError::Event {
            case: case.clone(),
            record: record.sequence,
            error,
        })?;
        match &event {
            CaseEvent::FieldCounted(field) => {
                pictures.insert(field.field, record.pictures);
            }
            CaseEvent::AttributeChanged {
                cell,
                attribute,
                after,
                ..
            } => {
                said.insert((*cell, *attribute), *after);
            }
            _ => {}
        }
        events.push(event);
    }
    let state = CaseState::fold(events).map_err(|error| CaseError::Fold {
        case: case.clone(),
        error,
    })?;
    Ok(ReadCase {
        state,
        pictures,
        said,
    })
}
