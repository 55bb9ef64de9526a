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

    /// The network on u8 canvases, in training; what it says comes in 32 bits.
    pub(super) fn forward(
        &self,
        network: &Detector,
        canvases: &Tensor,
    ) -> Result<Outputs, EngineError> {
        let canvases = scaled(&channels_last(&self.on_device(canvases)));
        let together = &self.together;
        let run = || together.forward(|| network.forward(&canvases, true));
        let outputs = self.precision.run(self.device, run)??;
        let single = |t: Tensor| t.to_kind(Kind::Float);
        Ok(Outputs {
            heads: outputs.heads.into_iter().map(single).collect(),
            fine: outputs.fine.map(single),
        })
    }

    /// To a card without waiting: from pinned memory it copies while this side goes on.
    fn on_device(&self, canvases: &Tensor) -> Tensor {
        if self.device.is_cuda() {
            let pinned = canvases.pin_memory(self.device);
            pinned.to_device_(self.device, canvases.kind(), true, false)
        } else {
            canvases.to_device(self.device)
        }
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
            let finite = sgd.step(pace, GRADIENT_NORM_MAX).is_finite();
            return Ok(if finite {
                Stepped::Yes
            } else {
                Stepped::NotFinite
            });
        };
        scaler.unscale(&mut gradients(store));
        let finite = sgd.step(pace, GRADIENT_NORM_MAX).is_finite();
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
