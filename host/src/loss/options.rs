//! What a hyper-parameter file says about the loss, beside the gains of its terms.

use serde::{Deserialize, Serialize};

/// Variants of the loss; the default is the reference's (attridet.md, 8.3 and 8.4).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossOptions {
    /// Focal exponent of objectness and classes, 0..=10; 0 = plain cross-entropy.
    pub fl_gamma: f64,
    /// Weight of the positive side of the classes' cross-entropy, above 0.
    pub cls_pw: f64,
    /// Weight of the positive side of the objectness' cross-entropy, above 0.
    pub obj_pw: f64,
    /// Share of the truth that is given to the other classes, 0..1.
    pub label_smoothing: f64,
    /// Largest ratio between a cell's side and a prior box's, either way, above 1.
    pub anchor_t: f32,
}

impl Default for LossOptions {
    fn default() -> Self {
        Self {
            fl_gamma: 0.0,
            cls_pw: 1.0,
            obj_pw: 1.0,
            label_smoothing: 0.0,
            anchor_t: 4.0,
        }
    }
}
