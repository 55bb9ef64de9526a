//! Whether a confidence of 0.8 is right eight times in ten.

use crate::score::Score;

/// Bins of equal width; bin `k` holds confidences above `k/15` up to `(k+1)/15`.
pub const BINS: usize = 15;

/// Findings of similar confidence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// Findings.
    pub n: u32,
    /// Those that were right.
    pub right: u32,
    /// Sum of their confidences.
    pub confidence_sum: f64,
}

impl Bin {
    /// `(mean confidence, share right)`; `None` for an empty bin.
    pub fn means(&self) -> Option<(f64, f64)> {
        let n = f64::from(self.n);
        (self.n > 0).then(|| (self.confidence_sum / n, f64::from(self.right) / n))
    }
}

/// Confidence against outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reliability {
    bins: [Bin; BINS],
}

impl Reliability {
    /// One finding and whether it was right.
    pub fn add(&mut self, score: Score, right: bool) {
        let confidence = f64::from(score.get());
        let upper_edge = libm::ceil(confidence * BINS as f64) as usize;
        let bin = &mut self.bins[upper_edge.saturating_sub(1).min(BINS - 1)];
        bin.n += 1;
        bin.right += u32::from(right);
        bin.confidence_sum += confidence;
    }

    /// The bins, from unsure to sure.
    pub fn bins(&self) -> &[Bin; BINS] {
        &self.bins
    }

    /// Expected calibration error: the distance between confidence and outcome, averaged over the
    /// findings, 0..=1; `None` without findings.
    pub fn expected_error(&self) -> Option<f64> {
        let n: u32 = self.bins.iter().map(|bin| bin.n).sum();
        let distance = |bin: &Bin| (f64::from(bin.right) - bin.confidence_sum).abs();
        (n > 0).then(|| self.bins.iter().map(distance).sum::<f64>() / f64::from(n))
    }
}
