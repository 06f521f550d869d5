//! What could part ranks: where one of them fails, or does something else than the others, it ends the same on all.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::{path::Path, sync::Arc};

use support::{ranks::*, *};
use zae_core::{
    add_on::{AddOn, Context, Moment, Phase},
    data::from_fn,
    error::{Error, Fallible},
    process_group::Reduction,
    progress::ProgressChecker,
    schedule::ScheduleAt,
    snapshot::Snapshot,
    state::State,
    task::Mode,
    testing::Architecture,
    trainer::{Every, NonFinite, Trainer, Until},
};

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
