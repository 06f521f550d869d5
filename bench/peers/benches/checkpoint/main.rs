//! What saving and loading cost, over what the machine takes for the same bytes.
//!
//! `cargo bench -p zae-bench-peers --bench checkpoint [-- [mlp] [cnn] [--quick]]`
//!
//! `--quick` makes few saves. Two models whose weights and AdamW state take 94 MB are trained with Burn on the CPU (Flex,
//! its default number of threads): `mlp`, with batches of 8, where AdamW takes most of a step, and `cnn`, with batches of
//! 64, where convolutions do. The trainer has a `StateManager` and no other add-on.
//!
//! # What is measured
//!
//! A *memcpy* is a copy of all bytes of a checkpoint from memory to memory, both written before; a *raw write* makes a new
//! file, writes the bytes with one `write` and calls `fsync`. In a run that saves every 40 steps both are measured between
//! two saves, while no save is in flight and the clock of the steps stands still; each save is compared with those before
//! it. A step lasts from the start of one forward pass to the start of the next. What it takes usually is the median of 16
//! steps around the save, at least 9 of which are between it and the end of the reference. Two saves come first that do
//! not count, for they get their memory from the system.
//!
//! - `save_stall_over_memcpy`: the excess of the step that holds the save and of the next one, over a memcpy. In the
//!   background, as is the default.
//! - `save_total_over_memcpy`: the excess of all steps until the checkpoint is on disk and older ones are removed.
//! - `sync_save_over_raw`: with `.background(false)`, the excess of the step that holds the save, over a memcpy and a raw
//!   write. It holds the removal of an older checkpoint, which the raw write does not.
//! - `write_over_raw`: a checkpoint written without training beside it: throughput over that of a raw write. More is
//!   better, below all others are ratios of time.
//! - `load_over_read`: `read_checkpoint` and `Trainer::restore` in a process of its own, over `std::fs::read` of all files
//!   of the checkpoint. The trainer has its weights and no optimizer state yet.
//!
//! Each is the worse of `.._mlp` and `.._cnn`, the last two also of the two formats (`_ckpt`; without it safetensors).
//! What is printed is a median and its 95 % interval, as `name value unit [low high]`. `late_saves_..` took so long that
//! their reference could not be measured; they are in no median.
//!
//! # What it is not
//!
//! Files are written and read through the page cache: reading is from memory, and what `fsync` means is the disk's affair.
//! Other programs on the machine change all of it, steps most: run it on an idle one. With a core to spare the writer
//! costs less than here, where Burn's threads take all.
//!
//! The allocator is mimalloc.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod files;
mod models;
mod reference;
mod training;

use std::{
    path::Path,
    process::{Command, Stdio},
};

use models::{WORKLOADS, Workload};
use training::Cost;
use zae_bench_peers::stats::Median;
use zae_engine::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a process started by this one is to load: workload, order, checkpoint.
const CHILD: &str = "ZAE_BENCH_CHILD";
const FORMATS: [(Format, &str); 2] = [(Format::Safetensors, ""), (Format::Ckpt, "_ckpt")];

/// Prints figures, and keeps their values by plain name.
#[derive(Default)]
struct Figures(Vec<(&'static str, f64)>);

impl Figures {
    fn add(&mut self, name: &'static str, of: &str, values: impl IntoIterator<Item = f64>, unit: &str) {
        let median = Median::of(values);
        println!("{}", median.line(&format!("{name}{of}"), unit));
        self.0.push((name, median.value));
    }

    fn worst(&self, name: &str, less_is_better: bool) {
        let values = self.0.iter().filter(|(other, _)| *other == name).map(|(_, value)| *value);
        if let Some(worst) = values.reduce(if less_is_better { f64::max } else { f64::min }) {
            println!("{name} {worst:.4} ratio");
        }
    }
}

fn measure(workload: Workload, times: usize, figures: &mut Figures) {
    let dir = tempfile::tempdir_in(".").unwrap();
    let of = format!("_{}", workload.name);
    let batches = workload.batches();
    let mut trainer = training::trainer(workload);
    training::train(&mut trainer, &batches, 2);
    let snapshot = trainer.snapshot().unwrap();
    drop(trainer);
    let mut bytes = Vec::new();
    for (format, suffix) in FORMATS {
        let of = format!("{suffix}{of}");
        figures.add("write_over_raw", &of, files::write(&snapshot, format, times, dir.path()), "ratio");
        let checkpoint = files::save(&snapshot, format, &dir.path().join(format!("load{suffix}")));
        figures.add("load_over_read", &of, (0..times).map(|i| child(workload, i % 2 == 0, &checkpoint)), "ratio");
        bytes = files::content(&checkpoint).concat();
    }
    drop(snapshot);
    let run = |background, name: &str| {
        let dir = dir.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        let costs = training::measure(workload, &batches, background, times, bytes.clone(), &dir);
        println!("late_saves_{name}{of} {} saves", times - costs.len());
        assert!(!costs.is_empty(), "the machine is too busy: no save was on disk in time");
        costs
    };
    let each = |costs: &[Cost], figure: fn(&Cost) -> f64| costs.iter().map(figure).collect::<Vec<f64>>();
    let costs = run(true, "background");
    figures.add("memcpy_ms", &of, each(&costs, |c| c.memcpy * 1e3), "ms");
    figures.add("raw_write_ms", &of, each(&costs, |c| c.write * 1e3), "ms");
    figures.add("save_stall_ms", &of, each(&costs, |c| c.stall * 1e3), "ms");
    figures.add("save_total_ms", &of, each(&costs, |c| c.total * 1e3), "ms");
    figures.add("save_stall_over_memcpy", &of, each(&costs, |c| c.stall / c.memcpy), "ratio");
    figures.add("save_total_over_memcpy", &of, each(&costs, |c| c.total / c.memcpy), "ratio");
    let costs = run(false, "synchronous");
    figures.add("sync_save_over_raw", &of, each(&costs, |c| c.call / (c.memcpy + c.write)), "ratio");
}

/// A load in a process of its own.
fn child(workload: Workload, ours_first: bool, checkpoint: &Path) -> f64 {
    let work = format!("{} {ours_first} {}", workload.name, checkpoint.canonicalize().unwrap().display());
    let mut command = Command::new(std::env::current_exe().unwrap());
    let done = command.env(CHILD, &work).stderr(Stdio::inherit()).output().unwrap();
    assert!(done.status.success(), "{work} failed");
    String::from_utf8(done.stdout).unwrap().trim().parse().unwrap()
}

fn load(work: &str) -> f64 {
    let words: Vec<&str> = work.splitn(3, ' ').collect();
    let workload = WORKLOADS.into_iter().find(|workload| workload.name == words[0]).unwrap();
    files::load(workload, Path::new(words[2]), words[1] == "true")
}

fn main() {
    if let Ok(work) = std::env::var(CHILD) {
        println!("{}", load(&work));
        return;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let times = if args.iter().any(|arg| arg == "--quick") { 6 } else { 20 };
    let chosen: Vec<_> = WORKLOADS.into_iter().filter(|w| args.iter().any(|arg| arg == w.name)).collect();
    let workloads = if chosen.is_empty() { WORKLOADS.to_vec() } else { chosen };
    let mut figures = Figures::default();
    for workload in workloads {
        measure(workload, times, &mut figures);
    }
    for name in ["save_stall_over_memcpy", "save_total_over_memcpy", "sync_save_over_raw", "load_over_read"] {
        figures.worst(name, true);
    }
    figures.worst("write_over_raw", false);
}
