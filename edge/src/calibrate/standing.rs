//! Whether a calibration still fits: pure, the time is passed in.

use shared::geometry::Size;

use super::record::{Calibration, Mark};
use crate::source::{SourceIdentity, SourceKind};

/// Seconds of a day.
const DAY_S: i64 = 86_400;

/// How a calibration stands to what is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It fits.
    Good,
    /// It fits, and was made long ago.
    Old {
        /// Age of its oldest part, days.
        days: u32,
        /// Days after which it is old.
        after: u32,
    },
    /// It is that of another source or of frames of another size: it must not be used.
    Mismatch {
        /// What differs.
        what: &'static str,
        /// Of the calibration.
        expected: String,
        /// Of what is there.
        found: String,
    },
    /// It fits, and its age is unknown: the clock is not set, was not, or says less than it did then.
    AgeUnknown,
}

impl Standing {
    /// Whether it may be used.
    pub fn may_be_used(&self) -> bool {
        !matches!(self, Self::Mismatch { .. })
    }

    /// What the station shows; `None` when all is well.
    pub fn banner(&self) -> Option<String> {
        match self {
            Self::Good => None,
            Self::Old { days, after } => Some(format!(
                "The calibration is {days} days old, expected at most {after}: calibrate again."
            )),
            Self::Mismatch {
                what,
                expected,
                found,
            } => Some(format!(
                "The calibration is not for this source: {what} is {found}, expected {expected}. It is \
                 not used: calibrate again."
            )),
            Self::AgeUnknown => Some(
                "The age of the calibration is unknown: the clock is not set, or was not when it was \
                 made."
                    .to_owned(),
            ),
        }
    }
}

impl Calibration {
    /// How it stands to an open source with frames of `size`; `now` is in seconds since 1970, `None`
    /// while the clock is not set.
    pub fn stands(
        &self,
        identity: &SourceIdentity,
        size: Size,
        now: Option<i64>,
        old_after_days: u32,
    ) -> Standing {
        let found = Mark::of(identity, size);
        match self.content().source.differs(&found) {
            Some(mismatch) => mismatch,
            None => self.age(now, old_after_days),
        }
    }

    /// As [`Calibration::stands`], of the source it was made with.
    pub fn age(&self, now: Option<i64>, old_after_days: u32) -> Standing {
        let mut oldest = 0;
        for moment in self.content().moments() {
            let age = now.zip(moment.wall).map(|(now, then)| now - then);
            match age.filter(|&age| age >= 0) {
                None => return Standing::AgeUnknown,
                Some(age) => oldest = age.max(oldest),
            }
        }
        let days = u32::try_from(oldest / DAY_S).unwrap_or(u32::MAX);
        match days > old_after_days {
            true => Standing::Old {
                days,
                after: old_after_days,
            },
            false => Standing::Good,
        }
    }
}

impl Mark {
    /// The first thing by which `found` is another source, or has other frames; a camera is told by card
    /// and port, everything else by its name.
    pub fn differs(&self, found: &Self) -> Option<Standing> {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
        let kinds = [self.kind, found.kind].map(|kind| kind_name(kind).to_owned());
        let [kind, other_kind] = kinds;
        let is_camera = self.kind == SourceKind::Camera;
        let names = match is_camera {
            true => [String::new(), String::new()],
            false => [self.name.clone(), found.name.clone()],
        };
        let [name, other_name] = names;
        let pairs = [
            ("the kind", kind, other_kind),
            ("the camera", or_none(&self.card), or_none(&found.card)),
            ("the port", or_none(&self.bus), or_none(&found.bus)),
            ("the source", name, other_name),
            ("the frame", self.size.to_string(), found.size.to_string()),
        ];
        let differing = pairs.into_iter().find(|(_, is, other)| is != other);
        differing.map(|(what, expected, found)| Standing::Mismatch {
            what,
            expected,
            found,
        })
    }
}

fn kind_name(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Camera => "camera",
        SourceKind::Folder => "folder",
        SourceKind::Sequence => "sequence",
        SourceKind::Phantom => "phantom",
    }
}
