//! Batch jobs that are started again: with the script of the documentation they go on, and end as if nothing had been.

mod job;

use std::{path::Path, process::Command, sync::LazyLock};

use job::Batch;

use crate::{jobs::rank_command, ranks, slurm_is_there};

fn submit<'a>(folder: &'a Path, does: &str) -> Batch<'a> {
    let mut rank = Command::new(std::env::current_exe().unwrap());
    rank_command(&mut rank, does);
    Batch::submit(folder, rank.env(ranks::FOLDER, folder))
}

static UNDISTURBED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let job = submit(folder.path(), "saves");
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
    let job = submit(folder.path(), "saves, held train 13 all");
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
    let job = submit(folder.path(), "saves, killed train 13 1");
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
    let first = submit(folder.path(), "saves, held train 13 all");
    first.wait_for_ranks();
    first.tell("scancel --signal=TERM");
    first.wait_for_state(&["JobState=COMPLETED", "ExitCode=0:0", "Restarts=0"]);
    first.assert_say(STOPPED);
    let job = submit(folder.path(), "saves");
    job.wait_for_state(&["JobState=COMPLETED", "ExitCode=0:0"]);
    job.assert_has_gone_on(14..=14);
    assert!(job.ends() == *UNDISTURBED, "other bits");
}
