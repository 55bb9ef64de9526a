//! The network: backbone, neck and detection head, layer by layer as in attridet.md, 8.2.

use shared::head::HeadSpec;
use tch::nn::Path;
use tch::{Kind, Tensor};

use super::anchor_free::AnchorFreeHead;
use super::block::{C3, Conv, Sppf, Window};
use super::fake_quantize::{FakeQuantizer, Pass, RangePhase};
use super::predictor::Predictor;
use super::{Architecture, DetectionHead, RegionHead, Stem, prior_bias};

/// What a layer does; its input is the layer before, `Concat` adds an earlier one.
#[derive(Debug)]
enum Layer {
    Conv(Box<Conv>),
    C3(Box<C3>),
    Sppf(Box<Sppf>),
    Upsample,
    Concat(usize),
    /// Keeps the numbers of the layers behind it what they are in YOLOv5's state dict.
    Nothing,
}

/// Layers whose outputs feed the head, finest first.
const HEAD_INPUTS: [usize; 3] = [17, 20, 23];

/// Backbone layers at strides 4 and 8, which the reference reads attributes from (attridet.md, 1.2).
const FINE_MAPS: [usize; 2] = [1, 4];

/// The network. Its variables lie under `model.<layer>` in the store it was built in.
#[derive(Debug)]
pub struct Detector {
    layers: Vec<Layer>,
    heads: Heads,
    regions: Option<RegionHead>,
    /// The regions' loss does not reach the backbone.
    fine_detached: bool,
    fake_quantizer: Option<FakeQuantizer>,
}

/// Layer 24.
#[derive(Debug)]
enum Heads {
    /// One convolution a level.
    Anchor(Vec<Predictor>),
    AnchorFree(AnchorFreeHead),
}

/// What the network says of a batch.
#[derive(Debug)]
pub struct Outputs {
    /// Raw heads, finest first: per level `[batch, boxes * channels, grid, grid]`, channels as in
    /// [`HeadSpec`].
    pub heads: Vec<Tensor>,
    /// Backbone features at strides 4 and 8: `[batch, channels, side / stride, side / stride]`.
    pub fine: [Tensor; 2],
}

impl Detector {
    /// Builds the layers in `root`; `head` must have the strides 8, 16 and 32.
    pub fn new(root: &Path, architecture: &Architecture, head: &HeadSpec) -> Self {
        let model = root / "model";
        let layers = backbone_and_neck(&model, architecture);
        let detect = &model / "24";
        let heads = match architecture.detection {
            DetectionHead::Anchor => Heads::Anchor(anchor_heads(&detect, architecture, head)),
            DetectionHead::AnchorFree => {
                Heads::AnchorFree(AnchorFreeHead::new(&detect, architecture, head))
            }
        };
        Self {
            layers,
            heads,
            regions: None,
            fine_detached: false,
            fake_quantizer: None,
        }
    }

    /// The same network computing with the numbers of its quantized form.
    pub fn with_fake_quantizer(self, fake_quantizer: FakeQuantizer) -> Self {
        Self {
            fake_quantizer: Some(fake_quantizer),
            ..self
        }
    }

    /// What becomes of a fake-quantized network's ranges from now on; nothing for others.
    pub fn set_range_phase(&mut self, phase: RangePhase) {
        if let Some(fake) = &mut self.fake_quantizer {
            fake.set_phase(phase);
        }
    }

    /// The same network with an attribute head of its own.
    pub fn with_regions(self, regions: RegionHead) -> Self {
        Self {
            regions: Some(regions),
            ..self
        }
    }

    /// The attribute head that reads [`Outputs::fine`]; `None` when the heads say the attributes.
    pub fn regions(&self) -> Option<&RegionHead> {
        self.regions.as_ref()
    }

    /// From now on attribute losses teach the attribute channels, or the regions' head, alone and not
    /// the features below.
    pub fn detach_attributes(&mut self, head: &HeadSpec) {
        if self.regions.is_some() {
            self.fine_detached = true;
            return;
        }
        match &mut self.heads {
            Heads::Anchor(levels) => {
                for level in levels {
                    level.detach(head.n_values(), head.channels_per_anchor());
                }
            }
            Heads::AnchorFree(levels) => levels.detach_attributes(head),
        }
    }

    /// Batch norms take over the statistics of `canvases` and stay the same function: training goes on
    /// from weights whose own were folded away.
    pub fn settle(&self, canvases: &Tensor) {
        tch::no_grad(|| self.pass(canvases, Pass::settling()));
    }

    /// # Shapes
    /// canvases `[batch, 3, side, side]` (0..=1) → see [`Outputs`].
    pub fn forward(&self, canvases: &Tensor, train: bool) -> Outputs {
        self.pass(canvases, Pass::new(train, self.fake_quantizer.as_ref()))
    }

    fn pass(&self, canvases: &Tensor, pass: Pass<'_>) -> Outputs {
        let mut outputs: Vec<Tensor> = Vec::with_capacity(self.layers.len());
        for (index, layer) in self.layers.iter().enumerate() {
            let x = outputs.last().unwrap_or(canvases);
            let y = match layer {
                Layer::Conv(conv) => conv.forward(x, &pass),
                Layer::C3(block) => block.forward(x, &pass),
                Layer::Sppf(block) => block.forward(x, &pass),
                Layer::Upsample => {
                    let (_, _, height, width) = x.size4().expect("features have four dimensions");
                    x.upsample_nearest2d([2 * height, 2 * width], None, None)
                }
                Layer::Concat(other) => {
                    let both = Tensor::cat(&[x, &outputs[*other]], 1);
                    pass.value(format_args!("model.{index}"), both)
                }
                Layer::Nothing => x.shallow_clone(),
            };
            outputs.push(y);
        }
        let inputs = HEAD_INPUTS.iter().map(|&layer| &outputs[layer]).enumerate();
        let head = |(level, x): (usize, &Tensor)| match &self.heads {
            Heads::Anchor(levels) => levels[level].forward(x, &pass),
            Heads::AnchorFree(levels) => levels.forward(level, x, &pass),
        };
        let heads = inputs.map(head).collect();
        pass.end();
        Outputs {
            heads,
            fine: FINE_MAPS.map(|layer| match self.fine_detached {
                true => outputs[layer].detach(),
                false => outputs[layer].shallow_clone(),
            }),
        }
    }
}

/// One 1x1 convolution a level.
fn anchor_heads(detect: &Path, architecture: &Architecture, head: &HeadSpec) -> Vec<Predictor> {
    let [_, _, c256, c512, c1024] = architecture.widths();
    let levels = head.levels.iter().zip([c256, c512, c1024]).enumerate();
    levels
        .map(|(index, (level, c_in))| {
            let bias = prior_bias(head, level.stride).repeat(level.anchors.len());
            Predictor::new(detect / "m" / index as i64, c_in, &bias)
        })
        .collect()
}

/// The 0..=1 canvas of a u8 one, with the constant that is also in the exported graph.
pub fn scaled(canvases: &Tensor) -> Tensor {
    canvases.to_kind(Kind::Float) * f64::from(1.0_f32 / 255.0)
}

/// The same values with the channels innermost in memory, the layout the CPU's convolutions like best.
pub fn channels_last(x: &Tensor) -> Tensor {
    x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}

fn backbone_and_neck(model: &Path, architecture: &Architecture) -> Vec<Layer> {
    let [c64, c128, c256, c512, c1024] = architecture.widths();
    let activation = architecture.activation;
    let windowed = |at: i64, c_in, c_out, window| {
        Layer::Conv(Box::new(Conv::new(
            &(model / at),
            c_in,
            c_out,
            window,
            activation,
        )))
    };
    let conv = |at: i64, c_in, c_out, kernel, stride| {
        windowed(at, c_in, c_out, Window::new(kernel, stride))
    };
    let c3 = |at: i64, c_in, c_out, n, shortcut| {
        let repeats = architecture.repeats(n);
        let block = C3::new(&(model / at), c_in, c_out, repeats, shortcut, activation);
        Layer::C3(Box::new(block))
    };
    let unpadded = |kernel, stride, padding| Window {
        kernel,
        stride,
        padding,
    };
    let [first, second] = match architecture.stem {
        Stem::Conv6 => [
            windowed(0, 3, c64, unpadded(6, 2, 2)),
            conv(1, c64, c128, 3, 2),
        ],
        Stem::Patch4 => [windowed(0, 3, c128, unpadded(4, 4, 0)), Layer::Nothing],
    };
    vec![
        first,
        second,
        c3(2, c128, c128, 3, true),
        conv(3, c128, c256, 3, 2),
        c3(4, c256, c256, 6, true),
        conv(5, c256, c512, 3, 2),
        c3(6, c512, c512, 9, true),
        conv(7, c512, c1024, 3, 2),
        c3(8, c1024, c1024, 3, true),
        Layer::Sppf(Box::new(Sppf::new(&(model / 9), c1024, c1024, activation))),
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
    use crate::checkpoint::seeded;

    fn parameters(size: &str, n_classes: usize) -> i64 {
        let store = nn::VarStore::new(Device::Cpu);
        let architecture = Architecture::yolov5(size).unwrap();
        let head = HeadSpec {
            levels: architecture.levels(),
            n_classes,
            value_counts: Default::default(),
        };
        Detector::new(&store.root(), &architecture, &head);
        store
            .trainable_variables()
            .iter()
            .map(|v| v.numel() as i64)
            .sum()
    }

    /// attridet.md, 8.1: counted in the reference's models, with the 80 COCO and the 14 cell classes.
    #[test]
    fn parameter_counts_are_the_reference_s() {
        for (size, coco, cells) in [
            ("n", 1_872_157, 1_782_859),
            ("s", 7_235_389, 7_057_387),
            ("m", 21_190_557, 20_923_851),
            ("l", 46_563_709, 46_208_299),
            ("x", 86_749_405, 86_305_291),
        ] {
            assert_eq!(
                [parameters(size, 80), parameters(size, 14)],
                [coco, cells],
                "{size}"
            );
        }
    }

    /// After `settle` the network says the same, and in training too, where each batch norms itself.
    #[test]
    fn settled_batch_norms_have_the_pictures_statistics_and_change_nothing() {
        let store = nn::VarStore::new(Device::Cpu);
        let architecture = Architecture::yolov5("n").unwrap();
        let head = HeadSpec {
            levels: architecture.levels(),
            n_classes: 5,
            value_counts: Default::default(),
        };
        let canvases = seeded(4, || Tensor::rand([4, 3, 64, 64], (Kind::Float, Device::Cpu)));
        let network = seeded(3, || Detector::new(&store.root(), &architecture, &head));
        let expected = network.forward(&canvases, false).heads;
        network.settle(&canvases);
        let mean = &store.variables()["model.3.bn.running_mean"];
        assert!(f64::try_from(mean.abs().max()).unwrap() > 1e-3);
        for (train, bound) in [(false, 1e-4), (true, 2e-2)] {
            let found = tch::no_grad(|| network.forward(&canvases, train).heads);
            for (found, expected) in found.iter().zip(&expected) {
                let off = (found - expected).abs().max() / expected.std(true);
                let off = f64::try_from(off).unwrap();
                assert!(off < bound, "train {train}: {off}");
            }
        }
    }
}
