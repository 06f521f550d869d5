//! What is written comes back the same, whatever it is.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{DTYPES, file_of, same, size_of};
use proptest::prelude::*;
use zae_checkpoint::{
    Bytes,
    torch::{self, Storage, Tensor, Value},
};

/// A view of part of a storage, in any order of its dimensions.
fn tensor() -> impl Strategy<Value = Tensor> {
    let shape = proptest::collection::vec(0..5_usize, 0..4);
    (0..DTYPES.len(), shape, 0..3_usize, 1..3_usize, any::<bool>(), any::<u8>()).prop_map(
        |(dtype, mut shape, offset, step, reversed, first)| {
            let dtype = DTYPES[dtype];
            let mut stride = vec![step; shape.len()];
            (1..shape.len()).rev().for_each(|i| stride[i - 1] = stride[i] * shape[i].max(1));
            let elements = offset + shape.iter().product::<usize>() * step;
            if reversed {
                shape.reverse();
                stride.reverse();
            }
            let len = elements * size_of(dtype);
            let bytes: Vec<u8> = (0..len).map(|i| first.wrapping_mul(31).wrapping_add(i as u8)).collect();
            Tensor::new(dtype, shape, stride, offset, Storage::new(Arc::new(bytes), len)).unwrap()
        },
    )
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
        any::<String>().prop_map(Value::from),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| Value::Bytes(bytes.into())),
        tensor().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::Tuple),
            proptest::collection::btree_map(any::<String>(), inner.clone(), 0..8).prop_map(Value::dict),
            proptest::collection::btree_map(any::<i64>(), inner, 0..8).prop_map(Value::dict),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_value_comes_back(value in value()) {
        let file = file_of(&value);
        prop_assert_eq!(torch::File::new(&value).unwrap().len(), file.len() as u64);
        prop_assert_eq!(&file, &file_of(&value));
        let file = Bytes::from(file);
        torch::verify(&file).unwrap();
        let back = torch::read(&file).unwrap();
        prop_assert!(same(&back, &value), "{:?} became {:?}", value, back);
        prop_assert!(same(&torch::read(&file_of(&back).into()).unwrap(), &value));
    }
}

#[test]
fn views_of_one_storage_share_it_after_any_number_of_rounds() {
    let storage = Storage::new(Arc::new(vec![3; 4096]), 4096);
    let view = |offset| Tensor::new(zae_core::learner::Dtype::F32, vec![8, 16], vec![1, 8], offset, storage.clone());
    let mut value = Value::List((0..9).map(|i| view(i * 64).unwrap().into()).collect());
    let sizes: Vec<usize> = (0..3)
        .map(|_| {
            let file = file_of(&value);
            let len = file.len();
            value = torch::read(&file.into()).unwrap();
            len
        })
        .collect();
    assert!(sizes[0] < 4096 + 3000 && sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
}
