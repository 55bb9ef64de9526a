//! A graph under construction: every value has one name, one type and one static shape.
//!
//! A node can only read what the graph already holds, so nodes stand in an order in which they can be
//! computed, and neither a duplicate nor a dangling name can be built. Only opset 13 of ONNX's own
//! operators, only what the networks need.

use std::collections::BTreeMap;
use std::rc::Rc;

use prost::Message;
use shared::contract::OPSET;

use super::OnnxError;
use super::wire;

/// The file format's version that belongs to it.
pub const IR_VERSION: i64 = 8;

/// What the values of a tensor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// 32-bit floating point.
    F32,
    /// Unsigned byte.
    U8,
    /// 64-bit signed integer.
    I64,
}

impl ElementType {
    fn code(self) -> i32 {
        match self {
            Self::F32 => wire::TENSOR_FLOAT,
            Self::U8 => wire::TENSOR_UINT8,
            Self::I64 => wire::TENSOR_INT64,
        }
    }
}

/// A number that a constant may hold.
pub trait Element: Copy {
    /// Its type in the file.
    const TYPE: ElementType;

    /// Appends its little-endian bytes.
    fn write(self, out: &mut Vec<u8>);

    /// Neither NaN nor infinite.
    fn is_number(self) -> bool {
        true
    }
}

impl Element for f32 {
    const TYPE: ElementType = ElementType::F32;

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn is_number(self) -> bool {
        self.is_finite()
    }
}

impl Element for u8 {
    const TYPE: ElementType = ElementType::U8;

    fn write(self, out: &mut Vec<u8>) {
        out.push(self);
    }
}

impl Element for i64 {
    const TYPE: ElementType = ElementType::I64;

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
}

/// The name of a value that a graph holds; given out by the graph alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value(Rc<str>);

impl Value {
    /// Its name in the file.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// How a window moves over a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Pixels from one place to the next, both axes; at least 1.
    pub stride: usize,
    /// Pixels added on each of the four sides.
    pub padding: usize,
}

/// Where a value comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Input,
    Constant,
    Node,
}

struct Known {
    element: ElementType,
    shape: Vec<usize>,
    origin: Origin,
    read: bool,
}

/// A graph under construction; [`Graph::encode`] ends it.
pub struct Graph {
    name: String,
    nodes: Vec<wire::Node>,
    constants: Vec<wire::Tensor>,
    known: BTreeMap<Rc<str>, Known>,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            nodes: Vec::new(),
            constants: Vec::new(),
            known: BTreeMap::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// Declares an input of the network.
    ///
    /// # Errors
    /// When the name is taken or empty.
    pub fn input(
        &mut self,
        name: &str,
        element: ElementType,
        shape: &[usize],
    ) -> Result<Value, OnnxError> {
        let value = self.declare(name, element, shape.to_vec(), Origin::Input)?;
        self.inputs.push(value.clone());
        Ok(value)
    }

    /// Stores numbers, row-major.
    ///
    /// # Errors
    /// When the name is taken, the shape does not hold exactly `values`, or one is NaN or infinite.
    pub fn constant<T: Element>(
        &mut self,
        name: &str,
        shape: &[usize],
        values: &[T],
    ) -> Result<Value, OnnxError> {
        let room = shape.iter().try_fold(1, |n: usize, &d| n.checked_mul(d));
        if room != Some(values.len()) {
            return Err(mismatch(
                name,
                format!("{shape:?}"),
                format!("{} values", values.len()),
            ));
        }
        if let Some(index) = values.iter().position(|value| !value.is_number()) {
            return Err(OnnxError::NotFinite {
                name: name.to_owned(),
                index,
            });
        }
        let value = self.declare(name, T::TYPE, shape.to_vec(), Origin::Constant)?;
        let mut raw_data = Vec::with_capacity(size_of_val(values));
        values.iter().for_each(|value| value.write(&mut raw_data));
        self.constants.push(wire::Tensor {
            dims: dims(shape),
            data_type: T::TYPE.code(),
            name: name.to_owned(),
            raw_data,
        });
        Ok(value)
    }

    /// Declares a value as an output of the network.
    ///
    /// # Errors
    /// When the graph does not hold it, or it is an output already.
    pub fn output(&mut self, value: &Value) -> Result<(), OnnxError> {
        self.read(&self.name.clone(), value)?;
        if self.outputs.contains(value) {
            return Err(OnnxError::Duplicate {
                name: value.name().to_owned(),
            });
        }
        self.outputs.push(value.clone());
        Ok(())
    }

    /// The shape of a value; `None` for a value of another graph.
    pub fn shape(&self, value: &Value) -> Option<&[usize]> {
        self.known.get(&value.0).map(|known| known.shape.as_slice())
    }

    /// The type of a value; `None` for a value of another graph.
    pub fn element(&self, value: &Value) -> Option<ElementType> {
        self.known.get(&value.0).map(|known| known.element)
    }

    /// Inputs in the order of their declaration.
    pub fn inputs(&self) -> &[Value] {
        &self.inputs
    }

    /// Outputs in the order of their declaration.
    pub fn outputs(&self) -> &[Value] {
        &self.outputs
    }

    /// Nodes so far.
    pub fn n_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Ends the graph: the bytes of the file, with `metadata` as key and value in the given order.
    ///
    /// # Errors
    /// Without outputs, when nothing reads a value, or when a metadata key stands twice.
    pub fn encode(self, metadata: &[(&str, String)]) -> Result<Vec<u8>, OnnxError> {
        if self.outputs.is_empty() {
            return Err(OnnxError::NoOutputs { graph: self.name });
        }
        if let Some((name, _)) = self.known.iter().find(|(_, known)| !known.read) {
            return Err(OnnxError::Unread {
                name: name.to_string(),
            });
        }
        for (at, (key, _)) in metadata.iter().enumerate() {
            if metadata[..at].iter().any(|(earlier, _)| earlier == key) {
                return Err(OnnxError::Duplicate {
                    name: (*key).to_owned(),
                });
            }
        }
        let metadata_props = metadata.iter().map(|(key, value)| wire::StringEntry {
            key: (*key).to_owned(),
            value: value.clone(),
        });
        let model = wire::Model {
            ir_version: IR_VERSION,
            producer_name: "leuko-host".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            metadata_props: metadata_props.collect(),
            opset_import: vec![wire::OperatorSet {
                domain: String::new(),
                version: OPSET,
            }],
            graph: Some(self.into_wire()),
        };
        Ok(model.encode_to_vec())
    }

    /// With the shapes of all values in between, which checkers compare with what they infer.
    fn into_wire(self) -> wire::Graph {
        let info = |name: &str| {
            let known = &self.known[name];
            value_info(name, known.element, &known.shape)
        };
        let is_output = |name: &str| self.outputs.iter().any(|value| value.name() == name);
        let between = self.nodes.iter().flat_map(|node| &node.output);
        wire::Graph {
            name: self.name.clone(),
            input: self.inputs.iter().map(|value| info(value.name())).collect(),
            output: self
                .outputs
                .iter()
                .map(|value| info(value.name()))
                .collect(),
            value_info: between
                .filter(|name| !is_output(name))
                .map(|name| info(name))
                .collect(),
            node: self.nodes,
            initializer: self.constants,
        }
    }

    fn declare(
        &mut self,
        name: &str,
        element: ElementType,
        shape: Vec<usize>,
        origin: Origin,
    ) -> Result<Value, OnnxError> {
        if name.is_empty() {
            return Err(OnnxError::Nameless);
        }
        let key: Rc<str> = name.into();
        if self.known.contains_key(&key) {
            return Err(OnnxError::Duplicate {
                name: name.to_owned(),
            });
        }
        self.known.insert(
            key.clone(),
            Known {
                element,
                shape,
                origin,
                read: false,
            },
        );
        Ok(Value(key))
    }

    fn read(&mut self, node: &str, value: &Value) -> Result<&Known, OnnxError> {
        let known = self
            .known
            .get_mut(&value.0)
            .ok_or_else(|| OnnxError::Dangling {
                node: node.to_owned(),
                input: value.name().to_owned(),
            })?;
        known.read = true;
        Ok(known)
    }

    /// The shape of an input of `node`, which must be of the given type.
    pub(super) fn read_as(
        &mut self,
        node: &str,
        value: &Value,
        element: ElementType,
    ) -> Result<Vec<usize>, OnnxError> {
        let known = self.read(node, value)?;
        if known.element != element {
            let found = format!("{:?} in {:?}", known.element, value.name());
            return Err(mismatch(node, format!("{element:?}"), found));
        }
        Ok(known.shape.clone())
    }

    /// The shape `[batch, channels, height, width]` of a map of `f32` that `node` reads.
    pub(super) fn read_map(&mut self, node: &str, value: &Value) -> Result<[usize; 4], OnnxError> {
        let shape = self.read_as(node, value, ElementType::F32)?;
        <[usize; 4]>::try_from(shape.as_slice()).map_err(|_| {
            let found = format!("{shape:?} in {:?}", value.name());
            mismatch(node, "[batch, channels, height, width]".to_owned(), found)
        })
    }

    /// Whether the value is a constant of this graph.
    pub(super) fn is_constant(&self, value: &Value) -> bool {
        let known = self.known.get(&value.0);
        known.is_some_and(|known| known.origin == Origin::Constant)
    }

    /// Appends a node called like its only output; its inputs must have been read.
    pub(super) fn append(
        &mut self,
        op_type: &str,
        name: &str,
        inputs: &[&str],
        shape: &[usize],
        attribute: Vec<wire::Attribute>,
    ) -> Result<Value, OnnxError> {
        let output = self.declare(name, ElementType::F32, shape.to_vec(), Origin::Node)?;
        self.nodes.push(wire::Node {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.to_owned()],
            name: name.to_owned(),
            op_type: op_type.to_owned(),
            attribute,
        });
        Ok(output)
    }
}

pub(super) fn mismatch(node: &str, expected: String, found: String) -> OnnxError {
    OnnxError::Mismatch {
        node: node.to_owned(),
        expected,
        found,
    }
}

/// Shapes are far below `i64::MAX`: they were multiplied out against numbers in memory.
fn dims(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&side| side as i64).collect()
}

fn value_info(name: &str, element: ElementType, shape: &[usize]) -> wire::ValueInfo {
    let dim = dims(shape)
        .into_iter()
        .map(|side| wire::Dimension { value: Some(side) });
    wire::ValueInfo {
        name: name.to_owned(),
        value_type: Some(wire::ValueType {
            tensor: Some(wire::TensorType {
                elem_type: element.code(),
                shape: Some(wire::Shape { dim: dim.collect() }),
            }),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_input() -> (Graph, Value) {
        let mut graph = Graph::new("g");
        let x = graph.input("x", ElementType::F32, &[1, 2, 4, 6]).unwrap();
        (graph, x)
    }

    #[test]
    fn a_name_cannot_be_given_twice_or_be_empty() {
        let (mut graph, x) = with_input();
        graph.relu("y", &x).unwrap();
        let refused = graph.sigmoid("y", &x).unwrap_err();
        assert_eq!(refused.to_string(), "value \"y\" is in the graph already");
        assert!(graph.constant("x", &[1], &[0_u8]).is_err());
        let refused = graph.relu("", &x).unwrap_err();
        assert_eq!(refused.to_string(), "a value has an empty name");
        assert_eq!(graph.n_nodes(), 1, "what was refused is not kept");
    }

    #[test]
    fn a_value_of_another_graph_cannot_be_read() {
        let (mut graph, x) = with_input();
        let foreign = graph.relu("only there", &x).unwrap();
        let (mut graph, _) = with_input();
        let refused = graph.relu("y", &foreign).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "in node \"y\": input \"only there\" is not in the graph"
        );
        assert!(graph.output(&foreign).is_err());
        assert_eq!(graph.shape(&foreign), None);
    }

    #[test]
    fn a_value_nobody_reads_and_a_graph_without_outputs_are_refused() {
        let (mut graph, x) = with_input();
        let y = graph.relu("y", &x).unwrap();
        graph.constant("forgotten", &[2], &[1_i64, 2]).unwrap();
        graph.output(&y).unwrap();
        let refused = graph.encode(&[]).unwrap_err().to_string();
        assert_eq!(
            refused,
            "nothing reads value \"forgotten\", and it is no output"
        );
        let refused = with_input().0.encode(&[]).unwrap_err().to_string();
        assert_eq!(refused, "graph \"g\" has no outputs");
    }

    #[test]
    fn an_output_and_a_metadata_key_stand_once() {
        let (mut graph, x) = with_input();
        let y = graph.relu("y", &x).unwrap();
        graph.output(&y).unwrap();
        assert!(graph.output(&y).is_err());
        let metadata = [("k", "1".to_owned()), ("k", "2".to_owned())];
        assert!(matches!(
            graph.encode(&metadata),
            Err(OnnxError::Duplicate { name }) if name == "k"
        ));
    }

    #[test]
    fn constants_are_little_endian_finite_and_as_many_as_their_shape_says() {
        let mut graph = Graph::new("g");
        graph.constant("f", &[2], &[1.0_f32, -2.0]).unwrap();
        graph.constant("u", &[], &[7_u8]).unwrap();
        graph.constant("i", &[1, 1], &[-2_i64]).unwrap();
        let stored: Vec<_> = graph
            .constants
            .iter()
            .map(|t| (t.data_type, t.dims.as_slice(), t.raw_data.as_slice()))
            .collect();
        assert_eq!(
            stored,
            [
                (1, &[2][..], &[0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0][..]),
                (2, &[], &[7]),
                (7, &[1, 1], &[0xfe, 255, 255, 255, 255, 255, 255, 255]),
            ]
        );
        let refused = graph.constant("g", &[2, 2], &[0.0_f32; 3]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "in node \"g\": expected [2, 2], found 3 values"
        );
        let refused = graph
            .constant("g", &[2], &[0.0, f32::INFINITY])
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "constant \"g\": value 1 is NaN or infinite"
        );
    }
}
