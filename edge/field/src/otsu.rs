//! Splits a picture into what is bright and what is dark where the two differ most (Otsu, 1979).

/// Bright and dark of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    /// Values up to this one are dark.
    pub threshold: u8,
    /// Mean of the dark values.
    pub dark: f32,
    /// Mean of the bright values.
    pub bright: f32,
    /// Part of the values that is dark, 0..=1.
    pub dark_share: f32,
}

impl Split {
    /// How much darker the dark part is than the bright one, 0..=1; a picture of nothing but noise
    /// is split too, but hardly differs.
    pub fn contrast(&self) -> f32 {
        if self.bright > 0.0 {
            1.0 - self.dark / self.bright
        } else {
            0.0
        }
    }
}

/// Splits; `None` when all values are the same or there are none.
pub fn split(values: impl Iterator<Item = u8>) -> Option<Split> {
    let mut histogram = [0_u32; 256];
    for value in values {
        histogram[usize::from(value)] += 1;
    }
    split_histogram(&histogram)
}

/// As [`split`], from the number of pixels of each value.
pub fn split_histogram(histogram: &[u32; 256]) -> Option<Split> {
    let weigh = |(value, &count): (usize, &u32)| value as u64 * u64::from(count);
    let all: u64 = histogram.iter().map(|&count| u64::from(count)).sum();
    let sum: u64 = histogram.iter().enumerate().map(weigh).sum();
    let (mut below, mut below_sum) = (0_u64, 0_u64);
    let mut best: Option<(f64, Split)> = None;
    for (value, &count) in histogram.iter().enumerate() {
        below += u64::from(count);
        below_sum += value as u64 * u64::from(count);
        if below == 0 || count == 0 {
            continue;
        }
        if below == all {
            break;
        }
        let dark = below_sum as f64 / below as f64;
        let bright = (sum - below_sum) as f64 / (all - below) as f64;
        let between = below as f64 * (all - below) as f64 * (bright - dark) * (bright - dark);
        if best.is_none_or(|(found, _)| between > found) {
            let split = Split {
                threshold: value as u8,
                dark: dark as f32,
                bright: bright as f32,
                dark_share: (below as f64 / all as f64) as f32,
            };
            best = Some((between, split));
        }
    }
    best.map(|(_, split)| split)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_heaps_are_told_apart_and_one_value_is_not_split() {
        let values = [10, 12, 14, 200, 202].into_iter();
        let found = split(values).unwrap();
        assert_eq!(
            (found.threshold, found.dark, found.bright),
            (14, 12.0, 201.0)
        );
        assert!((found.dark_share - 0.6).abs() < 1e-6);
        assert!((found.contrast() - (1.0 - 12.0 / 201.0)).abs() < 1e-6);
        assert_eq!(split([7; 9].into_iter()), None);
        assert_eq!(split([].into_iter()), None);
    }
}
