//! Numbers that add-ons log: where they get to, on every device and number of processes, and what is refused.

#![allow(clippy::panic, clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::{Arc, Mutex};

use support::{
    ARCHITECTURE, Lines, Log, Own, acting, asynchronous, bits, column, data, fails, plain,
    ranks::{Everywhere, on_ranks},
    step, train_data, trainer, valid_data, with_learner, written,
};
use zae_core::{
    add_on::Phase,
    add_ons::EarlyStopping,
    error::Fallible,
    process_group::Reduction,
    step::Step,
    testing::Recorder,
    trainer::{NonFinite, Outcome, Trainer},
};

/// Logs in every hook that allows it, every second step.
fn logs() -> Log {
    acting("logs", |hook, cx| match hook {
        "gradients" => cx.log("b/steps", cx.progress.step() as f64),
        "step_end" if cx.progress.step() % 2 == 0 => {
            cx.log("a/samples", cx.progress.samples())?;
            cx.measure("clock", 17.0)
        }
        "evaluation_end" => cx.log("valid/extra", cx.progress.step() as f64),
        "epoch_end" => {
            cx.log("epoch/number", cx.progress.epoch() as f64)?;
            cx.measure("epoch_clock", 18.0)
        }
        _ => Ok(()),
    })
}

type Shown = Vec<(u64, Vec<(String, f64)>)>;

fn rows(recorder: &Recorder) -> Shown {
    let cell = |(name, bits): &(String, u64)| (name.clone(), f64::from_bits(*bits));
    recorder.get().rows.iter().map(|(step, row)| (*step, row.iter().map(cell).collect())).collect()
}

#[test]
fn a_number_is_part_of_its_step_its_evaluation_and_its_epoch() {
    let mut shown: Vec<Shown> = Vec::new();
    for learner in [support::learner(ARCHITECTURE), asynchronous(ARCHITECTURE)] {
        let recorder = Recorder::new();
        let mut trainer = with_learner(plain(), learner).log_every(3).add_on((logs(), recorder.clone()));
        let run = trainer.run(2, train_data(), valid_data()).unwrap();
        let rows = rows(&recorder);
        assert_eq!(rows.iter().map(|(step, _)| *step).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        for (step, row) in &rows {
            let names: Vec<_> = row.iter().map(|(name, _)| name.as_str()).collect();
            // In the order in which they were logged, behind the task's, each in the row of its own step.
            if step % 2 == 1 {
                let expected = ["train/loss", "train/hits", "b/steps", "a/samples", "meter/clock", "lr"];
                assert_eq!(names, expected, "step {step}");
                assert_eq!(row[4].1, 17.0);
            } else {
                assert_eq!(names, ["train/loss", "train/hits", "b/steps", "lr"], "step {step}");
            }
            assert_eq!(row[2].1, *step as f64);
        }
        let samples = [5.0 + 3.0, 5.0 + 3.0 + 4.0 + 5.0];
        assert_eq!(column(&recorder, "a/samples")[..2], samples);
        let [first, second] = &run.history.epochs[..] else { panic!("two epochs") };
        // Means over the steps that have it.
        assert_eq!((first.metrics["b/steps"], second.metrics["b/steps"]), (2.0, 7.0));
        assert_eq!(first.metrics["a/samples"], (samples[0] + samples[1]) / 2.0);
        assert_eq!((first.metrics["valid/extra"], second.metrics["valid/extra"]), (5.0, 10.0));
        assert_eq!((first.metrics["epoch/number"], second.metrics["epoch/number"]), (1.0, 2.0));
        assert_eq!(first.metrics["meter/epoch_clock"], 18.0);
        assert!(!first.metrics.contains_key("meter/clock"), "what is measured for a step is never summed");
        assert_eq!(run.history.evaluations[1].metrics["valid/extra"], 10.0);
        assert_eq!(trainer.history(), &run.history);
        let without = run.history.without_clock();
        assert!(without.epochs.iter().all(|epoch| !epoch.metrics.contains_key("meter/epoch_clock")));
        shown.push(rows);
    }
    assert_eq!(shown[0], shown[1], "devices that are read at once, and now and then");
}

#[test]
fn later_phases_are_given_what_earlier_ones_have_logged() {
    let lines = Lines::default();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let add_ons: Vec<_> = [Phase::Observe, Phase::Decide, Phase::Persist, Phase::Report]
        .into_iter()
        .map(|phase| {
            let seen = seen.clone();
            Log::new(&format!("{phase:?}"), phase, &lines).act(move |hook, cx| {
                if hook == "epoch_end" {
                    let last = cx.history.epochs.last().unwrap();
                    let names: Vec<_> = last.metrics.keys().filter(|name| name.starts_with("own/")).cloned().collect();
                    seen.lock().unwrap().push(names.len());
                    if phase <= Phase::Decide {
                        cx.log(format!("own/{phase:?}"), 1.0)?;
                    }
                }
                Ok(())
            })
        })
        .collect();
    trainer(plain()).add_on(add_ons).run(1, train_data(), ()).unwrap();
    assert_eq!(*seen.lock().unwrap(), [0, 1, 2, 2]);
}

#[test]
fn a_single_step_returns_what_was_logged() {
    let mut trainer = trainer(plain()).add_on(logs());
    let batches = train_data();
    assert!(!trainer.run_batch(batches[0].clone()).unwrap().contains_key("a/samples"));
    let metrics = trainer.run_batch(batches[1].clone()).unwrap();
    assert_eq!((metrics["a/samples"], metrics["b/steps"], metrics["meter/clock"]), (8.0, 1.0, 17.0));
    assert!(metrics.contains_key("train/loss") && metrics.contains_key("lr"));
}

#[test]
fn early_stopping_watches_what_was_logged_and_nothing_that_depends_on_the_clock() {
    let mut stopped = trainer(plain()).add_on((logs(), EarlyStopping::new("valid/extra").patience(1)));
    let run = stopped.run(9, train_data(), valid_data()).unwrap();
    assert!(matches!(run.outcome, Outcome::Stopped(_)));
    assert_eq!(run.history.epochs.len(), 2);
    let measures = acting("measures", |hook, cx| if hook == "evaluation_end" { cx.measure("x", 1.0) } else { Ok(()) });
    let mut refused = trainer(plain()).add_on((measures, EarlyStopping::new("meter/x")));
    fails(refused.run(1, train_data(), valid_data()), &["`meter/x`", "depends on the clock", "`cx.log`"]);
}

#[test]
fn a_resume_at_any_step_repeats_all_but_what_was_measured() {
    let new = |asynchronously: bool, recorder: &Recorder| {
        let learner = if asynchronously { asynchronous(ARCHITECTURE) } else { support::learner(ARCHITECTURE) };
        with_learner(plain(), learner).log_every(3).accumulate(2).add_on((logs(), recorder.clone()))
    };
    for asynchronously in [false, true] {
        let recorder = Recorder::new().with_snapshots();
        let mut whole = new(asynchronously, &recorder);
        whole.run(2, train_data(), valid_data()).unwrap();
        let end = bits(&whole.snapshot().unwrap());
        let all = rows(&recorder);
        let snapshots = std::mem::take(&mut recorder.get().snapshots);
        assert!(snapshots.len() >= 6 + 4);
        for (moment, snapshot) in snapshots {
            let (tail, step) = (Recorder::new(), snapshot.run.progress.step());
            let mut resumed = new(asynchronously, &tail);
            resumed.restore(&written(&snapshot)).unwrap();
            resumed.run(2, train_data(), valid_data()).unwrap();
            assert!(bits(&resumed.snapshot().unwrap()) == end, "cut at {moment:?} after {step}");
            let rest: Shown = all.iter().filter(|(of, _)| *of >= step).cloned().collect();
            assert_eq!(rows(&tail), rest, "cut at {moment:?} after {step}");
        }
    }
}

#[test]
fn ranks_have_the_same_numbers_as_one_process_and_measure_their_own() {
    let batches = || data(&[5, 3, 4, 5, 2, 1], 1);
    let own = |rank: usize| {
        acting("logs", move |hook, cx| {
            if hook == "step_end" {
                cx.log("a/samples", cx.progress.samples())?;
                cx.measure("rank", rank as f64)?;
            }
            Ok(())
        })
    };
    let told = on_ranks(3, Reduction::Fast, |rank, connected| {
        let recorder = Recorder::new();
        let mut trainer = connected.trainer(plain(), ARCHITECTURE).log_every(2);
        trainer = trainer.add_on((own(rank), Everywhere(recorder.clone())));
        let run = trainer.run(1, batches(), ()).unwrap();
        (column(&recorder, "a/samples"), column(&recorder, "meter/rank"), run.history.without_clock())
    });
    for (rank, (samples, ranks, history)) in told.iter().enumerate() {
        assert_eq!(samples, &[12.0, 20.0]);
        assert_eq!(ranks, &[rank as f64; 2]);
        assert_eq!(history, &told[0].2);
        assert_eq!(history.epochs[0].metrics["a/samples"], 16.0);
    }
}

#[test]
fn what_belongs_to_nothing_is_refused_with_what_to_do() {
    let run = |phase, at: &'static str, act: fn(&mut zae_core::add_on::Context<'_>) -> Fallible| {
        let log =
            Log::new("own", phase, &Lines::default()).act(move |hook, cx| if hook == at { act(cx) } else { Ok(()) });
        trainer(plain()).add_on(log).run(1, train_data(), valid_data())
    };
    for hook in ["run_start", "epoch_start", "rows", "pass", "run_end", "finish"] {
        let words = ["add-on `own`", "`x` belongs to no step", "`on_step_end`"];
        fails(run(Phase::Observe, hook, |cx| cx.log("x", 1.0)), &words);
    }
    fails(run(Phase::Report, "epoch_end", |cx| cx.measure("x", 1.0)), &["`meter/x` belongs to no step", "Observe"]);
    fails(
        run(Phase::Report, "step_end", |cx| cx.log("x", 1.0)),
        &["add-on `own`", "Report", "rank 0 alone", "`cx.measure`"],
    );
    run(Phase::Report, "step_end", |cx| cx.measure("x", 1.0)).unwrap();
    fails(run(Phase::Observe, "step_end", |cx| cx.log("meter/x", 1.0)), &["`meter/x`", "`cx.measure(\"x\", value)`"]);
    for name in ["lr", "train/loss", "train/grad_norm", "train/hits"] {
        let refused = match name {
            "lr" => run(Phase::Observe, "step_end", |cx| cx.log("lr", 1.0)),
            "train/loss" => run(Phase::Observe, "step_end", |cx| cx.log("train/loss", 1.0)),
            "train/hits" => run(Phase::Observe, "step_end", |cx| cx.log("train/hits", 1.0)),
            _ => run(Phase::Observe, "step_end", |cx| cx.log("train/grad_norm", 1.0)),
        };
        fails(refused, &[&format!("`{name}`"), "another name"]);
    }
    let twice: fn(&mut zae_core::add_on::Context<'_>) -> Fallible =
        |cx| cx.log("x", 1.0).and_then(|()| cx.log("x", 2.0));
    for hook in ["step_end", "evaluation_end", "epoch_end"] {
        fails(run(Phase::Observe, hook, twice), &["reading losses and metrics", "`x` was logged twice"]);
    }
    for hook in ["evaluation_end", "epoch_end"] {
        let words = ["reading losses and metrics", "`valid/loss`", "a number of the task", "a name of its own"];
        fails(run(Phase::Observe, hook, |cx| cx.log("valid/loss", 1.0)), &words);
    }
}

#[test]
fn a_metric_of_the_task_that_comes_later_is_refused_too() {
    let task = support::Own::new(|model, batch, at| {
        let step: Step<_> = support::step(model, batch)?;
        Ok(if at.step > 1 { step.number("late", 1.0) } else { step })
    });
    let early = acting("early", |hook, cx| if hook == "step_end" { cx.log("train/late", 1.0) } else { Ok(()) });
    fails(trainer(task).add_on(early).run(1, train_data(), ()), &["`train/late`", "another name"]);
}

#[test]
fn a_step_that_is_not_made_leaves_no_row_and_no_sum() {
    let recorder = Recorder::new();
    let breaks =
        acting(
            "breaks",
            |hook, cx| {
                if hook == "gradients" && cx.progress.step() == 3 { Err("broken".into()) } else { Ok(()) }
            },
        );
    let mut failed: Trainer<_> = trainer(plain()).add_on((logs(), breaks, recorder.clone()));
    fails(failed.run(1, train_data(), ()), &["broken"]);
    assert_eq!(rows(&recorder).iter().map(|(step, _)| *step).collect::<Vec<_>>(), [0, 1, 2]);
    let mut three = trainer(plain()).add_on((logs(), support::stop_at(3)));
    three.run(1, train_data(), ()).unwrap();
    let totals = |trainer: &mut Trainer<_>| trainer.snapshot().unwrap().run.totals.clone();
    assert!(totals(&mut failed) == totals(&mut three));
    assert_eq!(totals(&mut failed).metrics()["b/steps"], 1.0);
}

#[test]
fn a_skipped_step_has_what_was_logged_for_it() {
    let spoilt = || {
        Own::new(|model, mut batch, at| {
            if at.step == 2 {
                batch.inputs[0] = f32::NAN;
            }
            step(model, batch)
        })
    };
    let run = |trainer: Trainer<Own>, recorder: &Recorder| {
        let counts = acting("counts", |hook, cx| match hook {
            "step_end" => cx.log("skipped", cx.progress.skipped() as f64),
            _ => Ok(()),
        });
        let add_ons = (counts, Everywhere(recorder.clone()));
        let mut trainer = trainer.on_non_finite(NonFinite::SkipStep).add_on(add_ons);
        let run = trainer.run(1, data(&[5, 3, 4, 5, 2, 3, 3, 3], 1), ()).unwrap();
        (column(recorder, "skipped"), run.history.epochs[0].metrics["skipped"])
    };
    for learner in [support::learner(ARCHITECTURE), asynchronous(ARCHITECTURE)] {
        let (rows, mean) = run(with_learner(spoilt(), learner), &Recorder::new());
        assert_eq!(rows, [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(mean, 5.0 / 7.0);
    }
    for (rows, mean) in
        on_ranks(2, Reduction::Fast, |_, connected| run(connected.trainer(spoilt(), ARCHITECTURE), &Recorder::new()))
    {
        assert_eq!((rows, mean), (vec![0.0, 0.0, 1.0, 1.0], 1.0 / 3.0));
    }
}

#[test]
fn an_epoch_and_its_evaluation_may_be_measured_alike() {
    let measures = acting("measures", |hook, cx| match hook {
        "evaluation_end" => cx.measure("memory", 1.0),
        "epoch_end" => cx.measure("memory", 2.0),
        _ => Ok(()),
    });
    let run = trainer(plain()).add_on(measures).run(2, train_data(), valid_data()).unwrap();
    let (epochs, evaluations) = (&run.history.epochs, &run.history.evaluations);
    assert!(
        epochs.iter().all(|epoch| epoch.metrics["meter/memory"] == 2.0 && epoch.metrics.contains_key("valid/loss"))
    );
    assert!(evaluations.iter().all(|evaluation| evaluation.metrics["meter/memory"] == 1.0));
}
