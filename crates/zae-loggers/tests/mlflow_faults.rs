//! MLflow when everything goes wrong: servers that are away, hang, drip, lie or refuse, and a disk that is full. Whatever
//! happens, the training goes on, ends in time, and every entry is on the server once or in the spool.

#![cfg(all(feature = "mlflow", unix))]
#![allow(clippy::unwrap_used, clippy::panic)]

mod mlflow_mock;
mod server;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use mlflow_mock::Mock;
use serde_json::Value;
use server::{Answer, Asked, Server};
use tempfile::tempdir;
use zae_core::{
    data::{Loader, from_fn},
    testing::{
        Notices,
        null::{Echo, batches, loss, trainer},
    },
    trainer::Trainer,
};
use zae_loggers::{Histogram, LogHandle, MlflowLogger, Upload};

/// Nothing here takes so long by itself.
const LONG: Duration = Duration::from_secs(40);
const EPOCHS: u64 = 3;
const PER_EPOCH: u64 = 40;

fn logger(uri: &str) -> MlflowLogger {
    patient(uri, Duration::from_millis(500))
}

/// Waits so long for an answer.
fn patient(uri: &str, timeout: Duration) -> MlflowLogger {
    let upload = Upload::default()
        .every(Duration::from_millis(20))
        .retry(Duration::from_millis(20), Duration::from_millis(100))
        .timeout(timeout);
    MlflowLogger::new("digits").tracking_uri(uri).login("me", "s3cret").upload(upload)
}

fn of(dir: &Path, logger: MlflowLogger) -> Trainer<Echo> {
    trainer().run_dir(dir).handle_signals(false).add_on(logger)
}

#[track_caller]
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < LONG, "{what} does not happen");
        thread::yield_now();
    }
}

/// The usual batches; the training thread calls this before each.
fn watched(watch: impl Fn(u64) + Send + Sync + 'static) -> impl Loader<f64> {
    let watch = Arc::new(watch);
    from_fn(move |epoch| {
        let watch = watch.clone();
        (0..PER_EPOCH).map(move |i| {
            watch(epoch * PER_EPOCH + i);
            Ok(loss(epoch, i))
        })
    })
}

fn rows(dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("mlflow/spool.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["index"].is_u64()).collect()
}

/// The spool has each entry of a whole run once, in order.
#[track_caller]
fn assert_on_disk(dir: &Path) {
    let rows = rows(dir);
    assert_eq!(rows.len() as u64, EPOCHS * (PER_EPOCH + 2));
    assert!(rows.iter().enumerate().all(|(i, row)| row["index"] == i));
    let losses: Vec<_> =
        rows.iter().filter(|row| row["kind"] == "step").map(|row| &row["metrics"]["train/loss"]).collect();
    let expected = (0..EPOCHS).flat_map(|epoch| (0..PER_EPOCH).map(move |i| loss(epoch, i)));
    assert!(losses.into_iter().map(|own| own.as_f64().unwrap()).eq(expected));
}

/// The server has every point of the spool, once.
#[track_caller]
fn assert_there(mock: &Mock, dir: &Path) {
    let mut points: Vec<_> = rows(dir)
        .iter()
        .flat_map(|row| {
            let step = row["step"].as_u64().unwrap();
            let own = row["metrics"].as_object().unwrap().clone();
            own.into_iter().map(move |(name, value)| (name, step, value.to_string()))
        })
        .collect();
    points.sort();
    assert!(mock.points() == points, "{} points, not {}", mock.points().len(), points.len());
    assert_eq!((mock.status().as_str(), mock.lock().runs_made), ("FINISHED", 1));
}

/// A whole run against a server that never does what it should, which has been asked so often before the run's end. Then it
/// does, and the program is started again.
fn hopeless(first: &str, requests: u64, answer: Option<Answer>) {
    let (mock, count, is_well) = (Mock::new(Vec::new()), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (its, asked, well) = (mock.clone(), count.clone(), is_well.clone());
    let server = answer.map(|answer| {
        Server::start(move |request| {
            count.fetch_add(1, Ordering::SeqCst);
            if well.load(Ordering::SeqCst) > 0 { its.answer(request) } else { answer.clone() }
        })
    });
    let (dir, told) = (tempdir().unwrap(), Notices::default());
    let uri = server.as_ref().map_or_else(|| format!("http://{}", server::nobody()), Server::url);
    let data = watched(move |step| {
        if step == 60 {
            wait_for("a request", || asked.load(Ordering::SeqCst) >= requests);
        }
    });
    let since = Instant::now();
    // A server that answers is to be heard, however busy the machine is.
    let timeout = if first == "sent later" { Duration::from_millis(500) } else { LONG };
    let impatient = patient(&uri, timeout).finish_within(Duration::from_secs(1));
    of(dir.path(), impatient).add_on(told.clone()).run(EPOCHS, data, batches(3)).unwrap();
    assert!(since.elapsed() < LONG, "{first}");
    let warnings = told.warnings();
    assert!(warnings.len() == 2 && warnings[0].contains(first), "{first}: {warnings:?}");
    assert!(warnings[1].contains("mlflow::sync") && !warnings.concat().contains("s3cret"), "{warnings:?}");
    assert_on_disk(dir.path());
    if server.is_some() {
        is_well.store(1, Ordering::SeqCst);
        zae_loggers::mlflow::sync(dir.path().join("mlflow")).unwrap();
        assert_there(&mock, dir.path());
    }
}

#[test]
fn servers_that_fail_for_good() {
    let patience = vec![("Retry-After".to_owned(), "3000".to_owned())];
    let broken = Answer::Status(500, Vec::new(), "oh".to_owned());
    let servers = [
        ("sent later", 0, None),
        ("sent later", 2, Some(Answer::Nothing)),
        ("sent later", 2, Some(Answer::Drip)),
        ("sent later", 2, Some(Answer::Truncated)),
        ("not that of an MLflow server", 2, Some(Answer::Ok("<html>Log in to the hotel</html>".to_owned()))),
        ("has no `/experiment/experiment_id`", 2, Some(Answer::Ok("[]".to_owned()))),
        ("HTTP 500", 2, Some(broken)),
        ("HTTP 429", 1, Some(Answer::Status(429, patience, String::new()))),
        ("HTTP 401", 1, Some(Answer::Status(401, Vec::new(), "s3cret is wrong".to_owned()))),
    ];
    thread::scope(|scope| {
        for (first, requests, answer) in servers {
            scope.spawn(move || hopeless(first, requests, answer));
        }
    });
}

/// A whole run against a server that comes to its senses: `answer` gets how many requests came before.
fn hopeful(answer: impl Fn(u64, &Asked, &Mock) -> Answer + Send + Sync + 'static) -> Vec<String> {
    let (mock, count) = (Mock::new(Vec::new()), AtomicU64::new(0));
    let its = mock.clone();
    let server = Server::start(move |asked| answer(count.fetch_add(1, Ordering::SeqCst), asked, &its));
    let (dir, told) = (tempdir().unwrap(), Notices::default());
    // So that there are many requests.
    let slow = watched(|step| {
        if step.is_multiple_of(10) {
            thread::sleep(Duration::from_millis(20));
        }
    });
    of(dir.path(), logger(&server.url())).add_on(told.clone()).run(EPOCHS, slow, batches(3)).unwrap();
    assert_on_disk(dir.path());
    assert_there(&mock, dir.path());
    told.warnings()
}

#[test]
fn bursts_of_429_and_500_are_told_once() {
    let warnings = hopeful(|request, asked, mock| match request % 6 {
        1 | 2 => Answer::Status(500, Vec::new(), "oh".to_owned()),
        3 => Answer::Status(429, vec![("Retry-After".to_owned(), "0".to_owned())], String::new()),
        4 => Answer::Status(503, vec![("Retry-After".to_owned(), "in a while".to_owned())], String::new()),
        _ => mock.answer(asked),
    });
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

/// The server has done what it was asked for, and the client cannot know: all of it is there once, and so is the run.
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
    thread::scope(|scope| {
        for (way, lost) in ways {
            scope.spawn(move || {
                let warnings = hopeful(move |request, asked, mock| {
                    let answer = mock.answer(asked);
                    if request % 3 == 2 { lost() } else { answer }
                });
                assert!(warnings.len() <= 1, "{way}: {warnings:?}");
            });
        }
    });
}

// ---- a disk that is full ----

const DIR: &str = "ZAE_CHILD_DIR";
const URI: &str = "ZAE_CHILD_URI";
const STEPS: u64 = 20_000;

/// Does nothing unless this process is a child.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR).map(PathBuf::from) else { return };
    let (uri, told, told_in) = (std::env::var(URI).unwrap(), Notices::default(), dir.join("told"));
    let log = LogHandle::new();
    let mut trainer = of(&dir, logger(&uri).handle(&log)).add_on(told.clone());
    let data = from_fn(move |_| {
        let (log, spool) = (log.clone(), dir.join("mlflow/spool.jsonl"));
        (0..STEPS).map(move |i| {
            // A part is written while there is room, for a write is all or nothing.
            if i == 1500 {
                wait_for("a part of the spool", || fs::metadata(&spool).map_or(0, |file| file.len()) > 100_000);
            }
            if i.is_multiple_of(1000) {
                log.histogram("weights", Histogram::of([i as f64]));
            }
            Ok(i as f64)
        })
    });
    let run = trainer.run(1, data, ()).unwrap();
    assert_eq!(run.history.epochs[0].step, STEPS);
    drop(trainer);
    fs::write(told_in, told.warnings().join("\n")).unwrap();
}

#[test]
fn a_full_disk_costs_only_what_it_does_not_take() {
    let (mock, server) = mlflow_mock::start(Vec::new());
    let dir = tempdir().unwrap();
    // Files end at 500 KiB: with the signal ignored, writing fails as on a full disk.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    shell.args(["child", "--exact"]).env(DIR, dir.path()).env(URI, server.url());
    assert!(shell.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let told = fs::read_to_string(dir.path().join("told")).unwrap();
    assert_eq!(told.matches("cannot write").count(), 1, "{told}");
    let rows = rows(dir.path());
    // With the things that are shown, and the end of the epoch.
    let all = STEPS + STEPS / 1000 + 1;
    assert!(rows.len() > 1000 && (rows.len() as u64) < all);
    assert!(told.contains(&format!("has not taken {} entries", all - rows.len() as u64)), "{told}");
    assert!(rows.iter().enumerate().all(|(i, row)| row["index"] == i));
    // What is on disk is on the server, each step once. It may have some behind, of a write that the disk took back.
    let losses = rows.iter().filter(|row| row["kind"] == "step").map(|row| row["step"].as_u64().unwrap());
    let there: Vec<u64> = mock.points().iter().filter(|point| point.0 == "train/loss").map(|point| point.1).collect();
    assert_eq!(there, (0..there.len() as u64).collect::<Vec<_>>());
    assert!(losses.clone().all(|step| step < there.len() as u64) && losses.count() > 1000);
    assert_eq!(mock.lock().artifacts.len(), rows.iter().filter(|row| row["kind"] == "media").count());
}
