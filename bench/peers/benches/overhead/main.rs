//! What a trainer costs over a hand-written loop: `zae_engine::trainer` and `burn-train` against raw Burn.
//!
//! `cargo bench -p zae-bench-peers --bench overhead [-- [mlp8] [mlp128] [cnn64] [--quick] [--memory]]`
//!
//! `--quick` makes few blocks, `--memory` none: it only measures memory.
//!
//! # What runs
//!
//! Three loops train the same model from the same weights on the same 16 batches of noise, which lie in memory as tensors
//! before anything is timed, with Burn's AdamW on the CPU (Flex, its default number of threads):
//!
//! - `raw`: a hand-written Burn loop. It computes loss and accuracy of every step, reads both and keeps them in a `Vec`,
//!   and seeds the device before every step with `seed_for`, as the trainer does.
//! - `trainer`: `zae_engine::trainer` as it comes: progress bar (plain lines, for standard error is a pipe), table of
//!   epochs, a CSV file with the loss and accuracy of every step, the check for NaN, signal handling. No validation.
//! - `burn_train`: `SupervisedTraining` as it comes without its feature `tui`, with `LossMetric` and `AccuracyMetric`: the
//!   CLI renderer (it prints a line per step, to the null device here), a file per metric with every step, the
//!   application log `experiment.log` (a line per step), metrics computed on a thread of its own. No checkpointers, an
//!   empty validation set. It does not seed the device and does not look for NaN.
//!
//! All three compute and deliver the same numbers. `ZAE_BENCH_LOSS_ONLY=1` leaves accuracy out of all three. At the end
//! of the timed runs the losses of all steps are compared, those of the trainer as they are in its CSV file and those of
//! burn-train as they are in its log: they must be the same **bits** as those of the hand-written loop, and have gone
//! down.
//!
//! | workload | model | batch |
//! |---|---|---|
//! | `mlp8` | 784-512-256-10 | 8 |
//! | `mlp128` | 784-512-256-10 | 128 |
//! | `cnn64` | 3x3 convolutions 1-32-64 on 28x28 with max pools, 128, 10 | 64 |
//!
//! # How it is timed
//!
//! The loops live in one process, each on its thread, and run by turns. A block is a lap of each, in random order; a lap
//! is some steps (30, 15 or 2), from the start of one forward pass to the start of another. Setting up, ending and the
//! ends of epochs are in no lap. Five processes make the blocks of a workload, for where things lie in memory makes a
//! loop faster or slower as long as its process lives. Every block gives a ratio and a difference of neighbours in time;
//! what is printed is their median and its 95 % interval, as `name value unit [low high]`:
//!
//! - `raw_{workload}_us`: wall time of a step of the hand-written loop.
//! - `{variant}_over_raw_{workload}`: ratio of wall times; `.._us`: difference per step.
//! - `{variant}_over_raw_{workload}_cpu`, `.._cpu_us`: the same of CPU time, summed over all threads of the process. Other
//!   programs on the machine change it less: on a busy machine believe this one, for wall time then depends on which loop
//!   the scheduler favours. It counts work done on other threads, which wall time does not show while cores are idle.
//! - `rss_over_raw_mb_{workload}`, `burn_train_rss_over_raw_mb_{workload}`: peak memory (`VmHWM`, Linux) of a process that
//!   trains only this way, minus that of one with the hand-written loop; median and range over repeats. The names without
//!   a workload are the larger of the two. With one thread for Burn's kernels: with more, chance decides how many of them
//!   hold buffers at the same time, which changes the peak by tens of MB.
//!
//! The allocator is mimalloc for all.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod burn_train;
mod job;
mod lap;
mod memory;
mod models;
mod raw;
mod timing;
mod trainer;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use models::{WORKLOADS, Workload};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Set: accuracy is left out.
const LOSS_ONLY: &str = "ZAE_BENCH_LOSS_ONLY";
/// What a process started by this one is to do.
const CHILD: &str = "ZAE_BENCH_CHILD";

/// Does `work` in a process of its own, whose output is not shown, and returns what it wrote to its result file.
fn child(work: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.env(CHILD, work).current_dir(dir.path()).stdout(Stdio::null());
    if work.starts_with("memory") {
        command.env("RAYON_NUM_THREADS", "1");
    }
    let done = command.output().unwrap();
    assert!(done.status.success(), "{work} failed:\n{}", String::from_utf8_lossy(&done.stderr));
    std::fs::read_to_string(dir.path().join("result")).unwrap()
}

fn work(work: &str) -> String {
    let words: Vec<&str> = work.split(' ').collect();
    let dir: PathBuf = Path::new(".").canonicalize().unwrap();
    let workload = Workload::named(words[1]).unwrap();
    match words[0] {
        "time" => timing::measure(workload, words[2].parse().unwrap(), words[3].parse().unwrap(), &dir),
        _ => memory::measure(workload, words[2], words.get(3).map(|steps| steps.parse().unwrap()), dir),
    }
}

fn main() {
    if let Ok(words) = std::env::var(CHILD) {
        std::fs::write("result", work(&words)).unwrap();
        return;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let quick = args.iter().any(|arg| arg == "--quick");
    let chosen: Vec<_> = WORKLOADS.into_iter().filter(|w| args.iter().any(|arg| arg == w.name)).collect();
    let workloads = if chosen.is_empty() { WORKLOADS.to_vec() } else { chosen };
    let memory_only = args.iter().any(|arg| arg == "--memory");
    for workload in workloads.iter().filter(|_| !memory_only) {
        timing::compare(*workload, if quick { 30 } else { workload.blocks });
    }
    memory::compare(&workloads, if quick { 1 } else { 5 });
}
