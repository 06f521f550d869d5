//! [`Environment`]: where a run is made.

use std::{env, fs, path::Path};

use serde::{Deserialize, Serialize};
use zae_core::git::Git;

use super::arguments;

/// Machine, program, commit. What is not known is empty.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Environment {
    host: String,
    system: String,
    processor: String,
    cores: u64,
    memory_bytes: u64,
    gpus: Vec<String>,
    program: String,
    arguments: Vec<String>,
    folder: String,
    commit: String,
    branch: String,
    pub(crate) processes: u64,
    zae_engine: String,
}

impl Environment {
    /// That of this process.
    pub(crate) fn here() -> Self {
        let mut given = env::args_os().map(|argument| argument.to_string_lossy().into_owned());
        let git = Git::here().unwrap_or_default();
        let release = read("/proc/sys/kernel/osrelease");
        Self {
            host: host(),
            system: [env::consts::OS, &release, env::consts::ARCH].join(" ").replace("  ", " "),
            processor: field("/proc/cpuinfo", "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, |cores| cores.get() as u64),
            memory_bytes: memory().unwrap_or(0),
            gpus: gpus(),
            program: given.next().unwrap_or_default(),
            arguments: arguments::without_secrets(given),
            folder: env::current_dir().map_or_else(|_| String::new(), |folder| folder.display().to_string()),
            commit: git.commit,
            branch: git.branch,
            processes: 1,
            zae_engine: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// What is known, by name, for people.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        let number = |n: u64| if n > 0 { n.to_string() } else { String::new() };
        let gib = self.memory_bytes as f64 / (1u64 << 30) as f64;
        let lines = [
            ("host", self.host.clone()),
            ("system", self.system.clone()),
            ("processor", self.processor.clone()),
            ("cores", number(self.cores)),
            ("memory", if gib > 0.0 { format!("{gib:.1} GiB") } else { String::new() }),
            ("GPUs", self.gpus.join(", ")),
            ("processes", number(self.processes)),
            ("program", self.program.clone()),
            ("arguments", self.arguments.join(" ")),
            ("folder", self.folder.clone()),
            ("commit", self.commit.clone()),
            ("branch", self.branch.clone()),
            ("zae-engine", self.zae_engine.clone()),
        ];
        lines.into_iter().filter(|(_, text)| !text.is_empty()).collect()
    }
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).map_or_else(|_| String::new(), |text| text.trim().to_owned())
}

fn host() -> String {
    let told = read("/proc/sys/kernel/hostname");
    let names = ["HOSTNAME", "COMPUTERNAME"].into_iter().filter_map(|name| env::var(name).ok());
    std::iter::once(told).chain(names).find(|name| !name.is_empty()).unwrap_or_default()
}

/// The first line of a file of Linux's `/proc` that begins with a name.
fn field(path: impl AsRef<Path>, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

fn memory() -> Option<u64> {
    let kib: u64 = field("/proc/meminfo", "MemTotal")?.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// As NVIDIA's driver tells it on Linux.
fn gpus() -> Vec<String> {
    let all = fs::read_dir("/proc/driver/nvidia/gpus").into_iter().flatten().flatten();
    let mut gpus: Vec<_> = all.filter_map(|gpu| field(gpu.path().join("information"), "Model")).collect();
    gpus.sort();
    gpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_told() {
        let lines = Environment::here().lines();
        let names: Vec<_> = lines.iter().map(|(name, _)| *name).collect();
        for name in ["system", "cores", "processes", "program", "folder", "zae-engine"] {
            assert!(names.contains(&name), "{name} is not among {names:?}");
        }
        assert!(lines.iter().all(|(_, text)| !text.is_empty()));
        if cfg!(target_os = "linux") {
            assert!(names.contains(&"host") && names.contains(&"memory"), "{names:?}");
        }
        assert!(Environment::default().lines().is_empty());
    }
}
