//! A device that works ahead of the host: it is waited for once per `log_every` steps, and nothing is lost or different.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use support::*;
use zae_core::{
    add_on::Phase,
    learner::Clip,
    metrics::{EpochSummary, Evaluation},
    task::Mode,
    testing::{Recorded, Recorder},
    trainer::{Every, NonFinite, Run, Until},
};

/// Reads and graphs after each step, and whatever a run brings.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Seen {
    reads: u64,
    scalars: u64,
    graphs: usize,
}

/// Three epochs of ten batches; what was counted when each step ended, before anything is read.
fn reads(log_every: u64, accumulate: u64, validate: Every) -> (Vec<Seen>, usize) {
    let learner = asynchronous(ARCHITECTURE);
    let counters = learner.counters();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let task = {
        let (seen, counters) = (seen.clone(), counters.clone());
        Own::new(move |model, batch, at| {
            // What the steps before left behind.
            if at.mode == Mode::Train && at.cursor.micro_batch % accumulate == 0 {
                let now = counters.get();
                seen.lock().unwrap().push(Seen { reads: now.reads, scalars: now.scalars, graphs: now.graphs });
            }
            step(model, batch)
        })
    };
    let mut trainer = with_learner(task, learner).log_every(log_every).accumulate(accumulate).validate(validate);
    trainer.run(3, data(&[2, 3, 4, 2, 3, 4, 2, 3, 4, 1], 1), valid_data()).unwrap();
    let last = counters.get();
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.push(Seen { reads: last.reads, scalars: last.scalars, graphs: last.graphs });
    (seen, last.most_graphs)
}

#[test]
fn the_device_is_read_once_per_log_every_steps() {
    for (log_every, in_epoch) in [(1, 10), (2, 5), (4, 3), (10, 1), (1000, 1)] {
        let (seen, _) = reads(log_every, 1, Every::Never);
        assert_eq!(seen.len(), 31);
        for (step, now) in seen.iter().enumerate() {
            let (epoch, within) = (step as u64 / 10, step as u64 % 10);
            // An epoch's end reads what is left of it.
            assert_eq!(now.reads, epoch * in_epoch + within / log_every, "before step {step}, every {log_every}");
        }
        assert_eq!(seen[30].scalars, 60, "loss and hits of each step, each once");
    }
}

#[test]
fn an_evaluation_is_read_in_groups_too() {
    let (seen, _) = reads(1000, 1, Every::Epoch);
    assert_eq!((seen[30].reads, seen[30].scalars), (2 * 3, 60 + 3 * 6), "one read per epoch, one per validation");
    let (seen, _) = reads(2, 1, Every::Epoch);
    assert_eq!(seen[30].reads, 3 * (5 + 2), "three batches in two reads");
}

#[test]
fn nothing_lazy_keeps_a_graph() {
    for accumulate in [1, 4] {
        let (seen, most) = reads(1000, accumulate, Every::Epoch);
        assert!(seen.iter().all(|now| now.graphs == 0), "graphs are alive between steps: {seen:?}");
        assert_eq!(most, 1, "one micro-batch's graph at a time");
    }
    let learner = asynchronous(ARCHITECTURE);
    let counters = learner.counters();
    let task = Own::new(|model, batch, at| {
        let step = step(model, batch)?;
        if at.step == 1 { Err("on purpose".into()) } else { Ok(step) }
    });
    let mut trainer = with_learner(task, learner);
    trainer.run_batch(train_data().remove(0)).unwrap();
    assert_eq!(counters.get().graphs, 0);
    fails(trainer.run(1, train_data(), ()), &["on purpose"]);
    assert_eq!(counters.get().graphs, 0, "an error keeps none either");
}

/// All that a run brings, without clocks and without how rows were grouped.
fn brings(recorder: &Recorder, run: &Run) -> (Vec<Row>, Vec<EpochSummary>, Vec<Evaluation>) {
    let history = run.history.without_clock();
    (recorder.get().rows.clone(), history.epochs, history.evaluations)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn rows_do_not_depend_on_the_device(
        log_every in 1u64..9,
        accumulate in 1u64..4,
        validate in prop_oneof![Just(Every::Epoch), Just(Every::Never), (1u64..5).prop_map(Every::Steps)],
        skip in any::<bool>(),
    ) {
        let policy = if skip { NonFinite::SkipStep } else { NonFinite::Stop };
        let run = |learner| {
            let task = Own::new(move |model, mut batch, at| {
                if skip && at.mode == Mode::Train && at.step == 3 {
                    batch.inputs[0] = f32::INFINITY;
                }
                step(model, batch)
            });
            let recorder = Recorder::new();
            let mut trainer = with_learner(task, learner)
                .log_every(log_every)
                .accumulate(accumulate)
                .validate(validate)
                .gradient_clip(Clip::Norm(0.5))
                .on_non_finite(policy)
                .add_on(recorder.clone());
            let run = trainer.run(3, train_data(), valid_data()).unwrap();
            (brings(&recorder, &run), bits_of(&mut trainer))
        };
        let (here, there) = (run(learner(ARCHITECTURE)), run(asynchronous(ARCHITECTURE)));
        // NaN is compared by its text.
        prop_assert_eq!(format!("{here:?}"), format!("{there:?}"));
        prop_assert_eq!(here.0.0, there.0.0);
        prop_assert!(here.1 == there.1);
    }
}

fn steps(recorded: &Recorded) -> Vec<u64> {
    recorded.rows.iter().map(|row| row.0).collect()
}

#[test]
fn rows_come_before_a_snapshot_and_an_epochs_end() {
    let lines = Lines::default();
    let log = Log::new("log", Phase::Observe, &lines).with_snapshots().act(|hook, cx| {
        if hook == "step_end" && cx.progress.step() == 3 {
            cx.requests.snapshot();
        }
        Ok(())
    });
    let recorder = Recorder::new();
    let mut trainer = with_learner(plain(), asynchronous(ARCHITECTURE)).log_every(1000).add_on((log, recorder.clone()));
    trainer.run(Until::steps(7), train_data(), valid_data()).unwrap();
    let lines = lines.lock().unwrap();
    let of = |line: &String| ["row", "snapshot", "evaluation", "epoch_end", "run_end"].iter().any(|w| line.contains(w));
    let found: Vec<_> = lines.iter().filter(|line| of(line)).map(|line| line.trim_start_matches("log:")).collect();
    let expected = [
        "row 0",
        "row 1",
        "row 2",
        "snapshot",
        "row 3",
        "row 4",
        "evaluation_end",
        "epoch_end",
        "snapshot",
        "row 5",
        "row 6",
        "run_end",
    ];
    assert_eq!(found, expected);
    assert_eq!(recorder.get().groups, [3, 2, 2]);
}

#[test]
fn an_own_snapshot_reads_nothing_twice() {
    let recorder = Recorder::new();
    let mut first = with_learner(plain(), asynchronous(ARCHITECTURE)).log_every(1000).add_on(recorder.clone());
    first.run(Until::steps(3), train_data(), ()).unwrap();
    let snapshot = first.snapshot().unwrap();
    first.run(1, train_data(), ()).unwrap();
    assert_eq!(steps(&recorder.get()), [0, 1, 2, 3, 4]);
    let mut second = with_learner(plain(), asynchronous(ARCHITECTURE));
    second.restore(&written(&snapshot)).unwrap();
    second.run(1, train_data(), ()).unwrap();
    assert_eq!(bits_of(&mut first), bits_of(&mut second), "the epoch's sums have each step once");
}

#[test]
fn rows_come_before_an_error_and_a_stop() {
    let recorder = Recorder::new();
    let task = Own::new(|model, batch, at| if at.step == 8 { Err("on purpose".into()) } else { step(model, batch) });
    let mut broken = with_learner(task, asynchronous(ARCHITECTURE)).log_every(1000).add_on(recorder.clone());
    fails(broken.run(3, train_data(), ()), &["on purpose"]);
    assert_eq!(steps(&recorder.get()), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(recorder.get().hooks.last().unwrap(), "error");
    let recorder = Recorder::new();
    let mut stopped =
        with_learner(plain(), asynchronous(ARCHITECTURE)).log_every(1000).add_on((stop_at(4), recorder.clone()));
    stopped.run(3, train_data(), ()).unwrap();
    assert_eq!(steps(&recorder.get()), [0, 1, 2, 3]);
    let panics = acting("panics", |hook, cx| {
        assert!(hook != "step_end" || cx.progress.step() != 4, "on purpose");
        Ok(())
    });
    let recorder = Recorder::new();
    let mut broken =
        with_learner(plain(), asynchronous(ARCHITECTURE)).log_every(1000).add_on((panics, recorder.clone()));
    fails(broken.run(3, train_data(), ()), &["add-on `panics`", "on purpose"]);
    assert_eq!(steps(&recorder.get()), [0, 1, 2, 3]);
}

/// Columns come and go: rows stay in order, each with its own columns.
#[test]
fn rows_of_different_columns_stay_in_order() {
    let run = |learner| {
        let recorder = Recorder::new();
        let task = Own::new(|model, batch, at| {
            let step = step(model, batch)?;
            Ok(match at.step % 3 {
                0 => step,
                1 => step.number("odd", 1.0),
                _ => step.number("even", 2.0).number("odd", 3.0),
            })
        });
        with_learner(task, learner).log_every(4).add_on(recorder.clone()).run(2, train_data(), ()).unwrap();
        std::mem::take(&mut *recorder.get())
    };
    let (here, there) = (run(learner(ARCHITECTURE)), run(asynchronous(ARCHITECTURE)));
    assert_eq!(here.rows, there.rows);
    assert_eq!(steps(&there), (0..10).collect::<Vec<_>>());
    assert_eq!(there.rows[2].1.len(), 5);
}
