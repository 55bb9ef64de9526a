//! From the configuration's plain numbers to the types of those who use them.

use std::time::Duration;

use shared::contract::ModelContract;
use shared::domain::Domain;
use shared::geometry::Size;
use shared::head::Thresholds;

use crate::case::advice::Wish;
use crate::case::decision::{DecisionRules, RulesError};
use crate::case::event::{ModelUsed, Target, TargetError};
use crate::case::text::{Sha256, Text, TextError};
use crate::config::{
    CountingConfig, LifeConfig, SourceChoice, SourceConfig, StationConfig, StoreConfig,
    ThresholdConfig,
};
use crate::source::chosen::NoCameras;
use crate::source::life::LifeLimits;
use crate::store::Floor;
use field::WatchOptions;
use field::gate::GateLimits;
use field::map::MapLimits;

/// Key frames compared with a frame of a source that waits, while the place is lost: there is time for
/// more than with a camera.
const SEARCHED_WHERE_IT_WAITS: u32 = 64;

/// A configuration that is sound in itself and does not fit this program or model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// Cameras were left out when the program was built.
    #[error(transparent)]
    NoCameras(#[from] NoCameras),
    /// A class the model does not have.
    #[error("thresholds.classes.{name}: no such class, expected one of {known}")]
    Class {
        /// As configured.
        name: String,
        /// Of the model.
        known: String,
    },
    /// The thresholds do not fit.
    #[error("thresholds: {0}")]
    Rules(#[from] RulesError),
    /// The target is none.
    #[error("counting.target: {0}")]
    Target(#[from] TargetError),
    /// The model cannot be named in a record.
    #[error("model: {0}")]
    Name(#[from] TextError),
}

/// Everything a case begins with that the configuration and the model decide.
#[derive(Clone, Debug)]
pub struct CaseSettings {
    /// The model.
    pub model: ModelUsed,
    /// From which score on a class is said.
    pub rules: DecisionRules,
    /// White cells where nothing else is asked for.
    pub target: Target,
    /// When counting on is advised.
    pub wish: Wish,
    /// When a field is counted.
    pub gate: GateLimits,
    /// What the pictures look like that the model was trained on, where it says so.
    pub domain: Option<Domain>,
}

impl CaseSettings {
    /// Of a model and a configuration.
    ///
    /// # Errors
    /// When the two do not fit.
    pub fn new(
        config: &StationConfig,
        contract: &ModelContract,
        sha256: &str,
    ) -> Result<Self, SettingsError> {
        let score = thresholds(&config.thresholds, contract).score;
        Ok(Self {
            model: ModelUsed {
                name: Text::try_from(contract.name.as_str())?,
                version: None,
                sha256: Sha256::try_from(sha256)?,
                classes: contract.classes.clone(),
                attributes: contract.attributes.clone(),
            },
            rules: rules(&config.thresholds, contract, score)?,
            target: Target::try_from(config.counting.target)?,
            wish: wish(&config.counting),
            gate: config.gate,
            domain: contract.domain,
        })
    }
}

fn wish(config: &CountingConfig) -> Wish {
    Wish {
        // 100 per cent would be no wish; the range of the configuration includes it.
        width_percent: f64::from(config.limits_width_percent_max).min(99.9),
        ..Wish::default()
    }
}

fn rules(
    config: &ThresholdConfig,
    contract: &ModelContract,
    score: f32,
) -> Result<DecisionRules, SettingsError> {
    let mut scores: Vec<f32> = contract.class_scores.iter().copied().collect();
    if scores.is_empty() && !config.classes.is_empty() {
        scores = vec![score; contract.classes.len()];
    }
    for (name, &least) in &config.classes {
        let class = contract.classes.find(name).ok_or_else(|| {
            let known: Vec<&str> = contract.classes.iter().map(|(_, name)| name).collect();
            SettingsError::Class {
                name: name.clone(),
                known: known.join(", "),
            }
        })?;
        scores[class.index()] = least;
    }
    Ok(DecisionRules::new(score, &scores, &contract.classes)?)
}

/// The model's thresholds with what the configuration says otherwise. A counted cell has one class.
pub fn thresholds(config: &ThresholdConfig, contract: &ModelContract) -> Thresholds {
    let own = contract.thresholds;
    Thresholds {
        score: config.score.unwrap_or(own.score),
        iou: config.iou.unwrap_or(own.iou),
        max_detections: config.max_detections.unwrap_or(own.max_detections),
        multi_label: false,
        across_classes: true,
    }
}

/// Room that has to be left.
pub fn floor(config: &StoreConfig) -> Floor {
    Floor {
        bytes: u64::from(config.floor_mb) * 1_000_000,
        inodes: u64::from(config.floor_files),
    }
}

/// When the source is no longer what it should be.
pub fn life(config: &LifeConfig) -> LifeLimits {
    let seconds = Duration::from_secs_f32;
    LifeLimits {
        start_within: seconds(config.start_within_s),
        stall_after: seconds(config.stall_after_s),
        lost_after: seconds(config.lost_after_s),
        frozen_after: seconds(config.frozen_after_s),
        blank_after: seconds(config.blank_after_s),
        retry_first: seconds(config.retry_first_s),
        retry_max: seconds(config.retry_max_s),
        ..LifeLimits::default()
    }
}

/// How fields are judged and remembered.
#[derive(Clone, Copy, Debug)]
pub struct WatchSettings {
    gate: GateLimits,
    searched_per_frame: u32,
    /// Whether every frame is a field at rest, wherever it is.
    pub stills: bool,
}

impl WatchSettings {
    /// By the configuration.
    pub fn new(config: &StationConfig) -> Self {
        Self {
            gate: config.gate,
            searched_per_frame: match waits(&config.source) {
                true => SEARCHED_WHERE_IT_WAITS,
                false => MapLimits::default().searched_per_frame,
            },
            stills: config.source.kind == SourceChoice::Folder,
        }
    }

    /// Of frames of a size and a squeeze, on a map whose first island has this number.
    pub fn options(&self, frame: Size, squeeze: f32, first_island: u32) -> WatchOptions {
        WatchOptions {
            squeeze,
            gate: self.gate,
            map: MapLimits {
                searched_per_frame: self.searched_per_frame,
                ..MapLimits::default()
            },
            first_island,
            ..WatchOptions::new(frame)
        }
    }
}

/// Whether the source waits until its frames were seen.
pub fn waits(config: &SourceConfig) -> bool {
    match config.kind {
        SourceChoice::Camera => false,
        SourceChoice::Folder => true,
        SourceChoice::Sequence | SourceChoice::Phantom => config.fps.is_none(),
    }
}

/// Whether frames come when they are due, so that their age means something.
pub fn keeps_time(config: &SourceConfig) -> bool {
    config.kind == SourceChoice::Camera || config.fps.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{TINY, detector};

    fn settings(text: &str) -> Result<CaseSettings, SettingsError> {
        let config = StationConfig::parse(text).unwrap();
        let contract = detector(TINY).contract().clone();
        CaseSettings::new(&config, &contract, &"0".repeat(64))
    }

    #[test]
    fn a_threshold_of_a_class_that_is_not_there_is_refused_with_those_that_are() {
        let contract = detector(TINY).contract().clone();
        let (class, name) = contract.classes.iter().last().unwrap();
        let text = format!("[thresholds.classes]\n{name:?} = 0.875");
        let rules = settings(&text).unwrap().rules;
        assert_eq!(rules.least(class).get(), 0.875);
        let error = settings("[thresholds.classes]\nplatypus = 0.5").unwrap_err();
        let words = error.to_string();
        let expected = "thresholds.classes.platypus: no such class, expected one of ";
        assert!(
            words.starts_with(expected) && words.contains(name),
            "{words}"
        );
    }

    #[test]
    fn only_a_camera_and_a_source_at_a_rate_of_its_own_do_not_wait() {
        for (text, expected) in [
            ("source.kind = \"camera\"", false),
            ("source = { kind = \"phantom\" }", true),
            ("source = { kind = \"phantom\", fps = 10.0 }", false),
            (
                "source = { kind = \"folder\", folder = \"x\", fps = 10.0 }",
                true,
            ),
            ("source = { kind = \"sequence\", folder = \"x\" }", true),
        ] {
            let config = StationConfig::parse(text).unwrap();
            assert_eq!(waits(&config.source), expected, "{text}");
        }
    }
}
