//! Weights in the order in which kernels read them, and the proof that a kernel is exact for them.

use crate::kernel::{Fit, GROUP, Kernel};

/// Weights and starts of some output channels.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// First output channel.
    pub(crate) first: usize,
    /// Output channels that count; the rest of the block is nothing.
    pub(crate) n: usize,
    /// 1 or as many as the kernel has at most.
    pub(crate) vectors: usize,
    /// `[runs][groups][width][GROUP]`
    pub(crate) weights: Vec<i8>,
    /// `[width]`
    pub(crate) start: Vec<i32>,
    /// `[width]`
    pub(crate) multiplier: Vec<f32>,
}

impl Block {
    /// Channels with those that are nothing.
    pub(crate) fn width(&self, kernel: &Kernel) -> usize {
        self.vectors * kernel.lanes
    }
}

/// Weights as runs: `[output channel][run][byte of the run]`.
#[derive(Debug)]
pub(crate) struct Runs {
    pub(crate) n_channels: usize,
    pub(crate) n_runs: usize,
    /// Bytes of a run; its last group is filled up with zero weights.
    pub(crate) len: usize,
    pub(crate) weights: Vec<i8>,
}

impl Runs {
    pub(crate) fn groups(&self) -> usize {
        self.len.div_ceil(GROUP)
    }

    fn of(&self, channel: usize) -> &[i8] {
        let len = self.n_runs * self.len;
        &self.weights[channel * len..][..len]
    }

    /// Sum of a channel's weights.
    pub(crate) fn total(&self, channel: usize) -> i64 {
        self.of(channel).iter().map(|&w| i64::from(w)).sum()
    }

    /// Largest absolute sum that bytes can make in a channel, without its start.
    pub(crate) fn reach(&self, channel: usize) -> i64 {
        self.of(channel)
            .iter()
            .map(|&w| 255 * i64::from(w).abs())
            .sum()
    }

    /// What these weights are fit for.
    pub(crate) fn fit(&self) -> Fit {
        let pair = |run: &[i8]| {
            run.chunks(2).all(|pair| {
                let sum = |of: fn(i32) -> i32| pair.iter().map(|&w| of(w.into())).sum::<i32>();
                255 * sum(|w| w.max(0)) <= i16::MAX.into()
                    && 255 * sum(|w| w.min(0)) >= i16::MIN.into()
            })
        };
        if self.len == 0 || self.weights.chunks(self.len).all(pair) {
            Fit::Pairs
        } else if self.weights.iter().all(|&w| w != i8::MIN) {
            Fit::Symmetric
        } else {
            Fit::Any
        }
    }

    /// Cuts the channels into blocks for `kernel`.
    pub(crate) fn blocks(&self, kernel: &Kernel, start: &[i32], multiplier: &[f32]) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut first = 0;
        while first < self.n_channels {
            let left = self.n_channels - first;
            let vectors = if left > kernel.lanes {
                kernel.vectors
            } else {
                1
            };
            let width = vectors * kernel.lanes;
            let n = left.min(width);
            let padded = |channel: usize| (channel < n).then_some(first + channel);
            blocks.push(Block {
                first,
                n,
                vectors,
                weights: self.packed(first, n, width),
                start: (0..width)
                    .map(|at| padded(at).map_or(0, |channel| start[channel]))
                    .collect(),
                multiplier: (0..width)
                    .map(|at| padded(at).map_or(0.0, |channel| multiplier[channel]))
                    .collect(),
            });
            first += n;
        }
        blocks
    }

    fn packed(&self, first: usize, n: usize, width: usize) -> Vec<i8> {
        let groups = self.groups();
        let mut packed = vec![0; self.n_runs * groups * width * GROUP];
        for at in 0..n {
            for (run, bytes) in self.of(first + at).chunks(self.len).enumerate() {
                for (k, &weight) in bytes.iter().enumerate() {
                    let group = run * groups + k / GROUP;
                    packed[(group * width + at) * GROUP + k % GROUP] = weight;
                }
            }
        }
        packed
    }
}
