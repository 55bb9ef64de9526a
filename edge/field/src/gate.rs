//! May this field be counted? If not, why: every refusal is a sentence with the number and its limit.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::FieldError;
use super::quality::Meters;

/// Largest [`GateLimits::focus_min`]: no picture is that sharp.
const FOCUS_MAX: f32 = 1000.0;

/// What a field must keep to be counted. Each limit can be moved as far as its range goes, where
/// it refuses nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GateLimits {
    /// Least focus as a part of the slide's best, 0..=1.
    pub focus_share_min: f32,
    /// Least focus in itself (variance of the Laplacian over squared brightness), 0..=1000: the
    /// first frames of a slide have no best to be compared with.
    pub focus_min: f32,
    /// Least bytes of a compressed frame as a part of the slide's most, 0..=1.
    pub compressed_share_min: f32,
    /// Most shift against the frame before, as a part of the frame's longer side, 0..=1.
    pub motion_share_max: f32,
    /// Least mean brightness, 0..=255.
    pub brightness_min: f32,
    /// Most mean brightness, 0..=255.
    pub brightness_max: f32,
    /// Most of the field that may be black, 0..=1.
    pub clipped_low_max: f32,
    /// Most of the field that may be white, 0..=1.
    pub clipped_high_max: f32,
    /// Most that a channel of the background may differ from the mean of the three, 0..=2.
    pub white_balance_max: f32,
    /// Least of the field that cells must cover, 0..=1: below, the field is blank.
    pub covered_min: f32,
    /// Most of the field that cells may cover, 0..=1: above, the smear is too thick.
    pub covered_max: f32,
}

impl Default for GateLimits {
    fn default() -> Self {
        Self {
            focus_share_min: 0.35,
            focus_min: 0.0,
            compressed_share_min: 0.5,
            motion_share_max: 0.01,
            brightness_min: 60.0,
            brightness_max: 240.0,
            clipped_low_max: 0.02,
            clipped_high_max: 0.25,
            white_balance_max: 0.15,
            covered_min: 0.01,
            covered_max: 0.75,
        }
    }
}

impl GateLimits {
    /// Checks every range.
    ///
    /// # Errors
    /// The first limit that is not finite, outside its range, or above its partner.
    pub fn check(&self) -> Result<(), FieldError> {
        let ranges = [
            ("focus_share_min", self.focus_share_min, 1.0),
            ("focus_min", self.focus_min, FOCUS_MAX),
            ("compressed_share_min", self.compressed_share_min, 1.0),
            ("motion_share_max", self.motion_share_max, 1.0),
            ("brightness_max", self.brightness_max, 255.0),
            ("brightness_min", self.brightness_min, self.brightness_max),
            ("clipped_low_max", self.clipped_low_max, 1.0),
            ("clipped_high_max", self.clipped_high_max, 1.0),
            ("white_balance_max", self.white_balance_max, 2.0),
            ("covered_max", self.covered_max, 1.0),
            ("covered_min", self.covered_min, self.covered_max),
        ];
        for (limit, got, max) in ranges {
            if !(0.0..=max).contains(&got) {
                return Err(FieldError::Limit { limit, got, max });
            }
        }
        Ok(())
    }
}

/// Why a field is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Reason {
    /// Less sharp than this slide was.
    OutOfFocus {
        /// Part of the slide's best.
        got: f32,
        /// Limit.
        min: f32,
    },
    /// Less sharp than any slide should be.
    Blurred {
        /// Variance of the Laplacian over squared brightness.
        got: f32,
        /// Limit.
        min: f32,
    },
    /// The compressed frame is small: it has little detail.
    LittleDetail {
        /// Part of the slide's most bytes.
        got: f32,
        /// Limit.
        min: f32,
    },
    /// The stage moves.
    Moving {
        /// Pixels a frame.
        got_px: f32,
        /// Limit.
        max_px: f32,
    },
    /// Nothing to compare with, or nothing in common with the frame before.
    MotionUnknown,
    /// Too little light.
    TooDark {
        /// Mean brightness.
        got: f32,
        /// Limit.
        min: f32,
    },
    /// Too much light.
    TooBright {
        /// Mean brightness.
        got: f32,
        /// Limit.
        max: f32,
    },
    /// Too much of the field is black.
    ClippedLow {
        /// Part of the pixels.
        got: f32,
        /// Limit.
        max: f32,
    },
    /// Too much of the field is white.
    ClippedHigh {
        /// Part of the pixels.
        got: f32,
        /// Limit.
        max: f32,
    },
    /// The background is not neutral.
    WhiteBalance {
        /// Largest difference from neutral.
        got: f32,
        /// Limit.
        max: f32,
    },
    /// A blank field.
    TooEmpty {
        /// Part covered with cells.
        got: f32,
        /// Limit.
        min: f32,
    },
    /// Cells lie on each other.
    TooDense {
        /// Part covered with cells.
        got: f32,
        /// Limit.
        max: f32,
    },
    /// Nobody knows where on the slide this is.
    Lost,
    /// The field at this place is counted.
    AlreadyCounted,
}

impl Reason {
    /// A word for each, in the order of [`Reason::number`].
    pub const NAMES: [&str; 14] = [
        "out_of_focus",
        "blurred",
        "little_detail",
        "moving",
        "motion_unknown",
        "too_dark",
        "too_bright",
        "clipped_low",
        "clipped_high",
        "white_balance",
        "too_empty",
        "too_dense",
        "lost",
        "already_counted",
    ];

    /// Its place in [`Reason::NAMES`].
    pub fn number(&self) -> usize {
        match self {
            Self::OutOfFocus { .. } => 0,
            Self::Blurred { .. } => 1,
            Self::LittleDetail { .. } => 2,
            Self::Moving { .. } => 3,
            Self::MotionUnknown => 4,
            Self::TooDark { .. } => 5,
            Self::TooBright { .. } => 6,
            Self::ClippedLow { .. } => 7,
            Self::ClippedHigh { .. } => 8,
            Self::WhiteBalance { .. } => 9,
            Self::TooEmpty { .. } => 10,
            Self::TooDense { .. } => 11,
            Self::Lost => 12,
            Self::AlreadyCounted => 13,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: f32| part * 100.0;
        match *self {
            Self::OutOfFocus { got, min } => write!(
                f,
                "out of focus: {:.0} % of the slide's best, at least {:.0} % needed",
                percent(got),
                percent(min)
            ),
            Self::Blurred { got, min } => {
                write!(
                    f,
                    "out of focus: sharpness {got:.4}, at least {min:.4} needed"
                )
            }
            Self::LittleDetail { got, min } => write!(
                f,
                "little detail: {:.0} % of the slide's largest frame, at least {:.0} % needed",
                percent(got),
                percent(min)
            ),
            Self::Moving { got_px, max_px } => {
                write!(
                    f,
                    "the stage moves: {got_px:.1} px a frame, at most {max_px:.1}"
                )
            }
            Self::MotionUnknown => {
                f.write_str("the stage may move: nothing in common with the frame before")
            }
            Self::TooDark { got, min } => {
                write!(f, "too dark: brightness {got:.0}, at least {min:.0} needed")
            }
            Self::TooBright { got, max } => {
                write!(f, "too bright: brightness {got:.0}, at most {max:.0}")
            }
            Self::ClippedLow { got, max } => write!(
                f,
                "black: {:.1} % of the field, at most {:.1} %",
                percent(got),
                percent(max)
            ),
            Self::ClippedHigh { got, max } => write!(
                f,
                "overexposed: {:.1} % of the field is white, at most {:.1} %",
                percent(got),
                percent(max)
            ),
            Self::WhiteBalance { got, max } => write!(
                f,
                "white balance: background {:.0} % off neutral, at most {:.0} %",
                percent(got),
                percent(max)
            ),
            Self::TooEmpty { got, min } => write!(
                f,
                "blank: cells cover {:.1} % of the field, at least {:.1} % needed",
                percent(got),
                percent(min)
            ),
            Self::TooDense { got, max } => write!(
                f,
                "too thick: cells cover {:.0} % of the field, at most {:.0} %",
                percent(got),
                percent(max)
            ),
            Self::Lost => f.write_str(
                "position lost: go back to a field that was counted, or say that this is a new one",
            ),
            Self::AlreadyCounted => f.write_str("this field is counted: move on"),
        }
    }
}

/// Room for every reason at once.
const REASONS_MAX: usize = 16;

/// The judgement of a frame.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The field may be counted now.
    pub counted: bool,
    /// Why not; empty exactly when it may.
    pub reasons: heapless::Vec<Reason, REASONS_MAX>,
}

impl Verdict {
    /// Sharp and at rest, whatever else may be wrong: such a picture is worth remembering.
    pub(super) fn is_steady(&self) -> bool {
        !self.reasons.iter().any(|reason| {
            matches!(
                reason,
                Reason::OutOfFocus { .. }
                    | Reason::Blurred { .. }
                    | Reason::LittleDetail { .. }
                    | Reason::Moving { .. }
                    | Reason::MotionUnknown
            )
        })
    }
}

/// Judges; `longer_side_px` is that of the frame.
pub fn judge(meters: &Meters, limits: &GateLimits, longer_side_px: u32) -> Verdict {
    let below = |got: f32, min: f32| got < min;
    let above = |got: f32, max: f32| got > max;
    let max_px = limits.motion_share_max * longer_side_px as f32;
    let m = meters;
    let l = limits;
    let say = |said: bool, reason: Reason| said.then_some(reason);
    let (focus, focus_min) = (m.focus_share, l.focus_share_min);
    let detail = m.compressed_share.unwrap_or(1.0);
    let found = [
        say(
            below(focus, focus_min),
            Reason::OutOfFocus {
                got: focus,
                min: focus_min,
            },
        ),
        say(
            below(m.focus, l.focus_min),
            Reason::Blurred {
                got: m.focus,
                min: l.focus_min,
            },
        ),
        say(
            below(detail, l.compressed_share_min),
            Reason::LittleDetail {
                got: detail,
                min: l.compressed_share_min,
            },
        ),
        match m.motion_px {
            Some(got_px) => say(above(got_px, max_px), Reason::Moving { got_px, max_px }),
            None => Some(Reason::MotionUnknown),
        },
        say(
            below(m.brightness, l.brightness_min),
            Reason::TooDark {
                got: m.brightness,
                min: l.brightness_min,
            },
        ),
        say(
            above(m.brightness, l.brightness_max),
            Reason::TooBright {
                got: m.brightness,
                max: l.brightness_max,
            },
        ),
        say(
            above(m.clipped_low, l.clipped_low_max),
            Reason::ClippedLow {
                got: m.clipped_low,
                max: l.clipped_low_max,
            },
        ),
        say(
            above(m.clipped_high, l.clipped_high_max),
            Reason::ClippedHigh {
                got: m.clipped_high,
                max: l.clipped_high_max,
            },
        ),
        say(
            above(m.white_balance, l.white_balance_max),
            Reason::WhiteBalance {
                got: m.white_balance,
                max: l.white_balance_max,
            },
        ),
        say(
            below(m.covered, l.covered_min),
            Reason::TooEmpty {
                got: m.covered,
                min: l.covered_min,
            },
        ),
        say(
            above(m.covered, l.covered_max),
            Reason::TooDense {
                got: m.covered,
                max: l.covered_max,
            },
        ),
        say(m.place.is_none(), Reason::Lost),
        say(m.already_counted, Reason::AlreadyCounted),
    ];
    let reasons: heapless::Vec<Reason, REASONS_MAX> = found.into_iter().flatten().collect();
    Verdict {
        counted: reasons.is_empty(),
        reasons,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Place;

    fn good() -> Meters {
        Meters {
            focus: 0.01,
            focus_share: 0.9,
            compressed_share: Some(0.8),
            motion_px: Some(0.4),
            peak: Some(0.6),
            brightness: 160.0,
            background: [200.0; 3],
            white_balance: 0.02,
            clipped_low: 0.0,
            clipped_high: 0.0,
            covered: 0.3,
            place: Some(Place::default()),
            already_counted: false,
        }
    }

    #[test]
    fn a_good_field_is_counted_and_an_uncompressed_one_too() {
        for compressed_share in [Some(0.8), None] {
            let meters = Meters {
                compressed_share,
                ..good()
            };
            let verdict = judge(&meters, &GateLimits::default(), 640);
            assert!(verdict.counted && verdict.reasons.is_empty(), "{verdict:?}");
        }
    }

    #[test]
    fn every_fault_alone_is_refused_with_its_own_sentence() {
        struct Case {
            spoil: fn(&mut Meters),
            said: &'static str,
        }
        let limits = GateLimits {
            focus_min: 0.001,
            ..GateLimits::default()
        };
        let cases = [
            Case {
                spoil: |m| m.focus_share = 0.2,
                said: "out of focus: 20 % of the slide's best, at least 35 % needed",
            },
            Case {
                spoil: |m| m.focus = 0.0002,
                said: "out of focus: sharpness 0.0002, at least 0.0010 needed",
            },
            Case {
                spoil: |m| m.compressed_share = Some(0.25),
                said: "little detail: 25 % of the slide's largest frame, at least 50 % needed",
            },
            Case {
                spoil: |m| m.motion_px = Some(6.5),
                said: "the stage moves: 6.5 px a frame, at most 6.4",
            },
            Case {
                spoil: |m| m.motion_px = None,
                said: "the stage may move: nothing in common with the frame before",
            },
            Case {
                spoil: |m| m.brightness = 12.0,
                said: "too dark: brightness 12, at least 60 needed",
            },
            Case {
                spoil: |m| m.brightness = 252.0,
                said: "too bright: brightness 252, at most 240",
            },
            Case {
                spoil: |m| m.clipped_low = 0.5,
                said: "black: 50.0 % of the field, at most 2.0 %",
            },
            Case {
                spoil: |m| m.clipped_high = 0.5,
                said: "overexposed: 50.0 % of the field is white, at most 25.0 %",
            },
            Case {
                spoil: |m| m.white_balance = 0.4,
                said: "white balance: background 40 % off neutral, at most 15 %",
            },
            Case {
                spoil: |m| m.covered = 0.0,
                said: "blank: cells cover 0.0 % of the field, at least 1.0 % needed",
            },
            Case {
                spoil: |m| m.covered = 0.9,
                said: "too thick: cells cover 90 % of the field, at most 75 %",
            },
            Case {
                spoil: |m| m.place = None,
                said: "position lost: go back to a field that was counted, or say that this is a new one",
            },
            Case {
                spoil: |m| m.already_counted = true,
                said: "this field is counted: move on",
            },
        ];
        for Case { spoil, said } in cases {
            let mut meters = good();
            spoil(&mut meters);
            let verdict = judge(&meters, &limits, 640);
            let reasons: Vec<String> = verdict.reasons.iter().map(Reason::to_string).collect();
            for reason in &verdict.reasons {
                let written = format!("{reason:?}").to_lowercase();
                let name = Reason::NAMES[reason.number()].replace('_', "");
                assert!(written.starts_with(&name), "{written} is called {name}");
            }
            assert_eq!((verdict.counted, reasons), (false, vec![said.to_owned()]));
        }
    }

    #[test]
    fn a_black_frame_has_all_its_reasons_at_once() {
        let black = Meters {
            clipped_low: 1.0,
            ..Meters::default()
        };
        let verdict = judge(&black, &GateLimits::default(), 640);
        let json = serde_json::to_value(&verdict).unwrap();
        let names: Vec<&str> = json["reasons"]
            .as_array()
            .unwrap()
            .iter()
            .map(|reason| reason["reason"].as_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "out_of_focus",
                "motion_unknown",
                "too_dark",
                "clipped_low",
                "too_empty",
                "lost"
            ]
        );
    }

    #[test]
    fn limits_out_of_their_range_are_refused_by_name() {
        GateLimits::default().check().unwrap();
        let cases = [
            (
                GateLimits {
                    focus_share_min: 1.5,
                    ..GateLimits::default()
                },
                "limit focus_share_min is 1.5, expected 0 to 1",
            ),
            (
                GateLimits {
                    covered_max: f32::NAN,
                    ..GateLimits::default()
                },
                "limit covered_max is NaN, expected 0 to 1",
            ),
            (
                GateLimits {
                    brightness_min: 250.0,
                    ..GateLimits::default()
                },
                "limit brightness_min is 250, expected 0 to 240",
            ),
        ];
        for (limits, said) in cases {
            assert_eq!(limits.check().unwrap_err().to_string(), said);
        }
    }
}
