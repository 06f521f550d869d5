//! Real processes that are killed: this test binary, started again as a child, trains; it is ended at random moments, at
//! every file operation of its saves, and started again with the same command until it is through. Then every weight, every
//! metric and every row has to be that of the run that was left alone.
//!
//! `ZAE_KILLS=1000 cargo test --release -p zae-checkpoint --test kill -- --include-ignored` is the full matrix; without
//! the variable each part is a short one.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod program;

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use program::*;
use signal_hook::{
    consts::{SIGKILL, SIGTERM},
    low_level::raise,
};
use tempfile::tempdir;
use zae_checkpoint::{Format, StateManager, disk::Disk};
use zae_core::{
    state::State,
    trainer::{Outcome, Until},
};

/// What the parent tells the child.
const DIR: &str = "ZAE_CHILD_DIR";
const SET_UP: &str = "ZAE_CHILD_SET_UP";
const KILL_AT: &str = "ZAE_CHILD_KILL_AT";

// ---- the child ----

/// The set-ups of the matrix.
const SET_UPS: [&str; 3] = ["background", "at once", "ckpt"];

fn manager_of(set_up: &str) -> StateManager {
    match set_up {
        "background" => manager(),
        "at once" => manager().background(false),
        "ckpt" => manager().format(Format::Ckpt),
        "every operation" => StateManager::new().every_steps(5).background(false),
        other => panic!("{other}?"),
    }
}

/// Does nothing unless this process is the child.
#[test]
fn child() {
    let Ok(dir) = env::var(DIR) else { return };
    let dir = PathBuf::from(dir);
    let set_up = env::var(SET_UP).unwrap();
    let kill_at: u64 = env::var(KILL_AT).map_or(0, |at| at.parse().unwrap());
    let operations = std::sync::Arc::new(AtomicU64::new(0));
    let counted = operations.clone();
    let disk = Disk::with_hook(move |_| {
        if counted.fetch_add(1, Ordering::SeqCst) + 1 == kill_at {
            raise(SIGKILL)?;
        }
        Ok(())
    });
    let (epochs, signals) = if set_up == "every operation" { (2, false) } else { (12, true) };
    let mut trainer = trainer(&dir).handle_signals(signals).add_on(manager_of(&set_up).disk(disk));
    let run = trainer.run(Until::epochs(epochs), train_data(), valid_data()).unwrap();
    if matches!(run.outcome, Outcome::Interrupted { .. }) {
        return;
    }
    let Bits { tensors, numbers, run } = bits_of(&mut trainer);
    fs::write(dir.join("operations"), operations.load(Ordering::SeqCst).to_string()).unwrap();
    fs::write(dir.join("done.tmp"), State::encode(&(tensors, numbers, run)).unwrap().0).unwrap();
    fs::rename(dir.join("done.tmp"), dir.join("done")).unwrap();
}

// ---- the parent ----

fn command(dir: &Path, set_up: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["child", "--exact"]).env(DIR, dir).env(SET_UP, set_up).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn start(dir: &Path, set_up: &str) -> Child {
    command(dir, set_up).spawn().unwrap()
}

/// What a run has come to: its end as bits, and its rows.
type End = (BTreeMap<String, Vec<u8>>, String, State, Vec<String>);

fn end_of(dir: &Path) -> End {
    let (tensors, numbers, run) = State(fs::read(dir.join("done")).unwrap()).decode().unwrap();
    (tensors, numbers, run, csv_rows(dir))
}

#[track_caller]
fn assert_same(found: &End, expected: &End, what: &str) {
    for (name, bytes) in &expected.0 {
        assert!(found.0.get(name) == Some(bytes), "{what}: `{name}` differs");
    }
    assert_eq!(found.1, expected.1, "{what}");
    assert_eq!(found.3, expected.3, "{what}");
    assert!(found.0.len() == expected.0.len() && found.2 == expected.2, "{what}: the run's state differs");
}

fn undisturbed(set_up: &str) -> (End, Duration) {
    let dir = tempdir().unwrap();
    let begun = Instant::now();
    let status = start(dir.path(), set_up).wait().unwrap();
    assert!(status.success(), "{status}");
    (end_of(dir.path()), begun.elapsed())
}

/// Something in the folder that is only there in the middle of a save.
fn in_a_save(dir: &Path) -> bool {
    let hidden = |name: &String| name.starts_with(".tmp-") || name.starts_with(".trash-");
    saved_in(dir).is_dir() && names(&saved_in(dir)).iter().any(hidden)
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}

fn wanted(short: u64) -> u64 {
    env::var("ZAE_KILLS").map_or(short, |kills| kills.parse().unwrap())
}

fn send(signal: i32, child: &Child) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([format!("-{signal}"), pid]).status().unwrap().success());
}

fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(SIGKILL)
}

/// C1, C5, R1 to R9.
#[test]
fn killed_at_random_moments_the_run_ends_with_the_same_bits() {
    let wanted = wanted(60);
    let expected: Vec<_> = SET_UPS.iter().map(|set_up| undisturbed(set_up)).collect();
    let mut random = Random(wanted);
    let (mut kills, mut in_saves, mut runs) = (0, 0, 0);
    while kills < wanted {
        let i = runs % SET_UPS.len();
        let (expected, time) = &expected[i];
        let dir = tempdir().unwrap();
        while !dir.path().join("done").exists() {
            let mut child = start(dir.path(), SET_UPS[i]);
            thread::sleep(Duration::from_micros(random.below(time.as_micros() as u64 / 2)));
            child.kill().unwrap();
            let status = child.wait().unwrap();
            assert!(was_killed(status) || status.success(), "{status}");
            // One that was killed after its last step does not count.
            if !dir.path().join("done").exists() {
                kills += 1;
                in_saves += u64::from(in_a_save(dir.path()));
            }
        }
        assert_same(&end_of(dir.path()), expected, SET_UPS[i]);
        runs += 1;
    }
    println!("{kills} kills in {runs} runs, {in_saves} of them in a save: all ended with the same bits");
    assert!(in_saves * 100 >= kills * 30, "only {in_saves} of {kills} kills were in a save");
}

/// C5: SIGTERM in any phase saves, and nothing is lost.
#[test]
fn terminated_at_random_moments_the_run_ends_with_the_same_bits() {
    let wanted = wanted(60) / 4;
    let (expected, time) = undisturbed("background");
    let mut random = Random(3);
    let (mut signals, mut saved) = (0, 0);
    while signals < wanted {
        let dir = tempdir().unwrap();
        while !dir.path().join("done").exists() {
            let mut child = start(dir.path(), "background");
            thread::sleep(Duration::from_micros(random.below(time.as_micros() as u64)));
            if child.try_wait().unwrap().is_none() {
                send(SIGTERM, &child);
            }
            let status = child.wait().unwrap();
            // Before the trainer listens, the signal ends the process as it always did.
            assert!(status.success() || status.signal() == Some(SIGTERM), "{status}");
            if !dir.path().join("done").exists() {
                signals += 1;
                saved += u64::from(status.success());
                assert!(!in_a_save(dir.path()) || !status.success(), "the run waits for its last save");
            }
        }
        assert_same(&end_of(dir.path()), &expected, "SIGTERM");
    }
    println!("{signals} signals, {saved} of them handled by the run: all ended with the same bits");
    assert!(saved * 2 >= signals);
}

/// C1, C2: killed before each operation on the disk of a whole run.
#[test]
fn killed_at_every_file_operation_the_run_ends_with_the_same_bits() {
    let set_up = "every operation";
    let (whole, operations) = {
        let dir = tempdir().unwrap();
        assert!(start(dir.path(), set_up).wait().unwrap().success());
        let operations: u64 = fs::read_to_string(dir.path().join("operations")).unwrap().parse().unwrap();
        (end_of(dir.path()), operations)
    };
    assert!(operations > 100, "{operations}");
    let mut fired = 0;
    for at in 1..=operations {
        let dir = tempdir().unwrap();
        let status = command(dir.path(), set_up).env(KILL_AT, at.to_string()).status().unwrap();
        assert!(was_killed(status), "operation {at}: {status}");
        fired += 1;
        assert!(start(dir.path(), set_up).wait().unwrap().success(), "after operation {at}");
        assert_same(&end_of(dir.path()), &whole, &format!("operation {at}"));
    }
    println!("{fired} kills at {operations} operations: all ended with the same bits");
    assert_eq!(fired, operations);
}

/// The same for the system calls themselves, whatever the program believes it does: `strace` kills it before each one.
#[test]
#[ignore = "needs strace; part of the full matrix"]
fn killed_at_every_system_call_the_run_ends_with_the_same_bits() {
    let set_up = "every operation";
    let (expected, _) = undisturbed(set_up);
    let mut fired = 0;
    for call in ["mkdir", "openat", "write", "ftruncate", "fsync", "rename", "unlink", "unlinkat", "rmdir", "flock"] {
        // strace counts each call by itself, and in each thread.
        for when in 1.. {
            let dir = tempdir().unwrap();
            let child = command(dir.path(), set_up);
            let status = Command::new("strace")
                .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
                .args(["-e", &format!("inject={call}:signal=SIGKILL:when={when}")])
                .arg(child.get_program())
                .args(child.get_args())
                .envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .expect("strace is not installed");
            if dir.path().join("done").exists() {
                break;
            }
            assert!(was_killed(status), "{call} {when}: {status}");
            fired += 1;
            assert!(start(dir.path(), set_up).wait().unwrap().success(), "after {call} {when}");
            assert_same(&end_of(dir.path()), &expected, &format!("{call} {when}"));
        }
    }
    println!("killed at {fired} system calls: all ended with the same bits");
    assert!(fired > 100);
}
