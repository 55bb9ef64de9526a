//! `retention`: which cases may go, and the end of one that a person has agreed to.

use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use clap::Args;

use super::{KeepError, Place, case_id};
use crate::case::text::CaseId;
use crate::clock::{When, begin, wall_of};
use crate::exit::Failure;
use crate::store::Store;
use crate::store::retention::{Agreed, Kept, Rule, kept};

/// Arguments of `retention`.
#[derive(Args, Clone, Debug)]
pub struct Retention {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub place: Place,
    /// Days that a signed case is kept after its last record
    #[arg(long, value_name = "DAYS", required_unless_present = "delete")]
    pub keep_days: Option<u32>,
    /// Delete this case for good; the station must not be running
    #[arg(long, value_name = "CASE", value_parser = case_id, requires_all = ["head", "who"], conflicts_with = "keep_days")]
    pub delete: Option<CaseId>,
    /// Its last hash, as the list shows it: a case that was changed since is not deleted
    #[arg(long, value_name = "HASH", requires = "delete")]
    pub head: Option<String>,
    /// Who agrees to the deletion
    #[arg(long, value_name = "NAME", requires = "delete")]
    pub who: Option<String>,
}

pub(super) fn run(args: &Retention, print: &mut dyn Write) -> Result<(), Failure> {
    let root = args.place.root()?;
    match (&args.delete, &args.head, &args.who) {
        (Some(case), Some(head), Some(who)) => delete(&root, case, head, who, print),
        _ => {
            let keep_days = args.keep_days.unwrap_or(u32::MAX);
            list(&root, Rule { keep_days }, print)
        }
    }
}

fn list(root: &Path, rule: Rule, print: &mut dyn Write) -> Result<(), Failure> {
    let store = Store::look(root).map_err(KeepError::Store)?;
    let now = wall_of(SystemTime::now());
    if now.is_none() {
        eprintln!("the clock is not set: no case is known to be old enough");
    }
    let (mut going, mut bytes) = (0, 0);
    for case in store.cases() {
        let last = When(case.head.wall);
        match kept(&case, rule, now) {
            Some(why) => writeln!(
                print,
                "{}  kept: {}  last record {last}  head {}",
                case.case,
                words(why),
                case.head.hash
            )?,
            None => {
                going += 1;
                bytes += store.bytes(&case.case).map_err(KeepError::Store)?;
                let hash = &case.head.hash;
                writeln!(
                    print,
                    "{}  may go  last record {last}  head {hash}",
                    case.case
                )?;
            }
        }
    }
    eprintln!("{going} cases of {bytes} bytes may go; nothing was deleted");
    if going > 0 {
        eprintln!(
            "a person deletes one: leuko-edge retention --root {:?} --delete CASE --head HASH --who NAME",
            root.display().to_string()
        );
    }
    Ok(())
}

fn words(why: Kept) -> &'static str {
    match why {
        Kept::Unsigned => "not signed",
        Kept::Young => "too young",
        Kept::AgeUnknown => "age not known",
        Kept::Damaged => "damaged",
    }
}

fn delete(
    root: &Path,
    case: &CaseId,
    head: &str,
    who: &str,
    print: &mut dyn Write,
) -> Result<(), Failure> {
    // Not made where there is none.
    drop(Store::look(root).map_err(KeepError::Store)?);
    let (mut store, repaired) = Store::open(root).map_err(KeepError::Store)?;
    for one in repaired {
        eprintln!("repaired: {one}");
    }
    let boot = begin(root).map_err(KeepError::Boot)?.boot.start();
    let yes = Agreed {
        who,
        head,
        boot,
        wall: wall_of(SystemTime::now()),
    };
    let remembered = store.delete(case, yes).map_err(KeepError::Store)?;
    Ok(writeln!(
        print,
        "{case} deleted; record {} of the station says so, hash {}",
        remembered.sequence, remembered.hash
    )?)
}
