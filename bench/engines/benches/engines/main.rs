//! Our trainer on LibTorch against PyTorch, Lightning, and a hand-written loop on the same LibTorch.
//!
//! `cargo bench -p zae-bench-engines --bench engines [-- [mlp8] [tiny8] [cnn64] [adamw] [--quick] [--threads N]]`
//!
//! `--quick` makes few blocks. Two threads, unless `--threads` says otherwise: then every name ends in `_t` and their number.
//!
//! PyTorch is that of the Python which the variable `ZAE_BENCH_PYTHON` names (`pip install torch==2.13.0 lightning==2.6.6`),
//! or else that of `target/python`, which `cargo xtask python` makes. Without Lightning its lines are left out.
//!
//! # What runs
//!
//! | workload | model | batch |
//! |---|---|---|
//! | `mlp8` | 784-512-256-10 | 8 |
//! | `tiny8` | 64-64-10 | 8 |
//! | `cnn64` | 3x3 convolutions 1-32-64 on 28x28, a max pool, 128, 10: the network of PyTorch's MNIST example without dropout | 64 |
//! | `adamw` | 200 tensors of 25,000 numbers | none |
//!
//! All train the same model from the same weights on the same 16 batches of noise, which lie in memory as tensors before
//! anything is timed, with cross-entropy and AdamW (lr 1e-5, weight decay 1e-2, eps 1e-8), eagerly: no `torch.compile`.
//! All read the loss of every step.
//!
//! - `trainer`: `Trainer::new` on `TchLearner` without add-ons. It looks for NaN, seeds LibTorch's generator before
//!   every step, and listens to signals.
//! - `raw_tch`: a hand-written loop in Rust: `run_backward` and the fused AdamW of `zae-tch-sys`.
//! - `pytorch_fused`, `pytorch`: hand-written loops in Python: with `AdamW(fused=True)`, and with AdamW as it comes.
//! - `lightning`: Lightning's trainer as it comes, but without logger, checkpoints, progress bar and summary, and with
//!   `AdamW(fused=True)`. `lightning_barebones`: with `barebones=True`, which Lightning has for measuring its overhead.
//!
//! The losses are compared at the end: their mean has to be that of the hand-written loop in Rust to the last digits, and
//! close to those of PyTorch. (With one thread and the same version, that of `pytorch_fused` had the same bits after 2,190
//! steps of `mlp8`; that of `pytorch` differed by 4e-6, for its AdamW rounds otherwise.)
//!
//! # How it is timed
//!
//! Each is a process of its own, where the loop runs on the main thread, and makes some steps when it is told to: so they
//! run by turns. A block is a lap of each, in random order; a lap is some steps, from the start of one forward pass to the
//! start of another. Setting up and ending are in no lap. Five sets of processes make the blocks of a workload, for where
//! things lie in memory makes a loop faster or slower as long as its process lives. Every block gives a ratio and a
//! difference of neighbours in time; what is printed is their median and its 95 % interval, as
//! `name value unit [low high]`:
//!
//! - `trainer_{workload}_us`: wall time of a step of ours.
//! - `samples_over_{variant}_{workload}`: samples per second of ours, over theirs. More is better.
//! - `trainer_over_raw_tch_us`, `.._percent`: wall time of a step of ours minus that of `raw_tch` on `mlp8`, and the same in
//!   percent; `.._cpu_us` in CPU time of all threads, waiting for each other included. With `_tiny8` the same there: on
//!   `mlp8` the trainer costs less than what two processes differ by, with `tiny8` it can be seen.
//! - `adamw_over_pytorch_fused`: wall time of a step of our AdamW over one of `AdamW(fused=True)`, each with what forgets
//!   the gradients. Nothing else is timed on this workload. Less is better.
//! - `rss_over_pytorch_cnn64`: peak memory (`VmHWM`, Linux) of the process of ours over that of `pytorch_fused`, libraries
//!   included: PyTorch's is smaller in a build for the CPU alone. Less is better; median and range over the sets.
//!
//! Run it on an idle machine: LibTorch's threads wait for each other many times in a step, so whatever takes one of the
//! cores for a while stops them all. The allocator is the system's for all.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod contest;
mod raw;

use std::process::ExitCode;

use contest::{
    Contest, PLANS,
    Variant::{PyTorchFused, Tch},
};
use zae_bench_engines::{
    ours,
    python::Python,
    turns::{self, Turns},
    worker,
    workload::Workload,
};
use zae_bench_peers::{lap::Lap, stats::Median};

/// Threads that the names of what is printed do not mention.
const THREADS: usize = 2;

/// What a process started by this one does: variant, workload, steps, threads.
fn work(words: &[String]) {
    let (workload, steps) = (Workload::named(&words[1]).unwrap(), words[2].parse().unwrap());
    let turns = Turns::new(words[3].parse().unwrap());
    let mean_loss = if workload.name == "adamw" {
        ours::adamw(turns)
    } else {
        turns.watch();
        if words[0] == Tch.name() { raw::train(workload, steps) } else { ours::train(workload, &(0..steps), None) }
    };
    turns::finish(mean_loss);
}

/// Prints what came out.
fn print(contest: &Contest, threads: usize) {
    let suffix = if threads == THREADS { String::new() } else { format!("_t{threads}") };
    let of = contest.workload.name;
    let line = |name: String, unit: &str, figure: &dyn Fn(&[Lap]) -> f64| {
        let median = Median::of(contest.laps.iter().map(|laps| figure(laps)));
        println!("{}", median.line(&format!("{name}{suffix}"), unit));
    };
    line(format!("trainer_{of}_us"), "us", &|laps| laps[0].wall);
    for (i, variant) in contest.variants.iter().enumerate().skip(1) {
        if *variant == Tch {
            let of = if of == "mlp8" { String::new() } else { format!("_{of}") };
            let name = |what| format!("trainer_over_raw_tch_{what}{of}");
            line(name("us"), "us", &|laps| laps[0].wall - laps[i].wall);
            line(name("cpu_us"), "us", &|laps| laps[0].cpu - laps[i].cpu);
            line(name("percent"), "percent", &|laps| (laps[0].wall / laps[i].wall - 1.0) * 100.0);
        } else if of == "adamw" {
            line(format!("adamw_over_{}", variant.name()), "ratio", &|laps| laps[0].wall / laps[i].wall);
        } else {
            line(format!("samples_over_{}_{of}", variant.name()), "ratio", &|laps| laps[i].wall / laps[0].wall);
        }
    }
    let pytorch = contest.place(PyTorchFused).filter(|_| of == "cnn64");
    let ratios: Option<Vec<f64>> =
        pytorch.and_then(|i| contest.ends.iter().map(|ends| Some(ends[0].peak? / ends[i].peak?)).collect());
    if let Some(ratios) = ratios {
        println!("{}", Median::of(ratios).line(&format!("rss_over_pytorch_{of}{suffix}"), "ratio"));
    }
}

fn main() -> ExitCode {
    if let Some(words) = worker::told() {
        work(&words);
        return ExitCode::SUCCESS;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let quick = args.iter().any(|arg| arg == "--quick");
    let given = args.iter().skip_while(|arg| *arg != "--threads").nth(1);
    let Ok(threads) = given.map_or(Ok(THREADS), |n| n.parse()) else {
        eprintln!("--threads needs a number");
        return ExitCode::from(2);
    };
    let python = match Python::find() {
        Ok(python) => python,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::FAILURE;
        }
    };
    let chosen: Vec<_> = PLANS.into_iter().filter(|plan| args.iter().any(|arg| arg == plan.workload)).collect();
    for plan in if chosen.is_empty() { PLANS.to_vec() } else { chosen } {
        print(&Contest::run(plan, if quick { 30 } else { plan.blocks }, threads, &python), threads);
    }
    ExitCode::SUCCESS
}
