//! Python, and files that it and we read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, unreachable_pub)]

use std::{path::Path, process::Command, sync::Arc};

use burn::{prelude::*, tensor::DType};
use zae_engine::{
    checkpoint::torch::{self, Value},
    learner::{Dtype, TensorBytes},
};

pub fn python(script: &str, arguments: &[&Path]) {
    let python = std::env::var_os("ZAE_PYTHON");
    let python = python.expect("ZAE_PYTHON is not set: `cargo xtask test` sets it to a Python that has torch");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    // Cargo points it at our LibTorch, which is not all that Python's has.
    let output = Command::new(&python).env_remove("LD_LIBRARY_PATH").arg(&script).args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("cannot start {}: {e}", python.display()));
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{} failed ({}):\n{said}", script.display(), output.status);
}

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
