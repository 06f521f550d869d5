//! Two machines with two ranks each, as far as one machine can play them: network namespaces with addresses of their own, and a
//! cable between them that is cut and slowed down. It takes the rights of root; without them the test says so and passes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod training;

use std::{
    path::Path,
    process::{Command, id},
    thread,
    time::Instant,
};

use training::{Job, PATIENCE, Ranks, SOON, STEPS, TICK, TIMEOUT, here};

/// Runs `ip` or `tc`; what it said, if it failed.
fn run(program: &str, words: &str) -> Result<(), String> {
    let output = Command::new(program).args(words.split(' ')).output().map_err(|e| format!("{program}: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program} {words}: {}", said.trim())) }
}

/// Two hosts and the cable between them, gone with this.
struct Hosts {
    names: [String; 2],
    cables: [String; 2],
    address: String,
}

impl Hosts {
    fn connect(number: u32) -> Result<Self, String> {
        let (process, net) = (id() % 100_000, id() % 250);
        let names = [0, 1].map(|host| format!("zae-{}-{number}-{host}", id()));
        let cables = [0, 1].map(|end| format!("zae{process}{number}{end}"));
        let hosts = Self { names, cables, address: format!("10.7{number}.{net}.1") };
        let [(a, b), (cable_a, cable_b)] = [&hosts.names, &hosts.cables].map(|[a, b]| (a, b));
        run("ip", &format!("netns add {a}"))?;
        run("ip", &format!("netns add {b}"))?;
        run("ip", &format!("link add {cable_a} netns {a} type veth peer name {cable_b} netns {b}"))?;
        for (host, (name, cable)) in hosts.names.iter().zip(&hosts.cables).enumerate() {
            run("ip", &format!("-n {name} addr add 10.7{number}.{net}.{}/24 dev {cable}", host + 1))?;
            run("ip", &format!("-n {name} link set {cable} up"))?;
            run("ip", &format!("-n {name} link set lo up"))?;
            run("ip", &format!("netns exec {name} true"))?;
        }
        Ok(hosts)
    }

    /// Two ranks on each.
    fn start(&self, folder: &Path, steps: u64) -> Ranks {
        let job = Job { folder, world_size: 4, steps, master: (&self.address, 29_500), fault: None, normed: false };
        job.start(|rank| {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", &self.names[rank / 2]]).arg(here(rank).get_program());
            command
        })
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.names.iter().for_each(|name| drop(run("ip", &format!("netns del {name}"))));
    }
}

#[test]
fn two_hosts_train_as_one_and_miss_each_other_when_the_cable_is_cut() {
    let hosts = match Hosts::connect(0) {
        Ok(hosts) => hosts,
        Err(reason) => return println!("SKIPPED: two hosts cannot be played here ({reason})"),
    };
    let [alone, together, slow, cut] = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let job = Job {
        folder: alone.path(),
        world_size: 4,
        steps: STEPS,
        master: ("127.0.0.1", port),
        fault: None,
        normed: false,
    };
    let expected = job.start(here).ends();
    assert!(hosts.start(together.path(), STEPS).ends() == expected, "two hosts end elsewhere");

    match run(
        "tc",
        &format!(
            "-n {} qdisc add dev {} root tbf rate 20mbit burst 16kb latency 50ms",
            hosts.names[0], hosts.cables[0]
        ),
    ) {
        Ok(()) => assert!(hosts.start(slow.path(), STEPS).ends() == expected, "a slow cable changes what is trained"),
        Err(reason) => println!("SKIPPED: a slow cable cannot be played here ({reason})"),
    }

    let mut ranks = hosts.start(cut.path(), u64::MAX);
    let begun = Instant::now();
    while !cut.path().join("run/checkpoints/last").exists() {
        assert!(begun.elapsed() < PATIENCE, "nothing is saved");
        thread::sleep(TICK);
    }
    run("ip", &format!("-n {} link set {} down", hosts.names[0], hosts.cables[0])).unwrap();
    let since = Instant::now();
    for rank in 0..4 {
        let error = ranks.outcome(rank, since).unwrap_err();
        assert!(since.elapsed() < TIMEOUT + SOON, "rank {rank} has waited for {:?}: {error}", since.elapsed());
        assert!(error.contains("rank"), "{error}");
    }
}
