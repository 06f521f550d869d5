//! Disks that are full, slow or gone: training goes on, one warning tells of each save that has failed, and the
//! checkpoints before it are whole.

#![allow(clippy::unwrap_used, clippy::panic)]

mod program;

use std::{
    env, fs,
    io::{Error as IoError, ErrorKind},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use program::*;
use tempfile::tempdir;
use zae_checkpoint::{
    OnFailure, StateManager,
    disk::{Disk, Operation},
    folder::read_pointer,
    newest,
};
use zae_core::{
    add_on::{AddOn, Context, Durable},
    error::Fallible,
    metrics::Direction,
    snapshot::Snapshot,
    testing::{Architecture, Sizes, reference::Net, reference::ReferenceLearner},
    trainer::{Outcome, Trainer, Until},
};

const UNTIL: u64 = 2;

fn train(trainer: &mut Trainer<Classify>) -> Result<zae_core::trainer::Run, zae_core::error::Error> {
    trainer.run(Until::epochs(UNTIL), train_data(), valid_data())
}

fn careful() -> StateManager {
    StateManager::new().every_steps(5).background(false)
}

/// Fails the operations for which `when(n)` holds, counted from 1.
fn failing(when: impl Fn(u64) -> bool + Send + Sync + 'static) -> (Disk, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    let disk = Disk::with_hook(move |_: &Operation<'_>| {
        let n = counted.fetch_add(1, Ordering::SeqCst) + 1;
        if when(n) { Err(IoError::new(ErrorKind::StorageFull, "No space left on device")) } else { Ok(()) }
    });
    (disk, count)
}

/// The bits of the run that nothing disturbs, and how many operations it takes.
fn undisturbed() -> (Bits, u64) {
    let dir = tempdir().unwrap();
    let (disk, count) = failing(|_| false);
    let mut trainer = trainer(dir.path()).add_on(careful().disk(disk));
    train(&mut trainer).unwrap();
    (bits_of(&mut trainer), count.load(Ordering::SeqCst))
}

/// Whatever fails, what is on disk is whole, and the run goes on from it to the same end.
fn resumes(dir: &Path, expected: &Bits, what: &str) {
    let (found, skipped) = newest(&saved_in(dir)).unwrap();
    assert!(skipped.is_empty(), "{what}: {:?}", skipped.iter().map(|(_, e)| e.to_string()).collect::<Vec<_>>());
    let saved = found.is_some();
    let mut again = trainer(dir).add_on(careful());
    let run = train(&mut again).unwrap();
    assert!(saved || run.outcome == Outcome::Complete, "{what}");
    assert_eq!(bits_of(&mut again), *expected, "{what}");
}

#[test]
fn a_failure_of_any_operation_costs_no_more_than_that_save() {
    let (expected, operations) = undisturbed();
    let (mut in_a_save, mut at_the_start) = (0, 0);
    // The short version takes every third operation.
    let stride = if env::var("ZAE_KILLS").is_ok() { 1 } else { 3 };
    for at in (1..=operations).step_by(stride) {
        for for_good in [false, true] {
            let what = format!("operation {at}, for good: {for_good}");
            let dir = tempdir().unwrap();
            let notices = Notices::default();
            let (disk, _) = failing(move |n| n == at || (for_good && n > at));
            let mut trainer = trainer(dir.path()).add_on((careful().disk(disk), notices.clone()));
            match train(&mut trainer) {
                Ok(run) => {
                    assert_eq!(run.outcome, Outcome::Complete, "{what}");
                    assert_eq!(bits_of(&mut trainer), expected, "{what}");
                    let saves = trainer.get::<StateManager>().unwrap().saves();
                    let failed: Vec<_> = saves.iter().filter_map(|save| save.error.as_ref()).collect();
                    let warnings = notices.warnings();
                    assert_eq!(warnings.len(), failed.len(), "{what}: {warnings:?}");
                    assert!(for_good || failed.len() <= 1, "{what}: {failed:?}");
                    assert!(warnings.iter().all(|text| text.contains("No space left on device")), "{warnings:?}");
                    in_a_save += usize::from(!failed.is_empty());
                }
                Err(error) => {
                    assert!(error.to_string().contains("No space left on device"), "{what}: {error}");
                    assert_eq!(trainer.progress().step(), 0, "{what}");
                    at_the_start += 1;
                }
            }
            drop(trainer);
            resumes(dir.path(), &expected, &what);
        }
    }
    assert!(in_a_save * stride > operations as usize && at_the_start > 0, "{in_a_save} {at_the_start} of {operations}");
}

#[test]
fn a_failure_ends_the_run_if_that_is_wanted() {
    let dir = tempdir().unwrap();
    let (disk, _) = failing(|n| n > 60);
    let mut trainer = trainer(dir.path()).add_on(careful().disk(disk).on_failure(OnFailure::Stop));
    let error = train(&mut trainer).unwrap_err().to_string();
    assert!(
        error.contains("state-manager") && error.contains("was not saved") && error.contains("No space"),
        "{error}"
    );
    let (expected, _) = undisturbed();
    drop(trainer);
    resumes(dir.path(), &expected, "stopped");
}

/// An add-on that does something after this step.
struct After(u64, Box<dyn FnMut() + Send>);

impl AddOn for After {
    fn name(&self) -> &'static str {
        "after"
    }
    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        if cx.progress.step() == self.0 {
            (self.1)();
        }
        Ok(())
    }
}

#[test]
fn a_folder_that_vanishes_is_made_again() {
    let dir = tempdir().unwrap();
    let saved = saved_in(dir.path());
    let notices = Notices::default();
    let vanish = After(8, Box::new(move || fs::remove_dir_all(&saved).unwrap()));
    let mut trainer = trainer(dir.path()).add_on((careful(), vanish, notices.clone()));
    train(&mut trainer).unwrap();
    assert!(notices.warnings().is_empty(), "{:?}", notices.warnings());
    drop(trainer);
    resumes(dir.path(), &undisturbed().0, "vanished");
}

#[test]
fn a_folder_that_cannot_be_written_any_more_costs_nothing_but_saves() {
    let dir = tempdir().unwrap();
    let saved = saved_in(dir.path());
    let notices = Notices::default();
    let elsewhere = dir.path().join("moved");
    let block = After(
        8,
        Box::new(move || {
            fs::rename(&saved, &elsewhere).unwrap();
            fs::write(&saved, "in the way").unwrap();
        }),
    );
    let mut trainer = trainer(dir.path()).add_on((careful(), block, notices.clone()));
    assert_eq!(train(&mut trainer).unwrap().outcome, Outcome::Complete);
    assert_eq!(bits_of(&mut trainer), undisturbed().0);
    assert_eq!(notices.warnings().len(), 2, "one for each save: {:?}", notices.warnings());
    drop(trainer);
    let (found, _) = newest(&dir.path().join("moved")).unwrap();
    assert_eq!(found.unwrap().1.run.progress.step(), 6, "what was there before is whole");
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_before_anything_is_trained() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let places = [dir.path().join("file/checkpoints"), PathBuf::from("/proc/zae-engine/checkpoints")];
    for place in places.into_iter().filter(|place| cfg!(target_os = "linux") || !place.starts_with("/proc")) {
        let mut trainer = trainer(dir.path()).add_on(StateManager::in_dir(&place));
        let error = train(&mut trainer).unwrap_err().to_string();
        assert!(error.contains("state-manager") && error.contains("cannot"), "{error}");
        assert_eq!(trainer.progress().step(), 0);
    }
    let mut nowhere = Trainer::new(Classify::default(), learner()).scheduler(0.1).add_on(StateManager::new());
    let error = train(&mut nowhere).unwrap_err().to_string();
    assert!(error.contains("`.run_dir(..)`") && error.contains("in_dir"), "{error}");
}

/// A best one that is not on disk keeps no other from being the best.
#[test]
fn a_best_one_that_could_not_be_saved_is_not_the_best() {
    let dir = tempdir().unwrap();
    let disk = Disk::with_hook(|operation| match operation {
        Operation::CreateDir { path } if path.to_string_lossy().contains("step-00000006") => {
            Err(IoError::new(ErrorKind::StorageFull, "No space left on device"))
        }
        _ => Ok(()),
    });
    // The worst one, which is the first.
    let manager = careful().every_steps(0).every_epochs(0).at_end(false);
    let manager = manager.keep_best_by("valid/loss", 1, Direction::Maximize);
    let mut trainer = trainer(dir.path()).add_on(manager.disk(disk));
    let history = run(&mut trainer).unwrap().history;
    let mut losses: Vec<(f64, u64)> = history.evaluations.iter().map(|e| (e.metrics["valid/loss"], e.step)).collect();
    losses.sort_by(|a, b| b.0.total_cmp(&a.0));
    assert_eq!(losses[0].1, 6, "the first one is the worst");
    let best = read_pointer(&saved_in(dir.path()).join("best")).unwrap();
    assert_eq!(best.step, losses[1].1);
}

/// What an add-on makes durable is its own code.
struct PanicsDurably;

impl AddOn for PanicsDurably {
    fn name(&self) -> &'static str {
        "panics"
    }
    fn durable(&self) -> Option<Durable> {
        Some(Arc::new(|| panic!("on purpose")))
    }
}

#[test]
fn a_save_that_panics_leaves_nothing_behind() {
    let dir = tempdir().unwrap();
    let saved = saved_in(dir.path());
    let left = Arc::new(Mutex::new(Vec::new()));
    let theirs = left.clone();
    let look = After(8, Box::new(move || *theirs.lock().unwrap() = names(&saved)));
    let notices = Notices::default();
    let mut trainer = trainer(dir.path()).add_on((careful(), PanicsDurably, look, notices.clone()));
    assert_eq!(train(&mut trainer).unwrap().outcome, Outcome::Complete);
    assert_eq!(*left.lock().unwrap(), ["lock"]);
    let warnings = notices.warnings();
    assert!(warnings.len() == 4 && warnings.iter().all(|text| text.contains("on purpose")), "{warnings:?}");
}

/// A disk that stands still in the middle of a save, and what sets it going.
fn standing_still() -> (Disk, impl Fn() + Clone + Send + 'static) {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let theirs = gate.clone();
    let disk = Disk::with_hook(move |operation| {
        if matches!(operation, Operation::Write { path, .. } if path.ends_with("model.safetensors")) {
            let open = theirs.0.lock().unwrap();
            drop(theirs.1.wait_while(open, |open| !*open).unwrap());
        }
        Ok(())
    });
    let release = move || {
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
    };
    (disk, release)
}

/// A save that somebody asked for is not given up for a newer one.
#[test]
fn a_save_that_was_asked_for_is_made_on_a_slow_disk_too() {
    let dir = tempdir().unwrap();
    let (disk, release) = standing_still();
    let manager = StateManager::new().every_steps(1).keep_best("valid/loss", 0).disk(disk);
    let saver = manager.saver();
    let ask = After(3, Box::new(move || saver.save()));
    // The next one would take its place; another thread frees the disk, for this one waits.
    let open = Opener(Box::new(move || {
        std::thread::spawn(release.clone());
    }));
    let mut trainer = trainer(dir.path()).add_on((manager, ask, open));
    run(&mut trainer).unwrap();
    let saves = trainer.get::<StateManager>().unwrap().saves();
    assert!(saves.iter().any(|save| save.step == 3), "{:?}", saves.iter().map(|save| save.step).collect::<Vec<_>>());
}

/// Does something when the snapshot after step 4 is about to be handed over.
struct Opener(Box<dyn FnMut() + Send>);

impl AddOn for Opener {
    fn name(&self) -> &'static str {
        "opener"
    }
    fn on_snapshot(&mut self, snapshot: &Arc<Snapshot>, _: &mut Context<'_>) -> Fallible {
        if snapshot.run.progress.step() == 4 {
            (self.0)();
        }
        Ok(())
    }
}

/// C6: the disk stands still until training is over, and training does not notice.
#[test]
fn a_slow_disk_does_not_hold_training_up() {
    let dir = tempdir().unwrap();
    let (disk, release) = standing_still();
    let open = After(6 * EPOCHS - 1, Box::new(release));
    // No save has to be kept: the newest takes the place of the one that waits.
    let manager = StateManager::new().every_steps(1).keep_best("valid/loss", 0).disk(disk);
    let mut trainer = trainer(dir.path()).add_on((manager, open));
    run(&mut trainer).unwrap();
    let saves = trainer.get::<StateManager>().unwrap().saves();
    assert!(saves.first().unwrap().step < 6 * EPOCHS - 1, "the disk stood still in the middle of one");
    assert_eq!(saves.last().unwrap().step, 6 * EPOCHS, "the last one is waited for");
    assert!(saves.len() <= 5, "those between were replaced: {}", saves.len());
}

/// Nothing to do unless this process is the child of the test below.
#[test]
fn child() {
    let Ok(dir) = env::var("ZAE_CHILD_DIR") else { return };
    let dir = PathBuf::from(dir);
    let notices = Notices::default();
    let net = Net::new(
        Architecture::Full,
        Sizes { hidden: env::var("ZAE_CHILD_WIDTH").unwrap().parse().unwrap(), ..Sizes::small() },
    );
    let mut trainer = Trainer::new(Classify::default(), ReferenceLearner::new(net))
        .run_dir(&dir)
        .scheduler(0.01)
        .handle_signals(false)
        .add_on((careful(), notices.clone()));
    assert_eq!(train(&mut trainer).unwrap().outcome, Outcome::Complete);
    fs::write(dir.join("warnings"), notices.warnings().join("\n")).unwrap();
}

/// A limit of the system on the size of files plays the full disk.
#[cfg(unix)]
#[test]
fn a_disk_that_is_really_full_costs_no_more_than_the_saves() {
    let dir = tempdir().unwrap();
    let width = 96;
    let child = env::current_exe().unwrap();
    let script = "trap '' XFSZ; ulimit -f 16; exec \"$0\" child --exact";
    let status = Command::new("sh")
        .args(["-c", script])
        .arg(child)
        .env("ZAE_CHILD_DIR", dir.path())
        .env("ZAE_CHILD_WIDTH", width.to_string())
        // Where the tests' own output goes may be a file, and longer than the limit.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let warnings = fs::read_to_string(dir.path().join("warnings")).unwrap();
    assert!(warnings.lines().count() == 6 && warnings.contains("File too large"), "{warnings}");
    assert_eq!(names(&saved_in(dir.path())), ["lock"], "nothing half written is left");
}
