//! [`LogHandle`] in real runs, with a tracker that remembers what it is told.

#![allow(clippy::unwrap_used, clippy::panic)]

mod tracker;

use std::{
    io::Write,
    sync::{Arc, Barrier},
    time::Duration,
};

use tracker::Tracker;
use zae_core::{
    data::from_fn,
    step::Step,
    task::{At, StepResult, Task},
    testing::null::{Null, batches},
    trainer::{Trainer, Until},
};
use zae_loggers::{Aside, Histogram, Image, Kind, Level, LogHandle, Media};

/// Shows something at every third step, two things at every sixth, and something in each evaluation.
struct Showing(LogHandle);

impl Task for Showing {
    type Learner = Null;
    type Batch = f64;
    fn train_step(&self, (): &(), batch: f64, at: &At) -> StepResult<Self> {
        if at.step.is_multiple_of(3) {
            self.0.text("said", format!("{}", at.step));
        }
        if at.step.is_multiple_of(6) {
            self.0.histogram("weights", Histogram::of([batch]));
        }
        Ok(Step::new(batch, 1))
    }
    fn test_step(&self, (): &(), batch: f64, _: &At) -> StepResult<Self> {
        self.0.text("seen", format!("{batch}"));
        Ok(Step::new(batch, 1))
    }
}

fn trainer(tracker: &Tracker, log_every: u64) -> Trainer<Showing> {
    let log = LogHandle::new();
    let logger = tracker.logger().handle(&log);
    Trainer::new(Showing(log), Null::default()).scheduler(1e-3).log_every(log_every).add_on(logger)
}

/// What a run of so many steps shows, and at which steps.
fn shown(tracker: &Tracker) -> Vec<(u64, String)> {
    let lines = tracker.lines().into_iter();
    lines.filter_map(|line| Some((line.step, line.media?.0))).collect()
}

fn expected(steps: u64) -> Vec<(u64, String)> {
    let of = |step: u64| {
        let (said, weights) = (step.is_multiple_of(3), step.is_multiple_of(6));
        [(said, "said"), (weights, "weights")].into_iter().filter(|own| own.0).map(move |own| (step, own.1.to_owned()))
    };
    (0..steps).flat_map(of).collect()
}

/// However many rows come at once.
#[test]
fn what_is_shown_follows_the_row_of_its_step() {
    for log_every in [1, 4, 50] {
        let tracker = Tracker::default();
        trainer(&tracker, log_every).run(Until::steps(20), batches(100), ()).unwrap();
        tracker.assert_counted();
        assert_eq!(shown(&tracker), expected(20));
        let lines = tracker.lines();
        for pair in lines.windows(2).filter(|pair| pair[1].kind == Kind::Media) {
            assert_eq!(pair[0].step, pair[1].step, "{log_every}: {pair:?}");
        }
        let Some((name, Media::Text(text))) = &lines[1].media else { panic!("{:?}", lines[1]) };
        assert_eq!((name.as_str(), text.as_str()), ("said", "0"));
    }
}

#[test]
fn what_an_evaluation_shows_comes_before_its_metrics() {
    let tracker = Tracker::default();
    let mut trainer = trainer(&tracker, 1);
    trainer.run(1, batches(2), batches(2)).unwrap();
    trainer.evaluate(batches(1)).unwrap();
    tracker.assert_counted();
    let kinds: Vec<_> = tracker.lines().iter().map(|line| line.kind).collect();
    let (s, m, v, e) = (Kind::Step, Kind::Media, Kind::Evaluation, Kind::Epoch);
    assert_eq!(kinds, [s, m, m, s, m, m, v, e, m, v]);
    assert_eq!(shown(&tracker)[2..], [(2, "seen".to_owned()), (2, "seen".to_owned()), (2, "seen".to_owned())]);
}

/// Whatever the tracker keeps of the steps that are made again, and however the rows are grouped then.
#[test]
fn nothing_is_shown_twice_by_a_run_that_goes_on() {
    for keep in 0..25 {
        let tracker = Tracker::default();
        let mut first = trainer(&tracker, 1 + keep % 5);
        first.run(Until::steps(5), batches(100), ()).unwrap();
        let snapshot = first.snapshot().unwrap();
        first.run(Until::steps(14), batches(100), ()).unwrap();
        drop(first);
        tracker.kept.lock().unwrap().keep = keep.min(tracker.lines().len() as u64);
        let mut second = trainer(&tracker, 1 + keep % 3);
        second.restore(&snapshot).unwrap();
        second.run(Until::steps(20), batches(100), ()).unwrap();
        assert_eq!(shown(&tracker), expected(20), "{keep}");
        assert_eq!(tracker.steps(), (0..20).collect::<Vec<_>>(), "{keep}");
        tracker.assert_counted();
    }
}

/// Shows more at each step than a writer takes that is stuck.
struct Flooding(LogHandle, Image);

impl Task for Flooding {
    type Learner = Null;
    type Batch = f64;
    fn train_step(&self, (): &(), batch: f64, _: &At) -> StepResult<Self> {
        (0..10).for_each(|_| self.0.image("large", self.1.clone()));
        Ok(Step::new(batch, 1))
    }
    fn test_step(&self, model: &(), batch: f64, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

#[test]
fn pictures_push_no_metric_out() {
    let tracker = Tracker::default();
    tracker.close_gate(true);
    let log = LogHandle::new();
    let logger = tracker.logger().handle(&log);
    let its = tracker.clone();
    let data = from_fn(move |_| {
        let its = its.clone();
        (0..60).map(move |i| {
            if i == 59 {
                its.close_gate(false);
            }
            Ok(f64::from(i))
        })
    });
    // One megabyte, the same for all.
    let task = Flooding(log, Image::gray(1024, 1024, vec![0; 1 << 20]).unwrap());
    let told = zae_core::testing::Notices::default();
    let mut trainer = Trainer::new(task, Null::default()).scheduler(1e-3).add_on((logger, told.clone()));
    trainer.run(1, data, batches(1)).unwrap();
    tracker.assert_counted();
    assert_eq!(tracker.steps(), (0..60).collect::<Vec<_>>());
    let count = |kind| tracker.lines().iter().filter(|line| line.kind == kind).count();
    assert_eq!((count(Kind::Evaluation), count(Kind::Epoch)), (1, 1));
    assert!((256..600).contains(&count(Kind::Media)), "{}", count(Kind::Media));
    let warnings = told.warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].contains("faster than they are written")
            && warnings[1].contains(&format!("{} pictures", 610 - count(Kind::Media))),
        "{warnings:?}"
    );
}

#[test]
fn what_belongs_to_no_step_is_told_and_not_counted() {
    let tracker = Tracker::default();
    let log = LogHandle::new();
    let mut trainer = zae_core::testing::null::trainer().add_on(tracker.logger().handle(&log));
    log.alert(Level::Error, "It burns", "Loss is 7");
    writeln!(log.console(), "before the run").unwrap();
    log.file("model.onnx");
    trainer.run(1, batches(3), ()).unwrap();
    tracker.assert_counted();
    let asides = tracker.kept.lock().unwrap().asides.clone();
    assert_eq!(tracker.steps(), [0, 1, 2]);
    assert!(
        matches!(&asides[..], [
            Aside::Alert { title, level: Level::Error, .. },
            Aside::Console { line, .. },
            Aside::File { path, .. },
        ] if &**title == "It burns" && line == "before the run" && path.ends_with("model.onnx")),
        "{asides:?}"
    );
}

#[test]
#[cfg(all(feature = "system-metrics", target_os = "linux"))]
fn the_machine_is_watched_while_nothing_is_logged() {
    let tracker = Tracker::default();
    let its = tracker.clone();
    let samples = move || {
        let kept = its.kept.lock().unwrap();
        kept.asides.iter().filter(|aside| matches!(aside, Aside::System { .. })).count()
    };
    let data = zae_core::data::from_fn(move |_| {
        let samples = samples.clone();
        (0..2).map(move |i| {
            // The second step takes its time.
            while i == 1 && samples() < 3 {
                std::thread::yield_now();
            }
            Ok(f64::from(i))
        })
    });
    let logger = tracker.logger().system_metrics(Duration::ZERO);
    zae_core::testing::null::trainer().add_on(logger).run(1, data, ()).unwrap();
    tracker.assert_counted();
    assert_eq!(tracker.steps(), [0, 1]);
}

/// Servers that are dead are waited for at the same time.
#[test]
fn the_ends_of_several_loggers_overlap() {
    let others = Arc::new(Barrier::new(3));
    let trackers = ["a", "b", "c"].map(|name| Tracker { others: Some(others.clone()), ..Tracker::named(name) });
    let mut trainer = zae_core::testing::null::trainer();
    for tracker in &trackers {
        trainer = trainer.add_on(tracker.logger().finish_within(Duration::from_secs(1)));
    }
    let notices = zae_core::testing::Notices::default();
    trainer.add_on(notices.clone()).run(1, batches(3), ()).unwrap();
    assert_eq!(notices.warnings(), Vec::<String>::new());
    assert!(trackers.iter().all(|tracker| tracker.ended().len() == 1));
}
