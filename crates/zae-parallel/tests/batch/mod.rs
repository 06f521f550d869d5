//! Batch jobs that are started again: with the script of the documentation they go on, and end as if nothing had been.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

use crate::{
    jobs::{DEADLINE, rank_command},
    ranks, slurm_is_there,
};

const DOCUMENTATION: &str = include_str!("../../../../docs/distributed.md");
const RANKS: usize = 4;

/// The script, with a program of these tests in it.
fn script(rank: &Command) -> String {
    let start = DOCUMENTATION.find("#!/bin/bash").unwrap();
    let script = DOCUMENTATION[start..].split("```").next().unwrap();
    let words = [rank.get_program()].into_iter().chain(rank.get_args()).map(|word| word.to_string_lossy());
    assert!(script.contains(" target/release/train"), "{script}");
    script.replace("target/release/train", &words.collect::<Vec<_>>().join(" "))
}

/// A job, which goes with this.
struct Batch<'a> {
    folder: &'a Path,
    id: String,
}

impl<'a> Batch<'a> {
    /// On two nodes, with two ranks on each, of one core: a script's own wishes are met by larger machines.
    fn submit(folder: &'a Path, does: &str) -> Self {
        let mut rank = Command::new(std::env::current_exe().unwrap());
        rank_command(&mut rank, does);
        let mut sbatch = Command::new("sbatch");
        sbatch.args(["--parsable", "--ntasks-per-node=2", "--cpus-per-task=1", "--output"]).arg(folder.join("said"));
        sbatch.envs(rank.get_envs().filter_map(|(name, value)| Some((name, value?)))).env(ranks::FOLDER, folder);
        let mut sbatch = sbatch.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        sbatch.stdin.take().unwrap().write_all(script(&rank).as_bytes()).unwrap();
        let id = String::from_utf8(sbatch.wait_with_output().unwrap().stdout).unwrap();
        Self { folder, id: id.trim().to_owned() }
    }

    /// Sends word of it to Slurm.
    fn tell(&self, words: &str) {
        let mut words = words.split(' ');
        let done = Command::new(words.next().unwrap()).args(words).arg(&self.id).status();
        assert!(done.unwrap().success());
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.join("said")).unwrap_or_default()
    }

    /// What Slurm says of it: `NAME=value`, and more.
    fn shown(&self) -> String {
        let shown = Command::new("scontrol").args(["show", "job", "--oneliner", &self.id]).output().unwrap();
        String::from_utf8_lossy(&shown.stdout).into_owned()
    }

    fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
        let since = Instant::now();
        while !is_so() {
            let is_late = since.elapsed() > DEADLINE;
            assert!(!is_late, "{what}: not so\n{}\n{}", self.shown(), self.said());
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn wait_for_state(&self, words: &[&str]) {
        self.wait(&words.join(" "), || {
            let shown = self.shown();
            words.iter().all(|word| shown.split(' ').any(|shown| shown == *word))
        });
    }

    /// Until each rank is within the step in which it waits for a signal.
    fn wait_for_ranks(&self) {
        self.wait("each rank waits", || (0..RANKS).all(|rank| self.folder.join(rank.to_string()).exists()));
    }

    /// What came out on each rank.
    fn ends(&self) -> Vec<Vec<u8>> {
        let end = |rank| fs::read(self.folder.join(format!("end-{rank}")));
        (0..RANKS).map(|rank| end(rank).unwrap_or_else(|e| panic!("rank {rank} ({e}):\n{}", self.said()))).collect()
    }

    /// How far it was when it went on.
    fn assert_has_gone_on(&self, step: std::ops::RangeInclusive<u64>) {
        let said = self.said();
        let begun: Vec<u64> =
            said.lines().filter_map(|line| line.split_once("[0] begins with step ")?.1.parse().ok()).collect();
        assert!(begun.len() == 2 && begun[0] == 0 && step.contains(&begun[1]), "{begun:?}:\n{said}");
    }

    fn assert_say(&self, text: &str) {
        let said = self.said();
        assert!((0..RANKS).all(|rank| said.contains(&format!("[{rank}] {text}"))), "not all say `{text}`:\n{said}");
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let _ = Command::new("scancel").args(["--quiet", &self.id]).status();
    }
}

static UNDISTURBED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let job = Batch::submit(folder.path(), "saves");
    job.wait_for_state(&["JobState=COMPLETED", "Restarts=0"]);
    let ends = job.ends();
    assert!(ends[0].len() > 1000 && ends.iter().all(|end| *end == ends[0]), "the ranks part");
    ends
});

const STOPPED: &str = "ends with Interrupted { signal: \"SIGTERM\" } at step 14";

/// As it is when Slurm has sent the signal that the script asks for.
#[test]
fn a_job_that_goes_back_into_the_queue_before_its_time_is_over_ends_as_the_undisturbed_one() {
    if !slurm_is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let job = Batch::submit(folder.path(), "saves, held");
    job.wait_for_ranks();
    job.tell("scancel --batch --signal=USR1");
    job.wait_for_state(&["JobState=COMPLETED", "Restarts=1"]);
    job.assert_say(STOPPED);
    job.assert_has_gone_on(14..=14);
    assert!(job.ends() == *UNDISTURBED, "other bits");
}

#[test]
fn so_does_one_that_has_lost_a_rank() {
    if !slurm_is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let job = Batch::submit(folder.path(), "saves, killed");
    job.wait_for_state(&["JobState=FAILED"]);
    job.tell("scontrol requeue");
    job.wait_for_state(&["JobState=COMPLETED", "Restarts=1"]);
    job.assert_has_gone_on(3..=12);
    assert!(job.ends() == *UNDISTURBED, "other bits");
}

/// And its script's next command comes: the ranks themselves have ended well.
#[test]
fn so_does_one_whose_ranks_alone_were_told_to_stop_and_that_was_submitted_again() {
    if !slurm_is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let first = Batch::submit(folder.path(), "saves, held");
    first.wait_for_ranks();
    first.tell("scancel --signal=TERM");
    first.wait_for_state(&["JobState=COMPLETED", "ExitCode=0:0", "Restarts=0"]);
    first.assert_say(STOPPED);
    let job = Batch::submit(folder.path(), "saves");
    job.wait_for_state(&["JobState=COMPLETED", "ExitCode=0:0"]);
    job.assert_has_gone_on(14..=14);
    assert!(job.ends() == *UNDISTURBED, "other bits");
}
