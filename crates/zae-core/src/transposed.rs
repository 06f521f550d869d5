//! Saved matrices the other way round: where two engines differ in how they lay out the weight of a linear layer.

use std::sync::Arc;

use crate::{error::Fallible, learner::SavedTensor};

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
