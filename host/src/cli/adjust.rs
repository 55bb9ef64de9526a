//! `leuko-host adjust`.

use std::path::PathBuf;

use clap::Args;

use super::data_args::DataArgs;
use super::say;
use crate::adjust::{Choice, adjust};
use crate::checkpoint::Checkpoint;
use crate::device;
use crate::exit::Usage;
use crate::score::number;

/// Shifts the attributes' logits so that rare values are named as often as macro-F1 wants.
///
/// The train split says how frequent each value is; on the val split the share of that logarithm is
/// chosen which the attribute's macro-F1 likes best (logit adjustment, arXiv 2007.07314). Writes a
/// checkpoint for use (`val`, `export`, `quantize`); boxes and classes stay as they are.
#[derive(Debug, Args)]
pub struct AdjustArgs {
    /// A checkpoint of `train` with attributes in the detection head.
    #[arg(long)]
    weights: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// The checkpoint to write.
    #[arg(long)]
    out: PathBuf,
    /// auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: String,
}

/// Runs the command.
///
/// # Errors
/// What is wrong with checkpoint or data, and what the disk says.
pub fn run(args: &AdjustArgs) -> anyhow::Result<()> {
    if args.out == args.weights {
        return Err(Usage("--out: expected another file than --weights".to_owned()).into());
    }
    let checkpoint = Checkpoint::load(&args.weights)?;
    let run = &checkpoint.run;
    let data = args.data.load(Some((&run.classes, &run.schema)))?;
    let device = device::parse(&args.device)?;
    let (adjusted, choices) = adjust(&checkpoint, &data, device)?;
    adjusted.save(&args.out)?;
    say(&table(&choices))?;
    Ok(say(&args.out.display())?)
}

fn table(choices: &[Choice]) -> String {
    let mut lines = vec![format!(
        "{:<26}{:>8}{:>20}{:>20}",
        "val split, truth boxes", "tenths", "macro-F1", "accuracy"
    )];
    for choice in choices {
        let pair = |at: usize| {
            format!(
                "{} -> {}",
                number(choice.before[at]),
                number(choice.after[at])
            )
        };
        let (f1, accuracy) = (pair(0), pair(1));
        let (name, tenths) = (&choice.attribute, choice.tenths);
        lines.push(format!("{name:<26}{tenths:>8}{f1:>20}{accuracy:>20}"));
    }
    lines.join("\n")
}
