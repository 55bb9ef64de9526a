//! What the analysis is to do: written by the desk, read before each frame.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use shared::geometry::Size;

use crate::case::decision::DecisionRules;
use crate::picture::Picture;
use field::map::Place;

/// What is done with the frames.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Number of the slide in this start of the program: what was seen under another number is forgotten.
    pub slide: u64,
    /// What fields are counted by; `None` = frames are judged and shown only.
    pub rules: Option<Arc<Rules>>,
    /// Why nothing is counted, for the page; there exactly when `rules` is not.
    pub why_not: Option<String>,
    /// How often "this is a new field" was said.
    pub new_fields: u32,
    /// Fields of the case from before this slide number began.
    pub recorded: Arc<[RecordedField]>,
    /// What is known of the light and the pixels; another one only with another slide number.
    pub optics: Optics,
}

/// What a calibration says of every frame.
#[derive(Clone, Debug)]
pub struct Optics {
    /// Width of a circle's picture over its height.
    pub squeeze: f32,
    /// What a frame without cells looks like, reduced.
    pub blank: Option<Arc<Picture>>,
}

impl Optics {
    /// Whether frames are judged alike by both.
    pub fn is_like(&self, other: &Self) -> bool {
        let place = |it: &Self| it.blank.as_ref().map(Arc::as_ptr);
        self.squeeze == other.squeeze && place(self) == place(other)
    }
}

impl Default for Optics {
    fn default() -> Self {
        Self {
            squeeze: 1.0,
            blank: None,
        }
    }
}

/// What fields are counted by.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// From which score on a class is said.
    pub decision: DecisionRules,
    /// Attributes of the model.
    pub attributes: usize,
}

/// A field that is in the record already.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedField {
    /// Its number in the case.
    pub field: u32,
    /// Of its picture.
    pub size: Size,
    /// Where it lies.
    pub place: Place,
    /// Its cells, those of people and removed ones too: none is to be counted again.
    pub boxes: Vec<[f32; 4]>,
}

impl Plan {
    /// No case: look, and count nothing.
    pub fn idle(slide: u64, why_not: &str) -> Self {
        Self {
            slide,
            rules: None,
            why_not: Some(why_not.to_owned()),
            new_fields: 0,
            recorded: Arc::new([]),
            optics: Optics::default(),
        }
    }
}

/// Where the plan lies.
#[derive(Debug)]
pub struct Posted {
    plan: Mutex<Arc<Plan>>,
    version: AtomicU64,
}

impl Posted {
    /// The first one.
    pub fn new(plan: Plan) -> Self {
        Self {
            plan: Mutex::new(Arc::new(plan)),
            version: AtomicU64::new(1),
        }
    }

    /// Holds from the next frame on.
    pub fn post(&self, plan: Plan) {
        let plan = Arc::new(plan);
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
        self.version.fetch_add(1, Ordering::Release);
    }

    /// The plan, if it is not the one that the reader knows by its version (0 = none).
    pub fn newer(&self, known: &mut u64) -> Option<Arc<Plan>> {
        let version = self.version.load(Ordering::Acquire);
        if version == *known {
            return None;
        }
        *known = version;
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&plan))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_once() {
        let posted = Posted::new(Plan::idle(0, "no case is open"));
        let mut known = 0;
        assert_eq!(posted.newer(&mut known).map(|it| it.slide), Some(0));
        assert!(posted.newer(&mut known).is_none());
        posted.post(Plan::idle(1, ""));
        posted.post(Plan::idle(2, ""));
        assert_eq!(posted.newer(&mut known).map(|it| it.slide), Some(2));
        assert!(posted.newer(&mut known).is_none());
    }
}
