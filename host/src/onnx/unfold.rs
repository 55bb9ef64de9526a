//! A float file of the trainer back into a network's weights, to go on training from what was shipped.

use prost::Message;

use super::yolov5::BATCH_NORM_EPSILON;
use super::{OnnxError, read_contract, wire};
use crate::weights::NamedTensors;
use shared::contract::{ModelContract, Precision};

/// How the bias of a convolution that swallowed its batch norm ends.
const FOLDED: &str = ".conv.bias";

/// The contract and the weights by the names of YOLOv5's state dict. Batch norms that were folded away
/// come back with mean 0 and deviation 1, which is the same function.
///
/// # Errors
/// No file of the trainer, or one in 8 bits: training goes on from its float parent.
pub fn unfolded(bytes: &[u8]) -> Result<(ModelContract, NamedTensors), OnnxError> {
    let model = wire::Model::decode(bytes)?;
    let contract = read_contract(&model)?;
    if contract.precision != Precision::Float32 {
        return Err(OnnxError::Spec(
            "a file in 8 bits, expected the float one it was made from".to_owned(),
        ));
    }
    let mut tensors = NamedTensors::new();
    let constants = model.graph.map(|graph| graph.initializer);
    for constant in constants.unwrap_or_default() {
        let wanted = [".weight", ".bias"].iter().any(|end| constant.name.ends_with(end));
        if !wanted || constant.data_type != wire::TENSOR_FLOAT {
            continue;
        }
        let (values, _) = constant.raw_data.as_chunks::<4>();
        let values: Vec<f32> = values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        let shape: Vec<usize> = constant.dims.iter().map(|&n| n as usize).collect();
        match constant.name.strip_suffix(FOLDED) {
            None => tensors.insert(constant.name, shape, values)?,
            Some(layer) => insert_norm(&mut tensors, layer, values)?,
        }
    }
    Ok((contract, tensors))
}

fn insert_norm(tensors: &mut NamedTensors, layer: &str, bias: Vec<f32>) -> Result<(), OnnxError> {
    let channels = bias.len();
    let variance = 1.0 - BATCH_NORM_EPSILON as f32;
    for (part, values) in [
        ("weight", vec![1.0; channels]),
        ("bias", bias),
        ("running_mean", vec![0.0; channels]),
        ("running_var", vec![variance; channels]),
    ] {
        tensors.insert(format!("{layer}.bn.{part}"), vec![channels], values)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{fixture, yolov5_bytes};
    use super::*;

    #[test]
    fn what_was_exported_comes_back_and_exports_the_same() {
        let spec = fixture::spec();
        let first = yolov5_bytes(&spec, &fixture::contract(), &fixture::tensors(&spec)).unwrap();
        let (contract, tensors) = unfolded(&first).unwrap();
        assert_eq!(contract, fixture::contract());
        let again = yolov5_bytes(&spec, &contract, &tensors).unwrap();
        let (_, found) = unfolded(&again).unwrap();
        assert!(tensors.len() > 5 * 40, "{}", tensors.len());
        for ((name, shape, expected), (_, _, found)) in tensors.iter().zip(found.iter()) {
            assert_eq!(shape.iter().product::<usize>(), found.len(), "{name}");
            for (&expected, &found) in expected.iter().zip(found) {
                assert!((expected - found).abs() <= 1e-6 * expected.abs(), "{name}");
            }
        }
    }

    #[test]
    fn a_file_in_8_bits_is_refused() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
        let bytes = std::fs::read(models.join("wbc-nano/model.int8.onnx")).unwrap();
        let refused = unfolded(&bytes).unwrap_err().to_string();
        assert!(refused.contains("8 bits"), "{refused}");
    }
}
