//! `backup`: cases copied to another disk.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{KeepError, Place, all_well, case_id, check_outside, chosen};
use crate::case::text::CaseId;
use crate::exit::Failure;
use crate::store::backup::Exported;
use crate::store::{Store, StoreError, held_by};

/// How often a case is tried that a station is writing to.
const TRIES_MAX: u32 = 5;

/// Arguments of `backup`.
#[derive(Args, Clone, Debug)]
pub struct Backup {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub place: Place,
    /// Folder that takes the copies, one `CASE-RECORDS` each; it must be there already
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Only these cases [default: all]
    #[arg(value_name = "CASE", value_parser = case_id)]
    pub cases: Vec<CaseId>,
}

pub(super) fn run(args: &Backup, print: &mut dyn Write) -> Result<(), Failure> {
    let root = args.place.root()?;
    let store = Store::look(&root).map_err(KeepError::Store)?;
    check_outside(&root, &args.to)?;
    if !args.to.is_dir() {
        let to = args.to.clone();
        let found = if to.exists() { "a file" } else { "nothing" };
        return Err(KeepError::NoFolder { to, found }.into());
    }
    let cases = chosen(&args.cases, store.cases().into_iter().map(|c| c.case));
    let mut codes = Vec::new();
    for case in &cases {
        match copy(&store, &root, case, &args.to) {
            Ok(Exported {
                folder,
                bytes,
                was_there,
            }) => {
                let done = if was_there { "was there" } else { "copied" };
                writeln!(print, "{case}  {done}  {bytes} bytes  {}", folder.display())?;
            }
            Err(error) => {
                writeln!(print, "{case}  FAILED  {error}")?;
                codes.push(error.exit_code());
            }
        }
    }
    all_well(&codes, cases.len())
}

/// A case that grows while it is copied gives a copy that is not right: it is looked at and copied again.
fn copy(store: &Store, root: &Path, case: &CaseId, to: &Path) -> Result<Exported, StoreError> {
    let mut outcome = store.export(case, to);
    for _ in 1..TRIES_MAX {
        if !matches!(outcome, Err(StoreError::Damaged(_))) || held_by(root)?.is_none() {
            break;
        }
        outcome = Store::look(root)?.export(case, to);
    }
    outcome
}
