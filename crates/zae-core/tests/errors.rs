//! What goes wrong: the message says where and how to mend it, and what was done so far is not lost.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::{cell::Cell, rc::Rc, sync::Arc};

use support::*;
use zae_core::{
    add_on::{AddOn, Durable, Moment, Phase},
    data::{Batches, Draw, Loader, from_fn},
    error::{Error, Fallible},
    learner::{Clip, Number, OptimizerLayout},
    progress::ProgressChecker,
    schedule::{Cosine, Schedule, ScheduleAt},
    snapshot::Snapshot,
    state::State,
    step::Step,
    task::Mode,
    testing::{
        Architecture, Recorder, Sizes,
        reference::{Batch, Net, ReferenceLearner},
    },
    trainer::{Every, NonFinite, Outcome, Trainer, Until},
};

/// What a trainer without faults has after this many steps of the plain network, which no forward pass changes.
fn after(steps: u64, accumulate: u64) -> Bits {
    let mut trainer = unharmed(accumulate);
    trainer.run(Until::steps(steps), train_data(), ()).unwrap();
    bits_of(&mut trainer)
}

fn unharmed(accumulate: u64) -> Trainer<Own> {
    with_learner(plain(), learner(Architecture::Plain)).accumulate(accumulate)
}

/// A loader of five batches that stops in front of the third.
fn breaking(fault: impl Fn() -> Fallible<Batch> + 'static) -> impl Loader<Batch> {
    let fault = Rc::new(fault);
    from_fn(move |_| {
        let fault = fault.clone();
        train_data().into_iter().enumerate().map(move |(i, batch)| if i == 2 { fault() } else { Ok(batch) })
    })
}

#[test]
fn a_loss_that_does_not_depend_on_the_model() {
    let task = Own::new(|model, _, at| {
        let value = model.constant(&[1.0]);
        if at.mode == Mode::Train { Ok(Step::new(value, 1)) } else { Ok(Step::new(value, 2)) }
    });
    let mut trainer = trainer(task);
    let words = ["the backward pass", "epoch 0, micro-batch 0, step 0", "does not depend on the model"];
    fails(trainer.run(1, train_data(), ()), &words);
    assert_eq!(trainer.evaluate(valid_data()).unwrap().loss(), Some(1.0));
}

#[test]
fn a_parameter_that_is_unused_is_no_error() {
    let mut trainer = with_learner(plain(), learner(Architecture::Unused)).gradient_clip(Clip::Norm(1.0)).accumulate(2);
    let before = weights(&mut trainer);
    assert_eq!(trainer.run(2, train_data(), valid_data()).unwrap().outcome, Outcome::Complete);
    let after = weights(&mut trainer);
    assert_eq!(before["model/unused.weight"], after["model/unused.weight"]);
    assert_ne!(before["model/fc1.weight"], after["model/fc1.weight"]);
}

#[test]
fn data_without_a_batch() {
    let none = Vec::new;
    let mut trainer = trainer(plain());
    fails(trainer.run(1, none(), ()), &["the training data has no batch in epoch 0", "give a loader that has some"]);
    fails(trainer.run_epoch(none()), &["the training data has no batch"]);
    fails(trainer.evaluate(none()), &["`test` has no batch", "give a loader that has some"]);
    fails(trainer.inference(none()), &["`inference` has no batch"]);
    assert_eq!(trainer.progress().step(), 0);
    fails(trainer.run(1, train_data(), none()), &["`valid` has no batch", "after step 5"]);
    assert_eq!(trainer.progress().step(), 5);
    // The validation is still owed.
    let run = trainer.run(1, train_data(), valid_data()).unwrap();
    assert_eq!((run.outcome, run.history.evaluations.len()), (Outcome::Complete, 1));
    fails(trainer.run(2, from_fn(|_| std::iter::empty()), ()), &["no batch in epoch 1"]);
}

#[test]
fn a_loader_that_fails_in_the_middle() {
    let words = ["the data (epoch 0, micro-batch 2, step 2)", "disk on fire"];
    let mut broken = unharmed(1);
    fails(broken.run(1, breaking(|| Err("disk on fire".into())), ()), &words);
    assert_eq!(bits_of(&mut broken), after(2, 1));
    broken.run(1, train_data(), ()).unwrap();
    assert_eq!(bits_of(&mut broken), after(5, 1), "with the fault gone, the same trainer goes on");
    let mut broken = unharmed(1);
    let message = fails(broken.run(1, breaking(|| panic!("disk on fire")), ()), &["micro-batch 2", "disk on fire"]);
    assert!(message.starts_with("the data (epoch 0, ") && message.contains("panicked"), "{message}");
    broken.run(1, train_data(), ()).unwrap();
    assert_eq!(bits_of(&mut broken), after(5, 1));
}

#[test]
fn an_evaluation_whose_loader_fails() {
    for panics in [false, true] {
        let fault = move || if panics { panic!("disk on fire") } else { Err("disk on fire".into()) };
        let mut trainer = trainer(plain());
        let words = ["evaluation", "(batch 2, after step 5)", "disk on fire"];
        assert!(matches!(trainer.run(1, train_data(), breaking(fault)), Err(Error::Data { .. })));
        fails(trainer.evaluate(breaking(fault)), &words);
        fails(trainer.inference(breaking(fault)), &words);
        trainer.evaluate(valid_data()).unwrap();
        assert_eq!(trainer.run(1, train_data(), valid_data()).unwrap().history.evaluations.len(), 1);
    }
}

#[test]
fn a_loader_that_cannot_be_opened() {
    struct Closed;
    impl Loader<Batch> for Closed {
        fn micro_batches(&self, _: u64) -> Option<u64> {
            Some(5)
        }
        fn epoch<'a>(&'a self, _: &Draw) -> Fallible<Batches<'a, Batch>> {
            Err("no such file".into())
        }
    }
    let mut trainer = trainer(plain());
    assert!(matches!(trainer.run(1, Closed, ()), Err(Error::Data { .. })));
    fails(trainer.run(1, Closed, ()), &["the data (epoch 0, micro-batch 0, step 0)", "no such file"]);
    fails(trainer.evaluate(Closed), &["evaluation", "no such file"]);
}

#[test]
fn a_loader_that_gives_more_or_less_than_it_announces() {
    struct Announces(u64, Vec<Batch>);
    impl Loader<Batch> for Announces {
        fn micro_batches(&self, _: u64) -> Option<u64> {
            Some(self.0)
        }
        fn epoch<'a>(&'a self, draw: &Draw) -> Fallible<Batches<'a, Batch>> {
            self.1.epoch(draw)
        }
    }
    // In the batch that is the last, or should be: an endless one would never come to the end of its epoch.
    for (announced, gave, place) in [(4, "gave 4, and more: ", "micro-batch 3"), (6, "gave 5: ", "micro-batch 4")] {
        let mut trainer = trainer(plain());
        let announces = format!("announced {announced} batches for epoch 0");
        fails(trainer.run(1, Announces(announced, train_data()), ()), &["data", place, &announces, gave, "`None`"]);
        assert_eq!(trainer.progress().step(), announced.min(5) - 1);
    }
}

/// A fault in the middle of a window, on both kinds of device: what was done before is kept, nothing of the window is.
#[test]
fn a_step_that_fails_or_panics() {
    for (panics, asynchronous) in [(false, false), (true, false), (false, true), (true, true)] {
        for micro_batch in [0, 1, 2, 3, 4] {
            let broken = Rc::new(Cell::new(true));
            let seen = broken.clone();
            let task = Own::new(move |model, batch, at| {
                if seen.get() && at.mode == Mode::Train && at.cursor.micro_batch == micro_batch {
                    if panics { panic!("on purpose") } else { Err("on purpose")? }
                }
                step(model, batch)
            });
            let learner = if asynchronous { support::asynchronous } else { learner };
            let recorder = Recorder::new();
            let mut trainer = with_learner(task, learner(Architecture::Plain)).accumulate(2).add_on(recorder.clone());
            let place = format!("train_step (epoch 0, micro-batch {micro_batch}, step {})", micro_batch / 2);
            let message = fails(trainer.run(1, train_data(), ()), &[&place, "on purpose"]);
            assert_eq!(message.contains("panicked"), panics);
            assert_eq!(recorder.get().rows.len() as u64, micro_batch / 2, "rows of the steps that were made");
            assert_eq!(recorder.get().error, Some(message));
            trainer.evaluate(valid_data()).unwrap();
            if micro_batch > 1 {
                assert_eq!(bits_of(&mut trainer), after(micro_batch / 2, 2));
            }
            broken.set(false);
            trainer.run(1, train_data(), ()).unwrap();
            assert_eq!(bits_of(&mut trainer), after(3, 2), "with the fault gone, the same trainer goes on");
            let steps: Vec<_> = recorder.get().rows.iter().map(|row| row.0).collect();
            assert_eq!(steps, [0, 1, 2], "each step has one row");
        }
    }
}

#[test]
fn a_batch_step_that_fails_leaves_nothing_behind() {
    let broken = Cell::new(true);
    let task = Own::new(move |model, batch, at| {
        if at.step == 1 && broken.replace(false) {
            Ok(step(model, batch)?.number("loss", 1.0))
        } else {
            step(model, batch)
        }
    });
    let recorder = Recorder::new();
    let mut trainer = with_learner(task, learner(Architecture::Plain)).add_on(recorder.clone());
    let mut batches = train_data().into_iter();
    let mut next = || batches.next().unwrap();
    trainer.run_batch(next()).unwrap();
    let second = next();
    fails(
        trainer.run_batch(second.clone()),
        &["train_step (epoch 0, micro-batch 1, step 1)", "give the metric another name"],
    );
    trainer.run_batch(second).unwrap();
    (0..3).for_each(|_| drop(trainer.run_batch(next()).unwrap()));
    assert_eq!(weights(&mut trainer), after(5, 1).tensors);
    assert_eq!(recorder.get().rows.len(), 5);
}

/// Ten batches an epoch; step 17 gets a batch that is not finite.
fn ten() -> Vec<Batch> {
    data(&[3, 2, 4, 3, 2, 4, 1, 3, 5, 2], 1)
}

const BAD: u64 = 17;

fn poisoned(value: f32) -> Own {
    Own::new(move |model, mut batch, at| {
        if at.mode == Mode::Train && at.step == BAD {
            batch.inputs[0] = value;
        }
        step(model, batch)
    })
}

#[test]
fn a_loss_that_is_not_finite_stops_before_the_weights_move() {
    let recorder = Recorder::new();
    let mut trainer = with_learner(poisoned(f32::INFINITY), learner(Architecture::Plain)).add_on(recorder.clone());
    let words = ["`train/loss`", "epoch 1, micro-batch 7, step 17", "learning rate", "Clip::Norm(1.0)", "SkipStep"];
    let message = fails(trainer.run(3, ten(), ()), &words);
    let Err(Error::NotFinite { metric, value, site }) = trainer.run(3, ten(), ()) else { panic!("another: {message}") };
    assert_eq!((metric.as_str(), value.is_finite(), site.step), ("train/loss", false, BAD));
    assert_eq!(trainer.progress().step(), BAD);
    let mut good = with_learner(plain(), learner(Architecture::Plain));
    good.run(Until::steps(BAD), ten(), ()).unwrap();
    assert_eq!(bits_of(&mut trainer), bits_of(&mut good), "sums too are those from before the step");
    assert!(!column(&recorder, "train/loss")[BAD as usize].is_finite(), "the bad row is shown");
    assert!(trainer.evaluate(valid_data()).unwrap().loss().unwrap().is_finite());
}

#[test]
fn a_step_can_be_skipped() {
    for asynchronous in [false, true] {
        let learner = if asynchronous { support::asynchronous } else { learner };
        let recorder = Recorder::new();
        let mut trainer = with_learner(poisoned(f32::INFINITY), learner(Architecture::Plain))
            .on_non_finite(NonFinite::SkipStep)
            .add_on(recorder.clone());
        let run = trainer.run(2, ten(), ()).unwrap();
        assert_eq!((run.outcome, trainer.progress().skipped(), trainer.progress().step()), (Outcome::Complete, 1, 20));
        let losses = column(&recorder, "train/loss");
        assert_eq!(losses.iter().filter(|loss| !loss.is_finite()).count(), 1);
        // The epoch's numbers are those of its other steps.
        let epoch = &run.history.epochs[1];
        let rest: Vec<_> = (10..20).filter(|step| *step != BAD as usize).collect();
        let rows = |i: usize| ten()[i % 10].labels.len() as f64;
        let (mut sum, mut weight) = (0.0, 0.0);
        for &i in &rest {
            sum += losses[i] * rows(i);
            weight += rows(i);
        }
        assert_eq!((epoch.metrics["train/loss"], epoch.samples), (sum / weight, weight));
        let hits = column(&recorder, "train/hits");
        assert_eq!(epoch.metrics["train/hits"], rest.iter().map(|i| hits[*i]).sum::<f64>());
        // And the weights are those of a run in which that step had nothing to learn from.
        let task = Own::new(|model, batch, at| {
            let mut step = step(model, batch)?;
            if at.mode == Mode::Train && at.step == BAD {
                step = Step::weighted(model.constant(&[0.0]), 0.0);
            }
            Ok(step)
        });
        let mut other = with_learner(task, support::learner(Architecture::Plain));
        other.run(2, ten(), ()).unwrap();
        assert_eq!(weights(&mut trainer), weights(&mut other));
    }
}

#[test]
fn what_is_not_finite_can_be_ignored() {
    let task = poisoned(f32::INFINITY);
    let mut trainer = with_learner(task, learner(Architecture::Plain)).on_non_finite(NonFinite::Ignore);
    let run = trainer.run(2, ten(), ()).unwrap();
    assert_eq!((run.outcome, trainer.progress().skipped()), (Outcome::Complete, 0));
    assert!(run.history.epochs[0].metrics["train/loss"].is_finite());
    assert!(!run.history.epochs[1].metrics["train/loss"].is_finite());
    trainer.snapshot().unwrap();
}

#[test]
fn an_asynchronous_device_stops_at_the_next_read() {
    let (recorder, lines) = (Recorder::new(), Lines::default());
    let log = Log::new("log", Phase::Persist, &lines).with_snapshots();
    let mut trainer = with_learner(poisoned(f32::INFINITY), asynchronous(Architecture::Plain))
        .log_every(6)
        .add_on((recorder.clone(), log));
    fails(trainer.run(3, ten(), ()), &["`train/loss`", "epoch 1, micro-batch 7, step 17"]);
    assert_eq!(trainer.progress().step(), 20, "read at the end of the epoch");
    assert_eq!(recorder.get().groups, [6, 4, 6, 4], "all rows were handed out");
    let count = |what: &str| lines.lock().unwrap().iter().filter(|line| line.contains(what)).count();
    assert_eq!((count("snapshot"), count("epoch_end"), count("error")), (1, 1, 1), "nothing bad is saved");
    let words = ["the snapshot", "not finite", "go on from an earlier snapshot"];
    fails(trainer.snapshot(), &words);
    let mut good = with_learner(plain(), asynchronous(Architecture::Plain));
    good.run(1, ten(), ()).unwrap();
    trainer.restore(&good.snapshot().unwrap()).unwrap();
    assert_eq!(bits_of(&mut trainer).tensors, bits_of(&mut good).tensors);
    fails(trainer.run(2, ten(), ()), &["step 17"]);
}

#[test]
fn a_snapshot_in_the_middle_reads_what_is_not_finite() {
    let asks = acting("asks", |hook, cx| {
        if hook == "step_end" && cx.progress.step() == BAD + 1 {
            cx.requests.snapshot();
        }
        if hook == "snapshot" { Err("it was saved".into()) } else { Ok(()) }
    });
    let mut trainer =
        with_learner(poisoned(f32::INFINITY), asynchronous(Architecture::Plain)).add_on(asks).log_every(1000);
    fails(trainer.run(3, ten(), ()), &["`train/loss`", "step 17"]);
    assert_eq!(trainer.progress().step(), BAD + 1);
}

/// Not a number as input: ReLU stops it going forward, so the loss is finite, and the first layer's gradients are not.
#[test]
fn a_gradient_norm_that_is_not_finite() {
    let mut stopped = with_learner(poisoned(f32::NAN), learner(Architecture::Plain)).gradient_clip(Clip::Norm(1.0));
    fails(stopped.run(3, ten(), ()), &["`train/grad_norm` was NaN at epoch 1, micro-batch 7, step 17", "lower the"]);
    let mut good = with_learner(plain(), learner(Architecture::Plain)).gradient_clip(Clip::Norm(1.0));
    good.run(Until::steps(BAD), ten(), ()).unwrap();
    assert_eq!(bits_of(&mut stopped), bits_of(&mut good));
    let skip = with_learner(poisoned(f32::NAN), learner(Architecture::Plain)).on_non_finite(NonFinite::SkipStep);
    let mut skipped = skip.gradient_clip(Clip::Norm(1.0));
    skipped.run(3, ten(), ()).unwrap();
    assert_eq!(skipped.progress().skipped(), 1);
    assert!(skipped.evaluate(ten()).unwrap().loss().unwrap().is_finite());
}

#[test]
fn a_batch_of_the_wrong_shape() {
    let mut bad = train_data();
    bad[3].inputs.pop();
    let mut trainer = trainer(plain());
    fails(trainer.run(1, &bad, ()), &["train_step (epoch 0, micro-batch 3, step 3)", "rows of 6", "29 numbers"]);
    fails(trainer.evaluate(&bad), &["test_step (batch 3, after step 3)", "29 numbers"]);
    fails(trainer.inference(&bad), &["predict (batch 3, after step 3)", "29 numbers"]);
    trainer.evaluate(valid_data()).unwrap();
}

#[test]
fn a_schedule_that_needs_a_length() {
    let unknown = || from_fn(|_| train_data().into_iter().map(Ok));
    let mut steps = trainer(plain()).scheduler(Cosine::new(0.1).warmup(2));
    let words = ["the schedule needs to know how many steps", "`.over(n)`"];
    fails(steps.run(2, unknown(), ()), &words);
    fails(steps.run(Until::time(std::time::Duration::from_secs(1)), train_data(), ()), &words);
    fails(steps.run_epoch(train_data()), &words);
    fails(steps.run_batch(train_data().remove(0)), &words);
    assert_eq!(steps.progress().step(), 0);
    steps.run(Until::steps(3), unknown(), ()).unwrap();
    let mut epochs = trainer(plain()).scheduler(Cosine::new(0.1).per_epoch());
    fails(epochs.run(Until::steps(3), unknown(), ()), &["how many epochs"]);
    epochs.run(1, unknown(), ()).unwrap();
    trainer(plain()).scheduler(Cosine::new(0.1).over(9)).run(1, unknown(), ()).unwrap();
}

#[test]
fn a_schedule_that_gives_no_learning_rate() {
    for bad in [f64::NAN, -0.1, f64::INFINITY] {
        let mut trainer = with_learner(plain(), learner(Architecture::Plain))
            .scheduler(move |at: &ScheduleAt| if at.step == 3 { bad } else { 0.01 });
        let said = format!("learning rate {bad} for step 3");
        fails(trainer.run(1, train_data(), ()), &[&said, "must be finite and 0 or more", "micro-batch 3"]);
        let found = bits_of(&mut trainer);
        assert_eq!((found.tensors, found.numbers), (after(3, 1).tensors, after(3, 1).numbers));
    }
}

#[test]
fn what_cannot_work_is_said_before_anything_is_done() {
    let new = || trainer(plain());
    let bare = with_learner(plain(), bare_learner());
    let unscheduled = Trainer::new(plain(), learner(ARCHITECTURE)).handle_signals(false);
    let mut late = new();
    late.model().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let twice = || (stop_at(1), stop_at(2));
    let folder = file.path().display().to_string();
    let cases: Vec<(Trainer<Own>, Vec<&str>)> = vec![
        (new().accumulate(0), vec!["`.accumulate(0)`", "at least 1"]),
        (new().log_every(0), vec!["`.log_every(0)`", "at least 1"]),
        (new().gradient_clip(Clip::Norm(0.0)), vec!["`.gradient_clip(..)`", "above 0"]),
        (new().gradient_clip(Clip::Value(f64::NAN)), vec!["`.gradient_clip(..)`", "above 0"]),
        (new().gradient_clip(Clip::Norm(-1.0)), vec!["`.gradient_clip(..)`", "above 0"]),
        (new().validate(Every::Steps(0)), vec!["`.validate(..)`", "`Every::Never`"]),
        (new().validate(Every::Epochs(0)), vec!["`.validate(..)`", "`Every::Never`"]),
        (late.seed(5), vec!["`.seed(..)`", "when the trainer is built"]),
        (unscheduled, vec!["no learning rate", "`.scheduler(1e-3)`"]),
        (bare, vec!["no optimizer", "build it with one"]),
        (new().add_on(twice()), vec!["two add-ons are named `stopper`", "another name"]),
        (new().run_dir(file.path()), vec!["run folder", &folder, "`.run_dir(..)`"]),
    ];
    for (mut trainer, words) in cases {
        assert!(matches!(trainer.run(1, train_data(), ()), Err(Error::Misuse(_))), "{words:?}");
        fails(trainer.run(1, train_data(), ()), &[&["the run cannot start"][..], &words].concat());
        fails(trainer.run_epoch(train_data()), &words);
        fails(trainer.run_batch(train_data().remove(0)), &words);
        assert_eq!(trainer.progress().step(), 0);
    }
}

#[test]
fn an_evaluation_needs_no_learning_rate() {
    let mut trainer = Trainer::new(plain(), learner(ARCHITECTURE)).handle_signals(false);
    trainer.evaluate(valid_data()).unwrap();
    trainer.inference(valid_data()).unwrap();
}

#[test]
fn a_step_that_cannot_be_summed() {
    type Spoil = fn(&Net, Step<zae_core::testing::reference::LazyScalar>) -> Stepped;
    let cases: [(Spoil, &[&str]); 7] = [
        (|_, step| Ok(step.number("loss", 1.0)), &["`loss`", "give the metric another name"]),
        (|_, step| Ok(step.number("grad_norm", 1.0)), &["`grad_norm`", "give the metric another name"]),
        (|m, step| Ok(step.metric("pair", m.constant(&[1.0, 2.0]))), &["`pair`", "holds 2 numbers", "`.count(..)`"]),
        (|m, step| Ok(step.metric("empty", m.constant(&[]))), &["`empty`", "holds 0 numbers"]),
        (|m, _| Ok(Step::weighted(m.constant(&[0.0]), f64::NAN)), &["weight of the step is NaN", "number of samples"]),
        (|m, _| Ok(Step::weighted(m.constant(&[0.0]), -1.0)), &["weight of the step is -1", "number of samples"]),
        (|m, _| Ok(Step::weighted(m.constant(&[0.0]), f64::INFINITY)), &["weight of the step is inf"]),
    ];
    for (spoil, words) in cases {
        for asynchronous in [false, true] {
            let learner = if asynchronous { support::asynchronous } else { learner };
            let task = move |mode| {
                Own::new(move |model, batch, at| {
                    let step = step(model, batch)?;
                    if at.mode == mode { spoil(model, step) } else { Ok(step) }
                })
            };
            let mut train = with_learner(task(Mode::Train), learner(Architecture::Plain));
            fails(train.run(1, train_data(), ()), words);
            train.evaluate(valid_data()).unwrap();
            let mut test = with_learner(task(Mode::Evaluate), learner(Architecture::Plain));
            fails(test.evaluate(valid_data()), words);
            test.run(1, train_data(), ()).unwrap();
        }
    }
}

/// Two add-ons around one that fails in a hook: each gets exactly one last hook.
#[test]
fn an_add_on_that_fails_in_any_hook() {
    let hooks = [
        "run_start",
        "epoch_start",
        "gradients",
        "step_end",
        "rows",
        "pass",
        "evaluation_end",
        "epoch_end",
        "snapshot",
        "run_end",
        "error",
        "finish",
    ];
    for (bad, panics) in hooks.into_iter().flat_map(|hook| [(hook, false), (hook, true)]) {
        let lines = Lines::default();
        let act = move |hook: &str, _: &mut zae_core::add_on::Context<'_>| match (hook == bad, panics) {
            (true, true) => panic!("on purpose"),
            (true, false) => Err("on purpose".into()),
            _ => Ok(()),
        };
        let log = |name: &str| Log::new(name, Phase::Observe, &lines).with_snapshots();
        let task = Own::new(move |model, batch, at| {
            if bad == "error" && at.mode == Mode::Train && at.step == 3 {
                Err("the first error".into())
            } else {
                step(model, batch)
            }
        });
        let mut trainer = trainer(task).add_on((log("z"), log("bad").act(act), log("a")));
        let result = trainer.run(1, train_data(), valid_data());
        let words: &[&str] =
            if bad == "error" { &["train_step", "the first error"] } else { &["add-on `bad`", "epoch", "on purpose"] };
        let message = fails(result, words);
        assert_eq!(message.contains("panicked"), panics && bad != "error", "{message}");
        // However it ends, each is told how, and then waited for.
        let last = [if ["run_end", "finish"].contains(&bad) { "run_end" } else { "error" }, "finish"];
        for name in ["a", "bad", "z"] {
            let ends = |line: &String| {
                ["run_end", "error", "finish"].iter().find(|end| *line == format!("{name}:{end}")).copied()
            };
            let ends: Vec<_> = lines.lock().unwrap().iter().filter_map(ends).collect();
            assert_eq!(ends, last, "`{name}` when one fails in {bad}, by a panic: {panics}");
        }
        assert!(trainer.evaluate(valid_data()).is_ok() != ["pass", "evaluation_end", "finish"].contains(&bad), "{bad}");
    }
}

/// Fails outside of its hooks.
struct Broken(&'static str, bool);

impl Broken {
    fn at<R>(&self, place: &str, otherwise: R) -> Fallible<R> {
        match (place == self.0, self.1) {
            (true, true) => panic!("on purpose"),
            (true, false) => Err("on purpose".into()),
            _ => Ok(otherwise),
        }
    }
}

impl AddOn for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }
    fn state(&self) -> Fallible<Option<State>> {
        self.at("state", Some(State::default()))
    }
    fn restore(&mut self, _: &State) -> Fallible {
        self.at("restore", ())
    }
    fn latest(&mut self, _: Option<&std::path::Path>) -> Fallible<Option<Arc<Snapshot>>> {
        self.at("latest", None)
    }
    fn wants_snapshot(&self, _: Moment, _: &ProgressChecker) -> bool {
        self.at("wants", true).unwrap_or_default()
    }
    fn durable(&self) -> Option<Durable> {
        self.at("durable", None).unwrap_or_default()
    }
}

#[test]
fn an_add_on_that_fails_when_it_is_asked() {
    let cases = [
        ("state", false),
        ("state", true),
        ("latest", false),
        ("latest", true),
        ("wants", true),
        ("durable", true),
        ("restore", false),
        ("restore", true),
    ];
    for (place, panics) in cases {
        let lines = Lines::default();
        let log = Log::new("log", Phase::Report, &lines);
        let mut first = trainer(plain()).add_on((Broken(place, panics), log));
        if place == "restore" {
            let mut good = trainer(plain()).add_on(Broken("", false));
            good.run(Until::steps(2), train_data(), ()).unwrap();
            fails(first.restore(&good.snapshot().unwrap()), &["the snapshot", "add-on `broken`", "on purpose"]);
            continue;
        }
        fails(first.run(1, train_data(), ()), &["add-on `broken`", "on purpose"]);
        let errors = lines.lock().unwrap().iter().filter(|line| *line == "log:error").count();
        assert_eq!(errors, 1, "{place}");
        first.evaluate(valid_data()).unwrap();
    }
}

#[test]
fn a_snapshot_of_another_run() {
    let new = || Trainer::new(plain(), learner(ARCHITECTURE)).scheduler(0.01).handle_signals(false);
    let mut first = new().seed(11).accumulate(2);
    first.run(Until::steps(4), train_data(), ()).unwrap();
    let snapshot = first.snapshot().unwrap();
    let refused = |mut trainer: Trainer<Own>, words: &[&str]| {
        let before = bits_of(&mut trainer);
        fails(trainer.restore(&snapshot), words);
        assert_eq!(bits_of(&mut trainer), before, "nothing has changed");
        trainer.run(1, train_data(), ()).unwrap();
    };
    refused(new().seed(12), &["the snapshot", "`.seed(11)`", "`.seed(12)`", "`.fresh()`"]);
    refused(new().accumulate(3), &["`.accumulate(2)`", "`.accumulate(3)`", "`.fresh()`"]);
    refused(with_learner(plain(), learner(Architecture::Plain)), &["does not fit the model"]);
    let wider = || ReferenceLearner::new(Net::new(ARCHITECTURE, Sizes { hidden: 9, ..Sizes::small() }));
    refused(with_learner(plain(), wider()), &["does not fit the model", "fc1.weight", "[9, 6]", "[8, 6]"]);
    // Another optimizer: other settings by their names, and an accepted one starts afresh if it cannot use the state.
    let of_optimizer = |change: &dyn Fn(&mut OptimizerLayout)| {
        let mut other = Snapshot::new(snapshot.run.clone(), snapshot.learner.clone());
        change(Arc::make_mut(&mut other.learner.layout).optimizer.as_mut().unwrap());
        let mut trainer = new();
        let error = trainer.restore(&other).unwrap_err().to_string();
        new().accept_change("optimizer").restore(&other).unwrap();
        error
    };
    let ways_out = ["this one AdamW", "use the same", "`.accept_change(\"optimizer\")`", "`.fresh()`"];
    let decay = |own: &mut OptimizerLayout| drop(own.groups[0].insert("weight_decay".into(), vec![Number::Float(0.5)]));
    for (error, word) in [
        (of_optimizer(&|own| own.class = "SGD".into()), "`optimizer` SGD, "),
        (of_optimizer(&decay), "`optimizer` AdamW with weight_decay 0.5, this one AdamW with weight_decay 0.01"),
        (of_optimizer(&|own| own.rates = vec![0.5]), "factors [0.5] on the learning rate"),
    ] {
        assert!(ways_out.iter().chain([&word]).all(|word| error.contains(word)), "{error}");
    }
    assert!(new().restore(&snapshot).is_ok(), "the same optimizer");
    let mut foreign = Snapshot::new(snapshot.run.clone(), snapshot.learner.clone());
    let moment = foreign.learner.tensors.remove("optimizer/fc1.weight/moment_1").unwrap();
    foreign.learner.tensors.insert("optimizer/fc1.weight/velocity".into(), moment);
    fails(new().restore(&foreign), &["does not fit", "with a new optimizer by `.accept_change(\"optimizer\")`"]);
    let mut afresh = new().accept_change("optimizer");
    afresh.restore(&foreign).unwrap();
    let state = afresh.snapshot().unwrap().learner.clone();
    assert!(state.tensors.keys().all(|name| name.starts_with("model/")));
    // What was not said is taken from the snapshot, and data of another batch size is refused by the run.
    let mut other = new();
    other.restore(&snapshot).unwrap();
    let run = other.snapshot().unwrap().run.clone();
    assert_eq!((run.window, run.seed), (2, 11));
    let before = bits_of(&mut other);
    let words = ["`batches` 5, this one 2", "use the same", "`.accept_change(\"batches\")`", "`.fresh()`"];
    for _ in 0..2 {
        fails(other.run(3, data(&[9, 10], 1), ()), &words);
    }
    assert_eq!(bits_of(&mut other), before);
    let mut other = new();
    other.restore(&snapshot).unwrap();
    other.run(3, train_data(), ()).unwrap();
    first.run(3, train_data(), ()).unwrap();
    assert_eq!(bits_of(&mut other), bits_of(&mut first), "dropout too goes on under the saved seed");
}

#[test]
fn a_step_that_was_not_made_is_in_no_sum() {
    let mut first = true;
    let fail_once = acting("fails", move |hook, cx| {
        if hook == "gradients" && cx.progress.step() == 2 && std::mem::take(&mut first) {
            return Err("once".into());
        }
        Ok(())
    });
    let mut good = trainer(plain());
    good.run(1, train_data(), ()).unwrap();
    let mut trainer = trainer(plain()).add_on(fail_once);
    fails(trainer.run(1, train_data(), ()), &["once"]);
    trainer.run(1, train_data(), ()).unwrap();
    assert_eq!(trainer.history().epochs[0].metrics, good.history().epochs[0].metrics);
}

#[test]
fn counts_of_another_length_and_mixed_kinds_are_refused() {
    let lengths = Own::new(|model, batch, _| {
        let n = batch.labels.len();
        let count = model.constant(&vec![1.0; n]);
        Ok(step(model, batch)?.count("per_sample", count))
    });
    fails(trainer(lengths).run(1, data(&[4, 3], 1), ()), &["`per_sample`", "the same length in every batch"]);
    let kinds = Own::new(|model, batch, _| {
        let one = model.constant(&[1.0]);
        Ok(step(model, batch)?.count("x", one.clone()).metric("x", one))
    });
    fails(trainer(kinds).run(1, train_data(), ()), &["`x`", "a mean or a count throughout"]);
}

#[test]
fn a_panic_in_run_batch_leaves_the_window_as_it_was() {
    let task = Own::new(|model, batch, at| if at.step == 1 { panic!("once") } else { step(model, batch) });
    let mut trainer = trainer(task).accumulate(4);
    trainer.run_batch(train_data().remove(0)).unwrap();
    for _ in 0..2 {
        fails(trainer.run_batch(train_data().remove(0)), &["panicked: once"]);
    }
    assert_eq!(trainer.snapshot().unwrap().run.window, 4);
}

#[test]
fn a_failed_evaluation_is_told_to_add_ons() {
    let recorder = Recorder::new();
    let mut trainer = trainer(plain()).add_on(recorder.clone());
    fails(trainer.evaluate(Vec::new()), &["has no batch"]);
    assert_eq!(recorder.get().hooks.last().unwrap(), "error");
    trainer.run(1, train_data(), ()).unwrap();
}
