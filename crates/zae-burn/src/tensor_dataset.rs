//! [`TensorDataset`]: tensors as a data set.

use burn::{
    prelude::*,
    tensor::{Bool, kind::Basic},
};
use zae_core::{
    data::{Sample, Source, check_indices, samples_of},
    error::Fallible,
};

/// What has rows to choose from: a tensor, whose first dimension counts them, or a tuple of such.
pub trait Rows: Clone + Send + Sync {
    /// Appends the number of rows of each tensor.
    fn count(&self, rows: &mut Vec<usize>);

    /// The rows at these indices, in this order.
    #[must_use]
    fn take(&self, indices: &[usize]) -> Self;
}

fn take<const D: usize, K: Basic>(tensor: &Tensor<D, K>, indices: &[usize]) -> Tensor<D, K> {
    let device = tensor.device().without_autodiff();
    let indices: Vec<i64> = indices.iter().map(|&i| i as i64).collect();
    let shape = [indices.len()];
    tensor.clone().select(0, Tensor::from_data(TensorData::new(indices, shape), &device))
}

macro_rules! tensors {
    ($($kind:ty)*) => { $(
        impl<const D: usize> Rows for Tensor<D, $kind> {
            fn count(&self, rows: &mut Vec<usize>) {
                rows.push(self.dims().first().copied().unwrap_or(0));
            }

            fn take(&self, indices: &[usize]) -> Self {
                take(self, indices)
            }
        }
    )* };
}
tensors! { Float Int Bool }

macro_rules! tuples {
    ($(($($name:ident $index:tt),+))*) => { $(
        impl<$($name: Rows),+> Rows for ($($name,)+) {
            fn count(&self, rows: &mut Vec<usize>) {
                $(self.$index.count(rows);)+
            }

            fn take(&self, indices: &[usize]) -> Self {
                ($(self.$index.take(indices),)+)
            }
        }
    )* };
}
tuples! { (A 0) (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) }

/// A data set that is one or several tensors with one row per sample, such as images and labels; PyTorch's
/// `TensorDataset`. The tensors stay on the device they are on, and so do the batches.
#[derive(Clone, Debug)]
pub struct TensorDataset<T> {
    tensors: T,
    rows: usize,
}

impl<T: Rows> TensorDataset<T> {
    /// A data set of a tensor, or of a tuple of tensors of any rank and kind with the same number of rows.
    ///
    /// # Errors
    /// When the numbers of rows differ.
    pub fn new(tensors: T) -> Fallible<Self> {
        let mut counts = Vec::new();
        tensors.count(&mut counts);
        let rows = samples_of(&counts)?;
        Ok(Self { tensors, rows })
    }

    /// How many samples there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The samples at these indices, in this order.
    ///
    /// # Errors
    /// When there is no such sample.
    pub fn gather(&self, indices: &[usize]) -> Fallible<T> {
        check_indices(indices, self.rows)?;
        Ok(self.tensors.take(indices))
    }

    /// The tensors.
    #[must_use]
    pub fn tensors(&self) -> &T {
        &self.tensors
    }
}

impl<T: Rows> Source for TensorDataset<T> {
    type Batch = T;

    fn len(&self) -> usize {
        self.rows
    }

    fn batch(&self, samples: &[Sample]) -> Fallible<T> {
        self.gather(&samples.iter().map(|sample| sample.index).collect::<Vec<_>>())
    }
}
