//! The decoupled head without prior boxes: per level a 1x1 stem, then a branch that says what a cell
//! is and one that says where it is.
//!
//! Fewer parameters than its drawings in the literature: branches of one 3x3 convolution for n, s
//! and m, because the n network spends a quarter of its time in a head of two.

use shared::head::HeadSpec;
use tch::Tensor;
use tch::nn::Path;

use super::block::{Conv, Window};
use super::predictor::Predictor;
use super::{Architecture, prior_bias};

/// Sides that a place says before training, in strides: with strides 8, 16 and 32 they cover cells
/// of 32 to 128 canvas pixels, from a red cell to a blast in a close-up.
const SIDE_PRIOR: f32 = 4.0;

/// x, y, w, h and objectness.
const BOX_CHANNELS: usize = 5;

/// The head of one level.
#[derive(Debug)]
struct Level {
    stem: Conv,
    class_branch: Vec<Conv>,
    box_branch: Vec<Conv>,
    /// Classes, then values of attributes.
    class_out: Predictor,
    box_out: Predictor,
}

/// The heads of all levels. Their variables are `stem`, `cls`, `box`, `cls_out` and `box_out`, each
/// followed by the number of the level.
#[derive(Debug)]
pub(super) struct AnchorFreeHead {
    levels: Vec<Level>,
}

impl AnchorFreeHead {
    pub(super) fn new(detect: &Path, architecture: &Architecture, head: &HeadSpec) -> Self {
        let [_, _, width, c512, c1024] = architecture.widths();
        let activation = architecture.activation;
        let levels = head.levels.iter().zip([width, c512, c1024]).enumerate();
        let level = |(index, (level, c_in)): (usize, (&shared::head::HeadLevel, i64))| {
            let at = |part: &str| detect / part / index as i64;
            let branch = |part: &str| {
                (0..architecture.branch_repeats() as i64)
                    .map(|n| {
                        let path = at(part) / n;
                        Conv::new(&path, width, width, Window::new(3, 1), activation)
                    })
                    .collect()
            };
            let mut bias = prior_bias(head, level.stride);
            bias[2..4].fill(SIDE_PRIOR.ln());
            let (box_bias, class_bias) = bias.split_at(BOX_CHANNELS);
            Level {
                stem: Conv::new(&at("stem"), c_in, width, Window::new(1, 1), activation),
                class_branch: branch("cls"),
                box_branch: branch("box"),
                class_out: Predictor::new(at("cls_out"), width, class_bias),
                box_out: Predictor::new(at("box_out"), width, box_bias),
            }
        };
        Self {
            levels: levels.map(level).collect(),
        }
    }

    /// Cuts the attribute channels off from the features below, for training.
    pub(super) fn detach_attributes(&mut self, head: &HeadSpec) {
        for level in &mut self.levels {
            let n_channels = head.n_classes + head.n_values();
            level.class_out.detach(head.n_values(), n_channels);
        }
    }

    /// # Shapes
    /// `x` `[batch, channels, grid, grid]` of level `index` → `[batch, 5 + classes + values, grid, grid]`.
    pub(super) fn forward(&self, index: usize, x: &Tensor, train: bool) -> Tensor {
        let level = &self.levels[index];
        let x = level.stem.forward(x, train);
        let through = |branch: &[Conv]| {
            let first = x.shallow_clone();
            branch.iter().fold(first, |y, conv| conv.forward(&y, train))
        };
        let place = level.box_out.forward(&through(&level.box_branch), train);
        let kind = level
            .class_out
            .forward(&through(&level.class_branch), train);
        Tensor::cat(&[place, kind], 1)
    }
}
