//! Hyper-parameter files: YOLOv5's own key names (attridet.md, 8.4), so that an existing `hyp.yaml`
//! is read as it is, and a few of ours.
//!
//! A key that is missing has the value of the reference's "low" file; of ours, `turns` is on then,
//! because cells have no up, and `stain` is off. A key that is not known is refused: a value that
//! nobody reads is a mistake that nobody sees.

mod key;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_yaml_ng::{Mapping, Value};

use crate::augment::{Augmentation, ColourJitter, StainJitter};
use crate::dataset::read_text;
use crate::loss::{LossOptions, LossWeights};
use crate::optim::Schedule;

use key::{KEYS, Key, near};

/// Largest hyper-parameter file that is read, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// What a hyper-parameter file decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Hyper {
    /// `lr0` to `warmup_bias_lr`; the nominal batch and the curve are no matter of the file.
    pub schedule: Schedule,
    /// `box`, `obj`, `cls`, `attr`: before they are scaled to levels, classes and canvas.
    pub gains: LossWeights,
    /// `fl_gamma`, `cls_pw`, `obj_pw`, `label_smoothing`, `anchor_t`, `cls_any`, `distill`.
    pub loss: LossOptions,
    /// `hsv_h` to `mixup`, `turns`, `stain`, `stain_offset`.
    pub augmentation: Augmentation,
    /// Last epochs without mosaics.
    pub close_mosaic: usize,
}

/// A hyper-parameter file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {reason}", .path.display(), .line.map_or(String::new(), |line| format!(":{line}")))]
pub struct HyperError {
    /// Which file.
    pub path: PathBuf,
    /// Which line, counted from 1, where one is to blame.
    pub line: Option<usize>,
    /// Expected and found.
    pub reason: String,
}

/// The numbers of a hyper-parameter file by key; what is not given has its default.
#[derive(Clone, Debug, PartialEq)]
pub struct HyperValues(BTreeMap<&'static str, f64>);

impl Default for HyperValues {
    /// What an empty file says.
    fn default() -> Self {
        let given = KEYS.iter().filter(|key| !key.low.is_nan());
        Self(given.map(|key| (key.name, key.low)).collect())
    }
}

impl HyperValues {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// No such file, no YAML, an unknown key, or a value that is out of its range.
    pub fn read(path: &Path) -> Result<Self, HyperError> {
        let text = read_text(path, FILE_MAX).map_err(|error| HyperError {
            path: path.to_path_buf(),
            line: None,
            reason: match std::error::Error::source(&error) {
                Some(source) => format!("cannot be read: {source}"),
                None => error.to_string(),
            },
        })?;
        Self::parse(&text, path)
    }

    /// The same from the file's text; `path` is for messages.
    ///
    /// # Errors
    /// As [`HyperValues::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, HyperError> {
        let refuse = |line, reason| HyperError {
            path: path.to_path_buf(),
            line,
            reason,
        };
        let root: Option<Mapping> = serde_yaml_ng::from_str(text).map_err(|error| {
            let line = error.location().map(|at| at.line());
            refuse(line, format!("expected `key: number` lines: {error}"))
        })?;
        let mut values = Self::default();
        for (name, value) in root.unwrap_or_default() {
            let name = name.as_str().map_or_else(|| shown(&name), str::to_owned);
            let line = line_of(text, &name);
            values
                .insert(&name, &value)
                .map_err(|reason| refuse(line, reason))?;
        }
        Ok(values)
    }

    /// Sets one number from `KEY=VALUE`.
    ///
    /// # Errors
    /// Another form, an unknown key, or a value that is out of its range; in words.
    pub fn set(&mut self, setting: &str) -> Result<(), String> {
        let (name, value) = setting
            .split_once('=')
            .ok_or_else(|| format!("expected KEY=VALUE, found {setting:?}"))?;
        let value = serde_yaml_ng::from_str(value).unwrap_or(Value::Null);
        self.insert(name.trim(), &value)
    }

    fn insert(&mut self, name: &str, value: &Value) -> Result<(), String> {
        let key = KEYS
            .iter()
            .find(|key| key.name == name)
            .ok_or_else(|| format!("unknown key {name:?}; {}", near(name)))?;
        self.0.insert(key.name, checked(key, value)?);
        Ok(())
    }

    /// Settings that change nothing, each with the reason.
    pub fn without_effect(&self) -> Vec<&'static str> {
        without_effect(&self.0).collect()
    }

    /// Key and number, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> {
        self.0.iter().map(|(&name, &number)| (name, number))
    }
}

impl Default for Hyper {
    /// What an empty file says.
    fn default() -> Self {
        Self::of(&HyperValues::default())
    }
}

impl Hyper {
    /// What the numbers mean for the trainer.
    pub fn of(values: &HyperValues) -> Self {
        let HyperValues(values) = values;
        let number = |name: &str| values[name];
        let small = |name: &str| values[name] as f32;
        let either = |name: &str, scale: f64| values.get(name).copied().unwrap_or(scale) as f32;
        Self {
            schedule: Schedule {
                lr0: number("lr0"),
                lrf: number("lrf"),
                momentum: number("momentum"),
                weight_decay: number("weight_decay"),
                warmup_epochs: number("warmup_epochs"),
                warmup_momentum: number("warmup_momentum"),
                warmup_bias_lr: number("warmup_bias_lr"),
                ..Schedule::default()
            },
            gains: LossWeights {
                bbox: number("box"),
                objectness: number("obj"),
                class: number("cls"),
                attribute: number("attr"),
            },
            loss: LossOptions {
                fl_gamma: number("fl_gamma"),
                cls_pw: number("cls_pw"),
                obj_pw: number("obj_pw"),
                label_smoothing: number("label_smoothing"),
                anchor_t: small("anchor_t"),
                cls_any: number("cls_any"),
                distill: number("distill"),
                ..LossOptions::default()
            },
            augmentation: Augmentation {
                mosaic: small("mosaic"),
                mixup: small("mixup"),
                degrees: small("degrees"),
                translate: small("translate"),
                scale: [
                    either("scale_min", 1.0 - number("scale")),
                    either("scale_max", 1.0 + number("scale")),
                ],
                shear: small("shear"),
                perspective: small("perspective"),
                flipud: small("flipud"),
                fliplr: small("fliplr"),
                turns: number("turns") != 0.0,
                colour: ColourJitter {
                    hue: small("hsv_h"),
                    saturation: small("hsv_s"),
                    value: small("hsv_v"),
                },
                stain: StainJitter {
                    gain: small("stain"),
                    offset: small("stain_offset"),
                },
            },
            close_mosaic: number("close_mosaic") as usize,
        }
    }
}

/// The number of a value, within the key's range.
fn checked(key: &Key, value: &Value) -> Result<f64, String> {
    let number = match value {
        Value::Bool(on) if key.is_switch() => Some(f64::from(u8::from(*on))),
        other => other.as_f64(),
    };
    let legal = number.filter(|&number| key.allows(number));
    legal.ok_or_else(|| {
        format!(
            "{}: expected {}, found {}",
            key.name,
            key.range(),
            shown(value)
        )
    })
}

/// A value in one line, as a person would write it.
fn shown(value: &Value) -> String {
    let text = serde_yaml_ng::to_string(value).unwrap_or_default();
    text.trim().replace('\n', " ")
}

/// The line on which a key of the outermost mapping stands.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let stands = |line: &str| {
        let line = line.trim_start_matches(['"', '\'']);
        let rest = line.strip_prefix(key)?;
        rest.trim_start_matches(['"', '\''])
            .trim_start()
            .starts_with(':')
            .then_some(())
    };
    let found = text.lines().position(|line| stands(line).is_some());
    found.map(|index| index + 1)
}

/// Settings that change nothing, each with the reason.
fn without_effect(values: &BTreeMap<&'static str, f64>) -> impl Iterator<Item = &'static str> {
    let is_set = |name: &str| values[name] > 0.0;
    let cases = [
        (
            is_set("copy_paste"),
            "copy_paste moves cells by their outlines; there are only boxes, so it does nothing",
        ),
        (
            is_set("mixup") && !is_set("mosaic"),
            "mixup mixes mosaics; mosaic is 0, so it does nothing",
        ),
    ];
    cases
        .into_iter()
        .filter_map(|(applies, text)| applies.then_some(text))
}
