//! What W&B's own programs make of our files. They need `ZAE_PYTHON`: `cargo xtask loggers` sets it.

#![cfg(feature = "wandb")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod interpreter;
mod server;
mod wandb_server;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use interpreter::{output, python, script};
use serde_json::Value;
use server::{Answer, Server};
use tempfile::tempdir;
use wandb_server::{RunThere, Wandb};
use zae_core::{
    data::from_fn,
    testing::null::{Echo, batches, loss, trainer},
    trainer::{NonFinite, Trainer},
};
use zae_loggers::{
    Upload,
    wandb::{Mode, WandbLogger},
};

const KEY: &str = "0123456789abcdef0123456789abcdef01234567";

fn start() -> (Wandb, Server) {
    let wandb = Wandb::default();
    let answers = wandb.clone();
    (wandb, Server::start(move |asked| answers.answer(asked)))
}

fn offline(dir: &Path, logger: WandbLogger) -> Trainer<Echo> {
    trainer().run_dir(dir).handle_signals(false).add_on(logger.mode(Mode::Offline))
}

/// The folder of the only run.
fn folder(dir: &Path) -> PathBuf {
    let mut folders = fs::read_dir(dir.join("wandb")).unwrap().map(|entry| entry.unwrap().path());
    folders.find(|path| path.is_dir()).unwrap()
}

fn file(dir: &Path) -> PathBuf {
    let mut files = fs::read_dir(folder(dir)).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|end| end == "wandb")).unwrap()
}

/// Uploads it with W&B's own program.
fn sync(server: &Server, folder: &Path) -> String {
    let mut command = python();
    command.args(["-m", "wandb", "sync"]).arg(folder);
    output(command.env("WANDB_BASE_URL", server.url()).env("WANDB_API_KEY", KEY).env("HOME", folder))
}

/// Each line of three epochs once, in order, and the end.
fn assert_whole(run: &RunThere) {
    let lines: Vec<Value> = run.lines.values().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3 * 42);
    for (i, line) in lines.iter().enumerate() {
        assert_eq!(line["_step"].as_f64(), Some(i as f64));
        let (epoch, within) = (i as u64 / 42, i as u64 % 42);
        if within < 40 {
            assert_eq!(line["train/loss"].as_f64(), Some(loss(epoch, within)));
        }
    }
    assert_eq!(run.exit_code, Some(0));
}

#[test]
#[ignore = "needs ZAE_PYTHON with wandb"]
fn wandb_sync_uploads_our_file_whole() {
    let (wandb, server) = start();
    let dir = tempdir().unwrap();
    let logger = WandbLogger::new("digits").name("first").group("g").tags(["a", "b"]).notes("n");
    offline(dir.path(), logger).run(3, batches(40), batches(3)).unwrap();
    sync(&server, &folder(dir.path()));
    let run = wandb.only_run();
    assert_whole(&run);
    let summary: Value = serde_json::from_str(&run.summary).unwrap();
    assert_eq!(summary["train/loss"].as_f64(), Some(loss(2, 39)));
    assert_eq!(summary["valid/loss.best"], summary["valid/loss"]);
    assert_eq!((&run.upsert["displayName"], &run.upsert["tags"][1]), (&"first".into(), &"b".into()));
    let config: Value = serde_json::from_str(run.upsert["config"].as_str().unwrap()).unwrap();
    assert_eq!(config["trainer"]["value"]["engine"], "null");
    let marker = format!("{}.synced", file(dir.path()).display());
    assert!(Path::new(&marker).exists(), "wandb did not find the file whole");
}

#[test]
#[ignore = "needs ZAE_PYTHON with wandb"]
fn their_messages_read_ours_without_a_rest() {
    let dir = tempdir().unwrap();
    offline(dir.path(), WandbLogger::new("digits")).run(2, batches(500), batches(3)).unwrap();
    let mut command = python();
    let text = output(command.arg(script("wandb_read.py")).arg(file(dir.path())));
    let records: Vec<Value> = serde_json::from_str(&text).unwrap();
    let kinds: Vec<&str> = records.iter().map(|record| record["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds[..5], ["header", "run", "metric", "metric", "environment"]);
    assert_eq!(kinds[kinds.len() - 4..], ["summary", "files", "files", "exit"]);
    assert_eq!(kinds.iter().filter(|kind| **kind == "history").count(), 2 * 502);
    assert!(records.iter().zip(1..).all(|(record, number)| record["num"].as_u64() == Some(number)));
}

/// A run that is uploaded, goes on from a checkpoint and is uploaded again: what the server has is not sent twice.
#[test]
#[ignore = "needs ZAE_PYTHON with wandb"]
fn a_run_that_was_synced_goes_on_in_a_file_of_its_own() {
    let (wandb, server) = start();
    let dir = tempdir().unwrap();
    let with = || {
        let manager = zae_checkpoint::StateManager::new().every_steps(30);
        offline(dir.path(), WandbLogger::new("digits")).add_on(manager)
    };
    let broken = from_fn(|epoch| {
        (0..40).map(move |i| if (epoch, i) == (1, 33) { Err("a tear".into()) } else { Ok(loss(epoch, i)) })
    });
    with().run(3, &broken, batches(3)).unwrap_err();
    let first = folder(dir.path());
    sync(&server, &first);
    assert_eq!(wandb.only_run().lines.len(), 42 + 33);
    with().run(3, batches(40), batches(3)).unwrap();
    let mut folders: Vec<_> = fs::read_dir(dir.path().join("wandb")).unwrap().map(|e| e.unwrap().path()).collect();
    folders.retain(|path| *path != first);
    assert_eq!(folders.len(), 1);
    sync(&server, &folders[0]);
    let run = wandb.only_run();
    assert_whole(&run);
}

/// What the server did not get when the run ended.
#[test]
#[ignore = "needs ZAE_PYTHON with wandb"]
fn wandb_sync_adds_the_rest_of_a_run_that_lost_its_server() {
    let (wandb, is_gone) = (Wandb::default(), Arc::new(Mutex::new(false)));
    let (answers, its) = (wandb.clone(), is_gone.clone());
    let server = Server::start(move |asked| {
        let is_gone = its.lock().unwrap();
        if *is_gone { Answer::Status(503, Vec::new(), String::new()) } else { answers.answer(asked) }
    });
    let dir = tempdir().unwrap();
    let upload =
        Upload::default().every(Duration::from_millis(5)).retry(Duration::from_millis(5), Duration::from_millis(5));
    let logger = WandbLogger::new("digits").base_url(server.url()).api_key(KEY).upload(upload);
    let address = server.address;
    let server = Mutex::new(Some(server));
    // It dies once it has a part, and has answered for it: `wandb sync` would add again what was not answered for.
    let lines = || wandb.0.lock().unwrap().runs.values().map(|run| run.lines.len() as u64).sum::<u64>();
    let answered = || {
        let sent = fs::read(format!("{}.sent", file(dir.path()).display())).unwrap();
        serde_json::from_slice::<Value>(&sent).unwrap()["lines"].as_u64().unwrap()
    };
    let data = from_fn(|epoch| {
        let (server, is_gone, lines, answered) = (&server, &is_gone, &lines, &answered);
        (0..40).map(move |i| {
            if (epoch, i) == (1, 20) {
                while lines() <= 10 {
                    std::thread::yield_now();
                }
                *is_gone.lock().unwrap() = true;
                while answered() < lines() {
                    std::thread::yield_now();
                }
                *server.lock().unwrap() = None;
            }
            Ok(loss(epoch, i))
        })
    });
    let mut trainer = trainer().run_dir(dir.path()).add_on(logger.finish_within(Duration::from_millis(100)));
    trainer.run(3, &data, batches(3)).unwrap();
    let before = wandb.only_run();
    assert!(before.lines.len() < 3 * 42 && before.exit_code.is_none());
    let answers = wandb.clone();
    let server = Server::start_on(address, move |asked| answers.answer(asked));
    let mut folders = fs::read_dir(dir.path().join("wandb")).unwrap().map(|entry| entry.unwrap().path());
    let rest = folders.find(|path| path.to_string_lossy().contains("offline-run")).unwrap();
    sync(&server, &rest);
    let run = wandb.only_run();
    assert!(before.lines.iter().all(|(number, line)| run.lines[number] == *line));
    assert_whole(&run);
}

#[test]
#[ignore = "needs ZAE_PYTHON with wandb"]
fn what_we_send_is_what_wandb_s_own_client_sends() {
    let (wandb, server) = start();
    let dir = tempdir().unwrap();
    let mut command = python();
    // From here, so that it finds the commit that we find.
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.arg(script("wandb_run.py")).arg(dir.path()).env("HOME", dir.path());
    output(command.env("WANDB_BASE_URL", server.url()).env("WANDB_API_KEY", KEY).env("WANDB_SILENT", "true"));
    let theirs = wandb.only_run();
    drop(server);

    let (wandb, server) = start();
    let logger = WandbLogger::new("digits").name("first").group("g").job_type("train").notes("n").tags(["a", "b"]);
    let config = serde_json::json!({"dropout": 0.1, "sizes": [3, 4], "nested": {"x": null}});
    let logger = logger.base_url(server.url()).api_key(KEY).config(&config);
    let values = from_fn(|_| [1.0, f64::INFINITY, f64::NAN, 0.25, 0.2].map(Ok).into_iter());
    let dir = tempdir().unwrap();
    let mut trainer = trainer().run_dir(dir.path()).on_non_finite(NonFinite::Ignore).add_on(logger);
    trainer.run(1, values, ()).unwrap();
    let ours = wandb.only_run();

    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let config = |run: &RunThere| json(run.upsert["config"].as_str().unwrap());
    let (their_config, our_config) = (config(&theirs), config(&ours));
    for name in ["dropout", "sizes", "nested"] {
        assert_eq!(their_config[name], our_config[name]);
    }
    let own = |config: &Value| config["_wandb"]["value"].clone();
    assert_eq!(own(&their_config)["m"], own(&our_config)["m"]);
    assert!(own(&our_config)["t"].is_object());
    for name in ["project", "displayName", "groupName", "jobType", "notes", "tags", "commit", "host"] {
        assert_eq!(theirs.upsert[name], ours.upsert[name], "{name}");
    }
    // The fields that W&B adds, and how numbers that are none look.
    let fields = ["_step", "_runtime", "_timestamp", "epoch", "trainer/global_step", "train/loss"];
    for (number, line) in &theirs.lines {
        let our_line = &ours.lines[number];
        fields.iter().for_each(|name| {
            let name = format!("\"{name}\":");
            assert!(line.contains(&name) && our_line.contains(&name), "{name}\n{line}\n{our_line}");
        });
    }
    assert!(theirs.lines[&1].contains("\"inf\":Infinity") && ours.lines[&1].contains("\"train/loss\":Infinity"));
    assert!(theirs.lines[&2].contains("\"épsilon\":NaN") && ours.lines[&2].contains("\"train/loss\":NaN"));
    fields.iter().chain(&["_wandb"]).for_each(|name| {
        let name = format!("\"{name}\":");
        assert!(
            theirs.summary.contains(&name) && ours.summary.contains(&name),
            "{name}\n{}\n{}",
            theirs.summary,
            ours.summary
        );
    });
    assert_eq!((theirs.exit_code, ours.exit_code), (Some(0), Some(0)));
}
