//! Where a run is made.

use std::{
    process::{Command, Stdio},
    thread,
};

use crate::protobuf::Message;

/// System, host, program, commit. Arguments of the program are left out, for they may hold secrets.
pub(super) fn write(message: &mut Message<'_>) {
    let program = std::env::args().next().unwrap_or_default();
    let cores = thread::available_parallelism().map_or(0, |cores| cores.get() as u64);
    message.string(1, std::env::consts::OS).string(6, &program).string(12, &host());
    message.varint(16, cores).varint(17, cores);
    if let Some(commit) = git(&["rev-parse", "HEAD"]) {
        message.message(9, |repository| {
            if let Some(remote) = git(&["remote", "get-url", "origin"]) {
                repository.string(1, &without_login(&remote));
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

fn git(arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    git.args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).env("GIT_TERMINAL_PROMPT", "0");
    let output = git.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// The address of a remote repository without a name and a password, which some put there.
fn without_login(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            format!("{scheme}://{host}/{path}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_address_of_a_repository_is_not_told() {
        let url = "https://me:ghp_secret@example.com/team/repo.git";
        assert_eq!(without_login(url), "https://example.com/team/repo.git");
        assert_eq!(without_login("git@example.com:team/repo.git"), "git@example.com:team/repo.git");
    }
}
