//! Integer execution: a quantized graph's convolutions and what stands between them, replaced by steps
//! on 8-bit maps; tract runs the rest as it is.
//!
//! tract computes quantized files in floating point, or with kernels slower than its float ones. The
//! pass looks at the file's nodes ([`recognise`]), writes a graph in which each step is one node, and
//! puts the step's operator ([`op`]) into tract's model. What it cannot take stays and is listed.

mod chain;
mod constants;
mod conv;
mod op;
mod recognise;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use int8::Kernel;
use rayon::ThreadPool;
use tract_onnx::pb::{GraphProto, NodeProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::expand;

use crate::network::Integers;
use constants::Index;
use conv::To;
use op::{Step, Work};
use recognise::{Found, Need, Steps};

/// The steps of a rewritten graph, by the names of their nodes.
pub(super) struct Plan {
    steps: HashMap<String, Step>,
    report: Integers,
}

/// Rewrites `graph` so that its quantized parts are one node a step.
pub(super) fn rewrite(
    graph: &mut GraphProto,
    kernels: &[Kernel],
    pool: Option<&Arc<ThreadPool>>,
) -> Plan {
    let index = Index::new(graph);
    let mut draft = Draft {
        found: recognise::steps(&index, kernels),
        floats: HashMap::new(),
        needs: graph
            .output
            .iter()
            .map(|value| Need::Planes(&value.name))
            .collect(),
        readers: HashMap::new(),
        stay: BTreeMap::new(),
        index,
        kernels,
    };
    draft.mark();
    draft.fuse_tables();
    let inputs: Vec<&str> = graph
        .input
        .iter()
        .map(|value| value.name.as_str())
        .collect();
    let (nodes, steps, report) = draft.emit(&inputs, pool);
    graph.node = nodes;
    let read: HashSet<String> = graph
        .node
        .iter()
        .flat_map(|node| node.input.clone())
        .collect();
    let outputs: Vec<String> = graph
        .output
        .iter()
        .map(|value| value.name.clone())
        .collect();
    graph
        .initializer
        .retain(|tensor| read.contains(&tensor.name) || outputs.contains(&tensor.name));
    Plan { steps, report }
}

impl Plan {
    /// Puts the steps into tract's model of the rewritten graph; says what runs how.
    pub(super) fn install(self, model: &mut InferenceModel) -> Integers {
        for id in 0..model.nodes().len() {
            if let Some(step) = self.steps.get(&model.node(id).name) {
                model.node_mut(id).op = expand(step.clone());
            }
        }
        self.report
    }
}

/// The new graph while it is made.
struct Draft<'a> {
    index: Index<'a>,
    kernels: &'a [Kernel],
    found: Steps<'a>,
    /// Steps that give a float value of the file.
    floats: HashMap<&'a str, Found<'a>>,
    needs: HashSet<Need<'a>>,
    /// How many steps read a quantized value.
    readers: HashMap<&'a str, usize>,
    /// Convolutions that stay in floating point, and why.
    stay: BTreeMap<String, String>,
}

impl<'a> Draft<'a> {
    /// From the outputs back to the inputs: what is needed, and in which form.
    fn mark(&mut self) {
        let nodes = self.index.nodes;
        for node in nodes.iter().rev() {
            for name in node.output.iter().map(String::as_str) {
                if self.needs.contains(&Need::ChannelsLast(name)) {
                    self.mark_bytes(name);
                }
                if self.needs.contains(&Need::Planes(name)) {
                    self.mark_planes(node, name);
                }
            }
        }
        // What is left are inputs of the graph.
        let inputs: Vec<&str> = self
            .needs
            .iter()
            .filter_map(|need| match need {
                Need::ChannelsLast(name) if self.index.producer(name).is_none() => Some(*name),
                _ => None,
            })
            .collect();
        inputs.into_iter().for_each(|name| self.mark_bytes(name));
    }

    fn mark_bytes(&mut self, name: &'a str) {
        let signed = self.is_signed(name);
        let found = self.found.entry(name).or_insert_with(|| Found {
            work: Work::ChannelsLast { signed },
            inputs: vec![Need::Planes(name)],
        });
        for &need in &found.inputs {
            if let Need::ChannelsLast(name) = need {
                *self.readers.entry(name).or_default() += 1;
            }
            self.needs.insert(need);
        }
    }

    fn mark_planes(&mut self, node: &'a NodeProto, name: &'a str) {
        match self.float_step(node, name) {
            Some(found) => {
                for &need in &found.inputs {
                    if let Need::ChannelsLast(name) = need {
                        *self.readers.entry(name).or_default() += 1;
                    }
                    self.needs.insert(need);
                }
                self.floats.insert(name, found);
            }
            None => {
                let inputs = node.input.iter().filter(|name| !name.is_empty());
                self.needs.extend(inputs.map(|name| Need::Planes(name)));
            }
        }
    }

    /// The step that gives a float value: a convolution whose sums are not quantized again, or the
    /// way back from bytes.
    fn float_step(&mut self, node: &'a NodeProto, name: &'a str) -> Option<Found<'a>> {
        match node.op_type.as_str() {
            "Conv" => {
                let found =
                    conv::dequantized(&self.index, &self.found, node, To::Floats, self.kernels);
                found
                    .map_err(|reason| self.stay.insert(name.to_owned(), reason.to_string()))
                    .ok()
            }
            "QLinearConv" => {
                let reason = conv::qlinear(&self.index, &self.found, node, self.kernels).err();
                let reason =
                    reason.map_or("its bytes are read as planes".to_owned(), |r| r.to_string());
                self.stay.insert(name.to_owned(), reason);
                None
            }
            "DequantizeLinear" => {
                let from = self.index.dequantized(name)?;
                self.found.contains_key(from.name).then(|| Found {
                    work: Work::Floats {
                        scale: from.scale.scale,
                        zero_point: from.scale.zero_point,
                    },
                    inputs: vec![Need::ChannelsLast(from.name)],
                })
            }
            _ => None,
        }
    }

    /// Whether the file's bytes of a value that no step makes are signed.
    fn is_signed(&self, name: &str) -> bool {
        let node = self.index.producer(name);
        node.is_some_and(|node| match node.op_type.as_str() {
            "QuantizeLinear" => self.index.scale(node, 1).is_some_and(|(_, signed)| signed),
            "QLinearConv" => self.index.scale(node, 6).is_some_and(|(_, signed)| signed),
            _ => false,
        })
    }

    /// An activation that alone reads a convolution's bytes becomes the end of the convolution.
    fn fuse_tables(&mut self) {
        let tables: Vec<(&str, &str)> = self
            .found
            .iter()
            .filter_map(|(&name, found)| match (&found.work, &found.inputs[..]) {
                (Work::Table(_), &[Need::ChannelsLast(from)])
                    if self.readers.get(from) == Some(&1)
                        && self.needs.contains(&Need::ChannelsLast(name)) =>
                {
                    Some((name, from))
                }
                _ => None,
            })
            .collect();
        for (name, from) in tables {
            let is_conv = |found: &Found<'_>| matches!(found.work, Work::Conv { .. });
            if !self.found.get(from).is_some_and(is_conv) {
                continue;
            }
            let (Some(before), Some(after)) = (self.found.remove(from), self.found.remove(name))
            else {
                continue;
            };
            if let (Work::Conv { conv, planar }, Work::Table(table)) = (before.work, after.work) {
                let work = Work::Conv {
                    conv: conv.with_table(table),
                    planar,
                };
                let inputs = before.inputs;
                self.found.insert(name, Found { work, inputs });
                self.needs.remove(&Need::ChannelsLast(from));
            }
        }
    }

    /// The needed nodes in the order of the file, the steps behind their names, and the report.
    fn emit(
        self,
        inputs: &[&'a str],
        pool: Option<&Arc<ThreadPool>>,
    ) -> (Vec<NodeProto>, HashMap<String, Step>, Integers) {
        let mut out = Emitted {
            pool: pool.cloned(),
            ..Emitted::default()
        };
        let Self {
            index,
            mut found,
            mut floats,
            needs,
            stay,
            ..
        } = self;
        let mut last = |name: &'a str, out: &mut Emitted| {
            if needs.contains(&Need::ChannelsLast(name))
                && let Some(found) = found.remove(name)
            {
                out.step(channels_last(name), found);
            }
        };
        inputs.iter().for_each(|name| last(name, &mut out));
        for node in index.nodes {
            for name in node.output.iter().map(String::as_str) {
                if needs.contains(&Need::Planes(name)) {
                    match floats.remove(name) {
                        Some(found) => out.step(name.to_owned(), found),
                        None if node.output.first().is_some_and(|first| first == name)
                            || !needs.contains(&Need::Planes(&node.output[0])) =>
                        {
                            out.nodes.push(node.clone());
                        }
                        None => {}
                    }
                }
                last(name, &mut out);
            }
        }
        out.report.float = stay.into_iter().collect();
        (out.nodes, out.steps, out.report)
    }
}

#[derive(Default)]
struct Emitted {
    nodes: Vec<NodeProto>,
    steps: HashMap<String, Step>,
    pool: Option<Arc<ThreadPool>>,
    report: Integers,
}

impl Emitted {
    fn step(&mut self, value: String, found: Found<'_>) {
        if let Work::Conv { conv, .. } = &found.work {
            *self.report.kernels.entry(conv.kernel().name()).or_default() += 1;
            self.report.packed_bytes += conv.packed_bytes();
        }
        let name = format!("int8 step {} ({value})", self.steps.len());
        self.nodes.push(NodeProto {
            name: name.clone(),
            op_type: found.work.name().to_owned(),
            input: found
                .inputs
                .iter()
                .map(|need| match need {
                    Need::Planes(name) => (*name).to_owned(),
                    Need::ChannelsLast(name) => channels_last(name),
                })
                .collect(),
            output: vec![value],
            ..NodeProto::default()
        });
        let step = Step {
            work: Arc::new(found.work),
            pool: self.pool.clone(),
        };
        self.steps.insert(name, step);
    }
}

/// Name of a quantized value with its channels innermost.
fn channels_last(name: &str) -> String {
    format!("{name} (int8)")
}
