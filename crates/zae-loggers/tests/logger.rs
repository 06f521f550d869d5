//! [`Logger`] in real runs, with a tracker that remembers what it is told.

#![allow(clippy::unwrap_used, clippy::panic)]

mod tracker;

use std::{sync::atomic::Ordering, time::Duration};

use tracker::Tracker;
use zae_core::{
    data::from_fn,
    step::Step,
    task::{At, StepResult, Task},
    testing::null::{Null, batches, loss, trainer},
    trainer::{Trainer, Until},
};
use zae_loggers::{Kind, Status};

#[test]
fn a_run_is_told_of_entry_by_entry() {
    let tracker = Tracker::default();
    trainer().add_on(tracker.logger()).run(2, batches(3), batches(2)).unwrap();
    tracker.assert_counted();
    let lines = tracker.lines();
    let kinds: Vec<_> = lines.iter().map(|line| line.kind).collect();
    let (s, v, e) = (Kind::Step, Kind::Evaluation, Kind::Epoch);
    assert_eq!(kinds, [s, s, s, v, e, s, s, s, v, e]);
    assert_eq!(lines[5].values[0], ("train/loss".to_owned(), loss(1, 0)));
    assert_eq!((lines[5].epoch, lines[5].step), (1, 3));
    assert!(lines[3].values.iter().any(|(name, _)| name == "valid/loss"));
    assert!(lines[4].values.iter().all(|(name, _)| name.starts_with("train/") && name.ends_with("_epoch")));
    assert_eq!(tracker.ended(), [Status::Finished]);
}

/// The writer is stuck from the first entry to the last step: training waits for nothing.
#[test]
fn training_goes_on_while_the_writer_is_stuck() {
    let tracker = Tracker::default();
    tracker.close_gate(true);
    let its = tracker.clone();
    let data = from_fn(move |_| {
        let its = its.clone();
        (0..5000).map(move |i| {
            if i == 4999 {
                assert!(its.lines().is_empty());
                its.close_gate(false);
            }
            Ok(f64::from(i))
        })
    });
    trainer().add_on(tracker.logger()).run(1, data, ()).unwrap();
    assert_eq!(tracker.steps(), (0..5000).collect::<Vec<_>>());
    tracker.assert_counted();
}

/// Reports other metrics every second and every third step.
struct Changing;

impl Task for Changing {
    type Learner = Null;
    type Batch = f64;
    fn train_step(&self, (): &(), batch: f64, at: &At) -> StepResult<Self> {
        let mut step = Step::new(batch, 1);
        for every in [2, 3] {
            if at.step.is_multiple_of(every) {
                step = step.metric(format!("every_{every}"), at.step as f64);
            }
        }
        Ok(step)
    }
    fn test_step(&self, model: &(), batch: f64, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

#[test]
fn each_row_has_its_own_columns() {
    let tracker = Tracker::default();
    let mut trainer = Trainer::new(Changing, Null::default()).scheduler(1e-3).add_on(tracker.logger());
    trainer.run(2, batches(600), ()).unwrap();
    tracker.assert_counted();
    for line in tracker.lines().iter().filter(|line| line.kind == Kind::Step) {
        let mut expected = vec![("train/loss".to_owned(), loss(line.epoch, line.step % 600))];
        for every in [2, 3] {
            if line.step.is_multiple_of(every) {
                expected.push((format!("train/every_{every}"), line.step as f64));
            }
        }
        expected.push(("lr".to_owned(), 1e-3));
        assert_eq!(line.values, expected);
    }
}

/// Each step reports 2,000 metrics that no other has, and the last one all of them.
struct Many;

const MANY: u64 = 50;

impl Task for Many {
    type Learner = Null;
    type Batch = f64;
    fn train_step(&self, (): &(), batch: f64, at: &At) -> StepResult<Self> {
        let own = if at.step == MANY { 0..MANY * 2000 } else { at.step * 2000..(at.step + 1) * 2000 };
        Ok(own.fold(Step::new(batch, 1), |step, key| step.metric(format!("metric_{key}"), key as f64)))
    }
    fn test_step(&self, model: &(), batch: f64, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

/// In a second or so: what grows with the square of their number would take many minutes.
#[test]
fn a_hundred_thousand_metrics() {
    let tracker = Tracker::default();
    let mut trainer = Trainer::new(Many, Null::default()).scheduler(1e-3).add_on(tracker.logger());
    trainer.run(Until::steps(MANY + 1), batches(100), ()).unwrap();
    tracker.assert_counted();
    let lines = tracker.lines();
    assert_eq!(lines.iter().map(|line| line.values.len() as u64).sum::<u64>(), MANY * 4000 + 2 * (MANY + 1));
    for (key, (name, value)) in lines[MANY as usize].values[1..].iter().take(100_000).enumerate() {
        assert_eq!((name, *value), (&format!("train/metric_{key}"), key as f64));
    }
}

#[test]
fn an_evaluation_outside_of_a_run_opens_and_ends_it_again() {
    let tracker = Tracker::default();
    let mut trainer = trainer().add_on(tracker.logger());
    trainer.evaluate(batches(2)).unwrap();
    trainer.run(1, batches(3), ()).unwrap();
    trainer.evaluate(batches(2)).unwrap();
    tracker.assert_counted();
    assert_eq!(tracker.opened(), [(0, false), (1, true), (5, true)]);
    assert_eq!(tracker.ended().len(), 3);
    assert_eq!(tracker.lines().last().unwrap().kind, Kind::Evaluation);
    // It ends once.
    drop(trainer);
    assert_eq!(tracker.ended().len(), 3);
}

#[test]
fn a_loop_over_epochs_is_one_run() {
    let tracker = Tracker::default();
    let mut trainer = trainer().add_on(tracker.logger());
    for _ in 0..3 {
        trainer.run_epoch(batches(4)).unwrap();
    }
    tracker.assert_counted();
    assert_eq!(tracker.steps(), (0..12).collect::<Vec<_>>());
    assert_eq!(tracker.opened(), [(0, false), (5, true), (10, true)]);
}

#[test]
fn a_loop_over_batches_ends_when_the_program_lets_go_of_it() {
    let tracker = Tracker::default();
    let mut trainer = trainer().add_on(tracker.logger());
    for i in 0..10 {
        trainer.run_batch(f64::from(i)).unwrap();
    }
    assert_eq!((tracker.opened().len(), tracker.ended().len()), (1, 0));
    drop(trainer);
    assert_eq!(tracker.ended(), [Status::Finished]);
    assert_eq!(tracker.steps(), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_run_that_fails_says_why() {
    let tracker = Tracker::default();
    let broken = from_fn(|_| (0..5).map(|i| if i == 4 { Err("a tear".into()) } else { Ok(f64::from(i)) }));
    trainer().add_on(tracker.logger()).run(1, broken, ()).unwrap_err();
    assert!(matches!(&tracker.ended()[..], [Status::Failed(why)] if why.contains("a tear")));
    assert_eq!(tracker.steps(), [0, 1, 2, 3]);
}

/// Entries that are where they belong already are not told again.
#[test]
fn what_is_kept_is_skipped_when_it_is_made_again() {
    for keep in [0, 7, 9, 12, 100] {
        let tracker = Tracker::default();
        let mut first = trainer().add_on(tracker.logger());
        first.run(Until::steps(5), batches(100), ()).unwrap();
        let snapshot = first.snapshot().unwrap();
        first.run(Until::steps(12), batches(100), ()).unwrap();
        drop(first);
        assert_eq!(tracker.lines().len(), 12);
        let keep = tracker.lines().len().min(keep) as u64;
        tracker.kept.lock().unwrap().keep = keep;
        let mut second = trainer().add_on(tracker.logger());
        second.restore(&snapshot).unwrap();
        second.run(Until::steps(20), batches(100), ()).unwrap();
        assert_eq!(tracker.opened().last(), Some(&(5, true)));
        assert_eq!(tracker.steps(), (0..20).collect::<Vec<_>>(), "{keep}");
        tracker.assert_counted();
    }
}

#[test]
fn an_evaluation_that_stays_takes_no_step_s_place() {
    for evaluated in [false, true] {
        let tracker = Tracker::default();
        let mut first = trainer().add_on(tracker.logger());
        first.run(Until::steps(5), batches(100), ()).unwrap();
        let snapshot = first.snapshot().unwrap();
        first.evaluate(batches(2)).unwrap();
        drop(first);
        // The server has it, and the run goes on behind: with the evaluation again, or without.
        tracker.kept.lock().unwrap().keep = 6;
        let mut second = trainer().add_on(tracker.logger());
        second.restore(&snapshot).unwrap();
        if evaluated {
            second.evaluate(batches(2)).unwrap();
        }
        second.run(Until::steps(8), batches(100), ()).unwrap();
        assert_eq!(tracker.steps(), (0..8).collect::<Vec<_>>());
        assert_eq!(tracker.lines().iter().filter(|line| line.kind == Kind::Evaluation).count(), 1);
        tracker.assert_counted();
    }
}

/// From a checkpoint that was made while steps were made again.
#[test]
fn a_run_may_be_cut_while_entries_come_again() {
    let tracker = Tracker::default();
    let mut first = trainer().add_on(tracker.logger());
    first.run(Until::steps(5), batches(100), ()).unwrap();
    let mut snapshot = first.snapshot().unwrap();
    first.run(Until::steps(12), batches(100), ()).unwrap();
    drop(first);
    for steps in [8, 11, 15] {
        tracker.kept.lock().unwrap().keep = tracker.lines().len() as u64;
        let mut next = trainer().add_on(tracker.logger());
        next.restore(&snapshot).unwrap();
        next.run(Until::steps(steps), batches(100), ()).unwrap();
        snapshot = next.snapshot().unwrap();
    }
    assert_eq!(tracker.steps(), (0..15).collect::<Vec<_>>());
    tracker.assert_counted();
}

#[test]
fn one_that_cannot_be_opened_costs_no_run_and_is_tried_again_with_the_next() {
    let tracker = Tracker::default();
    tracker.fails_to_open.store(true, Ordering::SeqCst);
    let mut trainer = trainer().add_on(tracker.logger());
    trainer.run(1, batches(3), ()).unwrap();
    assert!(tracker.lines().is_empty());
    tracker.fails_to_open.store(false, Ordering::SeqCst);
    trainer.run(2, batches(3), ()).unwrap();
    assert_eq!(tracker.steps(), [3, 4, 5]);
    tracker.assert_counted();
}

#[test]
fn a_time_without_end_is_one() {
    let tracker = Tracker::default();
    trainer().add_on(tracker.logger().finish_within(Duration::MAX)).run(1, batches(3), ()).unwrap();
    assert_eq!(tracker.ended(), [Status::Finished]);
}

#[test]
fn settings_that_are_none_end_the_run_before_it_starts() {
    let tracker = Tracker::default();
    let mut trainer = trainer().add_on(tracker.logger().config(&[1, 2]));
    let error = trainer.run(1, batches(3), ()).unwrap_err().to_string();
    assert!(error.contains("not a list") && tracker.opened().is_empty(), "{error}");
}
