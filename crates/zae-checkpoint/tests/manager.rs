//! The state manager through the trainer: what is saved when, what is kept, what a new process goes on from.

#![allow(clippy::unwrap_used, clippy::panic)]

mod program;

use std::{
    fs,
    io::Error,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use program::*;
use tempfile::tempdir;
use zae_checkpoint::{
    Manifest, Resume, StateManager, Weights,
    disk::{Disk, Operation},
    folder::{Folder, read_pointer},
};
use zae_core::{
    add_on::{AddOn, Context},
    data::{Draw, Loader},
    error::Fallible,
    metrics::{Direction, Evaluation},
    progress::Cursor,
    testing::reference::Batch,
    trainer::{Every, NonFinite, Outcome, Trainer, Until},
};

/// Ends the run after this step, as a user's budget does.
struct CutAt(u64);

impl AddOn for CutAt {
    fn name(&self) -> &'static str {
        "cut"
    }
    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        if cx.progress.step() == self.0 { Err("cut".into()) } else { Ok(()) }
    }
}

/// A run that fails at this step, and is gone on with by the same program.
fn cut_and_resume(dir: &Path, step: u64, manager: impl Fn() -> StateManager) -> Trainer<Classify> {
    let mut first = trainer(dir).add_on((manager(), CutAt(step)));
    assert!(run(&mut first).unwrap_err().to_string().contains("cut"));
    drop(first);
    let mut second = trainer(dir).add_on(manager());
    assert_eq!(run(&mut second).unwrap().outcome, Outcome::Complete);
    second
}

fn undisturbed(manager: impl Fn() -> StateManager) -> (Bits, Vec<String>) {
    let dir = tempdir().unwrap();
    let mut trainer = trainer(dir.path()).add_on(manager());
    assert_eq!(run(&mut trainer).unwrap().outcome, Outcome::Complete);
    (bits_of(&mut trainer), csv_rows(dir.path()))
}

/// R1, R2, R4, R6, R7, R9: wherever the run is cut, the resumed one ends with the same bits: weights, optimizer, plateau,
/// patience, history; every row is in the file once.
#[test]
fn a_run_cut_after_any_step_ends_with_the_bits_of_the_undisturbed_one() {
    let steps = 6 * EPOCHS;
    let (expected, rows) = undisturbed(manager);
    for step in 1..=steps {
        let dir = tempdir().unwrap();
        let mut resumed = cut_and_resume(dir.path(), step, manager);
        assert_eq!(bits_of(&mut resumed), expected, "cut at step {step}");
        assert_eq!(csv_rows(dir.path()), rows, "cut at step {step}");
        let saves = resumed.get::<StateManager>().unwrap().saves();
        assert!(saves.iter().all(|save| save.error.is_none() && save.bytes > 0));
    }
}

#[test]
fn the_defaults_keep_two_and_the_best_and_point_to_them() {
    let dir = tempdir().unwrap();
    let mut trainer = trainer(dir.path()).add_on(StateManager::new().background(false));
    let history = run(&mut trainer).unwrap().history;
    let saved = saved_in(dir.path());
    let losses: Vec<f64> = history.evaluation_values("valid/loss").collect();
    let best = (0..losses.len()).min_by(|a, b| losses[*a].total_cmp(&losses[*b])).unwrap() as u64;
    let mut expected: Vec<String> = [best + 1, EPOCHS - 1, EPOCHS].map(|epoch| format!("step-{:08}", 6 * epoch)).into();
    expected.sort();
    expected.dedup();
    assert_eq!(checkpoints(&saved), expected);
    assert_eq!(read_pointer(&saved.join("last")).unwrap().to_string(), format!("step-{:08}", 6 * EPOCHS));
    assert_eq!(read_pointer(&saved.join("best")).unwrap().to_string(), format!("step-{:08}", 6 * (best + 1)));
    let manifest = Manifest::read(&saved.join(format!("step-{:08}", 6 * (best + 1)))).unwrap();
    assert_eq!(manifest.metrics["valid/loss"].to_bits(), losses[best as usize].to_bits());
    assert!(manifest.metrics.contains_key("train/loss"));
    assert_eq!((manifest.engine.as_str(), manifest.epoch), ("reference", best + 1));
    assert_eq!(names(&saved).len(), expected.len() + 3, "nothing but checkpoints, last, best and the lock");
}

#[test]
fn a_complete_run_is_not_trained_again_and_fresh_moves_it_aside() {
    let dir = tempdir().unwrap();
    // At once: in the background a slow disk decides which epochs are passed over.
    let manager = || StateManager::new().background(false);
    let mut first = trainer(dir.path()).add_on(manager());
    run(&mut first).unwrap();
    let (expected, kept) = (bits_of(&mut first), checkpoints(&saved_in(dir.path())));
    drop(first);
    let notices = Notices::default();
    let mut second = trainer(dir.path()).add_on((manager(), notices.clone()));
    assert_eq!(run(&mut second).unwrap().outcome, Outcome::AlreadyComplete);
    assert_eq!(bits_of(&mut second), expected);
    assert!(notices.infos()[0].starts_with("resumed from"), "{:?}", notices.infos());
    assert_eq!(checkpoints(&saved_in(dir.path())), kept);
    drop(second);
    for again in ["checkpoints/old", "checkpoints/old.1"] {
        let notices = Notices::default();
        let mut fresh = trainer(dir.path()).add_on((manager(), notices.clone())).fresh();
        assert_eq!(run(&mut fresh).unwrap().outcome, Outcome::Complete);
        assert_eq!(checkpoints(&dir.path().join(again)), kept, "nothing is lost");
        assert_eq!(checkpoints(&saved_in(dir.path())), kept);
        let infos = notices.infos();
        let end = format!(", the best one is {}", read_pointer(&saved_in(dir.path()).join("best")).unwrap());
        assert!(infos[0].contains(again) && infos.len() == 2, "{infos:?}");
        assert!(infos[1].starts_with("the last checkpoint is ") && infos[1].ends_with(&end), "{infos:?}");
    }
}

/// Whatever the folder is called, and wherever it is: else an old run's checkpoints outlive those of the new one, and it is
/// gone on with.
#[cfg(target_os = "linux")]
#[test]
fn what_is_there_is_moved_aside_in_any_folder() {
    use std::os::unix::{ffi::OsStrExt, fs::symlink};
    let dir = tempdir().unwrap();
    // Often another disk than the first.
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    symlink(elsewhere.path(), dir.path().join("link")).unwrap();
    fs::create_dir_all(dir.path().join("sub/a")).unwrap();
    for name in ["a b \u{e9}".as_bytes(), b"\xff", b"sub/a/..", b"link", b"b/"] {
        let folder = dir.path().join(std::ffi::OsStr::from_bytes(name));
        let train = |epochs: u64| {
            let manager = StateManager::in_dir(&folder).resume(Resume::Never).background(false);
            trainer(dir.path()).add_on(manager).run(epochs, train_data(), valid_data()).unwrap();
            checkpoints(&folder)
        };
        let old = train(3);
        assert_eq!(train(1), ["step-00000006"], "{folder:?}");
        assert_eq!(checkpoints(&folder.join("old")), old, "{folder:?}");
    }
}

#[test]
fn resume_never_must_and_from() {
    let dir = tempdir().unwrap();
    let with = |resume| trainer(dir.path()).add_on(StateManager::new().resume(resume).keep_last(9).background(false));
    let error = run(&mut with(Resume::Must)).unwrap_err().to_string();
    assert!(error.contains("no checkpoint") && error.contains(".fresh()"), "{error}");
    run(&mut with(Resume::Auto)).unwrap();
    assert_eq!(run(&mut with(Resume::Must)).unwrap().outcome, Outcome::AlreadyComplete);
    // From an earlier one: the later ones are of another future.
    let all = checkpoints(&saved_in(dir.path()));
    let third = saved_in(dir.path()).join(&all[2]);
    let mut again = with(Resume::From(third));
    assert_eq!(run(&mut again).unwrap().outcome, Outcome::Complete);
    assert_eq!(again.history().epochs.len() as u64, EPOCHS);
    assert_eq!(checkpoints(&saved_in(dir.path())), all);
    assert_eq!(checkpoints(&dir.path().join("checkpoints/old")), all[3..]);
    drop(again);
    let mut never = with(Resume::Never);
    assert_eq!(run(&mut never).unwrap().outcome, Outcome::Complete);
    assert_eq!(checkpoints(&dir.path().join("checkpoints/old.1")), all);
    // From another run's folder, into one's own.
    let other = tempdir().unwrap();
    for path in [saved_in(dir.path()).join("last"), saved_in(dir.path()), dir.path().to_owned()] {
        let from = StateManager::new().resume(Resume::From(path));
        assert_eq!(run(&mut trainer(other.path()).add_on(from)).unwrap().outcome, Outcome::AlreadyComplete);
    }
    // From one's own run, however it is said: nothing is of another run.
    for path in [saved_in(dir.path()).join("last"), saved_in(dir.path()), dir.path().to_owned()] {
        assert_eq!(run(&mut with(Resume::From(path.clone()))).unwrap().outcome, Outcome::AlreadyComplete);
        assert_eq!(checkpoints(&saved_in(dir.path())), all, "{path:?}");
    }
    // From what was moved aside: it is not this run's.
    let aside = saved_in(dir.path()).join("old.1").join(&all[2]);
    assert_eq!(run(&mut with(Resume::From(aside))).unwrap().outcome, Outcome::Complete);
    assert_eq!(checkpoints(&dir.path().join("checkpoints/old.2")), all);
    let error = run(&mut with(Resume::From("nowhere".into()))).unwrap_err().to_string();
    assert!(error.contains("nowhere"), "{error}");
}

/// C2, C3: best, last and every are independent; what is kept is computed from what is on disk, also after a resume.
#[test]
fn what_is_kept_is_computed_from_the_disk() {
    let dir = tempdir().unwrap();
    let program = || {
        trainer(dir.path())
            .add_on(StateManager::new().every_steps(2).keep_last(1).keep_every(8).keep_best("valid/accuracy", 2))
    };
    let mut first = program().add_on(CutAt(20));
    run(&mut first).unwrap_err();
    drop(first);
    let mut second = program();
    let history = run(&mut second).unwrap().history;
    let mut ranked: Vec<&Evaluation> = history.evaluations.iter().collect();
    ranked
        .sort_by(|a, b| b.metrics["valid/accuracy"].total_cmp(&a.metrics["valid/accuracy"]).then(b.step.cmp(&a.step)));
    let mut steps: Vec<u64> = ranked[..2].iter().map(|e| e.step).chain([8, 16, 24, 32, 6 * EPOCHS]).collect();
    steps.sort_unstable();
    steps.dedup();
    let kept: Vec<u64> = checkpoints(&saved_in(dir.path())).iter().map(|name| name[5..13].parse().unwrap()).collect();
    assert_eq!(kept, steps);
    let best = read_pointer(&saved_in(dir.path()).join("best")).unwrap();
    assert_eq!(best.step, ranked[0].step);
}

/// An epoch's summary has the last validation of the epoch, which may be of other weights than those at its end.
#[test]
fn a_validation_is_a_metric_of_its_own_step_alone() {
    let dir = tempdir().unwrap();
    let manager = StateManager::new().keep_last(100).background(false);
    let mut trainer = trainer(dir.path()).validate(Every::Steps(4)).add_on(manager);
    let history = run(&mut trainer).unwrap().history;
    let saved = saved_in(dir.path());
    let mut validated = 0;
    for name in checkpoints(&saved) {
        let manifest = Manifest::read(&saved.join(&name)).unwrap();
        let expected = history.evaluations.iter().find(|evaluation| evaluation.step == manifest.step);
        let expected = expected.map(|evaluation| evaluation.metrics["valid/loss"]);
        assert_eq!(manifest.metrics.get("valid/loss").copied(), expected, "{name}");
        assert_eq!(manifest.metrics.contains_key("train/loss"), manifest.step.is_multiple_of(6), "{name}");
        validated += usize::from(expected.is_some());
    }
    assert!(validated > 0);
    let best = read_pointer(&saved.join("best")).unwrap().step;
    let least = history.evaluations.iter().min_by(|a, b| a.metrics["valid/loss"].total_cmp(&b.metrics["valid/loss"]));
    assert_eq!(best, least.unwrap().step);
}

/// Where nothing else watches a metric.
fn unwatched(dir: &Path) -> Trainer<Classify> {
    Trainer::new(Classify::default(), learner()).run_dir(dir).handle_signals(false).scheduler(0.01)
}

/// What the weights are worth before the first step may be the best there is, and any of several sets may say so.
#[test]
fn the_best_may_be_that_of_the_start_and_of_any_set() {
    let dir = tempdir().unwrap();
    let manager = StateManager::new().keep_last(1).keep_best("valid/noisy/loss", 1).background(false);
    // It only gets worse in its first epoch.
    let mut trainer = unwatched(dir.path()).scheduler(1.0).validate_on_start().add_on(manager);
    let sets = (("clean", train_data()), ("noisy", valid_data()));
    let history = trainer.run(1, train_data(), sets).unwrap().history;
    let losses: Vec<f64> = history.evaluation_values("valid/noisy/loss").collect();
    assert!(losses.len() == 2 && losses[1] > losses[0], "{losses:?}");
    let saved = saved_in(dir.path());
    let best = read_pointer(&saved.join("best")).unwrap();
    assert_eq!(best.step, 0);
    let name = checkpoints(&saved).into_iter().next().unwrap();
    assert_eq!(Manifest::read(&saved.join(name)).unwrap().metrics["valid/noisy/loss"], losses[0]);
}

/// It neither takes the folder nor looks into it.
#[test]
fn a_fast_dev_run_saves_nothing_and_goes_on_from_nothing() {
    let dir = tempdir().unwrap();
    run(&mut trainer(dir.path()).add_on(StateManager::new())).unwrap();
    let before = checkpoints(&saved_in(dir.path()));
    let held = Folder::open(&saved_in(dir.path()), Disk::default()).unwrap();
    let mut tried = trainer(dir.path()).add_on(StateManager::new().every_steps(1)).fast_dev_run(2);
    assert_eq!(run(&mut tried).unwrap().outcome, Outcome::Complete);
    assert_eq!((tried.progress().step(), checkpoints(&saved_in(dir.path()))), (1, before));
    drop(held);
}

#[test]
fn steps_that_are_no_run_are_not_saved_and_that_is_said() {
    let dir = tempdir().unwrap();
    let notices = Notices::default();
    let mut trainer = trainer(dir.path()).scheduler(0.01).add_on((StateManager::new().every_steps(1), notices.clone()));
    for batch in train_data().epoch(&Draw::new(7, Cursor::default())).unwrap() {
        trainer.run_batch(batch.unwrap()).unwrap();
    }
    let warnings = notices.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("`run_batch`"), "{warnings:?}");
    assert!(!saved_in(dir.path()).exists());
}

#[test]
fn every_wish_for_a_save_is_granted() {
    let saved = |manager: StateManager, until: Until| {
        let dir = tempdir().unwrap();
        let mut trainer = trainer(dir.path()).add_on(manager.keep_last(100));
        trainer.run(until, train_data(), valid_data()).unwrap();
        checkpoints(&saved_in(dir.path()))
    };
    let none = || StateManager::new().every_epochs(0).at_end(false).keep_best("valid/loss", 0);
    let until = || Until::steps(13);
    let step = |step: u64| format!("step-{step:08}");
    let all: Vec<String> = (1..=13).map(step).collect();
    assert!(saved(none(), until()).is_empty());
    assert_eq!(saved(none().at_end(true), until()), [step(13)]);
    assert_eq!(saved(none().every_epochs(2), until()), [step(12)]);
    assert_eq!(saved(none().every_steps(1).background(false), until()), all);
    assert_eq!(saved(none().keep_every(5), until()), [step(5), step(10)]);
    let time = none().every(std::time::Duration::ZERO).background(false);
    assert_eq!(saved(time, until()).len(), 13);
    let manager = none();
    manager.saver().save();
    assert_eq!(saved(manager, until()), [step(1)]);
    let worst = none().keep_best_by("valid/loss", 1, Direction::Maximize);
    assert!(!saved(worst, Until::epochs(EPOCHS)).is_empty());
}

/// Validation data under each of these names.
fn sets<const N: usize>(names: [&'static str; N]) -> impl Loader<Batch> {
    names.map(|name| (name, valid_data()))
}

/// Whoever has named it would find out at the end of the run that no checkpoint was kept for it.
#[test]
fn a_metric_that_is_named_and_not_there_ends_the_run_at_its_first_validation() {
    for named in ["valid/f1", "valid/loss"] {
        let dir = tempdir().unwrap();
        let manager = StateManager::new().every_steps(1).keep_best(named, 2).background(false);
        let mut trainer = unwatched(dir.path()).add_on(manager);
        let error = trainer.run(EPOCHS, train_data(), sets(["clean", "noisy"])).unwrap_err().to_string();
        let expected = format!("`keep_best` watches `{named}`, but the validation has only: ");
        assert!(error.contains(&expected) && error.contains("valid/clean/loss"), "{error}");
        assert_eq!(trainer.progress().epoch(), 1);
        assert!(!checkpoints(&saved_in(dir.path())).is_empty(), "what was saved stays");
    }
}

/// Nobody has asked for `valid/loss`: that it is not there ends nothing.
#[test]
fn that_nothing_is_the_best_of_several_sets_is_said_once() {
    let dir = tempdir().unwrap();
    let notices = Notices::default();
    let mut trainer = unwatched(dir.path()).add_on((StateManager::new(), notices.clone()));
    trainer.run(EPOCHS, train_data(), sets(["clean", "noisy"])).unwrap();
    let warnings = notices.warnings();
    assert!(warnings.len() == 1, "told once: {warnings:?}");
    assert!(warnings[0].contains("`valid/loss`") && warnings[0].contains("valid/noisy/loss"), "{warnings:?}");
}

#[test]
fn a_folder_in_use_is_refused_and_free_again_after_the_run() {
    let dir = tempdir().unwrap();
    let saved = saved_in(dir.path());
    let held = Folder::open(&saved, Disk::new()).unwrap();
    let mut trainer = trainer(dir.path()).add_on(StateManager::new());
    let error = run(&mut trainer).unwrap_err().to_string();
    assert!(error.contains("in use") && error.contains("run_dir"), "{error}");
    drop(held);
    run(&mut trainer).unwrap();
    Folder::open(&saved, Disk::new()).unwrap();
}

/// A program that tries again does not start over, and moves nothing out of its way.
#[test]
fn a_run_that_could_not_look_for_its_checkpoint_looks_again() {
    let dir = tempdir().unwrap();
    let mut must = trainer(dir.path()).add_on(StateManager::new().resume(Resume::Must));
    for _ in 0..2 {
        let error = run(&mut must).unwrap_err().to_string();
        assert!(error.contains("no checkpoint"), "{error}");
    }
    drop(must);
    run(&mut trainer(dir.path()).add_on(StateManager::new())).unwrap();
    let saved = saved_in(dir.path());
    let kept = checkpoints(&saved);
    let held = Folder::open(&saved, Disk::new()).unwrap();
    let notices = Notices::default();
    let mut waits = trainer(dir.path()).add_on((StateManager::new(), notices.clone()));
    assert!(run(&mut waits).unwrap_err().to_string().contains("in use"));
    // Nothing of the process that has it may be touched, not even to start over.
    let rows = csv_rows(dir.path());
    let mut over = trainer(dir.path()).add_on(StateManager::new()).fresh();
    assert!(run(&mut over).unwrap_err().to_string().contains("in use"));
    assert_eq!((csv_rows(dir.path()), names(dir.path()).len()), (rows, 2), "the metrics and the checkpoints");
    drop(over);
    drop(held);
    assert_eq!(run(&mut waits).unwrap().outcome, Outcome::AlreadyComplete);
    assert_eq!(checkpoints(&saved), kept);
    assert_eq!(notices.infos().len(), 1, "{:?}", notices.infos());
    drop(waits);
    let mut other = trainer(dir.path()).seed(8).add_on((StateManager::new(), notices.clone()));
    for _ in 0..2 {
        let error = run(&mut other).unwrap_err().to_string();
        assert!(error.contains("`.seed(7)`"), "{error}");
    }
    assert_eq!(checkpoints(&saved), kept);
}

/// C3: a process that ends between the checkpoint and its pointers, in the last save of a run: the next one has nothing to
/// train, and does what was left to be done all the same.
#[test]
fn what_a_save_left_to_be_done_is_done_by_the_next_process() {
    let whole = tempdir().unwrap();
    let export = |dir: &Path| dir.join("best.safetensors");
    let manager =
        |dir: &Path| StateManager::new().every_steps(5).keep_last(1).export_weights(export(dir)).background(false);
    let mut undisturbed = trainer(whole.path()).add_on(manager(whole.path()));
    run(&mut undisturbed).unwrap();
    let saves = undisturbed.get::<StateManager>().unwrap().saves().len() as u64;
    let pointers = |saved: &Path| ["last", "best"].map(|pointer| read_pointer(&saved.join(pointer)).unwrap());
    let of = |dir: &Path| {
        let saved = saved_in(dir);
        (checkpoints(&saved), pointers(&saved), fs::read(export(dir)).unwrap())
    };
    let expected = of(whole.path());
    for save in 1..=saves {
        let dir = tempdir().unwrap();
        let made = AtomicU64::new(0);
        // Everything fails once the checkpoint is there: the process might as well be dead.
        let disk = Disk::with_hook(move |operation| {
            let dead = made.load(Ordering::SeqCst) == save;
            if let Operation::Rename { to, .. } = operation
                && to.file_name().is_some_and(|name| name.to_string_lossy().starts_with("step-"))
            {
                made.fetch_add(1, Ordering::SeqCst);
            }
            if dead { Err(Error::other("dead")) } else { Ok(()) }
        });
        run(&mut trainer(dir.path()).add_on(manager(dir.path()).disk(disk))).unwrap();
        run(&mut trainer(dir.path()).add_on(manager(dir.path()))).unwrap();
        let found = of(dir.path());
        assert_eq!((found.0, found.1), (expected.0.clone(), expected.1), "save {save}");
        assert!(found.2 == expected.2, "save {save}: other weights were exported");
    }
}

/// C9: a damaged checkpoint is passed over, loudly, for the newest one that is whole; if none is, nothing is trained.
#[test]
fn a_damaged_checkpoint_is_passed_over_and_told_of() {
    let dir = tempdir().unwrap();
    let mut first = trainer(dir.path()).add_on(StateManager::new().keep_last(3).background(false));
    run(&mut first).unwrap();
    let expected = bits_of(&mut first);
    drop(first);
    let saved = saved_in(dir.path());
    let all = checkpoints(&saved);
    let damage = |name: &str| {
        let path = saved.join(name).join("model.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
    };
    damage(all.last().unwrap());
    let notices = Notices::default();
    let mut second = trainer(dir.path()).add_on((StateManager::new().keep_last(3), notices.clone()));
    assert_eq!(run(&mut second).unwrap().outcome, Outcome::Complete);
    let warning = &notices.warnings()[0];
    assert!(warning.contains(all.last().unwrap()) && warning.contains("checksum"), "{warning}");
    assert_eq!(bits_of(&mut second), expected);
    assert_eq!(checkpoints(&dir.path().join("checkpoints/old")), all[all.len() - 1..], "it is kept to be looked at");
    drop(second);
    all.iter().for_each(|name| damage(name));
    let mut third = trainer(dir.path()).add_on(StateManager::new());
    let error = run(&mut third).unwrap_err().to_string();
    assert!(all.iter().all(|name| error.contains(name)) && error.contains(".fresh()"), "{error}");
}

/// Nothing that is not finite becomes the last checkpoint, even where the run was told to go on.
#[test]
fn weights_that_are_not_finite_are_not_saved() {
    let dir = tempdir().unwrap();
    let notices = Notices::default();
    let mut trainer = trainer(dir.path())
        .scheduler(|at: &zae_core::schedule::ScheduleAt| if at.step < 8 { 0.01 } else { 1e300 })
        .on_non_finite(NonFinite::Ignore)
        .add_on((StateManager::new().background(false), notices.clone()));
    trainer.run(3, train_data(), valid_data()).unwrap();
    assert_eq!(checkpoints(&saved_in(dir.path())), ["step-00000006"]);
    let warnings = notices.warnings();
    assert!(warnings.len() == 2 && warnings[0].contains("is not finite"), "{warnings:?}");
}

#[test]
fn the_weights_of_the_best_are_exported() {
    let dir = tempdir().unwrap();
    for name in ["best.safetensors", "best.pt"] {
        let path = dir.path().join(name);
        let manager = StateManager::in_dir(dir.path().join(format!("of {name}"))).keep_last(9).background(false);
        let mut trainer = trainer(dir.path()).add_on(manager.export_weights(&path));
        run(&mut trainer).unwrap();
        let best = dir.path().join(format!("of {name}/best"));
        let expected = Weights::from(&best).put_into(&trainer.state_dict().unwrap()).unwrap().0;
        let exported = Weights::from(&path).put_into(&trainer.state_dict().unwrap()).unwrap().0;
        for (name, tensor) in expected.tensors {
            assert_eq!(tensor.data.bytes().unwrap(), exported.tensors[&name].data.bytes().unwrap(), "{name}");
        }
    }
    let mut trainer = trainer(dir.path()).add_on(StateManager::new().export_weights("weights"));
    let error = run(&mut trainer).unwrap_err().to_string();
    assert!(error.contains("`.safetensors`"), "{error}");
}

#[test]
fn a_checkpoint_that_does_not_fit_is_named() {
    let dir = tempdir().unwrap();
    run(&mut trainer(dir.path()).add_on(StateManager::new())).unwrap();
    let mut other = trainer(dir.path()).seed(8).add_on(StateManager::new());
    let error = run(&mut other).unwrap_err().to_string();
    let name = format!("step-{:08}", 6 * EPOCHS);
    assert!(error.contains(&name) && error.contains("`.seed(7)`") && error.contains("step 36"), "{error}");
}
