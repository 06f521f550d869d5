#![allow(clippy::unwrap_used, clippy::panic)]

use std::{borrow::Cow, sync::Arc};

use zae_core::{
    error::Fallible,
    learner::{Dtype, TensorBytes},
};

use super::*;
use crate::{
    Bytes,
    torch::{Error, Tensor, read, verify},
};

fn bytes_of(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out).unwrap();
    out
}

fn tensor(dtype: Dtype, shape: &[usize], bytes: Vec<u8>) -> Tensor {
    Tensor::contiguous(dtype, shape.to_vec(), Arc::new(bytes)).unwrap()
}

#[test]
fn the_length_is_known_before_and_the_bytes_are_the_same_each_time() {
    let value = Value::dict([
        ("weight", tensor(Dtype::F32, &[2, 3], (0..24).collect()).into()),
        ("empty", tensor(Dtype::F64, &[0, 3], Vec::new()).into()),
        ("number", tensor(Dtype::U16, &[], vec![1, 2]).into()),
    ]);
    let bytes = bytes_of(&value);
    assert_eq!(File::new(&value).unwrap().len(), bytes.len() as u64);
    assert_eq!(bytes, bytes_of(&value.clone()));
    verify(&Bytes::from(bytes)).unwrap();
}

#[test]
fn views_of_one_storage_are_written_once_and_come_back_sharing_it() {
    let whole = tensor(Dtype::I64, &[64, 64], vec![7; 64 * 64 * 8]);
    let row = Tensor::new(Dtype::I64, vec![64], vec![1], 64, whole.storage().clone()).unwrap();
    let value = Value::List(vec![whole.clone().transposed().into(), row.into(), whole.into()]);
    let bytes = bytes_of(&value);
    assert!(bytes.len() < 64 * 64 * 8 + 4096, "{}", bytes.len());
    let back = read(&bytes.into()).unwrap();
    let tensors: Vec<_> = back.as_list().unwrap().iter().map(|item| item.as_tensor().unwrap()).collect();
    assert!(tensors.iter().all(|tensor| Arc::ptr_eq(tensor.storage(), tensors[0].storage())));
    assert_eq!((tensors[0].stride(), tensors[1].offset()), ([1, 64].as_slice(), 64));
}

#[test]
fn data_are_aligned() {
    let value = Value::List((0..40).map(|i| tensor(Dtype::U8, &[i], vec![0xab; i]).into()).collect());
    let bytes = bytes_of(&value);
    let (start, size) = (bytes.as_ptr() as usize, bytes.len());
    let back = read(&Bytes::from(bytes)).unwrap();
    for item in &back.as_list().unwrap()[1..] {
        let at = item.as_tensor().unwrap().bytes().unwrap().as_ptr() as usize;
        assert!((start..start + size).contains(&at), "a slice of the file, not a copy");
        assert_eq!((at - start) % 64, 0);
    }
}

/// Announces more than it has.
struct Lies(Vec<u8>);

impl TensorBytes for Lies {
    fn bytes(&self) -> Fallible<Cow<'_, [u8]>> {
        Ok(Cow::Borrowed(&self.0))
    }
}

#[test]
fn what_cannot_be_written_is_said() {
    let lie = Tensor::new(Dtype::U8, vec![3], vec![1], 0, Storage::new(Arc::new(Lies(vec![0; 2])), 3)).unwrap();
    assert!(matches!(write(&lie.into(), &mut Vec::new()), Err(Error::Elements(_))));
    assert!(matches!(write(&Value::Opaque("a.B".into()), &mut Vec::new()), Err(Error::Value(_))));
    let deep = (0..200).fold(Value::None, |inner, _| Value::List(vec![inner]));
    assert!(matches!(write(&deep, &mut Vec::new()), Err(Error::Value(_))));
    let storage = Storage::new(Arc::new(vec![0u8; 8]), 8);
    let of = |dtype, len| Tensor::new(dtype, vec![len], vec![1], 0, storage.clone()).unwrap().into();
    let mixed = Value::List(vec![of(Dtype::F32, 2), of(Dtype::F64, 1)]);
    assert!(matches!(write(&mixed, &mut Vec::new()), Err(Error::Value(_))));
}

#[test]
fn long_integers_take_the_fewest_bytes_and_come_back() {
    for number in [0, -1, 255, 256, -129, i64::from(i32::MAX) + 1, i64::from(i32::MIN) - 1, i64::MAX, i64::MIN, 1 << 39]
    {
        let back = read(&bytes_of(&Value::Int(number)).into()).unwrap();
        assert_eq!(back.as_i64(), Some(number));
    }
    let Value::UInt(back) = read(&bytes_of(&u64::MAX.into()).into()).unwrap() else { panic!("not a UInt") };
    assert_eq!(back, u64::MAX);
}
