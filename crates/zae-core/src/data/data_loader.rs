//! [`DataLoader`]: batches of a source, made ahead on worker threads.

use std::{
    iter,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use super::{
    BatchOrder, BatchSampler, Batches, Draw, Loader, RandomSampler, Sample, Sampler, SamplerAt, SequentialSampler,
    Shard, Source, batch_sampler::FixedBatches,
};
use crate::error::{BoxError, Fallible, Panicked};

/// Draws batches from a [`Source`], in order or shuffled. One worker thread makes two batches ahead, unless told
/// otherwise.
///
/// Batch i of epoch e depends on nothing but the run's seed, e and i, so the number of workers never changes the data,
/// and a resumed run starts at its batch without making those before it. Workers never touch the device or the engine's
/// generator: the source builds batches on the host, and draws what is random from [`Sample::rng`].
///
/// ```
/// use zae_core::{data::{DataLoader, Dataset, Draw, Loader}, progress::Cursor};
///
/// let digits: Vec<u32> = (0..10).collect();
/// let train = DataLoader::new(digits.collate(Ok), 4).shuffle(true).workers(2);
/// assert_eq!(train.micro_batches(0), Some(3));
///
/// // The trainer does this: the third batch of the sixth epoch of a run with seed 42.
/// let mut batches = train.epoch(&Draw::new(42, Cursor { epoch: 5, micro_batch: 2 }))?;
/// assert_eq!(batches.next().transpose()?.map(|batch| batch.len()), Some(2));
/// assert!(batches.next().is_none());
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
pub struct DataLoader<S> {
    source: Arc<S>,
    batch_size: usize,
    shuffle: bool,
    drop_last: bool,
    sampler: Option<Arc<dyn Sampler>>,
    /// Instead of the four above.
    batch_sampler: Option<Arc<dyn BatchSampler>>,
    workers: usize,
    prefetch: usize,
}

impl<S: Source> DataLoader<S> {
    /// Batches of `batch_size` samples; the last one of an epoch may have fewer.
    #[must_use]
    pub fn new(source: S, batch_size: usize) -> Self {
        Self {
            source: Arc::new(source),
            batch_size,
            shuffle: false,
            drop_last: false,
            sampler: None,
            batch_sampler: None,
            workers: 1,
            prefetch: 2,
        }
    }

    /// Batches that something else puts together: sequences of similar length, for example.
    #[must_use]
    pub fn with_batch_sampler(source: S, batches: impl BatchSampler + 'static) -> Self {
        Self { batch_sampler: Some(Arc::new(batches)), ..Self::new(source, 1) }
    }

    /// Whether samples come in another random order each epoch. Off by default, as in PyTorch: turn it on for training
    /// data.
    #[must_use]
    pub fn shuffle(mut self, on: bool) -> Self {
        self.shuffle = on;
        self
    }

    /// Which samples an epoch has, and in which order: a [`WeightedSampler`](super::WeightedSampler), or your own. Instead of
    /// `shuffle`.
    #[must_use]
    pub fn sampler(mut self, sampler: impl Sampler + 'static) -> Self {
        self.sampler = Some(Arc::new(sampler));
        self
    }

    /// Whether a last batch that is not full is left out. Off by default.
    #[must_use]
    pub fn drop_last(mut self, on: bool) -> Self {
        self.drop_last = on;
        self
    }

    /// How many threads make batches: 1 by default. With 0, the training thread makes each batch when it needs it.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// How many batches each worker makes ahead: 2 by default. They are held in memory.
    #[must_use]
    pub fn prefetch(mut self, batches: usize) -> Self {
        self.prefetch = batches;
        self
    }

    /// What puts batches together.
    fn batches(&self) -> Arc<dyn BatchSampler> {
        let fixed = || {
            let sampler = match &self.sampler {
                Some(sampler) => sampler.clone(),
                None if self.shuffle => Arc::new(RandomSampler),
                None => Arc::new(SequentialSampler),
            };
            Arc::new(FixedBatches { sampler, batch_size: self.batch_size, drop_last: self.drop_last })
        };
        self.batch_sampler.clone().unwrap_or_else(|| fixed())
    }

    fn check(&self) -> Fallible {
        let own = self.shuffle || self.drop_last || self.sampler.is_some();
        Err(if self.batch_sampler.is_some() && own {
            "a batch sampler alone decides what is in a batch: leave out `.shuffle(true)`, `.drop_last(true)` and `.sampler(..)`"
        } else if self.sampler.is_some() && self.shuffle {
            "both `.shuffle(true)` and `.sampler(..)` were given: leave out one of them"
        } else if self.prefetch == 0 && self.workers > 0 {
            "workers that make 0 batches ahead make none: give `.prefetch(1)` or more, or `.workers(0)`"
        } else if self.source.is_empty() {
            "the data set is empty: look at where its samples are read from"
        } else {
            return Ok(());
        }
        .into())
    }
}

impl<S: Source + 'static> Loader<S::Batch> for DataLoader<S> {
    /// At least 1: a loader that was set up wrongly is asked for a batch, and says then what is wrong.
    fn micro_batches(&self, epoch: u64) -> Option<u64> {
        Some(self.batches().batches(self.source.len(), epoch).max(1))
    }

    fn epoch<'a>(&'a self, draw: &Draw) -> Fallible<Batches<'a, S::Batch>> {
        Ok(Box::new(self.shard(draw, Shard::WHOLE)?.filter_map(Result::transpose)))
    }

    fn shard<'a>(&'a self, draw: &Draw, shard: Shard) -> Fallible<Batches<'a, Option<S::Batch>>> {
        let in_loader = |error: BoxError| format!("data loader: {error}");
        self.check().map_err(in_loader)?;
        let at = SamplerAt::new(draw.seed, draw.from.epoch, self.source.len());
        let sampler = self.batches();
        let maker = || -> Fallible<Maker<S>> {
            let (source, order) = (self.source.clone(), sampler.order(&at).map_err(in_loader)?);
            let stride = if self.batch_sampler.is_some() { STRIDE } else { self.batch_size as u64 };
            Ok(Maker { source, order, stride, at })
        };
        let batches = draw.from.micro_batch..sampler.batches(at.samples, at.epoch);
        // Made first, for it says what is wrong.
        let mut first = maker()?;
        if self.workers == 0 {
            return Ok(until_error(batches.map(move |i| shard.has(i).then(|| first.batch(i)).transpose())));
        }
        let makers = iter::once(Ok(first)).chain(iter::repeat_with(maker));
        let queues = start(makers, &batches, shard, self.workers, self.prefetch)?;
        let mut turns = 0..;
        Ok(until_error(batches.map(move |i| {
            if !shard.has(i) {
                return Ok(None);
            }
            let worker = turns.next().unwrap_or(0) % queues.len();
            let gone = |_| Err(format!("data worker {worker} ended without making batch {i}").into());
            queues[worker].recv().unwrap_or_else(gone).map(Some)
        })))
    }

    fn describe(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![("dataset_length", self.source.len().to_string())];
        match (&self.batch_sampler, &self.sampler) {
            (Some(batches), _) => {
                all.push(("batch_sampler", batches.describe()));
                return all;
            }
            (None, Some(sampler)) => all.push(("sampler", sampler.describe())),
            (None, None) => all.push(("shuffle", self.shuffle.to_string())),
        }
        all.extend([("batch_size", self.batch_size.to_string()), ("drop_last", self.drop_last.to_string())]);
        all
    }
}

/// How far apart the places of samples are counted from batch to batch, where a batch sampler makes them of any size.
const STRIDE: u64 = 1 << 32;

/// Makes the batches of one epoch, in any order.
struct Maker<S> {
    source: Arc<S>,
    order: BatchOrder,
    stride: u64,
    at: SamplerAt,
}

impl<S: Source> Maker<S> {
    /// Batch `i`; a panic of the source or of a sampler is an error.
    fn batch(&mut self, i: u64) -> Fallible<S::Batch> {
        catch_unwind(AssertUnwindSafe(|| self.make(i))).unwrap_or_else(|panic| Err(Panicked::new(&*panic).into()))
    }

    fn make(&mut self, i: u64) -> Fallible<S::Batch> {
        let SamplerAt { seed, epoch, samples } = self.at;
        let indices = (self.order)(i);
        if indices.is_empty() {
            return Err(format!("the sampler gives no sample for batch {i}: let it give 1 or more").into());
        }
        if let Some(index) = indices.iter().find(|&&index| index >= samples) {
            let hint = "let it give indices below their number";
            return Err(format!("the sampler gives sample {index} of {samples} for batch {i}: {hint}").into());
        }
        let places = i.saturating_mul(self.stride)..;
        let drawn = |(position, index)| Sample::drawn(seed, epoch, position, index);
        self.source.batch(&places.zip(indices).map(drawn).collect::<Vec<_>>())
    }
}

/// Starts one thread for each queue. Of n workers, worker w makes every n-th batch of the shard from the w-th on. It ends after its
/// last batch or an error, or when nobody holds its queue any more.
fn start<S>(
    makers: impl Iterator<Item = Fallible<Maker<S>>>,
    batches: &Range<u64>,
    shard: Shard,
    workers: usize,
    prefetch: usize,
) -> Fallible<Vec<Receiver<Fallible<S::Batch>>>>
where
    S: Source + 'static,
    S::Batch: 'static,
{
    let left = batches.end.saturating_sub(batches.start);
    let left = usize::try_from(left).unwrap_or(usize::MAX);
    // A shard may have none of what is left: one worker ends at once then.
    let (workers, prefetch) = (workers.min(left), prefetch.min(left));
    let worker = |(w, maker): (usize, Fallible<Maker<S>>)| {
        // One batch waits in the worker's hand, the others in the queue.
        let (queue, receiver) = sync_channel(prefetch - 1);
        let mut maker = maker?;
        let mine = batches.clone().filter(move |i| shard.has(*i)).skip(w).step_by(workers);
        let work = move || deliver(&mut maker, mine, &queue);
        let started = thread::Builder::new().name(format!("zae-data-{w}")).spawn(work);
        started.map_err(|error| format!("data worker {w} cannot start ({error}): give fewer `.workers(n)`"))?;
        Ok(receiver)
    };
    (0..workers).zip(makers).map(worker).collect()
}

fn deliver<S: Source>(maker: &mut Maker<S>, mine: impl Iterator<Item = u64>, queue: &SyncSender<Fallible<S::Batch>>) {
    for i in mine {
        let batch = maker.batch(i);
        let last = batch.is_err();
        if queue.send(batch).is_err() || last {
            return;
        }
    }
}

/// Ends after the first error, and lets go of the workers then.
fn until_error<'a, B>(batches: impl Iterator<Item = Fallible<B>> + 'a) -> Batches<'a, B> {
    let mut batches = Some(batches);
    Box::new(iter::from_fn(move || {
        let batch = batches.as_mut()?.next();
        if !matches!(batch, Some(Ok(_))) {
            batches = None;
        }
        batch
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use crate::{data::Dataset, progress::Cursor};

    fn error(loader: &impl Loader<Vec<u8>>) -> String {
        loader.epoch(&Draw::new(0, Cursor::default())).err().unwrap().to_string()
    }

    #[test]
    fn misuse_is_one_clear_error_and_never_a_panic() {
        let of = |len: usize, size| DataLoader::new(vec![0u8; len].collate(Ok), size);
        assert!(error(&of(5, 0)).contains("give a batch size of 1 or more"));
        assert!(error(&of(5, 2).prefetch(0)).contains("give `.prefetch(1)` or more"));
        assert!(of(5, 2).workers(0).prefetch(0).epoch(&Draw::new(0, Cursor::default())).is_ok());
        assert!(error(&of(0, 2)).contains("the data set is empty"));
        assert_eq!(
            error(&of(5, 6).drop_last(true)),
            "data loader: 5 samples make no batch of 6: lower the batch size, or leave out `.drop_last(true)`"
        );
        for wrong in [of(5, 0), of(0, 2), of(5, 6).drop_last(true)] {
            assert!(wrong.micro_batches(0).is_some_and(|n| n > 0));
        }
    }

    #[test]
    fn counts_of_batches() {
        let of = |len: usize, size, drop| DataLoader::new(vec![0u8; len].collate(Ok), size).drop_last(drop);
        assert_eq!([of(10, 4, false), of(10, 4, true), of(8, 4, true)].map(|l| l.micro_batches(3).unwrap()), [3, 2, 2]);
        assert_eq!(
            of(3, usize::MAX, false)
                .workers(usize::MAX)
                .prefetch(usize::MAX)
                .epoch(&Draw::new(0, Cursor::default()))
                .unwrap()
                .count(),
            1
        );
    }

    #[test]
    fn shards_together_have_every_batch_once() {
        let whole =
            |loader: &DataLoader<_>, draw: &Draw| loader.epoch(draw).unwrap().collect::<Fallible<Vec<_>>>().unwrap();
        for workers in [0, 1, 3] {
            let loader = DataLoader::new((0..41u8).collect::<Vec<_>>().collate(Ok), 4).shuffle(true).workers(workers);
            for micro_batch in [0, 4, 9, 10, 11] {
                let draw = Draw::new(7, Cursor { epoch: 3, micro_batch });
                let shards = [0, 1, 2].map(|rank| {
                    let batches = loader.shard(&draw, Shard::new(rank, 3, 6)).unwrap();
                    batches.collect::<Fallible<Vec<_>>>().unwrap()
                });
                for (i, batch) in whole(&loader, &draw).into_iter().enumerate() {
                    let found: Vec<_> = shards.iter().filter_map(|shard| shard[i].clone()).collect();
                    assert_eq!(found, [batch]);
                }
            }
        }
    }

    #[test]
    fn past_the_end_there_is_nothing() {
        for workers in [0, 1, 3] {
            let loader = DataLoader::new(vec![0u8; 10].collate(Ok), 4).workers(workers);
            for micro_batch in [3, 4, u64::MAX] {
                let batches = loader.epoch(&Draw::new(0, Cursor { epoch: 0, micro_batch })).unwrap();
                assert_eq!(batches.count(), 0);
            }
        }
    }

    #[test]
    fn a_worker_that_vanishes_is_an_error() {
        /// A panic's payload that panics once more where it is dropped: the thread cannot survive it.
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("gone");
            }
        }
        struct Deadly;
        impl Source for Deadly {
            type Batch = ();
            fn len(&self) -> usize {
                8
            }
            fn batch(&self, samples: &[Sample]) -> Fallible {
                if samples[0].index == 5 { std::panic::panic_any(Bomb) } else { Ok(()) }
            }
        }
        let loader = DataLoader::new(Deadly, 1).workers(2);
        let batches: Vec<_> = loader.epoch(&Draw::new(0, Cursor::default())).unwrap().collect();
        assert_eq!(batches.len(), 6);
        assert_eq!(batches[5].as_ref().unwrap_err().to_string(), "data worker 1 ended without making batch 5");
    }
}
