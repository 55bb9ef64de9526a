//! What the station measures by: the configuration's scale, or that of a calibration that fits the open
//! source.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use shared::geometry::Size;

use crate::calibrate::record::Mark;
use crate::calibrate::{self, Calibration, InForce, Standing};
use crate::case::text::Text;
use crate::config::CalibrationConfig;
use crate::log::Level;
use crate::picture::Picture;
use crate::service::view::{Banner, BannerLevel};
use crate::source::SourceIdentity;

use super::desk::Desk;
use super::plan::Optics;
use super::start::open_unattended;

/// What is known of the scale.
#[derive(Clone, Debug, PartialEq)]
pub enum Scale {
    /// Micrometres a pixel, by this calibration.
    Known {
        /// Its id, which goes into the record.
        id: Text,
        /// Micrometres.
        um_per_px: f32,
    },
    /// None, and it may be counted all the same.
    NotNeeded,
    /// None: nothing may be counted.
    Missing,
    /// That of a calibration, and no frame has come yet to compare it with.
    Unseen,
    /// That of a calibration for another source or frames of another size, in words: nothing may be
    /// counted.
    Foreign(String),
}

impl Scale {
    /// What a case records; `None` = without a scale.
    pub fn id(&self) -> Option<&Text> {
        match self {
            Self::Known { id, .. } => Some(id),
            _ => None,
        }
    }

    /// Why nothing may be counted, for people.
    pub fn problem(&self) -> Option<String> {
        match self {
            Self::Known { .. } | Self::NotNeeded => None,
            Self::Missing => Some(NO_SCALE.to_owned()),
            Self::Unseen => {
                let words = "no frame has come yet that the calibration could be compared with";
                Some(words.to_owned())
            }
            Self::Foreign(words) => Some(format!(
                "the calibration is not for this source: {words}; calibrate again, or accept the scale"
            )),
        }
    }
}

/// Why nothing is counted without a scale.
const NO_SCALE: &str = "no scale is known: calibrate, or set calibration.um_per_pixel, or calibration.count_without_scale if it may be counted without";

/// The calibration of the data root beside the configuration's own numbers, and what both are worth
/// for the open source.
#[derive(Clone, Debug)]
pub struct Ruler {
    root: PathBuf,
    config: CalibrationConfig,
    kept: Option<Calibration>,
    blank: Option<Arc<Picture>>,
    /// Files that cannot be used.
    flaws: Vec<String>,
    source: Option<(SourceIdentity, Size)>,
    /// What a person said the scale holds for, although it was made for something else.
    accepted: Option<Mark>,
}

impl Ruler {
    /// Of a data root, before any source is open.
    pub fn load(root: &Path, config: CalibrationConfig) -> Self {
        let mut ruler = Self {
            root: root.to_owned(),
            config,
            kept: None,
            blank: None,
            flaws: Vec::new(),
            source: None,
            accepted: None,
        };
        ruler.reload();
        ruler
    }

    /// Reads the calibration again. What cannot be read is none, and a banner.
    pub fn reload(&mut self) {
        let before = self.kept.take();
        let blank = self.blank.take();
        self.flaws.clear();
        match calibrate::load(&self.root) {
            Ok(kept) => self.kept = kept,
            Err(error) => self.flaws.push(format!("No calibration: {error}")),
        }
        if self.kept.is_some() && self.kept == before {
            // As before, so that a slide goes on.
            self.blank = blank;
            if self.blank.is_some() {
                return;
            }
        } else {
            self.accepted = None;
        }
        let picture = self.kept.as_ref();
        let picture = picture.map(|kept| calibrate::load_blank(&self.root, kept));
        match picture.transpose() {
            Ok(picture) => self.blank = picture.flatten().map(Arc::new),
            Err(error) => {
                let flaw = format!("The calibration's blank field is not used: {error}");
                self.flaws.push(flaw);
            }
        }
    }

    /// The source that is open and the size of its frames.
    pub fn show(&mut self, identity: &SourceIdentity, size: Size) {
        self.source = Some((identity.clone(), size));
    }

    /// The size of the frames; `None` before any has come.
    pub fn size(&self) -> Option<Size> {
        self.source.as_ref().map(|it| it.1)
    }

    /// Frames have this size from now on.
    pub fn resize(&mut self, size: Size) {
        if let Some(source) = &mut self.source {
            source.1 = size;
        }
    }

    /// A person says that the calibration's scale holds for the open source; what it was made for
    /// otherwise, in words. `None` when that changes nothing.
    pub fn accept(&mut self) -> Option<String> {
        let words = self.mismatch()?;
        if !self.counts_by_calibration() || self.is_accepted() {
            return None;
        }
        let (identity, size) = self.source.as_ref()?;
        self.accepted = Some(Mark::of(identity, *size));
        Some(words)
    }

    /// What is counted by.
    pub fn scale(&self) -> Scale {
        let InForce { um_per_px, id, .. } = InForce::of(&self.config, self.usable());
        if let Some((um_per_px, id)) = um_per_px.zip(id) {
            let id = Text::try_from(id).expect("a short line");
            return Scale::Known { id, um_per_px };
        }
        let by_calibration = self.counts_by_calibration();
        if by_calibration && self.source.is_none() {
            return Scale::Unseen;
        }
        match self.mismatch().filter(|_| by_calibration) {
            _ if self.config.count_without_scale => Scale::NotNeeded,
            Some(words) => Scale::Foreign(words),
            None => Scale::Missing,
        }
    }

    /// What frames are judged with.
    pub fn optics(&self) -> Optics {
        let usable = self.usable();
        // A scale may be accepted for frames of another size; a picture cannot.
        let same_size = usable.is_some_and(|it| Some(it.content().source.size) == self.size());
        Optics {
            squeeze: InForce::of(&self.config, usable).squeeze,
            blank: self.blank.clone().filter(|_| same_size),
        }
    }

    /// What people must know; `now` is in seconds since 1970, `None` while the clock is not set.
    pub fn banners(&self, now: Option<i64>) -> Vec<Banner> {
        let level = match self.scale().problem() {
            Some(_) => BannerLevel::Error,
            None => BannerLevel::Warning,
        };
        let flaws = self.flaws.iter().cloned();
        let standing = self.standing(now).and_then(|standing| match &standing {
            Standing::Mismatch { .. } if self.is_accepted() => {
                let words = words(&standing)?;
                Some(format!(
                    "The calibration is used because somebody accepted it, although it is not for this \
                     source: {words}."
                ))
            }
            _ => standing.banner(),
        });
        let all = flaws.chain(standing);
        all.map(|text| Banner { level, text }).collect()
    }

    /// Whether nothing but a calibration gives the scale, if it fits.
    fn counts_by_calibration(&self) -> bool {
        let has_scale = |it: &Calibration| it.content().scale.is_some();
        self.config.um_per_pixel.is_none() && self.kept.as_ref().is_some_and(has_scale)
    }

    fn standing(&self, now: Option<i64>) -> Option<Standing> {
        let (kept, (identity, size)) = self.kept.as_ref().zip(self.source.as_ref())?;
        let old_after = self.config.old_after_days;
        Some(kept.stands(identity, *size, now, old_after))
    }

    fn mismatch(&self) -> Option<String> {
        words(&self.standing(None)?)
    }

    fn is_accepted(&self) -> bool {
        let mark = self.source.as_ref().map(|it| Mark::of(&it.0, it.1));
        let pair = self.accepted.as_ref().zip(mark);
        pair.is_some_and(|(accepted, mark)| accepted.differs(&mark).is_none())
    }

    fn usable(&self) -> Option<&Calibration> {
        let fits = self.standing(None)?.may_be_used() || self.is_accepted();
        self.kept.as_ref().filter(|_| fits)
    }
}

fn words(standing: &Standing) -> Option<String> {
    match standing {
        Standing::Mismatch {
            what,
            expected,
            found,
        } => Some(format!("{what} is {found}, expected {expected}")),
        _ => None,
    }
}

impl Desk {
    /// Changes what is measured by; other optics begin the slide anew, for what was seen with the former
    /// ones cannot be compared.
    pub(super) fn measure_by(&mut self, change: impl FnOnce(&mut Ruler)) {
        let (optics, scale) = (self.ruler.optics(), self.ruler.scale());
        change(&mut self.ruler);
        let now = self.ruler.scale();
        if now != scale {
            let (level, problem) = match now.problem() {
                Some(problem) => (Level::Warning, Some(problem)),
                None => (Level::Info, None),
            };
            let fields = json!({ "id": now.id(), "problem": problem });
            self.shared.say(level, "scale", fields);
        }
        if !self.ruler.optics().is_like(&optics) {
            self.begin_slide();
        }
    }

    /// The source was opened.
    pub(super) fn source(&mut self, identity: &SourceIdentity) {
        let value = serde_json::to_value(identity).expect("words and numbers");
        let fields = json!({ "identity": value });
        self.shared.say(Level::Info, "source_opened", fields);
        self.record_station("source_opened", value);
        if let Some(size) = self.ruler.size() {
            self.measure_by(|ruler| ruler.show(identity, size));
        }
    }

    /// The first frame of a slide is there: whether the calibration is for such frames is known now.
    pub(super) fn slide_begins(&mut self, size: Size) {
        if let Some(identity) = self.shared.source().identity {
            self.measure_by(|ruler| ruler.show(&identity, size));
        }
        if let Some(case) = self.awaited.take() {
            self.refused = open_unattended(self, &case).err();
        }
        self.post();
    }
}

#[cfg(test)]
mod tests;
