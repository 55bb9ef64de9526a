//! What a training step needs of the machine and `tch` does not give: half precision, numeric
//! switches, loss scaling, groups of processes, and what a device says of itself.
//!
//! Every C++ exception leaves the shim as text; nothing unwinds through the border.
//!
//! Tested on the CPU, and trained with on one card (bf16, TF32). Never run: sums between cards (NCCL
//! was opened, gave an id, and refused to join without a driver) and loss scaling on a card.

pub mod autocast;
pub mod card;
pub mod clock;
pub mod group;
pub mod launch;
pub mod lists;
pub mod memory;
mod nccl;
#[cfg(test)]
pub(crate) mod processes;
pub mod scaler;
mod shim;
pub mod switches;
pub mod sync_norm;

pub use nccl::found as nccl_found;
pub use shim::build_of_libtorch;

/// What the engine cannot do here.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// libtorch refused.
    #[error("libtorch: {0}")]
    Libtorch(String),
    /// The variables that start several processes are wrong or incomplete.
    #[error("started as one of several processes, but {0}")]
    Launch(String),
    /// Something that was asked for is not on this machine.
    #[error("{0}")]
    Missing(String),
    /// Another process is gone, late or never came: which rank waits for what.
    #[error("{0}")]
    Peer(String),
    /// The device or the machine has no memory left.
    #[error(transparent)]
    Memory(#[from] memory::OutOfMemory),
}

/// In every text that says that a peer was lost, also after libtorch has passed it on.
const PEER_LOST: &str = "another process is gone";

impl EngineError {
    /// What a text of libtorch says, which may have passed on one of ours.
    pub fn of_libtorch(text: &str) -> Self {
        let line = text
            .lines()
            .find(|line| line.contains(PEER_LOST))
            .unwrap_or_else(|| text.lines().next().unwrap_or_default());
        match memory::out_of_memory(text) {
            _ if line.contains(PEER_LOST) => {
                let from = line.find("rank ").unwrap_or(0);
                Self::Peer(line[from..].to_owned())
            }
            Some(found) => Self::Memory(found),
            None => Self::Libtorch(line.to_owned()),
        }
    }
}
