//! What a file's graph says, looked up by the names of values.

use std::collections::HashMap;

use tract_onnx::data_resolver::MmapDataResolver;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};
use tract_onnx::prelude::*;
use tract_onnx::tensor::load_tensor;

/// A graph's nodes and constants by the names of values.
pub(super) struct Index<'a> {
    pub(super) nodes: &'a [NodeProto],
    producers: HashMap<&'a str, usize>,
    constants: HashMap<&'a str, &'a TensorProto>,
}

impl<'a> Index<'a> {
    pub(super) fn new(graph: &'a GraphProto) -> Self {
        let outputs = |(at, node): (usize, &'a NodeProto)| {
            node.output.iter().map(move |name| (name.as_str(), at))
        };
        Self {
            nodes: &graph.node,
            producers: graph.node.iter().enumerate().flat_map(outputs).collect(),
            constants: graph
                .initializer
                .iter()
                .map(|tensor| (tensor.name.as_str(), tensor))
                .collect(),
        }
    }

    /// The node that makes a value.
    pub(super) fn producer(&self, value: &str) -> Option<&'a NodeProto> {
        self.producers.get(value).map(|&at| &self.nodes[at])
    }

    /// The node of a type that makes a value.
    pub(super) fn made_by(&self, op_type: &str, value: &str) -> Option<&'a NodeProto> {
        self.producer(value).filter(|node| node.op_type == op_type)
    }

    pub(super) fn constant(&self, value: &str) -> Option<Tensor> {
        let proto = match self.constants.get(value) {
            Some(proto) => proto,
            None => {
                let node = self.made_by("Constant", value)?;
                attribute(node, "value")?.t.as_ref()?
            }
        };
        load_tensor(&MmapDataResolver, proto, None).ok()
    }

    /// A constant's values and sides.
    pub(super) fn values<T: Datum + Copy>(&self, value: &str) -> Option<(Vec<T>, Vec<usize>)> {
        let tensor = self.constant(value)?;
        let values = tensor
            .try_as_plain_ram()
            .ok()?
            .as_slice::<T>()
            .ok()?
            .to_vec();
        Some((values, tensor.shape().to_vec()))
    }

    /// A constant that is one number.
    pub(super) fn scalar<T: Datum + Copy>(&self, value: &str) -> Option<T> {
        match self.values::<T>(value)?.0[..] {
            [value] => Some(value),
            _ => None,
        }
    }
}

pub(super) fn input(node: &NodeProto, at: usize) -> Option<&str> {
    let name = node.input.get(at).map(String::as_str);
    name.filter(|name| !name.is_empty())
}

pub(super) fn output(node: &NodeProto) -> Option<&str> {
    match &node.output[..] {
        [name] if !name.is_empty() => Some(name),
        _ => None,
    }
}

pub(super) fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute
        .iter()
        .find(|attribute| attribute.name == name)
}

pub(super) fn int(node: &NodeProto, name: &str) -> Option<i64> {
    attribute(node, name).map(|attribute| attribute.i)
}

pub(super) fn float(node: &NodeProto, name: &str) -> Option<f32> {
    attribute(node, name).map(|attribute| attribute.f)
}

pub(super) fn text<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [u8]> {
    attribute(node, name).map(|attribute| &attribute.s[..])
}

/// A list of sizes, or `default` where there is none; `None` when it has another length or a negative
/// or huge entry.
pub(super) fn sizes<const N: usize>(
    node: &NodeProto,
    name: &str,
    default: [usize; N],
) -> Option<[usize; N]> {
    let Some(attribute) = attribute(node, name) else {
        return Some(default);
    };
    let sizes: Vec<usize> = attribute
        .ints
        .iter()
        .map(|&size| usize::try_from(size).ok().filter(|&size| size < 1 << 12))
        .collect::<Option<_>>()?;
    sizes.try_into().ok()
}
