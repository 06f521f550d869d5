//! What several tests need.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    path::Path,
    sync::Arc,
};

use zae_checkpoint::{
    Bytes,
    torch::{self, Tensor, Value},
};
use zae_core::learner::{Dtype, TensorBytes};

pub const DTYPES: [Dtype; 13] = [
    Dtype::F64,
    Dtype::F32,
    Dtype::F16,
    Dtype::BF16,
    Dtype::I64,
    Dtype::I32,
    Dtype::I16,
    Dtype::I8,
    Dtype::U64,
    Dtype::U32,
    Dtype::U16,
    Dtype::U8,
    Dtype::Bool,
];

pub fn size_of(dtype: Dtype) -> usize {
    match dtype {
        Dtype::F64 | Dtype::I64 | Dtype::U64 => 8,
        Dtype::F32 | Dtype::I32 | Dtype::U32 => 4,
        Dtype::F16 | Dtype::BF16 | Dtype::I16 | Dtype::U16 => 2,
        _ => 1,
    }
}

pub fn torch_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F64 => "torch.float64",
        Dtype::F32 => "torch.float32",
        Dtype::F16 => "torch.float16",
        Dtype::BF16 => "torch.bfloat16",
        Dtype::I64 => "torch.int64",
        Dtype::I32 => "torch.int32",
        Dtype::I16 => "torch.int16",
        Dtype::I8 => "torch.int8",
        Dtype::U64 => "torch.uint64",
        Dtype::U32 => "torch.uint32",
        Dtype::U16 => "torch.uint16",
        Dtype::U8 => "torch.uint8",
        _ => "torch.bool",
    }
}

pub fn contiguous(dtype: Dtype, shape: &[usize], bytes: Vec<u8>) -> Tensor {
    Tensor::contiguous(dtype, shape.to_vec(), Arc::new(bytes)).unwrap()
}

pub fn file_of(value: &Value) -> Vec<u8> {
    let mut file = Vec::new();
    torch::write(value, &mut file).unwrap();
    file
}

/// Bytes of the tensor in [`large`], just beyond what 32 bits can count.
pub const LARGE: usize = (1 << 32) + 100;

/// A file beyond 4 GiB: a large tensor of zeros, and a small one behind it whose place needs 64 bits.
pub fn large() -> Value {
    Value::dict([
        ("large", contiguous(Dtype::U8, &[LARGE], vec![0; LARGE]).into()),
        ("after", contiguous(Dtype::U8, &[4], vec![1, 2, 3, 4]).into()),
        ("len", Value::Int(LARGE as i64)),
    ])
}

/// Writes a file with holes where there are zeros, which takes no disk.
pub struct Sparse(File);

impl Sparse {
    pub fn create(path: &Path) -> Self {
        Self(File::create(path).unwrap())
    }
}

impl Write for Sparse {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        static ZEROS: [u8; 1 << 18] = [0; 1 << 18];
        if bytes.len() <= ZEROS.len() && bytes == &ZEROS[..bytes.len()] {
            self.0.seek(SeekFrom::Current(bytes.len() as i64))?;
            return Ok(bytes.len());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Whether two values are the same, tensors element by element and numbers bit by bit.
pub fn same(a: &Value, b: &Value) -> bool {
    let all = |a: &[Value], b: &[Value]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b));
    match (a, b) {
        (Value::None, Value::None) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::UInt(a), Value::UInt(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::Str(a), Value::Str(b)) | (Value::Opaque(a), Value::Opaque(b)) => a == b,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => all(a, b),
        (Value::Dict(a), Value::Dict(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(&a.0, &b.0) && same(&a.1, &b.1))
        }
        (Value::Tensor(a), Value::Tensor(b)) => {
            let view = |t: &Tensor| (t.dtype(), t.shape().to_vec(), t.stride().to_vec(), t.offset());
            view(a) == view(b) && a.bytes().unwrap() == b.bytes().unwrap()
        }
        _ => false,
    }
}

/// An archive with this pickle and one storage of 64 bytes.
pub fn with_pickle(pickle: &[u8]) -> Bytes {
    let mut out: Vec<u8> = Vec::new();
    let mut directory: Vec<u8> = Vec::new();
    for (name, data) in [("a/data.pkl", pickle), ("a/data/0", &[7; 64])] {
        let sizes = [crc32fast::hash(data), data.len() as u32, data.len() as u32].map(u32::to_le_bytes).concat();
        let at = (out.len() as u32).to_le_bytes();
        let name_len = (name.len() as u16).to_le_bytes();
        out.extend(b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0".iter().chain(&sizes).chain(&name_len).chain(&[0, 0]));
        out.extend(name.as_bytes().iter().chain(data));
        directory.extend(b"PK\x01\x02\x14\0\x14\0\0\0\0\0\0\0\0\0".iter().chain(&sizes).chain(&name_len));
        directory.extend([0; 12].iter().chain(&at).chain(name.as_bytes()));
    }
    let at = (out.len() as u32).to_le_bytes();
    let len = (directory.len() as u32).to_le_bytes();
    out.extend(directory);
    out.extend(b"PK\x05\x06\0\0\0\0\x02\0\x02\0".iter().chain(&len).chain(&at).chain(&[0, 0]));
    Bytes::from(out)
}
