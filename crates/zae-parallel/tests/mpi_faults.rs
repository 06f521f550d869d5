//! Ranks that `mpirun` has started train together, and one of them fails: an error, a panic, `SIGKILL`, `SIGSTOP`, in a step or an
//! evaluation, or whenever it happens to be killed, while MPI starts too. The job has to end, soon, with a status that is not 0. Then the same command
//! goes on from the last checkpoint, and what comes out at last has the bits of the run that was left alone.
//!
//! `ZAE_FAULTS=200 cargo test -p zae-parallel --features mpi --test mpi_faults -- --nocapture` is the full matrix; without the
//! variable it is a short one.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod jobs;
mod ranks;

use std::{
    env, fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use jobs::{
    DEADLINE, Job, mpirun, rank_command,
    saving::{Run, end},
};
use ranks::saving::STEPS;
use zae_core::rng::{Pcg64Mcg, Rng};

const WORLD: usize = 2;
/// How long a rank that is stopped is waited for. What fails in another way has to be noticed without waiting.
const TIMEOUT: Duration = Duration::from_secs(3);
/// What it takes beyond that: asking who is there, and time for all to tell their errors.
const GRACE: Duration = Duration::from_secs(7);
/// How soon a job has to end, also on a machine that is busy.
const SOON: Duration = Duration::from_secs(8);

/// What a rank has failed with.
fn error(job: &Job, rank: usize) -> &str {
    let said = job.said.split_once(&format!("[{rank}] error: "));
    said.and_then(|(_, said)| said.lines().next()).unwrap_or_else(|| panic!("rank {rank} has no error:\n{}", job.said))
}

/// Kills the process of a rank; whether it still was.
fn kill(pid: &str) -> bool {
    Command::new("kill").args(["-KILL", pid]).output().unwrap().status.success()
}

/// Runs until the fault: `KIND MODE STEP`, or `whenever MICROSECONDS` after it has started. `None` if it has not come before the
/// end, of which the bits are these.
fn fails(run: &Run, faulty: usize, fault: &str, expected: &[u8], kill_after: u64) -> Option<Duration> {
    let whenever = fault.strip_prefix("whenever ").map(|micros| Duration::from_micros(micros.parse().unwrap()));
    let then = whenever.map_or(format!(", {fault} {faulty}"), |_| String::new());
    let (stops, other) = (fault.starts_with("stop"), 1 - faulty);
    let timeout = if stops { TIMEOUT } else { DEADLINE };
    let mut command = mpirun(WORLD, &format!("saves{then}"));
    command.env("ZAE_TIMEOUT", timeout.as_secs().to_string());
    // The ranks that are left are told to end, and have so many seconds before they are killed.
    command.env("OMPI_MCA_odls_base_sigkill_timeout", kill_after.to_string());
    let mut since = None;
    let job = run.go_on(command, |left| {
        let pid = fs::read_to_string(left.join(format!("pid-{faulty}"))).unwrap_or_default();
        let is_now = match whenever {
            _ if since.is_some() => false,
            Some(after) if !pid.is_empty() => {
                thread::sleep(after);
                kill(&pid)
            }
            Some(_) => false,
            None => left.join(faulty.to_string()).exists(),
        };
        since = since.or_else(|| is_now.then(Instant::now));
    });
    if job.status.success() {
        assert!(since.is_none() || whenever.is_some(), "nothing comes of `{fault}`");
        assert!(end(&job, WORLD) == expected, "other bits");
        return None;
    }
    let took = since.unwrap_or_else(|| panic!("`{fault}`: the job fails by itself:\n{}", job.said)).elapsed();
    let patience = if stops { TIMEOUT + GRACE + SOON } else { SOON };
    assert!(took < patience, "`{fault}` took {took:?}:\n{}", job.said);
    if stops {
        let error = error(&job, other);
        assert!(error.contains(&format!(": rank {faulty} has not come to all_")), "`{fault}`: {error}");
    }
    if fault.starts_with("error") || fault.starts_with("panic") {
        let own = error(&job, faulty);
        let place = if fault.contains(" train ") { "train_step (epoch " } else { "test_step (batch " };
        assert!(own.starts_with(place) && own.ends_with("boom"), "{own}");
        assert_eq!(error(&job, other), format!("rank {faulty}: {own}"));
    }
    Some(took)
}

#[test]
fn a_run_whose_ranks_fail_ends_with_the_bits_of_the_undisturbed_one() {
    let faults: usize = env::var("ZAE_FAULTS").map_or(16, |faults| faults.parse().unwrap());
    let finish = |run: &Run| end(&run.go_on(mpirun(WORLD, "saves"), |_| ()), WORLD);
    let expected = finish(&Run::new());
    let mut rng = Pcg64Mcg::new(7);
    let mut below = |n: u64| u64::from(rng.next_u32()) % n;
    let (mut fired, mut runs, mut longest, mut i) = (0, 0, Duration::ZERO, 0);
    while fired < faults {
        let run = Run::new();
        runs += 1;
        // A run fails up to three times, each time further on.
        let mut step = 0;
        for _ in 0..3 {
            step += below(STEPS / 2);
            let mode = if below(4) == 0 { "evaluate" } else { "train" };
            // Waiting for those that are stopped takes the most time.
            let fault =
                match ["error", "killed", "whenever", "panic", "killed", "whenever", "stopped", "whenever"][i % 8] {
                    "whenever" => format!("whenever {}", below(600_000)),
                    kind => format!("{kind} {mode} {step}"),
                };
            let took = fails(&run, below(2) as usize, &fault, &expected, below(2));
            (fired, i) = (fired + usize::from(took.is_some()), i + 1);
            longest = longest.max(took.unwrap_or_default());
        }
        assert!(finish(&run) == expected, "other bits after faults of run {runs}");
        assert!(i < 4 * faults + 16, "hardly any fault fires");
    }
    println!(
        "{fired} faults of {i} in {runs} runs of {WORLD} ranks: all jobs ended within {longest:.1?}, all runs with the same bits"
    );
}

#[test]
fn a_run_that_is_told_to_stop_on_four_ranks_and_on_two_ends_with_the_bits_of_one_process() {
    // Without `mpirun`, it is a program that nothing has started as one of several.
    let alone = |run: &Run| {
        let mut command = Command::new(env::current_exe().unwrap());
        rank_command(&mut command, "saves for any number");
        end(&run.go_on(command, |_| ()), 1)
    };
    let (expected, run) = (alone(&Run::new()), Run::new());
    for (world_size, step) in [(4, 11), (2, 20)] {
        // One rank alone is told.
        let job = run.go_on(mpirun(world_size, &format!("saves for any number, told train {step} 1")), |_| ());
        assert!(job.status.success(), "{}", job.said);
        job.assert_say(
            0..world_size,
            &format!("ends with Interrupted {{ signal: \"SIGTERM\" }} at step {}\n", step + 1),
        );
        assert_eq!(run.saved(), step + 1);
    }
    assert!(alone(&run) == expected, "other bits");
}
