//! `verify`: is everything as it was recorded?

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::{KeepError, Look, shown};
use crate::commands::print_json;
use crate::exit::Failure;
use crate::store::{StoreError, Verified, held_by, verify};

/// How often data that a station works on are looked at until nothing is half written.
const LOOKS_MAX: u32 = 4;
/// Between them: a slow card takes as long to write a record.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

pub(super) fn run(args: &Look, print: &mut dyn Write) -> Result<(), Failure> {
    let root = args.place.root()?;
    let (verified, station) =
        look(&root, || std::thread::sleep(LOOK_AGAIN)).map_err(KeepError::Store)?;
    if args.json {
        print_json(print, &verified)?;
    } else {
        print_words(print, &verified)?;
    }
    if let Some(pid) = &station {
        eprintln!("looked at while station process {pid} works on it");
    }
    let Some(first) = verified.first_flaw() else {
        return Ok(());
    };
    if station.is_none() {
        eprintln!(
            "what a crash has left, the station repairs when it starts: verify again after that"
        );
    }
    Err(KeepError::Flaws {
        first: shown(&first.file),
        flaws: verified.flaws.len(),
        root,
    }
    .into())
}

/// What is wrong, and the process of the station that works on the data. What a station is just writing
/// looks like a flaw, but goes away by itself: a flaw is what two looks in a row see.
pub(super) fn look(
    root: &Path,
    mut wait: impl FnMut(),
) -> Result<(Verified, Option<String>), StoreError> {
    let mut verified = verify(root)?;
    let mut station = held_by(root)?;
    let mut looks = 1;
    while station.is_some() && !verified.flaws.is_empty() {
        wait();
        let again = verify(root)?;
        station = held_by(root)?;
        looks += 1;
        let mut stayed = again.flaws.clone();
        stayed.retain(|flaw| verified.flaws.contains(flaw));
        let is_last = looks == LOOKS_MAX || !stayed.is_empty();
        verified = again;
        if is_last && station.is_some() {
            verified.flaws = stayed;
            break;
        }
    }
    Ok((verified, station))
}

fn print_words(print: &mut dyn Write, verified: &Verified) -> std::io::Result<()> {
    for flaw in &verified.flaws {
        writeln!(print, "{}", flaw.to_string().replace(['\n', '\r'], " "))?;
    }
    let Verified {
        cases,
        records,
        pictures,
        flaws,
    } = verified;
    let outcome = match flaws.len() {
        0 => "all as recorded".to_owned(),
        n => format!("{n} not as recorded"),
    };
    writeln!(
        print,
        "{cases} cases, {records} records, {pictures} pictures: {outcome}"
    )
}
