//! [`Source`]: samples, a whole batch at a time.

use std::{fmt, sync::Arc};

use super::{Map, Sample, Share, Subset, Transform};
use crate::{error::Fallible, rng::StepRng};

/// Samples by index, a whole batch at a time: PyTorch's `__getitems__`. This is what a
/// [`DataLoader`](super::DataLoader) draws from.
///
/// Made of a [`Dataset`](super::Dataset) by [`collate`](super::Dataset::collate), or written by hand for data that lie
/// in memory as one array: copying rows into one buffer is faster than making a value of each.
///
/// ```
/// use zae_core::{data::{Sample, Source}, error::Fallible};
///
/// struct Rows { pixels: Vec<u8>, width: usize }
///
/// impl Source for Rows {
///     type Batch = Vec<u8>;
///
///     fn len(&self) -> usize {
///         self.pixels.len() / self.width
///     }
///     fn batch(&self, samples: &[Sample]) -> Fallible<Vec<u8>> {
///         let mut batch = Vec::with_capacity(samples.len() * self.width);
///         for at in samples {
///             batch.extend_from_slice(&self.pixels[at.index * self.width..][..self.width]);
///         }
///         Ok(batch)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    note = "a `Dataset` becomes a `Source` with `.collate(|items| ..)`, which makes one batch of several samples"
)]
pub trait Source: Send + Sync {
    /// One batch.
    type Batch: Send;

    /// How many samples there are.
    fn len(&self) -> usize;

    /// Makes the batch of these samples. What is random in it must come from [`Sample::rng`].
    ///
    /// # Errors
    /// When a sample cannot be read.
    fn batch(&self, samples: &[Sample]) -> Fallible<Self::Batch>;

    /// Whether there is no sample.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Turns every batch into another one, on the thread that made it.
    fn map<B, F>(self, change: F) -> Map<Self, F>
    where
        Self: Sized,
        F: Fn(Self::Batch) -> Fallible<B> + Send + Sync,
    {
        Map::new(self, change)
    }

    /// Changes every batch at random: [`Dataset::transform`](super::Dataset::transform) of whole batches, for augmentation
    /// that mixes samples, or is faster so. The generator is that of the batch's first sample.
    fn transform<B, F>(self, change: F) -> Transform<Self, F>
    where
        Self: Sized,
        F: Fn(Self::Batch, &mut StepRng) -> Fallible<B> + Send + Sync,
    {
        Transform::new(self, change)
    }

    /// The samples of these indices: see [`Dataset::subset`](super::Dataset::subset).
    ///
    /// # Errors
    /// When an index is not below [`Source::len`].
    fn subset(self, indices: Vec<usize>) -> Fallible<Subset<Self>>
    where
        Self: Sized,
    {
        let len = self.len();
        Subset::chosen(self, len, indices)
    }

    /// Parts that follow each other: see [`Dataset::ordered_split`](super::Dataset::ordered_split).
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

    /// Parts in random order: see [`Dataset::random_split`](super::Dataset::random_split).
    ///
    /// # Errors
    /// As [`Source::ordered_split`].
    fn random_split<S: Share, const N: usize>(self, shares: [S; N], seed: u64) -> Fallible<[Subset<Self>; N]>
    where
        Self: Sized,
    {
        let len = self.len();
        Subset::parts(self, len, shares, Some(seed))
    }

    /// Parts with equal shares of every class: see [`Dataset::stratified_split`](super::Dataset::stratified_split).
    ///
    /// # Errors
    /// As there.
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

    /// Folds to train and validate with: see [`Dataset::k_folds`](super::Dataset::k_folds).
    ///
    /// # Errors
    /// As there.
    fn k_folds(self, k: usize, seed: u64) -> Fallible<Vec<(Subset<Self>, Subset<Self>)>>
    where
        Self: Sized,
    {
        let len = self.len();
        Subset::folds(self, len, k, seed)
    }

    /// Folds with equal shares of every class: see
    /// [`Dataset::stratified_k_folds`](super::Dataset::stratified_k_folds).
    ///
    /// # Errors
    /// As there.
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

impl<S: Source + ?Sized> Source for Arc<S> {
    type Batch = S::Batch;

    fn len(&self) -> usize {
        (**self).len()
    }
    fn batch(&self, samples: &[Sample]) -> Fallible<S::Batch> {
        (**self).batch(samples)
    }
}
