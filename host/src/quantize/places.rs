//! Where a network is quantized: which values become bytes, and which of them share their scale.

use std::collections::{BTreeMap, BTreeSet};

use super::network::{Network, Node};
use super::op::Op;

/// The function between a value and the next that is quantized.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// None: the value is used as it is.
    Straight,
    /// `x sigmoid(x)`.
    Silu,
    /// Negative values times a slope.
    LeakyRelu(f32),
}

impl Activation {
    /// Its value.
    pub fn of(self, x: f64) -> f64 {
        match self {
            Self::Straight => x,
            Self::Silu => x / (1.0 + (-x).exp()),
            Self::LeakyRelu(slope) => x.max(x * f64::from(slope)),
        }
    }
}

/// Values that have one scale and one zero point.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The value that is measured: it has all values that any member has.
    pub measured: String,
    /// All of them, the measured one too.
    pub members: Vec<String>,
    /// What its readers make of it.
    pub activation: Activation,
}

/// All places of a network, in the order of the nodes.
pub fn places(network: &Network) -> Vec<Place> {
    let readers = network.readers();
    let readers = |name: &str| readers.get(name).map_or(&[][..], Vec::as_slice);
    let outputs: BTreeSet<&str> = network.output_names().into_iter().collect();
    let tail = tail(network, &outputs, &readers);
    let is_place = |node: &&Node| match node.op {
        Op::Dequantize { .. } | Op::Quantize | Op::Sigmoid | Op::Identity => false,
        // A following Relu is a clamp of the bytes: nothing stands between.
        Op::Conv(_) => {
            let next = readers(node.output());
            let is_cut = next.len() == 1 && next[0].op == Op::Relu;
            !is_cut && !tail.contains(node.output())
        }
        _ => !tail.contains(node.output()),
    };
    let nodes: Vec<&Node> = network.nodes.iter().filter(is_place).collect();
    let groups = groups(&nodes, &readers);
    let mut places: Vec<Place> = Vec::new();
    let mut of_group: BTreeMap<usize, usize> = BTreeMap::new();
    for node in &nodes {
        let name = node.output();
        let is_concat = node.op == Op::Concat;
        let place = *of_group.entry(groups[name]).or_insert_with(|| {
            places.push(Place {
                measured: name.to_owned(),
                members: Vec::new(),
                activation: activation(readers(name)),
            });
            places.len() - 1
        });
        let place = &mut places[place];
        place.members.push(name.to_owned());
        if is_concat {
            place.measured = name.to_owned();
        }
    }
    places
}

/// Values that only outputs are made of, without arithmetic: they stay in floating point.
fn tail<'a>(
    network: &'a Network,
    outputs: &BTreeSet<&str>,
    readers: &impl Fn(&str) -> &'a [&'a Node],
) -> BTreeSet<&'a str> {
    let mut tail: BTreeSet<&str> = BTreeSet::new();
    for node in network.nodes.iter().rev() {
        let next = readers(node.output());
        let copied = next.iter().all(|reader| {
            matches!(reader.op, Op::Concat | Op::Identity) && tail.contains(reader.output())
        });
        if copied && (outputs.contains(node.output()) || !next.is_empty()) {
            tail.insert(node.output());
        }
    }
    tail
}

/// The number of the group of each value.
fn groups<'a>(
    nodes: &[&'a Node],
    readers: &impl Fn(&str) -> &'a [&'a Node],
) -> BTreeMap<&'a str, usize> {
    let mut of: BTreeMap<&str, usize> = nodes
        .iter()
        .enumerate()
        .map(|(n, node)| (node.output(), n))
        .collect();
    let unite = |of: &mut BTreeMap<&'a str, usize>, a: usize, b: usize| {
        of.values_mut()
            .filter(|group| **group == a)
            .for_each(|group| *group = b);
    };
    for node in nodes.iter().filter(|node| node.op.keeps_values()) {
        if let Some(&input) = of.get(node.input(0)) {
            let own = of[node.output()];
            unite(&mut of, own, input);
        }
    }
    for node in nodes.iter().filter(|node| node.op == Op::Concat) {
        for input in node.inputs() {
            let (own, Some(&group)) = (of[node.output()], of.get(input)) else {
                continue;
            };
            // Read by nothing else, not even in another form: then bytes can be copied.
            let members = of
                .iter()
                .filter(|(_, g)| **g == group)
                .map(|(name, _)| *name);
            let only_here = members
                .flat_map(readers)
                .all(|reader| reader.output() == node.output() || reader.op.keeps_values());
            if only_here {
                unite(&mut of, group, own);
            }
        }
    }
    of
}

/// What stands between a value and the next one that is quantized.
fn activation(readers: &[&Node]) -> Activation {
    match readers {
        [node] => match node.op {
            Op::LeakyRelu { slope } => Activation::LeakyRelu(slope),
            _ => Activation::Straight,
        },
        [a, b] => match (a.op, b.op) {
            (Op::Sigmoid, Op::Mul) if b.inputs().any(|name| name == a.output()) => Activation::Silu,
            _ => Activation::Straight,
        },
        _ => Activation::Straight,
    }
}
