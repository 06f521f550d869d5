//! Several sets to validate on, each with a name.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::{Arc, Mutex};

use support::{ranks::on_ranks, *};
use zae_core::{
    add_on::Phase,
    add_ons::EarlyStopping,
    data::{Loader, from_fn},
    process_group::Reduction,
    schedule::{Cosine, ReduceOnPlateau},
    task::Mode,
    testing::{Architecture, Recorder, reference::Batch},
    trainer::{Every, Outcome, Trainer},
};

fn clean() -> Vec<Batch> {
    data(&[4, 1, 3], 2)
}

fn noisy() -> Vec<Batch> {
    data(&[2, 5], 9)
}

/// Early stopping that watches one set, and a plateau that watches the other.
fn set_up(task: Own) -> Trainer<Own> {
    let schedule =
        ReduceOnPlateau::new(Cosine::new(0.02)).metric("valid/clean/loss").factor(0.5).patience(0).threshold(0.9);
    let stopping = EarlyStopping::new("valid/noisy/loss").patience(4).min_delta(10.0);
    trainer(task).scheduler(schedule).validate(Every::Steps(3)).add_on(stopping)
}

#[test]
fn each_set_has_its_metrics_and_all_are_one_validation() {
    let lines = Lines::default();
    let (clean, noisy) = (clean(), noisy());
    let mut trainer = trainer(plain()).add_on(Log::new("log", Phase::Observe, &lines));
    let run = trainer.run(2, train_data(), [("clean", &clean), ("noisy", &noisy)]).unwrap();
    let last = &run.history.evaluations[1];
    assert_eq!((run.history.evaluations.len(), last.set.as_str(), last.epoch, last.step), (2, "valid", 1, 10));
    let names = ["valid/clean/hits", "valid/clean/loss", "valid/noisy/hits", "valid/noisy/loss"];
    assert_eq!(last.metrics.keys().collect::<Vec<_>>(), names);
    assert_eq!(last.counts.keys().collect::<Vec<_>>(), [names[0], names[2]]);
    assert_eq!((last.samples, last.loss(), last.get("noisy/loss")), (15.0, None, last.get("valid/noisy/loss")));
    let summary = &run.history.epochs[1].metrics;
    assert!(names.iter().all(|name| summary[*name] == last.metrics[*name]));
    for (set, data) in [("clean", &clean), ("noisy", &noisy)] {
        let alone = trainer.evaluate(data).unwrap();
        assert_eq!(alone.loss(), last.get(&format!("{set}/loss")), "{set}");
    }
    let hooks: Vec<_> =
        lines.lock().unwrap().iter().filter(|l| l.contains("valid") || l.contains("evalu")).cloned().collect();
    let passes = ["clean 0", "clean 1", "clean 2", "clean 3", "noisy 0", "noisy 1", "noisy 2"];
    let mut expected: Vec<_> = passes.iter().map(|pass| format!("log:pass valid/{pass}")).collect();
    expected.push("log:evaluation_end".to_owned());
    assert_eq!(hooks[..8], expected);
    let test = trainer.evaluate((("clean", &clean), ("noisy", from_fn(|_| noisy.iter().cloned().map(Ok))))).unwrap();
    assert_eq!((test.set.as_str(), test.get("noisy/loss")), ("test", last.get("noisy/loss")));
    assert!(test.metrics.contains_key("test/clean/loss"));
    assert_eq!(
        trainer.evaluate_as("held out", [("clean", &clean)]).unwrap().metrics.keys().next().unwrap(),
        "held out/clean/hits"
    );
}

#[test]
fn add_ons_and_schedules_watch_any_of_them() {
    let sets = || [("clean", clean()), ("noisy", noisy())];
    let mut trainer = set_up(plain());
    let run = trainer.run(9, train_data(), sets()).unwrap();
    let Outcome::Stopped(reason) = &run.outcome else { panic!("{:?}", run.outcome) };
    assert!(reason.contains("`valid/noisy/loss`"), "{reason}");
    fails(
        support::trainer(plain()).add_on(EarlyStopping::new("valid/loss")).run(1, train_data(), sets()),
        &["EarlyStopping watches `valid/loss`", "valid/clean/loss", "valid/noisy/loss"],
    );
    fails(
        support::trainer(plain()).scheduler(ReduceOnPlateau::new(0.1)).run(1, train_data(), sets()),
        &["ReduceOnPlateau watches `valid/loss`", "valid/clean/loss"],
    );
}

#[test]
fn a_run_that_is_cut_anywhere_also_between_two_sets_ends_the_same() {
    let sets = || [("clean", clean()), ("noisy", noisy())];
    let recorder = Recorder::new().with_snapshots();
    let mut whole = set_up(plain()).add_on(recorder.clone());
    whole.run(9, train_data(), sets()).unwrap();
    let (expected, steps) = (bits_of(&mut whole), whole.progress().step());
    let resumed = |snapshot: &zae_core::snapshot::Snapshot| {
        let mut resumed = set_up(plain());
        resumed.restore(&written(snapshot)).unwrap();
        resumed.run(9, train_data(), sets()).unwrap();
        bits_of(&mut resumed)
    };
    let snapshots = recorder.get().snapshots.clone();
    assert!(snapshots.len() as u64 > steps);
    for (moment, snapshot) in &snapshots {
        assert!(resumed(snapshot) == expected, "{moment:?} after step {}", snapshot.run.progress.step());
    }
    // The process dies in each batch of each validation.
    for dies_at in 0..5 * steps / 3 {
        let seen = Mutex::new(0);
        let task = Own::new(move |model, batch, at| {
            if at.mode == Mode::Evaluate {
                let mut seen = seen.lock().unwrap();
                *seen += 1;
                if *seen > dies_at {
                    return Err("on purpose".into());
                }
            }
            step(model, batch)
        });
        let recorder = Recorder::new().with_snapshots();
        fails(set_up(task).add_on(recorder.clone()).run(9, train_data(), sets()), &["on purpose"]);
        let last = recorder.get().snapshots.last().unwrap().1.clone();
        assert!(last.run.due.evaluation && last.run.history.evaluations.len() as u64 == dies_at / 5);
        assert!(resumed(&last) == expected, "died in batch {dies_at}");
    }
}

#[test]
fn ranks_share_the_batches_of_every_set() {
    let run = |trainer: Trainer<Own>| {
        let mut trainer = trainer.micro_batches(4).sanity_check(1).validate_on_start();
        let run = trainer.run(3, ranks::eleven(), [("clean", clean()), ("noisy", noisy())]).unwrap();
        run.history.without_clock()
    };
    let one = run(ranks::alone(Reduction::Reproducible).trainer(plain(), Architecture::Plain));
    assert_eq!((one.evaluations.len(), one.evaluations[3].samples), (4, 15.0));
    for world_size in [2, 4] {
        let all = on_ranks(world_size, Reduction::Reproducible, |_, connected| {
            run(connected.trainer(plain(), Architecture::Plain))
        });
        assert!(all.iter().all(|rank| *rank == one), "{world_size} ranks");
    }
}

#[test]
fn what_is_wrong_with_sets_is_said_before_any_step() {
    let steps = Arc::new(Mutex::new(0));
    let run = |valid: &dyn Loader<Batch>| {
        let steps = steps.clone();
        let task = Own::new(move |model, batch, _| {
            *steps.lock().unwrap() += 1;
            step(model, batch)
        });
        trainer(task).run(1, train_data(), valid)
    };
    let named = |a, b| [(a, clean()), (b, noisy())];
    fails(run(&named("clean", "clean")), &["two sets of data are named `clean`", "a name of its own"]);
    fails(run(&named("clean", "")), &["has no name", "give each one"]);
    fails(trainer(plain()).evaluate(named("a", "a")), &["two sets of data are named `a`"]);
    fails(trainer(plain()).run(1, named("a", "b"), ()), &["are for validation: train on one loader"]);
    fails(trainer(plain()).run_epoch(named("a", "b")), &["give one of them"]);
    fails(trainer(plain()).inference(named("a", "b")), &["give one of them"]);
    assert_eq!(*steps.lock().unwrap(), 0);
    fails(run(&[("a", clean()), ("empty", Vec::new())]), &["`valid/empty` has no batch"]);
    let run = run(&[("a", None::<Vec<Batch>>), ("b", None)]).unwrap();
    assert!(run.history.evaluations.is_empty(), "all of them are absent");
}
