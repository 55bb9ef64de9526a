//! `cases`: a line a case.

use std::io::Write;

use serde::Serialize;

use super::case::{ReadCase, read};
use super::{KeepError, Look, all_well};
use crate::case::state::Phase;
use crate::clock::When;
use crate::commands::print_json;
use crate::exit::{self, Failure};
use crate::store::{CaseSummary, Store};

#[derive(Serialize)]
struct Line {
    case: String,
    #[serde(flatten)]
    counted: Option<Counted>,
    records: u64,
    /// Hash of the last record.
    head: String,
    /// Seconds since 1970, by the last record that knew.
    last_wall: Option<i64>,
    bytes: Option<u64>,
    /// What is wrong with it.
    flaw: Option<String>,
}

/// What the events of a case say.
#[derive(Serialize)]
struct Counted {
    state: Phase,
    white_cells: u32,
    target: u32,
    fields: usize,
    undecided: usize,
    signed_by: Option<String>,
}

pub(super) fn run(args: &Look, print: &mut dyn Write) -> Result<(), Failure> {
    let store = Store::look(&args.place.root()?).map_err(KeepError::Store)?;
    let (mut lines, mut codes) = (Vec::new(), Vec::new());
    for summary in store.cases() {
        lines.push(line_of(&store, summary, &mut codes));
    }
    if args.json {
        print_json(print, &lines)?;
    } else {
        for line in &lines {
            writeln!(print, "{}", words_of(line))?;
        }
    }
    all_well(&codes, lines.len())
}

fn line_of(store: &Store, summary: CaseSummary, codes: &mut Vec<u8>) -> Line {
    let CaseSummary { case, head, flaw } = summary;
    let mut wrong = flaw.map(|flaw| (flaw.to_string(), exit::BAD_DATA));
    let bytes = store.bytes(&case);
    let bytes = bytes.map_err(|error| (error.to_string(), error.exit_code()));
    let found = read(store, &case).map_err(|error| (error.to_string(), error.code()));
    let counted = found.as_ref().map(counted);
    wrong = wrong.or(bytes.as_ref().err().cloned());
    wrong = wrong.or(counted.as_ref().err().map(|wrong| (*wrong).clone()));
    codes.extend(wrong.as_ref().map(|(_, code)| *code));
    Line {
        case: case.to_string(),
        counted: counted.ok(),
        records: head.entries,
        head: head.hash,
        last_wall: head.wall,
        bytes: bytes.ok(),
        flaw: wrong.map(|(words, _)| words),
    }
}

fn counted(found: &ReadCase) -> Counted {
    let state = &found.state;
    let signed = state.signatures().last();
    Counted {
        state: state.phase(),
        white_cells: state.white_cells(),
        target: state.opened().target.cells(),
        fields: state.fields().len(),
        undecided: state.undecided().count(),
        signed_by: signed
            .filter(|_| state.phase() == Phase::Signed)
            .map(|signature| signature.who.to_string()),
    }
}

/// Parts with two blanks between them, so that names may hold one.
fn words_of(line: &Line) -> String {
    let mut parts = vec![line.case.clone()];
    if let Some(counted) = &line.counted {
        parts.push(counted.state.to_string());
        parts.push(format!(
            "{}/{} white cells",
            counted.white_cells, counted.target
        ));
        parts.push(format!("{} fields", counted.fields));
        if let Some(who) = &counted.signed_by {
            parts.push(format!("signed by {who}"));
        }
    }
    parts.push(When(line.last_wall).to_string());
    if let Some(bytes) = line.bytes {
        parts.push(format!("{bytes} bytes"));
    }
    if let Some(flaw) = &line.flaw {
        parts.push(format!("FLAW {}", flaw.replace(['\n', '\r'], " ")));
    }
    parts.join("  ")
}
