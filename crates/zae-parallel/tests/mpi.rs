//! MPI between real processes, started by the `mpirun` in the path.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod jobs;
mod ranks;

use std::process::Command;

use jobs::{Job, mpirun, rank_command, run};

impl Job {
    /// What each of these ranks says of rank 1, wherever it was itself: the same.
    fn all_say_of_rank_1(&self, ranks: &[usize]) -> String {
        let error = |rank: &usize| {
            let (_, line) = self.said.split_once(&format!("[{rank}] error: "))?;
            Some(&line[line.find("rank 1")?..line.find('\n')?])
        };
        let errors: Vec<_> = ranks.iter().map(error).collect();
        assert!(errors.iter().all(|error| error.is_some() && *error == errors[0]), "{errors:?}:\n{}", self.said);
        errors[0].unwrap().to_owned()
    }
}

fn job(world_size: usize, does: &str) -> Job {
    run(mpirun(world_size, does))
}

/// Each of these numbers of ranks does it.
fn all_is_well(world_sizes: impl IntoIterator<Item = usize>, does: &str) {
    for world_size in world_sizes {
        let job = job(world_size, does);
        assert!(job.status.success(), "{}", job.said);
        job.assert_say(0..world_size, "all is well");
    }
}

#[test]
fn mpi_is_a_group() {
    all_is_well((1..=4).chain([8]), "check");
}

#[test]
fn what_is_large_arrives_in_pieces() {
    all_is_well([2, 3], "large");
}

#[test]
fn a_sum_goes_on_while_numbers_come() {
    all_is_well(1..=3, "sums");
}

#[test]
fn a_chunk_is_on_its_way_before_the_next_number_comes() {
    let job = job(3, "early sum");
    job.assert_failed();
    job.assert_say(0..3, "error: rank 0 is in all_reduce_sum of 1048576 numbers, rank 1 in all_gather");
}

#[test]
fn a_sum_of_other_lengths_ends_on_all_ranks() {
    let job = job(3, "longer sum");
    job.assert_failed();
    job.assert_say(0..3, "error: rank 0 is in all_reduce_sum of 0 numbers, rank 1 in all_reduce_sum of 1 numbers");
}

#[test]
fn a_sum_that_a_rank_leaves_ends_on_all_ranks() {
    let given_up = "error: rank 1 has given up: ";
    for (then, ranks, text) in [
        ("dropped", &[0, 1, 2][..], format!("{given_up}it has left a sum before its end")),
        ("panicked", &[0, 1, 2], format!("{given_up}it has left a sum before its end")),
        ("aborted", &[0, 1, 2], format!("{given_up}out of paper")),
        ("stopped", &[0, 2], "error: rank 1 has not come to all_reduce_sum within 2s".to_owned()),
        ("late", &[0, 1, 2], "error: rank 1 has not come to all_reduce_sum within 2s".to_owned()),
        ("ended", &[0, 2], "error: the program of rank 1 has ended, while rank 0 waits for it in".to_owned()),
        ("killed", &[], String::new()),
    ] {
        let job = job(3, &format!("sum {then}"));
        job.assert_failed();
        job.assert_say(ranks.iter().copied(), &text);
        assert!(!job.said.contains("all is well"), "{then}: {}", job.said);
    }
}

#[test]
fn several_groups_of_one_process_are_one_mpi() {
    all_is_well([2], "twice");
}

#[test]
fn the_end_waits_for_a_rank_that_still_works() {
    all_is_well([3], "linger");
}

#[test]
fn a_rank_that_does_not_come_is_named_on_all_others() {
    let job = job(3, "stopped");
    job.assert_failed();
    job.assert_say([0, 2], "error: rank 1 has not come to all_gather within 2s");
    job.assert_say([0, 2], "again: rank 1 has not come to all_gather within 2s");
}

#[test]
fn a_rank_that_stops_within_a_call_is_named_on_all_others() {
    let job = job(4, "stopped midway");
    job.assert_failed();
    job.assert_say([0, 2, 3], "error: rank 1 has not come to all_reduce_sum within 2s");
}

#[test]
fn a_rank_that_comes_too_late_fails_as_the_others_did() {
    let job = job(3, "late");
    job.assert_failed();
    job.assert_say(0..3, "error: rank 1 has not come to all_reduce_sum within 2s");
}

#[test]
fn a_rank_that_is_missed_says_where_it_is() {
    for (place, then, ranks, words) in [
        ("data 1 4", "hangs", &[0, 2][..], "the data (epoch 1, micro-batch 4, step 4)"),
        ("step 4", "hangs", &[0, 2], "train_step (epoch 1, micro-batch 4, step 4)"),
        ("hook 4", "comes too late", &[0, 1, 2], "`on_step_end` of `hooked` (step 3)"),
    ] {
        let job = job(3, &format!("trains: {place}: {then}"));
        job.assert_failed();
        let said = job.all_say_of_rank_1(ranks);
        let place = format!(" within 2s; rank 1 was last heard of in {words}");
        let (missed, seconds) = said.split_once(", for ").unwrap();
        assert!(missed.starts_with("rank 1 has not come to all_") && missed.ends_with(&place), "{said}");
        // It was there before the others began to wait.
        assert!(seconds != "0 s", "{said}");
    }
}

#[test]
fn a_rank_that_is_stopped_is_named_without_a_place() {
    let job = job(3, "trains: data 1 4: stops");
    job.assert_failed();
    let said = job.all_say_of_rank_1(&[0, 2]);
    assert!(said.starts_with("rank 1 has not come to all_") && said.ends_with(" within 2s"), "{said}");
}

#[test]
fn a_rank_that_comes_in_time_is_not_missed() {
    for place in ["data 1 4", "step 4", "hook 4"] {
        all_is_well([3], &format!("trains: {place}: comes"));
    }
}

#[test]
fn a_killed_rank_ends_the_job() {
    job(3, "killed").assert_failed();
}

#[test]
fn a_rank_that_gives_up_tells_the_others_why() {
    let job = job(3, "abort");
    job.assert_failed();
    job.assert_say(0..3, "error: rank 1 has given up: out of paper");
    assert!(job.said.contains("logged: rank 1 has given up: out of paper"), "{}", job.said);
}

#[test]
fn giving_up_is_seen_by_a_thread_of_the_same_rank_that_waits() {
    let job = job(2, "abort beside");
    job.assert_failed();
    job.assert_say([0, 1], "error: rank 1 has given up: out of paper");
}

#[test]
fn the_status_is_not_0_although_all_programs_say_so() {
    let job = job(2, "abort, and all is well");
    job.assert_failed();
    job.assert_say([0, 1], "error: rank 1 has given up: out of paper");
}

#[test]
fn a_program_that_ends_early_is_not_waited_for() {
    let job = job(3, "gone");
    job.assert_failed();
    job.assert_say([0, 2], "error: the program of rank 1 has ended, while rank 0 waits for it in all_gather");
}

#[test]
fn ranks_that_do_different_things_all_hear_so() {
    let job = job(3, "different");
    job.assert_failed();
    job.assert_say(0..3, "error: rank 0 is in all_gather, rank 2 in broadcast from rank 0");
}

#[test]
fn a_program_of_another_mpi_says_so() {
    let mut alone = Command::new(std::env::current_exe().unwrap());
    rank_command(&mut alone, "check");
    for (name, value) in [("RANK", "0"), ("SIZE", "2"), ("LOCAL_RANK", "0")] {
        alone.env(format!("OMPI_COMM_WORLD_{name}"), value);
    }
    let job = run(alone);
    job.assert_failed();
    job.assert_say([0], "MPI sees one process where the launcher has started 2");
}
