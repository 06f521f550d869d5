//! What could part ranks: each way in which one of them does something else than the others ends the same on all.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::{path::Path, sync::Arc};

use support::{ranks::*, *};
use zae_core::{
    add_on::{AddOn, Context, Moment, Phase},
    add_ons::EarlyStopping,
    data::from_fn,
    error::{Error, Fallible},
    process_group::Reduction,
    progress::ProgressChecker,
    schedule::{ReduceOnPlateau, ScheduleAt},
    snapshot::Snapshot,
    state::State,
    step::Step,
    task::Mode,
    testing::{Architecture, Recorder, reference::Batch},
    trainer::{Every, NonFinite, Trainer, Until},
};

/// Fails or spoils a batch of a training step, but only once.
fn once(at: u64, act: impl Fn(&mut Batch) -> Fallible + 'static) -> Own {
    let been = std::cell::Cell::new(false);
    Own::new(move |model, mut batch, here| {
        if here.mode == Mode::Train && here.cursor.micro_batch == at && !been.replace(true) {
            act(&mut batch)?;
        }
        step(model, batch)
    })
}

fn spoil(batch: &mut Batch) -> Fallible {
    batch.inputs[0] = f32::INFINITY;
    Ok(())
}

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

#[test]
fn what_fails_last_is_told_before_anybody_leaves() {
    for asks in [0, 1] {
        let results = on_ranks(2, Reduction::Fast, |rank, connected| {
            let bad =
                acting("bad", move |now, _| if rank == asks && now == "finish" { Err("no".into()) } else { Ok(()) });
            let mut trainer = connected.trainer(plain(), Architecture::Plain).add_on(bad);
            let ran = trainer.run(1, eleven(), ()).map(|_| ());
            (ran, trainer.evaluate(eleven()).map(|_| ()))
        });
        for (ran, evaluated) in results {
            fails(ran, &["add-on `bad`", "no"]);
            fails(evaluated, &["add-on `bad`", "no"]);
        }
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

/// Refuses what it is to take back, on one rank.
struct Refuses(bool);

impl AddOn for Refuses {
    fn name(&self) -> &'static str {
        "refuses"
    }
    fn state(&self) -> Fallible<Option<State>> {
        Ok(Some(State(vec![1])))
    }
    fn restore(&mut self, _: &State) -> Fallible {
        if self.0 { Err("not mine".into()) } else { Ok(()) }
    }
}

#[test]
fn a_resume_that_fails_on_one_rank_fails_on_all() {
    let saved = {
        let trainer = alone(Reduction::Fast).trainer(plain(), Architecture::Plain).micro_batches(2);
        let mut trainer = trainer.add_on(Refuses(false));
        trainer.run(Until::steps(2), eleven(), ()).unwrap();
        trainer.snapshot().unwrap()
    };
    for bad in [0, 1] {
        let results = on_ranks(2, Reduction::Fast, |rank, connected| {
            let keeper = Keeper("keeper", Some(saved.clone()));
            let mut trainer = connected.trainer(plain(), Architecture::Plain).add_on((keeper, Refuses(rank == bad)));
            [trainer.resume(), trainer.resume(), trainer.run(1, eleven(), ()).map(|_| ())]
        });
        for result in results.into_iter().flatten() {
            fails(result, &["add-on `refuses`: not mine"]);
        }
    }
}

/// Ranks that are set up or called differently before they know each other are told so.
#[test]
fn ranks_that_begin_differently_are_told_so() {
    let saved = {
        let mut trainer = alone(Reduction::Fast).trainer(plain(), Architecture::Plain).micro_batches(2);
        trainer.run(Until::steps(2), eleven(), ()).unwrap();
        trainer.snapshot().unwrap()
    };
    type Begin<'a> = &'a (dyn Fn(Trainer<Own>) -> Result<(), Error> + Sync);
    let run = |mut trainer: Trainer<Own>| trainer.run(1, eleven(), ()).map(|_| ());
    let cases: [(&[&str], Begin<'_>); 7] = [
        (&["`.accumulate(0)`"], &|trainer| run(trainer.accumulate(0))),
        (&["is at", "another rank is not"], &|trainer| run(trainer.fresh())),
        (&["is at", "another rank is not"], &|mut trainer| trainer.evaluate(eleven()).map(|_| ())),
        (&["is at", "another rank is not"], &|mut trainer| {
            trainer.restore(&saved)?;
            run(trainer)
        }),
        (&["is at", "another rank is not"], &|mut trainer| trainer.run_batch(eleven().remove(0)).map(|_| ())),
        (&["is at", "another rank is not"], &|mut trainer| {
            trainer.resume()?;
            trainer.evaluate(eleven()).map(|_| ())
        }),
        (&["on rank 0 and"], &|trainer| run(trainer.validate(Every::Never))),
    ];
    for (words, begin) in cases {
        for differs in [0, 1] {
            let results = on_ranks(2, Reduction::Fast, |rank, connected| {
                let trainer = connected.trainer(plain(), Architecture::Plain);
                if rank == differs { begin(trainer) } else { run(trainer) }
            });
            for result in results {
                fails(result, words);
            }
        }
    }
    let results = on_ranks(2, Reduction::Fast, |rank, Connected(group, _)| {
        let reduction = if rank == 0 { Reduction::Fast } else { Reduction::Reproducible };
        run(Connected(group, reduction).trainer(plain(), Architecture::Plain))
    });
    for result in results {
        fails(result, &["`reduction` is Fast on rank 0 and Reproducible on rank 1"]);
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

/// A loader must give the same batches everywhere; one that does not is found.
#[test]
fn loaders_of_different_lengths_are_found() {
    let loader = |batches: usize| from_fn(move |_| eleven().into_iter().take(batches).map(Ok));
    for (first, second) in [(5, 6), (6, 5), (4, 5), (5, 4)] {
        let results = on_ranks(2, Reduction::Fast, |rank, connected| {
            let batches = if rank == 0 { first } else { second };
            let new = || connected.trainer(plain(), Architecture::Plain).micro_batches(4);
            let ran = new().run(1, loader(batches), ()).map(|_| ());
            (ran, new().evaluate(loader(batches)).map(|_| ()))
        });
        for (ran, evaluated) in results {
            fails(ran, &["another rank is not", "same settings and data"]);
            fails(evaluated, &["another rank is not", "same settings and data"]);
        }
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

#[test]
fn a_loader_that_fails_on_one_rank_fails_on_all() {
    for (at, start) in [(0, false), (5, false), (10, false), (0, true)] {
        let results = on_ranks(2, Reduction::Fast, |rank, connected| {
            let loader = from_fn(move |_| {
                assert!(!start || rank == 0, "no disk");
                (0..)
                    .zip(eleven())
                    .map(move |(i, batch)| if i == at && rank == 1 { Err("torn".into()) } else { Ok(batch) })
            });
            let mut trainer = connected.trainer(plain(), Architecture::Plain).micro_batches(4);
            let evaluated = trainer.evaluate(&loader).map(|_| ());
            [evaluated, trainer.run(1, &loader, ()).map(|_| ()), trainer.run(1, eleven(), ()).map(|_| ())]
        });
        for [evaluated, ran, again] in results {
            fails(evaluated, &[if start { "no disk" } else { "torn" }]);
            fails(ran, &[if start { "no disk" } else { "torn" }]);
            again.unwrap();
        }
    }
}

/// What one rank's add-on does in a hook.
fn do_it(action: &str, cx: &mut Context<'_>) -> Fallible {
    match action {
        "stop" => cx.requests.stop("enough"),
        "snapshot" => cx.requests.snapshot(),
        "fail" => return Err("boom".into()),
        _ => panic!("boom"),
    }
    Ok(())
}

/// Makes one call after another, and says what came of each, without the rank that failed.
fn all_calls(mut trainer: Trainer<Own>, rank: usize) -> (Vec<String>, Vec<Vec<u8>>) {
    fn text(result: Result<String, Error>) -> String {
        let Err(error) = result else { return result.unwrap() };
        let text = error.to_string();
        ["rank 0: ", "rank 1: "].iter().find_map(|rank| text.strip_prefix(rank)).unwrap_or(&text).to_owned()
    }
    let mut told = vec![text(trainer.evaluate(eleven()).map(|e| format!("{:?}", e.metrics)))];
    for until in [1, 2] {
        told.push(text(trainer.run(until, eleven(), valid_data()).map(|run| format!("{:?}", run.outcome))));
    }
    told.push(text(trainer.run_epoch(eleven()).map(|epoch| format!("{:?}", epoch.metrics))));
    for batch in eleven().chunks_exact(2).map(|pair| pair[rank].clone()) {
        told.push(text(trainer.run_batch(batch).map(|metrics| format!("{metrics:?}"))));
    }
    told.push(text(trainer.inference(eleven()).map(|all| format!("{all:?}"))));
    told.push(text(trainer.inference_shard(eleven()).map(|own| format!("{}", own.len() / 4))));
    told.push(text(trainer.run(5, eleven(), ()).map(|run| format!("{:?}", run.history.without_clock()))));
    told.push(trainer.progress().step().to_string());
    (told, parameters(&mut trainer))
}

/// Whatever one rank's add-on does in whatever hook of whatever call: all ranks come back with the same, and what comes next is
/// the same on all.
#[test]
fn ranks_stay_together_whatever_one_of_them_does() {
    let per_run = ["run_start", "run_end"];
    let hooks =
        ["epoch_start", "step_end", "rows", "pass", "evaluation_end", "epoch_end", "finish", "snapshot", "error"];
    let policies = [(1, false, NonFinite::Stop), (0, true, NonFinite::Stop), (1, true, NonFinite::SkipStep)];
    for hook in per_run.into_iter().chain(hooks) {
        for action in ["stop", "snapshot", "fail", "panic"] {
            for (acts, asynchronous, policy) in policies {
                let all = on_ranks(2, Reduction::Fast, |rank, connected| {
                    let mut calls = 0;
                    let acts = acting("acts", move |now, cx| {
                        if rank != acts || now != hook {
                            return Ok(());
                        }
                        calls += 1;
                        let now = per_run.contains(&hook) || calls % 3 == 2;
                        if now { do_it(action, cx) } else { Ok(()) }
                    });
                    let spoilt = Own::new(|model, mut batch, at| {
                        if at.mode == Mode::Train && at.cursor.epoch == 1 && at.cursor.micro_batch == 5 {
                            spoil(&mut batch)?;
                        }
                        step(model, batch)
                    });
                    let learner = if asynchronous {
                        support::asynchronous(Architecture::Full)
                    } else {
                        learner(Architecture::Full)
                    };
                    let saves = Log::new("saves", Phase::Persist, &Lines::default()).with_snapshots();
                    let trainer = connected.with(with_learner(spoilt, learner)).log_every(2).on_non_finite(policy);
                    all_calls(trainer.continue_stopped().add_on((acts, saves)), rank)
                });
                let what = format!("{hook} {action} {acts} {asynchronous} {policy:?}");
                assert_eq!(all[0].0, all[1].0, "{what}");
                assert!(all[0].1 == all[1].1, "{what}: other weights");
                let apart = |text: &String| {
                    ["has not come", "given up", "lost", "another rank"].iter().any(|word| text.contains(word))
                };
                assert!(!all[0].0.iter().any(apart), "{what}: {:?}", all[0].0);
            }
        }
    }
}

/// From the sum of the gradients to the next word, one rank may fail where the others make their step: they cannot go on, and
/// each call says so.
#[test]
fn ranks_that_have_parted_within_a_step_are_told_so() {
    for action in ["fail", "panic"] {
        let all = on_ranks(2, Reduction::Fast, |rank, connected| {
            let acts = acting("acts", move |hook, cx| {
                let now = hook == "gradients" && rank == 1 && cx.progress.step() == 1;
                if now { do_it(action, cx) } else { Ok(()) }
            });
            all_calls(connected.trainer(plain(), Architecture::Plain).add_on(acts), rank).0
        });
        for told in all {
            assert!(told[1].contains("boom"), "{}", told[1]);
            for text in &told[2..told.len() - 1] {
                assert!(text.contains("another rank is not") && text.contains("new trainers"), "{text}");
            }
        }
    }
}

/// Fails outside of its hooks, on one rank.
struct Outside(&'static str, bool);

impl Outside {
    fn at(&self, place: &str) -> Fallible {
        if self.1 && self.0 == place { Err("boom".into()) } else { Ok(()) }
    }
}

impl AddOn for Outside {
    fn name(&self) -> &'static str {
        "outside"
    }
    fn claim(&mut self, _: Option<&Path>) -> Fallible {
        self.at("claim")
    }
    fn latest(&mut self, _: Option<&Path>) -> Fallible<Option<Arc<Snapshot>>> {
        self.at("latest").map(|()| None)
    }
    fn state(&self) -> Fallible<Option<State>> {
        self.at("state").map(|()| None)
    }
    fn wants_snapshot(&self, _: Moment, progress: &ProgressChecker) -> bool {
        assert!(!self.1 || self.0 != "wants" || progress.step() != 2, "boom");
        self.0 == "state"
    }
}

#[test]
fn what_fails_outside_of_the_hooks_fails_on_all() {
    let places =
        [("claim", 1), ("latest", 0), ("latest", 1), ("state", 0), ("wants", 0), ("wants", 1), ("schedule", 1)];
    for (place, rank_that_fails) in places {
        for result in on_ranks(2, Reduction::Fast, |rank, connected| {
            let fails = rank == rank_that_fails;
            let trainer = connected.trainer(plain(), Architecture::Plain).add_on(Outside(place, fails));
            let lr = move |at: &ScheduleAt| {
                assert!(!fails || place != "schedule" || at.step != 3, "boom");
                0.01
            };
            trainer.scheduler(lr).run(1, eleven(), ())
        }) {
            fails(result, &["boom"]);
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
