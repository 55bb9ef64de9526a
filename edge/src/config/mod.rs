//! What the station is told before it starts: a TOML file with a documented default.
//!
//! Text goes [`StationConfig::parse`] → [`StationConfig`]: types and unknown keys are refused while
//! reading, values outside their ranges right after it, all with line and column. [`load`] adds the
//! copy of the last file that worked. The sections are plain numbers; who uses them makes types of
//! his own out of them. `default.toml` documents every key, its unit and its range.
#![allow(missing_docs, reason = "default.toml documents every key")]

mod load;
mod place;
mod ranges;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use field::gate::GateLimits;

pub use load::{Config, LAST_GOOD, Loaded, keep, load, read};
pub use place::{ConfigError, Place};

/// The default, with comments: what `leuko-edge config` prints.
pub const DEFAULT_TEXT: &str = include_str!("default.toml");

/// Everything that can be chosen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StationConfig {
    pub source: SourceConfig,
    pub gate: GateLimits,
    pub calibration: CalibrationConfig,
    pub counting: CountingConfig,
    pub thresholds: ThresholdConfig,
    pub store: StoreConfig,
    pub http: HttpConfig,
    pub health: HealthConfig,
    pub model: ModelConfig,
    pub log: LogConfig,
}

impl StationConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// The first thing that is no TOML, no key, of another type or outside its range, with its place.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| place::of_toml(text, &error))?;
        match ranges::check(&config) {
            Ok(()) => Ok(config),
            Err(problem) => Err(place::of_value(text, problem)),
        }
    }
}

/// Kinds of sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceChoice {
    #[default]
    Camera,
    Folder,
    Sequence,
    Phantom,
}

/// Where frames come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceConfig {
    pub kind: SourceChoice,
    pub folder: Option<PathBuf>,
    pub rounds: Option<u32>,
    pub fps: Option<f32>,
    pub camera: CameraConfig,
    pub phantom: PhantomConfig,
    pub life: LifeConfig,
}

/// How a camera's frames lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraFormat {
    Mjpeg,
    Yuyv,
    Nv12,
    Grey,
}

/// Which camera, and how it is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CameraConfig {
    pub card: Option<String>,
    pub bus: Option<String>,
    pub node: Option<String>,
    pub format: CameraFormat,
    pub width: u32,
    pub height: u32,
    pub fps: Option<f32>,
    pub controls: ControlConfig,
}

impl Default for CameraConfig {
    fn default() -> Self {
        Self {
            card: None,
            bus: None,
            node: None,
            format: CameraFormat::Mjpeg,
            width: 640,
            height: 480,
            fps: None,
            controls: ControlConfig::default(),
        }
    }
}

/// Values of a camera's controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControlConfig {
    pub exposure_100us: Option<i32>,
    pub white_balance_k: Option<i32>,
    pub focus: Option<i32>,
    pub gain: Option<i32>,
    pub mains: i32,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            exposure_100us: None,
            white_balance_k: None,
            focus: None,
            gain: None,
            mains: 1,
        }
    }
}

/// The drawn slide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PhantomConfig {
    pub seed: u32,
    pub slides: Option<u32>,
    pub white_cells: [u8; 2],
    pub width: u32,
    pub height: u32,
}

impl Default for PhantomConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            slides: None,
            white_cells: [1, 3],
            width: 640,
            height: 480,
        }
    }
}

/// When a source is no longer what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LifeConfig {
    pub start_within_s: f32,
    pub stall_after_s: f32,
    pub lost_after_s: f32,
    pub frozen_after_s: f32,
    pub blank_after_s: f32,
    pub retry_first_s: f32,
    pub retry_max_s: f32,
}

impl Default for LifeConfig {
    fn default() -> Self {
        Self {
            start_within_s: 5.0,
            stall_after_s: 2.0,
            lost_after_s: 10.0,
            frozen_after_s: 5.0,
            blank_after_s: 2.0,
            retry_first_s: 0.5,
            retry_max_s: 10.0,
        }
    }
}

/// What is asked of a calibration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CalibrationConfig {
    pub um_per_pixel: Option<f32>,
    pub squeeze: Option<f32>,
    pub red_cell_um: f32,
    pub old_after_days: u32,
    pub count_without_scale: bool,
}

impl Default for CalibrationConfig {
    fn default() -> Self {
        Self {
            um_per_pixel: None,
            squeeze: None,
            red_cell_um: 7.2,
            old_after_days: 30,
            count_without_scale: false,
        }
    }
}

/// How much is counted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CountingConfig {
    pub target: u32,
    pub limits_width_percent_max: f32,
}

impl Default for CountingConfig {
    fn default() -> Self {
        Self {
            target: 200,
            limits_width_percent_max: 10.0,
        }
    }
}

/// Thresholds other than the model's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThresholdConfig {
    pub score: Option<f32>,
    pub iou: Option<f32>,
    pub max_detections: Option<u16>,
    pub classes: BTreeMap<String, f32>,
}

/// Where cases lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    pub root: PathBuf,
    pub floor_mb: u32,
    pub floor_files: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/var/lib/leukoscope"),
            floor_mb: 500,
            floor_files: 1000,
        }
    }
}

/// Who may see the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    #[serde(deserialize_with = "socket_address")]
    pub address: SocketAddr,
    pub hosts: Vec<String>,
    pub connections_max: u32,
    pub connections_per_address_max: u32,
}

fn socket_address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(|_| {
        let expected = "a number of an address and a port, as 127.0.0.1:8080";
        D::Error::custom(format!("http.address is {text:?}, expected {expected}"))
    })
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            hosts: Vec::new(),
            connections_max: 64,
            connections_per_address_max: 16,
        }
    }
}

/// When the station is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthConfig {
    pub frame_within_s: f32,
    pub analysis_within_s: f32,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            frame_within_s: 5.0,
            analysis_within_s: 10.0,
        }
    }
}

/// How the model runs, and who may bring another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    pub threads: u16,
    pub public_key: Option<String>,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            threads: 1,
            public_key: None,
        }
    }
}

/// Kinds of places for log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogPlace {
    #[default]
    Stderr,
    File,
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    pub to: LogPlace,
    pub file: Option<PathBuf>,
    pub file_mb_max: u32,
    pub older_files_max: u32,
    pub lines_a_minute_max: u32,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            to: LogPlace::Stderr,
            file: None,
            file_mb_max: 10,
            older_files_max: 3,
            lines_a_minute_max: 120,
        }
    }
}
