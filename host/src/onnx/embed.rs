//! The contract inside the file.
//!
//! Beside the contract stand the keys other tools read, spelled as YOLOv5's export spells them.

use std::fmt::Write;

use prost::Message;
use shared::class::ClassTable;
use shared::contract::{CONTRACT_KEY, ModelContract};
use shared::roi::STRIDES;

use super::{ElementType, Graph, OnnxError, Value, wire};

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
/// When there is not exactly one, or it cannot be honoured.
pub(crate) fn read_contract(model: &wire::Model) -> Result<ModelContract, OnnxError> {
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

/// The same file with another contract; not a byte of the network changes.
///
/// # Errors
/// When `contract` or the file's own cannot be honoured, or the file holds what the trainer does not
/// write and would lose here.
pub fn with_contract(bytes: &[u8], contract: &ModelContract) -> Result<Vec<u8>, OnnxError> {
    contract.check()?;
    let mut model = wire::Model::decode(bytes)?;
    read_contract(&model)?;
    if model.encode_to_vec() != bytes {
        return Err(OnnxError::Unwritten);
    }
    let json = serde_json::to_string(contract)?;
    let entries = model.metadata_props.iter_mut();
    for entry in entries.filter(|entry| entry.key == CONTRACT_KEY) {
        entry.value.clone_from(&json);
    }
    Ok(model.encode_to_vec())
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
    let mut expected: Vec<Vec<usize>> = (0..head.levels.len())
        .map(|level| {
            let grid = head.grid(level, canvas);
            vec![
                1,
                head.channels(level),
                grid.height as usize,
                grid.width as usize,
            ]
        })
        .collect();
    let maps = contract.regions().map(|regions| regions.channels);
    expected.extend(
        maps.iter()
            .flatten()
            .zip(STRIDES)
            .map(|(&channels, stride)| {
                let map = contract.region_map(stride);
                vec![1, channels.into(), map.height as usize, map.width as usize]
            }),
    );
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

#[cfg(test)]
mod tests {
    use shared::contract::CONTRACT_VERSION;
    use shared::geometry::Size;

    use super::super::{fixture, yolov5_bytes, yolov5_graph};
    use super::*;

    fn contract_of(bytes: &[u8]) -> Result<ModelContract, OnnxError> {
        read_contract(&wire::Model::decode(bytes)?)
    }

    fn bytes() -> Vec<u8> {
        let spec = fixture::spec();
        yolov5_bytes(&spec, &fixture::contract(), &fixture::tensors(&spec)).unwrap()
    }

    #[test]
    fn the_contract_comes_back_as_it_went_in() {
        assert_eq!(contract_of(&bytes()).unwrap(), fixture::contract());
    }

    #[test]
    fn other_tools_find_the_keys_they_know() {
        let model = wire::Model::decode(bytes().as_slice()).unwrap();
        let entries: Vec<_> = model.metadata_props[1..]
            .iter()
            .map(|entry| (entry.key.as_str(), entry.value.as_str()))
            .collect();
        assert_eq!(
            entries,
            [
                ("description", "made up"),
                ("version", "leuko-host 0.1.0"),
                ("task", "detect"),
                ("batch", "1"),
                ("stride", "32"),
                ("imgsz", "[64, 96]"),
                ("names", "{0: 'WBC', 1: \"it's\"}"),
            ]
        );
    }

    // python3 -c "print(*map(repr, ['a', \"it's\", 'say \"x\"', 'both \' and \"', 'a\\b', 'Zelle ä']), sep='\n')"
    #[test]
    fn names_are_spelled_as_python_spells_them() {
        let cases = [
            ("a", "'a'"),
            ("it's", "\"it's\""),
            ("say \"x\"", "'say \"x\"'"),
            ("both ' and \"", "'both \\' and \"'"),
            ("a\\b", "'a\\\\b'"),
            ("Zelle ä", "'Zelle ä'"),
        ];
        for (name, expected) in cases {
            assert_eq!(python_string(name), expected);
        }
    }

    #[test]
    fn a_graph_that_breaks_the_promise_is_not_written() {
        let spec = fixture::spec();
        let graph = || yolov5_graph(&spec, Size::new(96, 64), &fixture::tensors(&spec)).unwrap();
        let mut contract = fixture::contract();
        contract.canvas = Size::new(64, 64);
        assert_eq!(
            model_bytes(graph(), &contract).unwrap_err().to_string(),
            "contract and graph differ: inputs: the contract says U8 [[1, 3, 64, 64]], \
             the graph has [U8] [[1, 3, 64, 96]]"
        );
        let mut contract = fixture::contract();
        contract.levels.pop();
        let refused = model_bytes(graph(), &contract).unwrap_err().to_string();
        assert!(refused.starts_with("contract and graph differ: outputs"));
        let mut contract = fixture::contract();
        contract.thresholds.score = 7.0;
        let refused = model_bytes(graph(), &contract).unwrap_err().to_string();
        assert!(refused.starts_with("contract: thresholds: score 7"));
    }

    #[test]
    fn another_contract_changes_nothing_else_of_the_file() {
        let before = bytes();
        let mut contract = fixture::contract();
        contract.class_scores.extend([0.5, 0.75]);
        let after = with_contract(&before, &contract).unwrap();
        assert_eq!(contract_of(&after).unwrap(), contract);
        let back = with_contract(&after, &fixture::contract()).unwrap();
        assert_eq!(back, before);
        let graph = |bytes: &[u8]| wire::Model::decode(bytes).unwrap().graph;
        assert_eq!(graph(&after), graph(&before));
    }

    #[test]
    fn a_contract_is_only_put_where_it_can_be_honoured_and_nothing_is_lost() {
        let refused = |bytes: &[u8], contract: &ModelContract| {
            with_contract(bytes, contract).unwrap_err().to_string()
        };
        let good = fixture::contract();
        let mut bad = fixture::contract();
        bad.class_scores.extend([0.5]);
        assert!(refused(&bytes(), &bad).starts_with("contract: class_scores: expected none or"));
        assert!(refused(b"", &good).starts_with("the file holds no contract"));
        // `doc_string`, field 6 of the model: one byte of text.
        let mut foreign = bytes();
        foreign.extend([0x32, 1, b'x']);
        assert_eq!(
            refused(&foreign, &good),
            "the file holds parts that the trainer does not write: expected one of `export` or `quantize`"
        );
    }

    /// The file with its metadata changed.
    fn changed(change: impl FnOnce(&mut Vec<wire::StringEntry>)) -> Result<ModelContract, String> {
        let mut model = wire::Model::decode(bytes().as_slice()).unwrap();
        change(&mut model.metadata_props);
        contract_of(&model.encode_to_vec()).map_err(|refused| refused.to_string())
    }

    #[test]
    fn a_foreign_or_damaged_file_is_refused_with_its_reason() {
        assert_eq!(
            contract_of(b"").unwrap_err().to_string(),
            "the file holds no contract (metadata key \"leukoscope.contract\")"
        );
        let refused = contract_of(&bytes()[..999]).unwrap_err().to_string();
        assert!(refused.starts_with("not an ONNX file: "), "{refused}");
        let twice = changed(|entries| entries.push(entries[0].clone()));
        assert_eq!(
            twice,
            Err("metadata key \"leukoscope.contract\" stands 2 times, expected once".to_owned())
        );
        let cut = changed(|entries| entries[0].value.truncate(40)).unwrap_err();
        assert!(cut.starts_with("contract: EOF while parsing"), "{cut}");
        let newer = changed(|entries| {
            let newer = format!("\"version\":{}", CONTRACT_VERSION + 1);
            entries[0].value = entries[0].value.replacen("\"version\":4", &newer, 1);
        });
        let expected = "contract: contract version 5, this software reads 1 to 4: update it";
        assert_eq!(newer, Err(expected.to_owned()));
    }
}
