//! What a training step costs with dense and with region attribute heads, and what pooling costs in
//! one piece and region by region: `cargo run --release -p tests --features torch --example
//! region_cost -- [SIZE] [SIDE] [BATCH] [CELLS]`, by default n, 320 px, 16 canvases, 2 cells each.

use std::time::Instant;

use host::assign::Target;
use host::augment::Rng;
use host::loss::{AttributeLoss, Given, LossOptions, LossWeights, Regions, loss};
use host::model::{
    Architecture, Detector, PlacedRegion, RegionHead, region_channels, roi_align, scaled,
};
use shared::attribute::{Attributes, NO_ATTRIBUTES, ValueId};
use shared::geometry::Size;
use shared::head::HeadSpec;
use tch::{Device, Kind, Tensor, nn};

const ROUNDS: u32 = 5;
const VALUE_COUNTS: [u8; 11] = [2, 2, 6, 2, 2, 2, 2, 3, 4, 4, 2];
const WEIGHTS: LossWeights = LossWeights {
    bbox: 0.05,
    objectness: 0.25,
    class: 0.05,
    attribute: 0.05,
};

struct Scene {
    architecture: Architecture,
    side: i64,
    batch: i64,
    regions: Vec<PlacedRegion>,
    targets: Vec<Target>,
    device: Device,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, or: i64| {
        let given = arguments
            .get(at)
            .map(|text| text.parse().expect("a number"));
        given.unwrap_or(or)
    };
    let size = arguments.first().map_or("n", String::as_str);
    let architecture = Architecture::yolov5(size).expect("n, s, m, l or x");
    let (side, batch) = (number(1, 320), number(2, 16));
    let (regions, targets) = cells(side as f32, batch as usize, number(3, 2) as usize);
    let device = Device::cuda_if_available();
    let scene = Scene {
        architecture,
        side,
        batch,
        regions,
        targets,
        device,
    };
    println!(
        "{size} {side} px, {batch} canvases, {} cells, {device:?}, {} threads",
        scene.regions.len(),
        tch::get_num_threads()
    );
    head_size(&architecture);
    let (dense, roi) = (scene.step(false), scene.step(true));
    println!(
        "training step: dense {dense:.1} ms, roi {roi:.1} ms, ratio {:.3}",
        roi / dense
    );
    scene.pooling();
}

fn cells(side: f32, batch: usize, n: usize) -> (Vec<PlacedRegion>, Vec<Target>) {
    let mut rng = Rng::new(1, 0, 0);
    let mut regions = Vec::new();
    let mut targets = Vec::new();
    for image in (0..batch).flat_map(|image| std::iter::repeat_n(image, n)) {
        let [w, h] = [0, 1].map(|_| rng.uniform(0.1, 0.3));
        let [cx, cy] = [0, 1].map(|_| rng.uniform(0.2, 0.8));
        let edges = [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0];
        let region = edges.map(|edge| edge * side);
        regions.push(PlacedRegion { image, region });
        let mut attributes = NO_ATTRIBUTES;
        attributes[..VALUE_COUNTS.len()].fill(ValueId::new(1));
        targets.push(Target {
            image,
            class: Some(0),
            cxcywh: [cx, cy, w, h],
            attributes,
        });
    }
    (regions, targets)
}

/// Parameters and multiplications of the head for a cell, with six attributes of two values as the
/// reference has them.
fn head_size(architecture: &Architecture) {
    let store = nn::VarStore::new(Device::Cpu);
    RegionHead::new(&store.root(), architecture, &[2; 6]);
    let parameters: usize = store.trainable_variables().iter().map(Tensor::numel).sum();
    let channels: i64 = region_channels(architecture).iter().sum();
    let convolutions = 9 * (channels * 128 * 24 * 30 + 128 * 64 * 12 * 15 + 64 * 64 * 6 * 7);
    let full = 576 * 1024 + 1024 * 256 + 256 * 12;
    let mmac = (convolutions + full) as f64 / 1e6;
    println!("head: {parameters} parameters, {mmac:.1} MMAC a cell");
}

/// Median of the rounds after one that does not count, milliseconds.
fn median_ms(device: Device, mut work: impl FnMut()) -> f64 {
    work();
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            work();
            if let Device::Cuda(index) = device {
                tch::Cuda::synchronize(index as i64);
            }
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

impl Scene {
    fn step(&self, roi: bool) -> f64 {
        let store = nn::VarStore::new(self.device);
        let dense = || VALUE_COUNTS.into_iter().collect();
        let head = HeadSpec {
            levels: self.architecture.levels(),
            n_classes: 5,
            value_counts: if roi { Default::default() } else { dense() },
        };
        let network = Detector::new(&store.root(), &self.architecture, &head);
        let regions =
            roi.then(|| RegionHead::new(&store.root(), &self.architecture, &VALUE_COUNTS));
        let shape = [self.batch, 3, self.side, self.side];
        let canvases = Tensor::randint(256, shape, (Kind::Uint8, self.device));
        let canvas = Size::new(self.side as u32, self.side as u32);
        let mut rng = Rng::new(2, 0, 0);
        let truths: Vec<Attributes> = self.targets.iter().map(|t| t.attributes).collect();
        let attribute = match roi {
            true => AttributeLoss::Asymmetric,
            false => AttributeLoss::CrossEntropy,
        };
        let options = LossOptions {
            attribute,
            ..LossOptions::default()
        };
        median_ms(self.device, || {
            let outputs = network.forward(&scaled(&canvases), true);
            let logits = regions
                .as_ref()
                .map(|head| head.values(&outputs.fine, &self.regions, Some(&mut rng)));
            let regions = logits.as_ref().map(|logits| Regions {
                value_counts: &VALUE_COUNTS,
                logits,
                truths: &truths,
            });
            let given = Given {
                spec: &head,
                canvas,
                targets: &self.targets,
                options: &options,
                class_weights: None,
                regions,
                teacher: None,
            };
            loss(&given, &outputs.heads, &WEIGHTS).total().backward();
        })
    }

    /// RoIAlign of both maps, forward and backward, all regions at once and one by one.
    fn pooling(&self) {
        let maps: Vec<Tensor> = region_channels(&self.architecture)
            .into_iter()
            .zip([4, 8])
            .map(|(channels, stride)| {
                let side = self.side / stride;
                let shape = [self.batch, channels, side, side];
                Tensor::randn(shape, (Kind::Float, self.device)).set_requires_grad(true)
            })
            .collect();
        let pooled = |regions: &[PlacedRegion]| {
            let both = maps.iter().zip([4, 8]);
            let sums = both.map(|(map, stride)| roi_align(map, stride, regions).sum(Kind::Float));
            sums.fold(Tensor::zeros([], (Kind::Float, self.device)), |a, b| a + b)
        };
        let whole = median_ms(self.device, || pooled(&self.regions).backward());
        let single = median_ms(self.device, || {
            let each = self.regions.iter().map(|&region| pooled(&[region]));
            each.reduce(|a, b| a + b).expect("regions").backward();
        });
        println!(
            "RoIAlign, forward and backward: {whole:.1} ms at once, {single:.1} ms one by one, ratio {:.1}",
            single / whole
        );
    }
}
