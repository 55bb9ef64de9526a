//! A training on the terminal: a bar where a person watches, a line an epoch elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use crate::train::{EpochRow, Progress};

/// A bar on a terminal, a line an epoch elsewhere.
pub(super) struct Bar {
    bar: ProgressBar,
    terminal: bool,
}

impl Bar {
    pub(super) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = if terminal {
            ProgressBar::new(0)
        } else {
            ProgressBar::hidden()
        };
        let template = "epoch {prefix} {bar:30} {pos}/{len} {eta}";
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, terminal }
    }

    pub(super) fn show(&self, progress: &Progress<'_>) {
        match progress {
            Progress::Batch { epoch, done, of } => {
                if *done == 1 {
                    self.bar.reset();
                    self.bar.set_length(*of as u64);
                    self.bar.set_prefix(epoch.to_string());
                }
                self.bar.set_position(*done as u64);
            }
            Progress::Anchors { check } => eprintln!("{check}"),
            Progress::Unfit { weights } => {
                eprintln!(
                    "weights that do not fit and start from nothing: {}",
                    weights.join(", ")
                );
            }
            Progress::LeftOut { epoch, regions } => {
                eprintln!(
                    "epoch {epoch}: {regions} cells did not teach the attributes, see --attr-regions"
                );
            }
            Progress::Epoch {
                row,
                epochs,
                is_best,
            } => {
                let line = line(row, *epochs, *is_best);
                if self.terminal {
                    self.bar.println(line)
                } else {
                    eprintln!("{line}")
                }
            }
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn line(row: &EpochRow, epochs: usize, is_best: bool) -> String {
    let [bbox, objectness, class, attribute] = row.losses;
    let mut line = format!(
        "epoch {}/{epochs}  box {bbox:.4} obj {objectness:.4} cls {class:.4} attr {attribute:.4}",
        row.epoch
    );
    if let Some(v) = &row.validation {
        let number = |v: Option<f64>| v.map_or("-".to_owned(), |v| format!("{v:.3}"));
        line += &format!(
            "  mAP50 {} mAP50-95 {} cell AP50 {} attr F1 {}",
            number(v.map50),
            number(v.map50_95),
            number(v.cell_ap50),
            number(v.attribute_f1)
        );
    }
    line + &format!(
        "  {:.1} images/s, {:.0} % waiting  {:.0} s{}",
        row.images_per_second,
        row.waiting * 100.0,
        row.seconds,
        if is_best { "  best" } else { "" }
    )
}
