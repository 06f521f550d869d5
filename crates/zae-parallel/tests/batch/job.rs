//! A batch job, submitted with the script of the documentation.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Far longer than any of these takes, also on a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(120);
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
pub(crate) struct Batch<'a> {
    folder: &'a Path,
    id: String,
}

impl<'a> Batch<'a> {
    /// On two nodes, with two ranks on each, of one core: a script's own wishes are met by larger machines.
    pub(crate) fn submit(folder: &'a Path, rank: &Command) -> Self {
        let mut sbatch = Command::new("sbatch");
        sbatch.args(["--parsable", "--ntasks-per-node=2", "--cpus-per-task=1", "--output"]).arg(folder.join("said"));
        sbatch.envs(rank.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut sbatch = sbatch.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        sbatch.stdin.take().unwrap().write_all(script(rank).as_bytes()).unwrap();
        let id = String::from_utf8(sbatch.wait_with_output().unwrap().stdout).unwrap();
        Self { folder, id: id.trim().to_owned() }
    }

    /// Sends word of it to Slurm.
    pub(crate) fn tell(&self, words: &str) {
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

    pub(crate) fn wait_for_state(&self, words: &[&str]) {
        self.wait(&words.join(" "), || {
            let shown = self.shown();
            words.iter().all(|word| shown.split(' ').any(|shown| shown == *word))
        });
    }

    /// Until each rank is within the step in which it waits for a signal.
    pub(crate) fn wait_for_ranks(&self) {
        self.wait("each rank waits", || (0..RANKS).all(|rank| self.folder.join(rank.to_string()).exists()));
    }

    /// What came out on each rank.
    pub(crate) fn ends(&self) -> Vec<Vec<u8>> {
        let end = |rank| fs::read(self.folder.join(format!("end-{rank}")));
        (0..RANKS).map(|rank| end(rank).unwrap_or_else(|e| panic!("rank {rank} ({e}):\n{}", self.said()))).collect()
    }

    /// How far it was when it went on.
    pub(crate) fn assert_has_gone_on(&self, step: std::ops::RangeInclusive<u64>) {
        let said = self.said();
        let begun: Vec<u64> =
            said.lines().filter_map(|line| line.split_once("[0] begins with step ")?.1.parse().ok()).collect();
        assert!(begun.len() == 2 && begun[0] == 0 && step.contains(&begun[1]), "{begun:?}:\n{said}");
    }

    pub(crate) fn assert_say(&self, text: &str) {
        let said = self.said();
        assert!((0..RANKS).all(|rank| said.contains(&format!("[{rank}] {text}"))), "not all say `{text}`:\n{said}");
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let _ = Command::new("scancel").args(["--quiet", &self.id]).status();
    }
}
