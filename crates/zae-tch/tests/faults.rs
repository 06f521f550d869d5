//! Ranks that are processes train together, and one of them fails: an error, a panic, `SIGKILL`, `SIGSTOP`, in a step or an
//! evaluation, within a save, or whenever it happens to be killed. The others have to end with an error that names it, soon. Then the same command
//! goes on from the last checkpoint, and what comes out at last has the bits of the run that was left alone.
//!
//! `ZAE_FAULTS=200 cargo test -p zae-tch --test faults -- --nocapture` is the full matrix; without the variable it is a short one.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod training;

use std::{
    env, fs,
    net::TcpListener,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use training::{Job, PATIENCE, Ranks, SOON, STEPS, TICK, TIMEOUT, here};
use zae_core::rng::{Pcg64Mcg, Rng};

const WORLD: usize = 2;

fn start(folder: &Path, fault: Option<(usize, &str)>, normed: bool) -> Ranks {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    Job { folder, world_size: WORLD, steps: STEPS, master: ("127.0.0.1", port), fault, normed }.start(here)
}

fn has_stopped(ranks: &Ranks, rank: usize) -> bool {
    let state = fs::read_to_string(format!("/proc/{}/stat", ranks.children[rank].id())).unwrap_or_default();
    state.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
}

/// Runs to the end, and returns what came out on each rank.
fn finish(folder: &Path, normed: bool) -> Vec<Vec<u8>> {
    start(folder, None, normed).ends()
}

/// Runs until the fault; whether it came before the end.
fn fails(folder: &Path, faulty: usize, spec: &str, normed: bool, rng: &mut Pcg64Mcg) -> bool {
    let other = 1 - faulty;
    let whenever = spec.is_empty();
    let mut ranks = start(folder, Some((faulty, spec)), normed);
    if whenever {
        while ranks.said(faulty, "works").is_none() {
            assert!(ranks.children[faulty].try_wait().unwrap().is_none());
        }
        thread::sleep(Duration::from_micros(u64::from(rng.next_u32() % 60_000)));
        ranks.children[faulty].kill().unwrap();
    }
    // The fault is not before the process has ended, or stopped, or says so itself.
    let begun = Instant::now();
    let of_itself = spec.starts_with("error") || spec.starts_with("panic");
    while !of_itself && ranks.children[faulty].try_wait().unwrap().is_none() && !has_stopped(&ranks, faulty) {
        if ranks.said(faulty, "end").is_some() {
            return false;
        }
        assert!(begun.elapsed() < PATIENCE, "no fault comes of `{spec}`");
        thread::sleep(TICK);
    }
    if ranks.said(faulty, "end").is_some() {
        return false;
    }
    let since = Instant::now();
    let Err(error) = ranks.outcome(other, since) else { return false };
    let stops = spec.starts_with("stop");
    let patience = if stops { TIMEOUT + SOON } else { SOON };
    assert!(of_itself || since.elapsed() < patience, "`{spec}` was noticed after {:?}: {error}", since.elapsed());
    assert!(error.contains(&format!("rank {faulty}")), "`{spec}`: {error}");
    if faulty > 0 && spec.starts_with("stop") {
        assert!(error.contains("; rank 1 was last heard of in "), "`{spec}`: {error}");
    }
    if of_itself {
        let own = ranks.outcome(faulty, since).unwrap_err();
        assert_eq!(error, format!("rank {faulty}: {own}"));
        assert!(error.contains("boom") && error.contains("_step"), "{error}");
    }
    true
}

/// Rank 0 writes for both.
#[test]
fn a_run_whose_rank_0_is_killed_within_a_save_ends_with_the_bits_of_the_undisturbed_one() {
    let stride = if env::var_os("ZAE_FAULTS").is_some() { 1 } else { 29 };
    let whole = tempfile::tempdir().unwrap();
    let expected = finish(whole.path(), false);
    let mut killed = 0;
    for operation in (1..).step_by(stride) {
        let folder = tempfile::tempdir().unwrap();
        if !fails(folder.path(), 0, &format!("disk {operation}"), false, &mut Pcg64Mcg::new(0)) {
            break;
        }
        killed += 1;
        assert!(finish(folder.path(), false) == expected, "other bits after operation {operation}");
    }
    assert!(killed > 3, "saves take no {} file operations", 3 * stride);
    println!("rank 0 was killed at {killed} file operations: all ended with the same bits");
}

#[test]
fn a_run_whose_ranks_fail_ends_with_the_bits_of_the_undisturbed_one() {
    random_faults(false);
}

/// Ranks wait for each other within a batch norm too.
#[test]
fn so_does_one_whose_batch_norms_are_of_all_ranks() {
    random_faults(true);
}

fn random_faults(normed: bool) {
    let faults: u64 = env::var("ZAE_FAULTS").map_or(16, |faults| faults.parse().unwrap());
    let whole = tempfile::tempdir().unwrap();
    let expected = finish(whole.path(), normed);
    assert!(expected[0].len() > 1000 && expected.iter().all(|end| *end == expected[0]), "the ranks part");
    let mut rng = Pcg64Mcg::new(7);
    let mut below = |n: u64| u64::from(rng.next_u32()) % n;
    let (mut fired, mut runs, mut i) = (0, 0, 0u64);
    while fired < faults {
        let folder = tempfile::tempdir().unwrap();
        runs += 1;
        // A run fails up to three times, each time further on.
        let mut step = 0;
        for _ in 0..3 {
            step += below(STEPS / 2);
            let mode = if below(4) == 0 { "evaluate" } else { "train" };
            // Waiting for those that are stopped takes the most time.
            let kind = ["error", "kill", "whenever", "panic", "kill", "whenever", "stop", "whenever"][i as usize % 8];
            let spec = if kind == "whenever" { String::new() } else { format!("{kind} {mode} {step}") };
            let faulty = below(2) as usize;
            i += 1;
            fired += u64::from(fails(folder.path(), faulty, &spec, normed, &mut Pcg64Mcg::new(u128::from(i))));
        }
        assert!(finish(folder.path(), normed) == expected, "other bits after faults of run {runs}");
        assert!(i < 4 * faults + 16, "hardly any fault fires");
    }
    println!("{fired} faults in {runs} runs of {WORLD} ranks: all ended with the same bits");
}
