//! Samplers, batch samplers and transforms through the public API: in a loader, over workers and ranks, and in a run that is
//! cut anywhere.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use proptest::prelude::*;
use support::{ranks::*, *};
use zae_core::{
    data::{
        BatchOrder, BatchSampler, BucketBatchSampler, DataLoader, Dataset, Draw, Loader, Order, Sample, Sampler,
        SamplerAt, SequentialSampler, Shard, TokenBatchSampler, WeightedSampler,
    },
    error::Fallible,
    process_group::Reduction,
    progress::Cursor,
    rng::StepRng,
    snapshot::Snapshot,
    testing::{Architecture, Recorder, reference::Batch},
    trainer::Trainer,
};

/// Its samples are their index and a random number; a transform adds another.
struct Noisy(usize);

impl Dataset for Noisy {
    type Item = (usize, Vec<u64>);

    fn len(&self) -> usize {
        self.0
    }
    fn item(&self, at: &Sample) -> Fallible<Self::Item> {
        Ok((at.index, vec![at.rng().next_u64()]))
    }
}

type Items = Vec<(usize, Vec<u64>)>;

fn noise(mut item: (usize, Vec<u64>), rng: &mut StepRng) -> Fallible<(usize, Vec<u64>)> {
    item.1.push(rng.next_u64());
    Ok(item)
}

/// Every third sample, in another order each epoch, one sample more each time.
struct Own;

impl Sampler for Own {
    fn len(&self, samples: usize, epoch: u64) -> usize {
        samples.div_ceil(3) + epoch as usize
    }
    fn order(&self, at: &SamplerAt) -> Fallible<Order> {
        let (at, thirds) = (*at, at.samples.div_ceil(3));
        Ok(Box::new(move |position| at.rng(position).next_u64() as usize % thirds * 3))
    }
    fn describe(&self) -> String {
        "every third".to_owned()
    }
}

/// Batch i has i + 1 samples.
struct Growing;

impl BatchSampler for Growing {
    fn batches(&self, _: usize, epoch: u64) -> u64 {
        5 + epoch
    }
    fn order(&self, at: &SamplerAt) -> Fallible<BatchOrder> {
        let samples = at.samples;
        Ok(Box::new(move |batch| (0..=batch as usize).map(|i| i % samples).collect()))
    }
    fn describe(&self) -> String {
        "growing".to_owned()
    }
}

const KINDS: usize = 6;

fn lengths(samples: usize) -> Vec<usize> {
    (0..samples).map(|i| i * i % 37).collect()
}

/// A loader of each kind.
fn loader(kind: usize, samples: usize, workers: usize) -> impl Loader<Items> {
    let source = Noisy(samples).transform(noise).collate(Ok);
    let lengths = lengths(samples);
    let bucket = || BucketBatchSampler::new(lengths.clone(), 4).window(3);
    let loader = match kind {
        0 => DataLoader::new(source, 4).sampler(WeightedSampler::new((1..=samples).map(|i| i as f64)).unwrap()),
        1 => DataLoader::new(source, 4).sampler(Own).drop_last(true),
        2 => DataLoader::with_batch_sampler(source, bucket()),
        3 => DataLoader::with_batch_sampler(source, bucket().sampler(Own).drop_last(true)),
        4 => {
            DataLoader::with_batch_sampler(source, TokenBatchSampler::new(lengths, 90).multiple_of(4).max_batch_size(7))
        }
        _ => DataLoader::with_batch_sampler(source, Growing),
    };
    loader.workers(workers)
}

fn drawn(loader: &impl Loader<Items>, seed: u64, epoch: u64, micro_batch: u64) -> Vec<Items> {
    let batches = loader.epoch(&Draw::new(seed, Cursor { epoch, micro_batch })).unwrap();
    batches.collect::<Fallible<_>>().unwrap()
}

fn indices(batches: &[Items]) -> Vec<usize> {
    batches.iter().flatten().map(|item| item.0).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn neither_workers_nor_ranks_nor_a_resume_change_a_batch(
        kind in 0..KINDS, samples in 12usize..120, workers in 0usize..4, seed: u64, epoch in 0u64..3, from in 0usize..40,
    ) {
        let whole = drawn(&loader(kind, samples, 0), seed, epoch, 0);
        let other = loader(kind, samples, workers);
        prop_assert_eq!(other.micro_batches(epoch), Some(whole.len() as u64));
        let rest = whole.get(from..).unwrap_or(&[]);
        prop_assert_eq!(&drawn(&other, seed, epoch, from as u64)[..], rest);
        let draw = Draw::new(seed, Cursor { epoch, micro_batch: from as u64 });
        let shards = [0, 1].map(|rank| {
            other.shard(&draw, Shard::new(rank, 2, 4)).unwrap().collect::<Fallible<Vec<_>>>().unwrap()
        });
        for (i, batch) in rest.iter().enumerate() {
            let found: Vec<_> = shards.iter().filter_map(|shard| shard[i].as_ref()).collect();
            prop_assert_eq!(found, [batch]);
        }
    }

    #[test]
    fn no_two_places_of_an_epoch_have_the_same_randomness(kind in 0..KINDS, seed: u64) {
        let mut numbers: Vec<u64> =
            (0..3).flat_map(|epoch| drawn(&loader(kind, 50, 0), seed, epoch, 0).concat()).flat_map(|item| item.1).collect();
        let all = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        prop_assert_eq!(numbers.len(), all);
    }

    #[test]
    fn buckets_have_every_sample_once_and_the_short_batch_last(samples in 1usize..300, window in 1u64..9, seed: u64) {
        let sampler = || BucketBatchSampler::new(lengths(samples), 4).window(window);
        let of = |sampler| drawn(&DataLoader::with_batch_sampler(Noisy(samples).collate(Ok), sampler), seed, 1, 0);
        let batches = of(sampler());
        prop_assert!(batches.iter().rev().skip(1).all(|batch| batch.len() == 4));
        let mut all = indices(&batches);
        all.sort_unstable();
        prop_assert!(all.into_iter().eq(0..samples));
        // Of a window, no batch has samples between those of another.
        let lengths = lengths(samples);
        for window in batches.chunks(window as usize) {
            let mut ends: Vec<(usize, usize)> = window.iter().map(|batch| {
                let own = || batch.iter().map(|item| lengths[item.0]);
                (own().min().unwrap(), own().max().unwrap())
            }).collect();
            ends.sort_unstable();
            prop_assert!(ends.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        }
        if samples >= 4 {
            let full = of(sampler().drop_last(true));
            prop_assert!(full.len() == samples / 4 && full.iter().all(|batch| batch.len() == 4));
        }
    }

    #[test]
    fn batches_of_tokens_have_every_sample_once_and_no_token_more(
        lengths in prop::collection::vec(0usize..50, 1..200), max in 56usize..300, multiple in 1usize..9,
        most in prop::option::of(1usize..20), seed: u64, shuffle: bool,
    ) {
        let mut sampler = TokenBatchSampler::new(lengths.clone(), max).multiple_of(multiple).shuffle(shuffle);
        if let Some(most) = most {
            sampler = sampler.max_batch_size(most);
        }
        let loader = DataLoader::with_batch_sampler(Noisy(lengths.len()).collate(Ok), sampler);
        let padded = |batch: &Items| batch.iter().map(|item| lengths[item.0].max(1).next_multiple_of(multiple)).max().unwrap();
        let mut counts = Vec::new();
        for epoch in 0..2 {
            let batches = drawn(&loader, seed, epoch, 0);
            prop_assert_eq!(Some(batches.len() as u64), loader.micro_batches(epoch));
            for batch in &batches {
                prop_assert!(padded(batch) * batch.len() <= max && batch.len() <= most.unwrap_or(usize::MAX));
            }
            let mut all = indices(&batches);
            all.sort_unstable();
            prop_assert!(all.into_iter().eq(0..lengths.len()));
            // Epochs have batches of the same shapes.
            let mut sizes: Vec<_> = batches.iter().map(|batch| (padded(batch), batch.len())).collect();
            sizes.sort_unstable();
            counts.push(sizes);
        }
        prop_assert_eq!(&counts[0], &counts[1]);
    }
}

#[test]
fn every_epoch_has_other_batches_of_tokens() {
    let lengths: Vec<usize> = (0..400).map(|i| i % 10 + 1).collect();
    let loader = DataLoader::with_batch_sampler(Noisy(400).collate(Ok), TokenBatchSampler::new(lengths, 64));
    let sorted = |epoch, seed| -> Vec<Vec<usize>> {
        drawn(&loader, seed, epoch, 0).iter().map(|batch| indices(std::slice::from_ref(batch))).collect()
    };
    let (one, two) = (sorted(0, 1), sorted(1, 1));
    assert!(one == sorted(0, 1) && one != two && one != sorted(0, 2));
    // Not only the order of batches: those who meet are others.
    let together = |batches: &[Vec<usize>]| {
        let pairs = |batch: &Vec<usize>| {
            let mut batch = batch.clone();
            batch.sort_unstable();
            batch.windows(2).map(|pair| (pair[0], pair[1])).collect::<Vec<_>>()
        };
        batches.iter().flat_map(pairs).collect::<std::collections::BTreeSet<_>>()
    };
    let (a, b) = (together(&one), together(&two));
    assert!(a.intersection(&b).count() * 2 < a.len(), "{} of {}", a.intersection(&b).count(), a.len());
}

/// The longest of each batch, in the order of the epoch.
fn longest(sampler: impl BatchSampler + 'static) -> Vec<usize> {
    let loader = DataLoader::with_batch_sampler(Noisy(200).collate(Ok), sampler);
    let of = |batch: &Items| batch.iter().map(|item| lengths(200)[item.0]).max().unwrap();
    drawn(&loader, 1, 0, 0).iter().map(of).collect()
}

#[test]
fn long_and_short_batches_come_in_any_order() {
    let tokens = || TokenBatchSampler::new(lengths(200), 120);
    assert!(!longest(tokens()).is_sorted());
    assert!(longest(tokens().shuffle(false)).is_sorted(), "unless they are not shuffled");
    for window in longest(BucketBatchSampler::new(lengths(200), 4).window(25)).chunks(25) {
        assert!(!window.is_sorted() && !window.iter().rev().is_sorted());
    }
}

#[test]
fn a_setting_that_comes_late_counts() {
    let tokens = TokenBatchSampler::new(vec![5; 40], 40);
    assert_eq!(tokens.batches(40, 0), 5);
    let rounded = tokens.multiple_of(8);
    assert_eq!(rounded.batches(40, 0), 8);
    assert_eq!(rounded.max_batch_size(4).batches(40, 0), 10);
}

#[test]
fn buckets_leave_little_to_pad() {
    let lengths: Vec<usize> = (0..3_000).map(|i| 1 + i * 7_919 % 500).collect();
    let padding = |loader: DataLoader<_>| -> usize {
        let of = |batch: &Items| {
            let own = || batch.iter().map(|item| lengths[item.0]);
            own().max().unwrap() * batch.len() - own().sum::<usize>()
        };
        drawn(&loader, 3, 0, 0).iter().map(of).sum()
    };
    let source = || Noisy(3_000).collate(Ok as fn(Items) -> Fallible<Items>);
    let plain = padding(DataLoader::new(source(), 32).shuffle(true));
    let bucket = padding(DataLoader::with_batch_sampler(source(), BucketBatchSampler::new(lengths.clone(), 32)));
    let tokens = padding(DataLoader::with_batch_sampler(source(), TokenBatchSampler::new(lengths.clone(), 8_000)));
    assert!(bucket * 10 < plain && tokens * 10 < plain, "{bucket} and {tokens} of {plain}");
}

#[test]
fn classes_are_drawn_equally_often() {
    let labels: Vec<bool> = (0..1_000).map(|i| i % 50 == 0).collect();
    let balanced = WeightedSampler::balanced(&labels).unwrap().num_samples(10_000);
    let loader = DataLoader::new(Noisy(1_000).collate(Ok), 100).sampler(balanced);
    assert_eq!(loader.micro_batches(0), Some(100));
    let rare = indices(&drawn(&loader, 1, 0, 0)).into_iter().filter(|&i| labels[i]).count();
    assert!((4_800..5_200).contains(&rare), "{rare} of 10,000");
}

#[test]
fn misuse_is_one_clear_error() {
    let source = || Noisy(6).collate(Ok as fn(Items) -> Fallible<Items>);
    let error = |loader: DataLoader<_>| {
        assert!(loader.micro_batches(0).is_some_and(|n| n > 0));
        let made: Fallible<Vec<Items>> = loader.epoch(&Draw::new(0, Cursor::default())).and_then(Iterator::collect);
        made.unwrap_err().to_string()
    };
    let own = |sampler: BucketBatchSampler| error(DataLoader::with_batch_sampler(source(), sampler));
    let tokens = |sampler: TokenBatchSampler| error(DataLoader::with_batch_sampler(source(), sampler));
    let bucket = || BucketBatchSampler::new(vec![1; 6], 4);
    assert_eq!(
        error(DataLoader::new(source(), 2).shuffle(true).sampler(SequentialSampler)),
        "data loader: both `.shuffle(true)` and `.sampler(..)` were given: leave out one of them"
    );
    assert!(error(DataLoader::with_batch_sampler(source(), bucket()).drop_last(true)).contains("leave out"));
    let weights = WeightedSampler::new([1.0; 5]).unwrap();
    assert!(error(DataLoader::new(source(), 2).sampler(weights)).contains("5 weights, but 6 samples"));
    let none = WeightedSampler::new([1.0; 6]).unwrap().num_samples(0);
    assert!(
        error(DataLoader::new(source(), 2).sampler(none)).contains("gives epoch 0 no sample: let it give 1 or more")
    );
    assert!(own(BucketBatchSampler::new(vec![1; 5], 4)).contains("5 lengths, but 6 samples"));
    assert!(own(bucket().window(0)).contains("give `.window(1)` or more"));
    assert!(own(BucketBatchSampler::new(vec![1; 6], 0)).contains("give a batch size of 1 or more"));
    assert!(own(BucketBatchSampler::new(vec![1; 6], 7).drop_last(true)).contains("make no batch of 7"));
    assert_eq!(
        tokens(TokenBatchSampler::new(vec![1, 2, 9, 3, 3, 3], 8)),
        "data loader: sample 2 has a length of 9 in batches of 8 tokens: give more of them, cut the sequence, or leave it out"
    );
    assert!(tokens(TokenBatchSampler::new(vec![7; 6], 10).multiple_of(4).multiple_of(6)).contains("7, rounded up, in"));
    assert!(tokens(TokenBatchSampler::new(vec![1; 6], 8).multiple_of(0)).contains("give `.multiple_of(1)` or more"));
    assert!(
        tokens(TokenBatchSampler::new(vec![1; 6], 8).max_batch_size(0)).contains("give `.max_batch_size(1)` or more")
    );
    assert!(tokens(TokenBatchSampler::new(vec![1; 5], 8)).contains("5 lengths, but 6 samples"));
}

/// Its third batch is empty.
struct Empty;

impl BatchSampler for Empty {
    fn batches(&self, _: usize, _: u64) -> u64 {
        4
    }
    fn order(&self, _: &SamplerAt) -> Fallible<BatchOrder> {
        Ok(Box::new(|batch| if batch == 2 { vec![] } else { vec![0] }))
    }
    fn describe(&self) -> String {
        "empty".to_owned()
    }
}

/// Chooses a sample that is not there, or panics.
struct Bad(bool);

impl Sampler for Bad {
    fn order(&self, _: &SamplerAt) -> Fallible<Order> {
        let panics = self.0;
        Ok(Box::new(move |position| {
            assert!(!panics || position < 4, "a bug");
            if position < 4 { 0 } else { 77 }
        }))
    }
    fn describe(&self) -> String {
        "bad".to_owned()
    }
}

#[test]
fn a_sampler_with_a_bug_is_an_error_in_its_place() {
    for workers in [0, 1, 3] {
        let of = |panics| {
            let loader = DataLoader::new(Noisy(10).collate(Ok), 2).sampler(Bad(panics)).workers(workers);
            let batches: Vec<_> = loader.epoch(&Draw::new(0, Cursor::default())).unwrap().collect();
            assert_eq!(batches.len(), 3);
            batches[2].as_ref().unwrap_err().to_string()
        };
        assert_eq!(of(false), "the sampler gives sample 77 of 10 for batch 2: let it give indices below their number");
        assert_eq!(of(true), "panicked: a bug");
        let loader = DataLoader::with_batch_sampler(Noisy(10).collate(Ok), Empty).workers(workers);
        let last = loader.epoch(&Draw::new(0, Cursor::default())).unwrap().last().unwrap();
        assert_eq!(last.unwrap_err().to_string(), "the sampler gives no sample for batch 2: let it give 1 or more");
    }
}

/// Rows with noise, of which some come more often than others.
fn training(kind: usize) -> impl Loader<Batch> {
    let rows: Vec<Batch> = data(&[1; 23], 4);
    let noisy = rows.transform(|mut row, rng| {
        row.inputs.iter_mut().for_each(|x| *x += (rng.next_u32() % 100) as f32 / 1_000.0);
        Ok(row)
    });
    let source = noisy.collate(|rows| {
        let inputs = rows.iter().flat_map(|row| row.inputs.clone()).collect();
        Ok(Batch { inputs, labels: rows.iter().flat_map(|row| row.labels.clone()).collect(), device: None })
    });
    match kind {
        0 => DataLoader::new(source, 4).sampler(WeightedSampler::new((1..24).map(f64::from)).unwrap()),
        1 => DataLoader::with_batch_sampler(source, BucketBatchSampler::new(lengths(23), 4).window(2)),
        _ => DataLoader::with_batch_sampler(source, TokenBatchSampler::new(lengths(23), 80)),
    }
}

#[test]
fn a_run_that_is_cut_after_any_step_ends_with_the_same_bits() {
    for kind in 0..3 {
        let finish = |trainer: &mut Trainer<support::Own>| {
            trainer.run(3, training(kind), ()).unwrap();
            bits_of(trainer)
        };
        let recorder = Recorder::new().with_snapshots();
        let whole = finish(&mut trainer(plain()).accumulate(2).add_on(recorder.clone()));
        let snapshots: Vec<Arc<Snapshot>> = recorder.get().snapshots.iter().map(|(_, at)| at.clone()).collect();
        assert!(snapshots.len() > 9);
        for snapshot in snapshots {
            let mut resumed = trainer(plain()).accumulate(2);
            resumed.restore(&written(&snapshot)).unwrap();
            assert!(finish(&mut resumed) == whole, "kind {kind}, cut at {:?}", snapshot.run.progress.cursor());
        }
    }
}

#[test]
fn two_ranks_end_with_the_bits_of_one() {
    for kind in 0..3 {
        let run = |connected: &Connected| {
            let mut trainer = connected.trainer(plain(), Architecture::Plain).micro_batches(4);
            trainer.run(2, training(kind), ()).unwrap();
            parameters(&mut trainer)
        };
        let one = run(&alone(Reduction::Reproducible));
        assert!(on_ranks(2, Reduction::Reproducible, |_, connected| run(&connected)).iter().all(|rank| *rank == one));
    }
}

#[test]
fn a_run_goes_on_with_the_same_weights_only() {
    let data = |weights: [f64; 3]| {
        let source = data(&[1; 3], 4).collate(|mut rows: Vec<Batch>| Ok(rows.remove(0)));
        DataLoader::new(source, 1).sampler(WeightedSampler::new(weights).unwrap())
    };
    let mut first = trainer(plain());
    first.run(1, data([1.0, 2.0, 3.0]), ()).unwrap();
    let snapshot = first.snapshot().unwrap();
    let again = |weights| {
        let mut again = trainer(plain());
        again.restore(&snapshot).unwrap();
        again.run(2, data(weights), ())
    };
    again([1.0, 2.0, 3.0]).unwrap();
    fails(again([1.0, 2.0, 4.0]), &["`sampler` weighted by", "accept_change(\"sampler\")"]);
}

#[test]
fn what_loaders_say_of_themselves_tells_them_apart() {
    let source = || Noisy(6).collate(Ok as fn(Items) -> Fallible<Items>);
    let says = |loader: DataLoader<_>| -> BTreeMap<&str, String> { loader.describe().into_iter().collect() };
    let plain = says(DataLoader::new(source(), 2).shuffle(true));
    assert_eq!(plain.keys().copied().collect::<Vec<_>>(), ["batch_size", "dataset_length", "drop_last", "shuffle"]);
    let bucket = |length, window| {
        says(DataLoader::with_batch_sampler(source(), BucketBatchSampler::new(vec![length; 6], 2).window(window)))
    };
    let tokens = |length, max| TokenBatchSampler::new(vec![length; 6], max);
    let of = |sampler| says(DataLoader::with_batch_sampler(source(), sampler));
    let all = [
        plain,
        says(DataLoader::new(source(), 2).sampler(Own)),
        bucket(1, 2),
        bucket(2, 2),
        bucket(1, 3),
        of(tokens(1, 8)),
        of(tokens(2, 8)),
        of(tokens(1, 9)),
        of(tokens(1, 8).multiple_of(2)),
        of(tokens(1, 8).max_batch_size(2)),
        of(tokens(1, 8).shuffle(false)),
    ];
    let different: std::collections::BTreeSet<String> = all.iter().map(|all| format!("{all:?}")).collect();
    assert_eq!(different.len(), all.len());
}

/// Each worker thread asks an order of its own.
#[test]
fn an_order_is_asked_for_once_per_worker() {
    #[derive(Clone, Default)]
    struct Counted(Arc<Mutex<usize>>);
    impl Sampler for Counted {
        fn order(&self, at: &SamplerAt) -> Fallible<Order> {
            *self.0.lock().unwrap() += 1;
            SequentialSampler.order(at)
        }
        fn describe(&self) -> String {
            "counted".to_owned()
        }
    }
    for workers in [0, 1, 3] {
        let counted = Counted::default();
        let loader = DataLoader::new(Noisy(40).collate(Ok), 2).sampler(counted.clone()).workers(workers);
        assert_eq!(drawn(&loader, 0, 0, 0).len(), 20);
        assert_eq!(*counted.0.lock().unwrap(), workers.max(1));
    }
}
