//! The decoupled head without prior boxes: per level a 1x1 stem, then a branch that says what a cell
//! is and one that says where it is.
//!
//! Fewer parameters than its drawings in the literature: branches of one 3x3 convolution for n, s
//! and m, because the n network spends a quarter of its time in a head of two.

use shared::head::HeadSpec;
use tch::Tensor;
use tch::nn::Path;

use super::block::{Conv, Window};
use super::fake_quantize::Pass;
use super::predictor::Predictor;
use super::{Architecture, prior_bias};

/// Sides that a place says before training, in strides: with strides 8, 16 and 32 they cover cells
/// of 32 to 128 canvas pixels, from a red cell to a blast in a close-up.
const SIDE_PRIOR: f32 = 4.0;

/// x, y, w, h and objectness.
pub(super) const BOX_CHANNELS: usize = 5;

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
    pub(super) fn forward(&self, index: usize, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        let level = &self.levels[index];
        let x = level.stem.forward(x, pass);
        let through = |branch: &[Conv]| {
            let first = x.shallow_clone();
            branch.iter().fold(first, |y, conv| conv.forward(&y, pass))
        };
        let place = level.box_out.forward(&through(&level.box_branch), pass);
        let kind = level.class_out.forward(&through(&level.class_branch), pass);
        Tensor::cat(&[place, kind], 1)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, nn};

    use super::*;
    use crate::checkpoint::floats;
    use crate::model::{DetectionHead, Detector};

    fn built(size: &str, values: &[u8]) -> (nn::VarStore, Detector, HeadSpec) {
        let architecture = Architecture {
            detection: DetectionHead::AnchorFree,
            ..Architecture::yolov5(size).unwrap()
        };
        let head = HeadSpec {
            levels: architecture.levels(),
            n_classes: 14,
            value_counts: values.iter().copied().collect(),
        };
        let store = nn::VarStore::new(Device::Cpu);
        let network = Detector::new(&store.root(), &architecture, &head);
        (store, network, head)
    }

    /// By hand for n, whose width is 64: stems (64 + 128 + 256) * 64 + 3 * 128, branches
    /// 3 * 2 * (64 * 64 * 9 + 128), answers 3 * (64 + 1) * (5 + 14).
    #[test]
    fn the_head_has_the_parameters_of_its_drawing() {
        let (store, ..) = built("n", &[]);
        let of_head = |(name, variable): &(String, Tensor)| {
            let counts = name.starts_with("model.24.") && variable.requires_grad();
            counts.then(|| variable.numel())
        };
        let variables: Vec<_> = store.variables().into_iter().collect();
        let sum: usize = variables.iter().filter_map(of_head).sum();
        let (stems, branches) = (448 * 64 + 3 * 128, 6 * (64 * 64 * 9 + 128));
        assert_eq!(sum, stems + branches + 3 * 65 * 19);
        let repeats = |size| Architecture::yolov5(size).unwrap().branch_repeats();
        assert_eq!(["n", "s", "m", "l", "x"].map(repeats), [1, 1, 1, 2, 3]);
    }

    /// Attribute values are the last 5 of 5 + 14 + 5 channels.
    #[test]
    fn detached_attributes_teach_their_own_channels_alone() {
        let gradients = |detached: bool| {
            tch::manual_seed(3);
            let (store, mut network, head) = built("n", &[2, 3]);
            if detached {
                network.detach_attributes(&head);
            }
            let canvas = Tensor::rand([2, 3, 64, 64], (Kind::Float, Device::Cpu));
            let heads = network.forward(&canvas, true).heads;
            let sum = |head: &Tensor| head.narrow(1, 19, 5).square().sum(Kind::Float);
            heads
                .iter()
                .map(sum)
                .fold(Tensor::from(0.0_f32), |a, b| a + b)
                .backward();
            let variables = store.variables();
            let of = |name: &str| {
                let gradient = variables[name].grad();
                match gradient.defined() {
                    true => floats(&gradient).iter().map(|g| g.abs()).sum::<f32>(),
                    false => 0.0,
                }
            };
            [
                "model.24.cls_out.0.weight",
                "model.24.cls.0.0.conv.weight",
                "model.17.cv3.conv.weight",
            ]
            .map(of)
        };
        let [own, branch, neck] = gradients(false);
        assert!(own > 0.0 && branch > 0.0 && neck > 0.0);
        let [still_own, branch, neck] = gradients(true);
        assert!((still_own / own - 1.0).abs() < 1e-5, "{still_own} {own}");
        assert_eq!((branch, neck), (0.0, 0.0));
    }
}
