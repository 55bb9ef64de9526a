//! Many looks together: a slide's on the station, a training set's on the host.

use super::{Look, QUANTITIES, Quantity};

/// Sums over pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gathered {
    pictures: u32,
    tallies: [Tally; QUANTITIES],
}

/// Sums of one quantity over the pictures that have it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    n: u32,
    sum: f64,
    squares: f64,
}

impl Tally {
    /// Mean of the values and of their squares.
    pub(super) fn means(&self) -> Option<[f64; 2]> {
        let n = f64::from(self.n);
        (self.n > 0).then(|| [self.sum / n, self.squares / n])
    }
}

impl Gathered {
    /// Adds a picture.
    pub fn add(&mut self, look: &Look) {
        self.pictures = self.pictures.saturating_add(1);
        for (quantity, tally) in Quantity::ALL.into_iter().zip(&mut self.tallies) {
            if let Some(value) = quantity.of(look).map(f64::from) {
                tally.n = tally.n.saturating_add(1);
                tally.sum += value;
                tally.squares += value * value;
            }
        }
    }

    /// Pictures added.
    pub fn pictures(&self) -> u32 {
        self.pictures
    }

    /// The mean look (of sharpness and cell side the geometric mean); `None` without pictures.
    ///
    /// One picture has few cells and its own density of them: a slide is judged by many.
    pub fn mean(&self) -> Option<Look> {
        let mean = |quantity: Quantity| {
            let [mean, _] = self.tally(quantity).means()?;
            Some(quantity.natural(mean))
        };
        Some(Look {
            background: [
                mean(Quantity::BackgroundRed)?,
                mean(Quantity::BackgroundGreen)?,
                mean(Quantity::BackgroundBlue)?,
            ],
            stain: [
                mean(Quantity::StainRed)?,
                mean(Quantity::StainGreen)?,
                mean(Quantity::StainBlue)?,
            ],
            brightness: mean(Quantity::Brightness)?,
            contrast: mean(Quantity::Contrast)?,
            sharpness: mean(Quantity::Sharpness)?,
            cell_side: mean(Quantity::CellSide),
        })
    }

    pub(super) fn tally(&self, quantity: Quantity) -> &Tally {
        &self.tallies[quantity as usize]
    }
}
