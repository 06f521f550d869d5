//! Where a run is made.

use std::thread;

use serde_json::json;
use zae_core::git::Git;

use super::{date, record};
use crate::protobuf::Message;

/// System, host, program, commit. Arguments of the program are left out, for they may hold secrets.
pub(super) struct Environment {
    program: String,
    host: String,
    cores: u64,
    git: Option<Git>,
    /// Seconds since 1970.
    started: f64,
}

impl Environment {
    /// That of this process, of a run that was started at this time.
    pub(super) fn new(started: f64) -> Self {
        Self {
            program: std::env::args().next().unwrap_or_default(),
            host: host(),
            cores: thread::available_parallelism().map_or(0, |cores| cores.get() as u64),
            git: Git::here(),
            started,
        }
    }

    /// As a record.
    pub(super) fn write(&self, message: &mut Message<'_>) {
        message.string(1, std::env::consts::OS).message(3, |time| record::timestamp(time, self.started));
        message.string(6, &self.program).string(12, &self.host).varint(16, self.cores).varint(17, self.cores);
        if let Some(Git { commit, remote, .. }) = &self.git {
            message.message(9, |repository| {
                if let Some(remote) = remote {
                    repository.string(1, remote);
                }
                repository.string(2, commit);
            });
        }
    }

    /// As `wandb-metadata.json`.
    pub(super) fn json(&self) -> String {
        let mut all = json!({
            "os": std::env::consts::OS, "startedAt": format!("{}Z", date::iso(self.started)), "program": self.program,
            "host": self.host, "cpu_count": self.cores, "cpu_count_logical": self.cores,
        });
        if let Some(Git { commit, remote, .. }) = &self.git {
            all["git"] = json!({"remote": remote, "commit": commit});
        }
        format!("{all:#}")
    }
}

/// The name of this machine, as far as it is known.
pub(super) fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .map_or_else(String::new, |name| name.trim().to_owned())
}
