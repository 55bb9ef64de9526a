//! What the station tells of itself: counters and how long each stage takes. Written by one thread a
//! number, read by any; never locks, never allocates.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// Upper edges of the histogram's bins in microseconds; a last bin holds the rest.
pub const EDGES_US: [u64; 14] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 640_000,
    1_280_000, 5_000_000,
];

/// Times of one stage.
#[derive(Debug, Default)]
pub struct Stage {
    bins: [AtomicU64; EDGES_US.len() + 1],
    total_us: AtomicU64,
}

/// What a stage took up to now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageSummary {
    /// Times it ran.
    pub count: u64,
    /// All together, in microseconds.
    pub total_us: u64,
    /// Upper edge of the bin that holds the 95th percentile, in milliseconds; `None` before the first.
    pub p95_ms: Option<f64>,
}

impl Stage {
    /// One more.
    pub fn add(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bin = EDGES_US.partition_point(|&edge| edge < us);
        self.bins[bin].fetch_add(1, Ordering::Relaxed);
        self.total_us.fetch_add(us, Ordering::Relaxed);
    }

    /// How often it took at most as long as each edge, as Prometheus wants it; the last is the count.
    pub fn cumulative(&self) -> [u64; EDGES_US.len() + 1] {
        let mut sum = 0;
        std::array::from_fn(|bin| {
            sum += self.bins[bin].load(Ordering::Relaxed);
            sum
        })
    }

    /// All of it in short.
    pub fn summary(&self) -> StageSummary {
        let cumulative = self.cumulative();
        let count = cumulative[EDGES_US.len()];
        let wanted = count - count / 20;
        let bin = cumulative.iter().position(|&n| n >= wanted);
        let edge = bin.and_then(|bin| EDGES_US.get(bin)).copied();
        StageSummary {
            count,
            total_us: self.total_us.load(Ordering::Relaxed),
            p95_ms: edge.filter(|_| count > 0).map(|us| us as f64 / 1000.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_their_bins_and_the_slowest_twentieth_is_told() {
        let stage = Stage::default();
        assert_eq!(stage.summary().p95_ms, None);
        for us in [100, 250, 251, 3_000_000, 60_000_000] {
            stage.add(Duration::from_micros(us));
        }
        let cumulative = stage.cumulative();
        assert_eq!((cumulative[0], cumulative[1]), (2, 3));
        assert_eq!((cumulative[13], cumulative[14]), (4, 5));
        for _ in 0..95 {
            stage.add(Duration::from_micros(900));
        }
        let summary = stage.summary();
        assert_eq!((summary.count, summary.p95_ms), (100, Some(1.0)));
        assert_eq!(summary.total_us, 63_000_601 + 95 * 900);
    }
}
