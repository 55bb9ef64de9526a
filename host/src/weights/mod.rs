//! Weights by name, as plain numbers: what checkpoints are read into and models are written from.
//!
//! Knows no torch; names are those of YOLOv5's state dict (`model.0.conv.weight`).

mod archive;
mod opcodes;
pub mod pickle;

use std::collections::BTreeMap;

/// Why weights cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightsError {
    /// The network needs a tensor that is not there.
    #[error("tensor {name:?} is missing")]
    Missing {
        /// The tensor.
        name: String,
    },
    /// A tensor of another shape.
    #[error("tensor {name:?}: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// What the network needs.
        expected: Vec<usize>,
        /// What was stored.
        found: Vec<usize>,
    },
    /// A shape that does not say how many values there are.
    #[error("tensor {name:?}: shape {shape:?} does not hold {values} values")]
    Length {
        /// The tensor.
        name: String,
        /// The shape given.
        shape: Vec<usize>,
        /// The values given.
        values: usize,
    },
    /// A second tensor of a name.
    #[error("tensor {name:?} stands twice")]
    Twice {
        /// The tensor.
        name: String,
    },
}

/// Tensors of `f32` by name, each with its shape; row-major, ordered by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NamedTensors(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl NamedTensors {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor, values row-major.
    ///
    /// # Errors
    /// [`WeightsError::Length`] when the shape does not hold exactly `values`, [`WeightsError::Twice`]
    /// when the name is taken.
    pub fn insert(
        &mut self,
        name: impl Into<String>,
        shape: Vec<usize>,
        values: Vec<f32>,
    ) -> Result<(), WeightsError> {
        let name = name.into();
        let room = shape.iter().try_fold(1, |n: usize, &d| n.checked_mul(d));
        if room != Some(values.len()) {
            return Err(WeightsError::Length {
                name,
                shape,
                values: values.len(),
            });
        }
        if self.0.contains_key(&name) {
            return Err(WeightsError::Twice { name });
        }
        self.0.insert(name, (shape, values));
        Ok(())
    }

    /// Shape and values of a tensor.
    pub fn get(&self, name: &str) -> Option<(&[usize], &[f32])> {
        self.0
            .get(name)
            .map(|(shape, values)| (shape.as_slice(), values.as_slice()))
    }

    /// The values of a tensor that must have the given shape.
    ///
    /// # Errors
    /// [`WeightsError::Missing`] or [`WeightsError::Shape`].
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<&[f32], WeightsError> {
        let (found, values) = self.get(name).ok_or_else(|| WeightsError::Missing {
            name: name.to_owned(),
        })?;
        if found != shape {
            return Err(WeightsError::Shape {
                name: name.to_owned(),
                expected: shape.to_vec(),
                found: found.to_vec(),
            });
        }
        Ok(values)
    }

    /// Names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Name, shape and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[usize], &[f32])> {
        self.0
            .iter()
            .map(|(name, (shape, values))| (name.as_str(), shape.as_slice(), values.as_slice()))
    }

    /// Tensors in all.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// No tensor at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_comes_back_with_its_shape_or_says_what_is_wrong() {
        let mut tensors = NamedTensors::new();
        tensors.insert("w", vec![2, 1], vec![1.0, 2.0]).unwrap();
        assert_eq!(tensors.expect("w", &[2, 1]), Ok(&[1.0, 2.0][..]));
        let message = |result: Result<&[f32], WeightsError>| result.unwrap_err().to_string();
        assert_eq!(
            message(tensors.expect("v", &[1])),
            "tensor \"v\" is missing"
        );
        assert_eq!(
            message(tensors.expect("w", &[1, 2])),
            "tensor \"w\": expected shape [1, 2], found [2, 1]"
        );
    }

    #[test]
    fn neither_a_wrong_length_nor_a_second_tensor_of_a_name_is_taken() {
        let mut tensors = NamedTensors::new();
        tensors.insert("w", vec![], vec![3.0]).unwrap();
        let refused = tensors.insert("v", vec![2, 2], vec![0.0; 3]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "tensor \"v\": shape [2, 2] does not hold 3 values"
        );
        let refused = tensors.insert("w", vec![1], vec![0.0]).unwrap_err();
        assert_eq!(refused.to_string(), "tensor \"w\" stands twice");
        assert_eq!(tensors.len(), 1);
    }
}
