//! How much of a model may be lost on its way from the checkpoint to the station.

use serde::{Deserialize, Serialize};

/// Largest allowed loss of a number in 0..=1, and of the mean of several.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossBudget {
    /// Of any single one, 0..=1: 0.01 is one point of a hundred.
    pub each: f32,
    /// Of their mean, 0..=1.
    pub mean: f32,
}

/// What a stage (the checkpoint, the float file, the 8-bit file) may lose against the stage before
/// it, on the same pictures. A loss is what the stage before had more; a gain is none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParityBudgets {
    /// Of AP50-95 by COCO's definition: `each` holds for every class with truth and for "any white
    /// cell".
    pub class_ap: LossBudget,
    /// Of the macro-F1 of an attribute end to end, a missed cell being wrong.
    pub attribute_f1: LossBudget,
    /// Of the number of cells found on all pictures, more or fewer, as a part of the stage before;
    /// 0..=1.
    pub cell_count: f32,
}

impl ParityBudgets {
    /// One point of a class, of an attribute and of the count, half a point of a mean.
    pub const DEFAULT: Self = Self {
        class_ap: LossBudget {
            each: 0.01,
            mean: 0.005,
        },
        attribute_f1: LossBudget {
            each: 0.01,
            mean: 0.005,
        },
        cell_count: 0.01,
    };

    /// Whether every budget is in 0..=1.
    pub fn is_legal(&self) -> bool {
        let Self {
            class_ap,
            attribute_f1,
            cell_count,
        } = self;
        [
            class_ap.each,
            class_ap.mean,
            attribute_f1.each,
            attribute_f1.mean,
            *cell_count,
        ]
        .iter()
        .all(|budget| (0.0..=1.0).contains(budget))
    }
}

impl Default for ParityBudgets {
    fn default() -> Self {
        Self::DEFAULT
    }
}
