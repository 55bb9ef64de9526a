//! The inference engine; the only file that names it.
//!
//! A model is trusted only after everything about it was compared with its contract and it ran once.

mod integer;
mod regions;

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};
use std::time::Instant;

use rayon::{ThreadPool, ThreadPoolBuilder};

use shared::contract::{CONTRACT_KEY, ModelContract, OPSET};
use shared::fit::PAD_VALUE;
use shared::roi::STRIDES;
use tract_linalg::multithread::Executor;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::runtime::RunOptions;

use crate::model::{ModelError, ModelFile, Refusal};
use crate::network::{HeadBuffers, Integers, Network, NetworkError, NodeTime};
use regions::Regions;

/// Most elements of one tensor of a network: a gibibyte of floats.
const TENSOR_MAX: usize = 1 << 28;

/// `TensorProto.DataLocation.EXTERNAL` of the ONNX format.
const EXTERNAL: i32 = 1;

/// A model ready to run.
pub struct TractNetwork {
    contract: ModelContract,
    plan: Arc<TypedRunnableModel>,
    integers: Integers,
    regions: Option<Regions>,
}

impl TractNetwork {
    /// Loads, compares with the contract, optimizes and runs once on a grey canvas; one thread.
    ///
    /// # Errors
    /// The first thing that is wrong; a panic of the engine is an error too.
    pub fn load(file: &ModelFile) -> Result<Self, ModelError> {
        Self::load_threaded(file, 1)
    }

    /// The same, with up to `threads` threads working on one canvas.
    ///
    /// # Errors
    /// As [`TractNetwork::load`]; the threads may not be had either.
    pub fn load_threaded(file: &ModelFile, threads: usize) -> Result<Self, ModelError> {
        unwound(|| Self::load_unguarded(file, threads))
            .unwrap_or_else(|panic| Err(Refusal::Panicked(panic)))
            .map_err(|reason| ModelError::new(file.name(), reason))
    }

    fn load_unguarded(file: &ModelFile, threads: usize) -> Result<Self, Refusal> {
        let mut proto = proto_of(file.bytes())?;
        let contract = contract_of(&proto)?;
        refuse_other_opset(&proto)?;
        refuse_external_weights(&proto)?;
        let pool = pool_of(threads)?;
        let kernels = int8::available();
        let integer = proto
            .graph
            .as_mut()
            .map(|graph| integer::rewrite(graph, &kernels, pool.as_ref()));
        let mut model = onnx().model_for_proto_model(&proto).map_err(graph)?;
        let integers = integer.map_or_else(Integers::default, |plan| plan.install(&mut model));
        check_input(&model, &contract)?;
        let typed = model.into_typed().map_err(graph)?;
        check_tensors(&typed)?;
        check_outputs(&typed, &contract)?;
        let options = RunOptions {
            executor: pool.map(Executor::MultiThread),
            ..RunOptions::default()
        };
        let plan = typed
            .into_optimized()
            .and_then(|model| model.into_runnable_with_options(&options))
            .map_err(graph)?;
        let regions = contract
            .regions()
            .map(|head| Regions::load(file, &contract, head))
            .transpose()?;
        let mut network = Self {
            contract,
            plan,
            integers,
            regions,
        };
        network.try_out()?;
        Ok(network)
    }

    /// Heads that are not finite on plain grey would not be finite on a smear either.
    fn try_out(&mut self) -> Result<(), Refusal> {
        let mut heads = HeadBuffers::new(&self.contract);
        let grey = vec![PAD_VALUE; canvas_bytes(&self.contract)];
        self.run_unguarded(&grey, &mut heads)
            .map_err(|error| match error {
                NetworkError::Heads(error) => Refusal::Heads(error),
                other => Refusal::Graph(other.to_string()),
            })?;
        self.contract
            .head()
            .check(self.contract.canvas, &heads.views())
            .map_err(Refusal::Heads)
    }

    fn node_times_unguarded(&self, canvas: &[u8]) -> TractResult<Vec<NodeTime>> {
        let mut times = Vec::new();
        let mut state = self.plan.spawn()?;
        state.run_plan_with_eval(
            tvec!(self.input(canvas)?.into()),
            |ctx, state, node, inputs| {
                let started = Instant::now();
                let outputs = tract_onnx::tract_core::plan::eval(ctx, state, node, inputs);
                times.push(NodeTime {
                    name: node.name.clone(),
                    operator: node.op.name().into_owned(),
                    time: started.elapsed(),
                });
                outputs
            },
        )?;
        Ok(times)
    }

    fn input(&self, canvas: &[u8]) -> TractResult<Tensor> {
        let (height, width) = (self.contract.canvas.height, self.contract.canvas.width);
        Tensor::from_shape(&[1, 3, height as usize, width as usize], canvas)
    }

    fn run_unguarded(&self, canvas: &[u8], heads: &mut HeadBuffers) -> Result<(), NetworkError> {
        let engine = |error: TractError| NetworkError::Engine(spoken(&error));
        let input = self.input(canvas).map_err(engine)?;
        let outputs = self.plan.run(tvec!(input.into())).map_err(engine)?;
        if outputs.len() != heads.outputs() {
            return Err(shared::head::HeadError::Levels {
                expected: heads.outputs(),
                got: outputs.len(),
            }
            .into());
        }
        for (index, output) in outputs.iter().enumerate() {
            let view = output.try_as_plain_ram().map_err(engine)?;
            heads.fill_output(index, view.as_slice::<f32>().map_err(engine)?)?;
        }
        Ok(())
    }
}

impl Network for TractNetwork {
    fn contract(&self) -> &ModelContract {
        &self.contract
    }

    fn integers(&self) -> Option<&Integers> {
        Some(&self.integers)
    }

    fn node_times(&mut self, canvas: &[u8]) -> Result<Vec<NodeTime>, NetworkError> {
        check_canvas(&self.contract, canvas)?;
        unwound(|| self.node_times_unguarded(canvas))
            .unwrap_or_else(|panic| Err(TractError::msg(panic)))
            .map_err(|error| NetworkError::Engine(spoken(&error)))
    }

    fn run(&mut self, canvas: &[u8], heads: &mut HeadBuffers) -> Result<(), NetworkError> {
        check_canvas(&self.contract, canvas)?;
        unwound(|| self.run_unguarded(canvas, heads))
            .unwrap_or_else(|panic| Err(NetworkError::Engine(panic)))
    }

    fn values(&mut self, region: &[f32], values: &mut [f32]) -> Result<(), NetworkError> {
        let missing = || NetworkError::Engine("the model has no attribute head".to_owned());
        let regions = self.regions.as_ref().ok_or_else(missing)?;
        regions.run(region, values)
    }
}

fn proto_of(bytes: &[u8]) -> Result<ModelProto, Refusal> {
    if bytes.is_empty() {
        return Err(Refusal::Empty);
    }
    let proto = onnx().proto_model_for_read(&mut &bytes[..]);
    proto.map_err(|error| Refusal::NotOnnx(spoken(&error)))
}

/// One thread is the caller's own.
fn pool_of(threads: usize) -> Result<Option<Arc<ThreadPool>>, Refusal> {
    if threads <= 1 {
        return Ok(None);
    }
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|at| format!("network-{at}"))
        .build();
    let pool = pool.map_err(|error| Refusal::Threads(error.to_string()))?;
    Ok(Some(Arc::new(pool)))
}

fn check_canvas(contract: &ModelContract, canvas: &[u8]) -> Result<(), NetworkError> {
    let (expected, got) = (canvas_bytes(contract), canvas.len());
    if got == expected {
        return Ok(());
    }
    Err(NetworkError::Canvas { expected, got })
}

fn canvas_bytes(contract: &ModelContract) -> usize {
    3 * contract.canvas.width as usize * contract.canvas.height as usize
}

fn graph(error: TractError) -> Refusal {
    Refusal::Graph(spoken(&error))
}

/// The chain of causes in one line, cut where the engine prints whole tensors.
fn spoken(error: &TractError) -> String {
    const WORDS_MAX: usize = 400;
    let mut text = format!("{error:#}").replace(['\n', '\r'], " ");
    if let Some((cut, _)) = text.char_indices().nth(WORDS_MAX) {
        text.truncate(cut);
        text.push_str(" ...");
    }
    text
}

fn contract_of(proto: &ModelProto) -> Result<ModelContract, Refusal> {
    if proto.graph.is_none() {
        return Err(Refusal::NotOnnx("holds no graph".to_owned()));
    }
    let entries = || {
        let all = proto.metadata_props.iter();
        all.filter(|entry| entry.key == CONTRACT_KEY)
    };
    let entry = entries().next().ok_or(Refusal::NoContract)?;
    let got = entries().count();
    // Other readers take the first or the last of several: they would honour another contract.
    if got > 1 {
        return Err(Refusal::ManyContracts { got });
    }
    let version = contract_version(&entry.value)?;
    let newer = shared::contract::ContractError::Version { got: version };
    if version > shared::contract::CONTRACT_VERSION {
        return Err(Refusal::Contract(newer));
    }
    let contract: ModelContract = serde_json::from_str(&entry.value)
        .map_err(|error| Refusal::ContractText(error.to_string()))?;
    contract.check().map_err(Refusal::Contract)?;
    Ok(contract)
}

/// Read alone first: a newer contract may have fields that this software cannot read.
fn contract_version(text: &str) -> Result<u16, Refusal> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u16,
    }
    serde_json::from_str::<Versioned>(text)
        .map(|contract| contract.version)
        .map_err(|error| Refusal::ContractText(error.to_string()))
}

/// The domain of ONNX's own operators is empty or spelled out.
fn refuse_other_opset(proto: &ModelProto) -> Result<(), Refusal> {
    let versions = || {
        let imports = proto.opset_import.iter();
        imports
            .filter(|import| matches!(import.domain.as_str(), "" | "ai.onnx"))
            .map(|import| import.version)
    };
    let expected = OPSET;
    match versions().find(|&version| version != expected) {
        Some(other) => Err(Refusal::Opset {
            expected,
            got: Some(other),
        }),
        None if versions().next().is_none() => Err(Refusal::Opset {
            expected,
            got: None,
        }),
        None => Ok(()),
    }
}

fn refuse_external_weights(proto: &ModelProto) -> Result<(), Refusal> {
    let tensors = proto.graph.iter().flat_map(|graph| &graph.initializer);
    match tensors
        .into_iter()
        .find(|tensor| tensor.data_location == Some(EXTERNAL))
    {
        Some(tensor) => Err(Refusal::ExternalWeights {
            tensor: tensor.name.clone(),
        }),
        None => Ok(()),
    }
}

fn check_input(model: &InferenceModel, contract: &ModelContract) -> Result<(), Refusal> {
    let (height, width) = (contract.canvas.height, contract.canvas.width);
    let expected_shape = [1, 3, height as usize, width as usize];
    let expected = described("U8", &expected_shape);
    let n_inputs = model.inputs.len();
    if n_inputs != 1 {
        let got = format!("{n_inputs} inputs");
        return Err(Refusal::Input { expected, got });
    }
    let fact = model.input_fact(0).map_err(graph)?;
    let shape = fact.shape.as_concrete_finite().map_err(graph)?;
    let is_canvas =
        shape.as_deref() == Some(&expected_shape[..]) && fact.datum_type == u8::datum_type().into();
    if is_canvas {
        return Ok(());
    }
    let got = match shape {
        Some(shape) => described(&format!("{:?}", fact.datum_type), &shape),
        None => format!("{:?} of unknown shape", fact.datum_type),
    };
    Err(Refusal::Input { expected, got })
}

fn check_outputs(model: &TypedModel, contract: &ModelContract) -> Result<(), Refusal> {
    let spec = contract.head();
    let maps = contract.regions().map(|regions| regions.channels);
    let n_maps = maps.iter().flatten().count();
    let (expected, got) = (spec.levels.len() + n_maps, model.outputs.len());
    if expected != got {
        return Err(Refusal::OutputCount { expected, got });
    }
    let heads = (0..spec.levels.len()).map(|level| {
        let grid = spec.grid(level, contract.canvas);
        [
            1,
            spec.channels(level),
            grid.height as usize,
            grid.width as usize,
        ]
    });
    let maps = maps
        .iter()
        .flatten()
        .zip(STRIDES)
        .map(|(&channels, stride)| {
            let map = contract.region_map(stride);
            [1, channels.into(), map.height as usize, map.width as usize]
        });
    for (output, expected) in heads.chain(maps).enumerate() {
        let fact = model.output_fact(output).map_err(graph)?;
        let shape = fact.shape.as_concrete();
        if shape != Some(&expected[..]) || fact.datum_type != f32::datum_type() {
            return Err(Refusal::Output {
                level: output,
                expected: described("F32", &expected),
                got: described(&format!("{:?}", fact.datum_type), shape.unwrap_or_default()),
            });
        }
    }
    Ok(())
}

/// No tensor that would exhaust the memory, no weight that is not a number.
fn check_tensors(model: &TypedModel) -> Result<(), Refusal> {
    for node in model.nodes() {
        for outlet in &node.outputs {
            let shape = outlet.fact.shape.as_concrete().unwrap_or_default();
            let volume = shape
                .iter()
                .try_fold(1usize, |product, &dim| product.checked_mul(dim));
            if volume.is_none_or(|volume| volume > TENSOR_MAX) {
                return Err(Refusal::Oversized {
                    node: node.name.clone(),
                    shape: format!("{shape:?}"),
                });
            }
            let konst = outlet.fact.konst.as_deref();
            if konst.is_some_and(holds_nan) {
                let node = node.name.clone();
                return Err(Refusal::NanWeights { node });
            }
        }
    }
    Ok(())
}

fn holds_nan(tensor: &Tensor) -> bool {
    let Some(view) = tensor.as_plain_ram() else {
        return false;
    };
    view.as_slice::<f32>()
        .is_ok_and(|values| values.iter().any(|value| value.is_nan()))
}

fn described(datum: &str, shape: &[usize]) -> String {
    format!("{} {shape:?}", datum.to_lowercase())
}

thread_local! {
    /// `Some` while this thread is inside [`unwound`]: the words of the panic, if one came.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `work`; a panic becomes its message and is not printed.
fn unwound<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let caught = PANIC.with_borrow_mut(|words| match words {
                Some(words) => {
                    *words = format!("{} at {:?}", payload_of(info.payload()), info.location());
                    true
                }
                None => false,
            });
            if !caught {
                usual(info);
            }
        }));
    });
    PANIC.set(Some(String::new()));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    let words = PANIC.take().unwrap_or_default();
    outcome.map_err(|_| words)
}

fn payload_of(payload: &dyn Any) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without words").to_owned()
}

#[cfg(test)]
mod tests;
