//! A checkpoint on a split: what it found, what that is worth, and its card.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use shared::head::Thresholds;
use tch::Device;

use super::find_in_split;
use crate::checkpoint::{Checkpoint, RunState, sha256_of};
use crate::dataset::{Dataset, Sample, Split, fingerprint_of_split};
use crate::detections::PictureFindings;
use crate::eval::{BATCH, Evaluator, Pipeline, Speed, Symmetry, default_workers};
use crate::outputs::Card;
use crate::plot::{PlotError, write_validation_pictures};
use crate::score::{ScoreOptions, ScoreReport, score_samples};

/// Stands for the domain of pictures that the data file names none for.
const NO_DOMAIN: &str = "(no domain named)";

/// How a checkpoint is judged.
#[derive(Clone, Copy, Debug)]
pub struct Judging {
    /// What is a detection.
    pub thresholds: Thresholds,
    /// What is a cell, and how cells are matched.
    pub options: ScoreOptions,
    /// Canvases that go through the network at once.
    pub batch: usize,
    /// Threads that decode pictures.
    pub workers: usize,
    /// How each picture is looked at.
    pub views: &'static [Symmetry],
    /// Where the network lies.
    pub device: Device,
}

impl Judging {
    /// [`Judging::on`] the CPU.
    pub fn on_cpu() -> Self {
        Self::on(Device::Cpu)
    }

    /// As training judges an epoch: every picture as it is, thresholds of average precision.
    pub fn on(device: Device) -> Self {
        Self {
            thresholds: Thresholds::EVALUATION,
            options: ScoreOptions::default(),
            batch: BATCH,
            workers: default_workers(),
            views: &[Symmetry::IDENTITY],
            device,
        }
    }
}

/// A checkpoint file and what was found with it on a split.
#[derive(Debug)]
pub struct Judged<'a> {
    /// Of the checkpoint.
    pub run: RunState,
    /// Name of the folder that the checkpoint lies in.
    pub name: String,
    /// Hash of the checkpoint's file.
    pub sha256: String,
    /// The data, all of it.
    pub data: &'a Dataset,
    /// The part that was judged.
    pub split: Split,
    /// Its pictures.
    pub samples: Vec<&'a Sample>,
    /// What was found on each of them.
    pub findings: Vec<PictureFindings>,
    /// What that is worth.
    pub report: ScoreReport,
    /// The same of each domain of the data that has pictures in the split, and of the pictures in none
    /// where there are domains.
    pub domains: Vec<(String, ScoreReport)>,
    /// How it was judged.
    pub how: Judging,
    /// How fast the pictures went through.
    pub speed: Speed,
    /// Time that the metrics took.
    pub metrics: Duration,
}

/// Looks at a split of `data`, which must have the tables of the checkpoint `run` (read from the file
/// `weights`), and scores it.
///
/// # Errors
/// Weights that do not fill the network, a picture that cannot be decoded, heads that are not finite,
/// or truth that cannot be scored.
pub fn judge<'a>(
    weights: &Path,
    checkpoint: &Checkpoint,
    data: &'a Dataset,
    split: Split,
    how: &Judging,
) -> anyhow::Result<Judged<'a>> {
    let run = &checkpoint.run;
    let sha256 = sha256_of(weights)?;
    let (_store, network) = checkpoint.network(how.device)?;
    let head = run.head();
    let evaluator = Evaluator {
        network: &network,
        head: &head,
        fit: run.plan.fit,
        canvas: run.plan.canvas,
        device: how.device,
    };
    let pipeline = Pipeline {
        batch: how.batch,
        workers: how.workers,
        views: how.views,
        ..Pipeline::of(&evaluator, how.thresholds)
    };
    let samples: Vec<&Sample> = data.split(split).collect();
    let options = &how.options;
    let (findings, speed) = find_in_split(&pipeline, &samples, options, &sha256, &mut |_, _| ())?;
    let started = Instant::now();
    let score = |samples: &[&Sample], findings: &[PictureFindings]| {
        score_samples(samples, findings, &data.classes, &data.schema, options)
            .with_context(|| format!("{}, split {split}", data.name))
    };
    let report = score(&samples, &findings)?;
    let mut domains = Vec::new();
    let named = data.domains();
    let unnamed = (!named.is_empty()).then_some(None);
    for domain in named.into_iter().map(Some).chain(unnamed) {
        let pairs = samples.iter().zip(&findings);
        let pairs = pairs.filter(|(sample, _)| data.domain_of(sample) == domain);
        let (samples, findings): (Vec<&Sample>, Vec<PictureFindings>) = pairs
            .map(|(&sample, found)| (sample, found.clone()))
            .unzip();
        if !samples.is_empty() {
            let name = domain.unwrap_or(NO_DOMAIN).to_owned();
            domains.push((name, score(&samples, &findings)?));
        }
    }
    Ok(Judged {
        run: run.clone(),
        name: name_of(weights),
        sha256,
        data,
        split,
        samples,
        findings,
        report,
        domains,
        how: *how,
        speed,
        metrics: started.elapsed(),
    })
}

impl Judged<'_> {
    /// Draws curves, confusions, reliability, and truth beside prediction into the folder `out`.
    ///
    /// # Errors
    /// A picture that cannot be read any more, or what the disk says.
    pub fn write_pictures(&self, out: &Path) -> Result<Vec<PathBuf>, PlotError> {
        let (classes, schema) = (&self.data.classes, &self.data.schema);
        write_validation_pictures(
            out,
            &self.samples,
            &self.findings,
            &self.report,
            classes,
            schema,
        )
    }

    /// Writes `MODEL_CARD.md` into the folder `out`.
    ///
    /// # Errors
    /// A picture that cannot be read any more, or what the disk says.
    pub fn write_card(&self, out: &Path) -> anyhow::Result<()> {
        let card = Card {
            name: &self.name,
            run: &self.run,
            weights_sha256: &self.sha256,
            cost: self.run.cost(),
            data: self.data,
            data_fingerprint: &fingerprint_of_split(self.data, self.split)?,
            split: self.split,
            thresholds: self.how.thresholds,
            views: self.how.views.len(),
            report: &self.report,
            domains: &self.domains,
        };
        Ok(card.write(out)?)
    }
}

/// The folder that a checkpoint lies in, which is the run's name.
pub fn name_of(weights: &Path) -> String {
    let absolute = weights.canonicalize();
    let folder = absolute.as_deref().unwrap_or(weights).parent();
    let name = folder.and_then(Path::file_name);
    name.map_or_else(
        || "model".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}
