//! Where a run is made.

use std::thread;

use crate::{git::Git, protobuf::Message};

/// System, host, program, commit. Arguments of the program are left out, for they may hold secrets.
pub(super) fn write(message: &mut Message<'_>) {
    let program = std::env::args().next().unwrap_or_default();
    let cores = thread::available_parallelism().map_or(0, |cores| cores.get() as u64);
    message.string(1, std::env::consts::OS).string(6, &program).string(12, &host());
    message.varint(16, cores).varint(17, cores);
    if let Some(Git { commit, remote }) = Git::here() {
        message.message(9, |repository| {
            if let Some(remote) = remote {
                repository.string(1, &remote);
            }
            repository.string(2, &commit);
        });
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
