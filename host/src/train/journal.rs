//! `results.csv`: a line an epoch, in the columns of YOLOv5 and ours behind them.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::validate::Validation;

/// An epoch in numbers.
#[derive(Clone, Debug)]
pub struct EpochRow {
    /// Counted from 1.
    pub epoch: usize,
    /// Box, objectness, class, attribute.
    pub losses: [f64; 4],
    /// The same on the validation split; `None` where they were not computed.
    pub val_losses: Option<[f64; 4]>,
    /// What validation found; `None` in an epoch without.
    pub validation: Option<Validation>,
    /// Learning rates of biases, weights and norms at the epoch's last batch.
    pub lr: [f64; 3],
    /// Wall time, training and validation.
    pub seconds: f64,
    /// Pictures trained on in a second, without validation.
    pub images_per_second: f64,
    /// Share of the training in which the next batch was waited for, 0 to 1.
    pub waiting: f64,
}

/// A number of an epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// Its column, and its tag in TensorBoard.
    pub name: &'static str,
    /// `None` = there was nothing to measure it on; the place in the table is empty.
    pub value: Option<f64>,
    /// Digits behind the point.
    digits: usize,
}

impl EpochRow {
    /// All numbers in the order of the table, which begins with `epoch`.
    pub fn fields(&self) -> [Field; 21] {
        let field = |name, value, digits| Field {
            name,
            value,
            digits,
        };
        let train = self.losses;
        let val = |at: usize| self.val_losses.map(|losses| losses[at]);
        let found =
            |number: fn(&Validation) -> Option<f64>| self.validation.as_ref().and_then(number);
        [
            field("train/box_loss", Some(train[0]), 6),
            field("train/obj_loss", Some(train[1]), 6),
            field("train/cls_loss", Some(train[2]), 6),
            field("metrics/precision", found(|v| v.precision), 5),
            field("metrics/recall", found(|v| v.recall), 5),
            field("metrics/mAP_0.5", found(|v| v.map50), 5),
            field("metrics/mAP_0.5:0.95", found(|v| v.map50_95), 5),
            field("val/box_loss", val(0), 6),
            field("val/obj_loss", val(1), 6),
            field("val/cls_loss", val(2), 6),
            field("x/lr0", Some(self.lr[0]), 8),
            field("x/lr1", Some(self.lr[1]), 8),
            field("x/lr2", Some(self.lr[2]), 8),
            field("train/attr_loss", Some(train[3]), 6),
            field("val/attr_loss", val(3), 6),
            field("metrics/attribute_F1", found(|v| v.attribute_f1), 5),
            field("metrics/cell_AP_0.5", found(|v| v.cell_ap50), 5),
            field("metrics/cell_AP_0.5:0.95", found(|v| v.cell_ap50_95), 5),
            field("seconds", Some(self.seconds), 1),
            field("images/s", Some(self.images_per_second), 2),
            field("waiting", Some(self.waiting), 3),
        ]
    }

    /// The first line of the table.
    fn header() -> String {
        let nothing = Self {
            epoch: 0,
            losses: [0.0; 4],
            val_losses: None,
            validation: None,
            lr: [0.0; 3],
            seconds: 0.0,
            images_per_second: 0.0,
            waiting: 0.0,
        };
        let names = nothing.fields().map(|field| field.name);
        format!("epoch,{}", names.join(","))
    }

    fn line(&self) -> String {
        let number = |field: Field| {
            let digits = field.digits;
            field
                .value
                .map_or_else(String::new, |v| format!("{v:.digits$}"))
        };
        format!("{},{}", self.epoch, self.fields().map(number).join(","))
    }
}

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
    /// The file and why it cannot be read or written; a table with other columns is not gone on with.
    pub fn open(run: &Path, epochs_done: usize) -> Result<Self, (PathBuf, Error)> {
        let path = run.join("results.csv");
        let open = || {
            let kept = if epochs_done > 0 {
                read(&path, epochs_done)?
            } else {
                Vec::new()
            };
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .open(&path)?;
            writeln!(file, "{}", EpochRow::header())?;
            for line in kept {
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
    pub fn append(&mut self, row: &EpochRow) -> Result<(), (PathBuf, Error)> {
        let line = row.line() + "\n";
        let written = self
            .file
            .write_all(line.as_bytes())
            .and_then(|()| self.file.sync_all());
        written.map_err(|source| (self.path.clone(), source))
    }
}

/// The lines of the epochs that are done. A table that was taken away is begun anew.
fn read(path: &Path, epochs_done: usize) -> Result<Vec<String>, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut lines = text.lines();
    let expected = EpochRow::header();
    let found = lines.next().unwrap_or_default();
    if found != expected {
        let detail = format!("expected the columns {expected:?}, found {found:?}");
        return Err(Error::new(ErrorKind::InvalidData, detail));
    }
    let is_done = |line: &&str| {
        let epoch = line.split(',').next().and_then(|epoch| epoch.parse().ok());
        epoch.is_some_and(|epoch: usize| epoch <= epochs_done)
    };
    Ok(lines.filter(is_done).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(epoch: usize) -> EpochRow {
        EpochRow {
            epoch,
            losses: [0.5, 0.25, 0.125, 0.0625],
            val_losses: Some([0.5; 4]),
            validation: None,
            lr: [0.1, 0.01, 0.01],
            seconds: 12.34,
            images_per_second: 5.0,
            waiting: 0.25,
        }
    }

    fn text(folder: &Path) -> String {
        std::fs::read_to_string(folder.join("results.csv")).unwrap()
    }

    #[test]
    fn the_columns_of_yolov5_come_first_and_in_its_order() {
        // keys of its train.py, version 7: `self.keys` in utils/loggers/__init__.py.
        let theirs = "epoch,train/box_loss,train/obj_loss,train/cls_loss,metrics/precision,\
            metrics/recall,metrics/mAP_0.5,metrics/mAP_0.5:0.95,val/box_loss,val/obj_loss,\
            val/cls_loss,x/lr0,x/lr1,x/lr2";
        assert!(EpochRow::header().starts_with(theirs));
        let line = row(3).line();
        assert_eq!(
            line,
            "3,0.500000,0.250000,0.125000,,,,,0.500000,0.500000,0.500000,\
            0.10000000,0.01000000,0.01000000,0.062500,0.500000,,,,12.3,5.00,0.250"
        );
    }

    #[test]
    fn a_resumed_run_cuts_the_lines_it_has_not_reached() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), 0).unwrap();
        (1..=3).for_each(|epoch| journal.append(&row(epoch)).unwrap());
        let mut journal = Journal::open(folder.path(), 2).unwrap();
        journal.append(&row(3)).unwrap();
        let epochs = text(folder.path());
        let epochs: Vec<_> = epochs
            .lines()
            .map(|l| l.split(',').next().unwrap())
            .collect();
        assert_eq!(epochs, ["epoch", "1", "2", "3"]);
        Journal::open(folder.path(), 0).unwrap();
        assert_eq!(
            text(folder.path()).lines().count(),
            1,
            "a new run starts it"
        );
    }

    #[test]
    fn a_table_with_other_columns_is_kept_and_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("results.csv"), "epoch,lr\n1,0.5\n").unwrap();
        let (_, error) = Journal::open(folder.path(), 1).unwrap_err();
        assert!(error.to_string().contains("found \"epoch,lr\""), "{error}");
        assert_eq!(text(folder.path()), "epoch,lr\n1,0.5\n");
    }
}
