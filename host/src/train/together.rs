//! What a training asks of the other processes; alone it asks nobody and nothing changes.
//!
//! Every process makes the same calls in the same order, whatever its own batch holds.

use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest, Sha256};
use tch::{Kind, Tensor, nn};

use crate::engine::EngineError;
use crate::engine::group::ProcessGroup;
use crate::engine::sync_norm;

/// This process among those that train together.
#[derive(Clone, Debug, Default)]
pub(super) struct Together(Option<Arc<ProcessGroup>>);

impl Together {
    pub(super) fn new(group: Option<Arc<ProcessGroup>>) -> Self {
        Self(group)
    }

    /// The one that validates and writes.
    pub(super) fn is_first(&self) -> bool {
        self.rank() == 0
    }

    pub(super) fn rank(&self) -> usize {
        self.0.as_ref().map_or(0, |group| group.rank())
    }

    pub(super) fn world(&self) -> usize {
        self.0.as_ref().map_or(1, |group| group.world())
    }

    /// Runs the network with batch norms over all processes.
    pub(super) fn forward<T>(&self, network: impl FnOnce() -> T) -> Result<T, EngineError> {
        sync_norm::joined(self.0.as_ref(), network)
    }

    /// Replaces numbers by their sums over all processes.
    pub(super) fn sum(&self, numbers: &mut [f64]) -> Result<(), EngineError> {
        self.0
            .as_ref()
            .map_or(Ok(()), |group| group.sum_numbers(numbers))
    }

    /// Refuses to go on where `value` is not the same in all processes; `what` names it.
    pub(super) fn agree(&self, what: &str, value: &impl Serialize) -> Result<(), EngineError> {
        let Some(group) = &self.0 else { return Ok(()) };
        let text = serde_json::to_vec(value)
            .map_err(|e| EngineError::Launch(format!("{what} cannot be compared: {e}")))?;
        let digest = Sha256::digest(&text);
        // Pieces small enough that their differences are exact.
        let own: Vec<f64> = digest.iter().map(|&byte| f64::from(byte)).collect();
        let mut first = own.clone();
        self.as_first(&mut first)?;
        let mut other = [f64::from(u8::from(first != own))];
        group.sum_numbers(&mut other)?;
        if other == [0.0] {
            return Ok(());
        }
        Err(EngineError::Launch(format!(
            "{what} of {} processes are not those of rank 0; give all the same flags and files",
            other[0]
        )))
    }

    /// Replaces numbers by those of the first process.
    pub(super) fn as_first(&self, numbers: &mut [f64]) -> Result<(), EngineError> {
        if !self.is_first() {
            numbers.fill(0.0);
        }
        self.sum(numbers)
    }

    /// All begin with the weights and buffers of the first process.
    pub(super) fn share_weights(&self, store: &nn::VarStore) -> Result<(), EngineError> {
        let Some(group) = &self.0 else { return Ok(()) };
        let mut variables: Vec<Tensor> = by_name(store);
        group.broadcast_all(&mut variables)
    }

    /// Replaces the gradients by their sums over all processes.
    ///
    /// A variable that only some processes have a gradient of, because only their batches had use for
    /// it, has one everywhere afterwards; one that nobody has a gradient of stays without.
    pub(super) fn sum_gradients(&self, store: &nn::VarStore) -> Result<(), EngineError> {
        let Some(group) = &self.0 else { return Ok(()) };
        let mut variables = by_name(store);
        variables.retain(Tensor::requires_grad);
        let has_gradient = |v: &Tensor| f64::from(u8::from(v.grad().defined()));
        let mut known: Vec<f64> = variables.iter().map(has_gradient).collect();
        group.sum_numbers(&mut known)?;
        let mut gradients = Vec::with_capacity(variables.len());
        for (variable, known) in variables.iter().zip(known) {
            if known > 0.0 && !variable.grad().defined() {
                // The only way to a gradient of zeros.
                (variable * 0.0).sum(Kind::Float).backward();
            }
            if known > 0.0 {
                gradients.push(variable.grad());
            }
        }
        group.sum_all(&mut gradients)
    }

    /// Waits until the first process is done with what it does alone.
    pub(super) fn wait_for_first(&self) -> Result<(), EngineError> {
        self.0
            .as_ref()
            .map_or(Ok(()), |group| group.wait_for_first())
    }
}

/// In an order that is the same in every process; the store's own is not.
fn by_name(store: &nn::VarStore) -> Vec<Tensor> {
    let mut named: Vec<(String, Tensor)> = store.variables().into_iter().collect();
    named.sort_by(|(a, _), (b, _)| a.cmp(b));
    named.into_iter().map(|(_, variable)| variable).collect()
}
