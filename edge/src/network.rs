//! What the detector needs of an inference engine: canvas in, raw heads out.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use shared::contract::ModelContract;
use shared::head::{HeadError, MAX_LEVELS};
use shared::roi::STRIDES;

/// The engine failed, or gave heads that the contract does not promise.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The canvas has not the contract's size.
    #[error("canvas has {got} bytes, the network takes {expected}")]
    Canvas {
        /// Bytes of `[1, 3, height, width]`.
        expected: usize,
        /// Bytes given.
        got: usize,
    },
    /// Heads of another number or length.
    #[error(transparent)]
    Heads(#[from] HeadError),
    /// The engine's own words.
    #[error("network: {0}")]
    Engine(String),
}

/// Raw heads of one canvas, finest level first; the memory is kept from picture to picture.
#[derive(Debug, Default)]
pub struct HeadBuffers {
    levels: Vec<Vec<f32>>,
    features: Vec<Vec<f32>>,
}

impl HeadBuffers {
    /// Room for the heads of `contract`, and for the maps that regions are read from, all zero.
    pub fn new(contract: &ModelContract) -> Self {
        let spec = contract.head();
        let levels = (0..spec.levels.len())
            .map(|level| vec![0.0; spec.level_len(level, contract.canvas)])
            .collect();
        let maps = contract.regions().map(|regions| regions.channels);
        let map = |(&channels, stride): (&u16, u16)| {
            let size = contract.region_map(stride);
            vec![0.0; usize::from(channels) * size.width as usize * size.height as usize]
        };
        let features = maps.iter().flatten().zip(STRIDES).map(map).collect();
        Self { levels, features }
    }

    /// Copies one level's output in.
    ///
    /// # Errors
    /// When the level does not exist or has another length.
    pub fn fill(&mut self, level: usize, values: &[f32]) -> Result<(), HeadError> {
        let expected = self.levels.len();
        let got = level + 1;
        let buffer = self
            .levels
            .get_mut(level)
            .ok_or(HeadError::Levels { expected, got })?;
        if buffer.len() != values.len() {
            return Err(HeadError::Length {
                level,
                expected: buffer.len(),
                got: values.len(),
            });
        }
        buffer.copy_from_slice(values);
        Ok(())
    }

    /// Copies one output of the network in: the levels' heads, then the maps of regions.
    ///
    /// # Errors
    /// When the output does not exist or has another length.
    pub fn fill_output(&mut self, output: usize, values: &[f32]) -> Result<(), HeadError> {
        let Some(map) = output.checked_sub(self.levels.len()) else {
            return self.fill(output, values);
        };
        let (expected, got) = (self.outputs(), output + 1);
        let buffer = self
            .features
            .get_mut(map)
            .ok_or(HeadError::Levels { expected, got })?;
        if buffer.len() != values.len() {
            return Err(HeadError::Length {
                level: output,
                expected: buffer.len(),
                got: values.len(),
            });
        }
        buffer.copy_from_slice(values);
        Ok(())
    }

    /// Outputs of the network in all.
    pub fn outputs(&self) -> usize {
        self.levels.len() + self.features.len()
    }

    /// The map that regions are read from at stride 4 (0) or 8 (1), `[channels, height, width]`; empty
    /// when the contract has none.
    pub fn features(&self, index: usize) -> &[f32] {
        self.features.get(index).map_or(&[], Vec::as_slice)
    }

    /// Levels in all.
    pub fn len(&self) -> usize {
        self.levels.len()
    }

    /// Whether there is no level at all.
    pub fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// All levels, as [`shared::detect::detections`] takes them.
    pub fn views(&self) -> heapless::Vec<&[f32], MAX_LEVELS> {
        self.levels.iter().map(Vec::as_slice).collect()
    }
}

/// How the convolutions of a model are computed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Integers {
    /// Convolutions in 8-bit integers, by the kernel that runs them.
    pub kernels: BTreeMap<&'static str, usize>,
    /// Convolutions in floating point, and why: name and reason.
    pub float: Vec<(String, String)>,
    /// Bytes of the integer convolutions' weights.
    pub packed_bytes: usize,
}

impl Integers {
    /// Convolutions in 8-bit integers.
    pub fn count(&self) -> usize {
        self.kernels.values().sum()
    }

    /// Convolutions in all.
    pub fn of(&self) -> usize {
        self.count() + self.float.len()
    }
}

/// How long one node of a network took, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTime {
    /// Its name in the engine's graph.
    pub name: String,
    /// What it does.
    pub operator: String,
    /// From its inputs to its output.
    pub time: Duration,
}

/// An inference engine with a model in it.
pub trait Network: Send {
    /// What the model promises.
    fn contract(&self) -> &ModelContract;

    /// How its convolutions are computed; `None` where an engine does not say.
    fn integers(&self) -> Option<&Integers> {
        None
    }

    /// Runs the network once, with a clock around every node; none where an engine has no nodes.
    ///
    /// # Errors
    /// As [`Network::run`].
    fn node_times(&mut self, canvas: &[u8]) -> Result<Vec<NodeTime>, NetworkError> {
        let _ = canvas;
        Ok(Vec::new())
    }

    /// Runs the network once.
    ///
    /// # Shapes
    /// `canvas` is `[3, height, width]` bytes of the contract's canvas, RGB planes; `heads` are made by
    /// [`HeadBuffers::new`] of the same contract.
    ///
    /// # Errors
    /// When the engine fails or its outputs are not of the contract; `heads` is then undefined.
    fn run(&mut self, canvas: &[u8], heads: &mut HeadBuffers) -> Result<(), NetworkError>;

    /// Runs the attribute head of a contract with [`ModelContract::regions`] on one pooled region.
    ///
    /// # Shapes
    /// `region` `[channels, 24, 30]` → `values` `[values of all attributes]`
    ///
    /// # Errors
    /// When the engine fails, the answer is not finite, or there is no such head.
    fn values(&mut self, region: &[f32], values: &mut [f32]) -> Result<(), NetworkError>;
}
