//! The data loader through its public API.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    collections::BTreeSet,
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use zae_core::{
    data::{DataLoader, Dataset, Draw, Loader, Sample, Source},
    error::Fallible,
    progress::Cursor,
};

type Items = Vec<(usize, u64, u64)>;

/// Its samples are their index, the epoch and a random number.
struct Noisy(usize);

impl Dataset for Noisy {
    type Item = (usize, u64, u64);

    fn len(&self) -> usize {
        self.0
    }
    fn item(&self, at: &Sample) -> Fallible<Self::Item> {
        Ok((at.index, at.epoch, at.rng().next_u64()))
    }
}

fn loader(len: usize, batch_size: usize) -> DataLoader<impl Source<Batch = Items> + 'static> {
    DataLoader::new(Noisy(len).collate(Ok), batch_size)
}

fn drawn<B: 'static>(loader: &impl Loader<B>, seed: u64, epoch: u64, micro_batch: u64) -> Vec<B> {
    let batches = loader.epoch(&Draw::new(seed, Cursor { epoch, micro_batch })).unwrap();
    batches.collect::<Fallible<_>>().unwrap()
}

/// Waits for what other threads must bring about.
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn neither_workers_nor_a_resume_change_a_batch(
        len in 1usize..200, batch_size in 1usize..20, workers in 0usize..5, prefetch in 1usize..4,
        shuffle: bool, drop_last: bool, seed: u64, epoch in 0u64..3, from in 0usize..40,
    ) {
        prop_assume!(!drop_last || batch_size <= len);
        let plain = loader(len, batch_size).shuffle(shuffle).drop_last(drop_last).workers(0);
        let whole = drawn(&plain, seed, epoch, 0);
        prop_assert_eq!(Some(whole.len() as u64), plain.micro_batches(epoch));
        let other = loader(len, batch_size).shuffle(shuffle).drop_last(drop_last).workers(workers).prefetch(prefetch);
        prop_assert_eq!(&drawn(&other, seed, epoch, from as u64)[..], whole.get(from..).unwrap_or(&[]));
    }

    #[test]
    fn an_epoch_has_every_sample_once(len in 1usize..300, batch_size in 1usize..20, seed: u64) {
        let batches = drawn(&loader(len, batch_size).shuffle(true).workers(2), seed, 1, 0);
        prop_assert!(batches.iter().rev().skip(1).all(|batch| batch.len() == batch_size));
        let samples = batches.concat();
        prop_assert_eq!(samples.len(), len);
        prop_assert!(samples.iter().map(|sample| sample.0).collect::<BTreeSet<_>>().into_iter().eq(0..len));
        prop_assert!(samples.iter().all(|sample| sample.1 == 1));
    }
}

#[test]
fn the_order_is_that_of_the_data_unless_shuffled() {
    fn indices(loader: &impl Loader<Items>, seed: u64, epoch: u64) -> Vec<usize> {
        drawn(loader, seed, epoch, 0).concat().into_iter().map(|sample| sample.0).collect()
    }
    assert!(indices(&loader(100, 8), 1, 0).into_iter().eq(0..100));
    let shuffled = loader(100, 8).shuffle(true);
    let orders = [(1, 0), (1, 1), (2, 0)].map(|(seed, epoch)| indices(&shuffled, seed, epoch));
    assert!(orders[0] != orders[1] && orders[0] != orders[2] && orders[1] != orders[2]);
    assert_eq!(orders[0], indices(&shuffled, 1, 0));
}

#[test]
fn augmentation_differs_between_samples_and_epochs() {
    let plain = loader(50, 8);
    let numbers: BTreeSet<u64> =
        (0..3).flat_map(|epoch| drawn(&plain, 1, epoch, 0).concat()).map(|sample| sample.2).collect();
    assert_eq!(numbers.len(), 150);
}

/// Fails at one index, panics at another.
struct Broken;

impl Dataset for Broken {
    type Item = usize;

    fn len(&self) -> usize {
        100
    }
    fn item(&self, at: &Sample) -> Fallible<usize> {
        match at.index {
            37 => Err("the file is gone".into()),
            77 => panic!("a bug"),
            index => Ok(index),
        }
    }
}

#[test]
fn an_error_comes_in_its_place_names_the_sample_and_ends_the_epoch() {
    for workers in [0, 1, 2, 3, 7] {
        let loader = DataLoader::new(Broken.collate(Ok), 10).workers(workers);
        let from = |micro_batch| -> Vec<Fallible<Vec<usize>>> {
            loader.epoch(&Draw::new(0, Cursor { epoch: 0, micro_batch })).unwrap().collect()
        };
        let batches = from(0);
        assert_eq!(batches.len(), 4);
        assert!(batches[..3].iter().all(Result::is_ok));
        assert_eq!(batches[3].as_ref().unwrap_err().to_string(), "sample 37: the file is gone");
        let batches = from(4);
        assert_eq!(batches.len(), 4);
        assert_eq!(batches[3].as_ref().unwrap_err().to_string(), "sample 77: panicked: a bug");
    }
}

/// Counts the batches it made, and panics at the fiftieth.
#[derive(Default)]
struct Counted {
    made: AtomicU64,
    /// Batches asked for.
    asked: AtomicU64,
    /// The most batches made beyond those asked for.
    ahead: AtomicU64,
}

impl Source for Counted {
    type Batch = u64;

    fn len(&self) -> usize {
        60
    }
    fn batch(&self, samples: &[Sample]) -> Fallible<u64> {
        assert_ne!(samples[0].index, 50, "a bug");
        let made = self.made.fetch_add(1, SeqCst) + 1;
        self.ahead.fetch_max(made.saturating_sub(self.asked.load(SeqCst)), SeqCst);
        Ok(made)
    }
}

#[test]
fn a_panic_of_a_source_is_an_error() {
    for workers in [0, 1, 3] {
        let loader = DataLoader::new(Counted::default(), 1).workers(workers);
        let batches: Vec<_> = loader.epoch(&Draw::new(0, Cursor::default())).unwrap().collect();
        assert_eq!(batches.len(), 51);
        assert!(batches[50].as_ref().unwrap_err().to_string().starts_with("panicked: "));
    }
}

#[test]
fn workers_run_ahead_as_far_as_allowed_and_no_farther() {
    for (workers, prefetch) in [(1, 1), (1, 2), (3, 1), (2, 4)] {
        let source = Arc::new(Counted::default());
        let loader = DataLoader::new(source.clone(), 1).workers(workers).prefetch(prefetch);
        let mut batches = loader.epoch(&Draw::new(0, Cursor::default())).unwrap();
        let allowed = (workers * prefetch) as u64;
        for taken in 0..10 {
            eventually("workers fill their queues", || source.made.load(SeqCst) == taken + allowed);
            source.asked.fetch_add(1, SeqCst);
            batches.next().unwrap().unwrap();
        }
        assert_eq!(source.ahead.load(SeqCst), allowed);
    }
}

#[test]
fn without_workers_nothing_is_made_ahead_and_nothing_before_the_first() {
    let source = Arc::new(Counted::default());
    let loader = DataLoader::new(source.clone(), 1).workers(0);
    let mut batches = loader.epoch(&Draw::new(0, Cursor { epoch: 0, micro_batch: 7 })).unwrap();
    assert_eq!(source.made.load(SeqCst), 0);
    batches.next().unwrap().unwrap();
    assert_eq!(source.made.load(SeqCst), 1);
}

#[test]
fn a_dropped_epoch_ends_its_workers() {
    let source = Arc::new(Counted::default());
    let loader = DataLoader::new(source.clone(), 1).workers(4);
    let mut batches = loader.epoch(&Draw::new(0, Cursor::default())).unwrap();
    batches.next().unwrap().unwrap();
    drop(batches);
    drop(loader);
    eventually("workers let go of the source", || Arc::strong_count(&source) == 1);
    assert!(source.made.load(SeqCst) < 15);
}

/// Makes no batch until the gate is open.
struct Gated(Arc<RwLock<()>>);

impl Source for Gated {
    type Batch = Option<String>;

    fn len(&self) -> usize {
        100
    }
    fn batch(&self, _: &[Sample]) -> Fallible<Option<String>> {
        drop(self.0.read());
        Ok(thread::current().name().map(str::to_owned))
    }
}

#[test]
fn dropping_an_epoch_does_not_wait_for_a_worker_that_is_busy() {
    let gate = Arc::new(RwLock::new(()));
    let closed = gate.write().unwrap();
    let loader = DataLoader::new(Gated(gate.clone()), 1).workers(2);
    drop(loader.epoch(&Draw::new(0, Cursor::default())).unwrap());
    drop(loader);
    assert!(Arc::strong_count(&gate) > 1, "workers are not busy");
    drop(closed);
    eventually("workers end", || Arc::strong_count(&gate) == 1);
}

#[test]
fn workers_have_names_and_take_turns() {
    let loader = DataLoader::new(Gated(Arc::default()), 1).workers(2);
    let names: Vec<String> = drawn(&loader, 0, 0, 97).into_iter().flatten().collect();
    assert_eq!(names, ["zae-data-0", "zae-data-1", "zae-data-0"]);
}

/// Its batches hold a token each; the first one made fails. The loader holds its source, so what workers hold is seen
/// by their tokens.
struct Tokens(Arc<()>);

impl Source for Tokens {
    type Batch = Arc<()>;

    fn len(&self) -> usize {
        100
    }
    fn batch(&self, samples: &[Sample]) -> Fallible<Arc<()>> {
        if samples[0].index == 0 { Err("unreadable".into()) } else { Ok(self.0.clone()) }
    }
}

#[test]
fn after_an_error_no_worker_holds_a_batch_though_the_epoch_is_held() {
    let token = Arc::new(());
    let loader = DataLoader::new(Tokens(token.clone()), 1).workers(4);
    let mut batches = loader.epoch(&Draw::new(0, Cursor::default())).unwrap();
    eventually("workers fill their queues", || Arc::strong_count(&token) == 2 + 3 * 2);
    assert!(batches.next().unwrap().is_err());
    eventually("workers let go of their batches", || Arc::strong_count(&token) == 2);
    assert!(batches.next().is_none());
}
