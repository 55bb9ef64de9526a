//! Exact binomial limits (Clopper-Pearson, the same as Ruemke's table) at 95 %.
//!
//! They cover the error of counting few cells and nothing else: not a wrong class, not a missed
//! cell, not an uneven smear. Whoever prints them says so.

use core::fmt;

/// Probability left out on each side of the 95 % limits.
const TAIL: f64 = 0.025;

/// Confidence of "at least one seen" in [`cells_needed`].
const SEEN_CONFIDENCE: f64 = 0.95;

/// Halvings of the interval 0..=1 until `f64` has no number in between.
const HALVINGS: usize = 60;

/// Limits of a proportion, both in 0..=1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Least proportion that the count still allows.
    pub lower: f64,
    /// Greatest proportion that the count still allows.
    pub upper: f64,
}

/// Limits in tenths of a per cent; prints as `1.6-11.3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PercentRange {
    /// 0..=1000.
    pub lower_tenths: u16,
    /// 0..=1000.
    pub upper_tenths: u16,
}

impl fmt::Display for PercentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            lower_tenths: lower,
            upper_tenths: upper,
        } = self;
        write!(
            f,
            "{}.{}-{}.{}",
            lower / 10,
            lower % 10,
            upper / 10,
            upper % 10
        )
    }
}

impl Limits {
    /// Rounded to 0.1 % away from the middle: what is printed never promises more than was counted.
    pub fn percent_outward(&self) -> PercentRange {
        PercentRange {
            lower_tenths: libm::floor(self.lower * 1000.0) as u16,
            upper_tenths: libm::ceil(self.upper * 1000.0) as u16,
        }
    }

    /// Rounded to the nearest 0.1 %, as most published tables are.
    pub fn percent_nearest(&self) -> PercentRange {
        PercentRange {
            lower_tenths: libm::round(self.lower * 1000.0) as u16,
            upper_tenths: libm::round(self.upper * 1000.0) as u16,
        }
    }
}

/// Exact 95 % limits of the proportion of which `k` of `n` were seen.
///
/// `None` when nothing was counted (`n` = 0) or `k` exceeds `n`: there is no proportion then.
pub fn limits(k: u32, n: u32) -> Option<Limits> {
    if n == 0 || k > n {
        return None;
    }
    let (seen, rest) = (f64::from(k), f64::from(n - k));
    // The lower limit is where "k or more" has 2.5 %, the upper where "k or fewer" has.
    let lower = if k == 0 {
        0.0
    } else {
        solve(|p| incomplete_beta(p, seen, rest + 1.0), TAIL)
    };
    let upper = if k == n {
        1.0
    } else {
        solve(|p| incomplete_beta(p, seen + 1.0, rest), 1.0 - TAIL)
    };
    Some(Limits { lower, upper })
}

/// The limits of `k` of `n` in per cent, rounded outward to 0.1 %; `None` as for [`limits`].
pub fn percent_outward(k: u32, n: u32) -> Option<PercentRange> {
    limits(k, n).map(|limits| limits.percent_outward())
}

/// Cells to count in order to see at least one of a class that makes up `share` (0..1, exclusive)
/// of all cells, with 95 % confidence. `None` when `share` is no such share or needs more than
/// `u32` can count.
pub fn cells_needed(share: f64) -> Option<u32> {
    if !(share > 0.0 && share < 1.0) {
        return None;
    }
    let cells = libm::ceil(libm::log1p(-SEEN_CONFIDENCE) / libm::log1p(-share));
    (cells <= f64::from(u32::MAX)).then_some(cells as u32)
}

/// Where the rising function `f` on 0..=1 reaches `target`.
fn solve(f: impl Fn(f64) -> f64, target: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        if f(middle) < target {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}

/// The regularised incomplete beta function `I_x(a, b)` for positive `a`, `b` and `x` in 0..=1.
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let ln_front = libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b)
        + a * libm::log(x)
        + b * libm::log1p(-x);
    let front = libm::exp(ln_front);
    // The fraction converges fast only on its own side of the mean; the other side by symmetry.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * continued_fraction(x, a, b) / a
    } else {
        1.0 - front * continued_fraction(1.0 - x, b, a) / b
    }
}

/// The continued fraction of the incomplete beta function, evaluated front to back (Lentz).
fn continued_fraction(x: f64, a: f64, b: f64) -> f64 {
    const TERMS_MAX: u32 = 100_000;
    const TINY: f64 = 1e-300;
    let away_from_zero = |v: f64| if v.abs() < TINY { TINY } else { v };

    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for term in 1..TERMS_MAX {
        let m = f64::from(term);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut step = 1.0;
        for coefficient in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + coefficient * d);
            c = away_from_zero(1.0 + coefficient / c);
            step = c * d;
            fraction *= step;
        }
        if (step - 1.0).abs() < 1e-15 {
            break;
        }
    }
    fraction
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;
    use std::string::ToString;

    use super::*;

    /// Per cent seen, then the limits at 100, 200 and 500 cells (station.md, "Counting").
    const GOLDEN: [(u32, [&str; 3]); 8] = [
        (0, ["0.0-3.6", "0.0-1.8", "0.0-0.7"]),
        (1, ["0.0-5.4", "0.1-3.6", "0.3-2.3"]),
        (2, ["0.2-7.0", "0.5-5.0", "1.0-3.6"]),
        (5, ["1.6-11.3", "2.4-9.0", "3.3-7.3"]),
        (10, ["4.9-17.6", "6.2-15.0", "7.5-13.0"]),
        (20, ["12.7-29.2", "14.7-26.2", "16.6-23.8"]),
        (30, ["21.2-40.0", "23.7-36.9", "26.0-34.2"]),
        (50, ["39.8-60.2", "42.9-57.1", "45.5-54.5"]),
    ];

    #[test]
    fn every_published_limit_is_met_to_its_last_digit() {
        // The table is rounded to the nearest tenth: 0 of 100 is 3.6217 %, printed 3.6.
        for (percent, row) in GOLDEN {
            for (n, expected) in [100, 200, 500].into_iter().zip(row) {
                let seen = percent * n / 100;
                let found = limits(seen, n).unwrap().percent_nearest().to_string();
                assert_eq!(found, expected, "{seen} of {n}");
            }
        }
    }

    #[test]
    fn outward_limits_contain_the_exact_ones_and_are_at_most_a_tenth_wider() {
        for n in [1, 7, 100, 200, 400, 500, 1000] {
            for k in 0..=n {
                let exact = limits(k, n).unwrap();
                let shown = exact.percent_outward();
                let (lower, upper) = (
                    f64::from(shown.lower_tenths) / 1000.0,
                    f64::from(shown.upper_tenths) / 1000.0,
                );
                assert!(
                    lower <= exact.lower && exact.lower - lower < 0.001,
                    "{k}/{n}"
                );
                assert!(
                    upper >= exact.upper && upper - exact.upper < 0.001,
                    "{k}/{n}"
                );
            }
        }
        assert_eq!(percent_outward(0, 100).unwrap().to_string(), "0.0-3.7");
        assert_eq!(percent_outward(2, 200).unwrap().to_string(), "0.1-3.6");
        assert_eq!(format!("{}", percent_outward(3, 3).unwrap()), "29.2-100.0");
    }

    #[test]
    fn limits_agree_with_an_independent_beta_quantile() {
        // from scipy.stats import beta
        // for k, n in [(1, 3), (7, 20), (1234, 5000), (99999, 100000), (500000, 1000000)]:
        //     print(k, n, beta.ppf(.025, k, n - k + 1), beta.ppf(.975, k + 1, n - k))
        const CASES: [(u32, u32, f64, f64); 5] = [
            (1, 3, 0.008403758660, 0.905700675950),
            (7, 20, 0.153909204785, 0.592188534533),
            (1_234, 5_000, 0.234899930299, 0.258996360277),
            (99_999, 100_000, 0.999944284840, 0.999999746822),
            (500_000, 1_000_000, 0.499019519195, 0.500980480805),
        ];
        for (k, n, lower, upper) in CASES {
            let found = limits(k, n).unwrap();
            assert!((found.lower - lower).abs() < 1e-9, "{k}/{n}: {found:?}");
            assert!((found.upper - upper).abs() < 1e-9, "{k}/{n}: {found:?}");
        }
    }

    #[test]
    fn nothing_counted_has_no_limits() {
        assert_eq!(limits(0, 0), None);
        assert_eq!(limits(4, 3), None);
        assert_eq!(percent_outward(0, 0), None);
    }

    #[test]
    fn rare_cells_need_many_counted() {
        assert_eq!(cells_needed(0.01), Some(299));
        assert_eq!(cells_needed(0.02), Some(149));
        assert_eq!(cells_needed(0.05), Some(59));
        for share in [0.0, 1.0, -0.1, 1.5, f64::NAN, 1e-12] {
            assert_eq!(cells_needed(share), None, "{share}");
        }
    }
}
