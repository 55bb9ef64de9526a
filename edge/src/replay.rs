//! A folder of pictures through the model: `detections.jsonl`, annotated pictures, a differential.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;
use shared::cell::Detection;
use shared::detect::Dropped;
use shared::differential::Differential;
use shared::head::Thresholds;
use shared::report::DetectionRecord;

use crate::annotated::write_annotated;
use crate::atomic::{AtomicFile, OutputError, make_folder};
use crate::count::{CountTable, LIMITS_NOTE, RESEARCH_NOTE};
use crate::detector::{DetectError, Detector};
use crate::picture::{self, Picture};
use crate::source::folder::{self, Entry, Skipped, SourceError};

/// Name of the record file in the output folder.
pub const RECORDS: &str = "detections.jsonl";

/// Name of the folder of annotated pictures in the output folder.
pub const ANNOTATED: &str = "annotated";

/// Why a replay stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The output.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The model, on a picture that is in order.
    #[error("{image}: {error}")]
    Detect {
        /// Relative to the source.
        image: String,
        /// The reason.
        error: DetectError,
    },
}

/// What a run writes, whatever the pictures come from.
pub struct Recorder<'a> {
    detector: &'a mut Detector,
    model_sha256: &'a str,
    annotated: Option<PathBuf>,
    records: AtomicFile,
    line: Vec<u8>,
    fields: u32,
    detections: u64,
    dropped: Dropped,
    counted: Differential,
    undrawn: Vec<Skipped>,
}

impl<'a> Recorder<'a> {
    /// Makes the output folder and begins the record file.
    ///
    /// # Errors
    /// When the folder or the file cannot be made.
    pub fn begin(
        detector: &'a mut Detector,
        model_sha256: &'a str,
        out: &Path,
        annotate: bool,
    ) -> Result<Self, OutputError> {
        make_folder(out)?;
        Ok(Self {
            counted: CountTable::counter(&detector.contract().classes),
            detector,
            model_sha256,
            annotated: annotate.then(|| out.join(ANNOTATED)),
            records: AtomicFile::create(&out.join(RECORDS))?,
            line: Vec::new(),
            fields: 0,
            detections: 0,
            dropped: Dropped::default(),
            undrawn: Vec::new(),
        })
    }

    /// Searches one picture, counts and records what was found; returns it best first.
    ///
    /// # Errors
    /// When the model fails on it or the results cannot be written. A picture whose name is too
    /// long for its drawing is counted and told as not drawn.
    pub fn field(
        &mut self,
        image: &str,
        picture: &mut Picture,
    ) -> Result<Vec<Detection>, ReplayError> {
        let thresholds = *self.detector.thresholds();
        let size = picture.size();
        let findings =
            self.detector
                .detect(picture.view())
                .map_err(|error| ReplayError::Detect {
                    image: image.to_owned(),
                    error,
                })?;
        let (found, dropped) = (findings.detections.to_vec(), findings.dropped);
        let contract = self.detector.contract();
        let record = DetectionRecord {
            image,
            size,
            model_sha256: self.model_sha256,
            thresholds: &thresholds,
            dropped,
            detections: &found,
            classes: &contract.classes,
            schema: &contract.attributes,
        };
        self.line.clear();
        serde_json::to_writer(&mut self.line, &record)
            .map_err(|error| OutputError::at(Path::new(RECORDS), error.into()))?;
        self.line.push(b'\n');
        self.records.write(&self.line)?;
        if let Some(folder) = &self.annotated {
            // The whole name with its ending, so that a.png and a.jpg do not meet.
            let path = folder.join(format!("{image}.png"));
            match write_annotated(picture, &found, contract, &path) {
                Ok(()) => {}
                Err(OutputError { error, .. }) if error.kind() == ErrorKind::InvalidFilename => {
                    self.undrawn.push(Skipped {
                        image: image.to_owned(),
                        reason: format!("not drawn: {error}"),
                    });
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.fields += 1;
        self.detections += found.len() as u64;
        add(&mut self.dropped, dropped);
        found.iter().for_each(|cell| self.counted.add(cell.class));
        Ok(found)
    }

    /// Puts the record file in its place.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> Result<Summary, OutputError> {
        let contract = self.detector.contract();
        let thresholds = *self.detector.thresholds();
        let count = || CountTable::new(&self.counted, &contract.classes);
        let differential = (!thresholds.multi_label).then(count);
        let summary = Summary {
            model: contract.name.as_str().to_owned(),
            model_sha256: self.model_sha256.to_owned(),
            thresholds,
            fields: self.fields,
            detections: self.detections,
            dropped: self.dropped,
            skipped: Vec::new(),
            undrawn: self.undrawn,
            other_files: 0,
            differential,
            note: RESEARCH_NOTE,
            limits_note: LIMITS_NOTE,
        };
        self.records.commit()?;
        Ok(summary)
    }
}

fn add(sum: &mut Dropped, one: Dropped) {
    sum.candidates = sum.candidates.saturating_add(one.candidates);
    sum.detections = sum.detections.saturating_add(one.detections);
    sum.outside = sum.outside.saturating_add(one.outside);
}

/// What a replay did.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Name in the model's contract.
    pub model: String,
    /// Hash of the model file.
    pub model_sha256: String,
    /// What was counted with.
    pub thresholds: Thresholds,
    /// Pictures searched.
    pub fields: u32,
    /// Cells found.
    pub detections: u64,
    /// What was lost over all pictures, by reason.
    pub dropped: Dropped,
    /// Pictures left out.
    pub skipped: Vec<Skipped>,
    /// Pictures that were searched, but whose annotated picture the system cannot name.
    pub undrawn: Vec<Skipped>,
    /// Files that are no PNG or JPEG by their names.
    pub other_files: u64,
    /// Counts, per cent and limits; `None` with `multi_label`, where a cell is listed once a class.
    pub differential: Option<CountTable>,
    /// What the result may be used for.
    pub note: &'static str,
    /// What the limits of the differential do not say.
    pub limits_note: &'static str,
}

/// What is told while a replay runs.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A picture was left out.
    Skipped(&'a Skipped),
    /// A picture was searched.
    Field {
        /// Pictures done.
        done: usize,
        /// Pictures in all.
        of: usize,
        /// Cells found on this one.
        cells: usize,
    },
}

/// Where a replay reads and writes.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Folder of pictures.
    pub source: PathBuf,
    /// Folder of results.
    pub out: PathBuf,
    /// Write annotated pictures too.
    pub annotate: bool,
}

/// Runs every picture of a folder through the model.
///
/// # Errors
/// When the source cannot be listed or holds no readable picture, when the model fails on a picture,
/// or when the results cannot be written. A picture that cannot be read is skipped with its reason.
pub fn replay(
    detector: &mut Detector,
    model_sha256: &str,
    paths: &Paths,
    mut tell: impl FnMut(Progress<'_>),
) -> Result<Summary, ReplayError> {
    // Only what was drawn: other pictures in the output folder are the user's.
    let drawn = [paths.out.join(ANNOTATED)];
    let listing = folder::list(&paths.source, &drawn)?;
    let mut skipped = listing.skipped;
    skipped.iter().for_each(|one| tell(Progress::Skipped(one)));
    let mut recorder = Recorder::begin(detector, model_sha256, &paths.out, paths.annotate)?;
    let of = listing.entries.len();
    for (index, Entry { name, path }) in listing.entries.into_iter().enumerate() {
        match picture::read(&path) {
            Ok(mut picture) => {
                let cells = recorder.field(&name, &mut picture)?.len();
                let done = index + 1;
                tell(Progress::Field { done, of, cells });
            }
            Err(error) => {
                let one = Skipped {
                    image: name,
                    reason: error.to_string(),
                };
                tell(Progress::Skipped(&one));
                skipped.push(one);
            }
        }
    }
    if recorder.fields == 0 {
        return Err(SourceError::NoPicture {
            path: paths.source.display().to_string(),
            skipped: skipped.len(),
            others: listing.others,
        }
        .into());
    }
    let mut summary = recorder.finish()?;
    summary.skipped = skipped;
    summary.other_files = listing.others;
    Ok(summary)
}

#[cfg(test)]
mod tests;
