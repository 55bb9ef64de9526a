//! A larger network that says what it finds on the canvases of a training.

use tch::{Device, Tensor, nn};

use super::TrainError;
use super::machine::Machine;
use super::plan::TeacherFile;
use crate::checkpoint::{Checkpoint, RunState, sha256_of};
use crate::engine::EngineError;
use crate::model::Detector;

/// The network, which learns nothing itself.
pub(super) struct Teacher {
    _store: nn::VarStore,
    network: Detector,
}

impl Teacher {
    /// Reads the checkpoint.
    ///
    /// # Errors
    /// When it cannot be read, is another file than the plan names, or speaks of other places, classes or
    /// attributes than the network of `state`.
    pub(super) fn open(
        file: &TeacherFile,
        state: &RunState,
        device: Device,
    ) -> Result<Self, TrainError> {
        let path = &file.checkpoint;
        let refuse = |reason: String| TrainError::Teacher {
            path: path.clone(),
            reason,
        };
        let found = sha256_of(path)?;
        if found != file.sha256 {
            let expected = &file.sha256;
            return Err(refuse(format!("SHA-256 {found}, expected {expected}")));
        }
        let checkpoint = Checkpoint::load(path)?;
        let run = &checkpoint.run;
        for (what, same) in [
            ("classes", run.classes == state.classes),
            ("attributes", run.schema == state.schema),
            ("prior boxes or attribute head", run.head() == state.head()),
        ] {
            if !same {
                let expected = "expected those of the network that it teaches";
                return Err(refuse(format!("other {what}, {expected}")));
            }
        }
        let (_store, network) = checkpoint.network(device)?;
        Ok(Self { _store, network })
    }

    /// What it says of u8 canvases: raw heads, in 32 bits.
    pub(super) fn heads(
        &self,
        machine: &Machine,
        canvases: &Tensor,
    ) -> Result<Vec<Tensor>, EngineError> {
        let said = tch::no_grad(|| machine.forward(&self.network, canvases, false))?;
        Ok(said.heads)
    }
}
