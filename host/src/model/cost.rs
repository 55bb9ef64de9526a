//! What a network costs: parameters and operations, by walking its drawing. Pure, no tensors.

use serde::Serialize;
use shared::geometry::Size;
use shared::head::HeadSpec;

use super::{Architecture, AttributeHead, DetectionHead, Stem};

/// Parameters and operations of a network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Numbers that are trained; running statistics are not counted.
    pub parameters: u64,
    /// 10^9 additions and multiplications of the convolutions for one canvas, twice their
    /// multiply-accumulates, as the family's tables count them.
    pub gflops: f64,
}

/// The cost of the network that `architecture` and `head` describe, on one `canvas` whose sides are
/// multiples of 32.
pub fn cost(architecture: &Architecture, head: &HeadSpec, canvas: Size) -> Cost {
    let mut tally = Tally::new(canvas);
    tally.backbone(architecture);
    tally.neck(architecture);
    match architecture.detection {
        DetectionHead::Anchor => tally.anchor_head(architecture, head),
    }
    match architecture.attributes {
        // Its channels are the detection head's.
        AttributeHead::Dense => {}
    }
    Cost {
        parameters: tally.parameters,
        gflops: 2.0 * tally.multiply_accumulates as f64 / 1e9,
    }
}

/// Sums while walking.
struct Tally {
    canvas: Size,
    parameters: u64,
    multiply_accumulates: u64,
}

impl Tally {
    fn new(canvas: Size) -> Self {
        Self {
            canvas,
            parameters: 0,
            multiply_accumulates: 0,
        }
    }

    /// A convolution without bias whose output has `stride`.
    fn bare(&mut self, channels: [i64; 2], kernel: i64, stride: u32) {
        let [c_in, c_out] = channels.map(i64::unsigned_abs);
        let weights = c_in * c_out * kernel.unsigned_abs().pow(2);
        let places = u64::from(self.canvas.width / stride) * u64::from(self.canvas.height / stride);
        self.parameters += weights;
        self.multiply_accumulates += weights * places;
    }

    /// The same with batch norm: a scale and a shift a channel, which cost nothing when folded.
    fn conv(&mut self, channels: [i64; 2], kernel: i64, stride: u32) {
        self.bare(channels, kernel, stride);
        self.parameters += 2 * channels[1].unsigned_abs();
    }

    /// A 1x1 convolution with bias.
    fn predictor(&mut self, c_in: i64, c_out: usize, stride: u32) {
        self.bare([c_in, c_out as i64], 1, stride);
        self.parameters += c_out as u64;
    }

    fn c3(&mut self, [c_in, c_out]: [i64; 2], repeats: usize, stride: u32) {
        let half = c_out / 2;
        self.conv([c_in, half], 1, stride);
        self.conv([c_in, half], 1, stride);
        self.conv([2 * half, c_out], 1, stride);
        for _ in 0..repeats {
            self.conv([half, half], 1, stride);
            self.conv([half, half], 3, stride);
        }
    }

    fn sppf(&mut self, [c_in, c_out]: [i64; 2], stride: u32) {
        let half = c_in / 2;
        self.conv([c_in, half], 1, stride);
        self.conv([4 * half, c_out], 1, stride);
    }

    /// Layers 0 to 9.
    fn backbone(&mut self, architecture: &Architecture) {
        let [c64, c128, c256, c512, c1024] = architecture.widths();
        match architecture.stem {
            Stem::Conv6 => {
                self.conv([3, c64], 6, 2);
                self.conv([c64, c128], 3, 4);
            }
            Stem::Patch4 => self.conv([3, c128], 4, 4),
        }
        self.c3([c128, c128], architecture.repeats(3), 4);
        for (channels, n, stride) in [
            ([c128, c256], 6, 8),
            ([c256, c512], 9, 16),
            ([c512, c1024], 3, 32),
        ] {
            self.conv(channels, 3, stride);
            self.c3([channels[1]; 2], architecture.repeats(n), stride);
        }
        self.sppf([c1024, c1024], 32);
    }

    /// Layers 10 to 23.
    fn neck(&mut self, architecture: &Architecture) {
        let [_, _, c256, c512, c1024] = architecture.widths();
        let repeats = architecture.repeats(3);
        self.conv([c1024, c512], 1, 32);
        self.c3([2 * c512, c512], repeats, 16);
        self.conv([c512, c256], 1, 16);
        self.c3([2 * c256, c256], repeats, 8);
        self.conv([c256, c256], 3, 16);
        self.c3([2 * c256, c512], repeats, 16);
        self.conv([c512, c512], 3, 32);
        self.c3([2 * c512, c1024], repeats, 32);
    }

    /// Layer 24, relative to prior boxes.
    fn anchor_head(&mut self, architecture: &Architecture, head: &HeadSpec) {
        let [_, _, c256, c512, c1024] = architecture.widths();
        for (level, c_in) in head.levels.iter().zip([c256, c512, c1024]) {
            let c_out = level.anchors.len() * head.channels_per_anchor();
            self.predictor(c_in, c_out, u32::from(level.stride));
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, nn};

    use super::*;
    use crate::model::{Activation, Detector};

    fn head(architecture: &Architecture, value_counts: &[u8]) -> HeadSpec {
        HeadSpec {
            levels: architecture.levels(),
            n_classes: 80,
            value_counts: value_counts.iter().copied().collect(),
        }
    }

    /// attridet.md, 8.1.
    #[test]
    fn operations_and_parameters_are_the_reference_s() {
        for (size, parameters, gflops) in [
            ("n", 1_872_157, 4.5),
            ("s", 7_235_389, 16.5),
            ("m", 21_190_557, 49.0),
            ("l", 46_563_709, 109.1),
            ("x", 86_749_405, 205.7),
        ] {
            let architecture = Architecture::yolov5(size).unwrap();
            let found = cost(
                &architecture,
                &head(&architecture, &[]),
                Size::new(640, 640),
            );
            assert_eq!(found.parameters, parameters, "{size}");
            assert!(
                (found.gflops / gflops - 1.0).abs() < 0.02,
                "{size}: {} GFLOPs, expected {gflops}",
                found.gflops
            );
        }
    }

    /// By hand: a quarter of the places, a quarter of the operations; a canvas need not be square.
    #[test]
    fn operations_grow_with_the_canvas_parameters_do_not() {
        let architecture = Architecture::yolov5("n").unwrap();
        let head = head(&architecture, &[2, 3]);
        let large = cost(&architecture, &head, Size::new(640, 640));
        let small = cost(&architecture, &head, Size::new(640, 160));
        assert_eq!(large.parameters, small.parameters);
        assert!((large.gflops / small.gflops - 4.0).abs() < 1e-9);
    }

    #[test]
    fn the_walk_counts_what_the_network_has() {
        for stem in [Stem::Conv6, Stem::Patch4] {
            let architecture = Architecture {
                depth: 0.67,
                width: 0.3,
                activation: Activation::Relu,
                stem,
                ..Architecture::yolov5("n").unwrap()
            };
            let head = head(&architecture, &[2, 3, 4]);
            let store = nn::VarStore::new(Device::Cpu);
            Detector::new(&store.root(), &architecture, &head);
            let counted: usize = store.trainable_variables().iter().map(|v| v.numel()).sum();
            let walked = cost(&architecture, &head, Size::new(320, 320)).parameters;
            assert_eq!(walked, counted as u64, "{stem:?}");
        }
    }
}
