//! Scores of findings against the truth: slices in, numbers out, the same on host and station.
//!
//! A *hit* is a truth that was found, a *miss* one that was not, an *extra* a finding on no truth.
//! Every function works in the caller's memory; nothing here knows pictures, files or names.
//!
//! Two definitions of average precision live side by side because both are published: YOLOv5's
//! ([`average_precision::yolov5`]) and COCO's ([`average_precision::coco`]). They differ in how
//! findings are matched ([`matching`]) and in how the curve is integrated; no number leaves this
//! crate without saying which it is.
//!
//! A truth whose class nobody said ([`crate::cell::Cell::class`] is `None`) is a white cell all
//! the same: class by class, a finding on it is neither hit nor extra; for "any white cell" the
//! caller gives all truths and findings one class and it counts like every other.

pub mod agreement;
pub mod attributes;
pub mod average_precision;
pub mod confusion;
pub mod matching;
pub mod operating_point;
pub mod reliability;

/// F1 of integer counts: `2·hits / (2·hits + misses + extras)`.
///
/// `None` when there is neither truth nor finding; 0 when nothing was hit.
pub fn f1(hits: u32, misses: u32, extras: u32) -> Option<f64> {
    ratio(
        2 * u64::from(hits),
        2 * u64::from(hits) + u64::from(misses) + u64::from(extras),
    )
}

/// `part / whole`, `None` for an empty whole.
pub(crate) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The mean of what is defined, `None` when nothing is.
pub fn mean_of_defined(values: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, n) = values
        .into_iter()
        .flatten()
        .fold((0.0, 0_u32), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}
