//! Runs from their first step to their last.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::prelude::*;
use support::*;
use zae_core::{
    add_on::Phase,
    data::from_fn,
    learner::{Clip, Learner},
    schedule::{Cosine, ReduceOnPlateau, Schedule, ScheduleAt, StepDecay},
    step::Step,
    task::Mode,
    testing::{Architecture, Recorder, Samples, reference::ReferenceDevice},
    trainer::{Every, Outcome, Trainer, Until},
};

#[test]
fn a_run_ends_at_the_first_limit_it_reaches() {
    let hour = Duration::from_secs(3600);
    for (until, step, cursor) in [
        (Until::from(2), 10, (2, 0)),
        (Until::epochs(2), 10, (2, 0)),
        (Until::steps(7), 7, (1, 2)),
        (Until::steps(10), 10, (2, 0)),
        (Until::epochs(3).or_steps(4), 4, (0, 4)),
        (Until::steps(400).or_epochs(1), 5, (1, 0)),
        (Until::time(hour).or_epochs(1), 5, (1, 0)),
    ] {
        let mut trainer = trainer(plain());
        let run = trainer.run(until, train_data(), ()).unwrap();
        let progress = trainer.progress();
        assert_eq!(run.outcome, Outcome::Complete, "{until:?}");
        assert_eq!((progress.step(), (progress.epoch(), progress.micro_batch())), (step, cursor), "{until:?}");
    }
}

#[test]
fn a_run_ends_when_its_time_is_used_up() {
    let mut first = trainer(plain());
    let run = first.run(Until::time(Duration::ZERO).or_epochs(3), train_data(), ()).unwrap();
    assert_eq!((run.outcome, first.progress().step()), (Outcome::OutOfTime, 0));
    let budget = Duration::from_millis(2);
    let run = first.run(Until::time(budget), train_data(), ()).unwrap();
    assert_eq!(run.outcome, Outcome::OutOfTime);
    assert!(first.progress().elapsed() >= budget);
    // Time counts over all calls: nothing is left.
    let step = first.progress().step();
    assert_eq!(first.run(Until::time(budget), train_data(), ()).unwrap().outcome, Outcome::OutOfTime);
    assert_eq!(first.progress().step(), step);
}

#[test]
fn a_run_of_no_epochs_is_complete() {
    let mut first = trainer(plain());
    let run = first.run(0, train_data(), ()).unwrap();
    assert_eq!((run.outcome, first.progress().step()), (Outcome::AlreadyComplete, 0));
}

#[test]
fn a_longer_run_goes_on_where_the_shorter_one_ended() {
    let mut whole = trainer(plain());
    whole.run(10, train_data(), valid_data()).unwrap();
    let mut parts = trainer(plain());
    assert_eq!(parts.run(5, train_data(), valid_data()).unwrap().outcome, Outcome::Complete);
    let half = bits_of(&mut parts);
    let again = parts.run(5, train_data(), valid_data()).unwrap();
    assert_eq!((again.outcome, again.history.epochs.len()), (Outcome::AlreadyComplete, 5));
    assert_eq!(parts.run(3, train_data(), valid_data()).unwrap().outcome, Outcome::AlreadyComplete);
    assert_eq!(bits_of(&mut parts), half, "a run that was complete changes nothing");
    parts.run(Until::steps(33), train_data(), valid_data()).unwrap();
    assert_ne!(bits_of(&mut parts), half);
    parts.run(10, train_data(), valid_data()).unwrap();
    assert_eq!(bits_of(&mut parts), bits_of(&mut whole));
}

#[test]
fn an_own_loop_over_epochs_is_the_run() {
    let mut whole = trainer(plain()).accumulate(2);
    let run = whole.run(3, train_data(), ()).unwrap();
    let mut own = trainer(plain()).accumulate(2);
    let mut losses = Vec::new();
    for epoch in 0..3 {
        let summary = own.run_epoch(train_data()).unwrap();
        assert_eq!((summary.epoch, summary.samples), (epoch, 19.0));
        losses.push(summary.metrics["train/loss"]);
    }
    assert_eq!(losses, run.history.epoch_values("train/loss").collect::<Vec<_>>());
    assert_eq!(bits_of(&mut own), bits_of(&mut whole));
}

#[test]
fn an_own_loop_over_batches_is_the_run() {
    let recorder = Recorder::new();
    let mut whole = trainer(plain()).gradient_clip(Clip::Norm(0.5)).add_on(recorder.clone());
    whole.run(1, train_data(), ()).unwrap();
    let mut own = trainer(plain()).gradient_clip(Clip::Norm(0.5));
    for (i, batch) in train_data().into_iter().enumerate() {
        let metrics = own.run_batch(batch).unwrap();
        let row: BTreeMap<_, _> = recorder.get().rows[i].1.iter().cloned().collect();
        assert_eq!(metrics.into_iter().map(|(name, x)| (name, x.to_bits())).collect::<BTreeMap<_, _>>(), row);
        assert_eq!(row.keys().collect::<Vec<_>>(), ["lr", "train/grad_norm", "train/hits", "train/loss"]);
    }
    assert_eq!(weights(&mut own), weights(&mut whole));
    assert_eq!(own.progress().step(), 5);
}

#[test]
fn validation_comes_when_it_was_asked_for() {
    for (every, expected) in [
        (Every::Epoch, vec![(0, 5), (1, 10), (2, 15), (3, 20)]),
        (Every::Epochs(2), vec![(1, 10), (3, 20)]),
        (Every::Epochs(3), vec![(2, 15)]),
        (Every::Steps(4), vec![(0, 4), (1, 8), (2, 12), (3, 16), (3, 20)]),
        (Every::Steps(5), vec![(0, 5), (1, 10), (2, 15), (3, 20)]),
        (Every::Never, vec![]),
    ] {
        let mut trainer = trainer(plain()).validate(every);
        let history = trainer.run(4, train_data(), valid_data()).unwrap().history;
        let found: Vec<_> = history.evaluations.iter().map(|e| (e.epoch, e.step)).collect();
        assert_eq!(found, expected, "{every:?}");
        let of_epoch = |epoch| expected.iter().any(|(e, _)| *e == epoch);
        for summary in &history.epochs {
            assert_eq!(summary.metrics.contains_key("valid/loss"), of_epoch(summary.epoch), "{every:?}");
        }
    }
}

#[test]
fn validation_does_not_change_the_training() {
    let mut with = trainer(plain()).validate(Every::Steps(1));
    with.run(2, train_data(), valid_data()).unwrap();
    let mut without = trainer(plain());
    without.run(2, train_data(), None::<Vec<_>>).unwrap();
    assert_eq!(weights(&mut with), weights(&mut without));
}

#[test]
fn an_add_on_stops_a_run_for_good() {
    let mut trainer = trainer(plain()).add_on(stop_at(7));
    let run = trainer.run(9, train_data(), valid_data()).unwrap();
    assert_eq!(run.outcome, Outcome::Stopped("enough".to_owned()));
    assert_eq!((trainer.progress().step(), run.history.epochs.len()), (7, 1));
    let again = trainer.run(20, train_data(), valid_data()).unwrap();
    assert_eq!((again.outcome, trainer.progress().step()), (Outcome::AlreadyStopped("enough".to_owned()), 7));
    fails(trainer.run_epoch(train_data()), &["enough"]);
}

#[test]
fn a_kept_snapshot_is_gone_on_with_unless_fresh() {
    let mut first = trainer(plain());
    first.run(Until::steps(3), train_data(), ()).unwrap();
    let older = first.snapshot().unwrap();
    first.run(Until::steps(7), train_data(), ()).unwrap();
    let newer = first.snapshot().unwrap();
    first.run(3, train_data(), ()).unwrap();
    let keepers = || (Keeper("a", Some(older.clone())), Keeper("b", Some(newer.clone())), Keeper("c", None));
    let rows = Recorder::new();
    let mut second = trainer(plain()).add_on(keepers()).add_on(rows.clone());
    second.run(3, train_data(), ()).unwrap();
    assert_eq!(rows.get().rows[0].0, 7, "the newest is gone on with");
    assert_eq!(bits_of(&mut second), bits_of(&mut first));
    let rows = Recorder::new();
    let mut fresh = trainer(plain()).add_on(keepers()).add_on(rows.clone()).fresh();
    fresh.run(3, train_data(), ()).unwrap();
    assert_eq!(rows.get().rows.len(), 15);
    assert_eq!(bits_of(&mut fresh), bits_of(&mut first));
    let mut complete = trainer(plain()).add_on(keepers());
    let run = complete.run(1, train_data(), ()).unwrap();
    assert_eq!((run.outcome, complete.progress().step()), (Outcome::AlreadyComplete, 7));
}

#[test]
fn model_and_learner_come_out_as_trained() {
    let valid = valid_data();
    let mut first = trainer(plain());
    first.run(1, train_data(), ()).unwrap();
    let loss = first.evaluate(&valid).unwrap().loss();
    first.model().unwrap();
    let mut state = first.into_learner();
    let saved = state.snapshot().unwrap();
    let mut second = with_learner(plain(), state);
    assert_eq!(second.evaluate(&valid).unwrap().loss(), loss, "a learner that has weights keeps them");
    assert_eq!(bits_of(&mut second).tensors.len(), saved.tensors.len());
    second.into_model().unwrap();
    trainer(plain()).into_model().unwrap();
}

#[test]
fn a_run_on_another_device_is_the_same_run() {
    let other = ReferenceDevice { index: 1, tracked: false };
    let mut here = trainer(plain());
    here.run(2, train_data(), valid_data()).unwrap();
    assert_eq!(here.device(), ReferenceDevice::default());
    let mut there = trainer(plain());
    there.run(1, train_data(), valid_data()).unwrap();
    there.to_device(&other).unwrap();
    assert_eq!(there.device(), other);
    there.run(2, train_data(), valid_data()).unwrap();
    assert_eq!(bits_of(&mut here), bits_of(&mut there));
    let message = fails(there.to_device(&ReferenceDevice { index: 7, tracked: false }), &["there is no device 7"]);
    assert!(message.starts_with("moving the model to a device: "), "{message}");
    assert_eq!(there.device(), other);
}

#[test]
fn without_an_optimizer_one_evaluates_and_predicts() {
    let inputs = data(&[2, 5, 1, 3], 9);
    let mut trainer = with_learner(plain(), bare_learner());
    let evaluation = trainer.evaluate_as("held out", &inputs).unwrap();
    assert_eq!((evaluation.set.as_str(), evaluation.samples, evaluation.step), ("held out", 11.0, 0));
    assert_eq!(evaluation.metrics.keys().collect::<Vec<_>>(), ["held out/hits", "held out/loss"]);
    assert_eq!(evaluation.get("loss"), evaluation.get("held out/loss"));
    assert_eq!(trainer.evaluate_as("held out", &inputs).unwrap().metrics, evaluation.metrics);
    let outputs = trainer.inference(&inputs).unwrap();
    let expected: Vec<_> = inputs.iter().enumerate().map(|(i, batch)| (i as u64, batch.inputs[0])).collect();
    assert_eq!(outputs, expected, "outputs come in the order of the data");
    assert!(trainer.history().evaluations.is_empty(), "only validations are part of a history");
}

#[test]
fn the_step_is_told_where_it_is() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let to = seen.clone();
    let task = Own::new(move |model, batch, at| {
        to.lock().unwrap().push((at.mode, at.cursor.epoch, at.cursor.micro_batch, at.step, at.total_steps, at.seed));
        step(model, batch)
    });
    let mut trainer = trainer(task).accumulate(2);
    trainer.run(2, data(&[2, 2, 2], 1), data(&[2], 1)).unwrap();
    trainer.inference(data(&[2, 2], 1)).unwrap();
    let (t, e, p) = (Mode::Train, Mode::Evaluate, Mode::Predict);
    let at = |mode, epoch, micro_batch, step| (mode, epoch, micro_batch, step, Some(4), 11);
    let expected = [
        at(t, 0, 0, 0),
        at(t, 0, 1, 0),
        at(t, 0, 2, 1),
        at(e, 0, 0, 2),
        at(t, 1, 0, 2),
        at(t, 1, 1, 2),
        at(t, 1, 2, 3),
        at(e, 0, 0, 4),
        at(p, 0, 0, 4),
        at(p, 0, 1, 4),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn hooks_come_in_the_documented_order() {
    let lines = Lines::default();
    let log = Log::new("log", Phase::Observe, &lines).with_snapshots();
    let mut trainer = trainer(plain()).add_on(log);
    trainer.run(2, data(&[3, 3], 1), data(&[3, 2], 2)).unwrap();
    let epoch = |first: u64| {
        let step = |n: u64| ["gradients".to_owned(), "step_end".to_owned(), format!("row {n}")];
        let valid = ["pass valid 0", "pass valid 1", "pass valid 2", "evaluation_end", "epoch_end", "snapshot"];
        let steps = [step(first), step(first + 1)].concat();
        [vec!["epoch_start".to_owned()], steps, valid.map(str::to_owned).to_vec()].concat()
    };
    let expected =
        [vec!["run_start".to_owned()], epoch(0), epoch(2), vec!["run_end".to_owned(), "finish".to_owned()]].concat();
    assert_eq!(*lines.lock().unwrap(), expected.iter().map(|hook| format!("log:{hook}")).collect::<Vec<_>>());
}

#[test]
fn means_are_weighted_and_counts_summed_exactly() {
    let value = |batch: &zae_core::testing::reference::Batch| f64::from(batch.inputs[0]) / 3.0;
    let task = Own::new(move |model, batch, _| {
        let (x, n) = (value(&batch), batch.labels.len());
        let per_class = (0..3).map(|class| batch.labels.iter().filter(|l| **l == class).count() as f64);
        let classes = model.constant(&per_class.collect::<Vec<_>>());
        let over = model.constant(&[x]);
        Ok(step(model, batch)?.number("x", x).metric_over("over", over, n * n).count("classes", classes))
    });
    let recorder = Recorder::new();
    let mut trainer = trainer(task).accumulate(2).add_on(recorder.clone());
    let train = train_data();
    let run = trainer.run(1, &train, valid_data()).unwrap();
    let mean = |data: &[zae_core::testing::reference::Batch], weight: fn(f64) -> f64| {
        let (mut sum, mut weights) = (0.0, 0.0);
        for batch in data {
            let weight = weight(batch.labels.len() as f64);
            sum += value(batch) * weight;
            weights += weight;
        }
        sum / weights
    };
    let classes = |data: &[zae_core::testing::reference::Batch]| {
        let count = |class| data.iter().flat_map(|b| &b.labels).filter(|l| **l == class).count() as f64;
        [0, 1, 2].map(count).to_vec()
    };
    for (set, data, metrics, counts, samples) in [
        ("train", &train, &run.history.epochs[0].metrics, &run.history.epochs[0].counts, run.history.epochs[0].samples),
        (
            "valid",
            &valid_data(),
            &run.history.evaluations[0].metrics,
            &run.history.evaluations[0].counts,
            run.history.evaluations[0].samples,
        ),
    ] {
        assert_eq!(metrics[&format!("{set}/x")].to_bits(), mean(data, |n| n).to_bits(), "{set}");
        assert_eq!(metrics[&format!("{set}/over")].to_bits(), mean(data, |n| n * n).to_bits(), "{set}");
        assert_eq!(counts[&format!("{set}/classes")], classes(data), "{set}");
        assert_eq!(counts[&format!("{set}/hits")], [metrics[&format!("{set}/hits")]], "one number is a metric too");
        assert!(!metrics.contains_key(&format!("{set}/classes")), "several are none");
        assert_eq!(samples, data.iter().map(|batch| batch.labels.len() as f64).sum::<f64>());
    }
    // A row is the weighted mean of its window; the last window is short.
    let expected: Vec<_> = train.chunks(2).map(|window| mean(window, |n| n)).collect();
    let found = column(&recorder, "train/x");
    assert_eq!(found.len(), 3);
    assert!(expected.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-15), "{expected:?} and {found:?}");
    assert_eq!(column(&recorder, "lr"), [0.01; 3]);
}

#[test]
fn the_loss_of_an_evaluation_is_that_of_all_its_samples() {
    let mut trainer = trainer(plain());
    trainer.run(1, train_data(), ()).unwrap();
    let all = trainer.evaluate(valid_data()).unwrap();
    let mut sum = 0.0;
    for batch in valid_data() {
        let n = batch.labels.len() as f64;
        sum += trainer.evaluate(vec![batch]).unwrap().loss().unwrap() * n;
    }
    assert_eq!(all.loss().unwrap().to_bits(), (sum / all.samples).to_bits());
}

#[test]
fn a_summary_has_the_numbers_of_its_rows() {
    let recorder = Recorder::new();
    let schedule = |at: &ScheduleAt| 0.01 / (at.step + 1) as f64;
    let mut trainer = trainer(plain()).scheduler(schedule).accumulate(2).add_on(recorder.clone());
    let run = trainer.run(2, train_data(), valid_data()).unwrap();
    let lrs: Vec<_> = (1..=6).map(|step| 0.01 / f64::from(step)).collect();
    assert_eq!(column(&recorder, "lr"), lrs, "a closure is a schedule");
    for (epoch, summary) in run.history.epochs.iter().enumerate() {
        let steps = 3 * epoch..3 * epoch + 3;
        let hits: f64 = column(&recorder, "train/hits")[steps.clone()].iter().sum();
        assert_eq!((summary.metrics["train/hits"], summary.lr), (hits, lrs[steps.end - 1]));
        assert_eq!((summary.step, summary.samples), (3 * epoch as u64 + 3, 19.0));
        assert_eq!(summary.metrics["valid/loss"], run.history.evaluations[epoch].metrics["valid/loss"]);
        let losses = &column(&recorder, "train/loss")[steps];
        let mean = losses.iter().zip([8.0, 9.0, 2.0]).map(|(loss, n)| loss * n).sum::<f64>() / 19.0;
        assert!((summary.metrics["train/loss"] - mean).abs() < 1e-14);
    }
    assert_eq!(*trainer.history(), run.history);
}

/// The gradients of one step over all of these rows, in micro-batches of these sizes, with weights of `unit` per row.
fn gradients(samples: &Samples, sizes: &[usize], unit: f64) -> Vec<f32> {
    let task = Own::new(move |model, batch, _| {
        let n = batch.labels.len() as f64;
        Ok(Step::weighted(model.loss(&batch)?.0, n * unit))
    });
    let found = Gradients::default();
    let mut trainer =
        with_learner(task, learner(Architecture::Plain)).accumulate(sizes.len() as u64).add_on(copy_gradients(&found));
    trainer.run(1, samples.batches(sizes).into_iter().map(batch).collect::<Vec<_>>(), ()).unwrap();
    let mut found = std::mem::take(&mut *found.lock().unwrap());
    assert_eq!(found.len(), 1);
    found.remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A gradient is a sum over n <= 42 rows of terms whose absolute values sum to at most 2 (inputs and activations are
    /// below 2, the rows' factors below 1/n each), so f32 in another order is off by at most 2 * (n + 4) * 2^-24 * 2.
    #[test]
    fn micro_batches_of_any_sizes_and_weights_are_one_batch(
        sizes in prop::collection::vec(1usize..8, 1..7), unit in 0.01f64..100.0, seed in 0u64..1000,
    ) {
        let rows = sizes.iter().sum();
        let samples = Samples::random(rows, 6, 3, seed);
        let whole = gradients(&samples, &[rows], 1.0);
        let parts = gradients(&samples, &sizes, unit);
        let bound = 4.0 * (rows + 4) as f32 / (1 << 24) as f32;
        for (a, b) in whole.iter().zip(&parts) {
            prop_assert!((a - b).abs() <= bound, "{a} and {b} differ by more than {bound}");
        }
    }
}

#[test]
fn clipping_by_norm_reports_the_norm_before_it() {
    let norm = |gradients: &[f32]| gradients.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let run = |clip, accumulate| {
        let (recorder, gradients) = (Recorder::new(), Gradients::default());
        let add_ons = (recorder.clone(), copy_gradients(&gradients));
        let mut trainer = trainer(plain()).gradient_clip(clip).accumulate(accumulate).add_on(add_ons);
        let run = trainer.run(1, train_data(), ()).unwrap();
        assert_eq!(run.history.epochs[0].metrics.contains_key("train/grad_norm"), matches!(clip, Clip::Norm(_)));
        let norms: Vec<_> = gradients.lock().unwrap().iter().map(|g| norm(g)).collect();
        (column(&recorder, "train/grad_norm"), norms)
    };
    for accumulate in [1, 2] {
        let (told, found) = run(Clip::Norm(f64::INFINITY), accumulate);
        assert_eq!(told.len(), 5usize.div_ceil(accumulate as usize));
        assert!(told.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-6 * a), "{told:?} and {found:?}");
        let limit = told[0] / 2.0;
        let (told, found) = run(Clip::Norm(limit), accumulate);
        assert!(told[0] > limit, "the norm is that before clipping");
        let clipped = told.iter().map(|norm| norm.min(limit));
        assert!(clipped.zip(&found).all(|(a, b)| (a - b).abs() < 1e-5 * a), "{told:?} clipped to {found:?}");
        assert_eq!(run(Clip::None, accumulate).0, [0.0; 0]);
    }
}

#[test]
fn clipping_by_value_bounds_each_gradient_of_the_mean() {
    let run = |clip| {
        let gradients = Gradients::default();
        trainer(plain())
            .gradient_clip(clip)
            .accumulate(5)
            .add_on(copy_gradients(&gradients))
            .run(1, train_data(), ())
            .unwrap();
        let mut all = std::mem::take(&mut *gradients.lock().unwrap());
        all.remove(0)
    };
    let free = run(Clip::None);
    let limit = free.iter().fold(0.0f32, |max, x| max.max(x.abs())) / 3.0;
    let expected: Vec<_> = free.iter().map(|x| x.clamp(-limit, limit)).collect();
    assert_eq!(run(Clip::Value(f64::from(limit))), expected, "scaled first, clipped then");
}

#[test]
fn a_schedule_gets_its_length_from_the_run() {
    let lengths = |until: Until, accumulate, known: bool| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let to = seen.clone();
        let schedule = move |at: &ScheduleAt| {
            to.lock().unwrap().push((at.step, at.total, at.epoch, at.epochs));
            0.01
        };
        let mut trainer = trainer(plain()).scheduler(schedule).accumulate(accumulate);
        if known {
            trainer.run(until, train_data(), ()).unwrap();
        } else {
            trainer.run(until, from_fn(|_| train_data().into_iter().map(Ok)), ()).unwrap();
        }
        let seen = seen.lock().unwrap();
        assert!(seen.iter().enumerate().all(|(i, at)| at.0 == i as u64 && (at.1, at.3) == (seen[0].1, seen[0].3)));
        assert_eq!(seen.last().unwrap().2, (seen.len() as u64 - 1) / 5u64.div_ceil(accumulate));
        (seen[0].1, seen[0].3)
    };
    assert_eq!(lengths(2.into(), 1, true), (Some(10), Some(2)));
    assert_eq!(lengths(2.into(), 2, true), (Some(6), Some(2)));
    assert_eq!(lengths(Until::steps(4), 2, true), (Some(4), Some(2)));
    assert_eq!(lengths(Until::steps(100).or_epochs(3), 3, true), (Some(6), Some(3)));
    assert_eq!(lengths(Until::steps(4).or_epochs(30), 1, true), (Some(4), Some(1)));
    assert_eq!(lengths(2.into(), 1, false), (None, Some(2)));
    assert_eq!(lengths(Until::steps(4), 1, false), (Some(4), None));
}

#[test]
fn rates_are_in_the_rows() {
    let rates = |schedule: Box<dyn Schedule>, accumulate| {
        let recorder = Recorder::new();
        trainer(plain())
            .scheduler(schedule)
            .accumulate(accumulate)
            .add_on(recorder.clone())
            .run(3, train_data(), valid_data())
            .unwrap();
        column(&recorder, "lr")
    };
    let cosine = Cosine::new(0.02);
    let expected: Vec<_> = (0..9).map(|step| cosine.lr(&ScheduleAt::new(step, Some(9), 0, None))).collect();
    assert_eq!(rates(Box::new(cosine), 2), expected);
    let per_epoch = StepDecay::new(0.02, 1, 0.5).per_epoch();
    assert_eq!(rates(Box::new(per_epoch), 3), [0.02, 0.02, 0.01, 0.01, 0.005, 0.005]);
}

#[test]
fn a_plateau_reacts_to_the_validations_of_the_run() {
    let task =
        Own::new(
            |model, batch, at| {
                if at.mode == Mode::Train { step(model, batch) } else { Ok(Step::new(model.constant(&[1.0]), 4)) }
            },
        );
    let recorder = Recorder::new();
    let schedule = ReduceOnPlateau::new(0.02).factor(0.5).patience(0);
    let mut trainer = trainer(task).scheduler(schedule).accumulate(5).add_on(recorder.clone());
    trainer.evaluate(valid_data()).unwrap();
    trainer.run(4, train_data(), valid_data()).unwrap();
    assert_eq!(column(&recorder, "lr"), [0.02, 0.02, 0.01, 0.005], "the first validation is the best so far");
}

#[test]
fn phases_on_other_data_are_resumed() {
    let (small, large) = (|| data(&[4, 4], 1), || data(&[4, 4, 4, 4, 3], 2));
    let program = |trainer: &mut Trainer<Own>| {
        trainer.run(2, small(), valid_data()).unwrap();
        trainer.run(4, large(), valid_data()).unwrap();
    };
    let recorder = Recorder::new().with_snapshots();
    let mut whole = trainer(plain()).add_on(recorder.clone());
    program(&mut whole);
    let expected = bits_of(&mut whole);
    let snapshots = recorder.get().snapshots.clone();
    assert!(snapshots.len() > 20);
    for (moment, snapshot) in snapshots {
        let mut resumed = trainer(plain());
        resumed.restore(&written(&snapshot)).unwrap();
        program(&mut resumed);
        assert!(bits_of(&mut resumed) == expected, "{moment:?} after step {}", snapshot.run.progress.step());
    }
}

#[test]
fn an_epoch_whose_end_is_owed_is_ended_by_run_epoch() {
    let recorder = Recorder::new().with_snapshots();
    let mut whole = trainer(plain()).add_on(recorder.clone());
    for _ in 0..3 {
        whole.run_epoch(train_data()).unwrap();
    }
    let expected = bits_of(&mut whole);
    for (_, snapshot) in recorder.get().snapshots.clone() {
        let mut resumed = trainer(plain());
        resumed.restore(&written(&snapshot)).unwrap();
        while resumed.history().epochs.len() < 3 {
            resumed.run_epoch(train_data()).unwrap();
        }
        assert!(bits_of(&mut resumed) == expected, "after step {}", snapshot.run.progress.step());
    }
}

#[test]
fn a_run_of_countless_epochs_starts_at_once() {
    let mut trainer = trainer(plain());
    let until = Until::epochs(u64::MAX).or_time(Duration::ZERO);
    assert_eq!(trainer.run(until, train_data(), ()).unwrap().outcome, Outcome::OutOfTime);
}
