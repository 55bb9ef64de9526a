//! Probabilities that are never NaN and therefore have an order.

use core::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// A probability, 0..=1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f32", into = "f32")]
pub struct Score(f32);

/// A number that is no probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreError(
    /// What was given.
    pub f32,
);

impl core::fmt::Display for ScoreError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "score {} outside 0..=1", self.0)
    }
}

impl core::error::Error for ScoreError {}

impl Score {
    /// Impossible.
    pub const ZERO: Self = Self(0.0);
    /// Certain.
    pub const ONE: Self = Self(1.0);

    /// `None` unless `p` is in 0..=1.
    pub fn new(p: f32) -> Option<Self> {
        // `+ 0.0` makes -0.0 a plain zero, so that equal scores also sort as equal.
        (0.0..=1.0).contains(&p).then_some(Self(p + 0.0))
    }

    /// The logistic of `logit`; `None` for NaN.
    pub fn from_logit(logit: f32) -> Option<Self> {
        Self::new(sigmoid(logit))
    }

    /// The product of two probabilities.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 * other.0)
    }

    /// The number.
    pub fn get(self) -> f32 {
        self.0
    }
}

/// The logistic function through `libm`: the same bits on every target.
pub fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-logit))
}

impl Eq for Score {}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl TryFrom<f32> for Score {
    type Error = ScoreError;

    fn try_from(p: f32) -> Result<Self, Self::Error> {
        Self::new(p).ok_or(ScoreError(p))
    }
}

impl From<Score> for f32 {
    fn from(score: Score) -> Self {
        score.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logistic_stays_inside_and_refuses_nan() {
        assert_eq!(Score::from_logit(0.0), Score::new(0.5));
        assert_eq!(Score::from_logit(1e30), Some(Score::ONE));
        assert_eq!(Score::from_logit(-1e30), Some(Score::ZERO));
        assert_eq!(Score::from_logit(f32::NAN), None);
        assert_eq!(Score::new(1.0001), None);
    }
}
