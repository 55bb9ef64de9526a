//! A sum and the number of its elements, not yet divided.

use tch::kind::Element;
use tch::{Device, Tensor};

/// Which number of a run's journal a term belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Bbox,
    Objectness,
    Class,
    Attribute,
}

/// A term of the loss. For a kind of head and a schema the list of terms always has the same length
/// and order, whatever the batch holds: processes that share a batch can add up their counts.
#[derive(Debug)]
pub(super) struct Term {
    pub(super) part: Part,
    /// What its mean is multiplied with.
    pub(super) weight: f64,
    /// Over the elements, a scalar.
    pub(super) sum: Tensor,
    /// How many elements; with none the sum is 0.
    pub(super) count: i64,
}

impl Term {
    /// The weighted sum, divided by the elements over all processes; 0 without elements.
    pub(super) fn over(&self, count: f64) -> Tensor {
        &self.sum * (self.weight / count.max(1.0))
    }
}

/// Rows whose target `value` knows an answer of, and the answers; `None` when there is none.
pub(super) fn known(
    answered: &[usize],
    device: Device,
    value: impl Fn(usize) -> Option<i64>,
) -> Option<(Tensor, Tensor)> {
    let (rows, values): (Vec<i64>, Vec<i64>) = answered
        .iter()
        .enumerate()
        .filter_map(|(row, &target)| Some((row as i64, value(target)?)))
        .unzip();
    (!rows.is_empty()).then(|| (sent(&rows, device), sent(&values, device)))
}

/// The values on the device, which goes on with its work meanwhile: what is not pinned is copied aside
/// before the call returns.
pub(super) fn sent<T: Element>(values: &[T], device: Device) -> Tensor {
    Tensor::from_slice(values).to_device_(device, T::KIND, true, false)
}
