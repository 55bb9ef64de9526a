//! `MODEL_CARD.md`: what a checkpoint is, what it was taught and judged on, what it is worth and
//! where that ends. Written by the program from what it knows, never by hand; the same run gives the
//! same bytes.

mod results;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use shared::head::Thresholds;

use super::{OutputError, write_whole};
use crate::checkpoint::RunState;
use crate::dataset::{Dataset, Split};
use crate::model::Cost;
use crate::score::ScoreReport;

/// Source that this program was built from: a commit, with `-dirty` where files differed from it,
/// or `unknown` outside a checkout.
pub const SOURCE_COMMIT: &str = match option_env!("LEUKO_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Fewest cells of a class that its numbers are not called uncertain for: with 30 of 30 found the
/// exact 95 % limits of recall still begin at 88 %.
const FEW_CELLS: u32 = 30;

/// Everything that a card tells.
#[derive(Clone, Copy)]
pub struct Card<'a> {
    /// Name of the model.
    pub name: &'a str,
    /// Plan, tables and progress of the training.
    pub run: &'a RunState,
    /// Hash of the checkpoint's file.
    pub weights_sha256: &'a str,
    /// What the network costs.
    pub cost: Cost,
    /// The data that was judged.
    pub data: &'a Dataset,
    /// Its fingerprint, of this split alone.
    pub data_fingerprint: &'a str,
    /// The split that was judged.
    pub split: Split,
    /// What the detections were made with.
    pub thresholds: Thresholds,
    /// Flips and turns a picture was looked at in; 1 = as it is.
    pub views: usize,
    /// How well it went.
    pub report: &'a ScoreReport,
    /// The same of each domain that has pictures in this split.
    pub domains: &'a [(String, ScoreReport)],
}

impl Card<'_> {
    /// Writes `MODEL_CARD.md` into the folder `out`.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self, out: &Path) -> Result<(), OutputError> {
        let text = self.text();
        write_whole(&out.join("MODEL_CARD.md"), |file| {
            file.write_all(text.as_bytes())
        })
    }

    /// The card as Markdown.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.head(&mut text);
        self.training(&mut text);
        self.pictures(&mut text);
        results::write(self, &mut text);
        self.limits(&mut text);
        text
    }

    fn head(&self, text: &mut String) {
        let run = self.run;
        let attributes = match run.schema.len() {
            0 => String::new(),
            n => format!(" and describes {n} morphological attributes"),
        };
        let classes = match run.classes.len() {
            1 => String::new(),
            n => format!(", names one of {n} classes"),
        };
        line(text, &format!("# {}", plain(self.name)));
        line(
            text,
            &format!("\nFinds cells on stained smear fields{classes}{attributes}."),
        );
        line(
            text,
            "**For research use only. Not for use in diagnostic procedures.**\n",
        );
        let plan = &run.plan;
        let Cost {
            parameters: n,
            gflops,
            gflops_per_cell,
        } = self.cost;
        let millions = n as f64 / 1e6;
        let per_cell = match gflops_per_cell {
            0.0 => String::new(),
            gflops => format!(" and {gflops:.2} a cell"),
        };
        let cost =
            format!("{millions:.2} M parameters ({n}), {gflops:.2} GFLOPs a picture{per_cell}");
        let attributes = run.schema.iter().map(|(_, a)| a.name.as_str());
        let rows = [
            ("network", network(run)),
            (
                "canvas",
                format!("{}, {}", plan.canvas, json_word(&plan.fit)),
            ),
            ("cost", cost),
            ("classes", list(run.classes.iter().map(|(_, name)| name))),
            ("attributes", list(attributes)),
            ("checkpoint (SHA-256)", self.weights_sha256.to_owned()),
            ("training data (fingerprint)", run.data_fingerprint.clone()),
            ("trained by", run.software.clone()),
            (
                "judged by",
                format!(
                    "leuko-host {}, source {SOURCE_COMMIT}",
                    env!("CARGO_PKG_VERSION")
                ),
            ),
        ];
        table(
            text,
            &["", ""],
            &rows.map(|(what, value)| vec![what.to_owned(), value]),
        );
    }

    fn training(&self, text: &mut String) {
        let (run, plan) = (self.run, &self.run.plan);
        let best = run.best.map_or("none yet".to_owned(), |(fitness, epoch)| {
            format!("{fitness:.4} in epoch {epoch}")
        });
        let rows = [
            ("epochs", format!("{} of {}", run.epochs_done, plan.epochs)),
            ("best fitness on val", best),
            ("batch", plan.batch.to_string()),
            ("seed", plan.seed.to_string()),
        ];
        line(text, "\n## Training\n");
        table(
            text,
            &["", ""],
            &rows.map(|(what, value)| vec![what.to_owned(), value]),
        );
        let plan = serde_json::to_string_pretty(plan).unwrap_or_default();
        line(text, "\nThe whole plan, as the checkpoint has it:\n");
        line(text, &format!("```json\n{plan}\n```"));
    }

    fn pictures(&self, text: &mut String) {
        line(text, "\n## Data\n");
        line(
            text,
            &format!(
                "Judged on the {} split of {} (fingerprint {}).\n",
                self.split,
                plain(&self.data.name),
                self.data_fingerprint
            ),
        );
        let said = |text: &Option<String>| text.as_deref().map_or("not said".to_owned(), plain);
        let rows: Vec<Vec<String>> = self
            .data
            .origins
            .iter()
            .map(|origin| {
                let mut row = vec![plain(&origin.name)];
                row.extend(origin.pictures.map(|n| n.to_string()));
                row.extend([said(&origin.licence), said(&origin.citation)]);
                row
            })
            .collect();
        let heading = ["set", "train", "val", "test", "licence", "citation"];
        table(text, &heading, &rows);
        line(text, "\nPictures as read. In use here, cells in truth:\n");
        table(text, &["", "train", "val", "test"], &self.counts());
        if !self.data.report.dropped.is_empty() {
            line(text, "");
        }
        for (reason, n) in &self.data.report.dropped {
            line(text, &format!("- left out: {n} x {}", plain(reason)));
        }
    }

    /// Pictures and cells of each class in each split.
    fn counts(&self) -> Vec<Vec<String>> {
        let data = self.data;
        let row = |name: &str, count: &dyn Fn(Split) -> usize| {
            let mut row = vec![plain(name)];
            row.extend(Split::ALL.map(|split| count(split).to_string()));
            row
        };
        let cells = |split, class| {
            let cells = data.split(split).flat_map(|sample| &sample.cells);
            cells.filter(|cell| cell.class == class).count()
        };
        let mut rows = vec![row("pictures", &|split| data.split(split).count())];
        for (class, name) in data.classes.iter() {
            rows.push(row(name, &|split| cells(split, Some(class))));
        }
        rows.push(row("class not said", &|split| cells(split, None)));
        rows
    }

    fn limits(&self, text: &mut String) {
        line(text, "\n## Limits\n");
        line(
            text,
            "- For research use only, not for diagnosis: no clinical validation was made.",
        );
        if self.split != Split::Test {
            let split = self.split;
            line(
                text,
                &format!(
                    "- These are figures of the {split} split, which the training saw or was chosen by: expect less on unseen slides."
                ),
            );
        }
        let classes = self.report.classes.iter();
        let few = classes.filter(|row| (1..FEW_CELLS).contains(&row.truths));
        let few: Vec<String> = few
            .map(|row| format!("{} ({})", plain(&row.class), row.truths))
            .collect();
        if !few.is_empty() {
            let few = few.join(", ");
            line(
                text,
                &format!(
                    "- Classes with fewer than {FEW_CELLS} cells in this split, whose figures say little: {few}."
                ),
            );
        }
        let absent = self.report.classes.iter().filter(|row| row.truths == 0);
        let absent: Vec<String> = absent.map(|row| plain(&row.class)).collect();
        if !absent.is_empty() {
            let absent = absent.join(", ");
            line(
                text,
                &format!("- Classes without a cell in this split, not tested: {absent}."),
            );
        }
        self.domain_limits(text);
        if let Some(error) = self.report.reliability.expected_error {
            line(
                text,
                &format!(
                    "- A score is not a probability: it is off by {error:.3} in the mean (expected calibration error, 15 bins)."
                ),
            );
        }
        let lost = self.report.losses.candidates;
        if lost > 0 {
            line(
                text,
                &format!(
                    "- {lost} boxes fell out for want of room before suppression; average precision may be too low."
                ),
            );
        }
        line(
            text,
            "- Intervals cover the error of counting only, not other stains, microscopes or patients.",
        );
    }

    fn domain_limits(&self, text: &mut String) {
        let tested = |name: &&str| self.domains.iter().any(|(tested, _)| tested == name);
        let named = self.data.domains();
        let untested: Vec<String> = named
            .iter()
            .filter(|name| !tested(name))
            .map(|name| plain(name))
            .collect();
        if named.is_empty() {
            line(
                text,
                "- The data names no domains: nothing is known of single microscopes, cameras or stains.",
            );
        } else if !untested.is_empty() {
            let untested = untested.join(", ");
            line(
                text,
                &format!("- Domains without a picture in this split, not tested: {untested}."),
            );
        }
    }
}

/// `YOLOv5n, silu, conv6 stem, anchor head, dense attributes`.
fn network(run: &RunState) -> String {
    let architecture = &run.plan.architecture;
    let (depth, width) = (architecture.depth, architecture.width);
    let size = architecture.size().map_or_else(
        || format!("YOLOv5, depth x {depth}, width x {width}"),
        |letter| format!("YOLOv5{letter}"),
    );
    format!(
        "{size}, {}, {} stem, {} head, {} attributes",
        json_word(&architecture.activation),
        json_word(&architecture.stem),
        json_word(&architecture.detection),
        json_word(&architecture.attributes)
    )
}

/// The word that stands in a checkpoint for a choice.
fn json_word(choice: &impl serde::Serialize) -> String {
    match serde_json::to_value(choice) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(plain).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// Text of others as text: no table, tag, heading or new line comes of it.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '|' | '<' | '>' | '`' | '*' | '_' | '[' | ']' | '\\' | '#' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn line(text: &mut String, content: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{content}");
}

/// A table of cells that are Markdown already; the first column to the left, the others to the right.
fn table(text: &mut String, heading: &[&str], rows: &[Vec<String>]) {
    let mut row = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<&str> = cells.collect();
        line(text, &format!("| {} |", cells.join(" | ")));
    };
    row(&mut heading.iter().copied());
    let numbers = if heading.iter().all(|h| h.is_empty()) {
        "---"
    } else {
        "--:"
    };
    let rule = (0..heading.len()).map(|column| if column == 0 { "---" } else { numbers });
    row(&mut rule.into_iter());
    for cells in rows {
        row(&mut cells.iter().map(String::as_str));
    }
}
