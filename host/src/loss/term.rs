//! A sum and the number of its elements, not yet divided.

use tch::Tensor;

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
