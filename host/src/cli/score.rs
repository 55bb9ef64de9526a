//! `leuko-host score`: a file of findings against a data set.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use shared::class::ClassTable;

use super::data_args::{DataArgs, parse_split};
use super::say;
use crate::dataset::{Dataset, Sample, Split, join};
use crate::detections::{ForeignAttributes, class_names, read_detections};
use crate::score::{ScoreOptions, ScoreReport, score_samples};

/// The class name that says no more than "white cell".
const WHITE_CELL: &str = "WBC";

/// Scores `detections.jsonl`, whoever wrote it.
#[derive(Debug, Args)]
pub struct ScoreArgs {
    /// What was found, one line a picture.
    #[arg(long)]
    detections: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// Part of the data set that is judged: train, val or test.
    #[arg(long, default_value = "test", value_parser = parse_split)]
    split: Split,
    /// Least score of a finding that counts as a cell (average precision takes all).
    #[arg(long, default_value_t = ScoreOptions::default().score_min)]
    score: f32,
    /// Least overlap of a finding with its cell.
    #[arg(long, default_value_t = ScoreOptions::default().iou_min)]
    iou: f32,
    /// Adds the attribute score by the AttriDet reference's matching, for comparison.
    #[arg(long)]
    reference_matching: bool,
    /// Prints JSON instead of tables.
    #[arg(long)]
    json: bool,
}

/// Reads, scores and prints.
///
/// # Errors
/// What is wrong with the findings or the data.
pub fn run(args: &ScoreArgs) -> anyhow::Result<()> {
    let mut data = args.data.load(None)?;
    if let Some(classes) = classes_of_model(&args.detections, &data.classes)? {
        let schema = data.schema.clone();
        data = join(vec![data], Some(&classes), Some(&schema), &[])?;
    }
    let report = score_file(args, &data)?;
    let text = if args.json {
        serde_json::to_string_pretty(&report)?
    } else {
        report.to_string()
    };
    say(&text.trim_end_matches('\n')).context("standard output")
}

/// Scores the file against one part of `data`.
fn score_file(args: &ScoreArgs, data: &Dataset) -> anyhow::Result<ScoreReport> {
    let file = read_detections(
        &args.detections,
        &data.classes,
        &data.schema,
        ForeignAttributes::Forget,
    )?;
    if file.forgotten_attributes > 0 {
        let (n, name) = (file.forgotten_attributes, &data.name);
        eprintln!("score: {n} attribute values left out that {name} does not label");
    }
    let options = ScoreOptions {
        score_min: args.score,
        iou_min: args.iou,
        reference_matching: args.reference_matching,
    };
    let samples: Vec<&Sample> = data.split(args.split).collect();
    score_samples(
        &samples,
        &file.pictures,
        &data.classes,
        &data.schema,
        &options,
    )
    .with_context(|| format!("{}, split {}", data.name, args.split))
}

/// The classes to judge under when the model has some that the data set has not: the model's, then
/// the data set's own that it never found, without `WBC`, which says no class. `None` when the data
/// set's table will do.
fn classes_of_model(detections: &Path, data: &ClassTable) -> anyhow::Result<Option<ClassTable>> {
    let found = class_names(detections)?;
    if found.iter().all(|name| data.find(name).is_some()) {
        return Ok(None);
    }
    let others = data.iter().map(|(_, name)| name);
    let others = others.filter(|name| *name != WHITE_CELL && !found.iter().any(|f| f == name));
    let classes = ClassTable::new(found.iter().map(String::as_str).chain(others))
        .with_context(|| format!("classes of {} and the data set", detections.display()))?;
    Ok(Some(classes))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::BufWriter;

    use shared::attribute::NO_FINDINGS;
    use shared::cell::Detection;
    use shared::class::ClassId;
    use shared::detect::Dropped;
    use shared::head::Thresholds;
    use shared::score::Score;

    use super::*;
    use crate::dataset::real_data::wbc_data;
    use crate::dataset::{OpenOptions, open};
    use crate::detections::{PictureFindings, write_detections};

    /// The truth of a sample as if a model had found it, all as `class`.
    fn as_found(sample: &Sample, class: ClassId) -> PictureFindings {
        let detections = sample.cells.iter().map(|cell| Detection {
            bbox: cell.bbox,
            class,
            score: Score::ONE,
            attributes: NO_FINDINGS,
        });
        PictureFindings {
            image: sample
                .image
                .file_name()
                .unwrap()
                .to_string_lossy()
                .into_owned(),
            size: sample.size,
            model_sha256: String::new(),
            thresholds: Thresholds::COUNTING,
            dropped: Dropped::default(),
            detections: detections.collect(),
        }
    }

    #[test]
    fn a_model_of_five_classes_is_judged_on_cells_of_unsaid_class() {
        let Some(folder) = wbc_data("bccd") else {
            return;
        };
        let bccd = open(&folder, &OpenOptions::default()).unwrap();
        let ignored = ["RBC", "Platelets"].map(str::to_owned);
        let white = join(vec![bccd.clone()], None, None, &ignored).unwrap();
        let model = ClassTable::new(["Neutrophil", "Monocyte"]).unwrap();
        let found: Vec<_> = white
            .split(Split::Test)
            .map(|s| as_found(s, ClassId(1)))
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("detections.jsonl");
        let file = BufWriter::new(File::create(&path).unwrap());
        write_detections(file, &found, &model, &white.schema).unwrap();

        let classes = classes_of_model(&path, &white.classes).unwrap().unwrap();
        assert_eq!(classes, ClassTable::new(["Monocyte"]).unwrap());
        let data = join(vec![bccd], Some(&classes), None, &ignored).unwrap();
        let args = ScoreArgs {
            detections: path,
            data: DataArgs {
                data: Vec::new(),
                boxes: None,
                ignore_class: Vec::new(),
                lenient: false,
            },
            split: Split::Test,
            score: 0.25,
            iou: 0.5,
            reference_matching: false,
            json: false,
        };
        let report = score_file(&args, &data).unwrap();
        let n: usize = data
            .split(Split::Test)
            .map(|sample| sample.cells.len())
            .sum();
        assert_eq!((report.pictures, report.missing.len()), (72, 0));
        assert_eq!(report.cell.truths as usize, n);
        assert_eq!(
            report.cell.coco.map(|ap| (ap.ap50, ap.ap50_95)),
            Some((1.0, 1.0))
        );
        assert_eq!(report.confusion.unsaid_found as usize, n);
        assert_eq!(
            report.classes[0].yolov5, None,
            "nobody said which are monocytes"
        );
        assert_eq!(report.counts.bias, Some(0.0));
    }

    #[test]
    fn the_data_s_own_table_is_kept_when_it_has_every_class_that_was_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.jsonl");
        File::create(&path).unwrap();
        let data = ClassTable::new(["WBC"]).unwrap();
        assert_eq!(classes_of_model(&path, &data).unwrap(), None);
    }
}
