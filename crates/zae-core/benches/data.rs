//! How fast a data loader delivers MNIST-sized data that lie in memory. Ends with lines `name value unit`.
//!
//! `samples_source_w`: a hand-written source that copies rows into one buffer, w workers. `samples_dataset_w`: the same
//! rows one by one, collated. `samples_order`: computing a shuffled order alone.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::{hint::black_box, sync::Arc, time::Instant};

use zae_core::{
    data::{DataLoader, Dataset, Draw, Loader, Permutation, Sample, Source},
    error::Fallible,
    progress::Cursor,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LEN: usize = 60_000;
const WIDTH: usize = 28 * 28;
const EPOCHS: u64 = 9;

struct Rows(Vec<u8>);

impl Rows {
    fn row(&self, at: &Sample) -> &[u8] {
        &self.0[at.index * WIDTH..][..WIDTH]
    }
}

impl Source for Rows {
    type Batch = Vec<u8>;

    fn len(&self) -> usize {
        LEN
    }
    fn batch(&self, samples: &[Sample]) -> Fallible<Vec<u8>> {
        let mut batch = Vec::with_capacity(samples.len() * WIDTH);
        samples.iter().for_each(|at| batch.extend_from_slice(self.row(at)));
        Ok(batch)
    }
}

impl Dataset for Rows {
    type Item = Vec<u8>;

    fn len(&self) -> usize {
        LEN
    }
    fn item(&self, at: &Sample) -> Fallible<Vec<u8>> {
        Ok(self.row(at).to_vec())
    }
}

/// The median over epochs.
fn rate(mut epoch: impl FnMut(u64)) -> f64 {
    let time = |i| {
        let since = Instant::now();
        epoch(i);
        since.elapsed().as_secs_f64()
    };
    let mut seconds: Vec<f64> = (0..EPOCHS).map(time).collect();
    seconds.sort_by(f64::total_cmp);
    LEN as f64 / seconds[seconds.len() / 2]
}

fn report<S: Source<Batch = Vec<u8>> + 'static>(name: &str, source: &Arc<S>) {
    for workers in [0, 1, 2] {
        let loader = DataLoader::new(source.clone(), 64).shuffle(true).workers(workers);
        let rate = rate(|epoch| {
            let draw = Draw::new(1, Cursor { epoch, micro_batch: 0 });
            loader.epoch(&draw).unwrap().for_each(|batch| drop(black_box(batch.unwrap())));
        });
        println!("samples_{name}_{workers} {rate:.0} 1/s");
    }
}

fn main() {
    let rows = Arc::new(Rows((0..LEN * WIDTH).map(|i| i as u8).collect()));
    report("source", &rows);
    report("dataset", &Arc::new(rows.clone().collate(|items: Vec<Vec<u8>>| Ok(items.concat()))));
    let order = rate(|seed| {
        let order = Permutation::new(seed, LEN as u64);
        black_box((0..LEN as u64).fold(0, |sum, i| sum ^ order.get(i)));
    });
    println!("samples_order {order:.0} 1/s");
}
