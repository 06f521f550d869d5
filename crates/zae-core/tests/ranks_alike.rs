//! What one rank alone has, or asks for, is of all: a loss that is not finite, a stop, a metric, weights.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;

use support::{ranks::*, *};
use zae_core::{
    add_on::{Context, Phase},
    add_ons::EarlyStopping,
    process_group::Reduction,
    schedule::ReduceOnPlateau,
    snapshot::Snapshot,
    step::Step,
    testing::{Architecture, Recorder},
    trainer::{Every, NonFinite},
};

/// The unit of weights is agreed on with the first sum; a window that comes to none must not leave each rank with its own.
#[test]
fn a_first_window_that_comes_to_nothing_leaves_the_ranks_together() {
    let batches = || data(&[6, 1, 5, 2, 3, 1, 1, 6], 1);
    for bad in [0, 1] {
        let skip = |connected: &Connected| {
            let trainer = connected.trainer(once(bad, spoil), Architecture::Plain).micro_batches(2);
            let mut trainer = trainer.on_non_finite(NonFinite::SkipStep);
            trainer.run(1, batches(), ()).unwrap();
            assert_eq!(trainer.progress().skipped(), 1);
            parameters(&mut trainer)
        };
        let one = skip(&alone(Reduction::Fast));
        let two = on_ranks(2, Reduction::Fast, |_, connected| skip(&connected));
        assert!(two[0] == two[1] && close(&two[0], &one), "spoilt {bad}");

        let fail = |connected: &Connected| {
            let mut trainer =
                connected.trainer(once(bad, |_| Err("boom".into())), Architecture::Plain).micro_batches(2);
            fails(trainer.run(1, batches(), ()), &["boom"]);
            trainer.run(1, batches(), ()).unwrap();
            parameters(&mut trainer)
        };
        let one = fail(&alone(Reduction::Fast));
        let two = on_ranks(2, Reduction::Fast, |_, connected| fail(&connected));
        assert!(two[0] == two[1] && close(&two[0], &one), "failed {bad}");
    }
}

/// What is asked for while a snapshot is handed out, on rank 0 alone, holds for all.
#[test]
fn a_stop_that_is_asked_for_with_a_snapshot_stops_all() {
    for validate in [Every::Epoch, Every::Steps(2)] {
        let ends = on_ranks(2, Reduction::Fast, |rank, connected| {
            let act = |hook: &str, cx: &mut Context<'_>| {
                if hook == "snapshot" {
                    cx.requests.stop("full");
                }
                Ok(())
            };
            let asks = acting("asks", |hook, cx| {
                if hook == "step_end" && cx.progress.step() == 3 {
                    cx.requests.snapshot();
                }
                Ok(())
            });
            let saves = Log::new("saves", Phase::Persist, &Lines::default()).act(act).with_snapshots();
            let mut trainer = connected.trainer(plain(), Architecture::Plain).validate(validate).add_on(saves);
            if rank == 1 {
                trainer = trainer.add_on(asks);
            }
            let run = trainer.run(5, eleven(), valid_data()).unwrap();
            (format!("{:?}", run.outcome), trainer.progress().step())
        });
        assert!(ends.iter().all(|end| *end == ("Stopped(\"full\")".to_owned(), 3)), "{ends:?}");
    }
}

#[test]
fn a_stop_for_the_same_reason_as_before_is_one() {
    let ends = on_ranks(2, Reduction::Fast, |rank, connected| {
        let stops = acting("stopper", move |hook, cx| {
            if rank == 1 && (hook == "step_end" || hook == "evaluation_end") {
                cx.requests.stop("enough");
            }
            Ok(())
        });
        let mut trainer = connected.trainer(plain(), Architecture::Plain).add_on(stops);
        let mut steps = Vec::new();
        trainer.evaluate(eleven()).unwrap();
        for _ in 0..3 {
            trainer = trainer.continue_stopped();
            let run = trainer.run(5, eleven(), ()).unwrap();
            steps.push((format!("{:?}", run.outcome), trainer.progress().step()));
            trainer.evaluate(eleven()).unwrap();
        }
        steps
    });
    let stopped = |step| ("Stopped(\"enough\")".to_owned(), step);
    assert!(ends.iter().all(|steps| *steps == [stopped(1), stopped(2), stopped(3)]), "{ends:?}");
}

/// A loss that is read late spoils the weights of all ranks, whoever has it.
#[test]
fn weights_spoilt_on_another_rank_reach_no_snapshot() {
    for bad in [4, 5] {
        let results = on_ranks(2, Reduction::Fast, |_, connected| {
            let recorder = Recorder::new();
            let keeps = Log::new("keeps", Phase::Persist, &Lines::default()).act(|hook, _| {
                assert!(hook != "snapshot", "a snapshot of spoilt weights");
                Ok(())
            });
            let asks = acting("asks", |hook, cx| {
                if hook == "step_end" && cx.progress.step() == 4 {
                    cx.requests.snapshot();
                }
                Ok(())
            });
            let learner = support::asynchronous(Architecture::Plain);
            let mut trainer = connected.with(with_learner(once(bad, spoil), learner)).add_on((
                keeps,
                asks,
                Everywhere(recorder.clone()),
            ));
            let result = trainer.run(1, eleven(), ()).map(|_| ());
            (result, recorder.get().rows.len(), trainer.snapshot().map(|_| ()))
        });
        for (result, rows, snapshot) in results {
            fails(result, &["`train/loss` was", "step 2"]);
            assert_eq!(rows, 4);
            fails(snapshot, &["moved along a loss that was not finite"]);
        }
        // The loss is found only when something else has failed.
        let results = on_ranks(2, Reduction::Fast, |rank, connected| {
            let task = once(bad, spoil);
            let boom = acting("boom", move |hook, cx| {
                if hook == "step_end" && cx.progress.step() == 4 && rank == 0 { Err("boom".into()) } else { Ok(()) }
            });
            let learner = support::asynchronous(Architecture::Plain);
            let mut trainer = connected.with(with_learner(task, learner)).add_on(boom);
            fails(trainer.run(1, eleven(), ()), &["boom"]);
            trainer.snapshot().map(|_| ())
        });
        for snapshot in results {
            fails(snapshot, &["moved along a loss that was not finite"]);
        }
    }
}

#[test]
fn rows_before_one_that_does_not_fit_come_once() {
    let run = |connected: &Connected| {
        let task = Own::new(|model, batch, at| {
            let n = batch.labels.len();
            let (loss, hits) = model.loss(&batch)?;
            let own = Step::new(loss, n);
            Ok(if at.cursor.micro_batch < 6 { own.count("hits", hits) } else { own.metric("hits", hits) })
        });
        let recorder = Recorder::new();
        let trainer = connected.trainer(task, Architecture::Plain).micro_batches(2);
        let mut trainer = trainer.add_on(Everywhere(recorder.clone()));
        fails(trainer.run(1, eleven(), ()), &["`hits` was another sort of metric before"]);
        recorder.get().rows.iter().map(|(step, _)| *step).collect::<Vec<_>>()
    };
    let one = run(&alone(Reduction::Fast));
    assert_eq!(one, [0, 1, 2]);
    for rows in on_ranks(2, Reduction::Fast, |_, connected| run(&connected)) {
        assert_eq!(rows, one);
    }
}

#[test]
fn weights_that_one_rank_has_loaded_are_those_of_all_or_of_none() {
    let other = with_learner(plain(), learner(Architecture::Plain)).seed(5).state_dict().unwrap();
    let expected = |loads: &[usize]| {
        let mut trainer = alone(Reduction::Fast).trainer(plain(), Architecture::Plain);
        if loads.contains(&0) {
            trainer.load_state_dict(&other).unwrap();
        }
        trainer.evaluate(eleven()).unwrap().metrics
    };
    for loads in [vec![0], vec![1], vec![0, 1]] {
        let all = on_ranks(2, Reduction::Fast, |rank, connected| {
            let mut trainer = connected.trainer(plain(), Architecture::Plain);
            trainer.evaluate(eleven()).unwrap();
            if loads.contains(&rank) {
                trainer.load_state_dict(&other).unwrap();
            }
            trainer.evaluate(eleven()).unwrap().metrics
        });
        assert!(all.iter().all(|metrics| *metrics == expected(&loads)), "{loads:?}");
    }
}

#[test]
fn an_endless_interval_of_reading_is_one() {
    let all = on_ranks(2, Reduction::Fast, |_, connected| {
        let mut trainer = connected.trainer(plain(), Architecture::Plain).log_every(u64::MAX);
        trainer.run(1, eleven(), valid_data()).unwrap().history.without_clock()
    });
    assert!(all[0] == all[1]);
}

/// Metrics that some micro-batches have and others lack, in whatever order.
#[test]
fn metrics_that_differ_from_batch_to_batch_are_those_of_one_process() {
    let run = |connected: &Connected| {
        let task = Own::new(|model, batch, at| {
            let n = batch.labels.len();
            let (loss, hits) = model.loss(&batch)?;
            let here = at.cursor.micro_batch;
            let mut own = Step::weighted(loss, if here % 5 == 3 { 0.0 } else { n as f64 }).number("rows", n as f64);
            if here % 3 == 1 {
                own = own.number("third", here as f64);
            }
            Ok(if here % 2 == 0 { own.count("hits", hits) } else { own.number("odd", 1.0) })
        });
        let recorder = Recorder::new();
        let clip = zae_core::learner::Clip::Norm(0.5);
        let trainer = connected.trainer(task, Architecture::Plain).micro_batches(4).gradient_clip(clip);
        let mut trainer = trainer.add_on(Everywhere(recorder.clone()));
        let run = trainer.run(2, eleven(), eleven()).unwrap();
        let rows = recorder.get().rows.clone();
        (rows, format!("{:?}", run.history.without_clock()), parameters(&mut trainer))
    };
    let one = run(&alone(Reduction::Reproducible));
    for world_size in [2, 4] {
        for rank in on_ranks(world_size, Reduction::Reproducible, |_, connected| run(&connected)) {
            assert_eq!(rank.0, one.0);
            assert_eq!(rank.1, one.1);
            assert!(rank.2 == one.2);
        }
    }
}

#[test]
fn windows_without_weight_are_left_out_by_all() {
    for masked in [0..2, 0..4, 2..3, 10..11, 0..11] {
        let run = |connected: &Connected| {
            let masked = masked.clone();
            let task = Own::new(move |model, batch, at| {
                let n = batch.labels.len();
                let (loss, _) = model.loss(&batch)?;
                Ok(Step::new(loss, if masked.contains(&at.cursor.micro_batch) { 0 } else { n }))
            });
            let mut trainer = connected.trainer(task, Architecture::Plain).micro_batches(2);
            let history = format!("{:?}", trainer.run(2, eleven(), ()).unwrap().history.without_clock());
            (history.replace("NaN", "nan"), trainer.progress().skipped(), parameters(&mut trainer))
        };
        let one = run(&alone(Reduction::Reproducible));
        for rank in on_ranks(2, Reduction::Reproducible, |_, connected| run(&connected)) {
            assert_eq!((&rank.0, rank.1), (&one.0, one.1));
            assert!(rank.2 == one.2, "{masked:?}");
        }
    }
}

/// What early stopping or the plain end has ended stays so on all ranks, whichever of them has the snapshot.
#[test]
fn a_run_that_is_over_is_over_on_all_ranks() {
    let start = |connected: &Connected, from: Option<Arc<Snapshot>>, goes_on: bool, epochs| {
        let stopping = EarlyStopping::new("valid/loss").patience(2).min_delta(10.0);
        let plateau = ReduceOnPlateau::new(0.01).patience(1);
        let trainer = connected.trainer(plain(), Architecture::Plain).micro_batches(4).scheduler(plateau);
        let mut trainer = trainer.add_on((stopping, Keeper("keeper", from)));
        if goes_on {
            trainer = trainer.continue_stopped();
        }
        trainer.resume().unwrap();
        let run = trainer.run(epochs, eleven(), valid_data()).unwrap();
        (
            format!("{:?} {:?}", run.outcome, run.history.without_clock()),
            bits_of(&mut trainer),
            trainer.snapshot().unwrap(),
        )
    };
    let one = |from, goes_on, epochs| start(&alone(Reduction::Reproducible), from, goes_on, epochs);
    let two = |from: Option<Arc<Snapshot>>, goes_on, epochs| {
        on_ranks(2, Reduction::Reproducible, |rank, connected| {
            start(&connected, from.clone().filter(|_| rank == 0), goes_on, epochs)
        })
    };
    let (stopped, complete) = (one(None, false, 20), one(None, false, 1));
    assert!(stopped.0.starts_with("Stopped(") && complete.0.starts_with("Complete"));
    for (from, goes_on, epochs, word) in [
        (None, false, 20, "Stopped("),
        (Some(stopped.2.clone()), false, 20, "AlreadyStopped("),
        (Some(stopped.2.clone()), true, 9, "Stopped("),
        (Some(complete.2.clone()), false, 1, "AlreadyComplete"),
        (Some(complete.2), false, 20, "Stopped("),
    ] {
        let whole = one(from.clone(), goes_on, epochs);
        for rank in two(from.clone(), goes_on, epochs) {
            assert_eq!(rank.0, whole.0, "{word}");
            assert!(rank.1 == whole.1, "{word}");
        }
        assert!(whole.0.starts_with(word), "{word}: {}", whole.0);
    }
}
