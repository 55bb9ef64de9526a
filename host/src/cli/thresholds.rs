//! What a command counts with.

use clap::Args;
use shared::head::Thresholds;

use crate::exit::Usage;

/// The two limits that a command line may set.
#[derive(Debug, Args)]
pub struct ThresholdArgs {
    /// Least score of a counted cell.
    #[arg(long, default_value_t = Thresholds::COUNTING.score)]
    conf: f32,
    /// Overlap above which the worse of two boxes goes.
    #[arg(long, default_value_t = Thresholds::COUNTING.iou)]
    iou: f32,
}

impl ThresholdArgs {
    /// The thresholds of counting with these limits.
    ///
    /// # Errors
    /// When one is outside 0..=1.
    pub fn thresholds(&self) -> Result<Thresholds, Usage> {
        let Self { conf, iou } = *self;
        let thresholds = Thresholds {
            score: conf,
            iou,
            ..Thresholds::COUNTING
        };
        if thresholds.is_legal() {
            return Ok(thresholds);
        }
        let reason = format!("--conf {conf} and --iou {iou}, expected both in 0..=1");
        Err(Usage(reason))
    }
}
