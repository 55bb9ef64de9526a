//! How far two counts of the same pictures lie apart (Bland and Altman).

/// Standard deviations between the mean and a limit of agreement: 95 % of a normal distribution.
const LIMIT_DEVIATIONS: f64 = 1.96;

/// Differences found minus truth, in cells a picture; sums are integers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountAgreement {
    n: u32,
    truths: u64,
    found: u64,
    difference_sum: i64,
    absolute_sum: u64,
    square_sum: u64,
}

impl CountAgreement {
    /// One picture.
    pub fn add(&mut self, truth: u32, found: u32) {
        let difference = i64::from(found) - i64::from(truth);
        self.n += 1;
        self.truths += u64::from(truth);
        self.found += u64::from(found);
        self.difference_sum += difference;
        self.absolute_sum += difference.unsigned_abs();
        self.square_sum += difference.unsigned_abs() * difference.unsigned_abs();
    }

    /// Pictures.
    pub fn pictures(&self) -> u32 {
        self.n
    }

    /// Cells in truth and cells found, over all pictures.
    pub fn totals(&self) -> (u64, u64) {
        (self.truths, self.found)
    }

    /// Mean difference in cells a picture, positive when too many are found; `None` without pictures.
    pub fn bias(&self) -> Option<f64> {
        (self.n > 0).then(|| self.difference_sum as f64 / f64::from(self.n))
    }

    /// Mean absolute difference in cells a picture; `None` without pictures.
    pub fn mean_absolute_error(&self) -> Option<f64> {
        (self.n > 0).then(|| self.absolute_sum as f64 / f64::from(self.n))
    }

    /// Between which differences 95 % of the pictures are expected, `(lower, upper)`; `None` with
    /// fewer than two pictures.
    pub fn limits(&self) -> Option<(f64, f64)> {
        let bias = self.bias().filter(|_| self.n > 1)?;
        let n = f64::from(self.n);
        let squares = self.square_sum as f64 - self.difference_sum as f64 * bias;
        let deviation = libm::sqrt(f64::max(squares, 0.0) / (n - 1.0));
        Some((
            bias - LIMIT_DEVIATIONS * deviation,
            bias + LIMIT_DEVIATIONS * deviation,
        ))
    }
}
