//! `leuko-edge calibrate`: what is asked, what the source shows, what is kept.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use clap::{ArgGroup, Args, ValueEnum};
use serde::Serialize;
use shared::pixels::RgbView;

use super::CalibrateError;
use super::blank::BlankField;
use super::frames::Frames;
use super::keep::{Keeper, load, load_blank};
use super::measure::{Measured, measure};
use super::record::{Blank, Calibration, Content, Mark, Scale, ScaleBy, Squeeze};
use super::standing::Standing;
use crate::cli::StationChoice;
use crate::clock::{self, Clock, Moment};
use crate::commands::{config_of, print_json};
use crate::config::StationConfig;
use crate::exit::Failure;
use crate::source::SourceKind;
use crate::source::chosen::opener;
use field::gate::{GateLimits, Reason};
use field::grey::Reduced;
use field::map::Track;
use field::red_cells::RedCells;
use field::{FieldWatch, WatchOptions};

/// Arguments of `calibrate`.
#[derive(Args, Clone, Debug)]
#[command(group(ArgGroup::new("what").required(true)
    .args(["blank", "scale", "um_per_pixel", "micrometer", "show"])))]
pub struct Calibrate {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub station: StationChoice,
    /// Measure a blank field: show a place of the slide without cells, in the light you count by
    #[arg(long)]
    pub blank: bool,
    /// Measure micrometres a pixel and the squeeze: show fields of even red cells, one after another
    #[arg(long, value_enum, value_name = "BY")]
    pub scale: Option<ScaleFrom>,
    /// Say micrometres a pixel, above 0 to 10, downwards
    #[arg(long, value_name = "UM", value_parser = scale_of)]
    pub um_per_pixel: Option<f32>,
    /// Say how many pixels, measured downwards, so many micrometres of a stage micrometer take
    #[arg(long, num_args = 2, value_names = ["PIXELS", "UM"], value_parser = length_of)]
    pub micrometer: Option<Vec<f32>>,
    /// With a scale that is said: width of a circle's picture over its height, 0.2 to 5
    #[arg(long, value_name = "RATIO", value_parser = squeeze_of, conflicts_with_all = ["blank", "scale", "show"])]
    pub squeeze: Option<f32>,
    /// Print the calibration that counts, measuring nothing
    #[arg(long)]
    pub show: bool,
    /// Frames of the blank field, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub frames: u32,
    /// Red cells that are enough, 30 to 4000
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(30..=4000))]
    pub cells: u32,
    /// Seconds after which no more red cells are looked for, 1 to 3600
    #[arg(long, value_name = "S", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub within_s: u32,
    /// Leave out what was measured before; also where that cannot be read
    #[arg(long, conflicts_with = "show")]
    pub anew: bool,
    /// Print the calibration as JSON
    #[arg(long)]
    pub json: bool,
}

/// Rulers that are measured in frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScaleFrom {
    /// Red cells, of calibration.red_cell_um of the configuration
    RedCells,
}

/// A number of the command line in its range.
fn number(text: &str, fits: impl Fn(f32) -> bool, range: &str) -> Result<f32, String> {
    let found = text.parse().ok().filter(|&it| fits(it));
    found.ok_or_else(|| format!("expected {range}"))
}

fn scale_of(text: &str) -> Result<f32, String> {
    number(text, |it| it > 0.0 && it <= 10.0, "above 0 to 10")
}

fn squeeze_of(text: &str) -> Result<f32, String> {
    number(text, |it| (0.2..=5.0).contains(&it), "0.2 to 5")
}

fn length_of(text: &str) -> Result<f32, String> {
    number(text, |it| it > 0.0 && it <= 1e6, "above 0 to 1000000")
}

/// A calibration as it is printed.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    calibration: &'a Content,
    banner: Option<String>,
}

/// Does what is asked.
///
/// # Errors
/// Whatever kept it from being done; nothing is changed then.
pub fn run(args: &Calibrate, print: &mut dyn Write) -> Result<(), Failure> {
    let config = config_of(args.station.config.as_deref())?;
    let calibration = match args.show {
        true => shown(&config.store.root)?,
        false => calibrate(args, &config)?,
    };
    let now = clock::wall_of(SystemTime::now());
    let standing = calibration.age(now, config.calibration.old_after_days);
    print_one(&calibration, &standing, args.json, print)?;
    if config.calibration.um_per_pixel.is_some() || config.calibration.squeeze.is_some() {
        eprintln!(
            "the configuration has um_per_pixel or squeeze of its own, which count before the calibration's"
        );
    }
    Ok(())
}

fn print_one(
    calibration: &Calibration,
    standing: &Standing,
    as_json: bool,
    print: &mut dyn Write,
) -> Result<(), Failure> {
    let banner = standing.banner();
    if as_json {
        let shown = Shown {
            id: calibration.id(),
            calibration: calibration.content(),
            banner,
        };
        return print_json(print, &shown);
    }
    writeln!(print, "{calibration}")?;
    if let Some(banner) = banner {
        writeln!(print, "{banner}")?;
    }
    Ok(())
}

fn shown(root: &Path) -> Result<Calibration, CalibrateError> {
    let found = load(root)?.ok_or_else(|| CalibrateError::NotThere {
        root: root.display().to_string(),
    })?;
    load_blank(root, &found)?;
    Ok(found)
}

/// Measures, then keeps.
fn calibrate(args: &Calibrate, config: &StationConfig) -> Result<Calibration, CalibrateError> {
    let root = &config.store.root;
    let keeper = Keeper::of(root)?;
    let (before, is_unreadable) = match load(root) {
        Ok(before) => (before.filter(|_| !args.anew), false),
        Err(error) if args.anew => {
            eprintln!("{error}");
            (None, true)
        }
        Err(error) => {
            eprintln!("--anew puts aside a calibration that cannot be read, and begins another");
            return Err(error.into());
        }
    };
    let started = clock::begin(root)?;
    if let Some(mended) = started.mended {
        eprintln!("{mended}");
    }
    let clock = Clock::new(started.boot);
    let source = opener(&config.source, clock.start())?(None)?;
    let patience = Duration::from_secs_f32(config.source.life.start_within_s);
    let mut frames = Frames::new(source, patience)?;
    eprintln!("{}, frames of {}", frames.identity().name, frames.size());
    let found = look(args, config, &mut frames)?;
    say_lost(&frames);
    let made = clock.moment();
    let mark = Mark::of(frames.identity(), frames.size());
    let mut content = begin(before.as_ref(), mark, made);
    put(&mut content, found, &keeper, made)?;
    if is_unreadable && let Some(aside) = keeper.put_aside()? {
        eprintln!("put aside as {}", aside.display());
    }
    Ok(keeper.keep(content)?)
}

/// What was found by one command.
enum Found {
    Blank(super::blank::BlankMeasure),
    RedCells(Measured),
    Said {
        um_per_px: f32,
        by: ScaleBy,
        squeeze: Option<f32>,
    },
}

fn look(
    args: &Calibrate,
    config: &StationConfig,
    frames: &mut Frames,
) -> Result<Found, CalibrateError> {
    if args.blank {
        let mut blank = BlankField::new(frames.size())?;
        for _ in 0..args.frames {
            match frames.next()? {
                Some((view, _)) => blank.add(view)?,
                None => break,
            }
        }
        return Ok(Found::Blank(blank.measure()?));
    }
    let squeeze = args.squeeze;
    if let Some(um_per_px) = args.um_per_pixel {
        let by = ScaleBy::Given;
        return Ok(Found::Said {
            um_per_px,
            by,
            squeeze,
        });
    }
    if let Some(&[pixels, um]) = args.micrometer.as_deref() {
        let um_per_px = um / pixels;
        if um_per_px > 10.0 {
            return Err(super::measure::MeasureError::Micrometer { got: um_per_px }.into());
        }
        let by = ScaleBy::Micrometer { pixels, um };
        return Ok(Found::Said {
            um_per_px,
            by,
            squeeze,
        });
    }
    let cells = red_cells(args, &config.gate, frames)?;
    let measured = measure(&cells, config.calibration.red_cell_um)?;
    eprintln!(
        "limits of 95 %, of the measuring alone (with 3 % for the method): one person's red cells are some per \
         cent larger or smaller than another's"
    );
    Ok(Found::RedCells(measured))
}

/// Watches until there are enough red cells, the source is over or the time is.
fn red_cells(
    args: &Calibrate,
    gate: &GateLimits,
    frames: &mut Frames,
) -> Result<RedCells, CalibrateError> {
    let mut fields = Fields::new(frames, gate)?;
    let mut cells = RedCells::default();
    let (begin, within) = (Instant::now(), Duration::from_secs(args.within_s.into()));
    let (mut enough, mut number, mut round, mut so_far) = (false, 0, 0, 0);
    let mut why = "the time (--within-s) is over";
    while !enough && begin.elapsed() < within {
        let Some((view, compressed_bytes)) = frames.next()? else {
            why = "the source is over";
            break;
        };
        let Some(field) = fields.judge(view, compressed_bytes)? else {
            continue;
        };
        number += 1;
        round += cells.add(field);
        // Which of the round things are red cells is known once there are some.
        let found = cells.scale().map(|scale| scale.cells);
        so_far = found.unwrap_or(round);
        eprintln!("field {number}: {so_far} of {} red cells", args.cells);
        enough = found.is_ok_and(|cells| cells >= args.cells as usize);
    }
    if !enough {
        eprintln!("{so_far} of {} red cells: {why}", args.cells);
    }
    if let Some(why) = fields.why.filter(|_| number == 0) {
        eprintln!("no field was measured, the last because: {why}");
    }
    Ok(cells)
}

/// Which frames are measured: each place of the slide once, sharp and at rest.
struct Fields {
    /// Every picture of a folder is a place of its own.
    stills: Option<Reduced>,
    watch: FieldWatch,
    /// Why the last frame was not.
    why: Option<Reason>,
}

impl Fields {
    fn new(frames: &Frames, gate: &GateLimits) -> Result<Self, CalibrateError> {
        let size = frames.size();
        let stills = match frames.identity().kind {
            SourceKind::Folder => Some(Reduced::new(size)?),
            _ => None,
        };
        let watch = FieldWatch::new(WatchOptions {
            gate: *gate,
            ..WatchOptions::new(size)
        })?;
        let why = None;
        Ok(Self { stills, watch, why })
    }

    fn judge(
        &mut self,
        view: RgbView<'_>,
        compressed_bytes: Option<u32>,
    ) -> Result<Option<&Reduced>, CalibrateError> {
        if let Some(stills) = &mut self.stills {
            stills.fill(view)?;
            return Ok(Some(stills));
        }
        let seen = self.watch.see(view, compressed_bytes)?;
        if let Track::Lost { searched, of } = seen.track
            && searched >= of
        {
            // Unlike any place that was measured: it is a new one.
            self.watch.new_field();
        }
        // Colour, and cells on each other, are no matter to the size of those that lie alone.
        let matters = |reason: &&Reason| {
            !matches!(
                reason,
                Reason::WhiteBalance { .. } | Reason::TooDense { .. }
            )
        };
        self.why = seen.verdict.reasons.iter().find(matters).copied();
        match (self.why, seen.track.place()) {
            (None, Some(place)) => {
                self.watch.begin_count(place);
                Ok(Some(self.watch.reduced()))
            }
            _ => Ok(None),
        }
    }
}

fn begin(before: Option<&Calibration>, mark: Mark, made: Moment) -> Content {
    let Some(before) = before else {
        return Content::new(mark, made);
    };
    let content = before.content();
    match content.source.differs(&mark) {
        None => Content {
            scale: content.scale,
            squeeze: content.squeeze,
            blank: content.blank.clone(),
            ..Content::new(mark, made)
        },
        Some(mismatch) => {
            if let Standing::Mismatch {
                what,
                expected,
                found,
            } = mismatch
            {
                eprintln!(
                    "begins anew: {} is for {what} {expected}, this is {found}",
                    before.id()
                );
            }
            Content::new(mark, made)
        }
    }
}

fn put(
    content: &mut Content,
    found: Found,
    keeper: &Keeper,
    made: Moment,
) -> Result<(), CalibrateError> {
    match found {
        Found::Blank(blank) => {
            let (picture, sha256) = keeper.keep_picture(&blank.rgb, blank.size)?;
            content.blank = Some(Blank {
                frames: blank.frames,
                background: blank.background,
                gains: blank.gains,
                evenness: blank.evenness,
                picture,
                sha256,
                size: blank.size,
                made,
            });
        }
        Found::RedCells(measured) => {
            content.scale = Some(Scale {
                um_per_px: measured.um_per_px,
                by: ScaleBy::RedCells(measured.basis),
                made,
            });
            content.squeeze = Some(Squeeze {
                value: measured.squeeze,
                standard_error: Some(measured.squeeze_error),
                made,
            });
        }
        Found::Said {
            um_per_px,
            by,
            squeeze,
        } => {
            content.scale = Some(Scale {
                um_per_px,
                by,
                made,
            });
            if let Some(value) = squeeze {
                content.squeeze = Some(Squeeze {
                    value,
                    standard_error: None,
                    made,
                });
            }
        }
    }
    Ok(())
}

fn say_lost(frames: &Frames) {
    if frames.damaged() > 0 {
        eprintln!("{} damaged frames were left out", frames.damaged());
    }
    if frames.other_sizes > 0 {
        let expected = frames.size();
        eprintln!(
            "{} pictures of another size than the first, {expected}, were left out",
            frames.other_sizes
        );
    }
}
