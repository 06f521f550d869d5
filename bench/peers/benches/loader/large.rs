//! A loader of a billion samples.

use std::{hint::black_box, time::Instant};

use zae_bench_peers::{memory::peak_kilobytes, stats::Median};
use zae_engine::{
    data::{DataLoader, Draw, Loader, Sample, Source},
    error::Fallible,
    progress::Cursor,
};

use crate::images::BATCH;

/// Samples that are their index.
struct Numbers;

impl Source for Numbers {
    type Batch = Vec<usize>;

    fn len(&self) -> usize {
        1_000_000_000
    }
    fn batch(&self, samples: &[Sample]) -> Fallible<Vec<usize>> {
        Ok(samples.iter().map(|sample| sample.index).collect())
    }
}

/// The lines to print.
pub(crate) fn measure() -> Vec<String> {
    let before = peak_kilobytes();
    let default = DataLoader::new(Numbers, BATCH).shuffle(true);
    let batches = default.epoch(&Draw::new(1, Cursor::default())).unwrap();
    batches.take(10_000).for_each(|batch| drop(black_box(batch.unwrap())));
    let after = peak_kilobytes();
    let seek = |loader: &DataLoader<Numbers>, epoch| {
        let since = Instant::now();
        let draw = Draw::new(1, Cursor { epoch, micro_batch: 10_000_000 });
        let batch = loader.epoch(&draw).unwrap().next().unwrap().unwrap();
        let seconds = since.elapsed().as_secs_f64();
        assert_eq!(black_box(batch).len(), BATCH);
        seconds * 1e6
    };
    let line = |name, loader: &_| Median::of((0..1_001).map(|epoch| seek(loader, epoch))).line(name, "us");
    let mut lines = vec![line("loader_seek_us", &default)];
    lines.push(line("loader_seek_us_w0", &default.workers(0)));
    if let (Some(before), Some(after)) = (before, after) {
        lines.push(format!("loader_mb_at_1e9_samples {:.2} MB", (after - before) as f64 / 1024.0));
    }
    lines
}
