//! The report that stays beside the model.

use std::fmt::Write;

use super::ParityReport;
use super::table::{cells, heading, shown};

/// Ending of the report for people, in place of the model's own.
pub const REPORT_TEXT: &str = "parity.md";

/// Ending of the report for programs, in place of the model's own.
pub const REPORT_JSON: &str = "parity.json";

impl ParityReport {
    /// The report as Markdown, with everything that is needed to judge the same again.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        // Writing into a String cannot fail.
        let _ = write!(out, "# Parity of {}\n\n{}\n\n", self.model, heading(self));
        for file in &self.stages {
            let _ = writeln!(
                out,
                "- {}: `{}`, SHA-256 `{}`",
                file.stage, file.file, file.sha256
            );
        }
        if let Some(origin) = &self.quantization {
            let _ = writeln!(
                out,
                "- calibrated on {} canvases, SHA-256 `{}`; layers left in floating point: {}",
                origin.n_canvases, origin.calibration_sha256, origin.n_float_layers
            );
        }
        let _ = writeln!(out, "- data: fingerprint `{}`", self.data_fingerprint);
        let _ = writeln!(
            out,
            "- judged by {}, run by {}",
            self.software[0], self.software[1]
        );
        out.push('\n');
        for (index, row) in cells(self).iter().enumerate() {
            let row: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            let _ = writeln!(out, "| {} |", row.join(" | "));
            if index == 0 {
                let _ = writeln!(out, "| --- |{}", " ---: |".repeat(row.len() - 1));
            }
        }
        let _ = writeln!(out, "\n{}", shown(self));
        out
    }

    /// The report as JSON.
    ///
    /// # Errors
    /// None that a report can have: its numbers are finite or absent.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}
