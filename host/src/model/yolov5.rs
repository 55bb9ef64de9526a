//! YOLOv5 v6: backbone, neck and detection head, layer by layer as in attridet.md, 8.2.

use shared::head::HeadSpec;
use tch::nn::{self, ModuleT, Path};
use tch::{Kind, Tensor};

use super::block::{C3, Conv, Sppf, weight_init};
use super::{Variant, prior_bias};

/// What a layer does; its input is the layer before, `Concat` adds an earlier one.
#[derive(Debug)]
enum Layer {
    Conv(Box<Conv>),
    C3(Box<C3>),
    Sppf(Box<Sppf>),
    Upsample,
    Concat(usize),
}

/// Layers whose outputs feed the head, finest first.
const HEAD_INPUTS: [usize; 3] = [17, 20, 23];

/// The network. Its variables lie under `model.<layer>` in the store it was built in.
///
/// # Shapes
/// canvases `[batch, 3, side, side]` (0..=1) → per level `[batch, anchors * channels, grid, grid]`,
/// channels as in [`HeadSpec`].
#[derive(Debug)]
pub struct Yolov5 {
    layers: Vec<Layer>,
    heads: Vec<nn::Conv2D>,
}

impl Yolov5 {
    /// Builds the layers in `root`; `head` must have the strides 8, 16 and 32.
    pub fn new(root: &Path, variant: Variant, head: &HeadSpec) -> Self {
        let model = root / "model";
        let layers = backbone_and_neck(&model, variant);
        let [_, _, c256, c512, c1024] = variant.widths();
        let detect = &model / "24" / "m";
        let heads = head
            .levels
            .iter()
            .zip([c256, c512, c1024])
            .enumerate()
            .map(|(index, (level, c_in))| {
                let c_out = level.anchors.len() * head.channels_per_anchor();
                let config = nn::ConvConfig {
                    ws_init: weight_init(c_in),
                    ..Default::default()
                };
                let mut conv = nn::conv2d(&detect / index as i64, c_in, c_out as i64, 1, config);
                let prior = prior_bias(head, level.stride).repeat(level.anchors.len());
                if let Some(bias) = conv.bs.as_mut() {
                    tch::no_grad(|| bias.copy_(&Tensor::from_slice(&prior)));
                }
                conv
            })
            .collect();
        Self { layers, heads }
    }

    /// Raw heads, finest first.
    pub fn forward(&self, canvases: &Tensor, train: bool) -> Vec<Tensor> {
        let mut outputs: Vec<Tensor> = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let x = outputs.last().unwrap_or(canvases);
            let y = match layer {
                Layer::Conv(conv) => conv.forward(x, train),
                Layer::C3(block) => block.forward(x, train),
                Layer::Sppf(block) => block.forward(x, train),
                Layer::Upsample => {
                    let (_, _, height, width) = x.size4().expect("features have four dimensions");
                    x.upsample_nearest2d([2 * height, 2 * width], None, None)
                }
                Layer::Concat(other) => Tensor::cat(&[x, &outputs[*other]], 1),
            };
            outputs.push(y);
        }
        let inputs = HEAD_INPUTS.iter().map(|&layer| &outputs[layer]);
        self.heads
            .iter()
            .zip(inputs)
            .map(|(head, x)| head.forward_t(x, train))
            .collect()
    }
}

/// The 0..=1 canvas of a u8 one, with the constant that is also in the exported graph.
pub fn scaled(canvases: &Tensor) -> Tensor {
    canvases.to_kind(Kind::Float) * f64::from(1.0_f32 / 255.0)
}

fn backbone_and_neck(model: &Path, variant: Variant) -> Vec<Layer> {
    let [c64, c128, c256, c512, c1024] = variant.widths();
    let conv = |at: i64, c_in, c_out, kernel, stride| {
        Layer::Conv(Box::new(Conv::new(
            &(model / at),
            c_in,
            c_out,
            kernel,
            stride,
            None,
        )))
    };
    let c3 = |at: i64, c_in, c_out, n, shortcut| {
        let repeats = variant.repeats(n);
        let block = C3::new(&(model / at), c_in, c_out, repeats, shortcut);
        Layer::C3(Box::new(block))
    };
    vec![
        Layer::Conv(Box::new(Conv::new(&(model / 0), 3, c64, 6, 2, Some(2)))),
        conv(1, c64, c128, 3, 2),
        c3(2, c128, c128, 3, true),
        conv(3, c128, c256, 3, 2),
        c3(4, c256, c256, 6, true),
        conv(5, c256, c512, 3, 2),
        c3(6, c512, c512, 9, true),
        conv(7, c512, c1024, 3, 2),
        c3(8, c1024, c1024, 3, true),
        Layer::Sppf(Box::new(Sppf::new(&(model / 9), c1024, c1024))),
        conv(10, c1024, c512, 1, 1),
        Layer::Upsample,
        Layer::Concat(6),
        c3(13, 2 * c512, c512, 3, false),
        conv(14, c512, c256, 1, 1),
        Layer::Upsample,
        Layer::Concat(4),
        c3(17, 2 * c256, c256, 3, false),
        conv(18, c256, c256, 3, 2),
        Layer::Concat(14),
        c3(20, 2 * c256, c512, 3, false),
        conv(21, c512, c512, 3, 2),
        Layer::Concat(10),
        c3(23, 2 * c512, c1024, 3, false),
    ]
}

#[cfg(test)]
mod tests {
    use tch::{Device, nn};

    use super::*;
    use crate::model::default_levels;

    fn parameters(variant: Variant, n_classes: usize) -> i64 {
        let store = nn::VarStore::new(Device::Cpu);
        let head = HeadSpec {
            levels: default_levels(),
            n_classes,
            value_counts: Default::default(),
        };
        Yolov5::new(&store.root(), variant, &head);
        store
            .trainable_variables()
            .iter()
            .map(|v| v.numel() as i64)
            .sum()
    }

    /// attridet.md, 8.1: counted in the reference's models, with the 80 COCO and the 14 cell classes.
    #[test]
    fn parameter_counts_are_the_reference_s() {
        for (variant, n_classes, expected) in [
            (Variant::N, 80, 1_872_157),
            (Variant::N, 14, 1_782_859),
            (Variant::S, 14, 7_057_387),
            (Variant::M, 14, 20_923_851),
        ] {
            assert_eq!(
                parameters(variant, n_classes),
                expected,
                "{variant:?} {n_classes}"
            );
        }
    }
}
