//! A network that is slower than this machine's memory: the bench again, in a network namespace whose loopback has a rate.

use std::process::{Command, ExitCode};

/// The rate, for the process in the namespace.
const RATE: &str = "ZAE_BENCH_LINK";

/// What the names of all figures end with.
pub(crate) fn suffix() -> String {
    std::env::var(RATE).map_or_else(|_| String::new(), |rate| format!("_{rate}"))
}

/// Runs this program with its other arguments where all that is sent shares `rate`, in the words of `tc`: `4gbit`.
pub(crate) fn run(rate: &str) -> Result<ExitCode, String> {
    let name = Namespace::new(rate)?;
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let args: Vec<_> = std::env::args().skip(1).collect();
    let at = args.iter().position(|arg| arg == "--link").unwrap_or(args.len());
    let others = args.iter().enumerate().filter(|(i, _)| *i != at && *i != at + 1).map(|(_, arg)| arg);
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &name.0]).arg(program).args(others).env(RATE, rate);
    let status = command.status().map_err(|e| format!("ip: {e}"))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Gone with this.
struct Namespace(String);

impl Namespace {
    fn new(rate: &str) -> Result<Self, String> {
        let name = format!("zae-bench-{}", std::process::id());
        ip(&format!("netns add {name}"))?;
        let namespace = Self(name);
        let Self(name) = &namespace;
        ip(&format!("-n {name} link set lo up"))?;
        ip(&format!("netns exec {name} tc qdisc add dev lo root tbf rate {rate} burst 512kb latency 200ms"))?;
        Ok(namespace)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&format!("netns del {}", self.0));
    }
}

fn ip(words: &str) -> Result<(), String> {
    let output = Command::new("ip").args(words.split(' ')).output();
    let output = output.map_err(|e| format!("ip: {e}: install iproute2, and run this as root"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("ip {words}: {}", said.trim())) }
}
