//! [`Machine`]: CPU, memory, disk and network.

use std::time::Instant;

use sysinfo::{DiskRefreshKind, Disks, Networks, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

const MIB: f64 = (1u64 << 20) as f64;
const GIB: f64 = (1u64 << 30) as f64;

/// CPU, memory, disk and network: of this process (`proc.`), and of the whole machine.
pub(super) struct Machine {
    system: System,
    networks: Networks,
    disks: Disks,
    own: Option<Pid>,
    /// Bytes read from and written to disks in all, at that time.
    disk: Option<(Instant, u64, u64)>,
    /// Bytes that had come and gone through the network at the first sample.
    network: Option<(u64, u64)>,
}

impl Machine {
    pub(super) fn new() -> Self {
        let mut system = System::new();
        // CPUs are known by the difference to the time before.
        system.refresh_cpu_usage();
        Self {
            system,
            networks: Networks::new_with_refreshed_list(),
            disks: Disks::new_with_refreshed_list(),
            own: sysinfo::get_current_pid().ok(),
            disk: None,
            network: None,
        }
    }

    pub(super) fn sample(&mut self, values: &mut Vec<(String, f64)>) {
        let mut add = |name: &str, value: f64| {
            if value.is_finite() {
                values.push((name.to_owned(), value));
            }
        };
        let Self { system, networks, disks, own, disk, network } = self;
        system.refresh_cpu_usage();
        system.refresh_memory();
        add("cpu", f64::from(system.global_cpu_usage()));
        // In a container its limit is what counts.
        let limits = system.cgroup_limits().filter(|limits| limits.total_memory > 0);
        let (total, free) = limits.map_or((system.total_memory(), system.available_memory()), |limits| {
            (limits.total_memory.min(system.total_memory()), limits.free_memory)
        });
        add("memory_percent", 100.0 * (1.0 - free as f64 / total as f64).clamp(0.0, 1.0));
        add("proc.memory.availableMB", free as f64 / MIB);

        if let Some(own) = *own {
            let what = ProcessRefreshKind::nothing().with_cpu().with_memory().with_tasks();
            system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own]), false, what);
            if let Some(process) = system.process(own) {
                add("proc.memory.rssMB", process.memory() as f64 / MIB);
                add("proc.memory.percent", 100.0 * process.memory() as f64 / total as f64);
                add("proc.cpu", f64::from(process.cpu_usage()));
                process.tasks().into_iter().for_each(|tasks| add("proc.cpu.threads", tasks.len() as f64));
            }
        }

        networks.refresh(true);
        let sum = |of: fn(&sysinfo::NetworkData) -> u64| networks.values().map(of).sum::<u64>();
        let now = (sum(sysinfo::NetworkData::total_transmitted), sum(sysinfo::NetworkData::total_received));
        let first = *network.get_or_insert(now);
        add("network.sent", now.0.saturating_sub(first.0) as f64);
        add("network.recv", now.1.saturating_sub(first.1) as f64);

        disks.refresh_specifics(false, DiskRefreshKind::nothing().with_storage().with_io_usage());
        // Where the program is, which is nearly always where it writes.
        let here = std::env::current_dir().unwrap_or_default();
        let held = disks.iter().filter(|disk| here.starts_with(disk.mount_point()));
        if let Some(disk) = held.max_by_key(|disk| disk.mount_point().as_os_str().len()) {
            let used = disk.total_space().saturating_sub(disk.available_space());
            add("disk.usageGB", used as f64 / GIB);
            add("disk.used_percent", 100.0 * used as f64 / disk.total_space() as f64);
        }
        let io = |of: fn(&sysinfo::DiskUsage) -> u64| disks.iter().map(|disk| of(&disk.usage())).sum::<u64>();
        let now = (Instant::now(), io(|usage| usage.total_read_bytes), io(|usage| usage.total_written_bytes));
        if let Some((since, read, written)) = disk.replace(now) {
            let rate = |now: u64, before: u64| {
                now.saturating_sub(before) as f64 / MIB / since.elapsed().as_secs_f64().max(1e-3)
            };
            add("disk.in", rate(now.1, read));
            add("disk.out", rate(now.2, written));
        }
    }
}
