//! [`DataLoader`]: batches of a source, made ahead on worker threads.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use super::{Batches, Draw, Loader, Permutation, Sample, Shard, Source};
use crate::{
    error::{Fallible, Panicked},
    rng::{Stream, stream_seed},
};

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
    workers: usize,
    prefetch: usize,
}

impl<S: Source> DataLoader<S> {
    /// Batches of `batch_size` samples; the last one of an epoch may have fewer.
    #[must_use]
    pub fn new(source: S, batch_size: usize) -> Self {
        Self { source: Arc::new(source), batch_size, shuffle: false, drop_last: false, workers: 1, prefetch: 2 }
    }

    /// Whether samples come in another random order each epoch. Off by default, as in PyTorch: turn it on for training
    /// data.
    #[must_use]
    pub fn shuffle(mut self, on: bool) -> Self {
        self.shuffle = on;
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

    /// How many batches an epoch of `len` samples has.
    fn count(&self, len: usize) -> u64 {
        let size = self.batch_size.max(1);
        (if self.drop_last { len / size } else { len.div_ceil(size) }) as u64
    }

    fn check(&self, len: usize) -> Fallible {
        let size = self.batch_size;
        let problem = if size == 0 {
            "batches of 0 samples: give a batch size of 1 or more".to_owned()
        } else if self.prefetch == 0 && self.workers > 0 {
            "workers that make 0 batches ahead make none: give `.prefetch(1)` or more, or `.workers(0)`".to_owned()
        } else if len == 0 {
            "the data set is empty: look at where its samples are read from".to_owned()
        } else if self.count(len) == 0 {
            format!("{len} samples make no batch of {size}: lower the batch size, or leave out `.drop_last(true)`")
        } else {
            return Ok(());
        };
        Err(format!("data loader: {problem}").into())
    }
}

impl<S: Source + 'static> Loader<S::Batch> for DataLoader<S> {
    /// At least 1: a loader that was set up wrongly is asked for a batch, and says then what is wrong.
    fn micro_batches(&self, _: u64) -> Option<u64> {
        Some(self.count(self.source.len()).max(1))
    }

    fn epoch<'a>(&'a self, draw: &Draw) -> Fallible<Batches<'a, S::Batch>> {
        Ok(Box::new(self.shard(draw, Shard::WHOLE)?.filter_map(Result::transpose)))
    }

    fn shard<'a>(&'a self, draw: &Draw, shard: Shard) -> Fallible<Batches<'a, Option<S::Batch>>> {
        let len = self.source.len();
        self.check(len)?;
        let Draw { seed, from } = *draw;
        let order = self.shuffle.then(|| stream_seed(seed, Stream::Order, from.epoch, 0));
        let maker = Maker {
            source: self.source.clone(),
            order: order.map(|seed| Permutation::new(seed, len as u64)),
            batch_size: self.batch_size,
            len,
            seed,
            epoch: from.epoch,
        };
        let batches = from.micro_batch..self.count(len);
        if self.workers == 0 {
            return Ok(until_error(batches.map(move |i| shard.has(i).then(|| maker.batch(i)).transpose())));
        }
        let queues = start(&maker, &batches, shard, self.workers, self.prefetch)?;
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
        vec![
            ("dataset_length", self.source.len().to_string()),
            ("batch_size", self.batch_size.to_string()),
            ("shuffle", self.shuffle.to_string()),
            ("drop_last", self.drop_last.to_string()),
        ]
    }
}

/// Makes the batches of one epoch, in any order.
struct Maker<S> {
    source: Arc<S>,
    order: Option<Permutation>,
    batch_size: usize,
    len: usize,
    seed: u64,
    epoch: u64,
}

impl<S> Clone for Maker<S> {
    fn clone(&self) -> Self {
        Self { source: self.source.clone(), order: self.order.clone(), ..*self }
    }
}

impl<S: Source> Maker<S> {
    /// Batch `i`; a panic of the source is an error.
    fn batch(&self, i: u64) -> Fallible<S::Batch> {
        let (size, len) = (self.batch_size as u64, self.len as u64);
        let start = i.saturating_mul(size);
        let sample = |position| {
            let index = self.order.as_ref().map_or(position, |order| order.get(position));
            Sample::drawn(self.seed, self.epoch, position, index as usize)
        };
        let samples: Vec<Sample> = (start..start.saturating_add(size).min(len)).map(sample).collect();
        catch_unwind(AssertUnwindSafe(|| self.source.batch(&samples)))
            .unwrap_or_else(|panic| Err(Panicked::new(&*panic).into()))
    }
}

/// Starts one thread for each queue. Of n workers, worker w makes every n-th batch of the shard from the w-th on. It ends after its
/// last batch or an error, or when nobody holds its queue any more.
fn start<S>(
    maker: &Maker<S>,
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
    let worker = |w: usize| {
        // One batch waits in the worker's hand, the others in the queue.
        let (queue, receiver) = sync_channel(prefetch - 1);
        let maker = maker.clone();
        let mine = batches.clone().filter(move |i| shard.has(*i)).skip(w).step_by(workers);
        let work = move || deliver(&maker, mine, &queue);
        let started = thread::Builder::new().name(format!("zae-data-{w}")).spawn(work);
        started.map_err(|error| format!("data worker {w} cannot start ({error}): give fewer `.workers(n)`"))?;
        Ok(receiver)
    };
    (0..workers).map(worker).collect()
}

fn deliver<S: Source>(maker: &Maker<S>, mine: impl Iterator<Item = u64>, queue: &SyncSender<Fallible<S::Batch>>) {
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
    Box::new(std::iter::from_fn(move || {
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
