//! `export-training`: what people decided, for the trainer.
//!
//! A truth is what a person said: the class of a cell that somebody decided about, and the attributes
//! that somebody set. What only the model said is no truth. A field of which a part is not known is left
//! out, or the part is (the labelled region): an unlabelled cell would be taught as background.
//!
//! Pseudonyms of patients, names of people and notes stay here. A picture is called by its case and its
//! field; pictures of one patient share a group, the first case of that patient.

mod select;
mod write;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::case::{ReadCase, read};
use super::{KeepError, Place, all_well, case_id, check_outside, chosen};
use crate::case::event::CaseEvent;
use crate::case::text::CaseId;
use crate::exit::{self, Failure};
use crate::picture;
use crate::store::{Store, StoreError};
use select::{LeftOut, Selected, select};
use write::{Draft, Tables};

/// Arguments of `export-training`.
#[derive(Args, Clone, Debug)]
pub struct ExportTraining {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub place: Place,
    /// New or empty folder
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Take fields too that show cells without a label (cut by the edge, counted in another field,
    /// removed): they will be taught as background
    #[arg(long)]
    pub with_unlabelled: bool,
    /// Only these cases [default: all]
    #[arg(value_name = "CASE", value_parser = case_id)]
    pub cases: Vec<CaseId>,
}

/// What was taken, and what was not.
#[derive(Default)]
struct Tally {
    cells: usize,
    unidentified: usize,
    values: usize,
    /// Attribute values that only the model said.
    unsaid_values: usize,
    /// Decided cells outside the labelled region of their field.
    outside: usize,
    regions: usize,
    without_cells: usize,
    left_out: BTreeMap<LeftOut, usize>,
}

pub(super) fn run(args: &ExportTraining, print: &mut dyn Write) -> Result<(), Failure> {
    let root = args.place.root()?;
    let store = Store::look(&root).map_err(KeepError::Store)?;
    check_outside(&root, &args.to)?;
    let cases = chosen(&args.cases, store.cases().into_iter().map(|c| c.case));
    let mut export = Export {
        groups: groups(&store),
        store: &store,
        with_unlabelled: args.with_unlabelled,
        draft: Draft::begin(&args.to)?,
        tables: None,
        tally: Tally::default(),
    };
    let mut codes = Vec::new();
    for case in &cases {
        if let Err((words, code)) = export.case(case)? {
            eprintln!("{words}");
            codes.push(code);
        }
    }
    export.talk();
    let Export {
        draft,
        tables,
        tally,
        ..
    } = export;
    let fields = draft.fields();
    match tables {
        Some((_, tables)) if fields > 0 => draft.commit(&tables)?,
        _ => {
            all_well(&codes, cases.len())?;
            return Err(KeepError::Nothing.into());
        }
    }
    writeln!(
        print,
        "{}: {fields} fields, {} cells ({} unidentified), {} attribute values",
        args.to.display(),
        tally.cells,
        tally.unidentified,
        tally.values
    )?;
    all_well(&codes, cases.len())
}

/// A case by its patient's first: who sees only the names of groups learns no pseudonym.
fn groups(store: &Store) -> BTreeMap<CaseId, CaseId> {
    let (mut of_patient, mut groups) = (BTreeMap::new(), BTreeMap::new());
    for case in store.cases().into_iter().map(|c| c.case) {
        // A case that cannot be read is told when its turn comes.
        let history = store.history(&case).ok();
        let first = history.and_then(|h| h.records.into_iter().next());
        let first = first.and_then(|record| serde_json::from_str(&record.json).ok());
        let patient = match first {
            Some(CaseEvent::CaseOpened(opened)) => opened.patient.map(String::from),
            _ => None,
        };
        let group = match patient {
            Some(patient) => of_patient.entry(patient).or_insert(case.clone()).clone(),
            None => case.clone(),
        };
        groups.insert(case, group);
    }
    groups
}

struct Export<'a> {
    store: &'a Store,
    groups: BTreeMap<CaseId, CaseId>,
    with_unlabelled: bool,
    draft: Draft,
    /// Of all that is written, and the case that has them.
    tables: Option<(CaseId, Tables)>,
    tally: Tally,
}

/// Why a case is not taken, and the code of the process.
type NotTaken = (String, u8);

impl Export<'_> {
    /// Takes the fields of a case.
    ///
    /// # Errors
    /// When the target's disk refuses; inside, when the case is not taken.
    fn case(&mut self, case: &CaseId) -> Result<Result<(), NotTaken>, KeepError> {
        let found = match read(self.store, case) {
            Ok(found) => found,
            Err(error) => return Ok(Err((error.to_string(), error.code()))),
        };
        if let Some(flaw) = self.store.case(case).and_then(|c| c.flaw) {
            return Ok(Err((flaw.to_string(), exit::BAD_DATA)));
        }
        if let Err(other) = self.take_tables(case, &found) {
            return Ok(Err(other));
        }
        let mut damage = None;
        for number in 0..found.state.fields().len() as u32 {
            if let Err(error) = self.field(case, &found, number)? {
                damage.get_or_insert((error.to_string(), error.exit_code()));
            }
        }
        Ok(damage.map_or(Ok(()), Err))
    }

    /// One set has one list of classes and attributes.
    fn take_tables(&mut self, case: &CaseId, found: &ReadCase) -> Result<(), NotTaken> {
        let model = &found.state.opened().model;
        let tables = Tables {
            classes: model.classes.clone(),
            schema: model.attributes.clone(),
        };
        if let Some(name) = tables.reserved() {
            let words = format!(
                "case {case}: expected no attribute called like a key of COCO, found {name}"
            );
            return Err((words, exit::BAD_DATA));
        }
        match &self.tables {
            Some((first, known)) if *known != tables => Err((
                format!(
                    "case {case}: expected the classes and attributes of case {first}, found others; \
                     give it a folder of its own"
                ),
                exit::FAILURE,
            )),
            Some(_) => Ok(()),
            None => {
                self.tables = Some((case.clone(), tables));
                Ok(())
            }
        }
    }

    /// Takes a field, or counts why not; inside, what is wrong with its picture.
    fn field(
        &mut self,
        case: &CaseId,
        found: &ReadCase,
        number: u32,
    ) -> Result<Result<(), StoreError>, KeepError> {
        let selected = match select(found, number, self.with_unlabelled) {
            Ok(selected) => selected,
            Err(why) => {
                *self.tally.left_out.entry(why).or_default() += 1;
                return Ok(Ok(()));
            }
        };
        let bytes = match self.store.picture(case, &selected.picture) {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(error)),
        };
        let size = picture::decode(&bytes).map(|picture| picture.size());
        if size.is_ok_and(|size| size == selected.size) {
            let name = format!("{case}-{number:04}.{}", selected.extension);
            let group = self.groups.get(case).unwrap_or(case).to_string();
            self.count(&selected);
            self.draft.add(name, group, selected, &bytes)?;
        } else {
            *self.tally.left_out.entry(LeftOut::NoPicture).or_default() += 1;
        }
        Ok(Ok(()))
    }

    fn count(&mut self, selected: &Selected) {
        let tally = &mut self.tally;
        tally.cells += selected.cells.len();
        tally.unidentified += selected.cells.iter().filter(|c| c.class.is_none()).count();
        let values = selected.cells.iter().flat_map(|cell| &cell.attributes);
        tally.values += values.flatten().count();
        tally.unsaid_values += selected.unsaid_values;
        tally.outside += selected.outside;
        tally.regions += usize::from(selected.region.is_some());
        tally.without_cells += usize::from(selected.cells.is_empty());
    }

    fn talk(&self) {
        let tally = &self.tally;
        for (why, count) in &tally.left_out {
            eprintln!("fields left out: {count}, {why}");
        }
        if tally.outside > 0 {
            eprintln!(
                "decided cells left out: {}, outside the labelled region of their field",
                tally.outside
            );
        }
        if tally.unsaid_values > 0 {
            eprintln!(
                "attribute values left out as unknown: {}, only the model said them",
                tally.unsaid_values
            );
        }
        if tally.regions > 0 {
            eprintln!(
                "fields with a labelled region: {}, the edge cuts cells there",
                tally.regions
            );
            if tally.without_cells > 0 {
                eprintln!(
                    "fields in the COCO file only: {}, label files with labelled regions cannot say that there are no cells",
                    tally.without_cells
                );
            }
        }
    }
}
