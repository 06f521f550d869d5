//! A model's tensors in PyTorch's words: what an engine calls otherwise, and has the other way round.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    error::Fallible,
    learner::{Layout, SavedTensor, TensorLayout},
};

impl Layout {
    /// What it says of each tensor of the model, by the engine's names.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<&str, &TensorLayout> {
        self.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect()
    }

    /// Tensors of the model (without `model/`) by PyTorch's names and laid out as PyTorch's are. What it says nothing of
    /// stays as it is.
    ///
    /// # Errors
    /// When the bytes of one cannot be had, or are not as many as its shape says.
    pub fn to_torch(
        &self,
        tensors: impl IntoIterator<Item = (String, SavedTensor)>,
    ) -> Fallible<BTreeMap<String, SavedTensor>> {
        let layouts = self.by_name();
        let translated = |(name, tensor): (String, SavedTensor)| match layouts.get(name.as_str()) {
            Some(layout) => Ok((layout.torch.clone(), layout.turned(&tensor)?)),
            None => Ok((name, tensor)),
        };
        tensors.into_iter().map(translated).collect()
    }
}

impl TensorLayout {
    /// This tensor from the engine's layout into PyTorch's, or back.
    ///
    /// # Errors
    /// As [`SavedTensor::transposed`]; the message names it.
    pub fn turned(&self, tensor: &SavedTensor) -> Fallible<SavedTensor> {
        if !self.transposed {
            return Ok(tensor.clone());
        }
        tensor.transposed().map_err(|e| format!("`{}`: {e}", self.name).into())
    }
}

impl SavedTensor {
    /// A matrix with its two dimensions exchanged, in memory of its own. Anything else is as it was.
    ///
    /// # Errors
    /// When the bytes cannot be had, or are not as many as the shape says.
    pub fn transposed(&self) -> Fallible<Self> {
        let &[rows, columns] = self.shape.as_slice() else { return Ok(self.clone()) };
        let bytes = self.data.bytes()?;
        let size = self.dtype.size();
        if rows.checked_mul(columns).and_then(|n| n.checked_mul(size)) != Some(bytes.len()) {
            return Err(format!("it has {} bytes, and its shape is [{rows}, {columns}]", bytes.len()).into());
        }
        let mut out = Vec::with_capacity(bytes.len());
        // Without rows there may be any number of columns.
        for column in 0..if rows == 0 { 0 } else { columns } {
            for row in 0..rows {
                let at = (row * columns + column) * size;
                out.extend_from_slice(&bytes[at..at + size]);
            }
        }
        Ok(Self { dtype: self.dtype, shape: vec![columns, rows], data: Arc::new(out) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::learner::Dtype;

    #[test]
    fn a_matrix_is_turned() {
        let matrix = SavedTensor { dtype: Dtype::U8, shape: vec![2, 3], data: Arc::new(vec![1, 2, 3, 4, 5, 6]) };
        let turned = matrix.transposed().unwrap();
        assert_eq!((turned.shape.as_slice(), &*turned.data.bytes().unwrap()), (&[3, 2][..], &[1, 4, 2, 5, 3, 6][..]));
    }

    #[test]
    fn a_matrix_without_elements_takes_no_time() {
        for shape in [vec![0, usize::MAX], vec![usize::MAX, 0]] {
            let empty = SavedTensor { dtype: Dtype::F32, shape: shape.clone(), data: Arc::new(Vec::new()) };
            let transposed = empty.transposed().unwrap();
            assert!(transposed.shape.iter().eq(shape.iter().rev()) && transposed.data.bytes().unwrap().is_empty());
        }
        let huge = SavedTensor { dtype: Dtype::F32, shape: vec![1 << 40, 1 << 40], data: Arc::new(vec![0; 4]) };
        assert!(huge.transposed().is_err());
    }
}
