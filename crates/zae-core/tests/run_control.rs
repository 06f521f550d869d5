//! What people ask of a run beside its length: a try, a few batches by heart, a look before the start, a minimum, closures.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::{Arc, Mutex};

use support::{ranks::on_ranks, *};
use zae_core::{
    add_on::{AddOn, Context, Phase},
    add_ons::{
        CsvLogger, EarlyStopping, EpochTable, ProgressBar, on_epoch_end, on_evaluation_end, on_run_end, on_run_start,
        on_step_end,
    },
    data::{DataLoader, Dataset, Loader, from_fn},
    error::{Error, Fallible, Stage},
    process_group::Reduction,
    schedule::{Cosine, ReduceOnPlateau},
    step::Step,
    task::{At, Mode, StepResult, Task},
    testing::{Recorder, null::Null, reference::Batch},
    trainer::{Every, Outcome, Run, Trainer, Until},
    watch::{Doing, Turn, Watch},
};

/// Goes on from every snapshot that `set_up` leaves, and ends as it did when it was not cut. Returns how many there were.
fn cut_everywhere(set_up: impl Fn() -> Trainer<Own>, run: impl Fn(&mut Trainer<Own>) -> Result<Run, Error>) -> usize {
    let recorder = Recorder::new().with_snapshots();
    let mut whole = set_up().add_on(recorder.clone());
    run(&mut whole).unwrap();
    let expected = bits_of(&mut whole);
    let snapshots = recorder.get().snapshots.clone();
    for (moment, snapshot) in &snapshots {
        let mut resumed = set_up();
        resumed.restore(&written(snapshot)).unwrap();
        run(&mut resumed).unwrap();
        assert!(bits_of(&mut resumed) == expected, "cut at {moment:?} after step {}", snapshot.run.progress.step());
    }
    snapshots.len()
}

/// So many rows, shuffled, in batches of two.
fn shuffled(n: usize) -> DataLoader<impl zae_core::data::Source<Batch = Batch>> {
    let rows: Vec<Batch> = data(&vec![1; n], 3);
    let join = |rows: Vec<Batch>| -> Fallible<Batch> {
        let inputs = rows.iter().flat_map(|row| row.inputs.clone()).collect();
        Ok(Batch { inputs, labels: rows.iter().flat_map(|row| row.labels.clone()).collect(), device: None })
    };
    DataLoader::new(rows.collate(join), 2).shuffle(true).workers(0)
}

// ---- fast dev run ----

#[test]
fn a_fast_dev_run_tries_everything_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("run");
    let (lines, recorder) = (Lines::default(), Recorder::new());
    let log = |name, phase| Log::new(name, phase, &lines).with_snapshots();
    let mut kept = trainer(plain());
    kept.run(2, train_data(), ()).unwrap();
    let mut trainer = trainer(plain())
        .scheduler(Cosine::new(0.01))
        .run_dir(&folder)
        .validate(Every::Steps(1000))
        .sanity_check(1)
        .add_on((log("looks", Phase::Observe), log("decides", Phase::Decide), log("saves", Phase::Persist)))
        .add_on((log("reports", Phase::Report), CsvLogger::new(), recorder.clone()))
        .add_on((ProgressBar::new().off(), Keeper("keeper", Some(kept.snapshot().unwrap()))))
        .fast_dev_run(2);
    let run = trainer.run(10, train_data(), valid_data()).unwrap();
    assert_eq!(run.outcome, Outcome::Complete);
    assert_eq!((trainer.progress().step(), trainer.progress().epoch()), (2, 1), "what was kept is not gone on with");
    assert_eq!((run.history.epochs[0].samples, run.history.evaluations[0].samples), (8.0, 5.0));
    assert!(run.history.epochs[0].metrics.contains_key("valid/loss"));
    assert_eq!(trainer.evaluate(valid_data()).unwrap().samples, 5.0);
    assert_eq!(trainer.inference(valid_data()).unwrap().len(), 2);
    // The next phase of a program is tried too, and a loop of its own.
    trainer.run(Until::steps(1).min_steps(1), data(&[7, 1, 9], 5), ()).unwrap();
    assert_eq!((trainer.progress().step(), trainer.progress().epoch()), (4, 2));
    let mut own = support::trainer(plain()).fast_dev_run(2);
    assert_eq!(own.run_epoch(data(&[7, 1, 9], 5)).unwrap().samples, 8.0);
    assert!(!folder.exists());
    let lines = lines.lock().unwrap();
    for (name, is_called) in [("looks", true), ("decides", true), ("saves", false), ("reports", false)] {
        assert_eq!(lines.iter().any(|line| line.starts_with(name)), is_called, "{name}");
    }
    assert_eq!(recorder.get().hooks[..3], ["run_start", "epoch_start 0", "pass valid"], "the console stays");
    assert!(trainer.get::<CsvLogger>().is_some());
}

/// Watches, and leaves something behind.
struct Spy(Arc<Mutex<Vec<Stage>>>);

impl Watch for Spy {
    fn turn(&self, to: &Turn<'_>) {
        if let Doing::Stage(stage) = to.doing {
            self.0.lock().unwrap().push(stage);
        }
    }
}

struct Sends(Arc<Spy>);

impl AddOn for Sends {
    fn name(&self) -> &'static str {
        "sends"
    }
    fn phase(&self) -> Phase {
        Phase::Report
    }
    fn watch(&mut self) -> Option<Arc<dyn Watch>> {
        Some(self.0.clone())
    }
}

#[test]
fn what_leaves_traces_does_not_watch_a_fast_dev_run_and_statistics_take_few_batches() {
    let spy = Arc::new(Spy(Arc::default()));
    let taken = Arc::new(Mutex::new(0));
    let seen = taken.clone();
    let task = Own::new(move |model, batch, _| {
        *seen.lock().unwrap() += 1;
        step(model, batch)
    });
    let mut few = trainer(task).fast_dev_run(2).add_on(Sends(spy.clone()));
    few.run(3, train_data(), ()).unwrap();
    assert_eq!(*spy.0.lock().unwrap(), []);
    *taken.lock().unwrap() = 0;
    few.update_bn(train_data()).unwrap();
    assert_eq!(*taken.lock().unwrap(), 3, "the first one twice");
}

#[test]
fn consoles_leave_no_traces_and_those_that_save_or_report_do() {
    let lines = Lines::default();
    let leaves = |phase| Log::new("log", phase, &lines).leaves_traces();
    assert_eq!([Phase::Observe, Phase::Decide, Phase::Persist, Phase::Report].map(leaves), [false, false, true, true]);
    assert!(CsvLogger::new().leaves_traces());
    assert!(!ProgressBar::new().leaves_traces() && !EpochTable::new().leaves_traces());
}

#[test]
fn a_fast_dev_run_finds_what_would_be_found_hours_later() {
    let task = Own::new(
        |model, batch, at| {
            if at.mode == Mode::Evaluate { Err("a slip in test_step".into()) } else { step(model, batch) }
        },
    );
    fails(trainer(task).fast_dev_run(1).run(9, train_data(), valid_data()), &["a slip in test_step"]);
    let stopping = EarlyStopping::new("valid/acuracy");
    fails(
        trainer(plain()).add_on(stopping).fast_dev_run(1).run(9, train_data(), valid_data()),
        &["valid/acuracy", "valid/hits"],
    );
    let mut without = trainer(plain()).validate(Every::Never).fast_dev_run(1);
    assert_eq!(without.run(9, train_data(), valid_data()).unwrap().history.evaluations.len(), 0);
    fails(trainer(plain()).fast_dev_run(0).run(9, train_data(), ()), &["`.fast_dev_run(0)`", "at least 1"]);
    let mut restored = trainer(plain()).fast_dev_run(1);
    restored.restore(&trainer(plain()).snapshot().unwrap()).unwrap();
    fails(restored.run(9, train_data(), ()), &["`.fast_dev_run(..)`", "`restore`", "leave one of them out"]);
}

// ---- overfit ----

#[test]
fn a_few_batches_are_learned_by_heart() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let to = seen.clone();
    let task = Own::new(move |model, batch, at| {
        to.lock().unwrap().push((at.mode, at.cursor.micro_batch, batch.inputs.clone()));
        step(model, batch)
    });
    let learner = learner(zae_core::testing::Architecture::Plain);
    let mut trainer = with_learner(task, learner).scheduler(0.05).validate(Every::Epochs(60));
    let train = shuffled(20);
    let few = (&train).overfit(3);
    let run = trainer.run(120, few, few).unwrap();
    assert!(run.history.epochs[0].metrics["train/loss"] > 0.5);
    assert!(run.history.evaluations[1].loss().unwrap() < 0.01, "{:?}", run.history.evaluations[1]);
    let seen = seen.lock().unwrap();
    let first: Vec<_> = seen[..3].iter().map(|(_, i, inputs)| (*i, inputs.clone())).collect();
    assert!(seen.iter().all(|(_, i, inputs)| first[*i as usize] == (*i, inputs.clone())), "always the same");
    assert!(seen.iter().any(|(mode, ..)| *mode == Mode::Evaluate));
}

#[test]
fn overfitting_and_limits_are_resumed_and_belong_to_the_run() {
    let train = shuffled(20);
    let cuts =
        cut_everywhere(|| trainer(plain()).accumulate(2), |t| t.run(3, (&train).overfit(3), (&train).limit(0.2)));
    assert!(cuts >= 6 + 3 + 3, "{cuts}");
    let mut first = trainer(plain());
    first.run(1, (&train).limit(0.5), ()).unwrap();
    let snapshot = first.snapshot().unwrap();
    let goes_on = |train: &dyn Loader<Batch>| {
        let mut second = trainer(plain());
        second.restore(&snapshot).unwrap();
        second.run(2, train, ())
    };
    goes_on(&(&train).limit(0.5)).unwrap();
    fails(goes_on(&(&train).limit(0.4)), &["`limit` 0.5, this one 0.4"]);
    fails(goes_on(&(&train).overfit(0.5)), &["`limit` 0.5, this one none", "`overfit` none, this one 0.5"]);
    fails(trainer(plain()).run(1, (&train).limit(0.01), ()), &["0.01 of 10 batches", "give a larger fraction"]);
    fails(trainer(plain()).run(1, &train, (&train).limit(2.0)), &["fraction 2", "at most 1"]);
}

// ---- before the first epoch ----

#[test]
fn a_sanity_check_changes_nothing() {
    let hooks = Recorder::new();
    let set_up = || trainer(plain()).add_on(EarlyStopping::new("valid/loss").patience(100));
    let mut without = set_up();
    without.run(2, train_data(), valid_data()).unwrap();
    let mut with = set_up().sanity_check(2).add_on(hooks.clone());
    with.run(2, train_data(), valid_data()).unwrap();
    assert_eq!(hooks.get().hooks[..4], ["run_start", "pass sanity", "epoch_start 0", "pass valid"]);
    assert!(bits_of(&mut with) == bits_of(&mut without));
    // Neither a further call nor a run that goes on does it again.
    with.run(3, train_data(), valid_data()).unwrap();
    let again = Recorder::new();
    let mut resumed = set_up().sanity_check(2).add_on(again.clone());
    resumed.restore(&without.snapshot().unwrap()).unwrap();
    resumed.run(3, train_data(), valid_data()).unwrap();
    let checks = |recorder: &Recorder| recorder.get().hooks.iter().filter(|hook| hook.contains("sanity")).count();
    assert_eq!((checks(&hooks), checks(&again)), (1, 0));
    assert!(bits_of(&mut with) == bits_of(&mut resumed));
    trainer(plain()).sanity_check(2).run(1, train_data(), ()).unwrap();
}

#[test]
fn a_sanity_check_finds_what_is_wrong_before_any_step() {
    let seen = Arc::new(Mutex::new((0, 0)));
    let to = seen.clone();
    let task = Own::new(move |model, batch, at| {
        let mut seen = to.lock().unwrap();
        match at.mode {
            Mode::Train => seen.0 += 1,
            _ => seen.1 += 1,
        }
        if seen.1 == 3 { Err("a slip".into()) } else { step(model, batch) }
    });
    // Two batches of each of two sets: it is the first of the second set.
    let sets = [("a", valid_data()), ("b", valid_data())];
    fails(trainer(task).sanity_check(2).run(1, train_data(), sets), &["a slip", "test_step (batch 0, after step 0)"]);
    assert_eq!(*seen.lock().unwrap(), (0, 3));
}

#[test]
fn a_validation_on_the_start_is_the_first_to_beat() {
    let set_up = || {
        let schedule = ReduceOnPlateau::new(Cosine::new(0.02)).factor(0.5).patience(0).threshold(0.9);
        trainer(plain())
            .scheduler(schedule)
            .validate_on_start()
            .validate(Every::Epochs(2))
            .add_on(EarlyStopping::new("valid/loss").patience(2).min_delta(10.0))
    };
    let mut whole = set_up();
    let run = whole.run(9, train_data(), valid_data()).unwrap();
    let found: Vec<_> = run.history.evaluations.iter().map(|e| (e.epoch, e.step)).collect();
    assert_eq!(found, [(0, 0), (1, 10), (3, 20)], "the first is the best, so the third ends the run");
    assert!(matches!(run.outcome, Outcome::Stopped(_)));
    assert_eq!(trainer(plain()).evaluate(valid_data()).unwrap().loss(), run.history.evaluations[0].loss());
    let epochs = &run.history.epochs;
    assert_eq!([0, 1].map(|i| epochs[i].metrics.contains_key("valid/loss")), [false, true], "it is no epoch's");
    let cuts = cut_everywhere(set_up, |t| t.run(9, train_data(), valid_data()));
    assert_eq!(cuts, 20 + 4 + 3 + 1);
    let goal = EarlyStopping::new("valid/loss").stop_at(100.0);
    let mut at_once = trainer(plain()).validate_on_start().add_on(goal);
    let run = at_once.run(9, train_data(), valid_data()).unwrap();
    assert_eq!((matches!(run.outcome, Outcome::Stopped(_)), at_once.progress().step()), (true, 0));
    // Nothing to validate, nothing to train.
    trainer(plain()).validate_on_start().run(1, train_data(), ()).unwrap();
    assert!(
        trainer(plain()).validate_on_start().run(0, train_data(), valid_data()).unwrap().history.evaluations.is_empty()
    );
}

// ---- minimum ----

/// A trainer whose validation after epoch e has the loss `losses[e]`.
fn echo(losses: &'static [f64]) -> Trainer<Losses> {
    Trainer::new(Losses(losses), Null::default()).scheduler(0.1).handle_signals(false)
}

struct Losses(&'static [f64]);

impl Task for Losses {
    type Learner = Null;
    type Batch = f64;
    fn train_step(&self, (): &(), batch: f64, _: &At) -> StepResult<Self> {
        Ok(Step::new(batch, 1))
    }
    fn test_step(&self, (): &(), _: f64, at: &At) -> StepResult<Self> {
        Ok(Step::new(self.0[at.step as usize / 4 - 1], 1))
    }
}

fn four() -> impl Loader<f64> {
    from_fn(|_| (0..4).map(|i| Ok(f64::from(i))))
}

#[test]
fn nobody_who_decides_ends_a_run_before_its_minimum() {
    const RISES: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    let ends = |losses, until: Until| {
        let mut trainer = echo(losses).add_on(EarlyStopping::new("valid/loss").patience(1));
        let run = trainer.run(until, four(), vec![0.5]).unwrap();
        (matches!(run.outcome, Outcome::Stopped(_)), trainer.progress().step())
    };
    let most = Until::epochs(8);
    assert_eq!(ends(RISES, most), (true, 8));
    assert_eq!(ends(RISES, most.min_epochs(2)), (true, 8), "reached is enough");
    assert_eq!(ends(RISES, most.min_epochs(5)), (true, 20));
    assert_eq!(ends(RISES, most.min_steps(13)), (true, 16));
    assert_eq!(ends(RISES, most.min_steps(12)), (true, 12));
    assert_eq!(ends(RISES, most.min_epochs(3).min_steps(17)), (true, 20), "both have to be reached");
    assert_eq!(ends(RISES, most.min_epochs(8)), (true, 32));
    // It had stopped getting better once; at the minimum it gets better, so there is no reason any more.
    const RECOVERS: &[f64] = &[3.0, 4.0, 5.0, 2.0, 1.0, 6.0, 0.0, 0.0];
    assert_eq!(ends(RECOVERS, most), (true, 8));
    assert_eq!(ends(RECOVERS, most.min_epochs(4)), (true, 24));
}

#[test]
fn a_stop_button_ends_a_run_before_its_minimum() {
    for (phase, step) in [(Phase::Observe, 6), (Phase::Persist, 6), (Phase::Report, 6), (Phase::Decide, 17)] {
        let stop = |cx: &mut Context<'_>| {
            if cx.progress.step() >= 6 {
                assert!(cx.requests.stop_reason().is_none());
                cx.requests.stop("pressed");
            }
            Ok(())
        };
        let button = on_step_end(stop).phase(phase);
        let mut trainer = trainer(plain()).add_on(button);
        let run = trainer.run(Until::epochs(9).min_steps(17), train_data(), valid_data()).unwrap();
        assert_eq!(run.outcome, Outcome::Stopped("pressed".to_owned()), "{phase:?}");
        assert_eq!(trainer.progress().step(), step, "{phase:?}");
    }
    let timed = Until::epochs(9).min_epochs(3).or_time(std::time::Duration::ZERO);
    assert_eq!(trainer(plain()).run(timed, train_data(), ()).unwrap().outcome, Outcome::OutOfTime);
}

#[test]
fn a_minimum_holds_after_a_resume_and_on_all_ranks() {
    let set_up = || trainer(plain()).add_on(EarlyStopping::new("valid/loss").patience(1).min_delta(10.0));
    let until = Until::epochs(9).min_epochs(4);
    let mut whole = set_up();
    assert!(matches!(whole.run(until, train_data(), valid_data()).unwrap().outcome, Outcome::Stopped(_)));
    assert_eq!(whole.progress().step(), 20);
    assert_eq!(cut_everywhere(set_up, |t| t.run(until, train_data(), valid_data())), 20 + 4 + 4 + 1);
    let steps = on_ranks(2, Reduction::Fast, |_, connected| {
        let mut trainer = connected.with(set_up());
        let run = trainer.run(until, train_data(), valid_data()).unwrap();
        (matches!(run.outcome, Outcome::Stopped(_)), trainer.progress().step())
    });
    assert_eq!(steps, [(true, 12), (true, 12)]);
}

#[test]
fn a_minimum_above_the_maximum_is_a_slip() {
    let run = |until: Until| trainer(plain()).run(until, train_data(), ());
    fails(
        run(Until::epochs(3).min_epochs(5)),
        &["at least 5 epochs and at most 3", "raise the one or lower the other"],
    );
    fails(run(Until::steps(3).min_steps(5)), &["at least 5 steps and at most 3"]);
    run(Until::epochs(1).min_steps(500)).unwrap();
}

// ---- closures ----

#[test]
fn closures_are_add_ons() {
    let lines = Lines::default();
    let [a, b, c, d, e] = std::array::from_fn(|_| lines.clone());
    let mut trainer = trainer(plain())
        .add_on(on_epoch_end(move |epoch, cx| {
            a.lock().unwrap().push(format!("epoch {} of {:?}", epoch.epoch, cx.progress.epochs()));
            Ok(())
        }))
        .add_on((
            on_run_start(move |_| {
                b.lock().unwrap().push("start".to_owned());
                Ok(())
            }),
            on_evaluation_end(move |evaluation, _| {
                c.lock().unwrap().push(format!("{} {}", evaluation.set, evaluation.step));
                Ok(())
            }),
            on_run_end(move |run, _| {
                d.lock().unwrap().push(format!("{:?}", run.outcome));
                Ok(())
            })
            .phase(Phase::Report),
        ))
        .add_on(
            on_epoch_end(move |_, cx| {
                e.lock().unwrap().push("first".to_owned());
                if cx.progress.epoch() == 2 {
                    cx.requests.stop("two are enough");
                }
                Ok(())
            })
            .named("before all that begin with o"),
        );
    trainer.run(5, train_data(), valid_data()).unwrap();
    let expected = [
        "start",
        "valid 5",
        "first",
        "epoch 0 of Some(5)",
        "valid 10",
        "first",
        "epoch 1 of Some(5)",
        "Stopped(\"two are enough\")",
    ];
    assert_eq!(*lines.lock().unwrap(), expected);
}

#[test]
fn the_error_of_a_closure_names_its_place() {
    let mut failing = trainer(plain())
        .add_on(on_step_end(|cx| if cx.progress.step() == 3 { Err("no further".into()) } else { Ok(()) }));
    fails(failing.run(1, train_data(), ()), &["add-on `on_step_end at ", "run_control.rs:", "no further"]);
    // Made at one place, they have one name.
    let twice = || [(); 2].map(|()| on_epoch_end(|_, _| Ok(())));
    let mut trainer = trainer(plain()).add_on(twice().into_iter().collect::<Vec<_>>());
    fails(trainer.run(1, train_data(), ()), &["two add-ons are named `on_epoch_end at ", "another name"]);
    let mut panics = trainer_of(on_run_start(|_| panic!("oh")).named("mine"));
    fails(panics.run(1, train_data(), ()), &["add-on `mine`", "panicked: oh"]);
}

fn trainer_of(add_on: impl AddOn) -> Trainer<Own> {
    trainer(plain()).add_on(add_on)
}
