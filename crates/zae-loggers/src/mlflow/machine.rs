//! How the machine is doing, by MLflow's names.

const MEGABYTE: f64 = 1e6;
const MEBIBYTE: f64 = 1_048_576.0;
const GIBIBYTE: f64 = 1_073_741_824.0;

/// A sample by the names, and in the units, that MLflow's own have, where it has one for it; all begin with `system/`, by which
/// its page knows them.
pub(super) fn metrics(values: &[(String, f64)]) -> Vec<(String, f64)> {
    let mut metrics: Vec<(String, f64)> = values
        .iter()
        .map(|(name, value)| {
            let (name, unit) = translated(name);
            (format!("system/{name}"), value * unit)
        })
        .collect();
    let of = |name: &str| values.iter().find(|(own, _)| own == name).map(|(_, value)| *value);
    // What is not free is used.
    if let (Some(percent), Some(free)) = (of("memory_percent"), of("proc.memory.availableMB"))
        && percent < 100.0
    {
        let used = free * MEBIBYTE / MEGABYTE * percent / (100.0 - percent);
        metrics.push(("system/system_memory_usage_megabytes".to_owned(), used));
    }
    metrics
}

/// MLflow's name, and how many of its units one is.
fn translated(name: &str) -> (String, f64) {
    let same = |name: &str| (name.to_owned(), 1.0);
    match name {
        "cpu" => same("cpu_utilization_percentage"),
        "memory_percent" => same("system_memory_usage_percentage"),
        "disk.used_percent" => same("disk_usage_percentage"),
        "disk.usageGB" => ("disk_usage_megabytes".to_owned(), GIBIBYTE / MEGABYTE),
        "network.recv" => ("network_receive_megabytes".to_owned(), 1.0 / MEGABYTE),
        "network.sent" => ("network_transmit_megabytes".to_owned(), 1.0 / MEGABYTE),
        _ => of_gpu(name).unwrap_or_else(|| same(name)),
    }
}

fn of_gpu(name: &str) -> Option<(String, f64)> {
    let (number, what) = name.strip_prefix("gpu.")?.split_once('.')?;
    let (what, unit) = match what {
        "gpu" => ("utilization_percentage", 1.0),
        "memoryAllocated" => ("memory_usage_percentage", 1.0),
        "memoryAllocatedBytes" => ("memory_usage_megabytes", 1.0 / MEGABYTE),
        "powerWatts" => ("power_usage_watts", 1.0),
        "powerPercent" => ("power_usage_percentage", 1.0),
        _ => return None,
    };
    Some((format!("gpu_{number}_{what}"), unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mlflow_knows_has_its_name_and_unit() {
        let values = [
            ("cpu", 12.5),
            ("memory_percent", 75.0),
            ("proc.memory.availableMB", 1000.0),
            ("network.recv", 2.5e6),
            ("gpu.10.gpu", 97.0),
            ("gpu.0.memoryAllocatedBytes", 3e9),
            ("gpu.0.temp", 60.0),
        ];
        let found = metrics(&values.map(|(name, value)| (name.to_owned(), value)));
        let expected = [
            ("system/cpu_utilization_percentage", 12.5),
            ("system/system_memory_usage_percentage", 75.0),
            ("system/proc.memory.availableMB", 1000.0),
            ("system/network_receive_megabytes", 2.5),
            ("system/gpu_10_utilization_percentage", 97.0),
            ("system/gpu_0_memory_usage_megabytes", 3000.0),
            ("system/gpu.0.temp", 60.0),
            // Three quarters are used, and the fourth is free.
            ("system/system_memory_usage_megabytes", 3000.0 * 1.048576),
        ];
        assert_eq!(found.len(), expected.len());
        for ((name, value), (own, right)) in found.iter().zip(expected) {
            assert!(name == own && (value - right).abs() < 1e-9, "{name} {value}, not {own} {right}");
        }
    }
}
