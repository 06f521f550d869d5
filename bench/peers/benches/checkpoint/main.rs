//! What saving and loading cost, over what the machine takes for the same bytes.
//!
//! `cargo bench -p zae-bench-peers --bench checkpoint [-- [mlp] [cnn] [--quick]]`

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod files;
mod models;
mod reference;
mod training;

use models::{WORKLOADS, Workload};
use training::Cost;
use zae_bench_peers::stats::Median;
use zae_engine::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Figures by name, whether less is better, and the median of each.
type Figures = Vec<(String, Median)>;

fn measure(workload: Workload, times: usize) -> Figures {
    let dir = tempfile::tempdir_in(".").unwrap();
    let batches = workload.batches();
    let mut trainer = training::trainer(workload);
    training::train(&mut trainer, &batches, 2);
    let snapshot = trainer.snapshot().unwrap();
    let path = dir.path().join("bytes");
    trainer.save(&path).unwrap();
    let bytes = files::content(&path);
    let name = |name: &str| format!("{name}_{}", workload.name);
    let mut figures = Vec::new();
    let mut figure = |name: String, values: Vec<f64>, unit: &str| {
        let median = Median::of(values);
        println!("{}", median.line(&name, unit));
        figures.push((name, median));
    };
    for (format, suffix) in [(Format::Safetensors, ""), (Format::Ckpt, "_ckpt")] {
        let write = files::write(&snapshot, format, times, dir.path());
        figure(name(&format!("write_over_raw{suffix}")), write, "ratio");
        let load = files::load(&mut trainer, &snapshot, format, times, dir.path());
        figure(name(&format!("load_over_read{suffix}")), load, "ratio");
    }
    drop((trainer, snapshot));
    let ratios = |costs: &[Cost], ratio: fn(&Cost) -> f64| costs.iter().map(ratio).collect::<Vec<f64>>();
    let run = |background, dir: &str, bytes| {
        let path = std::path::absolute(dir).unwrap();
        training::measure(workload, &batches, background, times, bytes, &path)
    };
    let background = dir.path().join("background");
    std::fs::create_dir(&background).unwrap();
    let costs = run(true, background.to_str().unwrap(), bytes.clone());
    figure(name("memcpy_ms"), ratios(&costs, |c| c.memcpy * 1e3), "ms");
    figure(name("raw_write_ms"), ratios(&costs, |c| c.write * 1e3), "ms");
    figure(name("save_call_ms"), ratios(&costs, |c| c.call * 1e3), "ms");
    figure(name("save_stall_ms"), ratios(&costs, |c| c.stall * 1e3), "ms");
    figure(name("save_total_ms"), ratios(&costs, |c| c.total * 1e3), "ms");
    figure(name("save_stall_over_memcpy"), ratios(&costs, |c| c.stall / c.memcpy), "ratio");
    figure(name("save_total_over_memcpy"), ratios(&costs, |c| c.total / c.memcpy), "ratio");
    let synchronous = dir.path().join("synchronous");
    std::fs::create_dir(&synchronous).unwrap();
    let costs = run(false, synchronous.to_str().unwrap(), bytes);
    figure(name("sync_save_over_raw"), ratios(&costs, |c| c.call / (c.memcpy + c.write)), "ratio");
    figures
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let times = if args.iter().any(|arg| arg == "--quick") { 6 } else { 20 };
    let chosen: Vec<_> = WORKLOADS.into_iter().filter(|w| args.iter().any(|arg| arg == w.name)).collect();
    let workloads = if chosen.is_empty() { WORKLOADS.to_vec() } else { chosen };
    for workload in workloads {
        measure(workload, times);
    }
}
