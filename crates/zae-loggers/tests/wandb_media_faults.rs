//! Servers of Weights & Biases that refuse files and alerts, or fail at them, and answers that never come: rows wait for none of
//! it, and people are told once.

#![cfg(feature = "wandb")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod server;
mod wandb_file;
mod wandb_runs;
mod wandb_server;
mod wandb_shown;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use server::{Answer, Asked, Server};
use tempfile::tempdir;
use wandb_runs::{EPOCHS, Notices, assert_on_disk, files_of, logger, of, wait_for, watched};
use wandb_server::Wandb;
use wandb_shown::{STEPS, assert_asides, assert_shown_there, json, trainer};
use zae_core::{testing::null::batches, trainer::Until};
use zae_loggers::{Level, Upload};

/// A server that treats files like this.
fn with(answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> (Wandb, Server) {
    let wandb = Wandb::default();
    let its = wandb.clone();
    (wandb, Server::start(move |asked| answer(asked).unwrap_or_else(|| its.answer(asked))))
}

fn has(asked: &Asked, text: &str) -> bool {
    String::from_utf8_lossy(&asked.body).contains(text)
}

/// Rows come as if there were no files, and people are told once.
#[test]
fn files_that_are_refused_stop_nothing_else() {
    let refused = |status| Some(Answer::Status(status, Vec::new(), "no room".to_owned()));
    let nowhere = |asked: &Asked| {
        let reply = r#"{"data": {"createRunFiles": {"runID": "x", "uploadHeaders": [], "files": []}}}"#;
        has(asked, "createRunFiles").then(|| Answer::Ok(reply.to_owned()))
    };
    let denied = |asked: &Asked| {
        has(asked, "createRunFiles").then(|| Answer::Ok(r#"{"errors": [{"message": "permission denied"}]}"#.to_owned()))
    };
    type Treats = Box<dyn Fn(&Asked) -> Option<Answer> + Send + Sync>;
    let servers: [(&str, Treats); 4] = [
        ("no room", Box::new(move |asked| if asked.method == "PUT" { refused(404) } else { None })),
        ("no room", Box::new(move |asked| if has(asked, "createRunFiles") { refused(403) } else { None })),
        ("no place", Box::new(nowhere)),
        ("permission denied", Box::new(denied)),
    ];
    for (why, treats) in servers {
        let (wandb, server) = with(treats);
        let dir = tempdir().unwrap();
        let (mut trainer, _, told) = trainer(dir.path(), logger(&server.url()));
        trainer.run(Until::steps(STEPS), batches(1000), ()).unwrap();
        let run = wandb.only_run();
        assert_eq!((run.lines.len() as u64, run.exit_code), (STEPS + 4 * STEPS.div_ceil(3), Some(0)));
        assert!(run.uploaded.is_empty());
        let warnings = told.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains(why), "{warnings:?}");
    }
}

#[test]
fn one_file_that_is_refused_is_told_once_and_the_others_are_there() {
    let (wandb, server) = with(|asked| {
        (asked.method == "PUT" && has(asked, "&lt;b&gt; 6<")).then(|| Answer::Status(404, Vec::new(), "odd".to_owned()))
    });
    let dir = tempdir().unwrap();
    let (mut trainer, _, told) = trainer(dir.path(), logger(&server.url()));
    trainer.run(Until::steps(STEPS), batches(1000), ()).unwrap();
    let run = wandb.only_run();
    // Those of the run, and three for each third step.
    assert_eq!(run.files.len() as u64, 3 + 3 * STEPS.div_ceil(3) - 1);
    let warnings = told.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("html") && warnings[0].contains("odd"), "{warnings:?}");
}

/// A storage that is down when a run ends, and back when it goes on.
#[test]
fn a_storage_that_fails_is_waited_for_while_rows_come() {
    let down = Arc::new(AtomicBool::new(true));
    let its = down.clone();
    let (wandb, server) = with(move |asked| {
        (asked.method == "PUT" && its.load(Ordering::SeqCst)).then(|| Answer::Status(500, Vec::new(), String::new()))
    });
    let dir = tempdir().unwrap();
    // Time enough for the rows, and not so many attempts that a file is given up.
    let upload = Upload::default().every(Duration::from_millis(20)).retry(Duration::from_millis(100), Duration::MAX);
    let logger = logger(&server.url()).upload(upload).finish_within(Duration::from_secs(2));
    let (mut first, _, told) = trainer(dir.path(), logger);
    first.run(Until::steps(STEPS), batches(1000), ()).unwrap();
    let run = wandb.only_run();
    assert_eq!((run.lines.len() as u64, run.exit_code), (STEPS + 4 * STEPS.div_ceil(3), Some(0)));
    let warnings = told.warnings();
    assert!(warnings.last().unwrap().contains("wandb sync"), "{warnings:?}");
    // The rest has the files, and no row.
    let rest = files_of(dir.path()).1.unwrap();
    assert_eq!(wandb_file::lines(&rest), Vec::<Value>::new());
    let folder = rest.parent().unwrap().join("files/media");
    assert!(folder.join("images/samples").is_dir() && folder.join("table").is_dir());
    let snapshot = first.snapshot().unwrap();
    drop(first);
    down.store(false, Ordering::SeqCst);
    let (mut second, _, told) = trainer(dir.path(), wandb_runs::logger(&server.url()));
    second.restore(&snapshot).unwrap();
    second.run(Until::steps(STEPS + 6), batches(1000), ()).unwrap();
    assert_eq!(told.warnings(), Vec::<String>::new());
    assert_shown_there(&wandb.only_run(), STEPS + 6);
    assert_asides(&wandb.only_run(), &files_of(dir.path()).0);
}

/// The server has files and has not been told so: the next process does.
#[test]
fn a_server_that_dies_between_a_file_and_the_word_that_it_is_there() {
    let dead = Arc::new(AtomicBool::new(true));
    let its = dead.clone();
    let (wandb, server) =
        with(move |asked| (has(asked, "\"uploaded\":") && its.load(Ordering::SeqCst)).then_some(Answer::Nothing));
    let dir = tempdir().unwrap();
    let logger = logger(&server.url()).finish_within(Duration::from_secs(2));
    let (mut first, ..) = trainer(dir.path(), logger);
    first.run(Until::steps(STEPS), batches(1000), ()).unwrap();
    assert!(!wandb.only_run().files.is_empty() && wandb.only_run().uploaded.is_empty());
    let snapshot = first.snapshot().unwrap();
    drop(first);
    dead.store(false, Ordering::SeqCst);
    let (mut second, _, told) = trainer(dir.path(), wandb_runs::logger(&server.url()));
    second.restore(&snapshot).unwrap();
    second.run(Until::steps(STEPS + 3), batches(1000), ()).unwrap();
    assert_eq!(told.warnings(), Vec::<String>::new());
    assert_shown_there(&wandb.only_run(), STEPS + 3);
    assert_asides(&wandb.only_run(), &files_of(dir.path()).0);
}

#[test]
fn an_alert_that_is_refused_is_told_once() {
    let (wandb, server) = with(|asked| {
        has(asked, "notifyScriptableRunAlert").then(|| Answer::Status(500, Vec::new(), "no mail".to_owned()))
    });
    let dir = tempdir().unwrap();
    let (mut trainer, log, told) = trainer(dir.path(), logger(&server.url()));
    log.alert(Level::Error, "a", "b");
    log.alert(Level::Error, "c", "d");
    trainer.run(Until::steps(STEPS), batches(1000), ()).unwrap();
    assert_shown_there(&wandb.only_run(), STEPS);
    assert_eq!(wandb.only_run().exit_code, Some(0));
    let warnings = told.warnings();
    assert_eq!(warnings.iter().filter(|text| text.contains("an alert was not sent")).count(), 1, "{warnings:?}");
}

/// A server of one's own that keeps the files itself.
#[test]
fn files_go_to_addresses_of_the_server_itself() {
    let its = Wandb::default();
    let wandb = its.clone();
    let put = Arc::new(Mutex::new(Vec::new()));
    let seen = put.clone();
    let server = Server::start(move |asked| {
        if asked.method == "PUT" {
            seen.lock().unwrap().push((asked.path.clone(), asked.header("authorization").is_some()));
            return Answer::Ok(String::new());
        }
        if !has(asked, "createRunFiles") {
            return its.answer(asked);
        }
        let files = json(&String::from_utf8_lossy(&asked.body))["variables"]["files"].as_array().unwrap().clone();
        let file = |name: &Value| serde_json::json!({"name": name, "uploadUrl": "/own/file"});
        let files: Vec<Value> = files.iter().map(file).collect();
        let reply = serde_json::json!({"data": {"createRunFiles": {"uploadHeaders": [], "files": files}}});
        Answer::Ok(reply.to_string())
    });
    let dir = tempdir().unwrap();
    let (mut trainer, _, told) = trainer(dir.path(), logger(&server.url()));
    trainer.run(Until::steps(2), batches(100), ()).unwrap();
    assert_eq!(told.warnings(), Vec::<String>::new());
    let put = put.lock().unwrap();
    assert!(put.len() == 6 && put.iter().all(|(path, has_key)| path == "/own/file" && *has_key), "{put:?}");
    assert_eq!(wandb.only_run().uploaded.len(), 6);
}

/// Nobody knows whether the server has them, and `wandb sync` does not ask: people are told.
#[test]
fn an_answer_that_never_comes_is_told_with_what_it_means() {
    let wandb = Wandb::default();
    let its = wandb.clone();
    let server = Server::start(move |asked| {
        let answer = its.answer(asked);
        if asked.path.ends_with("file_stream") { Answer::Nothing } else { answer }
    });
    let dir = tempdir().unwrap();
    let told = Notices::default();
    let lines = move || wandb.0.lock().unwrap().runs.values().next().map_or(0, |run| run.lines.len());
    let data = watched(move |step| {
        if step == 60 {
            wait_for("a line", || lines() > 0);
        }
    });
    let logger = logger(&server.url()).finish_within(Duration::from_millis(200));
    of(dir.path(), logger).add_on(told.clone()).run(EPOCHS, data, batches(3)).unwrap();
    let last = told.warnings().pop().unwrap();
    assert!(last.contains("wandb sync '") && last.contains("would be there twice"), "{last}");
    assert_on_disk(dir.path(), 0);
}
