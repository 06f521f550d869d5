//! Tensors to try things on.
#![allow(dead_code, clippy::unwrap_used)]

use tch::{Kind, Tensor};

/// Numbers between -1 and 1 that look like nothing in particular, and depend on `seed`.
pub(crate) fn numbers(length: usize, seed: usize) -> Vec<f64> {
    (0..length).map(|i| ((1 + i + 131 * seed) as f64 * 12.9898).sin()).collect()
}

/// A tensor of such.
pub(crate) fn tensor(shape: &[i64], seed: usize, kind: Kind) -> Tensor {
    let length = shape.iter().product::<i64>() as usize;
    Tensor::from_slice(&numbers(length, seed)).reshape(shape).to_kind(kind)
}

/// What is in a tensor.
pub(crate) fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_kind(Kind::Double).reshape([-1]).try_into().unwrap()
}

/// A list as the functions take it.
pub(crate) fn refs(tensors: &[Tensor]) -> Vec<&Tensor> {
    tensors.iter().collect()
}

/// Asserts that numbers differ by no more than `tolerance`, relative to the larger of 1 and what is expected.
#[track_caller]
pub(crate) fn assert_near(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= tolerance * e.abs().max(1.0), "at {i}: {f}, expected {e}");
    }
}
