//! When the frames of a source that is no camera are due.
//!
//! [`Pace`] is pure, the time is passed in; [`Ticker`] reads the clock and sleeps for it.

use std::thread;
use std::time::{Duration, Instant};

use super::SourceError;

/// Highest rate, frames a second.
pub const FPS_MAX: f32 = 1000.0;

/// Rate of the times of frames that come as fast as they are asked for, frames a second.
pub const VIRTUAL_FPS: f32 = 10.0;

/// How fast frames come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// As fast as they are asked for; their times are as though they came at [`VIRTUAL_FPS`].
    Free,
    /// Frames a second of the clock, above 0 and at most [`FPS_MAX`].
    PerSecond(f32),
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A frame is due.
    Frame(Tick),
    /// Sleep so long, then ask again with what is left of the wait.
    Later(Duration),
}

/// The times of frames at an even rate, beginning when the first is asked for.
#[derive(Clone, Debug)]
pub struct Pace {
    interval: Duration,
    waits: bool,
    begin: Option<Duration>,
    next: u64,
}

impl Pace {
    /// At a rate.
    ///
    /// # Errors
    /// A rate that is not above 0 or above [`FPS_MAX`].
    pub fn new(rate: Rate) -> Result<Self, SourceError> {
        let (fps, waits) = match rate {
            Rate::Free => (VIRTUAL_FPS, false),
            Rate::PerSecond(fps) => (fps, true),
        };
        // Frames slower than one in eleven days would not be frames, and their interval could
        // overflow.
        if !(1e-6..=FPS_MAX).contains(&fps) {
            return Err(SourceError::Rate { got: fps });
        }
        Ok(Self {
            interval: Duration::from_secs_f64(1.0 / f64::from(fps)),
            waits,
            begin: None,
            next: 0,
        })
    }

    /// Frames a second; `None` as fast as they are asked for.
    pub fn fps(&self) -> Option<f32> {
        self.waits
            .then(|| (1.0 / self.interval.as_secs_f64()) as f32)
    }

    /// What is due at `now`, the time since the start of the program.
    pub fn due(&mut self, now: Duration) -> Due {
        let begin = *self.begin.get_or_insert(now);
        if !self.waits {
            let captured = begin + self.after(self.next);
            self.next += 1;
            let missed = 0;
            return Due::Frame(Tick { missed, captured });
        }
        let passed = now.saturating_sub(begin);
        let next_due = self.after(self.next);
        if passed < next_due {
            return Due::Later(next_due - passed);
        }
        let newest = (passed.as_nanos() / self.interval.as_nanos()) as u64;
        let missed = newest.saturating_sub(self.next);
        let captured = begin + self.after(self.next + missed);
        self.next += missed + 1;
        Due::Frame(Tick { missed, captured })
    }

    /// Time of frame `n` after the first.
    fn after(&self, n: u64) -> Duration {
        Duration::from_nanos((self.interval.as_nanos() * u128::from(n)) as u64)
    }
}

/// A frame that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Frames that were due before it and that nobody fetched.
    pub missed: u64,
    /// Its time since the start of the program.
    pub captured: Duration,
}

/// A pace by the clock.
#[derive(Clone, Debug)]
pub struct Ticker {
    pace: Pace,
    start: Instant,
}

impl Ticker {
    /// At a rate; times are counted from `start`, the start of the program.
    ///
    /// # Errors
    /// As [`Pace::new`].
    pub fn new(rate: Rate, start: Instant) -> Result<Self, SourceError> {
        let pace = Pace::new(rate)?;
        Ok(Self { pace, start })
    }

    /// Frames a second; `None` as fast as they are asked for.
    pub fn fps(&self) -> Option<f32> {
        self.pace.fps()
    }

    /// Sleeps until a frame is due, at most `wait`; `None` when none was.
    pub fn wait(&mut self, wait: Duration) -> Option<Tick> {
        let end = self.start.elapsed().saturating_add(wait);
        loop {
            let now = self.start.elapsed();
            match self.pace.due(now) {
                Due::Frame(tick) => return Some(tick),
                Due::Later(_) if now >= end => return None,
                Due::Later(left) => thread::sleep(left.min(end - now)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn frames_at_a_rate_come_on_time_and_those_nobody_fetched_are_missed() {
        let mut pace = Pace::new(Rate::PerSecond(10.0)).unwrap();
        let frame = |missed, at| {
            let captured = MS(at);
            Due::Frame(Tick { missed, captured })
        };
        assert_eq!(
            pace.due(MS(5000)),
            frame(0, 5000),
            "the first is due at once"
        );
        assert_eq!(pace.due(MS(5030)), Due::Later(MS(70)));
        assert_eq!(pace.due(MS(5100)), frame(0, 5100));
        assert_eq!(pace.due(MS(5460)), frame(2, 5400), "those of 5200 and 5300");
        assert_eq!(pace.due(MS(5460)), Due::Later(MS(40)));
        assert_eq!(pace.fps(), Some(10.0));
    }

    #[test]
    fn free_frames_wait_for_nothing_and_have_even_times() {
        let mut pace = Pace::new(Rate::Free).unwrap();
        for n in 0..3 {
            let (missed, captured) = (0, MS(40 + 100 * n));
            assert_eq!(pace.due(MS(40)), Due::Frame(Tick { missed, captured }));
        }
        assert_eq!(pace.fps(), None);
    }

    #[test]
    fn the_clock_is_waited_for_and_not_longer_than_asked() {
        let start = Instant::now();
        let mut ticker = Ticker::new(Rate::PerSecond(20.0), start).unwrap();
        let first = ticker
            .wait(Duration::ZERO)
            .expect("the first is due at once");
        assert_eq!(ticker.wait(MS(5)), None);
        let second = ticker.wait(MS(60_000)).expect("due within a minute");
        assert_eq!(
            second.captured - first.captured,
            MS(50) * (1 + second.missed as u32)
        );
        assert!(start.elapsed() >= second.captured);
    }

    #[test]
    fn a_rate_that_is_none_is_refused() {
        for got in [0.0, -1.0, f32::NAN, f32::INFINITY, 1001.0] {
            let error = Pace::new(Rate::PerSecond(got)).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("frames a second: {got}, expected above 0 and at most 1000")
            );
        }
    }
}
