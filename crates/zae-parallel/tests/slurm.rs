//! Processes that Slurm starts on two nodes. `cargo xtask slurm` starts one for these tests; without one they say so and pass.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod batch;
mod jobs;
mod ranks;

use std::process::Command;

use jobs::{Job, rank_command, run};

/// Two ranks on each node.
const ON_BOTH: &str = "srun -N 2 -n 4 --ntasks-per-node 2";
/// Submits a script, waits for its end, and says what it has said.
const BATCH: &str = r#"
batch() { sbatch --quiet --wait --output="$ZAE_TEST_FOLDER/said" "$@"; status=$?; cat "$ZAE_TEST_FOLDER/said"; return $status; }
export -f batch
"#;

fn slurm_is_there() -> bool {
    let is_there = std::env::var_os("SLURM_CONF").is_some() && Command::new("srun").arg("--version").output().is_ok();
    if !is_there {
        println!("SKIPPED: there is no Slurm whose SLURM_CONF is set: `cargo xtask slurm` starts one");
    }
    is_there
}

/// What comes of a script in which `$A_RANK` is the command of a rank.
fn job(script: &str, does: &str) -> Job {
    let mut rank = Command::new(std::env::current_exe().unwrap());
    rank_command(&mut rank, does);
    let words = [rank.get_program()].into_iter().chain(rank.get_args()).map(|word| word.to_string_lossy());
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("{BATCH}{script}")]).env("A_RANK", words.collect::<Vec<_>>().join(" "));
    shell.envs(rank.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run(shell)
}

#[test]
fn srun_starts_a_group() {
    if !slurm_is_there() {
        return;
    }
    for (script, world_size) in [
        (&*format!("{ON_BOTH} --mpi=pmix $A_RANK"), 4),
        ("srun -N 2 -n 3 --mpi=pmix $A_RANK", 3),
        ("batch -N 2 -n 4 --wrap 'srun -n 2 --mpi=pmix $A_RANK'", 2),
        ("salloc -N 2 -n 4 --ntasks-per-node 2 mpirun $A_RANK", 4),
    ] {
        let job = job(script, "check");
        assert!(job.status.success(), "`{script}`:\n{}", job.said);
        job.assert_say(0..world_size, "all is well");
    }
}

#[test]
fn a_process_knows_its_place() {
    if !slurm_is_there() {
        return;
    }
    let alone = "no launcher: 0 of 1, 0 of node";
    let two = ["srun: 0 of 2, 0 of node 0", "srun: 1 of 2, 1 of node 0"];
    for (script, expected) in [
        (
            &*format!("{ON_BOTH} $A_RANK"),
            &[
                "srun: 0 of 4, 0 of node 0",
                "srun: 1 of 4, 1 of node 0",
                "srun: 2 of 4, 0 of node 1",
                "srun: 3 of 4, 1 of node 1",
            ][..],
        ),
        ("srun -n 1 $A_RANK", &["srun: 0 of 1, 0 of node 0"]),
        // Rank by rank from node to node.
        (
            "srun -N 2 -n 3 -m cyclic $A_RANK",
            &["srun: 0 of 3, 0 of node 0", "srun: 1 of 3, 0 of node 1", "srun: 2 of 3, 1 of node 0"],
        ),
        ("salloc -n 4 $A_RANK", &[&format!("{alone} ")]),
        ("salloc -N 1 -n 4 srun -n 2 $A_RANK", &two),
        ("batch -n 4 --wrap '$A_RANK'", &[&format!("{alone} 0")]),
        ("batch -N 1 -n 4 --wrap 'srun -n 2 $A_RANK'", &two),
        ("batch -N 1 -n 4 --wrap 'srun -n 1 srun --overlap -n 2 $A_RANK'", &two),
        // The script has the variables of the step that it was submitted from, beside its own.
        ("srun -n 1 bash -c \"batch -N 1 -n 4 --wrap '\\$A_RANK'\"", &["srun: 0 of 1, 0 of node 0"]),
        ("srun -n 1 bash -c \"batch -N 1 -n 4 --wrap 'srun -n 2 \\$A_RANK'\"", &two),
        // Parts of a job that ask for different things.
        (
            "srun -n 1 $A_RANK : -n 2 $A_RANK",
            &["srun: 0 of 3, 0 of node 0", "srun: 1 of 3, 0 of node 1", "srun: 2 of 3, 1 of node 1"],
        ),
        (
            "srun -N 2 -n 3 -m cyclic --mpi=pmi2 $A_RANK",
            &[
                "mpirun of MPICH: 0 of 3, 0 of node 0",
                "mpirun of MPICH: 1 of 3, 0 of node 1",
                "mpirun of MPICH: 2 of 3, 1 of node 0",
            ],
        ),
        (
            "salloc -N 2 -n 4 --ntasks-per-node 2 mpirun $A_RANK",
            &[
                "mpirun of Open MPI: 0 of 4, 0 of node 0",
                "mpirun of Open MPI: 1 of 4, 1 of node 0",
                "mpirun of Open MPI: 2 of 4, 0 of node 1",
                "mpirun of Open MPI: 3 of 4, 1 of node 1",
            ],
        ),
    ] {
        let job = job(script, "place");
        let mut places: Vec<_> = job.said.lines().filter_map(|line| Some(line.split_once("place: ")?.1)).collect();
        places.sort_unstable();
        assert_eq!(places, expected, "`{script}`:\n{}", job.said);
    }
}

#[test]
fn a_rank_that_gives_up_tells_the_others_why() {
    if !slurm_is_there() {
        return;
    }
    let job = job(&format!("{ON_BOTH} --mpi=pmix $A_RANK"), "abort");
    job.assert_failed();
    job.assert_say(0..4, "error: rank 1 has given up: out of paper");
}

/// No rank waits for as long as that of itself.
#[test]
fn a_killed_rank_ends_the_job() {
    if !slurm_is_there() {
        return;
    }
    for option in ["", "--kill-on-bad-exit"] {
        let job = job(&format!("{ON_BOTH} --mpi=pmix {option} $A_RANK"), "killed");
        job.assert_failed();
        assert!(job.said.contains("task 1: Killed") && !job.said.contains("all is well"), "{}", job.said);
    }
}

#[test]
fn where_srun_does_not_tell_mpi_of_the_ranks_the_fix_is_named() {
    if !slurm_is_there() {
        return;
    }
    let job = job("srun -n 2 --mpi=none $A_RANK", "check");
    job.assert_failed();
    assert!(job.said.contains("`srun --mpi=list`"), "{}", job.said);
}
