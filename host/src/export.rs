//! Checkpoint to ONNX: the contract, the weights by name, and the golden fields of the self-test.

use std::fmt::Write;

use heapless::String as Fixed;
use shared::cell::Detection;
use shared::contract::{
    self, CONTRACT_VERSION, GoldenCell, GoldenField, MAX_GOLDEN_CELLS, ModelContract,
    ParityBudgets, Precision, Provenance, fnv1a, golden_spec,
};
use shared::fit::FitKind;
use shared::geometry::Size;
use shared::head::Thresholds;
use shared::phantom::{MAX_WHITE_CELLS, PhantomCell, draw_field};
use shared::pixels::RgbViewMut;
use tch::nn;

use crate::checkpoint::{Checkpoint, RunState, floats, sha256_hex};
use crate::eval::Evaluator;
use crate::model::{AttributeHead, DetectionHead, region_channels};
use crate::onnx::regions::PREFIX;
use crate::onnx::{HeadLayers, OnnxError, Yolov5Spec, regions_bytes, yolov5_bytes, yolov5_graph};
use crate::picture::Picture;
use crate::quantize::TRAINED_RANGES;
use crate::quantize::network::Network;
use crate::quantize::places::{Place, places};
use crate::weights::NamedTensors;

/// Seeds and size of the golden fields.
const GOLDEN: [u64; 3] = [11, 12, 13];
const GOLDEN_SIZE: Size = Size::new(640, 480);

/// A text that must fit into the contract.
pub(crate) fn fixed<const N: usize>(text: &str, what: &str) -> anyhow::Result<Fixed<N>> {
    Fixed::try_from(text).map_err(|_| anyhow::anyhow!("{what} {text:?} is longer than {N} bytes"))
}

/// What the file promises, with what the checkpoint finds on the golden fields.
///
/// # Errors
/// When a text is too long for the contract, or the network's answer is not finite.
pub fn contract_of(
    checkpoint: &Checkpoint,
    name: &str,
    checkpoint_sha256: &str,
    thresholds: Thresholds,
) -> anyhow::Result<ModelContract> {
    let run = &checkpoint.run;
    let mut contract = ModelContract {
        version: CONTRACT_VERSION,
        name: fixed(name, "name")?,
        canvas: run.plan.canvas,
        fit: run.plan.fit,
        levels: run.levels.clone(),
        classes: run.classes.clone(),
        attributes: run.schema.clone(),
        attribute_head: attribute_head(checkpoint)?,
        thresholds,
        class_scores: heapless::Vec::new(),
        domain: None,
        precision: Precision::Float32,
        quantization: None,
        budgets: ParityBudgets::DEFAULT,
        provenance: Provenance {
            software: fixed(&run.software, "software")?,
            checkpoint_sha256: fixed(checkpoint_sha256, "hash")?,
            data_fingerprint: fixed(&run.data_fingerprint, "data fingerprint")?,
            epochs: run.epochs_done as u32,
        },
        golden: heapless::Vec::new(),
    };
    contract.check()?;
    let device = tch::Device::Cpu;
    let (_store, network) = checkpoint.network(device)?;
    let head = run.head();
    let evaluator = Evaluator {
        network: &network,
        head: &head,
        fit: contract.fit,
        canvas: contract.canvas,
        device,
    };
    for seed in GOLDEN {
        let laid = (contract.fit, contract.canvas);
        let field = golden_field(seed, GOLDEN_SIZE, laid, |picture| {
            let found = evaluator.detect(picture, "golden field", &thresholds)?;
            Ok(found.detections)
        })?;
        contract
            .golden
            .push(field)
            .map_err(|_| anyhow::anyhow!("too many golden fields"))?;
    }
    Ok(contract)
}

/// The file.
///
/// # Errors
/// When a weight is missing or not finite.
pub fn onnx_of(checkpoint: &Checkpoint, contract: &ModelContract) -> Result<Vec<u8>, OnnxError> {
    let spec = spec_of(&checkpoint.run);
    let wanted = |name: &str| !name.starts_with(PREFIX) && !name.starts_with(TRAINED_RANGES);
    yolov5_bytes(&spec, contract, &tensors_of(checkpoint, wanted)?)
}

/// The graph of a run's network.
fn spec_of(run: &RunState) -> Yolov5Spec {
    let head = run.head();
    let architecture = &run.plan.architecture;
    let widths = architecture.widths().map(|c| c as usize);
    let layers = match architecture.detection {
        DetectionHead::Anchor => HeadLayers::Anchor {
            n_outputs: std::array::from_fn(|level| head.channels(level)),
        },
        DetectionHead::AnchorFree => HeadLayers::AnchorFree {
            width: widths[2],
            repeats: architecture.branch_repeats(),
            n_classes_and_values: head.n_classes + head.n_values(),
        },
    };
    Yolov5Spec {
        widths,
        backbone_repeats: [3, 6, 9, 3].map(|n| architecture.repeats(n)),
        neck_repeats: architecture.repeats(3),
        activation: architecture.activation,
        stem: architecture.stem,
        head: layers,
        fine_outputs: architecture.attributes == AttributeHead::Roi,
    }
}

/// Where the graph of a run's network, whose variables are in `store`, is quantized.
pub(crate) fn places_of(run: &RunState, store: &nn::VarStore) -> anyhow::Result<Vec<Place>> {
    let mut tensors = NamedTensors::new();
    for (name, variable) in store.variables() {
        if !name.starts_with(PREFIX) {
            let shape: Vec<usize> = variable.size().iter().map(|&n| n as usize).collect();
            // Only names and shapes count.
            tensors.insert(name, shape, vec![0.0; variable.numel()])?;
        }
    }
    let graph = yolov5_graph(&spec_of(run), run.plan.canvas, &tensors)?;
    Ok(places(&Network::read(&graph.encode(&[])?)?))
}

/// The second file of a model whose attributes are read from regions; `None` for others.
///
/// # Errors
/// When a weight is missing or not finite.
pub fn regions_onnx_of(checkpoint: &Checkpoint) -> Result<Option<Vec<u8>>, OnnxError> {
    let run = &checkpoint.run;
    if run.plan.architecture.attributes != AttributeHead::Roi {
        return Ok(None);
    }
    let channels: i64 = region_channels(&run.plan.architecture).iter().sum();
    let n_values = run.schema.value_counts().sum();
    let tensors = tensors_of(checkpoint, |name| name.starts_with(PREFIX))?;
    regions_bytes(channels as usize, n_values, &tensors).map(Some)
}

/// Where the contract says that attributes are read, with the hash of the second file.
fn attribute_head(checkpoint: &Checkpoint) -> anyhow::Result<contract::AttributeHead> {
    let Some(bytes) = regions_onnx_of(checkpoint)? else {
        return Ok(contract::AttributeHead::Dense);
    };
    Ok(contract::AttributeHead::Roi(contract::RegionHead {
        channels: region_channels(&checkpoint.run.plan.architecture).map(|n| n as u16),
        sha256: fixed(&sha256_hex(&bytes), "hash")?,
    }))
}

/// The running mean of the weights whose names are `wanted`.
fn tensors_of(
    checkpoint: &Checkpoint,
    wanted: impl Fn(&str) -> bool,
) -> Result<NamedTensors, OnnxError> {
    let mut tensors = NamedTensors::new();
    for (name, tensor) in checkpoint.ema.iter().filter(|(name, _)| wanted(name)) {
        let shape: Vec<usize> = tensor.size().iter().map(|&n| n as usize).collect();
        tensors.insert(name, shape, floats(tensor))?;
    }
    Ok(tensors)
}

/// A golden field: the phantom of a seed, laid on the canvas as said, and what `find` finds on it.
///
/// # Errors
/// A field that cannot be drawn or laid on the canvas, and what `find` says.
pub(crate) fn golden_field(
    seed: u64,
    size: Size,
    (fit, canvas_size): (FitKind, Size),
    find: impl FnOnce(&Picture) -> anyhow::Result<Vec<Detection>>,
) -> anyhow::Result<GoldenField> {
    let picture = drawn(seed, size)?;
    let found = find(&picture)?;
    let (_, canvas) = picture
        .on_canvas(fit, canvas_size)
        .ok_or_else(|| anyhow::anyhow!("a field of {size} does not fit on {canvas_size}"))?;
    let mut canvas_fnv = Fixed::new();
    write!(canvas_fnv, "{:016x}", fnv1a(&canvas))?;
    let cells = found.iter().take(MAX_GOLDEN_CELLS).map(|d| GoldenCell {
        class: d.class.0,
        score: d.score.get(),
        xyxy: d.bbox.xyxy(),
    });
    Ok(GoldenField {
        seed,
        size,
        canvas_fnv,
        cells: cells.collect(),
    })
}

/// The phantom field of a seed, as the station draws it.
fn drawn(seed: u64, size: Size) -> anyhow::Result<Picture> {
    let mut bytes = vec![0; size.width as usize * size.height as usize * 3];
    let mut truth: heapless::Vec<PhantomCell, { MAX_WHITE_CELLS as usize }> = heapless::Vec::new();
    let mut view = RgbViewMut::new(&mut bytes, size)?;
    draw_field(&golden_spec(seed, size), &mut view, &mut truth)?;
    Ok(Picture { bytes, size })
}
