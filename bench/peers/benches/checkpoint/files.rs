//! Writing and loading without training beside it.

use std::{fs, hint::black_box, path::Path, time::Instant};

use zae_engine::{
    checkpoint::{disk::Disk, folder::Folder, read_checkpoint},
    metrics::Metrics,
    prelude::*,
};

use crate::{reference::Reference, training::Classify};

fn seconds<T>(f: impl FnOnce() -> T) -> (f64, T) {
    let begun = Instant::now();
    let result = f();
    (begun.elapsed().as_secs_f64(), result)
}

/// Ratios of throughput, ours to a raw `write` of as many bytes: more is better.
pub(crate) fn write(snapshot: &Snapshot, format: Format, times: usize, dir: &Path) -> Vec<f64> {
    let folder = Folder::open(&dir.join("write"), Disk::new()).unwrap();
    let save = || {
        let (time, saved) = seconds(|| folder.save(snapshot, format, &Metrics::default()).unwrap());
        let path = folder.dir().join(saved.name.to_string());
        (time, path)
    };
    let (_, path) = save();
    let reference = Reference::new(content(&path), dir.join("raw"));
    fs::remove_dir_all(path).unwrap();
    let pair = |i: usize| {
        let raw = (i % 2 == 0).then(|| reference.write());
        let (ours, path) = save();
        fs::remove_dir_all(path).unwrap();
        raw.unwrap_or_else(|| reference.write()) / ours
    };
    (0..times).map(pair).collect()
}

/// Ratios of time: a checkpoint read into a trainer, to its files read into memory.
pub(crate) fn load(
    trainer: &mut Trainer<Classify>,
    snapshot: &Snapshot,
    format: Format,
    times: usize,
    dir: &Path,
) -> Vec<f64> {
    let folder = Folder::open(&dir.join("load"), Disk::new()).unwrap();
    let saved = folder.save(snapshot, format, &Metrics::default()).unwrap();
    let path = folder.dir().join(saved.name.to_string());
    let read = || seconds(|| drop(black_box(read_all(&path)))).0;
    let pair = |i: usize| {
        let raw = (i % 2 == 0).then(read);
        let (ours, ()) = seconds(|| trainer.restore(&read_checkpoint(&path).unwrap()).unwrap());
        ours / raw.unwrap_or_else(read)
    };
    let ratios = (0..times).map(pair).collect();
    fs::remove_dir_all(path).unwrap();
    ratios
}

fn read_all(checkpoint: &Path) -> Vec<Vec<u8>> {
    fs::read_dir(checkpoint).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

/// All bytes of a checkpoint.
pub(crate) fn content(checkpoint: &Path) -> Vec<u8> {
    read_all(checkpoint).concat()
}
