//! A run that saves, is disturbed, and goes on when its job is started again.

use std::{
    cell::Cell,
    env, fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use zae_checkpoint::StateManager;
use zae_core::{
    error::Fallible,
    task::{At, Mode},
    testing::{
        Architecture, Fixture, FixtureTask, Samples, outcome,
        reference::{Batch, Reference},
    },
    trainer::{Every, Outcome, Trainer, Until},
};
use zae_parallel::{DataParallel, Reduction};

use super::{FOLDER, mark, raise, say, touch};

/// The variable with the run's folder, where several jobs work on one run, each with a folder of its own.
pub(crate) const RUN: &str = "ZAE_TEST_RUN";
pub(crate) const STEPS: u64 = 30;
const ENGINE: Reference = Reference { asynchronous: false };

fn data(batches: usize, seed: u64) -> Vec<Batch> {
    let sizes = ENGINE.sizes(Architecture::Full);
    let rows: Vec<usize> = (0..batches).map(|i| 2 + i % 4).collect();
    let samples = Samples::random(rows.iter().sum(), sizes.features, sizes.classes, seed);
    samples.batches(&rows).iter().map(|samples| ENGINE.batch(samples)).collect()
}

/// What comes between, once in a job's folder: `KIND MODE STEP RANK`, where the rank may be `all`.
fn disturb(rank: usize, spec: &str, at: &At) -> Fallible {
    let words: Vec<&str> = spec.split(' ').collect();
    let [kind, mode, step, who] = words[..] else { return Ok(()) };
    let is_there = (mode == "train") == (at.mode == Mode::Train) && at.step >= step.parse()?;
    if !is_there || (who != "all" && who != rank.to_string()) || mark(rank).exists() {
        return Ok(());
    }
    let signalled = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(libc::SIGTERM, signalled.clone())?;
    touch(rank)?;
    match kind {
        "error" => return Err("boom".into()),
        "panic" => panic!("boom"),
        "killed" => raise(libc::SIGKILL),
        "stopped" => raise(libc::SIGSTOP),
        "told" => raise(libc::SIGTERM),
        "held" => {
            while !signalled.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        other => panic!("what is {other}?"),
    }
    Ok(())
}

/// `spec` may begin with ` for any number`: another number of ranks can go on with the run, and end with the same bits. What comes
/// between is behind a comma.
pub(super) fn train(rank: usize, spec: &str) -> Fallible {
    let folder = PathBuf::from(env::var(FOLDER)?);
    fs::write(folder.join(format!("pid-{rank}")), std::process::id().to_string())?;
    let (how, then) = spec.split_once(", ").unwrap_or((spec, ""));
    let (architecture, reduction) = match how {
        // Statistics of a batch norm would be those of a rank's own batches.
        " for any number" => (Architecture::Plain, Reduction::Reproducible),
        _ => (Architecture::Full, Reduction::Fast),
    };
    let (then, has_begun) = (then.to_owned(), Cell::new(false));
    let before = move |at: &At| {
        if !has_begun.replace(true) {
            say(&format!("[{rank}] begins with step {}", at.step));
        }
        disturb(rank, &then, at)
    };
    let mut trainer = Trainer::new(FixtureTask::new(&ENGINE).before(before), ENGINE.learner(architecture))
        .add_on((DataParallel::from_env()?.reduction(reduction), StateManager::new().every_steps(3)))
        .run_dir(env::var_os(RUN).map_or_else(|| folder.join("run"), PathBuf::from))
        .seed(11)
        .scheduler(0.01)
        .micro_batches(4)
        .log_every(3)
        .validate(Every::Steps(4));
    let run = trainer.run(Until::steps(STEPS), data(17, 1), data(7, 2))?;
    if let Outcome::Interrupted { .. } = run.outcome {
        say(&format!("[{rank}] ends with {:?} at step {}", run.outcome, trainer.progress().step()));
        return Ok(());
    }
    Ok(fs::write(folder.join(format!("end-{rank}")), outcome(&*trainer.snapshot()?)?)?)
}
