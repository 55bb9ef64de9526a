//! Where the time of an epoch goes.

use std::time::{Duration, Instant};

use tch::{Cuda, Device};

/// On a card one batch in so many is measured: measuring makes this side wait for the card.
const EVERY_ON_CARD: usize = 10;

/// A part of a batch's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing to do: the batch is not there yet.
    Wait,
    /// Copy to the device, network and loss.
    Forward,
    /// Gradients, and their sum over processes.
    Backward,
    /// Optimizer and running mean.
    Step,
}

/// How the time of an epoch divides.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TimeSplit {
    /// Pictures a second, over all of the epoch's training.
    pub images_per_second: f64,
    /// Shares of [`Phase::Wait`], `Forward`, `Backward` and `Step`, 0 to 1, together 1.
    pub shares: [f64; 4],
}

/// Measures the batches of one epoch.
#[derive(Debug)]
pub struct Clock {
    device: Device,
    every: usize,
    started: Instant,
    mark: Instant,
    batches: usize,
    images: usize,
    spent: [Duration; 4],
}

impl Clock {
    /// Starts; the wait for the first batch begins.
    pub fn start(device: Device) -> Self {
        let now = Instant::now();
        let every = if device.is_cuda() { EVERY_ON_CARD } else { 1 };
        Self {
            device,
            every,
            started: now,
            mark: now,
            batches: 0,
            images: 0,
            spent: [Duration::ZERO; 4],
        }
    }

    /// What was done since the last call was `phase`.
    pub fn lap(&mut self, phase: Phase) {
        if !self.batches.is_multiple_of(self.every) {
            return;
        }
        let now = self.now();
        self.spent[phase as usize] += now - self.mark;
        self.mark = now;
    }

    /// A batch of so many pictures is done.
    pub fn batch(&mut self, images: usize) {
        self.images += images;
        self.batches += 1;
        // The wait for a measured batch begins when the card has nothing left to do.
        if self.batches.is_multiple_of(self.every) {
            self.mark = self.now();
        }
    }

    /// How the time divided so far.
    pub fn split(&self) -> TimeSplit {
        let seconds = self.spent.map(|spent| spent.as_secs_f64());
        let measured: f64 = seconds.iter().sum();
        let elapsed = self.started.elapsed().as_secs_f64();
        let over = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
        TimeSplit {
            images_per_second: over(self.images as f64, elapsed),
            shares: seconds.map(|seconds| over(seconds, measured)),
        }
    }

    fn now(&self) -> Instant {
        if let Device::Cuda(card) = self.device {
            Cuda::synchronize(card as i64);
        }
        Instant::now()
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    #[test]
    fn every_phase_gets_the_time_that_was_spent_in_it() {
        let mut clock = Clock::start(Device::Cpu);
        let phases = [Phase::Wait, Phase::Forward, Phase::Backward, Phase::Step];
        for _ in 0..3 {
            for (phase, ms) in phases.into_iter().zip([20, 10, 40, 10]) {
                sleep(Duration::from_millis(ms));
                clock.lap(phase);
            }
            clock.batch(8);
        }
        let split = clock.split();
        assert!((split.shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        // Sleeping may take longer on a busy machine, hence the wide limits around 2/8 and 4/8.
        assert!((0.1..0.45).contains(&split.shares[0]), "{split:?}");
        assert!((0.3..0.7).contains(&split.shares[2]), "{split:?}");
        assert!(split.images_per_second > 1.0 && split.images_per_second <= 24.0 / 0.24);
    }

    #[test]
    fn an_epoch_without_batches_has_no_shares() {
        assert_eq!(Clock::start(Device::Cpu).split().shares, [0.0; 4]);
    }

    #[test]
    fn on_a_card_batches_between_the_measured_ones_are_not_split() {
        let mut clock = Clock::start(Device::Cpu);
        clock.every = 2;
        for batch in 0..2 {
            sleep(Duration::from_millis(if batch == 1 { 50 } else { 2 }));
            clock.lap(Phase::Forward);
            clock.batch(1);
        }
        assert!(clock.spent[1] < Duration::from_millis(40), "{clock:?}");
    }
}
