//! The Neptune logger with a server that behaves as badly as servers do.
#![cfg(feature = "neptune")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod neptune_runs;
mod neptune_server;

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use neptune_runs::*;
use neptune_server::{
    MICRO, Neptune, SECRET, Shown, Value, drain,
    server::{Answer, Server, nobody},
    token,
};
use tempfile::tempdir;
use zae_core::{
    data::from_fn,
    testing::null::{batches, loss},
};
use zae_loggers::{LogHandle, NeptuneLogger, Upload};

const MILLI: Duration = Duration::from_millis(1);
/// In no test a run takes as long.
const LONG: Duration = Duration::from_secs(30);

fn online(url: &str) -> NeptuneLogger {
    let upload = Upload::default().every(10 * MILLI).retry(5 * MILLI, 50 * MILLI).timeout(400 * MILLI);
    logger().api_token(&token(url)).online().upload(upload).finish_within(LONG)
}

fn operations(dir: &Path) -> i64 {
    let connection = rusqlite::Connection::open(database(dir)).unwrap();
    let count = |table| connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
    let submissions: i64 = count("run_operation_submission");
    assert!(submissions <= 1);
    count("run_operations")
}

/// How many files are not in the storage.
fn files(dir: &Path) -> i64 {
    let connection = rusqlite::Connection::open(database(dir)).unwrap();
    let count = connection.query_row("SELECT count(*) FROM file_upload_requests", [], |row| row.get(0)).unwrap();
    assert_eq!(fs::read_dir(folder(dir).join("files")).map_or(0, Iterator::count) as i64, count);
    count
}

/// The server has all of the run, and the database nothing.
#[track_caller]
fn assert_sent(dir: &Path, neptune: &Neptune) {
    assert_sent_with(dir, neptune, Vec::new());
}

/// And more that was seen.
#[track_caller]
fn assert_sent_with(dir: &Path, neptune: &Neptune, seen: Vec<(u64, Shown)>) {
    let run = neptune.run();
    assert_eq!(run.series, expected(dir));
    assert_eq!(run.attributes["run/status"], Value::Text("finished".into()));
    assert_eq!((operations(dir), files(dir)), (0, 0));
    let steps = run.series["train/loss"].len() as u64;
    let in_epoch = if steps == 400 { 20 } else { 5 };
    let mut looks = expected_shown(steps / in_epoch, in_epoch);
    looks.get_mut("valid/seen").unwrap().extend(seen);
    looks.get_mut("valid/seen").unwrap().sort_by_key(|(step, _)| *step);
    assert_eq!(shown(&run), looks);
}

/// The server has what the database has not.
#[track_caller]
fn assert_kept(dir: &Path, neptune: &Neptune) {
    drain(&database(dir), neptune);
    let run = neptune.run();
    assert_eq!(run.series, expected(dir));
    assert_eq!(run.attributes["run/status"], Value::Text("finished".into()));
    assert_eq!(shown(&run), expected_shown(EPOCHS, 5));
}

fn assert_secret(notices: &Notices) {
    let all = notices.with("");
    assert!(
        !all.iter().any(|text| text.contains(SECRET) || text.contains("eyJ") || text.contains("Bearer")),
        "{all:?}"
    );
}

#[test]
fn a_server_gets_all_of_a_run_once() {
    let dir = tempdir().unwrap();
    let neptune = Neptune::default();
    let server = neptune.start();
    let notices = Notices::default();
    let mut trainer = trainer(dir.path(), online(&server.url())).add_on(notices.clone());
    run(&mut trainer, EPOCHS);
    assert_sent(dir.path(), &neptune);
    assert_eq!(neptune.run().created, 1);
    // It goes on when it was ended.
    trainer.evaluate(batches(2)).unwrap();
    run(&mut trainer, EPOCHS + 1);
    drop(trainer);
    let seen = |batch| (15 * MICRO + 3 + batch, Shown::Text(format!("batch {batch} after step 15")));
    assert_sent_with(dir.path(), &neptune, vec![seen(0), seen(1)]);
    let seen = neptune.seen();
    assert_eq!((seen.duplicates, seen.unauthorised), (0, 0));
    // One for each time that it was opened.
    assert_eq!(seen.keys, 3);
    assert_eq!(notices.with("Warning").len() + notices.with("2026-03-05").len(), 0, "{:?}", notices.with(""));
    assert_secret(&notices);
}

#[test]
fn a_run_from_an_older_checkpoint_sends_nothing_again() {
    let dir = tempdir().unwrap();
    let neptune = Neptune::default();
    let server = neptune.start();
    run(&mut trainer(dir.path(), online(&server.url())), 2);
    remove_newest_checkpoints(dir.path(), 3);
    run(&mut trainer(dir.path(), online(&server.url())), EPOCHS);
    assert_sent(dir.path(), &neptune);
    assert_eq!(neptune.run().series["train/loss"].len(), 15);
    assert_eq!((neptune.run().created, neptune.seen().duplicates), (1, 0));
}

fn status(status: u16, headers: &[(&str, &str)]) -> Answer {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Answer::Status(status, headers, format!("the key {SECRET} is of no use"))
}

/// Each kind of failure in each request: exchange, begin, check, values.
#[test]
fn what_goes_wrong_is_tried_again_until_all_is_there() {
    let busy = || status(429, &[("Retry-After", "0")]);
    type Fault = fn() -> Answer;
    let faults: [(&str, Fault); 8] = [
        ("500", || status(500, &[])),
        ("503", || status(503, &[("Retry-After", "0")])),
        ("429", || status(429, &[])),
        ("truncated", || Answer::Truncated),
        ("black hole", || Answer::Nothing),
        ("slow loris", || Answer::Drip),
        ("no Neptune", || Answer::Ok("<html>the proxy's login</html>".into())),
        ("empty", || Answer::Ok(String::new())),
    ];
    thread::scope(|scope| {
        for (name, fault) in faults {
            scope.spawn(move || {
                for at in 0..6 {
                    let dir = tempdir().unwrap();
                    let neptune = Neptune::default();
                    neptune.fail((0..at).map(|_| None));
                    // The second time the request counts, and only the reply is lost.
                    neptune.fail([Some((busy(), false)), Some((fault(), false)), Some((fault(), true))]);
                    let server = neptune.start();
                    let notices = Notices::default();
                    run(&mut trainer(dir.path(), online(&server.url())).add_on(notices.clone()), 1);
                    assert!(neptune.seen().faults.is_empty(), "{name} {at}");
                    assert_sent(dir.path(), &neptune);
                    // Told once, and that it is sent later.
                    assert_eq!(notices.with("is sent later").len(), 1, "{name} {at}: {:?}", notices.with(""));
                    assert_secret(&notices);
                }
            });
        }
    });
}

#[test]
fn a_token_that_ends_is_exchanged_anew() {
    let dir = tempdir().unwrap();
    let neptune = Neptune::default();
    neptune.fail([None, None, None, None, Some((status(401, &[]), false))]);
    let server = neptune.start();
    let notices = Notices::default();
    run(&mut trainer(dir.path(), online(&server.url())).add_on(notices.clone()), 1);
    assert_sent(dir.path(), &neptune);
    assert_eq!((neptune.seen().keys, notices.with("Warning").len()), (2, 0));
}

#[test]
fn a_wrong_key_is_told_once_and_asked_with_once() {
    let dir = tempdir().unwrap();
    let neptune = Neptune::default();
    let server = neptune.start();
    let notices = Notices::default();
    // Of another address, so that the server does not know it.
    let url = server.url().replace("127.0.0.1", "localhost");
    let wrong = token(&format!("{url}/"));
    run(&mut trainer(dir.path(), online(&url).api_token(&wrong)).add_on(notices.clone()), EPOCHS);
    assert_eq!(notices.with("401").len(), 2, "{:?}", notices.with(""));
    assert_eq!((notices.with("nothing more is sent").len(), notices.with("neptune sync").len()), (1, 1));
    assert_eq!(neptune.seen().ingested, 0);
    assert_eq!(server.requests.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert_kept(dir.path(), &neptune);
    assert_secret(&notices);
}

fn hopeless(url: &str, neptune: &Neptune) {
    let dir = tempdir().unwrap();
    let notices = Notices::default();
    let begun = Instant::now();
    let logger = online(url).finish_within(300 * MILLI);
    run(&mut trainer(dir.path(), logger).add_on(notices.clone()), EPOCHS);
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    let told = notices.with("neptune sync");
    assert!(told.len() == 1 && told[0].contains("run_operations.sqlite3"), "{:?}", notices.with(""));
    // On a slow machine the end comes before the first request has failed.
    assert!(notices.with("is sent later").len() <= 1, "{:?}", notices.with(""));
    assert_secret(&notices);
    assert!(operations(dir.path()) > 15);
    assert_kept(dir.path(), neptune);
}

#[test]
fn a_server_that_is_not_there_costs_the_deadline_and_nothing_else() {
    hopeless(&format!("http://{}", nobody()), &Neptune::default());
}

#[test]
fn a_black_hole_costs_the_deadline_and_nothing_else() {
    let hole = Server::start(|_| Answer::Nothing);
    hopeless(&hole.url(), &Neptune::default());
}

#[test]
fn what_a_dead_server_has_not_got_is_sent_when_the_run_goes_on() {
    let dir = tempdir().unwrap();
    let address = nobody();
    let url = format!("http://{address}");
    run(&mut trainer(dir.path(), online(&url).finish_within(Duration::ZERO)), 2);
    let neptune = Neptune::default();
    let _server = neptune.start_on(address);
    run(&mut trainer(dir.path(), online(&url)), EPOCHS);
    assert_sent(dir.path(), &neptune);
    assert_eq!(neptune.seen().duplicates, 0);
}

#[test]
fn a_server_that_dies_and_returns_has_all_in_the_end() {
    let dir = tempdir().unwrap();
    let neptune = Neptune::default();
    let server = neptune.start();
    let (address, url): (SocketAddr, _) = (server.address, server.url());
    let server = Arc::new(Mutex::new(Some(server)));
    let (its, seen) = (server.clone(), neptune.clone());
    // In the midst of the second epoch it dies, in the midst of the third it is back.
    let data = from_fn(move |epoch| {
        let (its, seen) = (its.clone(), seen.clone());
        (0..5).map(move |i| {
            if (epoch, i) == (1, 2) {
                let until = Instant::now() + LONG;
                while seen.seen().runs.values().all(|run| run.series.is_empty()) {
                    assert!(Instant::now() < until);
                    thread::yield_now();
                }
                *its.lock().unwrap() = None;
            }
            if (epoch, i) == (2, 2) {
                *its.lock().unwrap() = Some(seen.start_on(address));
            }
            Ok(loss(epoch, i))
        })
    });
    trainer(dir.path(), online(&url)).run(EPOCHS, data, batches(3)).unwrap();
    assert_sent(dir.path(), &neptune);
    drop(server);
}

#[test]
fn values_that_the_server_refuses_are_told_once_and_the_rest_arrives() {
    let dir = tempdir().unwrap();
    let neptune = Neptune::default();
    neptune.seen().refuses_nan = true;
    let server = neptune.start();
    let notices = Notices::default();
    run(&mut trainer(dir.path(), online(&server.url())).add_on(notices.clone()), EPOCHS);
    let mut expected = expected(dir.path());
    expected.retain(|_, points| points.iter().all(|(_, bits)| f64::from_bits(*bits).is_finite()));
    let mut series = neptune.run().series;
    series.retain(|_, points| !points.is_empty());
    assert_eq!(series, expected);
    assert_eq!(notices.with("FLOAT_VALUE_NAN_INF_UNSUPPORTED").len(), 1, "{:?}", notices.with(""));
    assert_eq!(operations(dir.path()), 0);
}

// ---- files ----

/// Long enough for all storages to take it in parts.
fn long_file(dir: &Path) -> (PathBuf, Vec<u8>) {
    let content: Vec<u8> = (0..20u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let path = dir.join("model.bin");
    fs::write(&path, &content).unwrap();
    (path, content)
}

#[test]
fn each_kind_of_storage_has_files_of_any_length() {
    for provider in ["gcp", "azure", "aws", "aws-parts"] {
        let dir = tempdir().unwrap();
        let neptune = Neptune::default();
        neptune.seen().provider = provider;
        let server = neptune.start();
        let (path, content) = long_file(dir.path());
        let empty = dir.path().join("empty.txt");
        fs::write(&empty, "").unwrap();
        let log = LogHandle::new();
        let notices = Notices::default();
        let mut trainer = telling_trainer(dir.path(), online(&server.url()), log.clone()).add_on(notices.clone());
        log.file(path);
        log.file(empty);
        run(&mut trainer, 2);
        drop(trainer);
        assert_sent(dir.path(), &neptune);
        let run = neptune.run();
        let file = |mime: &str, content| Value::File(Shown::File { mime: mime.into(), content });
        assert!(run.attributes["files/model.bin"] == file("application/octet-stream", content), "{provider}");
        assert_eq!(run.attributes["files/empty.txt"], file("text/plain", Vec::new()), "{provider}");
        assert_eq!(notices.with("Warning"), Vec::<String>::new(), "{provider}");
        assert_secret(&notices);
    }
}

#[test]
fn a_file_that_the_storage_refuses_is_kept_and_told_and_all_others_are_uploaded() {
    let dir = tempdir().unwrap();
    let neptune = Neptune::default();
    neptune.seen().refuses_file = Some("predictions");
    let server = neptune.start();
    let notices = Notices::default();
    run(&mut trainer(dir.path(), online(&server.url())).add_on(notices.clone()), 2);
    // At the steps 0, 4 and 8.
    assert_eq!((operations(dir.path()), files(dir.path())), (0, 3));
    let told = notices.with("3 files are not uploaded");
    assert!(told.len() == 2 && told[1].contains("neptune sync"), "{:?}", notices.with(""));
    assert_eq!(notices.with("a file is not uploaded").len(), 1);
    assert_secret(&notices);
    // When it takes them they come, as the run goes on.
    neptune.seen().refuses_file = None;
    run(&mut trainer(dir.path(), online(&server.url())), EPOCHS);
    assert_sent(dir.path(), &neptune);
}

// ---- processes that are killed ----

const DIR: &str = "ZAE_NEPTUNE_DIR";
const URL: &str = "ZAE_NEPTUNE_URL";

/// Does nothing unless this process is the child.
#[test]
fn child() {
    let Some(dir) = env::var_os(DIR).map(PathBuf::from) else { return };
    let mut trainer = trainer(&dir, online(&env::var(URL).unwrap()));
    trainer.run(20, batches(20), batches(3)).unwrap();
    fs::write(dir.join("done"), "").unwrap();
}

#[test]
fn killed_at_any_moment_the_server_has_every_step_once() {
    let dir = tempdir().unwrap();
    let neptune = Neptune::default();
    let server = neptune.start();
    let mut kills = 0;
    while !dir.path().join("done").exists() {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["child", "--exact"]).env(DIR, dir.path()).env(URL, server.url());
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if kills < 10 {
            // Long enough to get on, but the first time, which ends before there is a checkpoint or not.
            thread::sleep(Duration::from_millis(60 + 41 * (kills % 5)));
            child.kill().unwrap();
            kills += 1;
        }
        child.wait().unwrap();
    }
    assert!(kills > 3, "{kills}");
    assert_sent(dir.path(), &neptune);
    assert_eq!(neptune.run().series["train/loss"].len(), 400);
    let all = fs::read_dir(folder(dir.path())).unwrap().map(|file| file.unwrap().path());
    for file in all.filter(|path| path.is_file()) {
        let bytes = fs::read(file).unwrap();
        for secret in [SECRET, &token(&server.url())[..20], "eyJhbGciOi"] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        }
    }
}
