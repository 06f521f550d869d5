//! Jobs of Slurm whose ranks c10d connects, with the batch script of the documentation: they go on where they were. `cargo xtask
//! slurm` starts a Slurm for these tests; without one they say so and pass.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

#[path = "../../zae-parallel/tests/batch/job.rs"]
mod job;
#[path = "training/normed.rs"]
mod normed;

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, LazyLock, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use job::Batch;
use signal_hook::consts::SIGTERM;
use zae_checkpoint::StateManager;
use zae_core::{
    error::Fallible,
    task::{At, Mode},
    testing::outcome,
    trainer::{Every, Outcome, Trainer, Until},
};
use zae_parallel::DataParallel;

const FOLDER: &str = "ZAE_TEST_FOLDER";
const THEN: &str = "ZAE_TEST_THEN";
const STEPS: u64 = 30;
/// Not one after which all is saved.
const DISTURBED: u64 = 13;
static SIGNALLED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// One write, so that the lines of several ranks do not mix.
fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// What comes between two layers of a step, the first time that the job runs: `RANK WHAT`. Each rank waits for its signal, or
/// rank 1 is killed.
fn fault(spec: &str, at: &At) -> Fallible {
    static BEGUN: OnceLock<()> = OnceLock::new();
    let (rank, then) = spec.split_once(' ').unwrap();
    if BEGUN.set(()).is_ok() {
        say(&format!("[{rank}] begins with step {}", at.step));
    }
    match then {
        _ if at.mode != Mode::Train || at.step != DISTURBED => {}
        "held" => {
            fs::write(PathBuf::from(env::var(FOLDER)?).join(rank), "")?;
            while !SIGNALLED.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
        }
        "killed" if rank == "1" => {
            Command::new("sh").args(["-c", &format!("kill -KILL {}", std::process::id())]).status()?;
        }
        _ => {}
    }
    Ok(())
}

/// Not a test: what `srun` starts.
#[test]
#[ignore = "this is a rank of the other tests' jobs"]
fn a_rank() -> Fallible {
    let Ok(folder) = env::var(FOLDER) else { return Ok(()) };
    let folder = Path::new(&folder);
    signal_hook::flag::register(SIGTERM, SIGNALLED.clone())?;
    let parallel = DataParallel::from_env()?;
    let rank = parallel.world().unwrap().rank;
    let then = if env::var_os("SLURM_RESTART_COUNT").is_none() { env::var(THEN)? } else { String::new() };
    let mut trainer = Trainer::new(normed::Normed(format!("{rank} {then}")), normed::learner())
        .add_on((parallel, StateManager::new().every_steps(3)))
        .run_dir(folder.join("run"))
        .seed(11)
        .scheduler(0.01)
        .accumulate(2)
        .log_every(3)
        .validate(Every::Steps(4));
    let run = trainer.run(Until::steps(STEPS), normed::data(17), normed::data(7))?;
    if run.outcome != Outcome::Complete {
        say(&format!("[{rank}] ends with {:?} at step {}", run.outcome, trainer.progress().step()));
        return Ok(());
    }
    Ok(fs::write(folder.join(format!("end-{rank}")), outcome(&*trainer.snapshot()?)?)?)
}

fn submit<'a>(folder: &'a Path, then: &str) -> Batch<'a> {
    let mut rank = Command::new(env::current_exe().unwrap());
    rank.args(["--exact", "a_rank", "--ignored", "--nocapture"]).env(FOLDER, folder).env(THEN, then);
    Batch::submit(folder, &rank)
}

#[test]
fn jobs_that_go_back_into_the_queue_end_as_the_undisturbed_one() {
    if env::var_os("SLURM_CONF").is_none() || Command::new("srun").arg("--version").output().is_err() {
        return println!("SKIPPED: there is no Slurm whose SLURM_CONF is set: `cargo xtask slurm` starts one");
    }
    let [undisturbed, signalled, killed] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    // All at once: they wait for Slurm more than for themselves.
    let [undisturbed, signalled, killed] = [(&undisturbed, ""), (&signalled, "held"), (&killed, "killed")]
        .map(|(folder, then)| submit(folder.path(), then));
    undisturbed.wait_for_state(&["JobState=COMPLETED", "Restarts=0"]);
    let expected = undisturbed.ends();
    assert!(expected[0].len() > 1000 && expected.iter().all(|end| *end == expected[0]), "the ranks part");

    // As Slurm does a minute before the end of the job's time.
    signalled.wait_for_ranks();
    signalled.tell("scancel --batch --signal=USR1");
    signalled.wait_for_state(&["JobState=COMPLETED", "Restarts=1"]);
    signalled.assert_say("ends with Interrupted { signal: \"SIGTERM\" } at step 14");
    signalled.assert_has_gone_on(14..=14);
    assert!(signalled.ends() == expected, "other bits after a signal");

    killed.wait_for_state(&["JobState=FAILED"]);
    killed.tell("scontrol requeue");
    killed.wait_for_state(&["JobState=COMPLETED", "Restarts=1"]);
    killed.assert_has_gone_on(3..=12);
    assert!(killed.ends() == expected, "other bits after a rank was killed");
}
