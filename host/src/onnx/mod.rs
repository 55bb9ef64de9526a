//! The ONNX file: written node by node, with the model's contract inside.
//!
//! [`graph`] builds a graph whose names and shapes are right by construction, [`yolov5`] turns weights
//! into one, [`embed`] adds the contract. Nothing here names torch, reads a clock
//! or touches a file: the same weights and contract give the same bytes.

pub mod embed;
#[cfg(test)]
pub(crate) mod fixture;
pub mod graph;
pub mod head;
mod ops;
pub mod regions;
pub mod unfold;
pub(crate) mod wire;
pub mod yolov5;

use shared::contract::ContractError;

use crate::weights::WeightsError;

pub(crate) use embed::read_contract;
pub use embed::{model_bytes, with_contract};
pub use graph::{ElementType, Graph, Value};
pub use head::HeadLayers;
pub use regions::regions_bytes;
pub use yolov5::{Yolov5Spec, yolov5_bytes, yolov5_graph};

/// Why no ONNX file could be written, or why one could not be read.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// Two values of one name.
    #[error("value {name:?} is in the graph already")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A name that must not be empty.
    #[error("a value has an empty name")]
    Nameless,
    /// A node reads what the graph does not hold.
    #[error("in node {node:?}: input {input:?} is not in the graph")]
    Dangling {
        /// The reading node.
        node: String,
        /// The missing value.
        input: String,
    },
    /// Nothing reads a value: something was forgotten.
    #[error("nothing reads value {name:?}, and it is no output")]
    Unread {
        /// The value.
        name: String,
    },
    /// A graph without outputs computes nothing.
    #[error("graph {graph:?} has no outputs")]
    NoOutputs {
        /// The graph.
        graph: String,
    },
    /// Inputs whose shapes or types do not go together.
    #[error("in node {node:?}: expected {expected}, found {found}")]
    Mismatch {
        /// The node, or the constant.
        node: String,
        /// What the operation takes.
        expected: String,
        /// What it was given.
        found: String,
    },
    /// NaN or infinity in a constant: such a model finds nothing or everything.
    #[error("constant {name:?}: value {index} is NaN or infinite")]
    NotFinite {
        /// The constant.
        name: String,
        /// Its first such value, row-major.
        index: usize,
    },
    /// A weight is missing or has another shape.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Weights that the network has no place for: they belong to another network.
    #[error("{count} weights have no place in this network, the first is {first:?}")]
    Foreign {
        /// How many.
        count: usize,
        /// The first by name.
        first: String,
    },
    /// A description no network can be built from.
    #[error("network description: {0}")]
    Spec(String),
    /// The graph does not keep what the contract promises.
    #[error(
        "contract and graph differ: {what}: the contract says {expected}, the graph has {found}"
    )]
    Promise {
        /// Which promise.
        what: String,
        /// By the contract.
        expected: String,
        /// In the graph.
        found: String,
    },
    /// The file is no protobuf of this kind.
    #[error("not an ONNX file: {0}")]
    NotOnnx(#[from] prost::DecodeError),
    /// An ONNX file of another maker.
    #[error("the file holds no contract (metadata key {key:?})")]
    NoContract {
        /// Where it should stand.
        key: &'static str,
    },
    /// More than one contract: nobody can say which one holds.
    #[error("metadata key {key:?} stands {count} times, expected once")]
    ManyContracts {
        /// The key.
        key: &'static str,
        /// How often it stands.
        count: usize,
    },
    /// Something that rewriting the file would lose.
    #[error(
        "the file holds parts that the trainer does not write: expected one of `export` or `quantize`"
    )]
    Unwritten,
    /// The contract is not the JSON it should be.
    #[error("contract: {0}")]
    ContractJson(#[from] serde_json::Error),
    /// The contract cannot be honoured.
    #[error("contract: {0}")]
    Contract(#[from] ContractError),
}
