//! Memory, as Linux tells it in `/proc`; elsewhere nothing is known.

/// The bytes behind a name, such as `VmRSS:  1234 kB`, where kB are KiB (proc_pid_status(5), proc_meminfo(5)).
pub(crate) fn bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What is left of the machine's.
pub(crate) fn left() -> Option<u64> {
    bytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable")
}

/// What this process has now, and what it had at most.
pub(crate) fn of_process() -> Option<(u64, u64)> {
    of_status(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn of_status(status: &str) -> Option<(u64, u64)> {
    Some((bytes(status, "VmRSS")?, bytes(status, "VmHWM")?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_the_system_writes_is_read() {
        let status = "Name:\tcargo\nVmPeak:\t  9999 kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t3\n";
        assert_eq!(of_status(status), Some((1 << 20, 2 << 20)));
        assert_eq!(of_status("Name:\tcargo\n"), None);
        assert_eq!(bytes("MemTotal: 8 kB\nMemAvailable:   5 kB\n", "MemAvailable"), Some(5 << 10));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_that_takes_more_is_seen() {
        let (before, _) = of_process().unwrap();
        let ballast = vec![1u8; 64 << 20];
        let (after, peak) = of_process().unwrap();
        assert!(after > before + (32 << 20) && peak >= after && left().unwrap() > 0, "{before} {after} {peak}");
        drop(ballast);
    }
}
