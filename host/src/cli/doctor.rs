//! `leuko-host doctor`.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;

use super::say;
use crate::doctor::{Report, State, Wanted, examine};

/// Says what training needs of this machine, what is there, and the mend for what is not.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// What shall train: auto, cpu, cuda or cuda:N; a card that is not there then is an error.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Folder of the runs, looked at for room.
    #[arg(long, default_value = "runs/train")]
    project: PathBuf,
    /// A data set to look for; may be given several times.
    #[arg(long)]
    data: Vec<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: DoctorArgs) -> anyhow::Result<()> {
    let report = examine(&Wanted {
        device: args.device,
        project: args.project,
        data: args.data,
    });
    if args.json {
        say(&serde_json::to_string_pretty(&report)?)?;
    } else {
        say(&table(&report).trim_end())?;
    }
    Ok(report.check()?)
}

fn table(report: &Report) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        let sign = match finding.state {
            State::Ok => "ok",
            State::Absent => "--",
            State::Missing => "MISSING",
        };
        let (what, found) = (finding.what, &finding.found);
        // Writing to a text cannot fail.
        let _ = writeln!(out, "{sign:<8} {what:<14} {found}");
        if let Some(mend) = &finding.mend {
            let _ = writeln!(out, "{:<8} {:<14}   needed: {}", "", "", finding.needed);
            let _ = writeln!(out, "{:<8} {:<14}   mend: {mend}", "", "");
        }
    }
    out + if report.ready {
        "training can start here"
    } else {
        "training cannot start here"
    }
}
