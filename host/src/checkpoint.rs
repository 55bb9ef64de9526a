//! One file holds all of a run: weights, running mean, momentum, plan, tables and progress.
//!
//! Safetensors, no pickle; written beside and renamed, so that a cut never leaves half a file.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use shared::attribute::AttributeSchema;
use shared::class::ClassTable;
use shared::head::{HeadLevel, HeadSpec, MAX_LEVELS};
use tch::{Kind, Tensor, nn};

use crate::anchors::Levels;
use crate::engine::scaler::GradScaler;
use crate::export::places_of;
use crate::model::{Architecture, AttributeHead, Cost, Detector, FakeQuantizer, RegionHead, cost};
use crate::onnx::unfold::unfolded;
use crate::train::TrainPlan;
use crate::weights::NamedTensors;
use crate::weights::pickle::read_pt;

/// Key of [`RunState`] in the file's metadata.
const RUN_KEY: &str = "leukoscope.run";
/// Before the names of the running mean's tensors.
const EMA_PREFIX: &str = "ema.";
/// The version this code writes and the newest it reads.
const VERSION: u32 = 2;

/// What is wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be read or written.
    #[error("{}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not a checkpoint of ours.
    #[error("{}: {reason}", .path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// Expected and found.
        reason: String,
    },
    /// The weights do not fill the network.
    #[error("checkpoint: {0}")]
    Weights(String),
}

/// Everything of a run that is not a tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    /// Of the format.
    pub version: u32,
    /// Software that wrote it.
    pub software: String,
    /// What was asked for.
    pub plan: TrainPlan,
    /// Classes by number.
    pub classes: ClassTable,
    /// Attributes in the order of their logits.
    pub schema: AttributeSchema,
    /// Outputs with their prior boxes.
    pub levels: heapless::Vec<HeadLevel, MAX_LEVELS>,
    /// Fingerprint of the training data.
    pub data_fingerprint: String,
    /// Epochs done.
    pub epochs_done: usize,
    /// Updates of the running mean.
    pub ema_updates: u64,
    /// Best fitness so far and its epoch (counted from 1).
    pub best: Option<(f64, usize)>,
    /// How the loss is scaled, in fp16 only.
    pub scaler: Option<GradScaler>,
}

impl RunState {
    /// What the channels of the raw heads mean.
    pub fn head(&self) -> HeadSpec {
        HeadSpec {
            levels: self.levels.clone(),
            n_classes: self.classes.len(),
            value_counts: match self.plan.architecture.attributes {
                AttributeHead::Dense => self.value_counts().collect(),
                AttributeHead::Roi => Default::default(),
            },
        }
    }

    /// Values of each attribute.
    fn value_counts(&self) -> impl Iterator<Item = u8> {
        self.schema.value_counts().map(|count| count as u8)
    }

    /// The network in `store`, with its attribute head if that is one of its own, with the random
    /// weights of the plan's seed.
    pub fn build(&self, store: &nn::VarStore) -> Detector {
        let architecture = &self.plan.architecture;
        seeded(self.plan.seed as i64, || {
            let network = build(store, architecture, &self.head());
            let network = match self.plan.quantized {
                true => network.with_fake_quantizer(self.fake_quantizer(store)),
                false => network,
            };
            match architecture.attributes {
                AttributeHead::Roi if !self.schema.is_empty() => {
                    let counts: Vec<u8> = self.value_counts().collect();
                    network.with_regions(RegionHead::new(&store.root(), architecture, &counts))
                }
                _ => network,
            }
        })
    }

    fn fake_quantizer(&self, store: &nn::VarStore) -> FakeQuantizer {
        let places = places_of(self, store).expect("the trainer reads the graph that it writes");
        FakeQuantizer::new(&store.root(), &places)
    }

    /// Parameters and operations of the network.
    pub fn cost(&self) -> Cost {
        let values: Vec<u8> = self.value_counts().collect();
        let plan = &self.plan;
        cost(&plan.architecture, &self.head(), &values, plan.canvas)
    }

    /// The version that is written now.
    pub const fn version() -> u32 {
        VERSION
    }
}

/// A run on disk.
#[derive(Debug)]
pub struct Checkpoint {
    /// Plan, tables, progress.
    pub run: RunState,
    /// Weights and buffers as trained; empty in a file that is only for use.
    pub weights: BTreeMap<String, Tensor>,
    /// Their running mean: what is validated and shipped.
    pub ema: BTreeMap<String, Tensor>,
    /// The optimizer's momentum.
    pub momentum: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// Writes beside `path`, syncs and renames.
    ///
    /// # Errors
    /// When the disk refuses; an older file at `path` stays.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let io = |source| CheckpointError::Io {
            path: path.to_path_buf(),
            source,
        };
        let mut blobs: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        for (prefix, tensors) in [
            ("weights", &self.weights),
            ("ema", &self.ema),
            ("momentum", &self.momentum),
        ] {
            for (name, tensor) in tensors {
                blobs.push((format!("{prefix}.{name}"), shape(tensor), bytes(tensor)));
            }
        }
        let format = |reason: String| CheckpointError::Format {
            path: path.to_path_buf(),
            reason,
        };
        let views = blobs
            .iter()
            .map(|(name, shape, bytes)| {
                let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
                view.map(|view| (name.clone(), view))
                    .map_err(|e| format(format!("{name}: {e}")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let run = serde_json::to_string(&self.run).map_err(|e| format(e.to_string()))?;
        let metadata = HashMap::from([(RUN_KEY.to_owned(), run)]);
        let file =
            safetensors::serialize(views, Some(metadata)).map_err(|e| format(e.to_string()))?;
        let part = path.with_extension("part");
        let mut out = fs::File::create(&part).map_err(io)?;
        out.write_all(&file)
            .and_then(|()| out.sync_all())
            .map_err(io)?;
        fs::rename(&part, path).map_err(io)?;
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            fs::File::open(folder)
                .and_then(|f| f.sync_all())
                .map_err(io)?;
        }
        Ok(())
    }

    /// Reads a file that [`Checkpoint::save`] wrote.
    ///
    /// # Errors
    /// When it cannot be read, is no safetensors file, is not ours, or is newer.
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        let file = fs::read(path).map_err(|source| CheckpointError::Io {
            path: path.to_path_buf(),
            source,
        })?;
        let format = |reason: String| CheckpointError::Format {
            path: path.to_path_buf(),
            reason,
        };
        let (_, metadata) = SafeTensors::read_metadata(&file)
            .map_err(|e| format(format!("expected a safetensors checkpoint: {e}")))?;
        let run = metadata
            .metadata()
            .as_ref()
            .and_then(|m| m.get(RUN_KEY))
            .ok_or_else(|| {
                format(format!(
                    "expected metadata {RUN_KEY:?}, found none: not a checkpoint of leuko-host"
                ))
            })?;
        let run: RunState =
            serde_json::from_str(run).map_err(|e| format(format!("metadata {RUN_KEY:?}: {e}")))?;
        if run.version != VERSION {
            return Err(format(format!(
                "checkpoint version {}, expected {VERSION}",
                run.version
            )));
        }
        let side = |side: u32| side > 0 && side.is_multiple_of(32);
        let canvas = run.plan.canvas;
        let strides: Vec<u16> = run.levels.iter().map(|level| level.stride).collect();
        if strides != [8, 16, 32]
            || !side(canvas.width)
            || !side(canvas.height)
            || run.plan.batch == 0
        {
            return Err(format(format!(
                "expected strides 8, 16, 32 and a canvas in multiples of 32, found {strides:?} and {canvas}"
            )));
        }
        let tensors = SafeTensors::deserialize(&file).map_err(|e| format(e.to_string()))?;
        let mut checkpoint = Self {
            run,
            weights: BTreeMap::new(),
            ema: BTreeMap::new(),
            momentum: BTreeMap::new(),
        };
        for (name, view) in tensors.tensors() {
            let (prefix, rest) = name.split_once('.').unwrap_or((&name, ""));
            let group = match prefix {
                "weights" => &mut checkpoint.weights,
                "ema" => &mut checkpoint.ema,
                "momentum" => &mut checkpoint.momentum,
                _ => {
                    return Err(format(format!(
                        "tensor {name:?}, expected weights., ema. or momentum."
                    )));
                }
            };
            let tensor = tensor(&view).ok_or_else(|| {
                format(format!(
                    "tensor {name:?} is {:?}, expected F32",
                    view.dtype()
                ))
            })?;
            group.insert(rest.to_owned(), tensor);
        }
        Ok(checkpoint)
    }

    /// The network of this checkpoint with its running mean, on `device`, ready to be used.
    ///
    /// # Errors
    /// When a variable is missing or has another shape.
    pub fn network(
        &self,
        device: tch::Device,
    ) -> Result<(nn::VarStore, Detector), CheckpointError> {
        let mut store = nn::VarStore::new(device);
        let network = self.run.build(&store);
        fill(&mut store, &self.ema)?;
        Ok((store, network))
    }
}

/// Weights to start a training from.
#[derive(Debug)]
pub struct GivenWeights {
    /// By the names of YOLOv5's state dict.
    pub tensors: BTreeMap<String, Tensor>,
    /// Prior boxes, where the file says them.
    pub levels: Option<Levels>,
    /// The batch norms were folded away: what they norm with has to be measured.
    pub folded: bool,
}

impl GivenWeights {
    fn plain(tensors: BTreeMap<String, Tensor>) -> Self {
        Self {
            tensors,
            levels: None,
            folded: false,
        }
    }
}

/// The weights to start a training from: the running mean of one of our checkpoints of any version,
/// the tensors of any other `.safetensors`, an exported float `.onnx`, or those of a Python checkpoint
/// of the family (`.pt`), read without executing anything.
///
/// # Errors
/// When the file cannot be read or is none of them.
pub fn weights_of(path: &Path) -> Result<GivenWeights, CheckpointError> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension {
        Some("pt") => {
            let foreign =
                read_pt(path).map_err(|error| CheckpointError::Weights(error.to_string()))?;
            Ok(GivenWeights::plain(named(&foreign.tensors)))
        }
        Some("onnx") => onnx_weights_of(path),
        _ => Ok(GivenWeights::plain(safetensors_of(path)?)),
    }
}

fn onnx_weights_of(path: &Path) -> Result<GivenWeights, CheckpointError> {
    let bytes = fs::read(path).map_err(|source| CheckpointError::Io {
        path: path.to_path_buf(),
        source,
    })?;
    let (contract, tensors) = unfolded(&bytes).map_err(|error| CheckpointError::Format {
        path: path.to_path_buf(),
        reason: error.to_string(),
    })?;
    Ok(GivenWeights {
        tensors: named(&tensors),
        levels: Some(contract.levels),
        folded: true,
    })
}

fn named(tensors: &NamedTensors) -> BTreeMap<String, Tensor> {
    let tensor = |(name, shape, values): (&str, &[usize], &[f32])| {
        let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
        let tensor = Tensor::from_slice(values).view(shape.as_slice());
        (name.to_owned(), tensor)
    };
    tensors.iter().map(tensor).collect()
}

fn safetensors_of(path: &Path) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
    let file = fs::read(path).map_err(|source| CheckpointError::Io {
        path: path.to_path_buf(),
        source,
    })?;
    let tensors = SafeTensors::deserialize(&file).map_err(|e| CheckpointError::Format {
        path: path.to_path_buf(),
        reason: format!("expected .safetensors, .onnx or .pt weights: {e}"),
    })?;
    let ours = tensors.iter().any(|(name, _)| name.starts_with(EMA_PREFIX));
    let mut out = BTreeMap::new();
    for (name, view) in tensors.iter() {
        let name = match name.strip_prefix(EMA_PREFIX) {
            Some(rest) => rest,
            None if ours => continue,
            None => name,
        };
        // Counters and the like are no weights.
        if let Some(tensor) = tensor(&view) {
            out.insert(name.to_owned(), tensor);
        }
    }
    Ok(out)
}

/// Hash of a file, hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub fn sha256_of(path: &Path) -> Result<String, CheckpointError> {
    let bytes = fs::read(path).map_err(|source| CheckpointError::Io {
        path: path.to_path_buf(),
        source,
    })?;
    Ok(sha256_hex(&bytes))
}

/// Hash of some bytes, hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What `draw` gives when torch's generator begins with `seed`.
pub fn seeded<T>(seed: i64, draw: impl FnOnce() -> T) -> T {
    // The generator belongs to the process: between seeding and drawing nobody else may draw.
    static GENERATOR: Mutex<()> = Mutex::new(());
    let _held = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    tch::manual_seed(seed);
    draw()
}

/// The detector in `store`, without an attribute head of its own.
pub fn build(store: &nn::VarStore, architecture: &Architecture, head: &HeadSpec) -> Detector {
    Detector::new(&store.root(), architecture, head)
}

/// Copies `values` into the variables of the same names.
///
/// # Errors
/// When a variable has no value or one of another shape; nothing is guessed.
pub fn fill(
    store: &mut nn::VarStore,
    values: &BTreeMap<String, Tensor>,
) -> Result<(), CheckpointError> {
    let wrong = CheckpointError::Weights;
    for (name, mut variable) in store.variables() {
        let value = values
            .get(&name)
            .ok_or_else(|| wrong(format!("weight {name:?} is missing")))?;
        if value.size() != variable.size() {
            let (expected, found) = (variable.size(), value.size());
            return Err(wrong(format!(
                "weight {name:?}: expected {expected:?}, found {found:?}"
            )));
        }
        tch::no_grad(|| variable.copy_(value));
    }
    Ok(())
}

/// Copies those of `values` that a variable has the name and shape of; returns the variables left.
pub fn fill_where_fitting(store: &nn::VarStore, values: &BTreeMap<String, Tensor>) -> Vec<String> {
    let mut left: Vec<String> = Vec::new();
    for (name, mut variable) in store.variables() {
        match values
            .get(&name)
            .filter(|value| value.size() == variable.size())
        {
            Some(value) => tch::no_grad(|| variable.copy_(value)),
            None => left.push(name),
        }
    }
    left.sort();
    left
}

fn shape(tensor: &Tensor) -> Vec<usize> {
    tensor.size().iter().map(|&n| n as usize).collect()
}

/// The elements in row-major order.
pub fn floats(tensor: &Tensor) -> Vec<f32> {
    let flat = tensor
        .detach()
        .to_device(tch::Device::Cpu)
        .to_kind(Kind::Float)
        .contiguous()
        .view(-1);
    let mut out = vec![0.0_f32; flat.numel()];
    flat.copy_data(&mut out, flat.numel());
    out
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    floats(tensor)
        .into_iter()
        .flat_map(f32::to_le_bytes)
        .collect()
}

/// A tensor of 32-bit floats; `None` for whole numbers and rarer kinds.
fn tensor(view: &TensorView<'_>) -> Option<Tensor> {
    let kind = match view.dtype() {
        Dtype::F32 => Kind::Float,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        _ => return None,
    };
    let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
    Some(Tensor::from_data_size(view.data(), &shape, kind).to_kind(Kind::Float))
}
