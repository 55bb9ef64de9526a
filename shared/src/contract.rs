//! What a model promises; it travels inside the ONNX file.
//!
//! Stored as JSON under [`CONTRACT_KEY`] in `metadata_props`, beside the keys that other tools read
//! (`names`, `stride`, `task`, `imgsz`, in YOLOv5's spelling).

use core::fmt;

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::attribute::{AttributeSchema, MAX_ATTRIBUTES, SchemaError};
use crate::class::{ClassId, ClassTable, MAX_CLASSES, NameError};
use crate::domain::Domain;
use crate::fit::FitKind;
use crate::geometry::Size;
use crate::head::{HeadLevel, HeadSpec, MAX_LEVELS, Thresholds};
use crate::phantom::{FieldSpec, SpecError};
use crate::roi;

mod budget;
mod quantization;

pub use budget::{LossBudget, ParityBudgets};
pub use quantization::Quantization;

/// Key of the contract in `metadata_props`.
pub const CONTRACT_KEY: &str = "leukoscope.contract";

/// The version this code writes and the newest it reads; version 1 knew no levels without
/// anchors and no second file, version 2 no origin of 8-bit weights and no budgets, version 3
/// neither scores of classes nor a domain.
pub const CONTRACT_VERSION: u16 = 4;

/// The first version with `class_scores` and `domain`.
const DESCRIBED_FROM: u16 = 4;

/// Most channels of a map that regions are read from; those of YOLOv5x have 160 and 320.
const REGION_CHANNELS_MAX: u16 = 2048;

/// Extension of a model's second file, in place of the model's own.
pub const REGIONS_EXTENSION: &str = "attributes.onnx";

/// The version of ONNX's own operators that a model is written with, and the only one that is run.
pub const OPSET: i64 = 13;

/// Most golden fields of a contract.
pub const MAX_GOLDEN: usize = 4;

/// Most golden detections of a field.
pub const MAX_GOLDEN_CELLS: usize = 32;

/// How the network computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Floating point.
    Float32,
    /// Quantized to 8 bits.
    Int8,
}

/// Who made the model from what; a file found in two years still answers "what made you?".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Version of the software that wrote the file.
    pub software: String<64>,
    /// SHA-256 of the checkpoint, hexadecimal.
    pub checkpoint_sha256: String<64>,
    /// Fingerprint of the training data, hexadecimal.
    pub data_fingerprint: String<64>,
    /// Epochs trained.
    pub epochs: u32,
}

/// A detection the model makes on a golden field.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenCell {
    /// Class number.
    pub class: u8,
    /// Score, 0..=1.
    pub score: f32,
    /// Corners in pixels of the picture.
    pub xyxy: [f32; 4],
}

/// A phantom field and what the model found on it when it was exported: the device's self-test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenField {
    /// Seed of the phantom field, drawn by [`golden_spec`].
    pub seed: u64,
    /// Size of the drawn field.
    pub size: Size,
    /// FNV-1a (64 bit) of the canvas bytes, hexadecimal: the pixels are the same or they are not.
    pub canvas_fnv: String<16>,
    /// Detections at the contract's thresholds, best first.
    pub cells: Vec<GoldenCell, MAX_GOLDEN_CELLS>,
}

/// The field that seed and size of a [`GoldenField`] mean, at the export and on the device.
pub fn golden_spec(seed: u64, size: Size) -> FieldSpec {
    FieldSpec {
        size,
        ..FieldSpec::demo(seed)
    }
}

/// Where the attributes of a cell are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttributeHead {
    /// From further channels of the raw heads.
    #[default]
    Dense,
    /// From pooled regions of two further outputs, by a network in a second file.
    Roi(RegionHead),
}

/// The second file of a model whose attributes are read from regions: `NAME.attributes.onnx` beside
/// `NAME.onnx`.
///
/// # Shapes
/// The model has the further outputs `features_4` and `features_8`,
/// `[1, channels, canvas.height / stride, canvas.width / stride]`; the second file takes `regions`
/// `[1, sum of channels, 24, 30]` and gives `values` `[1, values of all attributes]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionHead {
    /// Channels of the maps at strides 4 and 8.
    pub channels: [u16; 2],
    /// SHA-256 of the second file, hexadecimal: another model's is refused.
    pub sha256: String<64>,
}

impl RegionHead {
    /// Values that the second file takes.
    pub fn region_len(&self) -> usize {
        let channels = self.channels.map(usize::from);
        (channels[0] + channels[1]) * roi::ROWS * roi::COLUMNS
    }
}

/// Everything the station must know to use the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelContract {
    /// [`CONTRACT_VERSION`] when written.
    pub version: u16,
    /// Short name of the model.
    pub name: String<64>,
    /// Size of the network's input, `[1, 3, height, width]` unsigned bytes, RGB.
    pub canvas: Size,
    /// How a picture is laid on the canvas.
    pub fit: FitKind,
    /// Outputs, finest first.
    pub levels: Vec<HeadLevel, MAX_LEVELS>,
    /// Classes by number.
    pub classes: ClassTable,
    /// Attributes, in the order of their logits.
    pub attributes: AttributeSchema,
    /// Where attributes are read; version 1 knew only the raw heads.
    #[serde(default)]
    pub attribute_head: AttributeHead,
    /// What to count with unless the station's configuration says otherwise.
    pub thresholds: Thresholds,
    /// By class, the least score, 0..=1, at which a counted cell is said to be of it; below it is
    /// unidentified. Empty: the score of `thresholds` for all, as before version 4.
    #[serde(default)]
    pub class_scores: Vec<f32, MAX_CLASSES>,
    /// What the pictures look like that the model learned from; `None` where nobody measured it, as
    /// before version 4.
    #[serde(default)]
    pub domain: Option<Domain>,
    /// Float or integers.
    pub precision: Precision,
    /// What the integers were made from; from version 3 on there exactly when `precision` is
    /// [`Precision::Int8`], before never.
    #[serde(default)]
    pub quantization: Option<Quantization>,
    /// What a stage may lose against the one before it; versions 1 and 2 mean the defaults.
    #[serde(default)]
    pub budgets: ParityBudgets,
    /// Where the model comes from.
    pub provenance: Provenance,
    /// The self-test.
    pub golden: Vec<GoldenField, MAX_GOLDEN>,
}

/// Why a contract cannot be honoured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ContractError {
    /// Written by newer software, or 0, which no software writes.
    Version {
        /// As written.
        got: u16,
    },
    /// A canvas side is 0, above 4096, or no multiple of every stride.
    Canvas {
        /// As written.
        got: Size,
    },
    /// No outputs, a stride of 0, strides not ascending, prior boxes that are no sizes, or only some
    /// levels without them (in version 1: any).
    Levels,
    /// Class names.
    Classes(NameError),
    /// Attributes.
    Attributes(SchemaError),
    /// A second file in version 1, without attributes, with maps of no or too many channels, or
    /// without a hash; or a canvas that its maps do not divide.
    Regions,
    /// Limits outside 0..=1 or no room for detections.
    Thresholds(Thresholds),
    /// Scores of classes in an older version, not one a class, or outside 0..=1.
    ClassScores {
        /// Classes of the model.
        expected: usize,
        /// Scores.
        got: usize,
    },
    /// A domain in an older version, or one with numbers that cannot be.
    Domain,
    /// 8-bit weights of unsaid origin, an origin without them, or one that there cannot be.
    Quantization,
    /// A budget outside 0..=1.
    Budgets,
    /// A golden field that cannot be drawn.
    Golden(SpecError),
}

impl fmt::Display for ContractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { got } => {
                let advice = if *got > CONTRACT_VERSION {
                    ": update it"
                } else {
                    ""
                };
                write!(
                    f,
                    "contract version {got}, this software reads 1 to {CONTRACT_VERSION}{advice}"
                )
            }
            Self::Canvas { got } => {
                write!(
                    f,
                    "canvas {got}, expected sides of 1 to 4096, multiples of every stride"
                )
            }
            Self::Levels => {
                write!(
                    f,
                    "levels: expected 1 to {MAX_LEVELS} with ascending strides, all with finite positive anchors or (from version 2) all without"
                )
            }
            Self::Classes(error) => write!(f, "classes: {error}"),
            Self::Attributes(error) => write!(f, "{error}"),
            Self::Regions => write!(
                f,
                "attribute_head: roi needs version 2, attributes, maps of 1 to {REGION_CHANNELS_MAX} channels, a canvas in multiples of 8 and a SHA-256"
            ),
            Self::Thresholds(got) => write!(
                f,
                "thresholds: score {} and iou {} must be in 0..=1, max_detections {} in 1..=1000",
                got.score, got.iou, got.max_detections
            ),
            Self::ClassScores { expected, got } => write!(
                f,
                "class_scores: expected none or (from version {DESCRIBED_FROM} on) {expected} in 0..=1, one a class, found {got}"
            ),
            Self::Domain => write!(
                f,
                "domain: expected only from version {DESCRIBED_FROM} on, pictures, finite means and deviations of at least 0"
            ),
            Self::Quantization => write!(
                f,
                "quantization: expected exactly with precision int8, from version 3 on, with two SHA-256 and at least one canvas"
            ),
            Self::Budgets => write!(f, "budgets: expected all in 0..=1"),
            Self::Golden(error) => write!(f, "golden: {error}"),
        }
    }
}

impl core::error::Error for ContractError {}

impl ModelContract {
    /// What the channels of the raw heads mean.
    pub fn head(&self) -> HeadSpec {
        HeadSpec {
            levels: self.levels.clone(),
            n_classes: self.classes.len(),
            value_counts: match self.attribute_head {
                AttributeHead::Dense => self.value_counts(),
                AttributeHead::Roi(_) => Vec::new(),
            },
        }
    }

    /// Values of each attribute.
    pub fn value_counts(&self) -> Vec<u8, MAX_ATTRIBUTES> {
        let counts = self.attributes.value_counts();
        counts.map(|count| count as u8).collect()
    }

    /// The second file's place in the contract; `None` when the raw heads say the attributes.
    pub fn regions(&self) -> Option<&RegionHead> {
        match &self.attribute_head {
            AttributeHead::Dense => None,
            AttributeHead::Roi(regions) => Some(regions),
        }
    }

    /// The least score at which a counted cell is said to be of `class`; a lower one is unidentified.
    pub fn class_score(&self, class: ClassId) -> f32 {
        let own = self.class_scores.get(class.index());
        own.copied().unwrap_or(self.thresholds.score)
    }

    /// Size of the map at one of the strides that regions are read from.
    pub fn region_map(&self, stride: u16) -> Size {
        let stride = u32::from(stride);
        Size::new(self.canvas.width / stride, self.canvas.height / stride)
    }

    fn regions_usable(&self, regions: &RegionHead) -> bool {
        let divided = |side: u32| {
            roi::STRIDES
                .iter()
                .all(|&s| side.is_multiple_of(u32::from(s)))
        };
        let legal = |channels: &u16| (1..=REGION_CHANNELS_MAX).contains(channels);
        self.version >= 2
            && !self.attributes.is_empty()
            && regions.channels.iter().all(legal)
            && divided(self.canvas.width)
            && divided(self.canvas.height)
            && quantization::is_sha256(&regions.sha256)
    }

    fn quantization_usable(&self) -> bool {
        match &self.quantization {
            Some(origin) => {
                self.version >= 3 && self.precision == Precision::Int8 && origin.is_usable()
            }
            None => self.version < 3 || self.precision == Precision::Float32,
        }
    }

    fn class_scores_usable(&self) -> bool {
        self.class_scores.is_empty()
            || (self.version >= DESCRIBED_FROM
                && self.class_scores.len() == self.classes.len()
                && self.class_scores.iter().all(|s| (0.0..=1.0).contains(s)))
    }

    fn domain_usable(&self) -> bool {
        let usable = |domain: &Domain| self.version >= DESCRIBED_FROM && domain.is_usable();
        self.domain.as_ref().is_none_or(usable)
    }

    /// Checks everything that a file could have wrong.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), ContractError> {
        if !(1..=CONTRACT_VERSION).contains(&self.version) {
            return Err(ContractError::Version { got: self.version });
        }
        let strides = || self.levels.iter().map(|level| level.stride);
        let ascending = strides().zip(strides().skip(1)).all(|(a, b)| a < b);
        let free = |level: &HeadLevel| level.anchors.is_empty();
        let anchors_usable = self.levels.iter().all(|level| {
            let usable = |side: &f32| side.is_finite() && *side > 0.0;
            !free(level) && level.anchors.iter().flatten().all(usable)
        }) || (self.version >= 2 && self.levels.iter().all(free));
        if self.levels.is_empty() || strides().any(|s| s == 0) || !ascending || !anchors_usable {
            return Err(ContractError::Levels);
        }
        let side_legal = |side: u32| {
            (1..=4096).contains(&side) && strides().all(|s| side.is_multiple_of(u32::from(s)))
        };
        if !side_legal(self.canvas.width) || !side_legal(self.canvas.height) {
            return Err(ContractError::Canvas { got: self.canvas });
        }
        self.classes.check().map_err(ContractError::Classes)?;
        self.attributes.check().map_err(ContractError::Attributes)?;
        if self
            .regions()
            .is_some_and(|regions| !self.regions_usable(regions))
        {
            return Err(ContractError::Regions);
        }
        if !self.thresholds.is_legal() {
            return Err(ContractError::Thresholds(self.thresholds));
        }
        if !self.class_scores_usable() {
            return Err(ContractError::ClassScores {
                expected: self.classes.len(),
                got: self.class_scores.len(),
            });
        }
        if !self.domain_usable() {
            return Err(ContractError::Domain);
        }
        if !self.quantization_usable() {
            return Err(ContractError::Quantization);
        }
        if !self.budgets.is_legal() {
            return Err(ContractError::Budgets);
        }
        self.golden.iter().try_for_each(|field| {
            let spec = golden_spec(field.seed, field.size);
            spec.check().map_err(ContractError::Golden)
        })
    }
}

/// FNV-1a of 64 bits, the fingerprint of a canvas.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
