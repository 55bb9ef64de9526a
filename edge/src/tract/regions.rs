//! The second file of a model: the attribute head that reads pooled regions.

use std::sync::Arc;

use shared::contract::{ModelContract, RegionHead};
use shared::head::HeadError;
use shared::roi::{COLUMNS, ROWS};
use tract_onnx::prelude::*;

use super::{
    check_tensors, described, graph, proto_of, refuse_external_weights, refuse_other_opset,
};
use super::{spoken, unwound};
use crate::model::{ModelFile, Refusal};
use crate::network::NetworkError;

/// An attribute head ready to run.
pub(super) struct Regions {
    plan: Arc<TypedRunnableModel>,
    /// `[1, channels, ROWS, COLUMNS]`
    shape: [usize; 4],
    n_values: usize,
}

impl Regions {
    /// Loads the file beside `model`, compares it with the contract and runs it once on nothing.
    ///
    /// # Errors
    /// The first thing that is wrong, with the name of the second file.
    pub(super) fn load(
        model: &ModelFile,
        contract: &ModelContract,
        head: &RegionHead,
    ) -> Result<Self, Refusal> {
        let file = model.beside()?;
        Self::of(&file, contract, head).map_err(|reason| reason.in_file(file.name()))
    }

    fn of(file: &ModelFile, contract: &ModelContract, head: &RegionHead) -> Result<Self, Refusal> {
        if !file.sha256().eq_ignore_ascii_case(&head.sha256) {
            return Err(Refusal::OtherModels {
                expected: head.sha256.to_string(),
                got: file.sha256().to_owned(),
            });
        }
        let proto = proto_of(file.bytes())?;
        refuse_other_opset(&proto)?;
        refuse_external_weights(&proto)?;
        let model = onnx().model_for_proto_model(&proto).map_err(graph)?;
        let typed = model.into_typed().map_err(graph)?;
        check_tensors(&typed)?;
        let [fine, coarse] = head.channels.map(usize::from);
        let shape = [1, fine + coarse, ROWS, COLUMNS];
        let n_values = contract
            .value_counts()
            .iter()
            .map(|&n| usize::from(n))
            .sum();
        check_fact("input", &typed, &typed.inputs, &shape)?;
        check_fact("output", &typed, &typed.outputs, &[1, n_values])?;
        let plan = typed
            .into_optimized()
            .and_then(IntoRunnable::into_runnable)
            .map_err(graph)?;
        let regions = Self {
            plan,
            shape,
            n_values,
        };
        let nothing = vec![0.0; head.region_len()];
        let mut values = vec![0.0; n_values];
        let tried = regions.run(&nothing, &mut values);
        tried.map_err(|error| match error {
            NetworkError::Heads(error) => Refusal::Heads(error),
            other => Refusal::Graph(other.to_string()),
        })?;
        Ok(regions)
    }

    /// # Shapes
    /// `region` `[channels, ROWS, COLUMNS]` → `values` `[values of all attributes]`
    pub(super) fn run(&self, region: &[f32], values: &mut [f32]) -> Result<(), NetworkError> {
        unwound(|| self.run_unguarded(region, values))
            .unwrap_or_else(|panic| Err(NetworkError::Engine(panic)))
    }

    fn run_unguarded(&self, region: &[f32], values: &mut [f32]) -> Result<(), NetworkError> {
        let engine = |error: TractError| NetworkError::Engine(spoken(&error));
        let input = Tensor::from_shape(&self.shape, region).map_err(engine)?;
        let outputs = self.plan.run(tvec!(input.into())).map_err(engine)?;
        let words = || NetworkError::Engine("the attribute head gave no output".to_owned());
        let output = outputs.first().ok_or_else(words)?;
        let view = output.try_as_plain_ram().map_err(engine)?;
        let found = view.as_slice::<f32>().map_err(engine)?;
        if found.len() != values.len() || values.len() != self.n_values {
            let (expected, got) = (self.n_values, found.len());
            let words = format!("the attribute head gave {got} values, expected {expected}");
            return Err(NetworkError::Engine(words));
        }
        if !found.iter().all(|value| value.is_finite()) {
            return Err(HeadError::AttributesNotFinite.into());
        }
        values.copy_from_slice(found);
        Ok(())
    }
}

/// The graph has one such end, of floats in the given shape.
fn check_fact(
    what: &'static str,
    model: &TypedModel,
    ends: &[OutletId],
    shape: &[usize],
) -> Result<(), Refusal> {
    let expected = described("F32", shape);
    let differs = |got: String| {
        Err(Refusal::Region {
            what,
            expected: expected.clone(),
            got,
        })
    };
    let [end] = ends else {
        return differs(format!("{} of them", ends.len()));
    };
    let fact = model.outlet_fact(*end).map_err(graph)?;
    let found = fact.shape.as_concrete().unwrap_or_default();
    if found != shape || fact.datum_type != f32::datum_type() {
        return differs(described(&format!("{:?}", fact.datum_type), found));
    }
    Ok(())
}
