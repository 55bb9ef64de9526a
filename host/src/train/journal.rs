//! `results.csv`: a line an epoch, readable by whatever draws YOLOv5's.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::engine::clock::TimeSplit;
use crate::validate::Validation;

/// An epoch in numbers.
#[derive(Clone, Debug)]
pub struct EpochRow {
    /// Counted from 1.
    pub epoch: usize,
    /// Box, objectness, class, attribute.
    pub losses: [f64; 4],
    /// What validation found; `None` in an epoch without.
    pub validation: Option<Validation>,
    /// Learning rate of the weights at the epoch's start.
    pub lr: f64,
    /// How the time of the training divided, in this process.
    pub time: TimeSplit,
    /// Wall time, training and validation.
    pub seconds: f64,
}

const HEADER: &str = "epoch,train/box_loss,train/obj_loss,train/cls_loss,train/attr_loss,\
metrics/precision,metrics/recall,metrics/mAP_0.5,metrics/mAP_0.5:0.95,metrics/cell_AP_0.5,metrics/attribute_F1,lr,seconds";

/// The open file.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Opens `results.csv` in the run's folder; a new run starts it, a resumed one cuts it after
    /// `epochs_done` lines and goes on.
    ///
    /// # Errors
    /// The file and why it cannot be written.
    pub fn open(run: &Path, epochs_done: usize) -> Result<Self, (PathBuf, std::io::Error)> {
        let path = run.join("results.csv");
        let open = || {
            let old = if epochs_done > 0 {
                std::fs::read_to_string(&path).unwrap_or_default()
            } else {
                String::new()
            };
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .open(&path)?;
            writeln!(file, "{HEADER}")?;
            for line in old.lines().skip(1).take(epochs_done) {
                writeln!(file, "{line}")?;
            }
            Ok(file)
        };
        match open() {
            Ok(file) => Ok(Self { file, path }),
            Err(source) => Err((path, source)),
        }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a line and syncs it.
    ///
    /// # Errors
    /// The file and why it cannot be written.
    pub fn append(&mut self, row: &EpochRow) -> Result<(), (PathBuf, std::io::Error)> {
        let mut fields = vec![row.epoch.to_string()];
        fields.extend(row.losses.iter().map(|v| format!("{v:.6}")));
        let number = |v: Option<f64>| v.map_or(String::new(), |v| format!("{v:.5}"));
        let v = row.validation.as_ref();
        fields.extend([
            number(v.and_then(|v| v.precision)),
            number(v.and_then(|v| v.recall)),
            number(v.and_then(|v| v.map50)),
            number(v.and_then(|v| v.map50_95)),
            number(v.and_then(|v| v.cell_ap50)),
            number(v.and_then(|v| v.attribute_f1)),
        ]);
        fields.extend([format!("{:.6}", row.lr), format!("{:.1}", row.seconds)]);
        let line = fields.join(",") + "\n";
        let written = self
            .file
            .write_all(line.as_bytes())
            .and_then(|()| self.file.sync_all());
        written.map_err(|source| (self.path.clone(), source))
    }
}
