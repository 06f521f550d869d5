//! Burn's tensor data as saved tensors, and back.

use std::{borrow::Cow, sync::Arc};

use burn::{
    prelude::*,
    tensor::{BoolStore, DType},
};
use zae_core::{
    error::Fallible,
    learner::{Dtype, Number, SavedTensor, TensorBytes},
};

/// Burn's data, lent as bytes: saving copies nothing again.
struct Lent(TensorData);

impl TensorBytes for Lent {
    fn bytes(&self) -> Fallible<Cow<'_, [u8]>> {
        Ok(Cow::Borrowed(self.0.as_bytes()))
    }
}

/// # Errors
/// When the element type has no place in the format (quantised tensors).
pub(crate) fn save(data: TensorData) -> Fallible<SavedTensor> {
    let data = match data.dtype() {
        DType::Bool(BoolStore::Native) => data,
        DType::Bool(_) => data.convert_dtype(DType::Bool(BoolStore::Native)),
        DType::Flex32 => data.convert_dtype(DType::F32),
        _ => data,
    };
    let dtype = dtype(data.dtype())?;
    Ok(SavedTensor { dtype, shape: data.shape().to_vec(), data: Arc::new(Lent(data)) })
}

/// # Errors
/// When the bytes cannot be had, or are not as many as the shape says.
pub(crate) fn load(saved: &SavedTensor) -> Fallible<TensorData> {
    let dtype = burn_dtype(saved.dtype)?;
    let bytes = saved.data.bytes()?;
    if saved.dtype == Dtype::Bool && bytes.iter().any(|&byte| byte > 1) {
        return Err("a saved tensor of booleans has bytes that are neither 0 nor 1".into());
    }
    TensorData::try_from_bytes_vec(bytes.into_owned(), saved.shape.clone(), dtype)
        .map_err(|e| format!("a saved tensor is damaged: {e}").into())
}

/// The type under which a tensor of this type is saved.
pub(crate) fn dtype(dtype: DType) -> Fallible<Dtype> {
    Ok(match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 | DType::Flex32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool(_) => Dtype::Bool,
        DType::QFloat(_) => return Err("quantised tensors cannot be saved".into()),
    })
}

fn burn_dtype(dtype: Dtype) -> Fallible<DType> {
    Ok(match dtype {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U64 => DType::U64,
        Dtype::U32 => DType::U32,
        Dtype::U16 => DType::U16,
        Dtype::U8 => DType::U8,
        Dtype::Bool => DType::Bool(BoolStore::Native),
        other => return Err(format!("Burn has no element type {other:?}").into()),
    })
}

pub(crate) fn number(scalar: burn_pack::Scalar) -> Number {
    match scalar {
        burn_pack::Scalar::Int(value) => Number::Int(value),
        burn_pack::Scalar::UInt(value) => Number::UInt(value),
        burn_pack::Scalar::Float(value) => Number::Float(value),
        burn_pack::Scalar::Bool(value) => Number::Bool(value),
    }
}

pub(crate) fn scalar(number: Number) -> burn_pack::Scalar {
    match number {
        Number::Int(value) => burn_pack::Scalar::Int(value),
        Number::UInt(value) => burn_pack::Scalar::UInt(value),
        Number::Float(value) => burn_pack::Scalar::Float(value),
        Number::Bool(value) => burn_pack::Scalar::Bool(value),
    }
}
