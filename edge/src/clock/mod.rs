//! When something happened: by start of the program and sequence number first, by the clock on the
//! wall only for people.
//!
//! Stations often have no clock chip: the wall may say 1970, jump by years or run backwards. Nothing
//! is therefore ordered by it, and a time before [`WALL_MIN`] is no time at all.

mod boot;
mod jump;
mod when;

use std::cmp::Ordering;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering as Atomic};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

pub use boot::{BootError, BootId, Started, begin};
pub use jump::{JumpWatch, WallChange};
pub use when::When;

/// Earliest time that a wall clock may say: 2026-01-01 00:00 UTC, seconds since 1970. Before that
/// the program did not exist, so the clock is not set.
pub const WALL_MIN: i64 = 1_767_225_600;

/// A point in the life of the station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The start of the program it belongs to.
    pub boot: BootId,
    /// Greater than that of every earlier moment of the same start; begins at 1.
    pub sequence: u64,
    /// Since the start of the program, by a clock that never goes back.
    pub since_start: Duration,
    /// Seconds since 1970; `None` while the clock is not set.
    pub wall: Option<i64>,
}

impl Moment {
    /// Which came first, by sequence number; `None` between different starts, whose order only a
    /// record can tell.
    pub fn order(&self, other: &Self) -> Option<Ordering> {
        (self.boot == other.boot).then(|| self.sequence.cmp(&other.sequence))
    }
}

/// Hands out moments; one in a program, shared by its threads.
#[derive(Debug)]
pub struct Clock {
    boot: OnceLock<BootId>,
    start: Instant,
    sequence: AtomicU64,
}

impl Clock {
    /// Begins now.
    pub fn new(boot: BootId) -> Self {
        let clock = Self::unnamed();
        clock.name(boot);
        clock
    }

    /// Begins now, on a disk that takes no name of this start.
    pub fn unnamed() -> Self {
        Self {
            boot: OnceLock::new(),
            start: Instant::now(),
            sequence: AtomicU64::new(0),
        }
    }

    /// Names this start, unless it has a name.
    pub fn name(&self, boot: BootId) {
        // Moments that were handed out keep it.
        let _ = self.boot.set(boot);
    }

    /// Whether it has a name: without one nothing may be recorded.
    pub fn is_named(&self) -> bool {
        self.boot.get().is_some()
    }

    /// Which start of the program this is; number 0 while it has no name.
    pub fn boot(&self) -> BootId {
        self.boot.get().copied().unwrap_or(BootId::new(0, 0))
    }

    /// Where [`Moment::since_start`] begins.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Since the start of the program.
    pub fn since_start(&self) -> Duration {
        self.start.elapsed()
    }

    /// The next moment.
    pub fn moment(&self) -> Moment {
        self.moment_at(self.since_start(), SystemTime::now())
    }

    /// The next moment, at times read elsewhere.
    pub fn moment_at(&self, since_start: Duration, wall: SystemTime) -> Moment {
        Moment {
            boot: self.boot(),
            sequence: self.sequence.fetch_add(1, Atomic::Relaxed) + 1,
            since_start,
            wall: wall_of(wall),
        }
    }
}

/// Seconds since 1970 of a clock that is set, else `None`.
pub fn wall_of(time: SystemTime) -> Option<i64> {
    Some(unix_seconds(time)).filter(|&seconds| seconds >= WALL_MIN)
}

/// Seconds since 1970, rounded down, set or not; negative before 1970.
fn unix_seconds(time: SystemTime) -> i64 {
    let whole = |length: Duration| i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => whole(after),
        Err(before) => -whole(before.duration()) - i64::from(before.duration().subsec_nanos() > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_named_once() {
        let clock = Clock::unnamed();
        assert_eq!((clock.is_named(), clock.boot()), (false, BootId::new(0, 0)));
        for number in [3, 4] {
            clock.name(BootId::new(1, number));
            assert_eq!(clock.moment().boot, BootId::new(1, 3));
        }
    }

    fn at(seconds: i64) -> SystemTime {
        let length = Duration::from_secs(seconds.unsigned_abs());
        match seconds >= 0 {
            true => UNIX_EPOCH + length,
            false => UNIX_EPOCH - length,
        }
    }

    #[test]
    fn a_clock_before_2026_is_not_set() {
        for (seconds, expected) in [
            (-86_400, None),
            (0, None),
            (1_700_000_000, None),
            (WALL_MIN - 1, None),
            (WALL_MIN, Some(WALL_MIN)),
            (1_900_000_000, Some(1_900_000_000)),
        ] {
            assert_eq!(wall_of(at(seconds)), expected, "{seconds}");
        }
        assert_eq!(unix_seconds(UNIX_EPOCH - Duration::from_millis(1)), -1);
    }

    #[test]
    fn order_is_by_sequence_although_the_wall_jumps_by_years() {
        let clock = Clock::new(BootId::new(7, 1));
        let walls = [1_900_000_000, 0, 1_800_000_000, -5, 1_950_000_000];
        let moments: Vec<Moment> = walls
            .iter()
            .map(|&wall| clock.moment_at(clock.since_start(), at(wall)))
            .collect();
        for pair in moments.windows(2) {
            assert_eq!(pair[0].order(&pair[1]), Some(Ordering::Less), "{pair:?}");
            assert!(pair[0].since_start <= pair[1].since_start);
        }
        assert_eq!(moments[1].wall, None);
        let other = Clock::new(BootId::new(7, 2)).moment();
        assert_eq!(moments[0].order(&other), None);
    }

    #[test]
    fn threads_never_share_a_sequence_number() {
        let clock = Clock::new(BootId::new(1, 1));
        let mut numbers: Vec<u64> = std::thread::scope(|scope| {
            let take = || {
                (0..1000)
                    .map(|_| clock.moment().sequence)
                    .collect::<Vec<_>>()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            let taken = threads.into_iter().map(|thread| thread.join().unwrap());
            taken.flatten().collect()
        });
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(1..=4000));
    }

    #[test]
    fn a_moment_comes_back_from_json_as_it_was() {
        let moment = Clock::new(BootId::new(u128::MAX - 3, 42))
            .moment_at(Duration::new(3, 5), at(1_800_000_000));
        let json = serde_json::to_string(&moment).unwrap();
        assert_eq!(serde_json::from_str::<Moment>(&json).unwrap(), moment);
    }
}
