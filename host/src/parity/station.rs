//! The station's own program, run as a user runs it: what it finds is what will be found.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{Gate, ParityError};
use crate::checkpoint::sha256_of;
use crate::dataset::{Sample, symlink};
use crate::detections::{ForeignAttributes, PictureFindings, read_detections};
use crate::exit::Usage;
use crate::outputs::OutputError;

/// Name of the station's program.
pub const STATION: &str = "leuko-edge";

/// Name of the record file that the station leaves in its output folder.
const RECORDS: &str = "detections.jsonl";

/// A program that runs model files.
#[derive(Clone, Debug)]
pub struct Station {
    program: PathBuf,
    software: String,
}

impl Station {
    /// The program at `given`, else the one beside the running program, else the first in `PATH`; it
    /// is asked for its version.
    ///
    /// # Errors
    /// [`Usage`] when there is no file at `given`, [`ParityError::NoStation`] when none is found, and
    /// what is wrong with a program that cannot tell its version.
    pub fn find(given: Option<&Path>) -> anyhow::Result<Self> {
        let program = match given {
            Some(path) if path.is_file() => path.to_path_buf(),
            Some(path) => {
                let reason = format!("--edge {}: expected a program, found none", path.display());
                return Err(Usage(reason).into());
            }
            None => {
                let program = env::current_exe()?;
                let path = env::var_os("PATH").unwrap_or_default();
                let folders = program.parent().map(Path::to_path_buf).into_iter();
                first_in(folders.chain(env::split_paths(&path)))
                    .ok_or(ParityError::NoStation { program })?
            }
        };
        // A bare name would be looked for in PATH, not in the folder that it was given for.
        let program = program.canonicalize()?;
        let output = run(
            &program,
            "--version",
            Command::new(&program).arg("--version"),
        )?;
        let software = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(Self { program, software })
    }

    /// Name and version, as the program tells them.
    pub fn software(&self) -> &str {
        &self.software
    }

    /// Runs `model` on the pictures; findings carry the paths of `samples`, whose order is that of
    /// `pictures`.
    pub(super) fn find_cells(
        &self,
        gate: &Gate<'_>,
        stage: &'static str,
        model: &Path,
        pictures: &Pictures,
        samples: &[&Sample],
    ) -> anyhow::Result<Vec<PictureFindings>> {
        let out = gate.scratch.join(stage);
        let mut command = Command::new(&self.program);
        command.arg("replay").arg("--model").arg(model);
        command.arg("--source").arg(&pictures.folder);
        command.arg("--out").arg(&out).arg("--evaluate");
        run(
            &self.program,
            &format!("replay --model {}", model.display()),
            &mut command,
        )?;
        let (classes, schema) = (&gate.data.classes, &gate.data.schema);
        let records = out.join(RECORDS);
        let foreign = |detail: String| ParityError::Foreign { stage, detail };
        let file = read_detections(&records, classes, schema, ForeignAttributes::Refuse)
            .map_err(|error| foreign(format!("{:#}", anyhow::Error::from(error))))?;
        let expected = sha256_of(model)?;
        let mut found = file.pictures;
        if let Some(other) = found.iter().find(|f| f.model_sha256 != expected) {
            let found = &other.model_sha256;
            let detail =
                format!("expected findings of the model {expected}, found those of {found}");
            return Err(foreign(detail).into());
        }
        let mut missing: Vec<bool> = vec![true; samples.len()];
        for picture in &mut found {
            let index = pictures.index_of(&picture.image).ok_or_else(|| {
                foreign(format!(
                    "found findings of {:?}, a picture that was not given",
                    picture.image
                ))
            })?;
            missing[index] = false;
            picture.image = samples[index].image.to_string_lossy().into_owned();
        }
        match missing.iter().position(|&missing| missing) {
            None => Ok(found),
            Some(first) => Err(ParityError::Unseen {
                stage,
                expected: samples.len(),
                missing: missing.iter().filter(|&&missing| missing).count(),
                first: samples[first].image.display().to_string(),
            }
            .into()),
        }
    }
}

/// The first `leuko-edge` of some folders.
fn first_in(folders: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    let mut programs = folders.map(|folder| folder.join(STATION));
    programs.find(|program| program.is_file())
}

fn run(program: &Path, call: &str, command: &mut Command) -> Result<Output, ParityError> {
    let station = || program.to_path_buf();
    let output = command.output().map_err(|source| ParityError::NotStarted {
        station: station(),
        source,
    })?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    Err(ParityError::Station {
        station: station(),
        call: call.to_owned(),
        code: output.status.code(),
        said: last.unwrap_or("it said nothing").to_owned(),
    })
}

/// A folder of links to pictures of one split, wherever they lie: the station reads folders only.
#[derive(Debug)]
pub(super) struct Pictures {
    folder: PathBuf,
    /// File names, in the order of the samples.
    names: Vec<String>,
}

impl Pictures {
    /// Links the pictures of `samples` into a folder below `scratch`.
    pub(super) fn link(samples: &[&Sample], scratch: &Path) -> anyhow::Result<Self> {
        let folder = scratch.join("pictures");
        let refused = |path: &Path| {
            let path = path.to_path_buf();
            move |source| OutputError { path, source }
        };
        fs::create_dir_all(&folder).map_err(refused(&folder))?;
        let mut names = Vec::with_capacity(samples.len());
        for (index, sample) in samples.iter().enumerate() {
            // Numbers: two pictures of one name may lie in different folders.
            let ending = sample.image.extension().unwrap_or_default();
            let name = format!("{index:06}.{}", ending.to_string_lossy());
            let link = folder.join(&name);
            let target = std::path::absolute(&sample.image).map_err(refused(&sample.image))?;
            symlink(&target, &link).map_err(refused(&link))?;
            names.push(name);
        }
        Ok(Self { folder, names })
    }

    fn index_of(&self, name: &str) -> Option<usize> {
        let index: usize = name.split('.').next()?.parse().ok()?;
        (self.names.get(index)? == name).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_folder_that_holds_the_program_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let folders = ["a", "b", "c"].map(|name| root.path().join(name));
        assert_eq!(first_in(folders.iter().cloned()), None);
        for folder in &folders {
            fs::create_dir(folder).unwrap();
        }
        // A folder of that name is no program.
        fs::create_dir(folders[0].join(STATION)).unwrap();
        fs::write(folders[1].join(STATION), "").unwrap();
        fs::write(folders[2].join(STATION), "").unwrap();
        let found = first_in(folders.iter().cloned());
        assert_eq!(found, Some(folders[1].join(STATION)));
    }

    #[test]
    fn a_program_that_is_not_there_is_a_mistake_of_the_command_line() {
        let error = Station::find(Some(Path::new("/nowhere/leuko-edge"))).unwrap_err();
        assert_eq!(crate::exit::code(&error), 2);
        let expected = "--edge /nowhere/leuko-edge: expected a program, found none";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_program_that_was_not_found_says_how_to_get_it() {
        let program = PathBuf::from("/bin/leuko-host");
        let error = ParityError::NoStation { program };
        assert_eq!(
            error.to_string(),
            "leuko-edge is neither beside /bin/leuko-host nor in PATH: build it with \
             `cargo build --release -p edge`, or say with --edge where it is"
        );
    }
}
