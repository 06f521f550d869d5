//! Peak memory, each variant in processes of its own.

use std::path::PathBuf;

use zae_bench_peers::{memory::peak_kilobytes, stats::Median};

use crate::{
    child,
    job::{Job, VARIANTS},
    models::Workload,
};

/// Trains one way, and says how much memory that took at most, in kB; nothing where the system does not tell.
pub(crate) fn measure(workload: Workload, variant: &str, steps: Option<u64>, dir: PathBuf) -> String {
    let variant = VARIANTS.iter().find(|v| v.name == variant).unwrap();
    let steps = steps.unwrap_or(workload.memory_steps);
    (variant.train)(Job::new(workload, &workload.batches(), steps, dir));
    peak_kilobytes().map(|peak| peak.to_string()).unwrap_or_default()
}

/// Prints what each way takes more than the hand-written loop.
pub(crate) fn compare(workloads: &[Workload], repeats: usize) {
    let names = ["", "rss_over_raw_mb", "burn_train_rss_over_raw_mb"];
    let mut largest = [f64::NEG_INFINITY; VARIANTS.len()];
    for workload in workloads.iter().filter(|w| w.name != "mlp128") {
        let megabytes = |variant: &str| -> Option<f64> {
            let kilobytes: f64 = child(&format!("memory {} {variant}", workload.name)).parse().ok()?;
            Some(kilobytes * 1024.0 / 1e6)
        };
        let peaks: Option<Vec<[f64; VARIANTS.len()]>> = (0..repeats)
            .map(|_| {
                let mut peaks = [0.0; VARIANTS.len()];
                for (peak, variant) in peaks.iter_mut().zip(&VARIANTS) {
                    *peak = megabytes(variant.name)?;
                }
                Some(peaks)
            })
            .collect();
        let Some(peaks) = peaks else { continue };
        println!("{}", Median::of(peaks.iter().map(|p| p[0])).line(&format!("raw_rss_mb_{}", workload.name), "MB"));
        for i in 1..VARIANTS.len() {
            let over = Median::of(peaks.iter().map(|p| p[i] - p[0]));
            println!("{}", over.line(&format!("{}_{}", names[i], workload.name), "MB"));
            largest[i] = largest[i].max(over.value);
        }
    }
    for (name, largest) in names.iter().zip(largest).filter(|(_, largest)| largest.is_finite()) {
        println!("{name} {largest:.1} MB");
    }
}
