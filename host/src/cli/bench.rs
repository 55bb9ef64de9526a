//! `leuko-host bench`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use shared::geometry::Size;

use super::say;
use super::train_args::parse_side;
use crate::bench::{Bench, StepTimes, Workload, threads};
use crate::device;
use crate::engine::autocast::{AmpChoice, Precision};
use crate::exit::Usage;
use crate::model::{Architecture, Cost, DetectionHead, cost};

/// Steps that are not timed: the first ones fill caches and choose kernels.
const WARM_UP_STEPS: usize = 2;

/// Times training steps and inference of a network with random weights on made-up canvases.
///
/// A training step is what `train` does with a batch once it lies in memory: to floats, forward,
/// loss, backward, a step of the optimizer and of the running mean.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Size of the network: n, s, m, l or x.
    #[arg(long, default_value = "n", value_parser = parse_model)]
    model: Architecture,
    /// How boxes are said.
    #[arg(long, value_enum, default_value = "anchor")]
    head: DetectionHead,
    /// Classes.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u8).range(1..))]
    classes: u8,
    /// Side of the canvas.
    #[arg(long, default_value_t = 320, value_parser = parse_side)]
    imgsz: u32,
    /// Canvases in a batch.
    #[arg(long, default_value_t = 8)]
    batch_size: usize,
    /// Timed steps, after two that are not; as many inferences of one canvas.
    #[arg(long, default_value_t = 12)]
    steps: usize,
    /// auto, cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    device: String,
    /// What a training step computes in: off (32 bits), bf16, fp16 or auto, as in `train`. A processor with AMX is
    /// fast in bf16.
    #[arg(long, default_value = "auto")]
    amp: AmpChoice,
    /// Of the weights.
    #[arg(long, default_value_t = 0)]
    seed: i64,
    /// Write the weights before the first step here (safetensors).
    #[arg(long)]
    save_weights: Option<PathBuf>,
    /// For machines.
    #[arg(long)]
    json: bool,
}

fn parse_model(text: &str) -> Result<Architecture, String> {
    Architecture::yolov5(text).ok_or_else(|| format!("{text:?}, expected n, s, m, l or x"))
}

/// Of the times of one part, milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Spread {
    p10: f64,
    median: f64,
    p90: f64,
}

impl Spread {
    /// By nearest rank, the lower middle for the median; `times` must not be empty.
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut ms: Vec<f64> = times.map(|time| time.as_secs_f64() * 1e3).collect();
        ms.sort_by(f64::total_cmp);
        let at = |percent: usize| ms[(ms.len() * percent).div_ceil(100).max(1) - 1];
        Self {
            p10: at(10),
            median: at(50),
            p90: at(90),
        }
    }
}

#[derive(Debug, Serialize)]
struct TrainMs {
    input: Spread,
    forward: Spread,
    loss: Spread,
    backward: Spread,
    optimizer: Spread,
    step: Spread,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    model: Architecture,
    classes: u8,
    canvas: [u32; 2],
    batch: usize,
    device: String,
    threads: i32,
    cost: Cost,
    /// Before each step, those of the warm-up first.
    losses: Vec<f64>,
    train_ms: TrainMs,
    train_images_per_second: f64,
    inference_ms: Spread,
    inference_images_per_second: f64,
}

/// Runs the command.
pub fn run(args: &BenchArgs) -> anyhow::Result<()> {
    if args.batch_size == 0 || args.steps == 0 {
        return Err(Usage("--batch-size and --steps, expected at least 1".to_owned()).into());
    }
    let device = device::parse(&args.device)?;
    let workload = Workload {
        architecture: Architecture {
            detection: args.head,
            ..args.model
        },
        n_classes: usize::from(args.classes),
        canvas: Size::new(args.imgsz, args.imgsz),
        batch: args.batch_size,
        seed: args.seed,
        device,
        precision: Precision::resolve(args.amp, device)?,
    };
    let mut bench = Bench::new(workload);
    if let Some(path) = &args.save_weights {
        bench.save_weights(path)?;
    }
    let steps = WARM_UP_STEPS + args.steps;
    let stepped = (0..steps).map(|_| bench.train_step());
    let (losses, times): (Vec<f64>, Vec<StepTimes>) =
        stepped.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    let inference: Vec<Duration> = (0..steps).map(|_| bench.inference()).collect();
    let report = report(args, &workload, losses, &times, &inference);
    let text = if args.json {
        serde_json::to_string_pretty(&report)?
    } else {
        report.to_string()
    };
    Ok(say(&text)?)
}

/// What is told of the times, those of the warm-up left out.
fn report(
    args: &BenchArgs,
    workload: &Workload,
    losses: Vec<f64>,
    times: &[StepTimes],
    inference: &[Duration],
) -> Report {
    let times = &times[WARM_UP_STEPS..];
    let part = |of: fn(&StepTimes) -> Duration| Spread::of(times.iter().map(of));
    let train_ms = TrainMs {
        input: part(|t| t.input),
        forward: part(|t| t.forward),
        loss: part(|t| t.loss),
        backward: part(|t| t.backward),
        optimizer: part(|t| t.optimizer),
        step: part(StepTimes::sum),
    };
    let inference_ms = Spread::of(inference[WARM_UP_STEPS..].iter().copied());
    Report {
        model: workload.architecture,
        classes: args.classes,
        canvas: [args.imgsz; 2],
        batch: args.batch_size,
        device: format!("{:?}", workload.device),
        threads: threads(),
        cost: cost(
            &workload.architecture,
            &workload.head(),
            &[],
            workload.canvas,
        ),
        losses,
        train_images_per_second: args.batch_size as f64 * 1e3 / train_ms.step.median,
        train_ms,
        inference_images_per_second: 1e3 / inference_ms.median,
        inference_ms,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [width, height] = self.canvas;
        let Cost {
            parameters, gflops, ..
        } = self.cost;
        writeln!(
            f,
            "{parameters} parameters, {gflops:.2} GFLOPs at {width}x{height}, {} classes; {}, {} threads",
            self.classes, self.device, self.threads
        )?;
        writeln!(f, "{:<22}{:>10}{:>10}{:>10}", "ms", "median", "p10", "p90")?;
        let train = &self.train_ms;
        for (name, spread) in [
            ("input", train.input),
            ("forward", train.forward),
            ("loss", train.loss),
            ("backward", train.backward),
            ("optimizer", train.optimizer),
            ("training step", train.step),
            ("inference, 1 canvas", self.inference_ms),
        ] {
            let Spread { p10, median, p90 } = spread;
            writeln!(f, "{name:<22}{median:>10.2}{p10:>10.2}{p90:>10.2}")?;
        }
        write!(
            f,
            "images/s: training {:.2} (batch {}), inference {:.2}",
            self.train_images_per_second, self.batch, self.inference_images_per_second
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_by_nearest_rank() {
        let times = (1..=20).rev().map(Duration::from_millis);
        let Spread { p10, median, p90 } = Spread::of(times);
        for (found, expected) in [(p10, 2.0), (median, 10.0), (p90, 18.0)] {
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
        let one = Spread::of([Duration::from_millis(7)].into_iter());
        assert_eq!((one.p10, one.median), (one.p90, 7.0));
    }
}
