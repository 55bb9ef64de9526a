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
use super::calibrate::{Canvases, Ranges, params, ranges};
use super::error::{HeadError, head_error};
use super::network::Network;
use super::observe::Observer;
use super::op::Op;
use super::places::places;
use super::rewrite::{Plan, WeightBits, rewrite};
use super::run::Runner;
use crate::checkpoint::{floats, sha256_hex};
use crate::export::{fixed, golden_field};
use crate::onnx::{OnnxError, read_contract, wire};
use crate::picture::Picture;

/// Canvases that errors are measured on.
pub(super) const N_MEASURED: usize = 16;

/// How to quantize.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Options {
    /// How ranges of values are chosen.
    pub observer: Observer,
    /// Bits of the weights.
    pub bits: WeightBits,
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
    let places = places(&float);
    tell(&format!("{} canvases through the network", canvases.n()));
    let runner = Runner::new(&float);
    let ranges = ranges(&runner, &places, canvases, options.observer, given)?;
    let plan = Plan {
        params: params(&places, &ranges),
        float_layers: BTreeSet::new(),
        bits: options.bits,
    };
    let mut quantized = rewrite(&float, &plan)?;
    let sample = canvases.spaced(N_MEASURED);
    let reference = runner.outputs(&sample)?;
    let heads = head_errors(
        &float,
        &reference,
        &Runner::new(&quantized).outputs(&sample)?,
    );

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
        n_layers: [n_layers, n_layers - n_float],
    })
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
