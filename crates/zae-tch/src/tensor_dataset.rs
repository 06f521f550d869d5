//! [`TensorDataset`]: tensors as a data set.

use std::sync::{Mutex, PoisonError};

use tch::Tensor;
use zae_core::{
    data::{Sample, Source, check_indices, samples_of},
    error::Fallible,
};

use crate::saved::short;

/// What has rows to choose from: a tensor, whose first dimension counts them, or a tuple of such.
pub trait Rows: Send + Sized {
    /// Appends the number of rows of each tensor.
    fn count(&self, rows: &mut Vec<usize>);

    /// The rows that `indices` (of type `Int64`) names, in this order.
    ///
    /// # Errors
    /// When LibTorch fails.
    fn take(&self, indices: &Tensor) -> Result<Self, tch::TchError>;
}

impl Rows for Tensor {
    fn count(&self, rows: &mut Vec<usize>) {
        rows.push(self.size().first().and_then(|&rows| usize::try_from(rows).ok()).unwrap_or(0));
    }

    fn take(&self, indices: &Tensor) -> Result<Self, tch::TchError> {
        self.f_index_select(0, &indices.f_to_device(self.device())?)
    }
}

macro_rules! tuples {
    ($(($($name:ident $index:tt),+))*) => { $(
        impl<$($name: Rows),+> Rows for ($($name,)+) {
            fn count(&self, rows: &mut Vec<usize>) {
                $(self.$index.count(rows);)+
            }

            fn take(&self, indices: &Tensor) -> Result<Self, tch::TchError> {
                Ok(($(self.$index.take(indices)?,)+))
            }
        }
    )* };
}
tuples! { (A 0) (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) }

/// A data set that is one or several tensors with one row per sample, such as images and labels; PyTorch's
/// `TensorDataset`. The tensors stay on the device they are on, and so do the batches.
#[derive(Debug)]
pub struct TensorDataset<T> {
    /// `tch` lets no two threads look at a tensor at once.
    tensors: Mutex<T>,
    rows: usize,
}

impl<T: Rows> TensorDataset<T> {
    /// A data set of a tensor, or of a tuple of up to four tensors with the same number of rows.
    ///
    /// # Errors
    /// When the numbers of rows differ.
    pub fn new(tensors: T) -> Fallible<Self> {
        let mut counts = Vec::new();
        tensors.count(&mut counts);
        let rows = samples_of(&counts)?;
        Ok(Self { tensors: Mutex::new(tensors), rows })
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
        let indices: Vec<i64> = indices.iter().map(|&index| index as i64).collect();
        let indices = Tensor::f_from_slice(&indices).map_err(short)?;
        let _no_grad = tch::no_grad_guard();
        self.tensors.lock().unwrap_or_else(PoisonError::into_inner).take(&indices).map_err(short)
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
