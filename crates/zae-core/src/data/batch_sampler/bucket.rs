//! [`BucketBatchSampler`]: batches of sequences of similar length.

use std::sync::Arc;

use super::{
    super::{Permutation, RandomSampler, Sampler, sampler},
    BatchOrder, BatchSampler, FixedBatches, SamplerAt,
};
use crate::{
    error::Fallible,
    rng::{Stream, stream_seed},
};

/// Batches of sequences of similar length, so that little of a batch is padding, in an order that stays random: of a
/// shuffled order, each window of 50 batches is sorted by length and cut into batches, and these are shuffled within the
/// window. The last batch of an epoch may have fewer samples. The `group_by_length` of Hugging Face's trainer.
///
/// A resume computes the window it is in, and nothing before it.
///
/// ```
/// use zae_core::data::{BucketBatchSampler, DataLoader, Dataset, Pad};
///
/// let texts: Vec<Vec<u32>> = (0..1_000).map(|i| vec![7; 1 + i * i % 97]).collect();
/// let lengths = texts.per_sample(Vec::len)?;
/// let pad = Pad::new(0);
/// let train = DataLoader::with_batch_sampler(
///     texts.collate(move |texts| pad.batch(&texts)),
///     BucketBatchSampler::new(lengths, 32),
/// );
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
#[derive(Clone)]
pub struct BucketBatchSampler {
    lengths: Arc<[usize]>,
    batches: FixedBatches,
    window: u64,
}

impl BucketBatchSampler {
    /// Batches of `batch_size` samples, given the length of each sample: see
    /// [`Dataset::per_sample`](crate::data::Dataset::per_sample).
    #[must_use]
    pub fn new(lengths: Vec<usize>, batch_size: usize) -> Self {
        let batches = FixedBatches { sampler: Arc::new(RandomSampler), batch_size, drop_last: false };
        Self { lengths: lengths.into(), batches, window: 50 }
    }

    /// How many batches are sorted together: 50 by default. More of them leave less padding, and bring longer runs in
    /// which the same samples meet.
    #[must_use]
    pub fn window(mut self, batches: u64) -> Self {
        self.window = batches;
        self
    }

    /// Whether a last batch that is not full is left out. Off by default.
    #[must_use]
    pub fn drop_last(mut self, on: bool) -> Self {
        self.batches.drop_last = on;
        self
    }

    /// The order of which windows are taken: [`RandomSampler`] by default.
    #[must_use]
    pub fn sampler(mut self, sampler: impl Sampler + 'static) -> Self {
        self.batches.sampler = Arc::new(sampler);
        self
    }
}

impl BatchSampler for BucketBatchSampler {
    fn batches(&self, samples: usize, epoch: u64) -> u64 {
        self.batches.batches(samples, epoch)
    }

    fn order(&self, at: &SamplerAt) -> Fallible<BatchOrder> {
        sampler::one_each("lengths", self.lengths.len(), at.samples)?;
        self.batches.check(at.samples, at.epoch)?;
        let (per_window, size) = (self.window, self.batches.batch_size);
        if per_window == 0 {
            return Err("windows of 0 batches: give `.window(1)` or more".into());
        }
        let SamplerAt { seed, epoch, .. } = *at;
        let mut order = self.batches.sampler.order(at)?;
        let places = self.batches.places(at.samples, epoch);
        let lengths = self.lengths.clone();
        let mut held = (None, Vec::new(), Permutation::new(0, 0));
        Ok(Box::new(move |batch| {
            let window = batch / per_window;
            if held.0 != Some(window) {
                let mut samples: Vec<usize> = places(window * per_window, per_window).map(&mut order).collect();
                // Stable: samples of one length stay in the random order.
                samples.sort_by_key(|&index| lengths.get(index));
                // A batch that is not full keeps its place at the end.
                let full = (samples.len() / size) as u64;
                held =
                    (Some(window), samples, Permutation::new(stream_seed(seed, Stream::Batches, epoch, window), full));
            }
            let (_, samples, turns) = &held;
            let start = turns.get(batch % per_window) as usize * size;
            samples.iter().skip(start).take(size).copied().collect()
        }))
    }

    fn describe(&self) -> String {
        let lengths = sampler::digest(self.lengths.iter().map(|&length| length as u64));
        format!("{}, windows of {} sorted by {lengths:016x}", self.batches.describe(), self.window)
    }
}
