//! A run that saves, is disturbed once, and goes on when its job is started again.

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
        Architecture, Fixture, FixtureTask, Samples,
        reference::{Batch, Reference},
    },
    trainer::{Every, Outcome, Trainer, Until},
};
use zae_parallel::DataParallel;

use super::{FOLDER, raise, say, touch};

const STEPS: u64 = 30;
/// Not one after which all is saved.
const DISTURBED: u64 = 13;

fn data(batches: usize, seed: u64) -> Vec<Batch> {
    let reference = Reference { asynchronous: false };
    let sizes = reference.sizes(Architecture::Full);
    let rows: Vec<usize> = (0..batches).map(|i| 2 + i % 4).collect();
    let samples = Samples::random(rows.iter().sum(), sizes.features, sizes.classes, seed);
    samples.batches(&rows).iter().map(|samples| reference.batch(samples)).collect()
}

/// What comes between, the first time that the job runs: each rank waits for its signal within a step, or rank 1 is killed.
fn disturb(rank: usize, then: &str, signalled: &AtomicBool) -> Fallible {
    match then {
        ", held" => {
            touch(rank)?;
            while !signalled.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        ", killed" if rank == 1 => raise(libc::SIGKILL),
        _ => {}
    }
    Ok(())
}

pub(super) fn train(rank: usize, then: &str) -> Fallible {
    let folder = PathBuf::from(env::var(FOLDER)?);
    let signalled = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(libc::SIGTERM, signalled.clone())?;
    let then = if env::var_os("SLURM_RESTART_COUNT").is_none() { then.to_owned() } else { String::new() };
    let has_begun = Cell::new(false);
    let before = move |at: &At| {
        if !has_begun.replace(true) {
            say(&format!("[{rank}] begins with step {}", at.step));
        }
        let is_then = at.mode == Mode::Train && at.step == DISTURBED;
        if is_then { disturb(rank, &then, &signalled) } else { Ok(()) }
    };
    let reference = Reference { asynchronous: false };
    let task = FixtureTask::new(&reference).before(before);
    let mut trainer = Trainer::new(task, reference.learner(Architecture::Full))
        .add_on((DataParallel::from_env()?, StateManager::new().every_steps(3)))
        .run_dir(folder.join("run"))
        .seed(11)
        .scheduler(0.01)
        .accumulate(2)
        .log_every(3)
        .validate(Every::Steps(4));
    let run =
        trainer.run(Until::steps(STEPS), data(17, 1), data(7, 2)).inspect_err(|e| say(&format!("[{rank}] {e}")))?;
    let step = trainer.progress().step();
    if run.outcome != Outcome::Complete {
        say(&format!("[{rank}] ends with {:?} at step {step}", run.outcome));
        return Ok(());
    }
    let snapshot = trainer.snapshot()?;
    let tensors = snapshot.learner.tensors.iter().filter(|(name, _)| !name.contains("running"));
    let mut end = format!("{:?}", snapshot.run.history.without_clock()).into_bytes();
    for (_, tensor) in tensors {
        end.extend(&*tensor.data.bytes()?);
    }
    Ok(fs::write(folder.join(format!("end-{rank}")), end)?)
}
