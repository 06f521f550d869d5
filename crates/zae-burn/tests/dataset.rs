//! Tensors as a data set.
#![allow(clippy::unwrap_used)]

use burn::{prelude::*, tensor::Bool};
use zae_burn::TensorDataset;

fn tensors(rows: i64) -> (Tensor<2>, Tensor<1, Int>, Tensor<1, Bool>) {
    let numbers = Tensor::<1, Int>::arange(0..rows, &Device::flex());
    let x = numbers.clone().float().reshape([rows as usize, 1]).repeat_dim(1, 3);
    (x, numbers.clone(), numbers.greater_elem(1))
}

#[test]
fn rows_come_in_the_order_asked_for() {
    let data = TensorDataset::new(tensors(4)).unwrap();
    assert_eq!(data.rows(), 4);
    let (x, y, z) = data.gather(&[3, 0, 3]).unwrap();
    assert_eq!(x.into_data().iter::<f32>().collect::<Vec<_>>(), [3., 3., 3., 0., 0., 0., 3., 3., 3.]);
    assert_eq!(y.into_data().iter::<i64>().collect::<Vec<_>>(), [3, 0, 3]);
    assert_eq!(z.into_data().iter::<bool>().collect::<Vec<_>>(), [true, false, true]);
    let single = TensorDataset::new(tensors(2).0).unwrap();
    assert_eq!(single.gather(&[1]).unwrap().dims(), [1, 3]);
}

#[test]
fn what_cannot_work_is_named() {
    let (x, ..) = tensors(4);
    let (_, y, _) = tensors(3);
    let error = TensorDataset::new((x, y)).unwrap_err().to_string();
    assert_eq!(error, "the tensors of a data set have [4, 3] rows: each needs one per sample");
    let error = TensorDataset::new(tensors(4)).unwrap().gather(&[1, 4]).unwrap_err().to_string();
    assert_eq!(error, "there is no sample 4: the data set has 4");
}
