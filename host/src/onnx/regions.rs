//! The region attribute head as a file of its own: a cell's pooled features in, logits out.

use shared::roi::{COLUMNS, ROWS};

use super::OnnxError;
use super::graph::{ElementType, Graph, Value, Window, mismatch};

use crate::weights::NamedTensors;

/// Name of the file's input.
pub const REGIONS_NAME: &str = "regions";

/// Name of the file's output.
pub const VALUES_NAME: &str = "values";

/// What the weights of the head are called before their layer.
pub const PREFIX: &str = "attributes.";

/// The file of the head whose weights `tensors` holds under [`PREFIX`]; what else it holds is left
/// to the detector's file.
///
/// # Shapes
/// `regions` f32 `[1, channels, 24, 30]` → `values` f32 `[1, n_values]`
///
/// # Errors
/// When a weight is missing, misshapen or not finite.
pub fn regions_bytes(
    channels: usize,
    n_values: usize,
    tensors: &NamedTensors,
) -> Result<Vec<u8>, OnnxError> {
    let mut graph = Graph::new("attributes");
    let shape = [1, channels, ROWS, COLUMNS];
    let mut x = graph.input(REGIONS_NAME, ElementType::F32, &shape)?;
    for layer in ["conv1", "conv2", "conv3"] {
        x = convolved(&mut graph, layer, &x, tensors)?;
    }
    x = graph.flatten("flat", &x)?;
    for layer in ["fc1", "fc2"] {
        let y = full(&mut graph, layer, layer, &x, tensors)?;
        x = graph.leaky_relu(&format!("{layer}.act"), &y, SLOPE)?;
    }
    let values = full(&mut graph, "fc3", VALUES_NAME, &x, tensors)?;
    graph.output(&values)?;
    match graph.shape(&values) {
        Some(&[1, n]) if n == n_values => graph.encode(&[
            ("description", "attribute values of a region".to_owned()),
            ("task", "attributes".to_owned()),
        ]),
        other => Err(mismatch(
            VALUES_NAME,
            format!("[1, {n_values}]"),
            format!("{other:?}"),
        )),
    }
}

/// Slope below zero of the head's activation (attridet.md, 1.3).
const SLOPE: f32 = 0.01;

/// Convolution, activation, halving.
fn convolved(
    graph: &mut Graph,
    layer: &str,
    input: &Value,
    tensors: &NamedTensors,
) -> Result<Value, OnnxError> {
    let (weight, bias) = parameters(graph, layer, tensors)?;
    let same = Window {
        stride: 1,
        padding: 1,
    };
    let halve = Window {
        stride: 2,
        padding: 0,
    };
    let y = graph.conv(layer, input, &weight, &bias, same)?;
    let y = graph.leaky_relu(&format!("{layer}.act"), &y, SLOPE)?;
    graph.max_pool(&format!("{layer}.pool"), &y, 2, halve)
}

fn full(
    graph: &mut Graph,
    layer: &str,
    name: &str,
    input: &Value,
    tensors: &NamedTensors,
) -> Result<Value, OnnxError> {
    let (weight, bias) = parameters(graph, layer, tensors)?;
    graph.full(name, input, &weight, &bias)
}

fn parameters(
    graph: &mut Graph,
    layer: &str,
    tensors: &NamedTensors,
) -> Result<(Value, Value), OnnxError> {
    let mut constant = |part: &str| {
        let name = format!("{PREFIX}{layer}.{part}");
        // A weight that is not there is told by `expect`, whatever shape is expected.
        let (shape, values) = match tensors.get(&name) {
            Some(found) => found,
            None => (&[][..], tensors.expect(&name, &[])?),
        };
        graph.constant(&name, shape, values)
    };
    Ok((constant("weight")?, constant("bias")?))
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::super::wire;
    use super::*;

    /// A head for maps of 3 + 2 channels and 4 values, its weights all of one number.
    fn tensors() -> NamedTensors {
        let mut out = NamedTensors::new();
        for (layer, weight) in [
            ("conv1", &[128, 5, 3, 3][..]),
            ("conv2", &[64, 128, 3, 3]),
            ("conv3", &[64, 64, 3, 3]),
            ("fc1", &[1024, 576]),
            ("fc2", &[256, 1024]),
            ("fc3", &[4, 256]),
        ] {
            let mut add = |part: &str, shape: &[usize]| {
                let values = vec![0.01; shape.iter().product()];
                out.insert(format!("attributes.{layer}.{part}"), shape.to_vec(), values)
                    .unwrap();
            };
            add("weight", weight);
            add("bias", &weight[..1]);
        }
        out
    }

    #[test]
    fn the_layers_are_those_of_the_reference() {
        let bytes = regions_bytes(5, 4, &tensors()).unwrap();
        let graph = wire::Model::decode(bytes.as_slice())
            .unwrap()
            .graph
            .unwrap();
        let ops: Vec<&str> = graph.node.iter().map(|n| n.op_type.as_str()).collect();
        let convolved = ["Conv", "LeakyRelu", "MaxPool"];
        let rest = ["Flatten", "Gemm", "LeakyRelu", "Gemm", "LeakyRelu", "Gemm"];
        let expected = [&convolved[..], &convolved, &convolved, &rest].concat();
        assert_eq!(ops, expected);
        assert_eq!(graph.input[0].name, REGIONS_NAME);
        assert_eq!(graph.output[0].name, VALUES_NAME);
    }

    #[test]
    fn weights_that_do_not_fit_are_refused_by_name() {
        let refused = |channels, n_values, tensors: &NamedTensors| {
            let refused = regions_bytes(channels, n_values, tensors).unwrap_err();
            refused.to_string()
        };
        assert_eq!(
            refused(5, 4, &NamedTensors::new()),
            "tensor \"attributes.conv1.weight\" is missing"
        );
        assert_eq!(
            refused(6, 4, &tensors()),
            "in node \"conv1\": expected weight [n, 6, h, w] and bias [n], \
             found weight [128, 5, 3, 3] and bias [128]"
        );
        assert_eq!(
            refused(5, 7, &tensors()),
            "in node \"values\": expected [1, 7], found Some([1, 4])"
        );
    }
}
