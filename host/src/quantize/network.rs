//! The network of an ONNX file, every node understood: read to be changed, written back.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use shared::contract::{ModelContract, OPSET};

use super::QuantizeError;
use super::op::Op;
use crate::onnx::{OnnxError, read_contract, wire};

/// Numbers of a constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// 32-bit floating point.
    F32(Vec<f32>),
    /// Unsigned bytes.
    U8(Vec<u8>),
    /// Signed bytes.
    I8(Vec<i8>),
    /// 32-bit signed integers.
    I32(Vec<i32>),
    /// 64-bit signed integers.
    I64(Vec<i64>),
}

/// A constant, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// Its shape; empty for a single number.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub numbers: Numbers,
}

/// A node with one output.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it computes.
    pub op: Op,
    /// As it stands in the file.
    pub(super) wire: wire::Node,
}

impl Node {
    /// A node named as its output.
    pub fn new(op: Op, inputs: &[&str], output: &str) -> Self {
        Self {
            wire: wire::Node {
                input: inputs.iter().map(|&name| name.to_owned()).collect(),
                output: vec![output.to_owned()],
                name: output.to_owned(),
                op_type: op.name().to_owned(),
                attribute: op.attributes(),
            },
            op,
        }
    }

    /// Name of the value it makes.
    pub fn output(&self) -> &str {
        &self.wire.output[0]
    }

    /// Name of its input number `index`; empty when it has none.
    pub fn input(&self, index: usize) -> &str {
        self.wire.input.get(index).map_or("", String::as_str)
    }

    /// Names of what it reads.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        let names = self.wire.input.iter().map(String::as_str);
        names.filter(|name| !name.is_empty())
    }
}

/// Nodes in an order in which they can be computed, with what they read.
#[derive(Clone, Debug)]
pub struct Network {
    /// In an order in which they can be computed.
    pub nodes: Vec<Node>,
    /// Weights and parameters by name.
    pub constants: BTreeMap<String, Constant>,
    /// All else of the file, kept as it is.
    frame: wire::Model,
}

impl Network {
    /// Reads a file.
    ///
    /// # Errors
    /// No ONNX file, or one with operators, types or shapes that the trainer does not write.
    pub fn read(bytes: &[u8]) -> Result<Self, QuantizeError> {
        let mut frame = wire::Model::decode(bytes).map_err(OnnxError::from)?;
        let opset = frame.opset_import.iter().find(|set| set.domain.is_empty());
        let found = opset.map_or(0, |set| set.version);
        if found != OPSET {
            return Err(foreign("opset", OPSET, found));
        }
        let graph = frame
            .graph
            .as_mut()
            .ok_or_else(|| foreign("file", "a graph", "none"))?;
        // Shapes of inner values: they do not stay true, and nobody needs them.
        graph.value_info.clear();
        let constants = std::mem::take(&mut graph.initializer)
            .into_iter()
            .map(|tensor| Ok((tensor.name.clone(), constant(&tensor)?)))
            .collect::<Result<BTreeMap<_, _>, QuantizeError>>()?;
        let nodes = std::mem::take(&mut graph.node)
            .into_iter()
            .map(|wire| {
                let op = Op::read(&wire, &constants)?;
                Ok(Node { op, wire })
            })
            .collect::<Result<Vec<_>, QuantizeError>>()?;
        let network = Self {
            nodes,
            constants,
            frame,
        };
        network.check_names()?;
        Ok(network)
    }

    /// Everything that is read is there before, and nothing is made twice.
    fn check_names(&self) -> Result<(), QuantizeError> {
        if self.input_names().len() != 1 {
            return Err(foreign("inputs", 1, self.input_names().len()));
        }
        let mut known: BTreeSet<&str> = self.constants.keys().map(String::as_str).collect();
        known.extend(self.input_names());
        for node in &self.nodes {
            if let Some(missing) = node.inputs().find(|name| !known.contains(name)) {
                let place = format!("node {:?}", node.output());
                return Err(foreign(
                    &place,
                    "inputs that are there",
                    format!("{missing:?}"),
                ));
            }
            if !known.insert(node.output()) {
                let place = format!("value {:?}", node.output());
                return Err(foreign(&place, "one node that makes it", "two"));
            }
        }
        match self
            .output_names()
            .iter()
            .find(|name| !known.contains(*name))
        {
            None => Ok(()),
            Some(name) => Err(foreign(
                "output",
                "a value of the graph",
                format!("{name:?}"),
            )),
        }
    }

    fn graph(&self) -> &wire::Graph {
        let graph = self.frame.graph.as_ref();
        graph.expect("a network is only read from a file with a graph")
    }

    /// Name of the input, the canvas.
    pub fn input_names(&self) -> Vec<&str> {
        let inputs = self.graph().input.iter();
        inputs.map(|value| value.name.as_str()).collect()
    }

    /// Names of the outputs in their order.
    pub fn output_names(&self) -> Vec<&str> {
        let outputs = self.graph().output.iter();
        outputs.map(|value| value.name.as_str()).collect()
    }

    /// What the file promises.
    ///
    /// # Errors
    /// When there is not exactly one contract, or it cannot be honoured.
    pub fn contract(&self) -> Result<ModelContract, OnnxError> {
        read_contract(&self.frame)
    }

    /// Changes the value of a metadata key that is there.
    pub fn set_metadata(&mut self, key: &str, value: String) {
        let mut entries = self.frame.metadata_props.iter_mut();
        if let Some(entry) = entries.find(|entry| entry.key == key) {
            entry.value = value;
        }
    }

    /// The numbers of a floating-point constant with its shape.
    ///
    /// # Errors
    /// When there is none of that name, or it holds integers.
    pub fn floats(&self, name: &str) -> Result<(&[usize], &[f32]), QuantizeError> {
        match self.constants.get(name) {
            Some(Constant {
                shape,
                numbers: Numbers::F32(values),
            }) => Ok((shape, values)),
            _ => Err(foreign(
                &format!("constant {name:?}"),
                "floating point",
                "something else",
            )),
        }
    }

    /// The nodes that read each value.
    pub fn readers(&self) -> BTreeMap<&str, Vec<&Node>> {
        let mut readers: BTreeMap<&str, Vec<&Node>> = BTreeMap::new();
        for node in &self.nodes {
            for name in node.inputs() {
                readers.entry(name).or_default().push(node);
            }
        }
        readers
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut model = self.frame.clone();
        if let Some(graph) = &mut model.graph {
            graph.node = self.nodes.iter().map(|node| node.wire.clone()).collect();
            let tensors = self.constants.iter().map(|(name, c)| tensor(name, c));
            graph.initializer = tensors.collect();
        }
        model.encode_to_vec()
    }
}

/// A file that the trainer did not write, or wrote for something else.
pub(super) fn foreign(
    place: &str,
    expected: impl std::fmt::Display,
    found: impl std::fmt::Display,
) -> QuantizeError {
    QuantizeError::Foreign {
        place: place.to_owned(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

fn constant(tensor: &wire::Tensor) -> Result<Constant, QuantizeError> {
    let place = || format!("constant {:?}", tensor.name);
    let side = |&d: &i64| usize::try_from(d).map_err(|_| foreign(&place(), "sides", d));
    let shape = tensor
        .dims
        .iter()
        .map(side)
        .collect::<Result<Vec<_>, _>>()?;
    let raw = &tensor.raw_data;
    let (numbers, size) = match tensor.data_type {
        wire::TENSOR_FLOAT => (Numbers::F32(values(raw, f32::from_le_bytes)), 4),
        wire::TENSOR_UINT8 => (Numbers::U8(raw.clone()), 1),
        wire::TENSOR_INT8 => (Numbers::I8(values(raw, i8::from_le_bytes)), 1),
        wire::TENSOR_INT32 => (Numbers::I32(values(raw, i32::from_le_bytes)), 4),
        wire::TENSOR_INT64 => (Numbers::I64(values(raw, i64::from_le_bytes)), 8),
        other => return Err(foreign(&place(), "a type of the trainer's", other)),
    };
    let room = shape.iter().try_fold(size, |n: usize, &d| n.checked_mul(d));
    if room != Some(raw.len()) {
        let found = format!("{} bytes", raw.len());
        return Err(foreign(
            &place(),
            format!("{shape:?} numbers of {size} bytes"),
            found,
        ));
    }
    if let Numbers::F32(values) = &numbers
        && let Some(index) = values.iter().position(|value| !value.is_finite())
    {
        let name = tensor.name.clone();
        return Err(OnnxError::NotFinite { name, index }.into());
    }
    Ok(Constant { shape, numbers })
}

fn values<T, const N: usize>(raw: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (whole, _) = raw.as_chunks::<N>();
    whole.iter().map(|&bytes| read(bytes)).collect()
}

fn tensor(name: &str, constant: &Constant) -> wire::Tensor {
    let (data_type, raw_data) = match &constant.numbers {
        Numbers::F32(v) => (
            wire::TENSOR_FLOAT,
            v.iter().flat_map(|n| n.to_le_bytes()).collect(),
        ),
        Numbers::U8(v) => (wire::TENSOR_UINT8, v.clone()),
        Numbers::I8(v) => (wire::TENSOR_INT8, v.iter().map(|&n| n as u8).collect()),
        Numbers::I32(v) => (
            wire::TENSOR_INT32,
            v.iter().flat_map(|n| n.to_le_bytes()).collect(),
        ),
        Numbers::I64(v) => (
            wire::TENSOR_INT64,
            v.iter().flat_map(|n| n.to_le_bytes()).collect(),
        ),
    };
    wire::Tensor {
        dims: constant.shape.iter().map(|&d| d as i64).collect(),
        data_type,
        name: name.to_owned(),
        raw_data,
    }
}
