//! Examples with LibTorch as a user runs them: they learn, and a run that was cut ends with the bits of one that was not.
#![allow(clippy::unwrap_used)]

#[path = "common/process.rs"]
mod process;

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use process::{assert_closing_line, example, mnist_files, run, text};

const EPOCHS: &str = "3";

#[test]
fn the_small_one_runs() {
    let folder = tempfile::tempdir().unwrap();
    // Started without Cargo's variables, it finds LibTorch by itself.
    let output = example("minimal_tch").env_remove("LD_LIBRARY_PATH").current_dir(folder.path()).output().unwrap();
    assert!(output.status.success() && text(&output.stdout).contains("accuracy 0.8"), "{}", text(&output.stderr));
    assert!(folder.path().join("runs/minimal_tch/metrics.csv").exists());
}

/// What a run of mnist ends with: weights, optimizer, and every step's row without the times in it.
#[derive(PartialEq, Debug)]
struct End {
    files: BTreeMap<&'static str, Vec<u8>>,
    steps: Vec<String>,
}

impl End {
    fn of(folder: &Path) -> Self {
        let checkpoints = folder.join("checkpoints");
        let last = checkpoints.join(fs::read_to_string(checkpoints.join("last")).unwrap().trim());
        let files = ["model.safetensors", "optimizer.safetensors"];
        let files = files.map(|name| (name, fs::read(last.join(name)).unwrap())).into();
        let csv = fs::read_to_string(folder.join("metrics.csv")).unwrap();
        let mut lines = csv.lines();
        let timed: Vec<bool> =
            lines.next().unwrap().split(',').map(|name| ["seconds", "elapsed"].contains(&name)).collect();
        let untimed = |line: &str| {
            let cells = line.split(',').zip(&timed).filter(|(_, timed)| !**timed).map(|(cell, _)| cell);
            cells.collect::<Vec<_>>().join(",")
        };
        Self { files, steps: lines.filter(|line| line.starts_with("step,")).map(untimed).collect() }
    }
}

/// The learning rate of each step.
#[cfg(unix)]
fn rates(folder: &Path) -> Vec<f64> {
    let csv = fs::read_to_string(folder.join("metrics.csv")).unwrap();
    let lr = csv.lines().next().unwrap().split(',').position(|name| name == "lr").unwrap();
    csv.lines()
        .filter(|line| line.starts_with("step,"))
        .map(|line| line.split(',').nth(lr).unwrap().parse().unwrap())
        .collect()
}

#[cfg(unix)]
#[test]
fn mnist_cut_in_the_middle_of_an_epoch_ends_with_the_same_bits() {
    let data = mnist_files();
    let data = data.path().to_str().unwrap();
    let options = ["--engine", "tch", "--data", data, "--epochs", EPOCHS, "--limit-batches", "40", "--threads", "1"];
    let whole = tempfile::tempdir().unwrap();
    assert_closing_line(&run("mnist", whole.path(), &options));
    let expected = End::of(whole.path());
    assert_eq!(expected.steps.len(), 120);
    assert!(rates(whole.path()).iter().any(|&rate| rate > 1e-4), "nothing could be learned");
    for signal in ["-KILL", "-INT"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = example("mnist");
        command.args(["--run-dir".as_ref(), folder.path().as_os_str()]).args(options);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The first epoch is saved while the second is trained.
        while !folder.path().join("checkpoints/last").exists() {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it had saved");
            std::thread::sleep(Duration::from_millis(1));
        }
        Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(!child.wait().unwrap().success(), "{signal} came too late");
        let steps = End::of(folder.path()).steps.len();
        assert!(steps < 120, "{signal}: all steps were done");
        assert_closing_line(&run("mnist", folder.path(), &options));
        assert!(End::of(folder.path()) == expected, "{signal}: it ended elsewhere");
    }
}

/// The ranks of mnist, started with the variables that torchrun sets, and killed when this goes.
#[cfg(unix)]
struct Ranks(Vec<Child>);

#[cfg(unix)]
impl Ranks {
    fn start(world_size: usize, folder: &Path, options: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let start = |rank: usize| {
            let (rank, world_size) = (rank.to_string(), world_size.to_string());
            let mut command = example("mnist");
            command.args(["--run-dir".as_ref(), folder.as_os_str()]).args(options);
            command.envs([("RANK", &rank), ("LOCAL_RANK", &rank), ("WORLD_SIZE", &world_size), ("MASTER_PORT", &port)]);
            command.env("MASTER_ADDR", "localhost").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        Self((0..world_size).map(start).collect())
    }

    /// Whether all of them have ended well, and what they have written.
    fn end(mut self) -> Vec<(bool, String)> {
        let ranks = std::mem::take(&mut self.0).into_iter();
        ranks
            .map(Child::wait_with_output)
            .map(|output| output.unwrap())
            .map(|o| (o.status.success(), text(&o.stderr)))
            .collect()
    }
}

#[cfg(unix)]
impl Drop for Ranks {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(unix)]
#[test]
fn mnist_on_several_ranks_ends_with_the_bits_of_one_process_also_if_a_rank_is_killed() {
    let data = mnist_files();
    let data = data.path().to_str().unwrap();
    let options = ["--engine", "tch", "--data", data, "--epochs", EPOCHS, "--limit-batches", "22", "--threads", "1"];
    let options = [&options[..], &["--micro-batches", "4", "--reproducible"]].concat();
    let whole = tempfile::tempdir().unwrap();
    assert_closing_line(&run("mnist", whole.path(), &options));
    let expected = End::of(whole.path());
    assert_eq!(expected.steps.len(), 18);
    for world_size in [2, 4] {
        let folder = tempfile::tempdir().unwrap();
        for (ended_well, stderr) in Ranks::start(world_size, folder.path(), &options).end() {
            assert!(ended_well, "{stderr}");
        }
        assert!(End::of(folder.path()) == expected, "{world_size} ranks end elsewhere");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut ranks = Ranks::start(2, folder.path(), &options);
    while !folder.path().join("checkpoints/last").exists() {
        assert!(ranks.0[0].try_wait().unwrap().is_none(), "it ended before it had saved");
        std::thread::sleep(Duration::from_millis(1));
    }
    ranks.0[1].kill().unwrap();
    let ends = ranks.end();
    assert!(!ends[0].0 && ends[0].1.contains("rank 1 is gone"), "{ends:?}");
    assert!(End::of(folder.path()).steps.len() < 18, "all steps were done");
    // It goes on with one process.
    assert_closing_line(&run("mnist", folder.path(), &options));
    assert!(End::of(folder.path()) == expected, "it ended elsewhere");
}

/// Two ranks of mnist that PyTorch's launcher has started, and that have saved once.
#[cfg(target_os = "linux")]
fn torchrun(folder: &Path, options: &[&str], restarts: &str) -> Child {
    let mut torchrun = Command::new(std::env::var("ZAE_PYTHON").unwrap());
    // Cargo's, with our LibTorch in it: Python has its own, and the example finds ours.
    torchrun.env_remove("LD_LIBRARY_PATH").args([
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--max-restarts",
        restarts,
    ]);
    torchrun.args(["--monitor-interval", "0.1", "--nproc-per-node", "2", "--no-python"]);
    torchrun.arg(example("mnist").get_program()).arg("--run-dir").arg(folder).args(options);
    let mut torchrun = torchrun.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !folder.join("checkpoints/last").exists() {
        assert!(torchrun.try_wait().unwrap().is_none(), "it ended before it had saved");
        std::thread::sleep(Duration::from_millis(1));
    }
    torchrun
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs Python with torch: cargo xtask test runs it"]
fn torchrun_starts_the_ranks_and_starts_them_again() {
    let kill = |signal: &str, pid: &str| assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
    let data = mnist_files();
    let data = data.path().to_str().unwrap();
    let options = ["--engine", "tch", "--data", data, "--epochs", EPOCHS, "--limit-batches", "22", "--threads", "1"];
    let options = [&options[..], &["--micro-batches", "4", "--reproducible"]].concat();
    let [whole, lost, ended] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    assert_closing_line(&run("mnist", whole.path(), &options));
    let expected = End::of(whole.path());

    let launcher = torchrun(lost.path(), &options, "1");
    let pid = launcher.id();
    let ranks = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    kill("-KILL", ranks.split_whitespace().last().unwrap());
    let output = launcher.wait_with_output().unwrap();
    assert!(text(&output.stderr).contains("rank"), "nothing was killed");
    assert_closing_line(&output);
    assert!(End::of(lost.path()) == expected, "it ended elsewhere");

    // A machine that is taken away tells the launcher, which tells the ranks: they save the step that they are at.
    let launcher = torchrun(ended.path(), &options, "0");
    kill("-TERM", &launcher.id().to_string());
    let output = launcher.wait_with_output().unwrap();
    assert!(!output.status.success(), "it was at its end already");
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(said.contains("SIGTERM"), "{said}");
    assert!(End::of(ended.path()).steps.len() < expected.steps.len(), "all steps were done");
    assert_closing_line(&run("mnist", ended.path(), &options));
    assert!(End::of(ended.path()) == expected, "it ended elsewhere");
}
