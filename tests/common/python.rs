//! Files that Python and we read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, unreachable_pub)]

use std::sync::Arc;

use burn::{prelude::*, tensor::DType};
use zae_engine::{
    checkpoint::torch::{self, Value},
    learner::{Dtype, TensorBytes},
};

/// A tensor as PyTorch gets it.
pub fn to_torch(data: TensorData) -> Value {
    let shape = data.shape().to_vec();
    let (dtype, data) = match data.dtype() {
        DType::F32 => (Dtype::F32, data),
        _ => (Dtype::I64, data.convert_dtype(DType::I64)),
    };
    torch::Tensor::contiguous(dtype, shape, Arc::new(data.as_bytes().to_vec())).unwrap().into()
}

pub fn from_torch(file: &Value, key: &str) -> TensorData {
    let tensor = file.get(key).unwrap().as_tensor().unwrap();
    let dtype = if tensor.dtype() == Dtype::F32 { DType::F32 } else { DType::I64 };
    TensorData::try_from_bytes_vec(tensor.bytes().unwrap().into_owned(), tensor.shape().to_vec(), dtype).unwrap()
}
