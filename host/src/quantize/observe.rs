//! From the values that were seen to the range that 8 bits are spent on.

use serde::Serialize;

use super::places::Activation;
use super::rewrite::Params;

/// Bins of a histogram.
pub const BINS: usize = 2048;

/// Share of the values that a percentile leaves out, half of it at each end.
const LEFT_OUT: f64 = 1e-4;

/// A range tried is this much of the one before.
const SHRINK: f64 = 0.95;

/// How often a range is shrunk: to less than a twentieth.
const SHRINKS: i32 = 60;

/// How a range is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Observer {
    /// From the least to the largest value.
    #[value(name = "minmax")]
    MinMax,
    /// Without the outermost 0.01 % of the values.
    Percentile,
    /// With the least squared error.
    #[default]
    Mse,
    /// With the least information lost (Kullback-Leibler).
    Kl,
}

/// The values of a tensor, counted.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// Least value.
    pub lo: f64,
    /// Largest value.
    pub hi: f64,
    /// How many lie in each of the [`BINS`] equal parts between.
    pub counts: Vec<f64>,
}

impl Histogram {
    fn centres(&self) -> impl Iterator<Item = (f64, f64)> {
        let width = (self.hi - self.lo) / self.counts.len() as f64;
        let counts = self.counts.iter().enumerate();
        counts.map(move |(bin, &count)| (self.lo + (bin as f64 + 0.5) * width, count))
    }

    /// The value below which this share of all lies, between two bins.
    fn quantile(&self, share: f64) -> f64 {
        let wanted = share * self.counts.iter().sum::<f64>();
        let width = (self.hi - self.lo) / self.counts.len() as f64;
        let mut below = 0.0;
        for (bin, &count) in self.counts.iter().enumerate() {
            if below + count >= wanted && count > 0.0 {
                return self.lo + (bin as f64 + (wanted - below) / count) * width;
            }
            below += count;
        }
        self.hi
    }

    /// The range that `observer` chooses.
    ///
    /// Except for the full range, a value that goes through an activation is judged by the error after
    /// it: SiLU hardly tells -6 from -60, and bytes spent there are lost.
    pub fn range(&self, observer: Observer, activation: Activation) -> [f32; 2] {
        let full = [self.lo as f32, self.hi as f32];
        if self.hi <= self.lo {
            return full;
        }
        match observer {
            Observer::MinMax => full,
            _ if activation != Activation::Straight => {
                self.best(|range| self.squared_error(range, activation))
            }
            Observer::Percentile => {
                let ends = [LEFT_OUT / 2.0, 1.0 - LEFT_OUT / 2.0];
                ends.map(|share| self.quantile(share) as f32)
            }
            Observer::Mse => self.best(|range| self.squared_error(range, activation)),
            Observer::Kl => self.best(|range| self.information_lost(range)),
        }
    }

    /// The range of least cost among those that shrink either end: every fourth of them first, then
    /// those around the best of these.
    fn best(&self, cost: impl Fn([f32; 2]) -> f64) -> [f32; 2] {
        let range = |[lo, hi]: [i32; 2]| {
            let shrunk = |end: f64, n: i32| (end * SHRINK.powi(n)) as f32;
            [shrunk(self.lo.min(0.0), lo), shrunk(self.hi.max(0.0), hi)]
        };
        let least = |los: Vec<i32>, his: &[i32]| {
            let all = los
                .iter()
                .flat_map(|&lo| his.iter().map(move |&hi| [lo, hi]));
            let costs = all.map(|shrinks| (cost(range(shrinks)), shrinks));
            costs
                .min_by(|a, b| a.0.total_cmp(&b.0))
                .map_or([0, 0], |(_, shrinks)| shrinks)
        };
        let coarse: Vec<i32> = (0..=SHRINKS).step_by(4).collect();
        let [lo, hi] = least(coarse.clone(), &coarse);
        let around = |n: i32| (n - 3..=n + 3).filter(|n| *n >= 0).collect::<Vec<i32>>();
        range(least(around(lo), &around(hi)))
    }

    fn squared_error(&self, range: [f32; 2], activation: Activation) -> f64 {
        let Params { scale, zero } = Params::of(range);
        let (scale, zero) = (f64::from(scale), f64::from(zero));
        let levels: Vec<f64> = (0..256)
            .map(|q| activation.of((f64::from(q) - zero) * scale))
            .collect();
        self.centres()
            .filter(|(_, count)| *count > 0.0)
            .map(|(x, count)| {
                let level = ((x / scale).round() + zero).clamp(0.0, 255.0) as usize;
                let error = activation.of(x) - levels[level];
                count * error * error
            })
            .sum()
    }

    /// Divergence of the bytes' distribution from the values', what lies outside counted at the ends
    /// of the values' alone.
    fn information_lost(&self, range: [f32; 2]) -> f64 {
        let Params { scale, zero } = Params::of(range);
        let (scale, zero) = (f64::from(scale), f64::from(zero));
        // Of each level: values inside, values with the outside, bins in use.
        let mut inside = [0.0; 256];
        let mut used = [0.0; 256];
        let mut bins: Vec<(usize, f64, bool)> = Vec::with_capacity(self.counts.len());
        for (x, count) in self.centres().filter(|(_, count)| *count > 0.0) {
            let exact = (x / scale).round() + zero;
            let level = exact.clamp(0.0, 255.0) as usize;
            let is_inside = (0.0..=255.0).contains(&exact);
            if is_inside {
                inside[level] += count;
                used[level] += 1.0;
            }
            bins.push((level, count, is_inside));
        }
        let total: f64 = self.counts.iter().sum();
        let kept: f64 = inside.iter().sum();
        if kept == 0.0 {
            return f64::INFINITY;
        }
        // Outermost bins inside take what lies outside on their side.
        let mut outside = [0.0; 2];
        let middle = zero;
        for (level, count, _) in bins.iter().filter(|bin| !bin.2) {
            outside[usize::from(*level as f64 > middle)] += count;
        }
        let within: Vec<(usize, f64)> = bins
            .iter()
            .filter(|bin| bin.2)
            .map(|&(level, count, _)| (level, count))
            .collect();
        let last = within.len() - 1;
        let of_bin = |(place, &(level, count)): (usize, &(usize, f64))| {
            let mut p = count;
            if place == 0 {
                p += outside[0];
            }
            if place == last {
                p += outside[1];
            }
            let (p, q) = (p / total, inside[level] / used[level] / kept);
            p * (p / q).ln()
        };
        within.iter().enumerate().map(of_bin).sum()
    }
}
