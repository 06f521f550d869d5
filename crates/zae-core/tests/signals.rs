//! Real signals, sent to this test binary started again as a child. It prints a line when it is where the signal is
//! wanted, and goes on when its own handler, the last in line, has seen it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use signal_hook::consts::{SIGINT, SIGTERM};
use support::{ranks::on_ranks, *};
use zae_core::{
    add_on::Moment,
    add_ons::Ema,
    error::Error,
    learner::{Dtype, Number, SavedTensor, StateDict},
    process_group::Reduction,
    snapshot::{RunState, Snapshot},
    state::State,
    task::{At, Mode},
    testing::{Recorder, reference::ReferenceLearner},
    trainer::{Outcome, Trainer, Until},
};

const EPOCHS: u64 = 3;

// ---- the child ----

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    write!(out, "\n{line}\n").unwrap();
    out.flush().unwrap();
}

/// Says that the signal may come, and returns when it has.
fn await_signal() {
    let seen = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, seen.clone()).unwrap();
    }
    say("READY");
    while !seen.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Stands still until the parent ends it.
fn stand() {
    say("READY");
    std::io::stdin().read_exact(&mut [0]).unwrap_or_default();
}

/// The usual task, which does something when it is at a place for the first time.
fn task(place: fn(&At) -> bool, first: fn()) -> Own {
    let been = AtomicBool::new(false);
    Own::new(move |model, batch, at| {
        if place(at) && !been.swap(true, Ordering::SeqCst) {
            first();
        }
        step(model, batch)
    })
}

/// The run of every test: accumulation, validation of an average, rows that wait on a device that works ahead.
fn set_up(task: Own, learner: ReferenceLearner) -> Trainer<Own> {
    with_learner(task, learner).accumulate(2).log_every(100).add_on(Ema::new(0.9))
}

fn in_train(at: &At) -> bool {
    at.mode == Mode::Train && at.cursor.epoch == 1 && at.cursor.micro_batch == 2
}

fn in_validation(at: &At) -> bool {
    at.mode == Mode::Evaluate && at.step == 6 && at.cursor.micro_batch == 1
}

fn anywhere(_: &At) -> bool {
    true
}

fn in_inference(at: &At) -> bool {
    at.mode == Mode::Predict && at.cursor.micro_batch == 1
}

/// Runs until the signal, and checks how the run ended. What it saved at its end goes to `dir`.
fn interrupted(mut trainer: Trainer<Own>, dir: &Path, signal: &'static str, step: u64) {
    let recorder = Recorder::new().with_snapshots();
    trainer = trainer.add_on(recorder.clone());
    // No minimum holds against a signal.
    let until = Until::epochs(EPOCHS).min_epochs(EPOCHS);
    let run = trainer.run(until, train_data(), valid_data()).unwrap();
    assert_eq!(run.outcome, Outcome::Interrupted { signal });
    assert_eq!(trainer.progress().step(), step);
    let recorded = recorder.get().clone();
    assert_eq!(recorded.hooks.last().unwrap(), "run_end");
    assert_eq!(recorded.rows.len() as u64, step, "no row is lost");
    let (moment, snapshot) = recorded.snapshots.last().unwrap();
    assert_eq!((*moment, snapshot.run.progress.step()), (Moment::Interrupted, step));
    save(snapshot, dir);
    // Whatever comes next in the program is refused at once.
    let refused = |result: Result<(), Error>| {
        assert!(matches!(&result, Err(Error::Interrupted { signal: s }) if *s == signal), "{result:?}");
    };
    refused(trainer.evaluate(valid_data()).map(drop));
    refused(trainer.inference(valid_data()).map(drop));
    refused(trainer.run_epoch(train_data()).map(drop));
    refused(trainer.run_batch(train_data().remove(0)).map(drop));
    let again = trainer.run(EPOCHS, train_data(), valid_data()).unwrap();
    assert_eq!((again.outcome, trainer.progress().step()), (Outcome::Interrupted { signal }, step));
}

/// Two ranks, of which one alone gets the signal, in its own micro-batch: both end at the same place.
fn on_two_ranks(place: fn(&At) -> bool) {
    let steps = on_ranks(2, Reduction::Fast, |rank, connected| {
        let own = if rank == 1 { task(place, await_signal) } else { plain() };
        let mut trainer = connected.with(set_up(own, learner(ARCHITECTURE))).handle_signals(rank == 1);
        let outcome = trainer.run(EPOCHS, train_data(), valid_data()).unwrap().outcome;
        assert_eq!(outcome, Outcome::Interrupted { signal: "SIGINT" });
        let refused = [
            trainer.evaluate(valid_data()).map(drop),
            trainer.inference(valid_data()).map(drop),
            trainer.run_epoch(train_data()).map(drop),
            trainer.run_batch(train_data().remove(rank)).map(drop),
        ];
        assert!(
            refused.iter().all(|result| matches!(result, Err(Error::Interrupted { signal: "SIGINT" }))),
            "{refused:?}"
        );
        let outcome = trainer.run(EPOCHS, train_data(), valid_data()).unwrap().outcome;
        assert_eq!(outcome, Outcome::Interrupted { signal: "SIGINT" });
        trainer.progress().step()
    });
    assert_eq!(steps[0], steps[1]);
}

fn scenario(name: &str, dir: &Path) {
    let new = |task, on| set_up(task, learner(ARCHITECTURE)).handle_signals(on);
    match name {
        "train" => interrupted(new(task(in_train, await_signal), true), dir, "SIGINT", 5),
        "train, SIGTERM" => interrupted(new(task(in_train, await_signal), true), dir, "SIGTERM", 5),
        "train, asynchronous" => {
            let trainer = set_up(task(in_train, await_signal), asynchronous(ARCHITECTURE)).handle_signals(true);
            interrupted(trainer, dir, "SIGINT", 5);
        }
        "validation" => interrupted(new(task(in_validation, await_signal), true), dir, "SIGINT", 6),
        "before" => {
            let mut trainer = new(task(anywhere, await_signal), true);
            assert!(matches!(trainer.evaluate(valid_data()), Err(Error::Interrupted { signal: "SIGINT" })));
            interrupted(trainer, dir, "SIGINT", 0);
        }
        "inference" => {
            let mut trainer = new(task(in_inference, await_signal), true);
            let error = trainer.inference(valid_data()).map(drop).unwrap_err();
            assert_eq!(error.to_string(), "interrupted by SIGTERM");
        }
        "second" => {
            let first = || {
                await_signal();
                stand();
            };
            new(task(in_train, first), true).run(EPOCHS, train_data(), valid_data()).unwrap();
        }
        "off" => drop(new(task(in_train, stand), false).run(EPOCHS, train_data(), valid_data()).unwrap()),
        "after" => {
            new(task(anywhere, || ()), true).run(EPOCHS, train_data(), valid_data()).unwrap();
            stand();
        }
        "ranks" => on_two_ranks(in_train),
        "ranks, validation" => on_two_ranks(|at| at.mode == Mode::Evaluate && at.cursor.micro_batch == 1),
        other => panic!("no scenario {other}"),
    }
}

#[test]
#[ignore = "the child of the other tests"]
fn child() {
    let (Ok(name), Ok(dir)) = (std::env::var("ZAE_SIGNALS_SCENARIO"), std::env::var("ZAE_SIGNALS_DIR")) else { return };
    scenario(&name, Path::new(&dir));
}

type Saved = (RunState, Vec<(String, Vec<usize>, Vec<u8>)>, BTreeMap<String, Number>);

fn save(snapshot: &Snapshot, dir: &Path) {
    let tensors = snapshot.learner.tensors.iter();
    let tensors: Vec<_> =
        tensors.map(|(name, t)| (name.clone(), t.shape.clone(), t.data.bytes().unwrap().into_owned())).collect();
    let state = State::encode(&(&snapshot.run, tensors, &snapshot.learner.numbers)).unwrap();
    std::fs::write(dir.join("snapshot"), state.0).unwrap();
}

// ---- the parent ----

fn load(dir: &Path) -> Snapshot {
    let (run, tensors, numbers): Saved = State(std::fs::read(dir.join("snapshot")).unwrap()).decode().unwrap();
    let tensor = |(name, shape, bytes)| (name, SavedTensor { dtype: Dtype::F32, shape, data: Arc::new(bytes) });
    Snapshot::new(
        run,
        StateDict { tensors: tensors.into_iter().map(tensor).collect(), numbers, ..StateDict::default() },
    )
}

/// A child at the place where it wants its signal.
struct AtPlace {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl AtPlace {
    fn start(scenario: &str, dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--ignored", "--nocapture"])
            .env("ZAE_SIGNALS_SCENARIO", scenario)
            .env("ZAE_SIGNALS_DIR", dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut at_place = Self { child, out };
        at_place.ready();
        at_place
    }

    /// Waits for the child's line.
    fn ready(&mut self) {
        let mut line = String::new();
        while line.trim_end() != "READY" {
            line.clear();
            assert!(self.out.read_line(&mut line).unwrap() > 0, "the child ended before it was ready");
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// How it ended. One that does not end is a failure, not a test that hangs.
    fn ended(mut self) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            if since.elapsed() > Duration::from_secs(60) {
                self.child.kill().unwrap();
                panic!("the child did not end");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Sends one signal and goes on, in this process, from what the child saved.
fn goes_on(scenario: &str, signal: &str, learner: fn() -> ReferenceLearner) {
    let dir = tempfile::tempdir().unwrap();
    let child = AtPlace::start(scenario, dir.path());
    child.signal(signal);
    let status = child.ended();
    assert!(status.success(), "the child of `{scenario}` ended with {status}");
    let mut whole = set_up(plain(), learner());
    whole.run(EPOCHS, train_data(), valid_data()).unwrap();
    let mut resumed = set_up(plain(), learner());
    resumed.restore(&load(dir.path())).unwrap();
    assert!(resumed.progress().step() < whole.progress().step() || scenario == "validation");
    assert_eq!(resumed.run(EPOCHS, train_data(), valid_data()).unwrap().outcome, Outcome::Complete);
    assert_eq!(bits_of(&mut resumed), bits_of(&mut whole));
}

#[test]
fn an_interrupt_in_training_saves_and_goes_on_exactly() {
    goes_on("train", "INT", || learner(ARCHITECTURE));
}

#[test]
fn a_termination_does_the_same() {
    goes_on("train, SIGTERM", "TERM", || learner(ARCHITECTURE));
}

#[test]
fn an_interrupt_on_an_asynchronous_device_loses_no_row() {
    goes_on("train, asynchronous", "INT", || asynchronous(ARCHITECTURE));
}

#[test]
fn an_interrupt_in_validation_leaves_it_due() {
    goes_on("validation", "INT", || learner(ARCHITECTURE));
}

#[test]
fn an_interrupt_before_a_run_leaves_all_of_it() {
    goes_on("before", "INT", || learner(ARCHITECTURE));
}

#[test]
fn an_interrupt_in_inference_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let child = AtPlace::start("inference", dir.path());
    child.signal("TERM");
    assert!(child.ended().success());
}

#[test]
fn an_interrupt_of_one_rank_is_that_of_all() {
    for scenario in ["ranks", "ranks, validation"] {
        let dir = tempfile::tempdir().unwrap();
        let child = AtPlace::start(scenario, dir.path());
        child.signal("INT");
        assert!(child.ended().success(), "{scenario}");
    }
}

#[test]
fn a_second_signal_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = AtPlace::start("second", dir.path());
    child.signal("INT");
    child.ready();
    child.signal("TERM");
    assert_eq!(child.ended().signal(), Some(SIGTERM));
}

#[test]
fn signals_that_are_not_handled_do_what_they_always_do() {
    // Not SIGINT for "off": a shell starts background jobs with it ignored, and nobody sets it back.
    for (scenario, name, number) in [("off", "TERM", SIGTERM), ("after", "TERM", SIGTERM), ("after", "INT", SIGINT)] {
        let dir = tempfile::tempdir().unwrap();
        let child = AtPlace::start(scenario, dir.path());
        child.signal(name);
        assert_eq!(child.ended().signal(), Some(number), "{scenario}");
    }
}
