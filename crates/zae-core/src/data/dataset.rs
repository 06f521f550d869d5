//! [`Dataset`]: samples, one at a time.

use std::sync::Arc;

use super::{Collate, Sample, Share, Subset};
use crate::error::Fallible;

/// Samples by index, one at a time: PyTorch's `__getitem__`.
///
/// A `Vec` is a data set. [`Dataset::collate`] makes batches of the samples, for a [`DataLoader`](super::DataLoader).
/// What is random in a sample (augmentation) comes from [`Sample::rng`]. A data set does not know whether it is trained on:
/// augment in a data set around the training part, after the split.
///
/// Data that lie in memory as one array are read faster as a [`Source`](super::Source).
///
/// ```
/// use rand_core::Rng;
/// use zae_core::{data::{Dataset, Sample}, error::Fallible};
///
/// /// Rows of pixels, half of them mirrored.
/// struct Images { rows: Vec<Vec<u8>>, labels: Vec<u8> }
///
/// impl Dataset for Images {
///     type Item = (Vec<u8>, u8);
///
///     fn len(&self) -> usize {
///         self.rows.len()
///     }
///     fn item(&self, at: &Sample) -> Fallible<Self::Item> {
///         let mut row = self.rows[at.index].clone();
///         if at.rng().next_u32() % 2 == 0 {
///             row.reverse();
///         }
///         Ok((row, self.labels[at.index]))
///     }
/// }
///
/// let images = Images { rows: vec![vec![1, 2, 3]; 10], labels: (0..10).collect() };
/// assert_eq!(images.item(&Sample::new(7))?.1, 7);
/// let [train, valid] = images.random_split([0.8, 0.2], 42)?;
/// assert_eq!((train.len(), valid.len()), (8, 2));
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
#[diagnostic::on_unimplemented(note = "a `Vec` is a data set, if its items can be cloned and sent to other threads")]
pub trait Dataset: Send + Sync {
    /// One sample.
    type Item: Send;

    /// How many samples there are.
    fn len(&self) -> usize;

    /// Reads or computes one sample. What is random in it must come from [`Sample::rng`].
    ///
    /// # Errors
    /// When it cannot be read.
    fn item(&self, at: &Sample) -> Fallible<Self::Item>;

    /// Whether there is no sample.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A [`Source`](super::Source) that gets samples one by one and makes a batch of them with `batch`.
    /// `collate(Ok)` leaves them a `Vec`.
    fn collate<B, F>(self, batch: F) -> Collate<Self, F>
    where
        Self: Sized,
        F: Fn(Vec<Self::Item>) -> Fallible<B> + Send + Sync,
    {
        Collate::new(self, batch)
    }

    /// The samples of these indices, in this order. An index may come more than once.
    ///
    /// # Errors
    /// When an index is not below [`Dataset::len`].
    fn subset(self, indices: Vec<usize>) -> Fallible<Subset<Self>>
    where
        Self: Sized,
    {
        let len = self.len();
        Subset::chosen(self, len, indices)
    }

    /// Cuts the data into parts that follow each other: `[0.8, 0.2]` are fractions, `[55_000, 5_000]` numbers of
    /// samples. What the shares leave over at the end is in no part.
    ///
    /// # Errors
    /// When the shares are more than there is, or a part would be empty.
    fn ordered_split<S: Share, const N: usize>(self, shares: [S; N]) -> Fallible<[Subset<Self>; N]>
    where
        Self: Sized,
    {
        let len = self.len();
        Subset::parts(self, len, shares, None)
    }

    /// The same for samples in random order: PyTorch's `random_split`. The seed alone decides which sample goes where.
    ///
    /// # Errors
    /// As [`Dataset::ordered_split`].
    fn random_split<S: Share, const N: usize>(self, shares: [S; N], seed: u64) -> Fallible<[Subset<Self>; N]>
    where
        Self: Sized,
    {
        let len = self.len();
        Subset::parts(self, len, shares, Some(seed))
    }
}

impl<T: Clone + Send + Sync> Dataset for Vec<T> {
    type Item = T;

    fn len(&self) -> usize {
        self.len()
    }
    fn item(&self, at: &Sample) -> Fallible<T> {
        let missing = || format!("there is no sample {}, only {}", at.index, self.len());
        Ok(self.get(at.index).ok_or_else(missing)?.clone())
    }
}

impl<D: Dataset + ?Sized> Dataset for Arc<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        (**self).len()
    }
    fn item(&self, at: &Sample) -> Fallible<D::Item> {
        (**self).item(at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_vec_is_a_data_set_and_so_is_a_shared_one() {
        let data: Arc<dyn Dataset<Item = char>> = Arc::new(vec!['a', 'b']);
        assert_eq!((data.len(), data.is_empty()), (2, false));
        assert_eq!(data.item(&Sample::new(1)).unwrap(), 'b');
        assert_eq!(data.item(&Sample::new(2)).unwrap_err().to_string(), "there is no sample 2, only 2");
    }
}
