//! Meters: add-ons that measure the run and log what they find.

mod clock;
mod norms;
mod process_stats;
mod simple_profiler;
mod stopwatch;
mod throughput;

pub use norms::{GradNorms, WeightNorms};
pub use process_stats::ProcessStats;
pub use simple_profiler::SimpleProfiler;
pub use throughput::Throughput;

pub(super) use clock::Clock;

use crate::error::Fallible;

/// Steps between two numbers, unless the user says otherwise.
const EVERY: u64 = 50;

fn check_every(every: u64) -> Fallible {
    if every > 0 {
        return Ok(());
    }
    Err("`.every(0)` is never: give a number of steps, 1 for each, or leave the add-on out".into())
}
