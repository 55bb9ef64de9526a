//! A wall clock's time for people.

use std::fmt;

/// Seconds since 1970, `None` = not set, as `2027-01-15 08:00:00 UTC`, or that the clock was not set.
#[derive(Clone, Copy, Debug)]
pub struct When(
    /// Seconds since 1970.
    pub Option<i64>,
);

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(seconds) = self.0 else {
            return f.write_str("clock not set");
        };
        let [year, month, day] = date(seconds.div_euclid(86_400));
        let second = seconds.rem_euclid(86_400);
        let [hour, minute, second] = [second / 3600, second / 60 % 60, second % 60];
        write!(
            f,
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC"
        )
    }
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01.
fn date(days: i64) -> [i64; 3] {
    // Counted from 0000-03-01, so that a leap day is the last of its year; 146,097 days are 400 years.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    [year, month, date]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        // date -u -d @SECONDS '+%F %T UTC'
        for (seconds, words) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (-1, "1969-12-31 23:59:59 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_800_000_000, "2027-01-15 08:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(When(Some(seconds)).to_string(), words);
        }
        assert_eq!(When(None).to_string(), "clock not set");
        for extreme in [i64::MIN, i64::MAX] {
            assert!(When(Some(extreme)).to_string().ends_with(" UTC"));
        }
    }
}
