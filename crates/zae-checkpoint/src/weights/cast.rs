//! Tensors in another type.

use std::sync::Arc;

use half::{bf16, f16};
use zae_core::{
    error::Fallible,
    learner::{Dtype, SavedTensor},
};

pub(super) fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// The same numbers in another floating-point type, rounded to nearest where it is a smaller one. Other types stay.
pub(super) fn to(tensor: &SavedTensor, dtype: Dtype) -> Fallible<SavedTensor> {
    let bytes = tensor.data.bytes()?;
    let numbers: Option<Vec<f64>> = match tensor.dtype {
        Dtype::F64 => each(&bytes, f64::from_le_bytes),
        Dtype::F32 => each(&bytes, |b| f64::from(f32::from_le_bytes(b))),
        Dtype::F16 => each(&bytes, |b| f16::from_le_bytes(b).to_f64()),
        Dtype::BF16 => each(&bytes, |b| bf16::from_le_bytes(b).to_f64()),
        _ => None,
    };
    let Some(numbers) = numbers else { return Ok(tensor.clone()) };
    let out: Vec<u8> = match dtype {
        Dtype::F64 => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Dtype::F32 => numbers.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect(),
        Dtype::F16 => numbers.iter().flat_map(|x| f16::from_f64(*x).to_le_bytes()).collect(),
        Dtype::BF16 => numbers.iter().flat_map(|x| bf16::from_f64(*x).to_le_bytes()).collect(),
        _ => return Ok(tensor.clone()),
    };
    Ok(SavedTensor { dtype, shape: tensor.shape.clone(), data: Arc::new(out) })
}

/// The numbers in a row of bytes; `None` if there is a rest.
fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Option<Vec<f64>> {
    let (numbers, rest) = bytes.as_chunks::<N>();
    rest.is_empty().then(|| numbers.iter().map(|bytes| number(*bytes)).collect())
}
