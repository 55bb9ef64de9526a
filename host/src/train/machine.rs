//! How a step computes: on which device, in which precision, with which other processes.

use tch::{Device, Kind, Tensor, nn};

use super::together::Together;
use crate::engine::EngineError;
use crate::engine::autocast::Precision;
use crate::engine::scaler::GradScaler;
use crate::model::{Detector, Outputs, channels_last, scaled};
use crate::optim::{Pace, Sgd};

/// Gradient norm above which gradients are scaled down (attridet.md, 8.5).
const GRADIENT_NORM_MAX: f64 = 10.0;

/// Device, precision and company of a training.
#[derive(Debug)]
pub(super) struct Machine {
    device: Device,
    precision: Precision,
    /// In fp16 only.
    scaler: Option<GradScaler>,
    pub(super) together: Together,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stepped {
    /// The weights moved.
    Yes,
    /// The loss was scaled too high for fp16; the next step has half the scale.
    TooHigh,
    /// A gradient was not finite.
    NotFinite,
}

impl Machine {
    /// `scaler` is that of the run to go on with.
    pub(super) fn new(
        device: Device,
        precision: Precision,
        scaler: Option<GradScaler>,
        together: Together,
    ) -> Self {
        let scaler = precision
            .needs_scaling()
            .then(|| scaler.unwrap_or_default());
        Self {
            device,
            precision,
            scaler,
            together,
        }
    }

    /// For a checkpoint.
    pub(super) fn scaler(&self) -> Option<GradScaler> {
        self.scaler
    }

    /// The network on u8 canvases, in training or as it is used; what it says comes in 32 bits.
    pub(super) fn forward(
        &self,
        network: &Detector,
        canvases: &Tensor,
        train: bool,
    ) -> Result<Outputs, EngineError> {
        let canvases = scaled(&channels_last(&canvases.to_device(self.device)));
        let together = &self.together;
        let run = || together.forward(|| network.forward(&canvases, train));
        let outputs = self.precision.run(self.device, run)??;
        let single = |t: Tensor| t.to_kind(Kind::Float);
        Ok(Outputs {
            heads: outputs.heads.into_iter().map(single).collect(),
            fine: outputs.fine.map(single),
        })
    }

    /// Adds the gradients of a loss.
    pub(super) fn backward(&self, loss: &Tensor) -> Result<(), EngineError> {
        let walked = match &self.scaler {
            Some(scaler) => scaler.scaled(loss).f_backward(),
            None => loss.f_backward(),
        };
        walked.map_err(|e| EngineError::of_libtorch(&e.to_string()))
    }

    /// Sums the gradients over the processes and steps; they are cleared in any case.
    pub(super) fn step(
        &mut self,
        sgd: &mut Sgd,
        store: &nn::VarStore,
        pace: &Pace,
    ) -> Result<Stepped, EngineError> {
        self.together.sum_gradients(store)?;
        let Some(scaler) = &mut self.scaler else {
            let finite = sgd.step(pace, GRADIENT_NORM_MAX)?.is_finite();
            return Ok(if finite {
                Stepped::Yes
            } else {
                Stepped::NotFinite
            });
        };
        scaler.unscale(&mut gradients(store));
        let finite = sgd.step(pace, GRADIENT_NORM_MAX)?.is_finite();
        scaler.update(finite);
        Ok(match finite {
            true => Stepped::Yes,
            // Below 1 there is nothing left that the scale could be blamed for.
            false if scaler.scale() >= 1.0 => Stepped::TooHigh,
            false => Stepped::NotFinite,
        })
    }
}

fn gradients(store: &nn::VarStore) -> Vec<Tensor> {
    let variables = store.trainable_variables().into_iter();
    variables
        .map(|variable| variable.grad())
        .filter(Tensor::defined)
        .collect()
}

#[cfg(test)]
mod tests {
    use tch::nn::Init;

    use super::*;
    use crate::engine::autocast::Half;
    use crate::optim::Schedule;

    const PACE: Pace = Pace {
        lr: 0.5,
        bias_lr: 0.5,
        momentum: 0.0,
        accumulate: 1,
    };

    fn machine(precision: Precision) -> Machine {
        Machine::new(Device::Cpu, precision, None, Together::default())
    }

    /// A step after a loss of `slope` times a weight of 1; the weight afterwards.
    fn stepped(machine: &mut Machine, slope: f64) -> (Stepped, f64) {
        let store = nn::VarStore::new(Device::Cpu);
        let weight = store.root().var("weight", &[1], Init::Const(1.0));
        let schedule = Schedule {
            weight_decay: 0.0,
            ..Schedule::default()
        };
        let mut sgd = Sgd::new(&store, &schedule, 1);
        let loss = (&weight * slope).sum(Kind::Float);
        machine.backward(&loss).expect("a way back");
        let outcome = machine.step(&mut sgd, &store, &PACE).expect("alone");
        assert_eq!(weight.grad().double_value(&[0]), 0.0, "cleared");
        (outcome, weight.double_value(&[0]))
    }

    #[test]
    fn in_fp16_the_scale_leaves_no_trace_in_the_weights() {
        let mut half = machine(Precision::Mixed(Half::Fp16));
        let mut single = machine(Precision::Float32);
        assert_eq!(stepped(&mut single, 0.25), (Stepped::Yes, 0.875));
        assert_eq!(stepped(&mut half, 0.25), (Stepped::Yes, 0.875));
        assert!(single.scaler().is_none() && half.scaler().is_some());
    }

    #[test]
    fn a_loss_scaled_too_high_costs_a_step_and_half_the_scale() {
        let mut half = machine(Precision::Mixed(Half::Fp16));
        assert_eq!(stepped(&mut half, 1e35), (Stepped::TooHigh, 1.0));
        assert_eq!(half.scaler().map(|s| s.scale()), Some(32768.0));
        let mut single = machine(Precision::Float32);
        assert_eq!(stepped(&mut single, f64::NAN), (Stepped::NotFinite, 1.0));
    }

    #[test]
    fn a_run_goes_on_with_the_scale_it_had() {
        let mut before = machine(Precision::Mixed(Half::Fp16));
        stepped(&mut before, 1e35);
        let precision = Precision::Mixed(Half::Fp16);
        let after = Machine::new(Device::Cpu, precision, before.scaler(), Together::default());
        assert_eq!(after.scaler(), before.scaler());
    }
}
