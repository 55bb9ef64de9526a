//! A convolution as a file says it.

use crate::pack::Runs;
use crate::table::Table;

/// Most padding on a side.
const PADDING_MAX: usize = 1 << 12;

/// A convolution as a file says it.
#[derive(Clone, Debug)]
pub struct ConvSpec {
    /// Output and input channels, rows and columns of the window.
    pub shape: [usize; 4],
    /// `[out][in][rows][columns]`
    pub weights: Vec<i8>,
    /// `[out]`, on the scale of the products.
    pub bias: Vec<i32>,
    /// Rows and columns from one place to the next.
    pub stride: [usize; 2],
    /// Pixels added on top, left, at the bottom and right; they are the zero point.
    pub padding: [usize; 4],
    /// The byte that means zero in the input.
    pub zero_point: u8,
    /// The input is one plane a channel, as a canvas is, rather than channels innermost.
    pub planar: bool,
    /// What becomes of the sums.
    pub output: Output,
}

/// What becomes of the sums.
#[derive(Clone, Debug)]
pub enum Output {
    /// Bytes, channels innermost.
    Bytes(Bytes),
    /// Floats, one plane a channel: `sum * scale`.
    Floats {
        /// `[out]`: scale of the products.
        scale: Vec<f32>,
    },
}

/// `clamp(round_half_even(sum * multiplier) + zero_point, range)`, then the table.
#[derive(Clone, Debug)]
pub struct Bytes {
    /// `[out]`: scale of the products over scale of the output.
    pub multiplier: Vec<f32>,
    /// The byte that means zero.
    pub zero_point: u8,
    /// Least and largest byte: an activation that clamps.
    pub range: [u8; 2],
    /// An activation that does more than that.
    pub table: Option<Table>,
}

/// Why a convolution cannot be computed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvError {
    /// Lists whose lengths do not go together, or a side or stride of 0.
    Shape,
    /// A multiplier that is negative or no number.
    Multiplier,
    /// A sum could leave 32 bits.
    Overflow,
    /// No kernel given that is exact for these weights.
    NoKernel,
}

impl std::fmt::Display for ConvError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Shape => "shapes of weights, bias, stride, padding and scales do not go together",
            Self::Multiplier => "a scale is negative or no number",
            Self::Overflow => "a sum could exceed 32 bits",
            Self::NoKernel => "no kernel is exact for these weights",
        })
    }
}

impl std::error::Error for ConvError {}

impl ConvSpec {
    pub(crate) fn check(&self) -> Result<(), ConvError> {
        let [out_channels, ..] = self.shape;
        let multiplier = match &self.output {
            Output::Bytes(bytes) => {
                let [least, most] = bytes.range;
                if least > most {
                    return Err(ConvError::Shape);
                }
                &bytes.multiplier
            }
            Output::Floats { scale } => scale,
        };
        let volume = self
            .shape
            .iter()
            .try_fold(1usize, |volume, &side| volume.checked_mul(side));
        let lengths_fit = volume == Some(self.weights.len())
            && !self.weights.is_empty()
            && self.bias.len() == out_channels
            && multiplier.len() == out_channels
            && self.stride.iter().all(|&stride| stride > 0)
            && self.padding.iter().all(|&pad| pad <= PADDING_MAX);
        if !lengths_fit {
            return Err(ConvError::Shape);
        }
        let legal = |multiplier: &f32| multiplier.is_finite() && *multiplier >= 0.0;
        match multiplier.iter().all(legal) {
            true => Ok(()),
            false => Err(ConvError::Multiplier),
        }
    }

    /// The weights in the order of the input's bytes: neighbours in memory are one run.
    pub(crate) fn runs(&self) -> Runs {
        let [n_channels, channels, rows, columns] = self.shape;
        let mut weights = Vec::with_capacity(self.weights.len());
        let at = |[out, channel, row, column]: [usize; 4]| {
            self.weights[((out * channels + channel) * rows + row) * columns + column]
        };
        for out in 0..n_channels {
            for row in 0..rows {
                if self.planar {
                    for channel in 0..channels {
                        weights.extend((0..columns).map(|column| at([out, channel, row, column])));
                    }
                } else {
                    for column in 0..columns {
                        weights
                            .extend((0..channels).map(|channel| at([out, channel, row, column])));
                    }
                }
            }
        }
        Runs {
            n_channels,
            n_runs: if self.planar { rows * channels } else { rows },
            len: if self.planar {
                columns
            } else {
                columns * channels
            },
            weights,
        }
    }
}
