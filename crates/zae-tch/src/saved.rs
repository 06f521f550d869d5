//! Tensors of LibTorch as saved tensors, and back.

use std::sync::Arc;

use tch::{Kind, Tensor};
use zae_core::{
    error::{BoxError, Fallible},
    learner::{Dtype, SavedTensor},
    pool::Pool,
};

/// A copy of a tensor, from whatever device, in a buffer of the pool.
///
/// # Errors
/// When its element type has no place in the format (complex and quantised numbers), and when the device fails.
pub(crate) fn save(tensor: &Tensor, name: &str, pool: &Arc<Pool>) -> Fallible<SavedTensor> {
    let kind = tensor.f_kind().map_err(short)?;
    let dtype = dtype(kind).ok_or_else(|| format!("`{name}` is of type {kind:?}, which cannot be saved"))?;
    let numbers = tensor.numel();
    let mut result = Ok(());
    let saved = pool.fill(name, dtype, &shape(tensor), |kept| {
        let mut buffer = kept.unwrap_or_default();
        buffer.resize(numbers * dtype.size(), 0);
        if numbers > 0 {
            result = tensor.f_copy_data_u8(&mut buffer, numbers);
        }
        buffer
    });
    result.map_err(short)?;
    Ok(saved)
}

/// A new tensor in the memory of the host.
///
/// # Errors
/// When the bytes cannot be had, or are not as many as the shape says.
pub(crate) fn load(saved: &SavedTensor, name: &str) -> Fallible<Tensor> {
    let kind = kind(saved.dtype).ok_or_else(|| format!("LibTorch has no element type {:?}: `{name}`", saved.dtype))?;
    let bytes = saved.data.bytes()?;
    let numbers = saved.shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    if numbers.and_then(|numbers| numbers.checked_mul(saved.dtype.size())) != Some(bytes.len()) {
        return Err(format!("`{name}` is damaged: {} bytes for the shape {:?}", bytes.len(), saved.shape).into());
    }
    if saved.dtype == Dtype::Bool && bytes.iter().any(|&byte| byte > 1) {
        return Err(format!("`{name}` is damaged: booleans that are neither 0 nor 1").into());
    }
    let shape: Vec<i64> = saved.shape.iter().map(|&size| size as i64).collect();
    Tensor::f_from_data_size(&bytes, &shape, kind).map_err(short)
}

pub(crate) fn shape(tensor: &Tensor) -> Vec<usize> {
    tensor.size().into_iter().map(|size| usize::try_from(size).unwrap_or(0)).collect()
}

/// The type under which a tensor of this type is saved.
pub(crate) fn dtype(kind: Kind) -> Option<Dtype> {
    Some(match kind {
        Kind::Double => Dtype::F64,
        Kind::Float => Dtype::F32,
        Kind::Half => Dtype::F16,
        Kind::BFloat16 => Dtype::BF16,
        Kind::Int64 => Dtype::I64,
        Kind::Int => Dtype::I32,
        Kind::Int16 => Dtype::I16,
        Kind::Int8 => Dtype::I8,
        Kind::Uint8 => Dtype::U8,
        Kind::Bool => Dtype::Bool,
        _ => return None,
    })
}

fn kind(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::F64 => Kind::Double,
        Dtype::F32 => Kind::Float,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::I16 => Kind::Int16,
        Dtype::I8 => Kind::Int8,
        Dtype::U8 => Kind::Uint8,
        Dtype::Bool => Kind::Bool,
        _ => return None,
    })
}

/// What LibTorch said, without the line of C++ below it.
pub(crate) fn short(error: tch::TchError) -> BoxError {
    let text = match error {
        tch::TchError::Torch(text) => text,
        other => other.to_string(),
    };
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or("LibTorch failed").trim().to_owned().into()
}
