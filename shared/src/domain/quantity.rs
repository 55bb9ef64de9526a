//! What is compared, and on which scale.

use serde::{Deserialize, Serialize};

use super::Look;

/// Quantities of a [`Look`].
pub const QUANTITIES: usize = 10;

/// Least sharpness that is told from none.
const SHARPNESS_MIN: f32 = 1e-6;

/// Smallest side of a cell, in canvas pixels.
const CELL_SIDE_MIN: f32 = 1.0;

/// One of the numbers of a [`Look`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Red of the background.
    BackgroundRed,
    /// Green of the background.
    BackgroundGreen,
    /// Blue of the background.
    BackgroundBlue,
    /// Red of what is stained.
    StainRed,
    /// Green of what is stained.
    StainGreen,
    /// Blue of what is stained.
    StainBlue,
    /// Mean grey.
    Brightness,
    /// Spread of grey.
    Contrast,
    /// Fine detail.
    Sharpness,
    /// Size of the cells.
    CellSide,
}

impl Quantity {
    /// All, in the order of every list of them.
    pub const ALL: [Self; QUANTITIES] = [
        Self::BackgroundRed,
        Self::BackgroundGreen,
        Self::BackgroundBlue,
        Self::StainRed,
        Self::StainGreen,
        Self::StainBlue,
        Self::Brightness,
        Self::Contrast,
        Self::Sharpness,
        Self::CellSide,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::BackgroundRed => "background, red",
            Self::BackgroundGreen => "background, green",
            Self::BackgroundBlue => "background, blue",
            Self::StainRed => "stain, red",
            Self::StainGreen => "stain, green",
            Self::StainBlue => "stain, blue",
            Self::Brightness => "brightness",
            Self::Contrast => "contrast",
            Self::Sharpness => "sharpness",
            Self::CellSide => "cell side",
        }
    }

    /// Unit of the scale it is compared on.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Sharpness => "log2",
            Self::CellSide => "log2 of canvas px",
            _ => "grey levels",
        }
    }

    /// Whether ratios count, not differences: half as sharp is as far as twice as sharp. A difference
    /// could never call a blurred picture strange, for nothing is less sharp than 0.
    fn counts_in_octaves(self) -> bool {
        matches!(self, Self::Sharpness | Self::CellSide)
    }

    /// A difference as small as this says nothing, however alike the training pictures were: eyes,
    /// cameras and JPEG make as much. On the scale of [`Quantity::unit`].
    pub fn least_deviation(self) -> f32 {
        match self {
            Self::Sharpness => 0.25,
            Self::CellSide => 0.125,
            _ => 4.0,
        }
    }

    /// Its value on the scale it is compared on; `None` where the look has none.
    pub fn of(self, look: &Look) -> Option<f32> {
        let [red, green, blue] = look.background;
        let [stain_red, stain_green, stain_blue] = look.stain;
        match self {
            Self::BackgroundRed => Some(red),
            Self::BackgroundGreen => Some(green),
            Self::BackgroundBlue => Some(blue),
            Self::StainRed => Some(stain_red),
            Self::StainGreen => Some(stain_green),
            Self::StainBlue => Some(stain_blue),
            Self::Brightness => Some(look.brightness),
            Self::Contrast => Some(look.contrast),
            Self::Sharpness => Some(libm::log2f(look.sharpness.max(SHARPNESS_MIN))),
            Self::CellSide => look
                .cell_side
                .map(|side| libm::log2f(side.max(CELL_SIDE_MIN))),
        }
    }

    /// Back from the scale it is compared on: grey levels, canvas pixels, the bare sharpness.
    pub fn natural(self, scaled: f64) -> f32 {
        if self.counts_in_octaves() {
            libm::exp2(scaled) as f32
        } else {
            scaled as f32
        }
    }
}
