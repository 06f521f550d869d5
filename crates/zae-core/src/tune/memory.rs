//! The memory of this process and of the host, as Linux tells it; elsewhere nothing is known.

/// The number of kB behind a name in a file of `/proc`, in bytes.
fn kilobytes(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// What the process has in memory at present.
pub(super) fn of_process() -> Option<u64> {
    kilobytes("/proc/self/status", "VmRSS:")
}

/// What is left for it.
pub(super) fn left() -> Option<u64> {
    kilobytes("/proc/meminfo", "MemAvailable:")
}
