//! [`Dataset`]: samples, one at a time.

use std::{fmt, sync::Arc};

use super::{Collate, Map, Sample, Share, Subset, Transform};
use crate::{
    error::{AtSample, Fallible},
    rng::StepRng,
};

/// Samples by index, one at a time: PyTorch's `__getitem__`.
///
/// A `Vec` is a data set. [`Dataset::collate`] makes batches of the samples, for a [`DataLoader`](super::DataLoader).
/// What is random in a sample (augmentation) comes from [`Sample::rng`]. A data set does not know whether it is trained on:
/// augment in a data set around the training part, after the split, or with [`Dataset::transform`].
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

    /// Turns every sample into another one, on the thread that asks for it.
    fn map<T, F>(self, change: F) -> Map<Self, F>
    where
        Self: Sized,
        F: Fn(Self::Item) -> Fallible<T> + Send + Sync,
    {
        Map::new(self, change)
    }

    /// Changes every sample at random: augmentation. The generator is that of the sample's place in the epoch, so each epoch
    /// has other numbers, and the number of workers, that of processes and a resume change nothing. What is random in the
    /// data set itself, or in transforms before, is independent of it. Only for the part that is trained on.
    ///
    /// ```
    /// use zae_core::{data::Dataset, rng::Rng};
    ///
    /// let rows: Vec<Vec<u8>> = vec![vec![1, 2, 3]; 10];
    /// let [train, valid] = rows.random_split([0.8, 0.2], 42)?;
    /// let train = train.transform(|mut row, rng| {
    ///     if rng.next_u32() % 2 == 0 {
    ///         row.reverse();
    ///     }
    ///     Ok(row)
    /// });
    /// # Ok::<(), zae_core::error::BoxError>(())
    /// ```
    fn transform<T, F>(self, change: F) -> Transform<Self, F>
    where
        Self: Sized,
        F: Fn(Self::Item, &mut StepRng) -> Fallible<T> + Send + Sync,
    {
        Transform::new(self, change)
    }

    /// Reads all samples once, and keeps what `of` says of each: its class or its length, for samplers and splits.
    ///
    /// ```
    /// use zae_core::data::Dataset;
    /// let texts: Vec<(Vec<u32>, &str)> = vec![(vec![1, 2, 3], "a"), (vec![4], "b")];
    /// assert_eq!(texts.per_sample(|(text, _)| text.len())?, [3, 1]);
    /// # Ok::<(), zae_core::error::BoxError>(())
    /// ```
    ///
    /// # Errors
    /// When a sample cannot be read.
    fn per_sample<T>(&self, of: impl Fn(&Self::Item) -> T) -> Fallible<Vec<T>>
    where
        Self: Sized,
    {
        let read = |index| self.item(&Sample::new(index)).map_err(|source| AtSample { index, source });
        Ok((0..self.len()).map(|index| Ok(of(&read(index)?))).collect::<Result<_, AtSample>>()?)
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

    /// The same for samples in random order such that each part has each class as often as the whole has it: the exact
    /// share, rounded down or up. `labels` are the classes of the samples: see [`Dataset::per_sample`]. scikit-learn's
    /// `train_test_split(.., stratify=labels)`.
    ///
    /// ```
    /// use zae_core::data::Dataset;
    ///
    /// let labels = [["cat"; 90], ["dog"; 90]].concat();
    /// let data: Vec<usize> = (0..180).collect();
    /// let [train, valid] = data.stratified_split([0.8, 0.2], &labels, 42)?;
    /// assert_eq!(valid.indices().filter(|&i| labels[i] == "dog").count(), 18);
    /// # Ok::<(), zae_core::error::BoxError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Dataset::ordered_split`], and when there is not one label for each sample, or a class has fewer samples than
    /// there are parts.
    fn stratified_split<S: Share, C: Ord + fmt::Debug, const N: usize>(
        self,
        shares: [S; N],
        labels: &[C],
        seed: u64,
    ) -> Fallible<[Subset<Self>; N]>
    where
        Self: Sized,
    {
        let len = self.len();
        Subset::stratified(self, len, shares, labels, seed)
    }

    /// Cuts the data into `k` folds in random order, and gives for each of them the data to train on, which is all the
    /// others, and the fold itself to validate with. The seed alone decides which sample is where. scikit-learn's `KFold`,
    /// shuffled.
    ///
    /// ```
    /// use zae_core::data::Dataset;
    ///
    /// let data: Vec<u32> = (0..10).collect();
    /// for (fold, (train, valid)) in data.k_folds(3, 42)?.into_iter().enumerate() {
    ///     assert_eq!((train.len(), valid.len()), [(6, 4), (7, 3), (7, 3)][fold]);
    /// }
    /// # Ok::<(), zae_core::error::BoxError>(())
    /// ```
    ///
    /// # Errors
    /// When there are fewer than 2 folds, or fewer samples than folds.
    fn k_folds(self, k: usize, seed: u64) -> Fallible<Vec<(Subset<Self>, Subset<Self>)>>
    where
        Self: Sized,
    {
        let len = self.len();
        Subset::folds(self, len, k, seed)
    }

    /// The same with folds that have each class as often as the whole has it, as in [`Dataset::stratified_split`].
    /// scikit-learn's `StratifiedKFold`.
    ///
    /// # Errors
    /// As [`Dataset::k_folds`], and when there is not one label for each sample, or a class has fewer samples than there are
    /// folds.
    fn stratified_k_folds<C: Ord + fmt::Debug>(
        self,
        k: usize,
        labels: &[C],
        seed: u64,
    ) -> Fallible<Vec<(Subset<Self>, Subset<Self>)>>
    where
        Self: Sized,
    {
        let len = self.len();
        Subset::stratified_folds(self, len, k, labels, seed)
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
