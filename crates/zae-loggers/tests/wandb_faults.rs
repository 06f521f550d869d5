//! Weights & Biases when everything goes wrong: servers that are away, hang, lie or forget, and values that are none. (Disks
//! that are full and programs that are killed: `wandb_kill.rs`.) Whatever happens, the training goes on, ends in time, and every entry is on the server once or on disk.

#![cfg(feature = "wandb")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod server;
mod wandb_file;
mod wandb_runs;
mod wandb_server;

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use server::{Answer, Asked, Server};
use tempfile::tempdir;
use wandb_runs::{
    EPOCHS, LINES, LONG, Notices, assert_on_disk, assert_whole, files_of, logger, of, run, wait_for, watched,
};
use wandb_server::Wandb;
use zae_core::{
    add_on::{AddOn, Context},
    data::from_fn,
    error::Fallible,
    metrics::Evaluation,
    testing::null::{batches, loss},
    trainer::Run,
};
use zae_loggers::Upload;

const SHORT: Duration = Duration::from_millis(200);
const KEY: &str = "0123456789abcdef0123456789abcdef01234567";

#[track_caller]
fn assert_told_with_the_fix(told: &Notices, first: &str) {
    let warnings = told.warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains(first), "{warnings:?}");
    assert!(warnings[1].contains("wandb sync '") && warnings[1].contains("offline-run-"), "{warnings:?}");
    assert!(!format!("{warnings:?}").contains(&KEY[..12]), "{warnings:?}");
}

/// A whole run against a server that never does what it should, which has been asked so often before the run's end.
fn hopeless(first: &str, requests: u64, server: Option<Server>) -> (tempfile::TempDir, Option<Server>) {
    let dir = tempdir().unwrap();
    let told = Notices::default();
    let url = server.as_ref().map_or_else(|| format!("http://{}", server::nobody()), Server::url);
    let asked = server.as_ref().map(|server| server.requests.clone());
    let data = watched(move |step| {
        if let (60, Some(asked)) = (step, &asked) {
            wait_for("a request", || asked.load(Ordering::SeqCst) >= requests);
        }
    });
    let since = Instant::now();
    let logger = logger(&url).finish_within(Duration::from_secs(1));
    of(dir.path(), logger).add_on(told.clone()).run(EPOCHS, data, batches(3)).unwrap();
    assert!(since.elapsed() < LONG);
    assert_told_with_the_fix(&told, first);
    assert_on_disk(dir.path(), 0);
    (dir, server)
}

/// A whole run against a server that comes to its senses: `answer` gets how many requests came before.
fn hopeful(answer: impl Fn(u64, &Asked, &Wandb) -> Answer + Send + Sync + 'static) -> Vec<String> {
    let (wandb, count) = (Wandb::default(), AtomicU64::new(0));
    let its = wandb.clone();
    let server = Server::start(move |asked| answer(count.fetch_add(1, Ordering::SeqCst), asked, &its));
    let dir = tempdir().unwrap();
    let told = Notices::default();
    run(&mut of(dir.path(), logger(&server.url())).add_on(told.clone()));
    assert_whole(&wandb.only_run(), EPOCHS);
    assert_eq!(wandb.only_run().exit_code, Some(0));
    assert_on_disk(dir.path(), LINES);
    told.warnings()
}

// ---- servers ----

#[test]
fn a_server_that_is_never_there() {
    hopeless("sent later", 0, None);
}

#[test]
fn a_server_that_never_answers_is_waited_for_by_nobody() {
    let asked = Arc::new(AtomicU64::new(0));
    let (count, its) = (asked.clone(), asked.clone());
    let server = Server::start(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Answer::Nothing
    });
    let dir = tempdir().unwrap();
    let told = Notices::default();
    let upload = Upload::default().timeout(LONG * 10);
    let logger = logger(&server.url()).upload(upload).finish_within(SHORT);
    // All steps but the first few are made while one and the same request hangs.
    let data = watched(move |step| {
        if step == 5 {
            wait_for("a request", || its.load(Ordering::SeqCst) == 1);
        }
    });
    of(dir.path(), logger).add_on(told.clone()).run(EPOCHS, data, batches(3)).unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let warnings = told.warnings();
    assert!(
        warnings.len() == 1 && warnings[0].contains("has not answered yet") && warnings[0].contains("wandb sync '")
    );
    assert_on_disk(dir.path(), 0);
}

#[test]
fn servers_that_fail_for_good() {
    let patience = || vec![("Retry-After".to_owned(), "3000".to_owned())];
    let page = || Answer::Ok("<html>Log in to the hotel</html>".to_owned());
    let servers = [
        ("sent later", 2, Server::start(|_| Answer::Nothing)),
        ("sent later", 2, Server::start(|_| Answer::Drip)),
        ("sent later", 2, Server::start(|_| Answer::Truncated)),
        ("not JSON", 2, Server::start(move |_| page())),
        ("HTTP 500", 2, Server::start(|_| Answer::Status(500, Vec::new(), "oh".to_owned()))),
        ("HTTP 429", 1, Server::start(move |_| Answer::Status(429, patience(), String::new()))),
    ];
    std::thread::scope(|scope| {
        for (first, requests, server) in servers {
            scope.spawn(move || hopeless(first, requests, Some(server)));
        }
    });
}

#[test]
fn a_wrong_key_is_told_once_without_the_key_and_nothing_is_asked_again() {
    let echo = |asked: &Asked| {
        let told = asked.header("authorization").unwrap().to_owned();
        Answer::Status(401, Vec::new(), format!("no such key {KEY} in {told}"))
    };
    let (dir, server) = hopeless("WANDB_API_KEY", 1, Some(Server::start(echo)));
    assert_eq!(server.unwrap().requests.load(Ordering::SeqCst), 1);
    for (path, bytes) in all_files(dir.path()) {
        assert!(!String::from_utf8_lossy(&bytes).contains(&KEY[..12]), "{path}");
    }
}

#[test]
fn an_error_in_a_reply_that_claims_to_be_one_is_told_on_one_line_without_the_key() {
    let server = Server::start(|asked| {
        let message =
            format!("permission denied\nfor {KEY} {} {}", asked.header("authorization").unwrap(), "x".repeat(5000));
        Answer::Ok(serde_json::json!({"errors": [{"message": message}]}).to_string())
    });
    let dir = tempdir().unwrap();
    let told = Notices::default();
    run(&mut of(dir.path(), logger(&server.url())).add_on(told.clone()));
    let warnings = told.warnings();
    assert!(warnings[0].contains("permission denied for [redacted] Basic [redacted]"), "{warnings:?}");
    assert!(warnings.iter().all(|text| text.len() < 1000 && !text.contains('\n')), "{warnings:?}");
}

fn all_files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            all.extend(all_files(&entry));
        } else {
            all.push((entry.display().to_string(), fs::read(&entry).unwrap()));
        }
    }
    all
}

#[test]
fn a_server_that_dies_in_the_middle_and_returns() {
    let wandb = Wandb::default();
    let answers = wandb.clone();
    let server = Server::start(move |asked| answers.answer(asked));
    let (address, url) = (server.address, server.url());
    let server = Arc::new(Mutex::new(Some(server)));
    let (its, seen) = (server.clone(), wandb.clone());
    let lines = move || seen.0.lock().unwrap().runs.values().next().map_or(0, |run| run.lines.len());
    let answers = wandb.clone();
    let data = watched(move |step| match step {
        30 => {
            wait_for("the first line", || lines() > 0);
            its.lock().unwrap().take();
        }
        90 => {
            let answers = answers.clone();
            *its.lock().unwrap() = Some(Server::start_on(address, move |asked| answers.answer(asked)));
        }
        _ => {}
    });
    let dir = tempdir().unwrap();
    let told = Notices::default();
    of(dir.path(), logger(&url)).add_on(told.clone()).run(EPOCHS, data, batches(3)).unwrap();
    assert_whole(&wandb.only_run(), EPOCHS);
    assert!(told.warnings().len() <= 1, "{:?}", told.warnings());
    assert_on_disk(dir.path(), LINES);
}

#[test]
fn bursts_of_429_and_500_are_told_once() {
    let warnings = hopeful(|request, asked, wandb| match request % 6 {
        1 | 2 => Answer::Status(500, Vec::new(), "oh".to_owned()),
        3 => Answer::Status(429, vec![("Retry-After".to_owned(), "0".to_owned())], String::new()),
        4 => Answer::Status(503, vec![("Retry-After".to_owned(), "in a while".to_owned())], String::new()),
        _ => wandb.answer(asked),
    });
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

#[test]
fn a_server_that_wants_to_be_left_alone_is() {
    let asked_at = Arc::new(Mutex::new(Vec::new()));
    let its = asked_at.clone();
    hopeful(move |request, asked, wandb| {
        its.lock().unwrap().push(Instant::now());
        match request {
            0 => Answer::Status(429, vec![("Retry-After".to_owned(), "1".to_owned())], String::new()),
            _ => wandb.answer(asked),
        }
    });
    // The end of the run is announced meanwhile, after which one attempt is made; it succeeds here.
    assert!(asked_at.lock().unwrap().len() > 1);
}

/// The server has taken each request, and the client cannot know: the same lines come again as the same lines, or the server
/// of these tests complains.
#[test]
fn an_answer_that_is_lost() {
    type Lost = fn() -> Answer;
    let ways: [(&str, Lost); 5] = [
        ("truncated", || Answer::Truncated),
        ("drip", || Answer::Drip),
        ("none", || Answer::Nothing),
        ("no JSON", || Answer::Ok("<html>".to_owned())),
        ("500", || Answer::Status(500, Vec::new(), String::new())),
    ];
    std::thread::scope(|scope| {
        for (way, lost) in ways {
            scope.spawn(move || {
                let warnings = hopeful(move |request, asked, wandb| {
                    let answer = wandb.answer(asked);
                    if request % 3 == 2 { lost() } else { answer }
                });
                assert!(warnings.len() <= 1, "{way}: {warnings:?}");
            });
        }
    });
}

// ---- values ----

/// Many metrics, of names that depend on the step.
struct Wide {
    metrics: usize,
    name: fn(u64, usize) -> String,
}

impl zae_core::task::Task for Wide {
    type Learner = zae_core::testing::null::Null;
    type Batch = f64;
    fn train_step(&self, (): &(), batch: f64, at: &zae_core::task::At) -> zae_core::task::StepResult<Self> {
        let step = zae_core::step::Step::new(batch, 1);
        Ok((0..self.metrics).fold(step, |step, i| step.metric((self.name)(at.step, i), batch + i as f64)))
    }
    fn test_step(&self, model: &(), batch: f64, at: &zae_core::task::At) -> zae_core::task::StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

/// Runs one epoch; returns the lines of server and file, which are the same.
fn wide(task: Wide, steps: u64) -> Vec<Value> {
    let (wandb, server) = wandb_runs::wandb();
    let dir = tempdir().unwrap();
    let told = Notices::default();
    let mut trainer = zae_core::trainer::Trainer::new(task, zae_core::testing::null::Null::default())
        .scheduler(1e-3)
        .run_dir(dir.path())
        .handle_signals(false)
        .add_on((logger(&server.url()), told.clone()));
    trainer.run(1, batches(steps), ()).unwrap();
    assert_eq!(told.warnings(), Vec::<String>::new());
    let lines: Vec<Value> = wandb.only_run().lines.values().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines == wandb_file::lines(&files_of(dir.path()).0));
    lines
}

/// Tells a logger of many metrics at the end of a run: the trainer itself takes its time over so many.
struct Many(zae_loggers::wandb::WandbLogger);

impl AddOn for Many {
    fn name(&self) -> &'static str {
        "many"
    }
    fn on_run_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.0.on_run_start(cx)
    }
    fn on_run_end(&mut self, run: &Run, cx: &mut Context<'_>) -> Fallible {
        for i in 0..50u32 {
            let mut evaluation = Evaluation::default();
            evaluation.metrics =
                (0..2000).map(|k| (format!("test/metric_{}", i * 2000 + k), f64::from(i) + 1.0 / 3.0)).collect();
            self.0.on_evaluation_end(&evaluation, cx)?;
        }
        self.0.on_run_end(run, cx)
    }
    fn finish(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.0.finish(cx)
    }
}

#[test]
fn a_hundred_thousand_keys() {
    let (wandb, server) = wandb_runs::wandb();
    let dir = tempdir().unwrap();
    let told = Notices::default();
    let mut trainer = zae_core::testing::null::trainer().run_dir(dir.path()).handle_signals(false);
    trainer = trainer.add_on((Many(logger(&server.url()).upload(Upload::default())), told.clone()));
    trainer.run(1, batches(3), ()).unwrap();
    assert_eq!(told.warnings(), Vec::<String>::new());
    let run = wandb.only_run();
    assert_eq!((run.lines.len(), run.exit_code), (50, Some(0)));
    for (i, line) in &run.lines {
        let line: Value = serde_json::from_str(line).unwrap();
        let keys = line.as_object().unwrap().keys().filter(|key| key.starts_with("test/")).count();
        assert_eq!((keys, &line[format!("test/metric_{}", i * 2000)]), (2000, &(*i as f64 + 1.0 / 3.0).into()));
    }
    let summary: Value = serde_json::from_str(&run.summary).unwrap();
    assert!(summary.as_object().unwrap().len() >= 200_000);
}

#[test]
fn keys_of_any_letters() {
    const NAMES: [&str; 6] = ["потеря", "損失", "é/\u{301}", "\"q\" \\ \u{1}\n", "🦀", "\u{202e}rtl"];
    let lines = wide(Wide { metrics: NAMES.len(), name: |_, i| NAMES[i].to_owned() }, 3);
    for (i, name) in NAMES.into_iter().enumerate() {
        assert_eq!(lines[1][format!("train/{name}")], loss(0, 1) + i as f64);
    }
}

#[test]
fn nan_and_infinities_arrive_as_what_they_are() {
    let (wandb, server) = wandb_runs::wandb();
    let dir = tempdir().unwrap();
    let values = [0.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, 5e-324, -0.0];
    let data = from_fn(move |_| values.map(Ok));
    of(dir.path(), logger(&server.url())).on_non_finite(zae_core::trainer::NonFinite::Ignore).run(1, data, ()).unwrap();
    let lines = wandb.only_run().lines;
    for (i, text) in
        ["0.5", "NaN", "Infinity", "-Infinity", "1.7976931348623157e+308", "5e-324", "-0.0"].into_iter().enumerate()
    {
        let line = &lines[&(i as u64)];
        assert!(line.contains(&format!("\"train/loss\":{text},")), "{line}");
    }
    assert!(wandb.only_run().summary.contains("\"train/loss\":-0.0"));
    assert_eq!(wandb_file::lines(&files_of(dir.path()).0).len(), 8);
}

/// As fast as the trainer can: more than ten thousand a second.
#[test]
fn a_flood_of_rows() {
    const STEPS: u64 = 60_000;
    let (wandb, server) = wandb_runs::wandb();
    let dir = tempdir().unwrap();
    let told = Notices::default();
    of(dir.path(), logger(&server.url())).add_on(told.clone()).run(1, batches(STEPS), ()).unwrap();
    let lines = wandb.only_run().lines;
    assert_eq!((lines.len() as u64, told.warnings().len()), (STEPS + 1, 0));
    for (step, line) in lines.values().take(STEPS as usize).enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (line["_step"].as_f64(), line["train/loss"].as_f64()),
            (Some(step as f64), Some(loss(0, step as u64)))
        );
    }
    assert_eq!(wandb_file::lines(&files_of(dir.path()).0).len() as u64, STEPS + 1);
}
