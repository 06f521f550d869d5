//! How the machine is doing, sampled on the thread that writes.
//!
//! Names and units are those that W&B has: they are the most known, and its page knows what to do with them.

#[cfg(feature = "nvml")]
mod gpu;
#[cfg(feature = "system-metrics")]
mod machine;

use std::time::{Duration, Instant};

#[cfg(feature = "system-metrics")]
use machine::Machine;

use crate::clock::later;

/// Takes samples of the machine, one in so much time.
pub(crate) struct Sampler {
    every: Duration,
    due: Instant,
    #[cfg(feature = "system-metrics")]
    machine: Option<Machine>,
    #[cfg(feature = "nvml")]
    gpus: Option<gpu::Gpus>,
}

impl Sampler {
    /// Nothing is asked of the system yet: that is done on the thread that samples.
    pub(crate) fn new(every: Duration) -> Self {
        Self {
            every,
            due: Instant::now(),
            #[cfg(feature = "system-metrics")]
            machine: None,
            #[cfg(feature = "nvml")]
            gpus: None,
        }
    }

    /// When the next sample is due.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// A sample, if it is time for one.
    pub(crate) fn sample(&mut self) -> Option<Vec<(String, f64)>> {
        let now = Instant::now();
        if now < self.due {
            return None;
        }
        self.due = later(now, self.every);
        #[cfg_attr(not(feature = "system-metrics"), allow(unused_mut, reason = "nothing is known of the machine"))]
        let mut values = Vec::new();
        #[cfg(feature = "system-metrics")]
        self.machine.get_or_insert_with(Machine::new).sample(&mut values);
        #[cfg(feature = "nvml")]
        self.gpus.get_or_insert_with(gpu::Gpus::new).sample(&mut values);
        Some(values)
    }
}

#[cfg(all(test, feature = "system-metrics"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_machine_has_what_every_machine_has() {
        let mut sampler = Sampler::new(Duration::ZERO);
        sampler.sample().unwrap();
        // So that there is something to see.
        let ballast = vec![1u8; 32 << 20];
        let values: BTreeMap<_, _> = sampler.sample().unwrap().into_iter().collect();
        let percents = ["cpu", "memory_percent", "proc.memory.percent", "disk.used_percent"];
        for name in percents {
            assert!((0.0..=100.0).contains(&values[name]), "{name} {values:?}");
        }
        // As the kernel has it, without the library.
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident = resident.trim().strip_suffix(" kB").unwrap().parse::<f64>().unwrap() / 1024.0;
        let own = values["proc.memory.rssMB"];
        assert!((own - resident).abs() < 16.0 && own > 32.0, "{own} {resident}");
        drop(ballast);
        assert!(values.contains_key("network.recv") && values["proc.cpu.threads"] >= 1.0, "{values:?}");
        assert!(Sampler { due: Instant::now() + Duration::from_secs(9), ..sampler }.sample().is_none());
    }
}
