//! `leuko-host data`: look at data sets, bring them into another form.

mod check;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};

use super::say;
use crate::dataset::{
    DataError, Dataset, Format, GroupRule, Mode, OpenOptions, PhantomLook, PhantomPlan,
    PhantomSchema, Placement, SplitPlan, Stats, WriteReport, cell_sheet, draw_phantoms, join, open,
    resplit, write,
};
use crate::exit::Usage;
use crate::plot::write_splits;

/// What to do with data.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Read everything and say what is wrong; exit code 3 when something is.
    Check {
        #[command(flatten)]
        input: Input,
        /// Decode every picture to its last pixel, and look for pictures that two splits share.
        #[arg(long)]
        pixels: bool,
        /// One JSON object on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Count classes, attributes and box sizes of each split.
    Stats {
        #[command(flatten)]
        input: Input,
        /// One JSON object on stdout.
        #[arg(long)]
        json: bool,
        /// Folder for classes.png and cells.png.
        #[arg(long, value_name = "DIR", default_value = "runs/stats")]
        out: PathBuf,
    },
    /// Write the set in another format.
    Convert {
        #[command(flatten)]
        input: Input,
        #[command(flatten)]
        output: Output,
    },
    /// Split anew: groups and duplicate pictures stay on one side.
    Split {
        #[command(flatten)]
        input: Input,
        #[command(flatten)]
        output: Output,
        /// Proportions of train, val and test.
        #[arg(long, value_name = "A,B,C", value_delimiter = ',', default_values_t = [0.7, 0.1, 0.2])]
        ratios: Vec<f32>,
        /// Another seed, another split.
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Draw a data set of phantom fields with exact truth.
    Phantom(PhantomArgs),
}

/// A data set to read.
#[derive(Debug, Args)]
pub struct Input {
    /// Data YAMLs, COCO JSONs, or folders (Pascal VOC, WBCAtt, COCO, images/ and labels/); several
    /// are joined, the first decides classes and attributes.
    #[arg(value_name = "DATA", required = true)]
    paths: Vec<PathBuf>,
    /// Leave out and count what is wrong instead of refusing it.
    #[arg(long)]
    lenient: bool,
    /// Boxes found by a detector (detections.jsonl) for pictures that have none (WBCAtt).
    #[arg(long, value_name = "FILE")]
    boxes: Option<PathBuf>,
    /// Classes whose boxes are left out; may be given several times.
    #[arg(long, value_name = "NAME")]
    ignore_class: Vec<String>,
    /// What tells which pictures belong together, where the set does not say.
    #[arg(long, value_enum)]
    group_by: Option<GroupBy>,
}

/// What to write.
#[derive(Debug, Args)]
pub struct Output {
    /// A new or empty folder.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Label files with a data YAML, or COCO JSON.
    #[arg(long, value_enum, default_value_t = To::Yolo)]
    to: To,
    /// Link the pictures, copy them, or leave them where they are.
    #[arg(long, value_enum, default_value_t = Images::Link)]
    images: Images,
}

/// Drawn fields.
#[derive(Debug, Args)]
pub struct PhantomArgs {
    #[command(flatten)]
    output: PhantomOutput,
    /// Fields of train, val and test.
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', default_values_t = [80, 10, 10])]
    fields: Vec<usize>,
    /// Seed of the first field.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What the fields look like.
    #[arg(long, value_enum, default_value_t = Look::Randomised)]
    look: Look,
    /// Whose classes and attributes the truth is told in.
    #[arg(long, value_enum, default_value_t = Schema::Wbcatt)]
    schema: Schema,
}

/// Where drawn fields go.
#[derive(Debug, Args)]
pub struct PhantomOutput {
    /// A new or empty folder.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Label files with a data YAML, or COCO JSON.
    #[arg(long, value_enum, default_value_t = To::Yolo)]
    to: To,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum To {
    Yolo,
    Coco,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Images {
    Link,
    Copy,
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GroupBy {
    /// Every picture by itself.
    Picture,
    /// The part of the file name before the first `_` (LeukemiaAttri: the patient).
    Prefix,
    /// The folder.
    Folder,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Look {
    Demo,
    Wide,
    Analyser,
    Randomised,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Schema {
    Leukemia,
    Wbcatt,
}

impl Input {
    fn group(&self) -> Option<GroupRule> {
        self.group_by.map(|group| match group {
            GroupBy::Picture => GroupRule::Picture,
            GroupBy::Prefix => GroupRule::Prefix,
            GroupBy::Folder => GroupRule::Folder,
        })
    }

    fn mode(&self) -> Mode {
        if self.lenient {
            Mode::Lenient
        } else {
            Mode::Strict
        }
    }

    /// Opens the set; what was left out is said on stderr.
    fn open(&self) -> Result<Dataset, DataError> {
        let options = OpenOptions {
            mode: self.mode(),
            boxes: self.boxes.clone(),
            group: self.group().unwrap_or_default(),
            ignore_classes: self.ignore_class.clone(),
            ..OpenOptions::default()
        };
        let parts = self.paths.iter().map(|path| open(path, &options));
        let mut parts = parts.collect::<Result<Vec<_>, _>>()?;
        let data = match parts.len() {
            1 => parts.remove(0),
            _ => join(parts, None, None, &self.ignore_class)?,
        };
        eprintln!("{}: {}", data.name, data.report);
        Ok(data)
    }
}

impl To {
    fn format(self) -> Format {
        match self {
            Self::Yolo => Format::Yolo,
            Self::Coco => Format::Coco,
        }
    }
}

impl Output {
    fn write(&self, data: &Dataset) -> Result<(), DataError> {
        let placement = match self.images {
            Images::Link => Placement::Link,
            Images::Copy => Placement::Copy,
            Images::None => Placement::None,
        };
        let report = write(data, &self.out, self.to.format(), placement)?;
        say_written(&self.out, &report);
        Ok(())
    }
}

fn say_written(out: &Path, report: &WriteReport) {
    let [train, val, test] = report.pictures;
    eprintln!(
        "{}: {train} train, {val} val, {test} test pictures, {} cells",
        out.display(),
        report.cells
    );
    if report.renamed > 0 {
        eprintln!(
            "  {} pictures got another name, because two had the same",
            report.renamed
        );
    }
    if report.sparse_lost > 0 {
        eprintln!(
            "  {} pictures of a sparse set have no cell: label files cannot say which part was looked at",
            report.sparse_lost
        );
    }
}

/// Runs the command.
///
/// # Errors
/// A [`DataError`] somewhere in the chain when the data is at fault, [`Usage`] when an argument is.
pub fn run(command: DataCommand) -> anyhow::Result<()> {
    match command {
        DataCommand::Check {
            input,
            pixels,
            json,
        } => check::check(&input, pixels, json),
        DataCommand::Stats { input, json, out } => stats(&input, json, &out),
        DataCommand::Convert { input, output } => Ok(output.write(&input.open()?)?),
        DataCommand::Split {
            input,
            output,
            ratios,
            seed,
        } => split(&input, &output, &ratios, seed),
        DataCommand::Phantom(args) => phantom(&args),
    }
}

fn stats(input: &Input, as_json: bool, out: &Path) -> anyhow::Result<()> {
    let data = input.open()?;
    let stats = Stats::new(&data);
    if as_json {
        say(&serde_json::to_string(&stats)?)?;
    } else {
        say(&stats)?;
    }
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    write_splits(&data, &out.join("classes.png"))?;
    cell_sheet(&data, 30, &out.join("cells.png"))?;
    eprintln!("wrote classes.png and cells.png to {}", out.display());
    Ok(())
}

fn split(input: &Input, output: &Output, ratios: &[f32], seed: u64) -> anyhow::Result<()> {
    let ratios = <[f32; 3]>::try_from(ratios).map_err(|_| {
        Usage(format!(
            "--ratios: expected three numbers, found {}",
            ratios.len()
        ))
    })?;
    let plan = SplitPlan {
        ratios,
        seed,
        group: input.group(),
    };
    plan.check()
        .map_err(|detail| Usage(format!("--ratios: {detail}")))?;
    let mut data = input.open()?;
    let report = resplit(&mut data, &plan)?;
    eprintln!(
        "{} groups; {} pairs of equal or nearly equal pictures kept together",
        report.groups, report.joined_by_duplicates
    );
    Ok(output.write(&data)?)
}

fn phantom(args: &PhantomArgs) -> anyhow::Result<()> {
    let fields = <[usize; 3]>::try_from(args.fields.as_slice()).map_err(|_| {
        Usage(format!(
            "--fields: expected three numbers, found {}",
            args.fields.len()
        ))
    })?;
    if fields == [0; 3] {
        return Err(Usage("--fields: expected a field to draw, found 0,0,0".to_owned()).into());
    }
    let plan = PhantomPlan {
        fields,
        seed: args.seed,
        look: match args.look {
            Look::Demo => PhantomLook::Demo,
            Look::Wide => PhantomLook::Wide,
            Look::Analyser => PhantomLook::Analyser,
            Look::Randomised => PhantomLook::Randomised,
        },
        schema: match args.schema {
            Schema::Leukemia => PhantomSchema::Leukemia,
            Schema::Wbcatt => PhantomSchema::Wbcatt,
        },
    };
    let out = &args.output.out;
    // Without a trailing slash: the fields are drawn beside the folder, not in it.
    let mut drawn = out.components().collect::<PathBuf>().into_os_string();
    drawn.push(".drawn");
    let drawn = PathBuf::from(drawn);
    anyhow::ensure!(
        !drawn.exists(),
        "{}: expected nothing there, the fields are drawn in it and it is removed",
        drawn.display()
    );
    let written = draw_phantoms(&plan, &drawn).and_then(|data| {
        eprintln!("{}", data.report);
        write(&data, out, args.output.to.format(), Placement::Copy)
    });
    if drawn.exists() {
        std::fs::remove_dir_all(&drawn).with_context(|| drawn.display().to_string())?;
    }
    let report = written?;
    say_written(out, &report);
    Ok(())
}
