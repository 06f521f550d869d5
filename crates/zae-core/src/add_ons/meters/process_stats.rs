//! [`ProcessStats`]: the memory and the CPU time of this process.

use std::time::Duration;

use super::{Clock, EVERY, check_every};
use crate::{
    add_on::{AddOn, Context, Notice},
    error::Fallible,
    memory,
};

const MIB: f64 = 1024.0 * 1024.0;

/// Measures what this process takes of its machine, as Linux tells it: `meter/rss_mib` and `meter/peak_rss_mib`, the memory that it
/// has now and that it had at most, in MiB, and `meter/cpu_cores`, how many cores it kept busy since the last number.
///
/// On other systems people are told at the start that there is nothing to measure. GPUs and the whole machine are what the loggers
/// for trackers sample (`system-metrics` and `nvml` of `zae-loggers`).
///
/// ```
/// use zae_core::add_ons::ProcessStats;
/// let stats = ProcessStats::new().every(200);
/// ```
pub struct ProcessStats {
    every: u64,
    clock: Clock,
    /// Whether this system tells.
    there: bool,
    /// When it was last asked, and the CPU time then.
    last: Option<(Duration, Duration)>,
}

impl ProcessStats {
    /// Measures every 50 steps.
    #[must_use]
    pub fn new() -> Self {
        Self { every: EVERY, clock: Clock::default(), there: false, last: None }
    }

    /// After how many steps it measures; 50 by default. A look takes some 20 us.
    #[must_use]
    pub fn every(mut self, steps: u64) -> Self {
        self.every = steps;
        self
    }

    /// Reads the time from this clock. For tests.
    #[must_use]
    pub fn clock(mut self, now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        self.clock = Clock::new(now);
        self
    }
}

impl Default for ProcessStats {
    fn default() -> Self {
        Self::new()
    }
}

impl AddOn for ProcessStats {
    fn name(&self) -> &'static str {
        "process-stats"
    }

    fn on_run_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        check_every(self.every)?;
        let now = Sample::take();
        self.there = now.is_some();
        self.last = now.map(|sample| (self.clock.now(), sample.cpu));
        if !self.there && cx.rank == 0 {
            let text = "this system does not tell what the process takes of it (`/proc/self`): `ProcessStats` measures nothing";
            cx.requests.notice(Notice::Warning(text.to_owned()));
        }
        Ok(())
    }

    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        if !self.there || !cx.progress.step().is_multiple_of(self.every) {
            return Ok(());
        }
        let (now, Some(sample)) = (self.clock.now(), Sample::take()) else { return Ok(()) };
        cx.measure("rss_mib", sample.resident / MIB)?;
        cx.measure("peak_rss_mib", sample.peak / MIB)?;
        if let Some((since, cpu)) = self.last.replace((now, sample.cpu)) {
            let seconds = now.saturating_sub(since).as_secs_f64();
            if seconds > 0.0 {
                cx.measure("cpu_cores", sample.cpu.saturating_sub(cpu).as_secs_f64() / seconds)?;
            }
        }
        Ok(())
    }
}

/// What the system says, in bytes.
struct Sample {
    resident: f64,
    peak: f64,
    cpu: Duration,
}

impl Sample {
    fn take() -> Option<Self> {
        let (resident, peak) = memory::of_process()?;
        let (resident, peak) = (resident as f64, peak as f64);
        Some(Self { resident, peak, cpu: cpu(&std::fs::read_to_string("/proc/self/stat").ok()?)? })
    }
}

/// CPU time, of all threads, of `/proc/[pid]/stat`: fields 14 and 15 in hundredths of a second (proc_pid_stat(5); `USER_HZ` is 100
/// on all of Linux). The second field, the program's name in parentheses, may hold anything.
fn cpu(stat: &str) -> Option<Duration> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 10))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn cpu_time_is_read_of_what_the_system_writes() {
        let stat = "7 (a) (b) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 3 0 4 5 6";
        assert_eq!(cpu(stat), Some(Duration::from_millis(1750)));
        assert_eq!(cpu("7 (a"), None);
    }
}
