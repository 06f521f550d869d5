//! Several ranks, each a thread with a trainer of its own, are one run: what they share, what they decide, how they fail.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use support::{ranks::*, *};
use zae_core::{
    add_on::{AddOn, Phase},
    add_ons::EarlyStopping,
    data::{DataLoader, Dataset, Loader},
    engine::Engine,
    error::{Error, Fallible},
    metrics::Evaluation,
    process_group::{Parallel, Reduction},
    snapshot::Snapshot,
    task::Mode,
    testing::{Architecture, Connect, Recorder, reference::Batch, thread_ranks},
    trainer::{Every, NonFinite, Outcome, Trainer, Until},
};

#[test]
fn the_bits_of_one_process_come_out_of_two_and_four() {
    for architecture in [Architecture::Plain, Architecture::Full, Architecture::Unused, Architecture::Frozen] {
        for micro_batches in [4, 8] {
            let run = |connected: &Connected| {
                let recorder = Recorder::new();
                let trainer = connected.trainer(plain(), architecture).micro_batches(micro_batches);
                let clip = zae_core::learner::Clip::Norm(0.5);
                let mut trainer = trainer.gradient_clip(clip).add_on(Everywhere(recorder.clone()));
                let run = trainer.run(3, eleven(), ()).unwrap();
                (parameters(&mut trainer), recorder.get().rows.clone(), format!("{:?}", run.history.without_clock()))
            };
            let one = run(&alone(Reduction::Reproducible));
            for world_size in [1, 2, 4] {
                for of_rank in on_ranks(world_size, Reduction::Reproducible, |_, connected| run(&connected)) {
                    assert!(of_rank.0 == one.0, "{architecture:?}, {world_size} ranks: other weights");
                    assert_eq!(of_rank.1, one.1, "{architecture:?}, {world_size} ranks");
                    assert_eq!(of_rank.2, one.2);
                }
            }
        }
    }
}

#[test]
fn the_fast_reduction_agrees_to_rounding() {
    let run = |connected: &Connected, micro_batches| {
        let mut trainer = connected.trainer(plain(), Architecture::Plain).micro_batches(micro_batches);
        let run = trainer.run(3, eleven(), valid_data()).unwrap();
        (parameters(&mut trainer), run.history.epochs[2].metrics["valid/loss"])
    };
    for micro_batches in [3, 5] {
        let (one, loss) = run(&alone(Reduction::Fast), micro_batches);
        for world_size in [2, 3] {
            let all = on_ranks(world_size, Reduction::Fast, |_, connected| run(&connected, micro_batches));
            assert!(all.iter().all(|rank| *rank == all[0]), "ranks part");
            assert!(close(&all[0].0, &one) && (all[0].1 - loss).abs() < 1e-5, "{world_size} ranks");
        }
    }
}

/// Epochs and samples, in the order in which they were trained or validated.
type Seen = Arc<Mutex<Vec<(bool, u64, u32)>>>;

#[test]
fn no_sample_is_lost_or_repeated_on_any_number_of_ranks() {
    for (samples, world_size) in [(1, 2), (2, 3), (3, 2), (1001, 3), (64, 4)] {
        let seen = Seen::default();
        on_ranks(world_size, Reduction::Fast, |_, connected| {
            let rows: Vec<Batch> = data(&vec![1; samples], 3);
            let join = |rows: Vec<Batch>| -> Fallible<Batch> {
                let inputs = rows.iter().flat_map(|row| row.inputs.clone()).collect();
                Ok(Batch { inputs, labels: rows.iter().flat_map(|row| row.labels.clone()).collect(), device: None })
            };
            let loader = || DataLoader::new(rows.clone().collate(join), 4).shuffle(true).workers(2);
            let seen = seen.clone();
            let task = Own::new(move |model, batch, at| {
                let rows =
                    batch.inputs.chunks(6).map(|row| (at.mode == Mode::Train, at.cursor.epoch, row[0].to_bits()));
                seen.lock().unwrap().extend(rows);
                step(model, batch)
            });
            let mut trainer = connected.trainer(task, Architecture::Plain).accumulate(2);
            let run = trainer.run(2, loader(), loader()).unwrap();
            assert_eq!(trainer.progress().samples(), 2.0 * samples as f64);
            assert!(run.history.evaluations.iter().all(|evaluation| evaluation.samples == samples as f64));
        });
        let mut seen = seen.lock().unwrap().clone();
        seen.sort_unstable();
        let ids = data(&vec![1; samples], 3).into_iter().map(|row| row.inputs[0].to_bits());
        let mut expected: Vec<_> =
            ids.flat_map(|id| [(true, 0, id), (true, 1, id), (false, 0, id), (false, 0, id)]).collect();
        expected.sort_unstable();
        assert!(seen == expected, "{samples} samples on {world_size} ranks");
    }
}

#[test]
fn evaluations_and_predictions_are_those_of_one_process() {
    let look = |connected: &Connected| {
        let mut trainer = connected.trainer(plain(), Architecture::Plain).log_every(2);
        let evaluation = trainer.evaluate(eleven()).unwrap();
        let Evaluation { metrics, counts, samples, .. } = evaluation;
        (format!("{metrics:?} {counts:?} {samples}"), trainer.inference(eleven()).unwrap())
    };
    let one = look(&alone(Reduction::Fast));
    for world_size in [2, 3, 4] {
        assert!(on_ranks(world_size, Reduction::Fast, |_, connected| look(&connected)).iter().all(|rank| *rank == one));
    }
}

#[test]
fn ranks_share_predictions_and_each_batch_is_predicted_once() {
    for world_size in [1, 2, 3, 16] {
        let all = alone(Reduction::Fast).trainer(plain(), Architecture::Plain).inference(eleven()).unwrap();
        let parts = on_ranks(world_size, Reduction::Fast, |_, connected| {
            connected.trainer(plain(), Architecture::Plain).inference_shard(eleven()).unwrap()
        });
        for (rank, part) in parts.iter().enumerate() {
            assert!(part.iter().all(|(batch, _)| *batch as usize % world_size == rank));
        }
        let mut together: Vec<_> = parts.into_iter().flatten().collect();
        together.sort_by_key(|(batch, _)| *batch);
        assert!(together.iter().map(|(batch, _)| *batch).eq(0..all.len() as u64));
        assert_eq!(together.into_iter().map(|(_, output)| output).collect::<Vec<_>>(), all);
    }
}

/// A run that is cut on some ranks and goes on on others: of steps, weights and history.
#[test]
fn a_run_goes_on_on_another_number_of_ranks_bit_for_bit() {
    let trainer = |connected: &Connected, keeper: Keeper| {
        let trainer = connected.trainer(plain(), Architecture::Plain).micro_batches(4).add_on(keeper);
        trainer.validate(Every::Steps(2))
    };
    let finish = |connected: &Connected, from: Option<Arc<Snapshot>>| {
        let mut trainer = trainer(connected, Keeper("keeper", from));
        let run = trainer.run(3, eleven(), valid_data()).unwrap();
        assert_eq!(run.outcome, Outcome::Complete);
        bits_of(&mut trainer)
    };
    let whole = finish(&alone(Reduction::Reproducible), None);
    let cut = |connected: &Connected, from: Option<Arc<Snapshot>>, step| {
        let mut trainer = trainer(connected, Keeper("keeper", from)).add_on(stop_at(step)).continue_stopped();
        trainer.run(3, eleven(), valid_data()).unwrap();
        assert_eq!(trainer.progress().step(), step);
        let mut snapshot = (*trainer.snapshot().unwrap()).clone();
        snapshot.run.stopped = None;
        Arc::new(written(&snapshot))
    };
    // Rank 0 alone has the snapshot: the others get it.
    let mine = |rank: usize, snapshot: &Arc<Snapshot>| (rank == 0).then(|| snapshot.clone());
    for (first, second) in [(1, 4), (4, 5), (2, 7)] {
        let four = on_ranks(4, Reduction::Reproducible, |_, connected| cut(&connected, None, first)).swap_remove(0);
        let two = on_ranks(2, Reduction::Reproducible, |rank, connected| cut(&connected, mine(rank, &four), second));
        assert!(finish(&alone(Reduction::Reproducible), Some(two[0].clone())) == whole, "cut at {first} and {second}");
        let again = on_ranks(2, Reduction::Reproducible, |rank, connected| finish(&connected, mine(rank, &four)));
        assert!(again.iter().all(|rank| *rank == whole), "cut at {first}");
    }
}

#[test]
fn accumulation_is_per_process_and_stays_what_it_was() {
    let start = |connected: &Connected, accumulate, from: Option<Arc<Snapshot>>| {
        let trainer = connected.trainer(plain(), Architecture::Plain).accumulate(accumulate);
        let mut trainer = trainer.add_on(Keeper("keeper", from)).add_on(stop_at(2)).continue_stopped();
        trainer.run(1, eleven(), ())?;
        Ok::<_, Error>(trainer.snapshot().unwrap())
    };
    let two = on_ranks(2, Reduction::Fast, |_, connected| start(&connected, 2, None).unwrap()).swap_remove(0);
    assert_eq!((two.run.window, two.run.world_size, two.run.progress.micro_batch()), (4, 2, 8));
    let on_one = start(&alone(Reduction::Fast), 2, Some(two.clone())).unwrap();
    assert_eq!((on_one.run.window, on_one.run.progress.step()), (4, 3));
    fails(start(&alone(Reduction::Fast), 4, Some(two)), &["`.accumulate(2)`", "`.accumulate(4)`"]);
}

#[test]
fn what_cannot_be_shared_is_said_before_anything_is_done() {
    let new = |connected: &Connected| connected.trainer(plain(), Architecture::Plain);
    let run = |mut trainer: Trainer<Own>| trainer.run(1, eleven(), ());
    for error in on_ranks(3, Reduction::Fast, |_, connected| run(new(&connected).micro_batches(2))) {
        fails(error, &["3 processes are to share 2 micro-batches", "`.micro_batches(..)`"]);
    }
    for error in on_ranks(3, Reduction::Reproducible, |_, connected| run(new(&connected))) {
        fails(error, &["takes powers of two, not 3", "3 processes"]);
    }
    fails(run(new(&alone(Reduction::Fast)).micro_batches(2).accumulate(2)), &["leave one out"]);
    let differs = |rank, connected: &Connected| match rank {
        0 => new(connected),
        _ => new(connected).seed(12),
    };
    for error in on_ranks(2, Reduction::Fast, |rank, connected| run(differs(rank, &connected))) {
        fails(error, &["`seed` is 11 on rank 0 and 12 on rank 1"]);
    }
    let limited = |rank| eleven().limit(if rank == 0 { 4 } else { 5 });
    for error in on_ranks(2, Reduction::Fast, |rank, connected| new(&connected).run(1, limited(rank), ())) {
        fails(error, &["`limit` is 4 on rank 0 and 5 on rank 1", "same settings and data"]);
    }
    let two = alone(Reduction::Fast).trainer(plain(), Architecture::Plain);
    struct Second(Connect);
    impl AddOn for Second {
        fn name(&self) -> &'static str {
            "second"
        }
        fn parallel(&mut self, engine: &mut dyn Engine) -> Fallible<Option<Parallel>> {
            self.0.parallel(engine)
        }
    }
    fails(run(two.add_on(Second(Connect::new(None, Reduction::Fast, 2)))), &["`connect` and `second`", "install one"]);
}

#[test]
fn all_ranks_begin_with_the_weights_of_rank_0() {
    let ends = on_ranks(3, Reduction::Fast, |rank, connected| {
        let mut trainer = connected.trainer(plain(), Architecture::Full);
        // What this rank would have begun with is of another seed.
        let mut other = with_learner(plain(), learner(Architecture::Full)).seed(rank as u64);
        let own = other.state_dict().unwrap();
        trainer.load_state_dict(&own).unwrap();
        trainer.run(1, eleven(), ()).unwrap();
        parameters(&mut trainer)
    });
    assert!(ends[0] == ends[1] && ends[1] == ends[2]);
}

#[test]
fn a_rank_whose_weights_drift_is_found() {
    for result in on_ranks(2, Reduction::Fast, |rank, connected| {
        let drift = acting("drift", move |hook, cx| {
            if hook != "step_end" || cx.progress.step() != 3 || rank == 0 {
                return Ok(());
            }
            cx.engine.parameters(&mut |_, values| {
                values[0] += 1e-3;
                Ok(())
            })
        });
        connected.trainer(plain(), Architecture::Plain).add_on(drift).run(5, eleven(), ()).map(|_| ())
    }) {
        fails(result, &["the optimizer's update (epoch 0", "step 3", "is not the same on rank 1 as on rank 0"]);
    }
}

/// A task that fails on one rank, in a step or an evaluation.
fn failing(at: (Mode, u64), with: &'static str) -> Own {
    Own::new(move |model, batch, here| {
        if (here.mode, here.cursor.micro_batch) == at {
            assert!(with != "panic", "a bug");
            return Err(with.into());
        }
        step(model, batch)
    })
}

#[test]
fn the_error_of_one_rank_is_that_of_all() {
    for (at, words) in [((Mode::Train, 5), "train_step"), ((Mode::Evaluate, 1), "test_step")] {
        for with in ["boom", "panic"] {
            let results = on_ranks(3, Reduction::Fast, |_, connected| {
                let recorder = Recorder::new();
                let mut trainer =
                    connected.trainer(failing(at, with), Architecture::Plain).add_on(Everywhere(recorder.clone()));
                let error = trainer.run(2, eleven(), eleven()).unwrap_err();
                let told = recorder.get().error.clone();
                (error, told, recorder.get().rows.clone())
            });
            let word = if with == "boom" { "boom" } else { "a bug" };
            let remote = results.iter().filter(|(error, ..)| matches!(error, Error::Remote { .. })).count();
            assert_eq!(remote, 2);
            for (error, told, rows) in &results {
                fails(Err::<(), _>(Error::Misuse(error.to_string())), &[words, word]);
                assert_eq!(told.as_deref(), Some(error.to_string().as_str()));
                // The steps before are not lost, and are the same on all.
                assert_eq!(*rows, results[0].2);
                assert_eq!(rows.len(), if at.0 == Mode::Train { 1 } else { 4 });
            }
        }
    }
}

#[test]
fn an_add_on_that_fails_on_one_rank_fails_on_all() {
    for hook in
        ["run_start", "epoch_start", "gradients", "step_end", "rows", "pass", "evaluation_end", "epoch_end", "run_end"]
    {
        let results = on_ranks(2, Reduction::Fast, |rank, connected| {
            let bad = acting("bad", move |now, _| if rank == 1 && now == hook { Err("no".into()) } else { Ok(()) });
            connected.trainer(plain(), Architecture::Plain).add_on(bad).run(2, eleven(), valid_data()).map(|_| ())
        });
        for (rank, result) in results.into_iter().enumerate() {
            let text = fails(result, &["add-on `bad`", "no"]);
            assert_eq!(text.starts_with("rank 1: "), rank == 0, "{text}");
        }
    }
}

/// After an error that all ranks know, they are still together.
#[test]
fn ranks_go_on_together_after_an_error() {
    let all = on_ranks(2, Reduction::Fast, |_, connected| {
        let mut trainer = connected.trainer(failing((Mode::Evaluate, 0), "boom"), Architecture::Plain);
        fails(trainer.evaluate(eleven()), &["boom"]);
        fails(trainer.evaluate(eleven()), &["boom"]);
        trainer.run(1, eleven(), ()).unwrap();
        parameters(&mut trainer)
    });
    assert!(all[0] == all[1]);
}

#[test]
fn a_loss_that_is_not_finite_on_one_rank() {
    let spoil = |policy| {
        on_ranks(2, Reduction::Fast, move |_, connected| {
            let task = Own::new(|model, mut batch, at| {
                if at.mode == Mode::Train && at.cursor.micro_batch == 3 {
                    batch.inputs[0] = f32::INFINITY;
                }
                step(model, batch)
            });
            let recorder = Recorder::new();
            let trainer =
                connected.trainer(task, Architecture::Plain).on_non_finite(policy).add_on(Everywhere(recorder.clone()));
            let mut trainer = trainer;
            let result = trainer.run(1, eleven(), ());
            let rows = recorder.get().rows.len();
            (
                result.map(|run| run.history.epochs[0].metrics["train/loss"]),
                trainer.progress().skipped(),
                rows,
                parameters(&mut trainer),
            )
        })
    };
    let stopped = spoil(NonFinite::Stop);
    for (rank, (result, ..)) in stopped.iter().enumerate() {
        let text = result.as_ref().unwrap_err().to_string();
        assert!(text.contains("at epoch 0, micro-batch 2, step 1"), "{text}");
        assert_eq!(text.starts_with("rank 1: "), rank == 0, "{text}");
    }
    let skipped = spoil(NonFinite::SkipStep);
    let [(loss, one, rows, weights), (other_loss, _, _, other)] = &skipped[..] else { panic!() };
    assert_eq!((*one, *rows), (1, 6));
    assert!(loss.as_ref().unwrap().is_finite() && loss.as_ref().unwrap() == other_loss.as_ref().unwrap());
    assert!(weights == other);
}

#[test]
fn early_stopping_decides_the_same_everywhere() {
    let run = |connected: &Connected| {
        let stopping = EarlyStopping::new("valid/loss").patience(2).min_delta(10.0);
        let mut trainer = connected.trainer(plain(), Architecture::Plain).micro_batches(4).add_on(stopping);
        let run = trainer.run(20, eleven(), valid_data()).unwrap();
        (format!("{:?}", run.outcome), trainer.progress().step(), parameters(&mut trainer))
    };
    let one = run(&alone(Reduction::Reproducible));
    assert!(one.0.contains("Stopped"), "{}", one.0);
    for world_size in [2, 4] {
        assert!(
            on_ranks(world_size, Reduction::Reproducible, |_, connected| run(&connected))
                .iter()
                .all(|rank| *rank == one)
        );
    }
}

/// What only one rank knows (a clock, a server's stop button) holds for all at the same step.
#[test]
fn a_stop_that_one_rank_asks_for_stops_all() {
    for asks in [0, 1] {
        let ends = on_ranks(2, Reduction::Fast, |rank, connected| {
            let mut trainer = connected.trainer(plain(), Architecture::Plain);
            if rank == asks {
                trainer = trainer.add_on(stop_at(3));
            }
            let run = trainer.run(5, eleven(), ()).unwrap();
            (format!("{:?}", run.outcome), trainer.progress().step())
        });
        assert!(ends.iter().all(|end| *end == ("Stopped(\"enough\")".to_owned(), 3)), "{ends:?}");
    }
    let ends = on_ranks(2, Reduction::Fast, |_, connected| {
        let mut trainer = connected.trainer(plain(), Architecture::Plain);
        let run = trainer.run(Until::time(Duration::from_millis(20)), eleven(), ()).unwrap();
        (format!("{:?}", run.outcome), trainer.progress().step())
    });
    assert!(ends[0] == ends[1] && ends[0].0 == "OutOfTime", "{ends:?}");
}

#[test]
fn rank_0_saves_and_reports_for_all() {
    let lines = Lines::default();
    on_ranks(2, Reduction::Fast, |rank, connected| {
        let name = |kind: &str| format!("{kind}{rank}");
        let trainer = connected.trainer(plain(), Architecture::Plain).log_every(2).add_on((
            Log::new(&name("observes"), Phase::Observe, &lines),
            Log::new(&name("decides"), Phase::Decide, &lines),
            Log::new(&name("saves"), Phase::Persist, &lines).with_snapshots(),
            Log::new(&name("reports"), Phase::Report, &lines),
        ));
        let mut trainer = trainer;
        trainer.run(1, eleven(), valid_data()).unwrap();
        assert!(trainer.rank() == rank && trainer.world_size() == 2 && trainer.get::<Log>().is_some());
    });
    let lines = lines.lock().unwrap();
    let has = |who: &str, hook: &str| lines.iter().any(|line| *line == format!("{who}:{hook}"));
    for who in ["observes0", "observes1", "decides0", "decides1", "saves0", "reports0"] {
        assert!(has(who, "run_start") && has(who, "row 5") && has(who, "run_end"), "{who}");
    }
    assert!(has("saves0", "snapshot") && has("reports0", "snapshot"));
    assert!(!lines.iter().any(|line| line.starts_with("saves1") || line.starts_with("reports1")));
}

#[test]
fn an_asynchronous_device_is_read_by_all_ranks_together() {
    let run = |connected: &Connected, asynchronous: bool| {
        let recorder = Recorder::new();
        let learner =
            if asynchronous { support::asynchronous(Architecture::Plain) } else { learner(Architecture::Plain) };
        let trainer = connected.with(with_learner(plain(), learner)).micro_batches(4).log_every(3);
        let clip = zae_core::learner::Clip::Norm(0.5);
        let mut trainer = trainer.gradient_clip(clip).add_on(Everywhere(recorder.clone()));
        let run = trainer.run(3, eleven(), valid_data()).unwrap();
        let rows = recorder.get().rows.clone();
        (parameters(&mut trainer), rows, format!("{:?}", run.history.without_clock()))
    };
    let one = run(&alone(Reduction::Reproducible), false);
    assert!(on_ranks(2, Reduction::Reproducible, |_, connected| run(&connected, true)).iter().all(|rank| *rank == one));
}

#[test]
fn a_panic_of_the_engine_between_ranks_leaves_nobody_waiting() {
    let results = on_ranks(2, Reduction::Fast, |rank, connected| {
        let breaks = acting("breaks", move |hook, cx| {
            if hook == "step_end" && rank == 1 {
                cx.engine.parameters(&mut |_, _| panic!("a bug of the engine"))?;
            }
            Ok(())
        });
        connected.trainer(plain(), Architecture::Plain).add_on(breaks).run(1, eleven(), ()).map(|_| ())
    });
    for result in results {
        fails(result, &["a bug of the engine"]);
    }
}

#[test]
fn only_rank_0_needs_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let own = |rank: usize| folder.path().join(format!("rank-{rank}/run"));
    on_ranks(2, Reduction::Fast, |rank, connected| {
        connected.trainer(plain(), Architecture::Plain).run_dir(own(rank)).run(1, eleven(), ()).unwrap();
    });
    assert!(own(0).exists() && !own(1).exists());
}

#[test]
fn running_statistics_are_rank_0s_wherever_the_model_is_evaluated() {
    let all = on_ranks(3, Reduction::Fast, |_, connected| {
        let mut trainer = connected.trainer(plain(), Architecture::Full);
        trainer.run(2, eleven(), ()).unwrap();
        let before = weights(&mut trainer);
        trainer.evaluate(eleven()).unwrap();
        (before, weights(&mut trainer))
    });
    assert!(all[0].0 != all[1].0, "each rank sees its own batches");
    assert!(all.iter().all(|(_, after)| *after == all[0].0));
}

#[test]
fn a_batch_of_each_rank_is_one_step() {
    let batches = eleven();
    let whole = {
        let mut trainer = alone(Reduction::Fast).trainer(plain(), Architecture::Plain).micro_batches(2);
        trainer.run(Until::steps(2), eleven(), ()).unwrap();
        parameters(&mut trainer)
    };
    let all = on_ranks(2, Reduction::Fast, |rank, connected| {
        let mut trainer = connected.trainer(plain(), Architecture::Plain);
        let losses: Vec<f64> =
            (0..2).map(|i| trainer.run_batch(batches[2 * i + rank].clone()).unwrap()["train/loss"]).collect();
        (losses, parameters(&mut trainer))
    });
    assert_eq!(all[0].0, all[1].0);
    assert!(all.iter().all(|(_, ends)| close(ends, &whole)));
}

#[test]
fn a_rank_that_is_gone_is_not_waited_for() {
    let ranks = thread_ranks(2, Duration::from_millis(200));
    let mut trainer = Connected(Some(ranks[0].clone()), Reduction::Fast).trainer(plain(), Architecture::Plain);
    fails(trainer.run(1, eleven(), ()), &["rank 1 has not come within 200ms"]);
    // And it is said again, not waited for again.
    fails(trainer.run(1, eleven(), ()), &["lost before"]);
}

#[test]
fn ranks_that_do_different_things_are_told_so() {
    let results = on_ranks(2, Reduction::Fast, |rank, connected| {
        let mut trainer = connected.trainer(plain(), Architecture::Plain);
        trainer.run(1, eleven(), ()).unwrap();
        if rank == 0 { trainer.run(2, eleven(), ()).map(|_| ()) } else { trainer.run(1, eleven(), ()).map(|_| ()) }
    });
    for result in results {
        fails(result, &["on rank 0 and"]);
    }
}
