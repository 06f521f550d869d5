//! [`Tensor`]: a view of a [`Storage`].

use std::{borrow::Cow, fmt, sync::Arc};

use zae_core::{
    error::Fallible,
    learner::{Dtype, SavedTensor, TensorBytes},
};

use super::error::{Error, Result, damaged};

/// Dimensions that a tensor may have, as in PyTorch.
pub(super) const MAX_DIMENSIONS: usize = 64;

/// How often a view may repeat the elements of its storage before making it contiguous is refused: a few bytes in a
/// file could otherwise ask for all memory there is.
const MAX_REPEATS: usize = 16;
/// As many elements may always be repeated.
const FREE_REPEATS: usize = 1 << 16;

/// Elements in memory or on their way to it, shared by the tensors that view them, and written once.
pub struct Storage {
    pub(super) data: Arc<dyn TensorBytes>,
    pub(super) len: usize,
}

impl Storage {
    /// `len` bytes that come from `data`. Writing fails if they turn out to be more or fewer.
    #[must_use]
    pub fn new(data: Arc<dyn TensorBytes>, len: usize) -> Arc<Self> {
        Arc::new(Self { data, len })
    }

    pub(super) fn bytes(&self) -> Result<Cow<'_, [u8]>> {
        let bytes = self.data.bytes().map_err(Error::Elements)?;
        if bytes.len() != self.len {
            let message = format!("{} bytes were announced and {} came", self.len, bytes.len());
            return Err(Error::Elements(message.into()));
        }
        Ok(bytes)
    }
}

/// A tensor: part of a storage, seen through a shape and strides.
#[derive(Clone)]
pub struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    stride: Vec<usize>,
    offset: usize,
    storage: Arc<Storage>,
}

impl Tensor {
    /// A view. Stride and offset count elements.
    ///
    /// # Errors
    /// When it does not lie within the storage.
    pub fn new(
        dtype: Dtype,
        shape: Vec<usize>,
        stride: Vec<usize>,
        offset: usize,
        storage: Arc<Storage>,
    ) -> Result<Self> {
        let size = dtype.size();
        if shape.len() != stride.len() || shape.len() > MAX_DIMENSIONS {
            return damaged(format!("a tensor has {} dimensions and {} strides", shape.len(), stride.len()));
        }
        if !fits(&shape, &stride, offset, size, storage.len) {
            let len = storage.len;
            return damaged(format!(
                "a tensor of shape {shape:?}, stride {stride:?} and offset {offset} does not lie within its {len} bytes"
            ));
        }
        Ok(Self { dtype, shape, stride, offset, storage })
    }

    /// A row-major tensor with a storage of its own.
    ///
    /// # Errors
    /// When the shape has more elements than memory could hold.
    pub fn contiguous(dtype: Dtype, shape: Vec<usize>, data: Arc<dyn TensorBytes>) -> Result<Self> {
        let size = dtype.size();
        let len = shape.iter().try_fold(size, |product, &n| product.checked_mul(n));
        let len = len.ok_or_else(|| Error::Value(format!("a tensor of shape {shape:?} fits no memory")))?;
        let stride = row_major(&shape);
        Self::new(dtype, shape, stride, 0, Storage::new(data, len))
    }

    /// The element type.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The shape.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many elements apart neighbours along each dimension are.
    #[must_use]
    pub fn stride(&self) -> &[usize] {
        &self.stride
    }

    /// Where in the storage its first element is, in elements.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The storage it views.
    #[must_use]
    pub fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    /// How many elements it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A matrix with its two dimensions exchanged, as a view; any other tensor as it is.
    #[must_use]
    pub fn transposed(mut self) -> Self {
        if self.shape.len() == 2 {
            self.shape.reverse();
            self.stride.reverse();
        }
        self
    }

    /// Whether its elements lie in row-major order without gaps.
    #[must_use]
    pub fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        let in_order = |(&n, &stride): (&usize, &usize)| {
            let right = n == 1 || stride == expected;
            expected *= n;
            right
        };
        self.is_empty() || self.shape.iter().zip(&self.stride).rev().all(in_order)
    }

    /// The same for a learner. Elements that are not contiguous are copied when they are asked for, not before.
    #[must_use]
    pub fn to_saved(&self) -> SavedTensor {
        SavedTensor { dtype: self.dtype, shape: self.shape.clone(), data: Arc::new(self.clone()) }
    }

    /// The elements, row by row, of a view that has gaps or another order.
    fn gather(&self, storage: &[u8], size: usize) -> Result<Vec<u8>> {
        let (len, there) = (self.len(), self.storage.len / size);
        if len > there.saturating_mul(MAX_REPEATS).max(FREE_REPEATS) {
            return damaged(format!("a tensor of shape {:?} repeats the {there} elements it has", self.shape));
        }
        let mut out = Vec::with_capacity(len * size);
        let mut index = vec![0; self.shape.len()];
        let mut at = self.offset;
        for _ in 0..len {
            out.extend_from_slice(&storage[at * size..(at + 1) * size]);
            for ((i, &n), &stride) in index.iter_mut().zip(&self.shape).zip(&self.stride).rev() {
                // Wrapping, for the stride of a dimension of one element may be any number; the sum never is.
                *i += 1;
                at = at.wrapping_add(stride);
                if *i < n {
                    break;
                }
                at = at.wrapping_sub(stride.wrapping_mul(*i));
                *i = 0;
            }
        }
        Ok(out)
    }
}

/// As a learner takes it: row-major, whatever the strides are.
impl TensorBytes for Tensor {
    fn bytes(&self) -> Fallible<Cow<'_, [u8]>> {
        let size = self.dtype.size();
        if self.is_empty() {
            return Ok(Cow::Borrowed(&[]));
        }
        let storage = self.storage.bytes()?;
        if !self.is_contiguous() {
            return Ok(Cow::Owned(self.gather(&storage, size)?));
        }
        let range = self.offset * size..(self.offset + self.len()) * size;
        Ok(match storage {
            Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[range]),
            Cow::Owned(bytes) => Cow::Owned(bytes[range].to_vec()),
        })
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{:?}", self.dtype, self.shape)
    }
}

pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut stride = vec![1_usize; shape.len()];
    for i in (1..shape.len()).rev() {
        stride[i - 1] = stride[i].saturating_mul(shape[i].max(1));
    }
    stride
}

/// Whether a view lies within `bytes`, and its sizes can be multiplied without a second look.
fn fits(shape: &[usize], stride: &[usize], offset: usize, size: usize, bytes: usize) -> bool {
    // Also of a tensor without elements, so that no product of sizes overflows later.
    let volume = shape.iter().try_fold(size, |product, &n| product.checked_mul(n.max(1)));
    if volume.is_none_or(|volume| isize::try_from(volume).is_err()) {
        return false;
    }
    if shape.contains(&0) {
        return true;
    }
    let last = shape.iter().zip(stride).try_fold(offset, |last, (n, stride)| {
        let span = (n - 1).checked_mul(*stride)?;
        last.checked_add(span)
    });
    last.and_then(|last| last.checked_add(1)?.checked_mul(size)).is_some_and(|end| end <= bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn view(shape: &[usize], stride: &[usize], offset: usize) -> Result<Tensor> {
        let storage = Storage::new(Arc::new((0..12u8).collect::<Vec<_>>()), 12);
        Tensor::new(Dtype::I8, shape.to_vec(), stride.to_vec(), offset, storage)
    }

    #[test]
    fn views_are_gathered_row_by_row() {
        let matrix = view(&[3, 4], &[4, 1], 0).unwrap();
        assert!(matrix.is_contiguous() && matches!(matrix.bytes().unwrap(), Cow::Borrowed(_)));
        let transposed = matrix.transposed();
        assert_eq!(*transposed.bytes().unwrap(), [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
        assert!(transposed.transposed().is_contiguous());
        assert_eq!(*view(&[2, 2], &[8, 2], 1).unwrap().bytes().unwrap(), [1, 3, 9, 11]);
        assert_eq!(*view(&[2, 3], &[0, 1], 4).unwrap().bytes().unwrap(), [4, 5, 6, 4, 5, 6]);
        assert_eq!(*view(&[], &[], 7).unwrap().bytes().unwrap(), [7]);
        assert!(view(&[0, 5], &[5, 1], 99).unwrap().bytes().unwrap().is_empty());
    }

    #[test]
    fn views_outside_the_storage_are_refused() {
        let huge = usize::MAX / 2;
        for (shape, stride, offset) in [
            (vec![12], vec![1], 1),
            (vec![13], vec![1], 0),
            (vec![2], vec![huge], 0),
            (vec![2, 2], vec![huge, huge], usize::MAX),
            (vec![huge, huge], vec![0, 0], 0),
            (vec![huge, huge, 0], vec![0, 0, 0], 0),
            (vec![2], vec![1, 1], 0),
        ] {
            assert!(view(&shape, &stride, offset).is_err(), "{shape:?} {stride:?} {offset}");
        }
        assert!(view(&[1 << 40], &[0], 0).unwrap().bytes().is_err(), "a tensor made of one element");
    }
}
