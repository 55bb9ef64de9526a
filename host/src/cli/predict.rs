//! `leuko-host predict`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use shared::annotate::annotate;
use shared::pixels::RgbViewMut;

use super::data_args::{DataArgs, parse_split};
use super::say;
use super::thresholds::ThresholdArgs;
use crate::checkpoint::{Checkpoint, RunState, sha256_of};
use crate::dataset::{Sample, Split, pictures_of};
use crate::detections::{PictureFindings, write_detections};
use crate::device;
use crate::eval::{EvalError, Evaluator, Pipeline, Symmetry};
use crate::outputs::write_whole;
use crate::picture::Picture;

/// Finds the cells of a folder's or a data set's pictures: `detections.jsonl` and annotated pictures.
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// A checkpoint of `train`.
    #[arg(long)]
    weights: PathBuf,
    /// A folder of pictures, instead of a data set.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["data", "split"])]
    source: Option<PathBuf>,
    #[command(flatten)]
    data: DataArgs,
    /// train, val or test; all of them unless given.
    #[arg(long, value_parser = parse_split)]
    split: Option<Split>,
    #[command(flatten)]
    thresholds: ThresholdArgs,
    /// Look at every picture as it is, mirrored and turned both ways, and merge what is found.
    #[arg(long)]
    augment: bool,
    /// Folder for the results.
    #[arg(long, default_value = "runs/predict")]
    out: PathBuf,
    /// Most pictures to draw; the findings are written of all.
    #[arg(long, default_value_t = 50)]
    annotate_max: usize,
    /// auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: String,
}

impl PredictArgs {
    fn pictures(&self, run: &RunState) -> anyhow::Result<Vec<PathBuf>> {
        if let Some(folder) = &self.source {
            let (pictures, report) = pictures_of(folder)?;
            eprintln!("{report}");
            return Ok(pictures);
        }
        let data = self.data.load(Some((&run.classes, &run.schema)))?;
        let wanted = |sample: &Sample| self.split.is_none_or(|split| sample.split == split);
        let samples = data.samples.into_iter().filter(wanted);
        Ok(samples.map(|sample| sample.image).collect())
    }
}

/// Runs the command.
pub fn run(args: &PredictArgs) -> anyhow::Result<()> {
    let device = device::parse(&args.device)?;
    let thresholds = args.thresholds.thresholds()?;
    let checkpoint = Checkpoint::load(&args.weights)?;
    let sha256 = sha256_of(&args.weights)?;
    let run = &checkpoint.run;
    let (_store, network) = checkpoint.network(device)?;
    let head = run.head();
    let evaluator = Evaluator {
        network: &network,
        head: &head,
        fit: run.plan.fit,
        canvas: run.plan.canvas,
        device,
    };
    let annotated = args.out.join("annotated");
    fs::create_dir_all(&annotated).with_context(|| format!("{}", annotated.display()))?;
    let views: &[Symmetry] = if args.augment {
        &Symmetry::AUGMENT
    } else {
        &[Symmetry::IDENTITY]
    };
    let pipeline = Pipeline {
        views,
        ..Pipeline::of(&evaluator, thresholds)
    };
    let pictures = args.pictures(run)?;
    let of = pictures.len();
    let paths: Vec<&Path> = pictures.iter().map(PathBuf::as_path).collect();
    let mut all = Vec::new();
    let speed = pipeline.run(&paths, &mut |_, _| (), |index, found| {
        let found = match found {
            Ok(found) => found,
            // Who names a data set means all of it; a folder may hold anything.
            Err(EvalError::Picture(error)) if args.source.is_some() => {
                eprintln!("skipped: {error}");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let path = paths[index];
        if all.len() < args.annotate_max {
            // Numbered: pictures of several sets may have the same name.
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let drawn = annotated.join(format!("{:05}-{name}.png", all.len()));
            draw(Picture::open(path)?, &found.detections, run, &drawn)?;
        }
        all.push(PictureFindings {
            image: path.to_string_lossy().into_owned(),
            size: found.size,
            model_sha256: sha256.clone(),
            thresholds,
            dropped: found.dropped,
            detections: found.detections,
        });
        anyhow::Ok(())
    })?;
    eprintln!("{speed}");
    let path = args.out.join("detections.jsonl");
    write_whole(&path, |file| {
        write_detections(file, &all, &run.classes, &run.schema)
    })?;
    let cells: usize = all.iter().map(|f| f.detections.len()).sum();
    let pictures = all.len();
    Ok(say(&format!(
        "{pictures} of {of} pictures, {cells} cells: {}",
        path.display()
    ))?)
}

fn draw(
    mut picture: Picture,
    detections: &[shared::cell::Detection],
    run: &RunState,
    path: &Path,
) -> anyhow::Result<()> {
    let mut view = RgbViewMut::new(&mut picture.bytes, picture.size)?;
    annotate(&mut view, detections, &run.classes, &run.schema);
    let (width, height) = (picture.size.width, picture.size.height);
    image::save_buffer(path, &picture.bytes, width, height, image::ColorType::Rgb8)
        .with_context(|| format!("{}", path.display()))
}
