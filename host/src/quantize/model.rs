//! The whole way: a float file and calibration canvases in, an 8-bit file with its contract out.

use std::collections::BTreeSet;

use heapless::Vec as Fixed;
use prost::Message;
use serde::Serialize;
use shared::cell::Detection;
use shared::contract::{CONTRACT_KEY, CONTRACT_VERSION, ModelContract, Precision, Quantization};
use shared::detect::{CANDIDATES_MAX, DETECTIONS_MAX, detections};
use shared::nms::Candidate;
use tch::Tensor;

use super::QuantizeError;
use super::bias::correct;
use super::calibrate::{Canvases, Ranges, params, ranges};
use super::equalize::equalize;
use super::error::{HeadError, head_error, worst_sqnr};
use super::network::Network;
use super::observe::Observer;
use super::op::Op;
use super::places::places;
use super::rewrite::{Plan, WeightBits, rewrite};
use super::run::Runner;
use super::sensitivity::{LayerCost, next_float, sensitivity};
use crate::checkpoint::{floats, sha256_hex};
use crate::export::{fixed, golden_field};
use crate::onnx::{OnnxError, read_contract, wire};
use crate::picture::Picture;

/// Canvases that means and errors of the whole network are measured on.
const N_MEASURED: usize = 32;

/// Canvases that each layer alone is measured on.
const N_SENSITIVITY: usize = 8;

/// How to quantize.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Options {
    /// How ranges of values are chosen.
    pub observer: Observer,
    /// Bits of the weights.
    pub bits: WeightBits,
    /// Whether channels are equalized across layers first.
    pub equalize: bool,
    /// Whether the mean error of every channel is taken from its bias.
    pub correct_bias: bool,
    /// Largest share of the multiplications that may stay in floating point, 0..=1.
    pub float_budget: f64,
    /// Signal to noise of the worst raw head in dB from which on no further layer stays in floating
    /// point.
    pub min_sqnr: f64,
}

/// A quantized model.
#[derive(Debug)]
pub struct Quantized {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its contract.
    pub contract: ModelContract,
    /// Error of its raw heads against the float file's.
    pub heads: Vec<HeadError>,
    /// What each layer costs, the dearest first.
    pub layers: Vec<LayerCost>,
    /// Pairs of layers that were equalized.
    pub n_equalized: usize,
    /// Convolutions, and how many of them compute in integers.
    pub n_layers: [usize; 2],
}

/// Quantizes a float file; ranges in `given` (by the name of the value) stand for measured ones.
///
/// # Errors
/// A file that is not the trainer's or is quantized already, a value that is not finite, or a golden
/// field that cannot be drawn.
pub fn quantize(
    parent: &[u8],
    given: &Ranges,
    canvases: &Canvases,
    options: &Options,
    tell: &mut dyn FnMut(&str),
) -> anyhow::Result<Quantized> {
    let float = Network::read(parent)?;
    let mut contract = float.contract().map_err(QuantizeError::from)?;
    let is_quantized = float.nodes.iter().any(|node| node.op == Op::Quantize);
    if contract.precision == Precision::Int8 || is_quantized {
        return Err(QuantizeError::Quantized.into());
    }
    let mut changed = float.clone();
    let n_equalized = if options.equalize {
        equalize(&mut changed)?
    } else {
        0
    };
    let mut plan = measured(&changed, given, canvases, options, tell)?;
    tell("the cost of each layer alone");
    let mut costs = sensitivity(&changed, &plan, &canvases.spaced(N_SENSITIVITY))?;
    let sample = canvases.spaced(N_MEASURED);
    let reference = Runner::new(&float).outputs(&sample)?;
    let (mut quantized, heads) = loop {
        let quantized = quantized(&changed, &plan, options, &sample)?;
        let found = Runner::new(&quantized).outputs(&sample)?;
        let heads = head_errors(&float, &reference, &found);
        let enough = worst_sqnr(&heads) >= options.min_sqnr;
        match next_float(&costs, options.float_budget).filter(|_| !enough) {
            None => break (quantized, heads),
            Some(dearest) => {
                let cost = &mut costs[dearest];
                cost.float = true;
                tell(&format!("{} stays in floating point", cost.layer));
                plan.float_layers.insert(cost.layer.clone());
            }
        }
    };
    let n_layers = layers(&float).count();
    let n_float = plan.float_layers.len();
    contract.version = CONTRACT_VERSION;
    contract.precision = Precision::Int8;
    contract.quantization = Some(Quantization {
        parent_sha256: fixed(&sha256_hex(parent), "hash")?,
        calibration_sha256: fixed(&canvases.sha256, "hash")?,
        n_canvases: canvases.n() as u32,
        n_float_layers: n_float as u16,
    });
    renew_golden(&mut contract, &Runner::new(&quantized))?;
    contract.check()?;
    quantized.set_metadata(CONTRACT_KEY, serde_json::to_string(&contract)?);
    Ok(Quantized {
        bytes: quantized.encode(),
        contract,
        heads,
        layers: costs,
        n_equalized,
        n_layers: [n_layers, n_layers - n_float],
    })
}

/// Ranges from the canvases, every layer in integers.
fn measured(
    network: &Network,
    given: &Ranges,
    canvases: &Canvases,
    options: &Options,
    tell: &mut dyn FnMut(&str),
) -> Result<Plan, QuantizeError> {
    let places = places(network);
    tell(&format!("ranges on {} canvases", canvases.n()));
    let ranges = ranges(
        &Runner::new(network),
        &places,
        canvases,
        options.observer,
        given,
    )?;
    Ok(Plan {
        params: params(&places, &ranges),
        float_layers: BTreeSet::new(),
        bits: options.bits,
    })
}

fn quantized(
    network: &Network,
    plan: &Plan,
    options: &Options,
    sample: &Tensor,
) -> Result<Network, QuantizeError> {
    if options.correct_bias {
        rewrite(&correct(network, plan, sample)?, plan)
    } else {
        rewrite(network, plan)
    }
}

/// What a file promises.
///
/// # Errors
/// When it is no ONNX file or holds no usable contract.
pub fn contract_of(bytes: &[u8]) -> Result<ModelContract, QuantizeError> {
    let model = wire::Model::decode(bytes).map_err(OnnxError::from)?;
    Ok(read_contract(&model)?)
}

/// Names of the convolutions.
pub(super) fn layers(network: &Network) -> impl Iterator<Item = &str> {
    let convolutions = network
        .nodes
        .iter()
        .filter(|node| matches!(node.op, Op::Conv(_)));
    convolutions.map(|node| node.output())
}

/// The error of each output.
pub(super) fn head_errors(
    network: &Network,
    reference: &[Tensor],
    found: &[Tensor],
) -> Vec<HeadError> {
    let pairs = network
        .output_names()
        .into_iter()
        .zip(reference.iter().zip(found));
    pairs.map(|(name, (a, b))| head_error(name, a, b)).collect()
}

/// What the quantized network finds on the golden fields: the station computes the same integers.
fn renew_golden(contract: &mut ModelContract, runner: &Runner<'_>) -> anyhow::Result<()> {
    let laid = (contract.fit, contract.canvas);
    for (index, old) in contract.golden.clone().iter().enumerate() {
        let find = |picture: &Picture| find_cells(contract, runner, picture);
        contract.golden[index] = golden_field(old.seed, old.size, laid, find)?;
    }
    Ok(())
}

/// The cells of a picture.
fn find_cells(
    contract: &ModelContract,
    runner: &Runner<'_>,
    picture: &Picture,
) -> anyhow::Result<Vec<Detection>> {
    let (size, canvas) = (picture.size, contract.canvas);
    let (fit, bytes) = picture
        .on_canvas(contract.fit, canvas)
        .ok_or_else(|| anyhow::anyhow!("a picture of {size} does not fit on {canvas}"))?;
    let sides = [1, 3, i64::from(canvas.height), i64::from(canvas.width)];
    let outputs = runner.outputs(&Tensor::from_slice(&bytes).view(sides))?;
    let spec = contract.head();
    let heads: Vec<Vec<f32>> = outputs.iter().take(spec.levels.len()).map(floats).collect();
    let heads: Vec<&[f32]> = heads.iter().map(Vec::as_slice).collect();
    let mut candidates: Box<Fixed<Candidate, CANDIDATES_MAX>> = Box::default();
    let mut found: Box<Fixed<Detection, DETECTIONS_MAX>> = Box::default();
    let thresholds = &contract.thresholds;
    detections(
        &spec,
        &fit,
        &heads,
        thresholds,
        &mut *candidates,
        &mut *found,
    )?;
    Ok(found.to_vec())
}
