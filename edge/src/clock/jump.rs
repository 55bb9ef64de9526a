//! The clock on the wall against the one that never goes back.

use std::time::{Duration, SystemTime};

use super::{unix_seconds, wall_of};

/// Differences up to this are the clocks' own: rounding and a time server's gentle steps, seconds.
const TOLERANCE_S: i64 = 2;

/// What became of the clock on the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WallChange {
    /// It is set now and was not.
    Set,
    /// It was set and is not any more.
    Unset,
    /// It went on by so many seconds more than the time that passed; negative = back.
    Jumped {
        /// Seconds.
        by_s: i64,
    },
}

/// Notices when the clock on the wall is set, lost or jumps. Pure: the times are passed in.
#[derive(Clone, Copy, Debug, Default)]
pub struct JumpWatch {
    last: Option<(Duration, SystemTime)>,
}

impl JumpWatch {
    /// Compares with the times of the last call; once a second is often enough.
    pub fn observe(&mut self, since_start: Duration, wall: SystemTime) -> Option<WallChange> {
        let (then, wall_then) = self.last.replace((since_start, wall))?;
        match (wall_of(wall_then).is_some(), wall_of(wall).is_some()) {
            (false, true) => return Some(WallChange::Set),
            (true, false) => return Some(WallChange::Unset),
            _ => {}
        }
        let passed = since_start.saturating_sub(then).as_secs();
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
        let by_s = unix_seconds(wall)
            .saturating_sub(unix_seconds(wall_then))
            .saturating_sub(passed);
        (by_s.abs() > TOLERANCE_S).then_some(WallChange::Jumped { by_s })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn a_jump_is_told_once_with_its_length() {
        let year = 365 * 86_400;
        let mut watch = JumpWatch::default();
        for (since_start, wall, expected) in [
            (0, 0, None),
            (60, 60, None),
            (61, 1_800_000_000, Some(WallChange::Set)),
            (62, 1_800_000_001, None),
            (64, 1_800_000_005, None),
            (
                65,
                1_800_000_006 + year,
                Some(WallChange::Jumped { by_s: year as i64 }),
            ),
            (66, 1_800_000_007 + year, None),
            (
                67,
                1_800_000_008,
                Some(WallChange::Jumped {
                    by_s: -(year as i64),
                }),
            ),
            (68, 5, Some(WallChange::Unset)),
        ] {
            let wall = UNIX_EPOCH + Duration::from_secs(wall);
            let found = watch.observe(Duration::from_secs(since_start), wall);
            assert_eq!(found, expected, "after {since_start} s");
        }
    }
}
