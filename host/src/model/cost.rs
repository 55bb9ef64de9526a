//! What a network costs: parameters and operations, by walking its drawing. Pure, no tensors.

use serde::Serialize;
use shared::geometry::Size;
use shared::head::HeadSpec;
use shared::roi::{COLUMNS, ROWS};

use super::anchor_free::BOX_CHANNELS;
use super::{Architecture, AttributeHead, DetectionHead, Stem, roi};

/// Parameters and operations of a network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Numbers that are trained; running statistics are not counted.
    pub parameters: u64,
    /// 10^9 additions and multiplications of the convolutions for one canvas, twice their
    /// multiply-accumulates, as the family's tables count them.
    pub gflops: f64,
    /// The same of the attribute head's convolutions and full layers, for each cell it looks at; 0
    /// when the detection head says the attributes.
    pub gflops_per_cell: f64,
}

/// The cost of the network that `architecture` and `head` describe, on one `canvas` whose sides are
/// multiples of 32.
///
/// `region_values` are the values of each attribute that a region head says; without any, or with
/// attributes in the detection head, there is none.
pub fn cost(
    architecture: &Architecture,
    head: &HeadSpec,
    region_values: &[u8],
    canvas: Size,
) -> Cost {
    let mut tally = Tally::default();
    tally.backbone(architecture, canvas);
    tally.neck(architecture, canvas);
    match architecture.detection {
        DetectionHead::Anchor => tally.anchor_head(architecture, head, canvas),
        DetectionHead::AnchorFree => tally.anchor_free_head(architecture, head, canvas),
    }
    let mut per_cell = Tally::default();
    match architecture.attributes {
        AttributeHead::Roi if !region_values.is_empty() => {
            per_cell.region_head(architecture, region_values);
        }
        // Without a head of their own, their channels are the detection head's.
        AttributeHead::Roi | AttributeHead::Dense => {}
    }
    Cost {
        parameters: tally.parameters + per_cell.parameters,
        gflops: tally.gflops(),
        gflops_per_cell: per_cell.gflops(),
    }
}

/// Sums while walking.
#[derive(Default)]
struct Tally {
    parameters: u64,
    multiply_accumulates: u64,
}

impl Tally {
    fn gflops(&self) -> f64 {
        2.0 * self.multiply_accumulates as f64 / 1e9
    }

    /// A convolution without bias, output places of `grid`; a full layer is one with one place.
    fn bare(&mut self, channels: [i64; 2], kernel: i64, grid: Size) {
        let [c_in, c_out] = channels.map(i64::unsigned_abs);
        let weights = c_in * c_out * kernel.unsigned_abs().pow(2);
        self.parameters += weights;
        self.multiply_accumulates += weights * u64::from(grid.width) * u64::from(grid.height);
    }

    /// The same with bias.
    fn biased(&mut self, channels: [i64; 2], kernel: i64, grid: Size) {
        self.bare(channels, kernel, grid);
        self.parameters += channels[1].unsigned_abs();
    }

    /// The same with batch norm: a scale and a shift a channel, which cost nothing when folded.
    fn conv(&mut self, channels: [i64; 2], kernel: i64, grid: Size) {
        self.bare(channels, kernel, grid);
        self.parameters += 2 * channels[1].unsigned_abs();
    }

    fn c3(&mut self, [c_in, c_out]: [i64; 2], repeats: usize, grid: Size) {
        let half = c_out / 2;
        self.conv([c_in, half], 1, grid);
        self.conv([c_in, half], 1, grid);
        self.conv([2 * half, c_out], 1, grid);
        for _ in 0..repeats {
            self.conv([half, half], 1, grid);
            self.conv([half, half], 3, grid);
        }
    }

    fn sppf(&mut self, [c_in, c_out]: [i64; 2], grid: Size) {
        let half = c_in / 2;
        self.conv([c_in, half], 1, grid);
        self.conv([4 * half, c_out], 1, grid);
    }

    /// Layers 0 to 9.
    fn backbone(&mut self, architecture: &Architecture, canvas: Size) {
        let [c64, c128, c256, c512, c1024] = architecture.widths();
        let at = |stride| grid(canvas, stride);
        match architecture.stem {
            Stem::Conv6 => {
                self.conv([3, c64], 6, at(2));
                self.conv([c64, c128], 3, at(4));
            }
            Stem::Patch4 => self.conv([3, c128], 4, at(4)),
        }
        self.c3([c128, c128], architecture.repeats(3), at(4));
        for (channels, n, stride) in [
            ([c128, c256], 6, 8),
            ([c256, c512], 9, 16),
            ([c512, c1024], 3, 32),
        ] {
            self.conv(channels, 3, at(stride));
            self.c3([channels[1]; 2], architecture.repeats(n), at(stride));
        }
        self.sppf([c1024, c1024], at(32));
    }

    /// Layers 10 to 23.
    fn neck(&mut self, architecture: &Architecture, canvas: Size) {
        let [_, _, c256, c512, c1024] = architecture.widths();
        let at = |stride| grid(canvas, stride);
        let repeats = architecture.repeats(3);
        self.conv([c1024, c512], 1, at(32));
        self.c3([2 * c512, c512], repeats, at(16));
        self.conv([c512, c256], 1, at(16));
        self.c3([2 * c256, c256], repeats, at(8));
        self.conv([c256, c256], 3, at(16));
        self.c3([2 * c256, c512], repeats, at(16));
        self.conv([c512, c512], 3, at(32));
        self.c3([2 * c512, c1024], repeats, at(32));
    }

    /// Layer 24, relative to prior boxes: a 1x1 convolution a level.
    fn anchor_head(&mut self, architecture: &Architecture, head: &HeadSpec, canvas: Size) {
        let [_, _, c256, c512, c1024] = architecture.widths();
        for (level, c_in) in head.levels.iter().zip([c256, c512, c1024]) {
            let c_out = (level.anchors.len() * head.channels_per_anchor()) as i64;
            self.biased([c_in, c_out], 1, grid(canvas, level.stride));
        }
    }

    /// Layer 24, decoupled: a 1x1 stem, two branches and their 1x1 convolutions a level.
    fn anchor_free_head(&mut self, architecture: &Architecture, head: &HeadSpec, canvas: Size) {
        let [_, _, width, c512, c1024] = architecture.widths();
        let n_class_channels = (head.n_classes + head.n_values()) as i64;
        for (level, c_in) in head.levels.iter().zip([width, c512, c1024]) {
            let grid = grid(canvas, level.stride);
            self.conv([c_in, width], 1, grid);
            for c_out in [BOX_CHANNELS as i64, n_class_channels] {
                for _ in 0..architecture.branch_repeats() {
                    self.conv([width, width], 3, grid);
                }
                self.biased([width, c_out], 1, grid);
            }
        }
    }

    /// The attribute head of one region: each convolution is followed by a halving.
    fn region_head(&mut self, architecture: &Architecture, values: &[u8]) {
        let [c1, c2, c3] = roi::CHANNELS;
        let [h1, h2] = roi::HIDDEN;
        let mut pooled = Size::new(COLUMNS as u32, ROWS as u32);
        let c_in = roi::region_channels(architecture).iter().sum();
        for channels in [[c_in, c1], [c1, c2], [c2, c3]] {
            self.biased(channels, 3, pooled);
            pooled = grid(pooled, 2);
        }
        let n_values = values.iter().map(|&n| i64::from(n)).sum();
        for channels in [[c3 * roi::PLACES, h1], [h1, h2], [h2, n_values]] {
            self.biased(channels, 1, Size::new(1, 1));
        }
    }
}

/// Places of a map with `stride`.
fn grid(canvas: Size, stride: u16) -> Size {
    Size::new(
        canvas.width / u32::from(stride),
        canvas.height / u32::from(stride),
    )
}

#[cfg(test)]
mod tests {
    use tch::{Device, nn};

    use super::*;
    use crate::checkpoint::seeded;
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
                &[],
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
        let large = cost(&architecture, &head, &[], Size::new(640, 640));
        let small = cost(&architecture, &head, &[], Size::new(640, 160));
        assert_eq!(large.parameters, small.parameters);
        assert!((large.gflops / small.gflops - 4.0).abs() < 1e-9);
    }

    #[test]
    fn the_walk_counts_what_the_network_has() {
        for (stem, detection) in [
            (Stem::Conv6, DetectionHead::Anchor),
            (Stem::Patch4, DetectionHead::Anchor),
            (Stem::Conv6, DetectionHead::AnchorFree),
        ] {
            let architecture = Architecture {
                depth: 0.67,
                width: 0.3,
                activation: Activation::Relu,
                stem,
                detection,
                ..Architecture::yolov5("n").unwrap()
            };
            let head = head(&architecture, &[2, 3, 4]);
            let store = nn::VarStore::new(Device::Cpu);
            seeded(0, || Detector::new(&store.root(), &architecture, &head));
            let counted: usize = store.trainable_variables().iter().map(|v| v.numel()).sum();
            let walked = cost(&architecture, &head, &[], Size::new(320, 320)).parameters;
            assert_eq!(walked, counted as u64, "{stem:?}, {detection:?}");
        }
    }

    /// attridet.md, 1.3: six attributes of two values on the n network. By hand: (96 * 128 * 720 +
    /// 128 * 64 * 180 + 64 * 64 * 42) * 9 + 576 * 1024 + 1024 * 256 + 256 * 12 multiply-accumulates.
    #[test]
    fn a_region_head_is_paid_for_each_cell() {
        let dense = Architecture::yolov5("n").unwrap();
        let architecture = Architecture {
            attributes: AttributeHead::Roi,
            ..dense
        };
        let head = head(&architecture, &[]);
        let canvas = Size::new(320, 320);
        let found = cost(&architecture, &head, &[2; 6], canvas);
        let without = cost(&dense, &head, &[2; 6], canvas);
        assert_eq!(found.parameters - without.parameters, 1_077_772);
        assert_eq!(
            (found.gflops, without.gflops_per_cell),
            (without.gflops, 0.0)
        );
        let by_hand = 2.0 * 95_300_608.0 / 1e9;
        assert!((found.gflops_per_cell - by_hand).abs() < 1e-12, "{found:?}");
    }
}
