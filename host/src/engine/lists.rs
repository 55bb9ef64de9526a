//! Arithmetic on many tensors at once: on a card a few launches instead of several for each.

use tch::Tensor;
use torch_sys::C_tensor;

use super::EngineError;
use super::shim;

/// Multiplies every tensor by `factor`, in place.
///
/// # Errors
/// When libtorch refuses.
pub fn scale(values: &mut [Tensor], factor: f64) -> Result<(), EngineError> {
    let list = writable(values);
    // SAFETY: the pointers are of tensors that live during the call; libtorch counts its own references.
    unsafe { shim::libtorch(shim::leuko_scale(list.as_ptr(), list.len(), factor)) }
}

/// Sets every element to 0, whatever it was.
///
/// # Errors
/// When libtorch refuses.
pub fn clear(values: &mut [Tensor]) -> Result<(), EngineError> {
    let list = writable(values);
    // SAFETY: as in `scale`.
    unsafe { shim::libtorch(shim::leuko_clear(list.as_ptr(), list.len())) }
}

/// Adds `factor` times each of `others` to the tensor of `values` in its place.
///
/// # Errors
/// When libtorch refuses.
///
/// # Panics
/// When the lists are not of one length.
pub fn add(values: &mut [Tensor], others: &[Tensor], factor: f64) -> Result<(), EngineError> {
    assert_eq!(values.len(), others.len(), "one to add for each");
    let (list, others) = (writable(values), readable(others));
    // SAFETY: as in `scale`; both lists have this length.
    unsafe {
        let added = shim::leuko_add(list.as_ptr(), others.as_ptr(), list.len(), factor);
        shim::libtorch(added)
    }
}

/// Moves every tensor of `values` this share of the way to the one of `others` in its place.
///
/// # Errors
/// When libtorch refuses.
///
/// # Panics
/// When the lists are not of one length.
pub fn approach(values: &mut [Tensor], others: &[Tensor], share: f64) -> Result<(), EngineError> {
    assert_eq!(values.len(), others.len(), "one to approach for each");
    let (list, others) = (writable(values), readable(others));
    // SAFETY: as in `scale`; both lists have this length.
    unsafe {
        let moved = shim::leuko_approach(list.as_ptr(), others.as_ptr(), list.len(), share);
        shim::libtorch(moved)
    }
}

/// The Euclidean norm of all elements together; 0 of none.
///
/// # Errors
/// When libtorch refuses.
pub fn norm(values: &[Tensor]) -> Result<f64, EngineError> {
    let (list, mut norm) = (readable(values), 0.0);
    // SAFETY: as in `scale`; a number is written.
    unsafe {
        let measured = shim::leuko_norm(list.as_ptr(), list.len(), &raw mut norm);
        shim::libtorch(measured)?;
    }
    Ok(norm)
}

fn readable(values: &[Tensor]) -> Vec<*const C_tensor> {
    values.iter().map(Tensor::as_ptr).collect()
}

fn writable(values: &mut [Tensor]) -> Vec<*mut C_tensor> {
    values.iter_mut().map(Tensor::as_mut_ptr).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::floats;

    fn list(values: &[&[f32]]) -> Vec<Tensor> {
        values.iter().map(|v| Tensor::from_slice(v)).collect()
    }

    fn bytes(values: &[Tensor]) -> Vec<Vec<f32>> {
        values.iter().map(floats).collect()
    }

    #[test]
    fn every_tensor_of_a_list_is_computed_with() {
        let mut values = list(&[&[1.0, -2.0], &[4.0]]);
        let others = list(&[&[10.0, 20.0], &[30.0]]);
        assert_eq!(norm(&values).expect("floats"), f64::from(21_f32.sqrt()));
        scale(&mut values, 2.0).expect("floats");
        assert_eq!(bytes(&values), [vec![2.0, -4.0], vec![8.0]]);
        add(&mut values, &others, 0.5).expect("one shape");
        assert_eq!(bytes(&values), [vec![7.0, 6.0], vec![23.0]]);
        approach(&mut values, &others, 0.25).expect("one shape");
        assert_eq!(bytes(&values), [vec![7.75, 9.5], vec![24.75]]);
        assert_eq!(bytes(&others), [vec![10.0, 20.0], vec![30.0]]);
        scale(&mut values, f64::NAN).expect("floats");
        clear(&mut values).expect("floats");
        assert_eq!(bytes(&values), [vec![0.0, 0.0], vec![0.0]]);
    }

    #[test]
    fn an_empty_list_is_nothing_and_another_shape_is_refused_with_its_reason() {
        assert_eq!(norm(&[]).expect("nothing"), 0.0);
        scale(&mut [], 2.0).expect("nothing");
        add(&mut [], &[], 2.0).expect("nothing");
        let error = add(&mut list(&[&[1.0, 2.0]]), &list(&[&[1.0, 2.0, 3.0]]), 1.0);
        let text = error.expect_err("two shapes").to_string();
        assert!(text.contains("size"), "{text}");
    }
}
