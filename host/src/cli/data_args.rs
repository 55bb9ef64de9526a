//! Which pictures a command works on.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use shared::attribute::AttributeSchema;
use shared::class::ClassTable;

use crate::dataset::{DataError, Dataset, Mode, OpenOptions, Split, join, open};
use crate::exit::Usage;

/// Data sets, joined.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DataArgs {
    /// A data YAML, a COCO JSON, or a folder (Pascal VOC, WBCAtt, images/ + labels/); may be given
    /// several times, the first decides classes and attributes.
    #[arg(long)]
    pub data: Vec<PathBuf>,
    /// Boxes found by a detector (detections.jsonl) for pictures that have none (WBCAtt).
    #[arg(long)]
    pub boxes: Option<PathBuf>,
    /// Classes whose boxes are left out; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub ignore_class: Vec<String>,
    /// Leave out and count what is wrong instead of refusing it.
    #[arg(long)]
    pub lenient: bool,
}

impl DataArgs {
    /// Reads and joins, under a model's tables when there is a model; says on stderr what was read.
    ///
    /// # Errors
    /// What is wrong with the data.
    pub fn load(&self, tables: Option<(&ClassTable, &AttributeSchema)>) -> anyhow::Result<Dataset> {
        if self.data.is_empty() {
            return Err(Usage("--data is missing, expected a data set".to_owned()).into());
        }
        let mode = if self.lenient {
            Mode::Lenient
        } else {
            Mode::Strict
        };
        let parts = self
            .data
            .iter()
            .map(|path| {
                // Only a set without boxes of its own can take them from a detector.
                let boxes = self
                    .boxes
                    .clone()
                    .filter(|_| path.join("attributes.csv").is_file());
                let ignore_classes = self.ignore_class.clone();
                open(
                    path,
                    &OpenOptions {
                        mode,
                        boxes,
                        ignore_classes,
                        ..OpenOptions::default()
                    },
                )
            })
            .collect::<Result<Vec<_>, DataError>>()?;
        let data = join(
            parts,
            tables.map(|t| t.0),
            tables.map(|t| t.1),
            &self.ignore_class,
        )?;
        eprintln!("{}", data.report);
        let [train, val, test] = data.split_counts();
        eprintln!(
            "data: {}: {train} train, {val} val, {test} test pictures",
            data.name
        );
        Ok(data)
    }
}

/// The split of that name, for clap.
pub fn parse_split(text: &str) -> Result<Split, String> {
    Split::from_name(text).ok_or_else(|| format!("{text:?}, expected train, val or test"))
}
