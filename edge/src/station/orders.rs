//! What people ask through the page, as events of the case.

use serde_json::json;
use shared::attribute::AttributeId;
use shared::domain::Nearness;

use crate::case::decision::Label;
use crate::case::event::{CaseEvent, CaseOpened, Target};
use crate::case::state::{CaseState, Phase};
use crate::case::text::{CaseId, Text, TextError};
use crate::install::InstallError;
use crate::log::Level;
use crate::service::command::{Command, Done, Refusal};
use crate::service::view::{Banner, BannerLevel};
use crate::store::StoreError;

use super::desk::{Desk, OpenCase, no_case, refusal};
use super::scale::Ruler;

/// Who acts where the page does not say.
const OPERATOR: &str = "operator";

/// What a case is opened with.
pub(super) struct NewCase {
    /// Its name; made when there is none.
    pub id: Option<CaseId>,
    pub patient: Option<Text>,
    pub specimen: Option<Text>,
    pub stain: Option<Text>,
    pub target: Option<Target>,
    pub who: Text,
}

impl Desk {
    /// Follows a command of the page.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub(super) fn follow(&mut self, command: &Command) -> Result<Done, Refusal> {
        let message = match command {
            Command::NewCase { .. } => self.new_case(command)?,
            Command::AcceptScale { who } => self.accept_scale(text(who)?)?,
            Command::Sign { who } => self.sign(text(who)?)?,
            Command::Amend { reason, who } => self.amend(text(reason)?, text(who)?)?,
            _ => {
                let case = self.case.as_ref().ok_or_else(no_case)?;
                let event = event(command, &case.state)?;
                self.act(event, &[])?;
                "recorded".to_owned()
            }
        };
        Ok(Done {
            case: self.case.as_ref().map(|case| case.id.to_string()),
            message,
        })
    }

    fn new_case(&mut self, command: &Command) -> Result<String, Refusal> {
        let Command::NewCase {
            patient,
            specimen,
            stain,
            target,
            case,
            who,
        } = command
        else {
            return Err(no_case());
        };
        let target = target.map(Target::try_from).transpose();
        let id = case.as_deref().map(CaseId::try_from).transpose();
        let new = NewCase {
            id: id.map_err(invalid)?,
            patient: Some(text(patient)?),
            specimen: Some(text(specimen)?),
            stain: Some(text(stain)?),
            target: target.map_err(|error| Refusal::Invalid(error.to_string()))?,
            who: text(who.as_deref().unwrap_or(OPERATOR))?,
        };
        self.open(new)?;
        Ok("the case is open".to_owned())
    }

    /// Opens a case; the model is held from before its first record on.
    pub(super) fn open(&mut self, new: NewCase) -> Result<(), Refusal> {
        let left = self.case_to_leave()?;
        self.check_writable()?;
        self.measure_by(Ruler::reload);
        let scale = self.ruler.scale();
        if let Some(problem) = scale.problem() {
            return Err(Refusal::NotNow(problem));
        }
        let id = new.id.unwrap_or_else(|| self.made_name());
        let software = format!("leuko-edge {}", env!("CARGO_PKG_VERSION"));
        let opened = CaseOpened {
            case: id.clone(),
            patient: new.patient,
            specimen: new.specimen,
            stain: new.stain,
            target: new.target.unwrap_or(self.settings.target),
            model: self.settings.model.clone(),
            rules: self.settings.rules.clone(),
            calibration: scale.id().cloned(),
            software: Text::try_from(software).expect("a short line"),
            who: new.who,
        };
        let state = CaseState::open(opened.clone()).map_err(|it| refusal(&it))?;
        if left.is_some() {
            self.release();
        }
        let running = self.settings.model.sha256.as_str();
        self.models.hold(id.as_str(), running).map_err(of_models)?;
        let event = CaseEvent::CaseOpened(Box::new(opened));
        match self.ledger.record(&id, &event, &[]) {
            Ok(_) => {}
            Err(error) => {
                self.release();
                return Err(match &error {
                    // The case is not there, and the record as good as before.
                    StoreError::Taken { .. } => Refusal::NotNow(error.to_string()),
                    StoreError::Floor { .. } => Refusal::Disk(error.to_string()),
                    _ => self.failed(&error),
                });
            }
        }
        self.opened += 1;
        let fields = json!({ "case": id.as_str(), "target": state.goal() });
        self.shared.say(Level::Info, "case_opened", fields);
        self.domain_told = Nearness::Near;
        self.case = Some(OpenCase { id, state });
        if let Some((id, problem)) = left {
            self.tell_left(&id, &problem);
        }
        self.recorded_well();
        self.begin_slide();
        Ok(())
    }

    /// The open case, with why it can never be signed: such a one does not hold up the next.
    ///
    /// # Errors
    /// When it is one that can be, perhaps after the data are opened anew.
    fn case_to_leave(&self) -> Result<Option<(CaseId, String)>, Refusal> {
        let open = self.case.as_ref();
        let Some(case) = open.filter(|case| case.state.phase() != Phase::Signed) else {
            return Ok(None);
        };
        match self.problem.as_ref().filter(|problem| problem.damaged) {
            None => {
                let (id, phase) = (&case.id, case.state.phase());
                let words = format!("case {id} is open ({phase}), expected it to be signed");
                Err(Refusal::NotNow(words))
            }
            Some(_) if self.ledger.wants_reopening() => {
                let words = "the data are about to be opened anew: try again in some seconds";
                Err(Refusal::NotNow(words.to_owned()))
            }
            Some(problem) => Ok(Some((case.id.clone(), problem.text.clone()))),
        }
    }

    fn tell_left(&mut self, id: &CaseId, problem: &str) {
        let fields = json!({ "case": id.as_str(), "problem": problem });
        self.shared.say(Level::Warning, "case_left", fields.clone());
        self.record_station("case_left", fields);
        self.case_banners.push(Banner {
            level: BannerLevel::Warning,
            text: format!("Case {id} was left: {problem}"),
        });
    }

    /// Unique on the station: starts of the program are counted.
    fn made_name(&self) -> CaseId {
        let start = self.shared.clock.boot().start();
        let name = format!("C{start:05}-{:02}", self.opened + 1);
        CaseId::try_from(name).expect("letters, digits and a hyphen")
    }

    fn sign(&mut self, who: Text) -> Result<String, Refusal> {
        let case = self.case.as_ref().ok_or_else(no_case)?;
        let head = self.ledger.head(&case.id).ok_or_else(no_case)?;
        let event = CaseEvent::Signed {
            who,
            white_cells: case.state.white_cells(),
            sufficiency: case.state.sufficiency(),
            head,
        };
        self.act(event, &[])?;
        self.release();
        Ok("signed".to_owned())
    }

    fn amend(&mut self, reason: Text, who: Text) -> Result<String, Refusal> {
        let case = self.case.as_ref().ok_or_else(no_case)?;
        let event = CaseEvent::Amended { reason, who };
        case.state.check(&event).map_err(|it| refusal(&it))?;
        let id = case.id.clone();
        self.check_writable()?;
        let running = self.settings.model.sha256.as_str();
        self.models.hold(id.as_str(), running).map_err(of_models)?;
        if let Err(refusal) = self.act(event, &[]) {
            self.release();
            return Err(refusal);
        }
        Ok("open again".to_owned())
    }

    /// Before anything is written beside the record: where the disk was there may be another.
    fn check_writable(&mut self) -> Result<(), Refusal> {
        let writable = self.ledger.check_writable();
        writable.map_err(|error| self.failed(&error))
    }

    /// Another model may be installed from now on.
    fn release(&mut self) {
        if let Err(error) = self.models.release() {
            let fields = json!({ "problem": error.to_string() });
            self.shared.say(Level::Warning, "model_held", fields);
        }
    }

    /// The scale holds for the present source and size of the pictures, and for the open case.
    fn accept_scale(&mut self, who: Text) -> Result<String, Refusal> {
        let changed = self.shared.source().size_changed;
        let mut ruler = self.ruler.clone();
        if let Some(changed) = changed {
            ruler.resize(changed.after);
        }
        let foreign = ruler.accept();
        let scale = ruler.scale();
        if let Some(problem) = scale.problem() {
            return Err(Refusal::NotNow(problem));
        }
        let after = scale.id().cloned();
        let of_case = self.case.as_ref().map(|it| it.state.calibration().cloned());
        let before = of_case.filter(|before| *before != after);
        if changed.is_none() && before.is_none() && foreign.is_none() {
            let words = "neither the size of the pictures nor the scale has changed";
            return Err(Refusal::NotNow(words.to_owned()));
        }
        if let Some(before) = before {
            let (who, after) = (who.clone(), after.clone());
            self.act(CaseEvent::CalibrationChanged { before, after, who }, &[])?;
        }
        if let (Some(mismatch), Some(case)) = (&foreign, &self.case) {
            // Whoever reads the case must know, also where the calibration is the one it began with.
            let event = CaseEvent::NoteAdded {
                text: accepted_although(mismatch),
                who: who.clone(),
            };
            // A case that takes no note more leaves it to the station's record.
            if case.state.check(&event).is_ok() {
                self.act(event, &[])?;
            }
        }
        let case = self.case.as_ref().map(|it| it.id.to_string());
        if let Some(mismatch) = foreign {
            let who = who.as_str();
            let fields = json!({ "who": who, "id": after, "case": case, "mismatch": mismatch });
            self.record_station("scale_accepted", fields.clone());
            self.shared.say(Level::Info, "scale_accepted", fields);
        }
        let slide = self.slide;
        self.measure_by(|it| *it = ruler);
        if let Some(changed) = changed {
            let fields = json!({ "who": who.as_str(), "change": changed });
            self.record_station("size_accepted", fields.clone());
            self.shared.say(Level::Info, "size_accepted", fields);
            let accept = &self.shared.accept_size;
            accept.store(true, std::sync::atomic::Ordering::Release);
            if self.slide == slide {
                self.begin_slide();
            }
        }
        Ok("accepted".to_owned())
    }
}

/// Names of cameras may be too long for a note; the station's record has them whole.
fn accepted_although(mismatch: &str) -> Text {
    let short = "the scale was accepted for a source or size that it is not of";
    Text::try_from(format!("the scale was accepted although {mismatch}"))
        .or_else(|_| Text::try_from(short))
        .expect("a short line")
}

/// The event of a command that needs nothing but the case.
fn event(command: &Command, case: &CaseState) -> Result<CaseEvent, Refusal> {
    Ok(match command {
        Command::NewField { who } => CaseEvent::NewFieldByHand {
            who: text(who.as_deref().unwrap_or(OPERATOR))?,
        },
        Command::BeginReview { who } => CaseEvent::ReviewBegun {
            white_cells: case.white_cells(),
            sufficiency: case.sufficiency(),
            who: text(who)?,
        },
        Command::ResumeScanning { goal, who } => CaseEvent::ScanningResumed {
            goal: *goal,
            who: text(who)?,
        },
        Command::Reclassify { cell, class, who } => {
            let cell = number(*cell, case)?;
            CaseEvent::CellReclassified {
                cell,
                before: case.cells()[cell as usize].label(),
                after: label(class.as_deref(), case)?,
                who: text(who)?,
            }
        }
        Command::Confirm { cells, class, who } => {
            let cells = cells.iter().map(|&cell| number(cell, case));
            let cells: Vec<u32> = cells.collect::<Result<_, _>>()?;
            let label = label(class.as_deref(), case)?;
            if let Some(&other) = cells.iter().find(|&&cell| said(cell, case) != label) {
                let (found, expected) = (name(said(other, case), case), name(label, case));
                let words = format!("cell {other} is {found}, expected {expected}");
                return Err(Refusal::NotNow(words));
            }
            CaseEvent::CellsConfirmed {
                cells,
                label,
                who: text(who)?,
            }
        }
        Command::SetAttribute {
            cell,
            attribute,
            value,
            who,
        } => attribute_changed(*cell, attribute, value.as_deref(), who, case)?,
        Command::RemoveCell { cell, who } => CaseEvent::CellRemoved {
            cell: number(*cell, case)?,
            who: text(who)?,
        },
        Command::RestoreCell { cell, who } => CaseEvent::CellRestored {
            cell: number(*cell, case)?,
            who: text(who)?,
        },
        Command::Note { text: remark, who } => CaseEvent::NoteAdded {
            text: text(remark)?,
            who: text(who)?,
        },
        Command::NewCase { .. }
        | Command::AcceptScale { .. }
        | Command::Sign { .. }
        | Command::Amend { .. } => unreachable!("followed by `Desk::follow`"),
    })
}

fn attribute_changed(
    cell: u64,
    attribute: &str,
    value: Option<&str>,
    who: &str,
    case: &CaseState,
) -> Result<CaseEvent, Refusal> {
    let cell = number(cell, case)?;
    let schema = &case.opened().model.attributes;
    let unknown = |what, name| Refusal::NotFound(format!("{what} {name:?}: not of this model"));
    let found = schema.find(attribute);
    let (id, known): (AttributeId, _) = found.ok_or_else(|| unknown("attribute", attribute))?;
    let after = value.map(|name| {
        let value = known.find(name);
        value.ok_or_else(|| unknown("value", name))
    });
    Ok(CaseEvent::AttributeChanged {
        cell,
        attribute: id.index() as u8,
        before: case.cells()[cell as usize].attributes[id.index()],
        after: after.transpose()?.map(|value| value.index() as u8),
        who: text(who)?,
    })
}

fn number(cell: u64, case: &CaseState) -> Result<u32, Refusal> {
    let below = case.cells().len();
    match u32::try_from(cell) {
        Ok(number) if (number as usize) < below => Ok(number),
        _ => Err(Refusal::NotFound(format!(
            "cell {cell}, expected below {below}"
        ))),
    }
}

/// What is said of a cell now.
fn said(cell: u32, case: &CaseState) -> Label {
    case.cells()[cell as usize].label()
}

fn name(label: Label, case: &CaseState) -> &str {
    let classes = &case.opened().model.classes;
    match label {
        Label::Class(class) => classes.name(class).unwrap_or("of no known class"),
        Label::Unidentified => "unidentified",
    }
}

fn label(class: Option<&str>, case: &CaseState) -> Result<Label, Refusal> {
    let Some(name) = class else {
        return Ok(Label::Unidentified);
    };
    let class = case.opened().model.classes.find(name);
    class
        .map(Label::Class)
        .ok_or_else(|| Refusal::NotFound(format!("class {name:?}: not of this model")))
}

fn text(text: &str) -> Result<Text, Refusal> {
    Text::try_from(text).map_err(invalid)
}

fn invalid(error: TextError) -> Refusal {
    Refusal::Invalid(error.to_string())
}

fn of_models(error: InstallError) -> Refusal {
    match error {
        InstallError::Output(error) => Refusal::Disk(error.to_string()),
        other => Refusal::NotNow(other.to_string()),
    }
}
