//! The contract inside the file, and back out of it.
//!
//! Beside the contract stand the keys other tools read, spelled as YOLOv5's export spells them.

use std::fmt::Write;

use prost::Message;
use shared::class::ClassTable;
use shared::contract::{CONTRACT_KEY, ModelContract};

use super::wire;
use super::{ElementType, Graph, OnnxError, Value};

/// Ends `graph` as a file that carries `contract`.
///
/// # Errors
/// When the contract cannot be honoured, or the graph is not what it promises.
pub fn model_bytes(graph: Graph, contract: &ModelContract) -> Result<Vec<u8>, OnnxError> {
    contract.check()?;
    check_promise(&graph, contract)?;
    graph.encode(&metadata_of(contract)?)
}

/// The contract of an ONNX file.
///
/// # Errors
/// When the bytes are no ONNX file, hold no contract or more than one, or one that cannot be honoured.
pub fn contract_of(bytes: &[u8]) -> Result<ModelContract, OnnxError> {
    let model = wire::Model::decode(bytes)?;
    let contracts: Vec<&str> = model
        .metadata_props
        .iter()
        .filter(|entry| entry.key == CONTRACT_KEY)
        .map(|entry| entry.value.as_str())
        .collect();
    let contract: ModelContract = match contracts[..] {
        [json] => serde_json::from_str(json)?,
        [] => return Err(OnnxError::NoContract { key: CONTRACT_KEY }),
        _ => {
            return Err(OnnxError::ManyContracts {
                key: CONTRACT_KEY,
                count: contracts.len(),
            });
        }
    };
    contract.check()?;
    Ok(contract)
}

/// Keys and values of the file's metadata, in a constant order.
fn metadata_of(contract: &ModelContract) -> Result<Vec<(&'static str, String)>, OnnxError> {
    let coarsest = contract.levels.iter().map(|level| level.stride).max();
    let canvas = contract.canvas;
    let provenance = &contract.provenance;
    Ok(vec![
        (CONTRACT_KEY, serde_json::to_string(contract)?),
        ("description", contract.name.to_string()),
        ("version", provenance.software.to_string()),
        ("task", "detect".to_owned()),
        ("batch", "1".to_owned()),
        ("stride", coarsest.unwrap_or(1).to_string()),
        ("imgsz", format!("[{}, {}]", canvas.height, canvas.width)),
        ("names", python_names(&contract.classes)),
    ])
}

/// Names by number as a Python dictionary: `{0: 'a', 1: 'b'}`.
fn python_names(classes: &ClassTable) -> String {
    let entries: Vec<String> = classes
        .iter()
        .map(|(class, name)| format!("{}: {}", class.0, python_string(name)))
        .collect();
    format!("{{{}}}", entries.join(", "))
}

/// A string as Python writes it: in single quotes unless only double ones save an escape.
fn python_string(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::from(quote);
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            letter if letter == quote => out.extend(['\\', letter]),
            letter if letter.is_control() => {
                // Writing into a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push(quote);
    out
}

/// Input and outputs of the graph are those of the contract.
fn check_promise(graph: &Graph, contract: &ModelContract) -> Result<(), OnnxError> {
    let canvas = contract.canvas;
    let expected = vec![vec![1, 3, canvas.height as usize, canvas.width as usize]];
    compare("inputs", &expected, graph, graph.inputs(), ElementType::U8)?;
    let head = contract.head();
    let expected: Vec<Vec<usize>> = (0..head.levels.len())
        .map(|level| {
            let grid = head.grid(level, canvas);
            let channels = head.levels[level].anchors.len() * head.channels_per_anchor();
            vec![1, channels, grid.height as usize, grid.width as usize]
        })
        .collect();
    compare(
        "outputs",
        &expected,
        graph,
        graph.outputs(),
        ElementType::F32,
    )
}

fn compare(
    what: &str,
    expected: &[Vec<usize>],
    graph: &Graph,
    values: &[Value],
    element: ElementType,
) -> Result<(), OnnxError> {
    let found: Vec<&[usize]> = values.iter().filter_map(|v| graph.shape(v)).collect();
    let other_type = values.iter().any(|v| graph.element(v) != Some(element));
    if other_type || found != expected {
        let elements: Vec<_> = values.iter().filter_map(|v| graph.element(v)).collect();
        return Err(OnnxError::Promise {
            what: what.to_owned(),
            expected: format!("{element:?} {expected:?}"),
            found: format!("{elements:?} {found:?}"),
        });
    }
    Ok(())
}
