//! Tensors of LibTorch as saved tensors, and back.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};
use zae_core::{
    error::{BoxError, Fallible},
    learner::{Dtype, SavedTensor},
    pool::Pool,
};
use zae_tch_sys::HostTensor;

/// Buffers for snapshots: pinned memory where the tensors are on CUDA, if there is any.
pub(crate) type Buffers = Arc<Pool<HostTensor>>;

/// A copy of a tensor in a buffer of the pool. From CUDA it is whole after [`device::wait`](crate::device::wait).
///
/// # Errors
/// When its element type has no place in the format (complex and quantised numbers), and when the device fails.
pub(crate) fn save(tensor: &Tensor, name: &str, buffers: &Buffers) -> Fallible<SavedTensor> {
    let kind = tensor.f_kind().map_err(short)?;
    let dtype = dtype(kind).ok_or_else(|| format!("`{name}` is of type {kind:?}, which cannot be saved"))?;
    buffers.fill(name, dtype, &shape(tensor), |kept| {
        let new = || HostTensor::like(tensor, matches!(tensor.device(), Device::Cuda(_)));
        let mut copy = kept.filter(|kept| kept.fits(tensor)).map_or_else(new, Ok)?;
        copy.copy_(tensor)?;
        Ok(copy)
    })
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_buffer_is_used_again_for_what_fits_into_it() {
        let buffers = Buffers::default();
        let copy = |value: f32, shape: &[i64]| {
            let tensor = Tensor::full(shape, f64::from(value), (Kind::Float, Device::Cpu));
            let saved = save(&tensor, "w", &buffers).unwrap();
            let bytes = saved.data.bytes().unwrap();
            assert!(bytes.len() == 4 * tensor.numel() && bytes.chunks(4).all(|bytes| bytes == value.to_le_bytes()));
            let at = bytes.as_ptr();
            drop(bytes);
            (saved, at)
        };
        let (first, at) = copy(1.0, &[300, 5]);
        let (_second, other) = copy(2.0, &[300, 5]);
        assert_ne!(at, other);
        assert!(first.data.bytes().unwrap().chunks(4).all(|bytes| bytes == 1.0f32.to_le_bytes()));
        drop(first);
        assert_eq!(copy(3.0, &[300, 5]).1, at);
        copy(4.0, &[7]);
    }
}
