//! Training steps and inference, timed part by part on canvases and targets given by formula: any
//! other program can be given the very same work. Built of the trainer's own parts; reads no files.

use std::path::Path;
use std::time::{Duration, Instant};

use shared::attribute::NO_ATTRIBUTES;
use shared::geometry::Size;
use shared::head::HeadSpec;
use tch::{Cuda, Device, Tensor, nn};

use crate::assign::Target;
use crate::checkpoint::{CheckpointError, build, seeded};
use crate::engine::EngineError;
use crate::engine::autocast::Precision;
use crate::loss::{Given, LossOptions, LossWeights, loss};
use crate::model::{Architecture, Detector, channels_last, scaled};
use crate::optim::{Ema, Pace, Schedule, Sgd};

/// Gains of the loss before scaling (attridet.md, 8.4, low).
const GAINS: LossWeights = LossWeights {
    bbox: 0.05,
    objectness: 1.0,
    class: 0.5,
    attribute: 0.0,
};

/// The pace of every step: that of the first epoch after warm-up, a step a batch.
const PACE: Pace = Pace {
    lr: 0.01,
    bias_lr: 0.01,
    momentum: 0.937,
    accumulate: 1,
};

/// Norm that gradients are clipped to, as in training.
const GRADIENT_NORM_MAX: f64 = 10.0;

/// Position of the canvas in a pair, class, centre and size of the cells on it.
const CELLS: [(usize, u8, [f32; 4]); 6] = [
    (0, 0, [0.5, 0.5, 0.2, 0.3]),
    (0, 17, [0.25, 0.3, 0.05, 0.06]),
    (0, 5, [0.9, 0.1, 0.15, 0.15]),
    (1, 2, [0.4, 0.6, 0.6, 0.5]),
    (1, 79, [0.05, 0.95, 0.08, 0.09]),
    (1, 2, [0.41, 0.61, 0.55, 0.52]),
];

/// What is timed.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// What the network looks like.
    pub architecture: Architecture,
    /// Classes, at least 1.
    pub n_classes: usize,
    /// Sides in multiples of 32.
    pub canvas: Size,
    /// Canvases in a batch, at least 1.
    pub batch: usize,
    /// Of the weights.
    pub seed: i64,
    /// Where it is computed.
    pub device: Device,
    /// What a training step computes in.
    pub precision: Precision,
}

impl Workload {
    /// What the channels of the heads mean: classes, no attributes.
    pub fn head(&self) -> HeadSpec {
        HeadSpec {
            levels: self.architecture.levels(),
            n_classes: self.n_classes,
            value_counts: Default::default(),
        }
    }
}

/// Times of one training step.
#[derive(Clone, Copy, Debug)]
pub struct StepTimes {
    /// u8 canvases to scaled floats on the device.
    pub input: Duration,
    /// The network.
    pub forward: Duration,
    /// Assignment and loss.
    pub loss: Duration,
    /// Gradients.
    pub backward: Duration,
    /// Clipping, step, clearing of gradients, running mean.
    pub optimizer: Duration,
}

impl StepTimes {
    /// The whole step.
    pub fn sum(&self) -> Duration {
        self.input + self.forward + self.loss + self.backward + self.optimizer
    }
}

/// A network with random weights and the batch it is trained on.
pub struct Bench {
    workload: Workload,
    head: HeadSpec,
    store: nn::VarStore,
    network: Detector,
    sgd: Sgd,
    ema: Ema,
    canvases: Tensor,
    targets: Vec<Target>,
}

impl Bench {
    /// Builds the network and the batch.
    pub fn new(workload: Workload) -> Self {
        let store = nn::VarStore::new(workload.device);
        let head = workload.head();
        let network = seeded(workload.seed, || {
            build(&store, &workload.architecture, &head)
        });
        Self {
            sgd: Sgd::new(&store, &Schedule::default(), workload.batch),
            ema: Ema::new(&store),
            canvases: formula_canvases(workload.batch, workload.canvas),
            targets: formula_targets(workload.batch, workload.n_classes),
            workload,
            head,
            store,
            network,
        }
    }

    /// Writes the weights and buffers as they are now: a safetensors file, names as in the state
    /// dict of YOLOv5.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_weights(&self, path: &Path) -> Result<(), CheckpointError> {
        let io = |source| CheckpointError::Io {
            path: path.to_path_buf(),
            source,
        };
        // Opened here, because the error of the writer below has lost its kind.
        std::fs::File::create(path).map_err(io)?;
        let variables: Vec<_> = self.store.variables().into_iter().collect();
        Tensor::write_safetensors(&variables, path)
            .map_err(|e| io(std::io::Error::other(e.to_string())))
    }

    /// One training step on the batch; the loss that was differentiated, and the times.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn train_step(&mut self) -> Result<(f64, StepTimes), EngineError> {
        let device = self.workload.device;
        let (canvases, input) = timed(device, || {
            scaled(&channels_last(&self.canvases.to_device(device)))
        });
        let precision = self.workload.precision;
        let (outputs, forward) = timed(device, || {
            precision.run(device, || self.network.forward(&canvases, true))
        });
        let outputs = outputs?;
        let (total, loss) = timed(device, || {
            let canvas = self.workload.canvas;
            let given = Given {
                spec: &self.head,
                canvas,
                targets: &self.targets,
                options: &LossOptions::default(),
                class_weights: None,
                regions: None,
                teacher: None,
            };
            let weights = GAINS.scaled(&self.head, canvas);
            loss(&given, &outputs.heads, &weights).total()
        });
        let ((), backward) = timed(device, || total.backward());
        let (stepped, optimizer) = timed(device, || {
            self.sgd.step(&PACE, GRADIENT_NORM_MAX)?;
            self.ema.update(&self.store)
        });
        stepped?;
        let times = StepTimes {
            input,
            forward,
            loss,
            backward,
            optimizer,
        };
        Ok((total.double_value(&[]), times))
    }

    /// Time of one canvas through the network, gradients off.
    pub fn inference(&self) -> Duration {
        let device = self.workload.device;
        let canvas = self.canvases.narrow(0, 0, 1);
        let heads = || {
            let canvas = scaled(&canvas.to_device(device));
            tch::no_grad(|| self.network.forward(&canvas, false))
        };
        timed(device, heads).1
    }
}

/// Threads that an operation on the CPU may use.
pub fn threads() -> i32 {
    tch::get_num_threads()
}

/// What `work` gives, and how long it took; a card is waited for.
fn timed<T>(device: Device, work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let out = work();
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index as i64);
    }
    (out, started.elapsed())
}

/// u8 `[batch, 3, height, width]`: `(c * 7919 + y * 104729 + x * 1299709 + b * 15485863) / 97 % 256`.
pub fn formula_canvases(batch: usize, canvas: Size) -> Tensor {
    let (height, width) = (u64::from(canvas.height), u64::from(canvas.width));
    let mut bytes = Vec::with_capacity(batch * 3 * canvas.area().unwrap_or(0));
    for b in 0..batch as u64 {
        for c in 0..3 {
            for y in 0..height {
                let row = c * 7919 + y * 104_729 + b * 15_485_863;
                bytes.extend((0..width).map(|x| ((row + x * 1_299_709) / 97 % 256) as u8));
            }
        }
    }
    let sides = [batch as i64, 3, height as i64, width as i64];
    Tensor::from_slice(&bytes).view(sides)
}

/// Three cells a canvas, those of the even and of the odd canvases the same; classes modulo `n_classes`.
pub fn formula_targets(batch: usize, n_classes: usize) -> Vec<Target> {
    let on = |image: usize| {
        let cells = CELLS.iter().filter(move |cell| cell.0 == image % 2);
        cells.map(move |&(_, class, cxcywh)| Target {
            image,
            class: Some((usize::from(class) % n_classes) as u8),
            cxcywh,
            attributes: NO_ATTRIBUTES,
        })
    };
    (0..batch).flat_map(on).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_learnt_and_timed() {
        let mut bench = Bench::new(Workload {
            architecture: Architecture::yolov5("n").unwrap(),
            n_classes: 3,
            canvas: Size::new(64, 64),
            batch: 2,
            seed: 0,
            device: Device::Cpu,
            precision: Precision::Float32,
        });
        let mut losses = Vec::new();
        for _ in 0..4 {
            let (loss, times) = bench.train_step().expect("a step");
            assert!(times.forward > Duration::ZERO && times.sum() > times.backward);
            losses.push(loss);
        }
        assert!(losses[3] < losses[0], "{losses:?}");
        assert!(bench.inference() > Duration::ZERO);
    }

    #[test]
    fn weights_are_not_written_where_nothing_can_be() {
        let bench = Bench::new(Workload {
            architecture: Architecture::yolov5("n").unwrap(),
            n_classes: 1,
            canvas: Size::new(32, 32),
            batch: 1,
            seed: 0,
            device: Device::Cpu,
            precision: Precision::Float32,
        });
        let path = Path::new("/nowhere/weights.safetensors");
        let error = bench.save_weights(path).unwrap_err();
        let chain = format!("{:#}", anyhow::Error::from(error));
        assert_eq!(
            chain,
            "/nowhere/weights.safetensors: No such file or directory (os error 2)"
        );
    }
}
