//! What a data loader delivers: `DataLoader` and Burn's, MNIST as tensors that are ready on the thread that trains.
//!
//! `cargo bench -p zae-bench-peers --bench loader [-- [--data DIR] [--quick]]`
//!
//! `--data` names the folder of MNIST's files; without it there are as many bytes that were made up. `--quick` makes few
//! rounds.
//!
//! # What runs
//!
//! An epoch of 60,000 images of 784 bytes, shuffled, in batches of 64: bytes become normalised `f32` in one buffer, the same
//! bits everywhere, and that a tensor on the CPU (Flex); labels likewise. The consumer lets go of each batch at
//! once. Threads that make batches are started within the epoch.
//!
//! - `ours`: `DataLoader` over a `Source` that copies rows out of one array, which `.map(..)` turns into tensors, with 0, 1 and 2
//!   workers. `Normalize` makes the numbers.
//! - `burn`: Burn's `DataLoader` with as many, over its `InMemDataset` of images, as its examples do. Its batcher makes the numbers
//!   in a loop into one buffer, which is faster than the tensor operations of its examples.
//! - `burn_normalize`: the same with our `Normalize`.
//! - `burn_by_index`: that again over a data set of numbers; its batcher copies rows as our source does. It shows what is due
//!   to the loaders themselves.
//!
//! Before anything is timed an epoch of each is read in full: the sum over its samples must be the same for all, and that
//! over its order the same for any number of our workers.
//!
//! # How it is timed
//!
//! A round is an epoch of each, in random order; rounds give ratios of neighbours in time. What is printed is the median
//! over the rounds and its 95 % interval, as `name value unit [low high]`:
//!
//! - `loader_samples_per_s_w{n}`, `burn_samples_per_s_w{n}` and so on: with n workers.
//! - `loader_over_burn_w{n}` and so on: ratio of rates.
//! - `loader_over_burn` and so on: the same of whichever number of workers is the best of each round, for both.
//! - `loader_seek_us`: from asking for batch 10,000,000 of a shuffled data set of a billion samples to having it, with the
//!   default of one worker, which is started for it; `loader_seek_us_w0` without.
//! - `loader_mb_at_1e9_samples`: what such a loader and ten thousand of its batches add to the peak memory of the process.
//!
//! The allocator is mimalloc.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod check;
mod images;
mod large;
mod theirs;

use std::{hint::black_box, path::PathBuf, sync::Arc, time::Instant};

use burn::prelude::*;
use images::{BATCH, Images, LEN, of_bytes};
use zae_bench_peers::{order::order, stats::Median};
use zae_engine::{
    data::{DataLoader, Draw, Loader, Source},
    progress::Cursor,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub(crate) type Batch = (Tensor<2>, Tensor<1, Int>);

const WORKERS: [usize; 3] = [0, 1, 2];
const NAMES: [&str; 4] = ["loader", "burn", "burn_normalize", "burn_by_index"];

/// Gives every batch of an epoch to the consumer.
type Epoch = Box<dyn Fn(u64, &mut dyn FnMut(Batch))>;

fn ours(images: &Arc<Images>, workers: usize) -> Epoch {
    let loader = DataLoader::new(images.clone().map(|bytes| Ok(of_bytes(bytes, &Device::flex()))), BATCH)
        .shuffle(true)
        .workers(workers);
    Box::new(move |epoch, consume| {
        let draw = Draw::new(1, Cursor { epoch, micro_batch: 0 });
        loader.epoch(&draw).unwrap().for_each(|batch| consume(batch.unwrap()));
    })
}

/// Samples per second.
fn rate(epoch: &Epoch, number: u64) -> f64 {
    let since = Instant::now();
    epoch(number, &mut |batch| drop(black_box(batch)));
    LEN as f64 / since.elapsed().as_secs_f64()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rounds = if args.iter().any(|arg| arg == "--quick") { 5 } else { 41 };
    let folder = args.iter().position(|arg| arg == "--data").map(|at| PathBuf::from(&args[at + 1]));
    // First, while little else has been in memory.
    let large = large::measure();
    let images = Arc::new(folder.map_or_else(Images::made_up, |folder| Images::read(&folder)));
    let mut epochs: Vec<Epoch> = WORKERS.iter().map(|&workers| ours(&images, workers)).collect();
    epochs.extend(theirs::in_memory(&images, images::by_hand));
    epochs.extend(theirs::in_memory(&images, images::ours));
    epochs.extend(theirs::by_index(&images));
    println!("loader_checksum {} hash", check::epochs(&epochs, WORKERS.len()));

    let mut rates = vec![Vec::new(); epochs.len()];
    for round in 0..rounds {
        order(epochs.len(), 0, round).into_iter().for_each(|i| rates[i].push(rate(&epochs[i], round)));
    }
    for (name, rates) in NAMES.iter().zip(rates.chunks(3)) {
        for (workers, rates) in WORKERS.iter().zip(rates) {
            println!("{}", Median::of(rates.iter().copied()).line(&format!("{name}_samples_per_s_w{workers}"), "1/s"));
        }
    }
    let best = |of: usize, round: usize| (0..3).map(|i| rates[of * 3 + i][round]).fold(0.0, f64::max);
    let ratio = |name: &str, of: &dyn Fn(usize) -> f64| {
        println!("{}", Median::of((0..rounds as usize).map(of)).line(name, "ratio"));
    };
    for (other, name) in NAMES.iter().enumerate().skip(1) {
        for workers in WORKERS {
            let of = |round: usize| rates[workers][round] / rates[other * 3 + workers][round];
            ratio(&format!("loader_over_{name}_w{workers}"), &of);
        }
        ratio(&format!("loader_over_{name}"), &|round| best(0, round) / best(other, round));
    }
    large.iter().for_each(|line| println!("{line}"));
}
