//! Runs of which several jobs make a part each, one after another.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

use super::{Job, run_and_look};
use crate::ranks::saving::{RUN, STEPS};

pub(crate) struct Run(TempDir);

impl Run {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The step of the last checkpoint, 0 without one.
    pub(crate) fn saved(&self) -> u64 {
        let checkpoints = fs::read_dir(self.0.path().join("checkpoints")).into_iter().flatten();
        let step = |name: &str| name.strip_prefix("step-")?.split('-').next()?.parse().ok();
        checkpoints.filter_map(|item| step(item.unwrap().file_name().to_str()?)).max().unwrap_or_default()
    }

    /// The next job. It begins where the last checkpoint is, unless it fails before, or has nothing to do.
    pub(crate) fn go_on(&self, mut command: Command, look: impl FnMut(&Path)) -> Job {
        let saved = self.saved();
        command.env(RUN, self.0.path());
        let job = run_and_look(command, look);
        let begun = job.said.lines().find_map(|line| line.split_once("[0] begins with step ")?.1.parse().ok());
        let nowhere = if job.status.success() { STEPS } else { saved };
        assert_eq!(begun.unwrap_or(nowhere), saved, "{}", job.said);
        job
    }
}

/// What comes out at last, on each of so many ranks.
pub(crate) fn end(job: &Job, world_size: usize) -> Vec<u8> {
    assert!(job.status.success(), "{}", job.said);
    let read = |rank| fs::read(job.folder.path().join(format!("end-{rank}")));
    let end = |rank: usize| read(rank).unwrap_or_else(|e| panic!("rank {rank} ({e}):\n{}", job.said));
    let first = end(0);
    assert!(first.len() > 1000 && (1..world_size).all(|rank| end(rank) == first), "the ranks part");
    first
}
