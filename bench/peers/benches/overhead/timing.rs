//! Laps of all variants by turns.

use std::path::Path;

use zae_bench_peers::{order::order, stats::Median};

use crate::{
    child,
    job::{Job, VARIANTS, Variant},
    lap::{Lap, Runner},
    models::{BATCHES, Workload},
};

/// Laps before those that count.
const WARM_UP: u64 = 3;
/// Processes that share the blocks.
const PROCESSES: u64 = 5;

/// Makes blocks, and says what they took: a line per block, wall and CPU time of each variant.
pub(crate) fn measure(workload: Workload, blocks: u64, process: u64, dir: &Path) -> String {
    let batches = workload.batches();
    // One more, so that the last lap ends where a step starts.
    let steps = (WARM_UP + blocks) * workload.lap + 1;
    let job = |variant: &Variant| {
        let dir = dir.join(variant.name);
        std::fs::create_dir(&dir).unwrap();
        Job::new(workload, &batches, steps, dir)
    };
    // All weights before the first loop: it seeds Burn's generator, which threads share.
    let jobs: Vec<_> = VARIANTS.iter().map(|variant| (variant.train, job(variant))).collect();
    let runners: Vec<_> = jobs.into_iter().map(|(train, job)| Runner::start(move || train(job))).collect();
    let mut laps: Vec<[Lap; VARIANTS.len()]> = Vec::new();
    for block in 0..WARM_UP + blocks {
        let mut lap = [Lap::default(); VARIANTS.len()];
        for i in order(VARIANTS.len(), process, block) {
            lap[i] = runners[i].lap(workload.lap);
        }
        if block >= WARM_UP {
            laps.push(lap);
        }
    }
    let losses: Vec<_> = runners.into_iter().map(Runner::finish).collect();
    check(&losses, steps);
    let line = |laps: &[Lap; VARIANTS.len()]| laps.map(|lap| format!("{} {} ", lap.wall, lap.cpu)).concat() + "\n";
    laps.iter().map(line).collect()
}

/// That all made the same steps, and learned.
fn check(losses: &[Vec<f64>], steps: u64) {
    let raw = &losses[0];
    assert_eq!(raw.len() as u64, steps);
    // Of the same batches, when they come again and when they came first.
    let change: f64 = raw.iter().zip(raw[..BATCHES].iter().cycle()).map(|(now, first)| now - first).sum();
    assert!(change < 0.0, "the loss did not go down: {raw:?}");
    for (variant, losses) in VARIANTS.iter().zip(losses) {
        assert_eq!(losses.len(), raw.len(), "{}", variant.name);
        let differs = losses.iter().zip(raw).enumerate().find(|(_, (a, b))| a.to_bits() != b.to_bits());
        assert_eq!(differs, None, "{}: first step with another loss", variant.name);
    }
}

type Clock = fn(Lap) -> f64;

/// Has blocks made, and prints what comes out.
pub(crate) fn compare(workload: Workload, blocks: u64) {
    let work = |process| format!("time {} {} {process}", workload.name, blocks / PROCESSES);
    let blocks: String = (0..PROCESSES).map(|process| child(&work(process))).collect();
    let laps: Vec<Vec<Lap>> = blocks
        .lines()
        .map(|line| {
            let numbers: Vec<f64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
            numbers.chunks_exact(2).map(|lap| Lap { wall: lap[0], cpu: lap[1] }).collect()
        })
        .collect();
    let print = |median: Median, name: &str, unit: &str| println!("{}", median.line(name, unit));
    let clocks: [(Clock, &str); 2] = [(|lap| lap.wall, ""), (|lap| lap.cpu, "_cpu")];
    for (clock, suffix) in clocks {
        let raw = format!("raw_{}{suffix}_us", workload.name);
        print(Median::of(laps.iter().map(|lap| clock(lap[0]))), &raw, "us");
    }
    for (i, variant) in VARIANTS.iter().enumerate().skip(1) {
        for (clock, suffix) in clocks {
            let name = format!("{}_over_raw_{}{suffix}", variant.name, workload.name);
            print(Median::of(laps.iter().map(|lap| clock(lap[i]) / clock(lap[0]))), &name, "ratio");
            print(Median::of(laps.iter().map(|lap| clock(lap[i]) - clock(lap[0]))), &format!("{name}_us"), "us");
        }
    }
}
