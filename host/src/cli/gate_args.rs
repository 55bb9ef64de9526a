//! What a command that makes a model file judges it by.

use std::path::PathBuf;

use clap::Args;
use shared::contract::ModelContract;

use super::data_args::{DataArgs, parse_split};
use super::say;
use crate::dataset::Split;
use crate::parity::{Draft, Gate, REPORT_JSON, REPORT_TEXT, Stage, Station, judge};

/// The pictures that stages are compared on, and the program that runs them.
#[derive(Debug, Args)]
pub struct GateArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Part of the data set that stages are compared on: train, val or test.
    #[arg(long, default_value = "val", value_parser = parse_split)]
    split: Split,
    /// The station's program, leuko-edge; the one beside this program, else in PATH, unless given.
    #[arg(long, value_name = "FILE")]
    edge: Option<PathBuf>,
    /// The parity report on stdout as JSON.
    #[arg(long, requires = "data")]
    pub json: bool,
}

impl GateArgs {
    /// Whether there are pictures to judge on.
    pub fn is_asked(&self) -> bool {
        !self.data.data.is_empty()
    }

    /// Finds the station's program, before anything is made that it will have to run.
    ///
    /// # Errors
    /// As for [`Station::find`].
    pub fn station(&self) -> anyhow::Result<Station> {
        Station::find(self.edge.as_deref())
    }

    /// Compares the stages of a model whose files lie in `draft`, prints the report and puts it into
    /// the draft.
    ///
    /// # Errors
    /// Pictures or stages that cannot be judged, or a number beyond its budget; then the draft must
    /// not be committed.
    pub fn pass(
        &self,
        station: &Station,
        contract: &ModelContract,
        stages: &[Stage<'_>],
        draft: &mut Draft,
    ) -> anyhow::Result<()> {
        let data = self
            .data
            .load(Some((&contract.classes, &contract.attributes)))?;
        let scratch = draft.scratch();
        let gate = Gate {
            contract,
            data: &data,
            split: self.split,
            station,
            scratch: &scratch,
        };
        let n_pictures = data.split(self.split).count();
        let report = judge(&gate, stages, |stage| {
            eprintln!(
                "parity: {n_pictures} pictures through stage {}",
                stage.name()
            );
        })?;
        let json = report.json()?;
        if self.json {
            say(&json)?;
        } else {
            say(&report.to_string().trim_end())?;
        }
        report.verdict()?;
        draft.write_beside(REPORT_JSON, format!("{json}\n").as_bytes())?;
        let kept = draft.write_beside(REPORT_TEXT, report.markdown().as_bytes())?;
        eprintln!("parity: kept as {}", kept.display());
        Ok(())
    }
}
