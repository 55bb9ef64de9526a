//! What of the loss can be chosen.

use serde::{Deserialize, Serialize};

use super::AttributeLoss;

/// Choices beside the gains; the defaults are the reference's (attridet.md, 8.3 and 8.4).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossOptions {
    /// Exponent of the focal loss on objectness and classes, 0 or more; 0 = off.
    pub fl_gamma: f64,
    /// Weight of the positive side of the class term, above 0.
    pub cls_pw: f64,
    /// Weight of the positive side of the objectness term, above 0.
    pub obj_pw: f64,
    /// How much of a class' certainty is given to the others, 0 to 1.
    pub label_smoothing: f64,
    /// Largest ratio between a cell's side and the prior box's, either way, above 1.
    pub anchor_t: f32,
    /// Weight of asking a cell of unsaid class to be surely of some class, 0 or more; 0 = off.
    #[serde(default)]
    pub cls_any: f64,
    /// Weight of what a teacher says, 0 or more; nothing without one.
    #[serde(default)]
    pub distill: f64,
    /// How attributes are judged.
    #[serde(default)]
    pub attribute: AttributeLoss,
}

impl Default for LossOptions {
    fn default() -> Self {
        Self {
            fl_gamma: 0.0,
            cls_pw: 1.0,
            obj_pw: 1.0,
            label_smoothing: 0.0,
            anchor_t: 4.0,
            cls_any: 0.0,
            distill: 1.0,
            attribute: AttributeLoss::CrossEntropy,
        }
    }
}
