//! What a calibration says, and its id, which is made of that.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::geometry::Size;

use crate::clock::{Moment, When};
use crate::config::CalibrationConfig;
use crate::model::hexadecimal;
use crate::source::{SourceIdentity, SourceKind};

/// Version of the file that is written; older ones are read.
pub const VERSION: u32 = 1;

/// What an id begins with.
const ID_START: &str = "cal-";

/// Bytes of the hash in an id.
const ID_BYTES: usize = 8;

/// Frames the calibration is valid for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// Kind of the source.
    pub kind: SourceKind,
    /// For people; for all but cameras also what tells one from another.
    pub name: String,
    /// What the camera calls itself.
    pub card: Option<String>,
    /// The port it is plugged into.
    pub bus: Option<String>,
    /// Of its frames.
    pub size: Size,
}

impl Mark {
    /// Of an open source whose frames have `size`.
    pub fn of(identity: &SourceIdentity, size: Size) -> Self {
        Self {
            kind: identity.kind,
            name: identity.name.clone(),
            card: identity.card.clone(),
            bus: identity.bus.clone(),
            size,
        }
    }
}

/// Micrometres a pixel, downwards.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// Micrometres a pixel of the frame, downwards, above 0 to 10.
    pub um_per_px: f32,
    /// How it was got.
    pub by: ScaleBy,
    /// When.
    pub made: Moment,
}

/// How a scale was got.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum ScaleBy {
    /// From red cells.
    RedCells(RedCellBasis),
    /// A person said so.
    Given,
    /// From a stage micrometer.
    Micrometer {
        /// Its length in the frame, measured downwards, pixels.
        pixels: f32,
        /// Its true length, micrometres.
        um: f32,
    },
}

/// What a scale from red cells stands on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RedCellBasis {
    /// Diameter of a red cell that was the ruler, micrometres.
    pub red_cell_um: f32,
    /// Red cells measured.
    pub cells: usize,
    /// Fields they lay in.
    pub fields: u32,
    /// Standard deviation of their heights as a part of the height, 0..=1.
    pub spread: f32,
    /// Standard error of the scale, micrometres a pixel: of the measuring alone, not of the ruler.
    pub standard_error: f32,
}

/// Width of a circle's picture over its height.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Squeeze {
    /// The ratio, 0.2..=5.
    pub value: f32,
    /// Its standard error; `None` when a person gave it.
    pub standard_error: Option<f32>,
    /// When.
    pub made: Moment,
}

/// What a blank field looks like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blank {
    /// Frames it is the mean of.
    pub frames: u32,
    /// Mean red, green, blue, 0..=255.
    pub background: [f32; 3],
    /// What red, green, blue must be multiplied by to be as bright as green.
    pub gains: [f32; 3],
    /// Brightness of the darkest place over that of the brightest, 0..=1.
    pub evenness: f32,
    /// Its picture's file in the folder of calibrations, reduced as the field's judgement is.
    pub picture: String,
    /// SHA-256 of that file.
    pub sha256: String,
    /// Of that picture.
    pub size: Size,
    /// When.
    pub made: Moment,
}

/// All that is known of one source's frames; what is `None` was never measured for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// When it was changed last.
    pub made: Moment,
    /// Version of the program that wrote it.
    pub program: String,
    /// What it is valid for.
    pub source: Mark,
    /// Micrometres a pixel.
    pub scale: Option<Scale>,
    /// Whether the frame is squeezed.
    pub squeeze: Option<Squeeze>,
    /// The blank field.
    pub blank: Option<Blank>,
}

impl Content {
    /// Nothing measured yet.
    pub fn new(source: Mark, made: Moment) -> Self {
        Self {
            made,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            source,
            scale: None,
            squeeze: None,
            blank: None,
        }
    }

    /// When its parts were measured.
    pub fn moments(&self) -> impl Iterator<Item = &Moment> {
        let scale = self.scale.as_ref().map(|it| &it.made);
        let squeeze = self.squeeze.as_ref().map(|it| &it.made);
        let blank = self.blank.as_ref().map(|it| &it.made);
        [scale, squeeze, blank].into_iter().flatten()
    }

    /// The first number that cannot be: which, what it is, what was expected.
    pub fn check(&self) -> Result<(), (&'static str, String, &'static str)> {
        let within =
            |what, got: f32, low: f32, high: f32, expected| match (low..=high).contains(&got) {
                true => Ok(()),
                false => Err((what, got.to_string(), expected)),
            };
        if let Some(scale) = &self.scale {
            let tiny = f32::MIN_POSITIVE;
            within("um_per_px", scale.um_per_px, tiny, 10.0, "above 0 to 10")?;
        }
        if let Some(squeeze) = &self.squeeze {
            within("squeeze", squeeze.value, 0.2, 5.0, "0.2 to 5")?;
        }
        if let Some(blank) = &self.blank {
            for gain in blank.gains {
                within("gains", gain, 0.01, 100.0, "0.01 to 100")?;
            }
            let named = crate::calibrate::keep::picture_name(&blank.sha256);
            let is_hash = blank.sha256.len() == 64 && blank.sha256.bytes().all(is_digit);
            // The name is a path: nothing else may be.
            if !is_hash || blank.picture != named {
                let found = format!("{:?}", blank.picture);
                return Err(("picture", found, "blank-SHA256.png of its own hash"));
            }
        }
        Ok(())
    }
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

/// A calibration that is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    id: String,
    content: Content,
}

impl Calibration {
    /// With its text, which is what the id is made of.
    pub(super) fn seal(content: Content) -> Result<(Self, String), serde_json::Error> {
        let text = serde_json::to_string_pretty(&content)?;
        let id = id_of(&text);
        Ok((Self { id, content }, text))
    }

    /// From a text whose id was compared.
    pub(super) fn kept(id: String, content: Content) -> Self {
        Self { id, content }
    }

    /// `cal-` and 16 hexadecimal digits: another for each content.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it says.
    pub fn content(&self) -> &Content {
        &self.content
    }
}

/// The id of a content's text.
pub(super) fn id_of(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    format!("{ID_START}{}", hexadecimal(&hash[..ID_BYTES]))
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = &self.content;
        writeln!(f, "calibration {}", self.id)?;
        writeln!(f, "{:<12}{}", "made", Made(&content.made))?;
        let mark = &content.source;
        writeln!(f, "{:<12}{}, {}", "source", mark.name, mark.size)?;
        match &content.scale {
            Some(scale) => writeln!(f, "{:<12}{scale}", "scale")?,
            None => writeln!(f, "{:<12}not measured", "scale")?,
        }
        match &content.squeeze {
            Some(squeeze) => writeln!(f, "{:<12}{squeeze}", "squeeze")?,
            None => writeln!(f, "{:<12}not measured, taken as 1", "squeeze")?,
        }
        match &content.blank {
            Some(blank) => write!(f, "{:<12}{blank}", "blank field"),
            None => write!(f, "{:<12}not measured", "blank field"),
        }
    }
}

/// A moment for people.
struct Made<'a>(&'a Moment);

impl fmt::Display for Made<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Moment {
            boot,
            sequence,
            wall,
            ..
        } = self.0;
        let start = boot.start();
        write!(f, "{}, start {start} number {sequence}", When(*wall))
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let um = self.um_per_px;
        match &self.by {
            ScaleBy::Given => write!(f, "{um:.5} um a pixel, as given"),
            ScaleBy::Micrometer { pixels, um: length } => write!(
                f,
                "{um:.5} um a pixel, {length} um of a micrometer on {pixels} pixels"
            ),
            ScaleBy::RedCells(basis) => {
                let margin = 1.96 * basis.standard_error;
                write!(
                    f,
                    "{um:.5} um a pixel ({:.5} to {:.5}), {} red cells of {} um in {} fields, spread {:.1} %",
                    um - margin,
                    um + margin,
                    basis.cells,
                    basis.red_cell_um,
                    basis.fields,
                    100.0 * basis.spread
                )
            }
        }
    }
}

impl fmt::Display for Squeeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value;
        match self.standard_error {
            None => write!(f, "{value:.4}, as given"),
            Some(error) => {
                let margin = 1.96 * error;
                write!(
                    f,
                    "{value:.4} ({:.4} to {:.4})",
                    value - margin,
                    value + margin
                )
            }
        }
    }
}

impl fmt::Display for Blank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.background;
        let [by_red, by_green, by_blue] = self.gains;
        write!(
            f,
            "background {red:.0} {green:.0} {blue:.0}, gains {by_red:.3} {by_green:.3} {by_blue:.3}, \
             evenness {:.2}, {} frames",
            self.evenness, self.frames
        )
    }
}

/// What a station counts by.
#[derive(Clone, Debug, PartialEq)]
pub struct InForce {
    /// Micrometres a pixel, downwards; `None` = no scale is known.
    pub um_per_px: Option<f32>,
    /// Width of a circle's picture over its height; 1 where nobody measured it.
    pub squeeze: f32,
    /// For the record of a case: that of the calibration, or `configuration-UM-um-per-px`; `None` without
    /// a scale.
    pub id: Option<String>,
}

impl InForce {
    /// The configuration's values where it has some, else those of a calibration that fits the source.
    pub fn of(config: &CalibrationConfig, calibration: Option<&Calibration>) -> Self {
        let content = calibration.map(Calibration::content);
        let scale = content.and_then(|it| Some(it.scale?.um_per_px));
        let squeeze = content.and_then(|it| Some(it.squeeze?.value));
        let id = match (config.um_per_pixel, scale) {
            (Some(um), _) => Some(format!("configuration-{um}-um-per-px")),
            (None, Some(_)) => calibration.map(|it| it.id.clone()),
            (None, None) => None,
        };
        Self {
            um_per_px: config.um_per_pixel.or(scale),
            squeeze: config.squeeze.or(squeeze).unwrap_or(1.0),
            id,
        }
    }
}
