//! Writing and loading without training beside it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use zae_engine::{
    checkpoint::{disk::Disk, folder::Folder, read_checkpoint},
    metrics::Metrics,
    prelude::*,
};

use crate::{models::Workload, reference::Reference, training};

fn seconds<T>(f: impl FnOnce() -> T) -> (f64, T) {
    let begun = Instant::now();
    let result = f();
    (begun.elapsed().as_secs_f64(), result)
}

/// Ratios of throughput, ours to a raw `write` and `fsync` of as many bytes: more is better.
pub(crate) fn write(snapshot: &Snapshot, format: Format, times: usize, dir: &Path) -> Vec<f64> {
    let folder = Folder::open(&dir.join("write"), Disk::new()).unwrap();
    let save = || {
        let (time, saved) = seconds(|| folder.save(snapshot, format, &Metrics::default()).unwrap());
        (time, folder.dir().join(saved.name.to_string()))
    };
    let (_, path) = save();
    let reference = Reference::new(content(&path).concat(), dir.join("raw"));
    fs::remove_dir_all(path).unwrap();
    let pair = |i: usize| {
        let raw = i.is_multiple_of(2).then(|| reference.write());
        let (ours, path) = save();
        fs::remove_dir_all(path).unwrap();
        raw.unwrap_or_else(|| reference.write()) / ours
    };
    (0..times).map(pair).collect()
}

/// Puts a checkpoint where [`load`] finds it.
pub(crate) fn save(snapshot: &Snapshot, format: Format, dir: &Path) -> PathBuf {
    let folder = Folder::open(dir, Disk::new()).unwrap();
    let saved = folder.save(snapshot, format, &Metrics::default()).unwrap();
    folder.dir().join(saved.name.to_string())
}

/// The time that a checkpoint takes to become a trainer's run, over that of reading its files into memory. To be called
/// once in a process: so both get their memory from the system, as a program that resumes does.
pub(crate) fn load(workload: Workload, checkpoint: &Path, ours_first: bool) -> f64 {
    let mut trainer = training::trainer(workload);
    // Draws the weights.
    drop(trainer.snapshot().unwrap());
    let mut ours = || seconds(|| trainer.restore(&read_checkpoint(checkpoint).unwrap()).unwrap()).0;
    let raw = || seconds(|| content(checkpoint));
    if ours_first {
        let ours = ours();
        ours / raw().0
    } else {
        // What was read is kept, so that its memory is not used again.
        let (raw, _kept) = raw();
        ours() / raw
    }
}

/// The files of a checkpoint.
pub(crate) fn content(checkpoint: &Path) -> Vec<Vec<u8>> {
    fs::read_dir(checkpoint).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}
