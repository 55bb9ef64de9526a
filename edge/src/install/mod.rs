//! Another model for the station: signed, tried out, then exchanged in one step, and back again.
//!
//! In the data root lie `model/<sha-256>/model.onnx` for each model kept, with its signature and,
//! where it has one, its second file; `model/active.json`, which says which of them counts and which
//! did before; and, while a case is open, `model/case`, which says whose it is: no case is counted by
//! two models. Whatever is refused, `active.json` stays as it is.

mod record;
mod signature;
#[cfg(test)]
mod tests;

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::atomic::{OutputError, make_folder, sync_folder, write_file};
use crate::check::{CheckReport, check};
use crate::detector::{DetectError, Detector};
use crate::held::HeldFile;
use crate::model::{ModelError, ModelFile, Refusal};
use crate::tract::TractNetwork;
use record::{Active, Entry};
use signature::signed;

/// Name of a model's file in the folder of its hash.
const MODEL: &str = "model.onnx";

/// Why the model in use stays in use.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The configuration trusts nobody.
    #[error("model.public_key is not set: nobody's models are trusted")]
    NoKey,
    /// The configuration's key is none.
    #[error("model.public_key: {0}, expected the second line of a minisign .pub file")]
    Key(String),
    /// There is no signature, or none that can be read.
    #[error("{path}: {reason}, expected the model's signature by minisign")]
    NoSignature {
        /// Where it was looked for.
        path: String,
        /// What is there.
        reason: String,
    },
    /// The signature is another's, or the model is not what was signed.
    #[error("{file}: not what {path} signs by the key of model.public_key: {reason}")]
    Signature {
        /// The model.
        file: String,
        /// The signature.
        path: String,
        /// What does not fit.
        reason: String,
    },
    /// The model cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model fails while it runs.
    #[error("{file}: {error}")]
    Detect {
        /// The model.
        file: String,
        /// Why.
        error: DetectError,
    },
    /// The model does not find here what it found where it was exported.
    #[error("{file}: self-test: {reason}")]
    Golden {
        /// The model.
        file: String,
        /// What differs.
        reason: String,
    },
    /// A case is being counted.
    #[error("case {case} is open and is counted by one model only: sign or close it first")]
    CaseOpen {
        /// Its name.
        case: String,
    },
    /// Another program works on the models.
    #[error("{path}: held by another program that installs a model or opens a case")]
    Busy {
        /// The lock.
        path: String,
    },
    /// There is no model that counted before.
    #[error("{path}: no model was installed, there is nothing to go back to")]
    NothingBefore {
        /// Where it would be said.
        path: String,
    },
    /// What says which model counts is damaged.
    #[error(
        "{path}: {reason}, expected the names of two models; without the file the built-in one counts"
    )]
    Record {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A kept model is not what was installed.
    #[error("{path}: SHA-256 is {found}, expected {expected}: damaged since it was installed")]
    Damaged {
        /// The file.
        path: String,
        /// When it was installed.
        expected: String,
        /// Now.
        found: String,
    },
    /// A case cannot be counted by a model that is not the one to count.
    #[error(
        "model {active} was installed while {running} runs: start the station again before a new case"
    )]
    Exchanged {
        /// SHA-256 of the model that runs.
        running: String,
        /// SHA-256 of the model that is to run.
        active: String,
    },
    /// The data root cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Which model counts from the next start on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Its name.
    pub name: String,
    /// Hash of its file.
    pub sha256: String,
    /// Whether it counted already.
    pub already: bool,
}

/// The models of a data root.
#[derive(Clone, Debug)]
pub struct Models {
    folder: PathBuf,
}

impl Models {
    /// Of the data root `root`; makes nothing.
    pub fn of(root: &Path) -> Self {
        Self {
            folder: root.join("model"),
        }
    }

    /// The model that is to count: the installed one, or the built-in one when none ever was.
    ///
    /// # Errors
    /// When the installed one is damaged or gone. There is no falling back from it to another.
    pub fn active(&self) -> Result<ModelFile, InstallError> {
        match self.read_record()?.and_then(|record| record.current) {
            Some(entry) => self.kept(&entry.sha256),
            None => Ok(ModelFile::embedded()),
        }
    }

    /// Makes `file` the model that counts, if `public_key` signed it (`FILE.minisig`), its contract
    /// can be honoured, it finds its golden fields, and no case is open.
    ///
    /// # Errors
    /// Whatever is wrong; the model in use stays in use.
    pub fn install(
        &self,
        file: &Path,
        public_key: Option<&str>,
    ) -> Result<Installed, InstallError> {
        let key = public_key.ok_or(InstallError::NoKey)?;
        let model = ModelFile::read(file)?;
        let signature = signed(&model, file, key)?;
        let _lock = self.lock()?;
        self.refuse_open_case()?;
        let record = self.read_record()?.unwrap_or_default();
        let sha256 = model.sha256().to_owned();
        if let Some(current) = record.current.as_ref().filter(|it| it.sha256 == sha256) {
            // Said only of a model that is still whole.
            self.kept(&sha256)?;
            return Ok(current.installed(true));
        }
        let part = Part::new(self.folder.join(format!("{sha256}.part")))?;
        write_file(&part.0.join(MODEL), model.bytes())?;
        write_file(&part.0.join("model.onnx.minisig"), signature.as_bytes())?;
        copy_second_file(&model, &part.0)?;
        // What is tried out is what was written, not what was read.
        let name = proven(&ModelFile::read(&part.0.join(MODEL))?, &sha256)?;
        part.place_at(&self.folder.join(&sha256))?;
        let entry = Entry { name, sha256 };
        let installed = entry.installed(false);
        self.write_record(&Active {
            current: Some(entry),
            previous: record.current,
        })?;
        Ok(installed)
    }

    /// Makes the model count that counted before the last exchange; a second time, the other way.
    ///
    /// # Errors
    /// When there was none, it is damaged, or a case is open; the model in use stays in use.
    pub fn rollback(&self) -> Result<Installed, InstallError> {
        let _lock = self.lock()?;
        self.refuse_open_case()?;
        let path = self.record_path().display().to_string();
        let record = self.read_record()?;
        let Active { current, previous } = record.ok_or(InstallError::NothingBefore { path })?;
        let model = match &previous {
            Some(entry) => self.kept(&entry.sha256)?,
            None => ModelFile::embedded(),
        };
        let name = proven(&model, model.sha256())?;
        let sha256 = model.sha256().to_owned();
        self.write_record(&Active {
            current: previous,
            previous: current,
        })?;
        Ok(Installed {
            name,
            sha256,
            already: false,
        })
    }

    /// Keeps the model from being exchanged while `case` is open; `running` is the hash of the model
    /// that counts it. May be said again, by a station that starts with the case open.
    ///
    /// # Errors
    /// When another case holds it, or another model has been installed since `running` was loaded.
    pub fn hold(&self, case: &str, running: &str) -> Result<(), InstallError> {
        let _lock = self.lock()?;
        match self.open_case()? {
            Some(open) if open == case => return Ok(()),
            Some(case) => return Err(InstallError::CaseOpen { case }),
            None => {}
        }
        let record = self.read_record()?.and_then(|record| record.current);
        let active = record.map_or_else(
            || ModelFile::embedded().sha256().to_owned(),
            |entry| entry.sha256,
        );
        if active != running {
            let running = running.to_owned();
            return Err(InstallError::Exchanged { running, active });
        }
        Ok(write_file(&self.case_path(), case.as_bytes())?)
    }

    /// No case is open any more; nothing happens when none was.
    ///
    /// # Errors
    /// When the data root cannot be written.
    pub fn release(&self) -> Result<(), InstallError> {
        let path = self.case_path();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(OutputError::at(&path, error).into())
            }
            _ => Ok(()),
        }
    }

    /// The case that holds the model, if one is open.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn open_case(&self) -> Result<Option<String>, InstallError> {
        let path = self.case_path();
        match fs::read_to_string(&path) {
            Ok(case) => Ok(Some(case)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(OutputError::at(&path, error).into()),
        }
    }

    fn refuse_open_case(&self) -> Result<(), InstallError> {
        match self.open_case()? {
            Some(case) => Err(InstallError::CaseOpen { case }),
            None => Ok(()),
        }
    }

    fn case_path(&self) -> PathBuf {
        self.folder.join("case")
    }

    /// A kept model, as it was installed.
    fn kept(&self, sha256: &str) -> Result<ModelFile, InstallError> {
        let model = ModelFile::read(&self.folder.join(sha256).join(MODEL))?;
        intact(&model, sha256)?;
        Ok(model)
    }

    /// One program at a time.
    fn lock(&self) -> Result<HeldFile, InstallError> {
        make_folder(&self.folder)?;
        let path = self.folder.join("lock");
        let failed = |error| OutputError::at(&path, error);
        let file = File::create(&path).map_err(failed)?;
        HeldFile::take(file).map_err(|refused| match refused {
            TryLockError::WouldBlock => InstallError::Busy {
                path: path.display().to_string(),
            },
            TryLockError::Error(error) => failed(error).into(),
        })
    }
}

/// Whether it is whole, and finds what it found where it was exported; its name.
fn proven(model: &ModelFile, sha256: &str) -> Result<String, InstallError> {
    intact(model, sha256)?;
    let file = model.name().to_owned();
    let mut detector = Detector::new(Box::new(TractNetwork::load(model)?));
    match check(&mut detector, &file, sha256) {
        Ok(report) if report.passed => Ok(report.name),
        Ok(report) => Err(InstallError::Golden {
            file,
            reason: difference(&report),
        }),
        Err(error) => Err(InstallError::Detect { file, error }),
    }
}

fn intact(model: &ModelFile, sha256: &str) -> Result<(), InstallError> {
    match model.sha256() == sha256 {
        true => Ok(()),
        false => Err(InstallError::Damaged {
            path: model.name().to_owned(),
            expected: sha256.to_owned(),
            found: model.sha256().to_owned(),
        }),
    }
}

/// The first golden field that is not as it was.
fn difference(report: &CheckReport) -> String {
    match report.golden.iter().find(|field| !field.passed()) {
        None => "its contract records no golden field".to_owned(),
        Some(field) => format!(
            "field {} of {}: {} cells expected, {} found; {} missing, {} unexpected; canvas {}, expected {}",
            field.seed,
            field.size,
            field.cells_expected,
            field.cells_found,
            field.missing.len(),
            field.unexpected.len(),
            field.canvas_found,
            field.canvas_expected
        ),
    }
}

/// The file that reads the attributes, of a model that has one beside it. Its hash stands in the
/// contract, which is signed.
fn copy_second_file(model: &ModelFile, folder: &Path) -> Result<(), InstallError> {
    match model.beside() {
        Ok(second) => {
            let path = folder.join(MODEL);
            let path = path.with_extension(shared::contract::REGIONS_EXTENSION);
            Ok(write_file(&path, second.bytes())?)
        }
        // Most have none; one that should have is refused when it is loaded.
        Err(Refusal::InFile { .. } | Refusal::NothingBeside) => Ok(()),
        Err(reason) => Err(ModelError::new(model.name(), reason).into()),
    }
}

/// A folder that goes away unless it is given its place.
struct Part(PathBuf);

impl Part {
    fn new(path: PathBuf) -> Result<Self, OutputError> {
        // Of an installation that was killed.
        remove_folder(&path)?;
        make_folder(&path)?;
        Ok(Self(path))
    }

    fn place_at(&self, place: &Path) -> Result<(), OutputError> {
        // One of the same hash that is not current: perhaps damaged, so it is replaced.
        remove_folder(place)?;
        let above = place.parent().unwrap_or(place);
        // On the disk before anything names it.
        fs::rename(&self.0, place)
            .and_then(|()| sync_folder(above))
            .map_err(|error| OutputError::at(place, error))
    }
}

impl Drop for Part {
    /// After it got its place there is nothing under its name.
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn remove_folder(path: &Path) -> Result<(), OutputError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(OutputError::at(path, error)),
        _ => Ok(()),
    }
}
