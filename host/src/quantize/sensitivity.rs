//! What it costs the heads to quantize one layer alone.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tch::Tensor;

use super::QuantizeError;
use super::model::{head_errors, layers};
use super::network::{Network, Node};
use super::op::Op;
use super::rewrite::{Plan, rewrite};
use super::run::Runner;

/// Extension of the table that is kept beside a quantized model, in place of the model's own.
pub const LAYERS_TEXT: &str = "layers.md";

/// Extension of the same table as JSON.
pub const LAYERS_JSON: &str = "layers.json";

/// A layer's cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerCost {
    /// The convolution.
    pub layer: String,
    /// Mean over the outputs of their relative squared error, with this layer's weights, input and
    /// output quantized and nothing else.
    pub relative_error: f64,
    /// The same in dB, signal to noise; `None` without noise.
    pub sqnr_db: Option<f64>,
    /// Multiplications of a canvas.
    pub macs: u64,
    /// Their share of the network's.
    pub mac_share: f64,
    /// Whether it stays in floating point.
    pub float: bool,
}

/// The cost of every convolution that `plan` could quantize, the dearest first.
///
/// # Shapes
/// canvases `u8 [n, 3, height, width]`
///
/// # Errors
/// A network that cannot be rewritten or run.
pub fn sensitivity(
    float: &Network,
    plan: &Plan,
    canvases: &Tensor,
) -> Result<Vec<LayerCost>, QuantizeError> {
    let mut macs: BTreeMap<String, u64> = BTreeMap::new();
    let reference = Runner::new(float).run(canvases, &mut |node, value| {
        if let (Op::Conv(_), Ok((shape, _))) = (node.op, float.floats(node.input(1))) {
            let per_place: usize = shape.iter().product();
            let size = value.size();
            let places = size[2] * size[3];
            macs.insert(node.output().to_owned(), per_place as u64 * places as u64);
        }
        value
    })?;
    let all_macs: u64 = macs.values().sum();
    let mut costs = Vec::new();
    for layer in layers(float) {
        let quantized = rewrite(float, &alone(float, plan, layer))?;
        let found = Runner::new(&quantized).outputs(canvases)?;
        let errors = head_errors(float, &reference, &found);
        let relative_error =
            errors.iter().map(|e| e.relative).sum::<f64>() / errors.len().max(1) as f64;
        let sqnr_db = (relative_error > 0.0).then(|| -10.0 * relative_error.log10());
        let macs = macs[layer];
        costs.push(LayerCost {
            layer: layer.to_owned(),
            relative_error,
            sqnr_db,
            macs,
            mac_share: macs as f64 / all_macs as f64,
            float: false,
        });
    }
    costs.sort_by(|a, b| b.relative_error.total_cmp(&a.relative_error));
    Ok(costs)
}

/// The plan for one layer: its weights, what it reads, what it makes up to the next layer.
fn alone(float: &Network, plan: &Plan, layer: &str) -> Plan {
    let find = |name: &str| float.nodes.iter().find(|node| node.output() == name);
    let mut values: BTreeSet<&str> = BTreeSet::from([layer]);
    values.extend(find(layer).map(|node| node.input(0)));
    let follows = |node: &&Node| {
        let is_activation = matches!(node.op, Op::Mul | Op::Relu | Op::LeakyRelu { .. });
        is_activation && node.inputs().any(|name| name == layer)
    };
    values.extend(float.nodes.iter().filter(follows).map(Node::output));
    let params = plan
        .params
        .iter()
        .filter(|(name, _)| values.contains(name.as_str()));
    let others = layers(float).filter(|name| *name != layer);
    Plan {
        params: params
            .map(|(name, params)| (name.clone(), *params))
            .collect(),
        float_layers: others.map(str::to_owned).collect(),
        bits: plan.bits,
    }
}

/// The layers to keep in floating point next to those that are: the dearest that still fits the
/// budget (share of all multiplications); `None` when none does.
pub fn next_float(costs: &[LayerCost], budget: f64) -> Option<usize> {
    let spent: f64 = costs.iter().filter(|c| c.float).map(|c| c.mac_share).sum();
    costs
        .iter()
        .position(|cost| !cost.float && spent + cost.mac_share <= budget)
}

/// The table in Markdown, the dearest layer first.
pub fn markdown(costs: &[LayerCost]) -> String {
    let mut text = String::from(
        "| layer | relative error | SQNR dB | MACs | share % | computes in |\n|---|---:|---:|---:|---:|---|\n",
    );
    for cost in costs {
        let sqnr = cost.sqnr_db.map_or("-".to_owned(), |db| format!("{db:.1}"));
        let (error, macs, share) = (cost.relative_error, cost.macs, 100.0 * cost.mac_share);
        let kind = if cost.float { "float" } else { "integers" };
        text += &format!(
            "| {} | {error:.2e} | {sqnr} | {macs} | {share:.2} | {kind} |\n",
            cost.layer
        );
    }
    text
}
