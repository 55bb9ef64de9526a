//! What training pictures look like, and how far another picture is from them.

use serde::{Deserialize, Serialize};

use super::{Gathered, Look, QUANTITIES, Quantity};

/// Farthest that a quantity of a picture like the training pictures is from their mean, in standard
/// deviations.
pub const NEAR_MAX: f32 = 3.0;

/// Farthest, in standard deviations, at which a picture is only unusual; beyond, the model has never
/// seen its like.
pub const FAR_MAX: f32 = 6.0;

/// Mean and standard deviation of a quantity over pictures, on the scale of [`Quantity::unit`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// Mean.
    pub mean: f32,
    /// Standard deviation, not negative.
    pub deviation: f32,
}

/// What the pictures look like that a model was trained on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// Pictures it was measured on, at least 1.
    pub pictures: u32,
    /// Red, green and blue of the background.
    pub background: [Spread; 3],
    /// Red, green and blue of what is stained.
    pub stain: [Spread; 3],
    /// Mean grey.
    pub brightness: Spread,
    /// Standard deviation of grey.
    pub contrast: Spread,
    /// Logarithm to base 2 of the sharpness.
    pub sharpness: Spread,
    /// Logarithm to base 2 of the median cell side in canvas pixels; `None` where no cell was labelled.
    pub cell_side: Option<Spread>,
}

/// How much a picture is like the training pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nearness {
    /// Like them: nothing beyond [`NEAR_MAX`].
    Near,
    /// Unusual among them: something beyond [`NEAR_MAX`], nothing beyond [`FAR_MAX`].
    Far,
    /// Unlike them: something beyond [`FAR_MAX`].
    Foreign,
}

impl Nearness {
    /// Of a number of standard deviations, whichever its sign; what is no number is foreign.
    pub fn of(z: f32) -> Self {
        match z.abs() {
            z if z <= NEAR_MAX => Self::Near,
            z if z <= FAR_MAX => Self::Far,
            _ => Self::Foreign,
        }
    }
}

/// How far a picture is from the training pictures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Distance {
    /// Standard deviations from the mean, positive = more than there, in the order of
    /// [`Quantity::ALL`]; `None` where picture or domain has no such number.
    pub z: [Option<f32>; QUANTITIES],
    /// The farthest quantity.
    pub worst: Quantity,
    /// Its standard deviations.
    pub worst_z: f32,
    /// What that means.
    pub nearness: Nearness,
}

impl Domain {
    /// The domain of training sets, each of the same weight however many pictures it has: the model
    /// was shown them all, and the small one's pictures must not be strange to it. `None` without
    /// pictures.
    pub fn of(sets: &[Gathered]) -> Option<Self> {
        let pictures = sets.iter().map(Gathered::pictures);
        let spread = |quantity: Quantity| spread_of(sets, quantity);
        Some(Self {
            pictures: pictures.fold(0, u32::saturating_add),
            background: [
                spread(Quantity::BackgroundRed)?,
                spread(Quantity::BackgroundGreen)?,
                spread(Quantity::BackgroundBlue)?,
            ],
            stain: [
                spread(Quantity::StainRed)?,
                spread(Quantity::StainGreen)?,
                spread(Quantity::StainBlue)?,
            ],
            brightness: spread(Quantity::Brightness)?,
            contrast: spread(Quantity::Contrast)?,
            sharpness: spread(Quantity::Sharpness)?,
            cell_side: spread(Quantity::CellSide),
        })
    }

    /// Mean and standard deviation of a quantity.
    pub fn spread(&self, quantity: Quantity) -> Option<Spread> {
        match quantity {
            Quantity::BackgroundRed => Some(self.background[0]),
            Quantity::BackgroundGreen => Some(self.background[1]),
            Quantity::BackgroundBlue => Some(self.background[2]),
            Quantity::StainRed => Some(self.stain[0]),
            Quantity::StainGreen => Some(self.stain[1]),
            Quantity::StainBlue => Some(self.stain[2]),
            Quantity::Brightness => Some(self.brightness),
            Quantity::Contrast => Some(self.contrast),
            Quantity::Sharpness => Some(self.sharpness),
            Quantity::CellSide => self.cell_side,
        }
    }

    /// Least and most of a quantity that is still near, as [`Quantity::natural`] has it.
    pub fn near_limits(&self, quantity: Quantity) -> Option<[f32; 2]> {
        let Spread { mean, deviation } = self.spread(quantity)?;
        let reach = NEAR_MAX * deviation.max(quantity.least_deviation());
        Some([mean - reach, mean + reach].map(|scaled| quantity.natural(f64::from(scaled))))
    }

    /// Whether it was measured on something and all its numbers are finite, no deviation negative.
    pub fn is_usable(&self) -> bool {
        let spreads = Quantity::ALL.into_iter().filter_map(|q| self.spread(q));
        let usable =
            |s: Spread| s.mean.is_finite() && s.deviation.is_finite() && s.deviation >= 0.0;
        self.pictures > 0 && spreads.into_iter().all(usable)
    }

    /// How far a look (of a picture, or [`Gathered::mean`] of a slide) is from the training pictures.
    ///
    /// A quantity on which they hardly differ counts with [`Quantity::least_deviation`].
    pub fn distance(&self, look: &Look) -> Distance {
        let z = Quantity::ALL.map(|quantity| {
            let (value, spread) = (quantity.of(look)?, self.spread(quantity)?);
            let deviation = spread.deviation.max(quantity.least_deviation());
            Some((value - spread.mean) / deviation)
        });
        let (mut worst, mut worst_z) = (Quantity::BackgroundRed, 0.0_f32);
        for (quantity, z) in Quantity::ALL.into_iter().zip(z) {
            if let Some(z) = z.filter(|z| z.abs().total_cmp(&worst_z.abs()).is_gt()) {
                (worst, worst_z) = (quantity, z);
            }
        }
        Distance {
            z,
            worst,
            worst_z,
            nearness: Nearness::of(worst_z),
        }
    }
}

/// Mean and standard deviation of the mixture of the sets that have the quantity.
fn spread_of(sets: &[Gathered], quantity: Quantity) -> Option<Spread> {
    let (mut n, mut mean, mut square) = (0.0, 0.0, 0.0);
    for [of_value, of_square] in sets.iter().filter_map(|set| set.tally(quantity).means()) {
        n += 1.0;
        mean += of_value;
        square += of_square;
    }
    (n > 0.0).then(|| {
        let (mean, square) = (mean / n, square / n);
        Spread {
            mean: mean as f32,
            deviation: libm::sqrt((square - mean * mean).max(0.0)) as f32,
        }
    })
}
