//! Weights & Biases in real runs, against a server on loopback.

#![cfg(feature = "wandb")]
#![allow(clippy::unwrap_used)]

mod server;
mod wandb_server;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;
use server::{Answer, Server};
use tempfile::tempdir;
use wandb_server::{RunThere, Wandb};
use zae_checkpoint::StateManager;
use zae_core::{
    add_on::{AddOn, Context, Notice},
    error::Fallible,
    testing::null::{Echo, batches, loss, trainer},
    trainer::Trainer,
};
use zae_loggers::{
    Upload,
    wandb::{Mode, WandbLogger},
};

const EPOCHS: u64 = 3;
const PER_EPOCH: u64 = 40;

/// A logger that is quick to try again.
fn logger(url: &str) -> WandbLogger {
    let upload = Upload::default()
        .every(Duration::from_millis(20))
        .retry(Duration::from_millis(20), Duration::from_millis(100))
        .timeout(Duration::from_millis(500));
    WandbLogger::new("digits").base_url(url).api_key("0123456789abcdef0123456789abcdef01234567").upload(upload)
}

fn of(dir: &Path, logger: WandbLogger) -> Trainer<Echo> {
    trainer().run_dir(dir).handle_signals(false).add_on(logger)
}

fn run(trainer: &mut Trainer<Echo>) {
    trainer.run(EPOCHS, batches(PER_EPOCH), batches(3)).unwrap();
}

/// Every line that the run has to have, exactly once and in order.
fn assert_whole(run: &RunThere, epochs: u64) {
    let lines: Vec<Value> = run.lines.values().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len() as u64, epochs * (PER_EPOCH + 2));
    for (i, line) in lines.iter().enumerate() {
        assert_eq!(line["_step"].as_f64(), Some(i as f64));
        let (epoch, within) = (i as u64 / (PER_EPOCH + 2), i as u64 % (PER_EPOCH + 2));
        assert_eq!(line["epoch"].as_f64(), Some(epoch as f64), "{line}");
        let key =
            ["train/loss", "valid/loss", "train/loss_epoch"][within.saturating_sub(PER_EPOCH - 1).min(2) as usize];
        assert!(line[key].is_f64(), "{line}");
        if within < PER_EPOCH {
            assert_eq!(line["train/loss"].as_f64(), Some(loss(epoch, within)));
            assert_eq!(line["trainer/global_step"].as_f64(), Some((epoch * PER_EPOCH + within) as f64));
        }
    }
}

/// The only file of the run.
fn file_of(dir: &Path) -> PathBuf {
    let folders: Vec<_> = fs::read_dir(dir.join("wandb")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    let is_run = |path: &PathBuf| path.extension().is_some_and(|end| end == "wandb");
    fs::read_dir(&folders[0]).unwrap().map(|entry| entry.unwrap().path()).find(is_run).unwrap()
}

/// Remembers what people are told.
#[derive(Default, Clone)]
struct Told(std::sync::Arc<std::sync::Mutex<Vec<Notice>>>);

impl AddOn for Told {
    fn name(&self) -> &'static str {
        "told"
    }
    fn on_notice(&mut self, notice: &Notice, _: &mut Context<'_>) -> Fallible {
        self.0.lock().unwrap().push(notice.clone());
        Ok(())
    }
}

impl Told {
    fn warnings(&self) -> Vec<String> {
        let warning = |notice: &Notice| match notice {
            Notice::Warning(text) => Some(text.clone()),
            Notice::Info(_) => None,
        };
        self.0.lock().unwrap().iter().filter_map(warning).collect()
    }
}

#[test]
fn a_run_is_on_the_server_whole() {
    let wandb = Wandb::default();
    let answers = wandb.clone();
    let server = Server::start(move |asked| answers.answer(asked));
    let dir = tempdir().unwrap();
    let told = Told::default();
    #[derive(serde::Serialize)]
    struct Settings {
        dropout: f64,
        sizes: [u32; 2],
    }
    let logger = logger(&server.url()).name("first").tags(["a", "b"]).config(&Settings { dropout: 0.1, sizes: [3, 4] });
    run(&mut of(dir.path(), logger).add_on(told.clone()));

    let run = wandb.only_run();
    assert_whole(&run, EPOCHS);
    assert_eq!(run.exit_code, Some(0));
    assert_eq!(told.warnings(), Vec::<String>::new());
    let config: Value = serde_json::from_str(run.upsert["config"].as_str().unwrap()).unwrap();
    assert_eq!(config["dropout"]["value"], 0.1);
    assert_eq!(config["sizes"]["value"][1], 4);
    assert_eq!(config["trainer"]["value"]["engine"], "null");
    assert_eq!((&run.upsert["displayName"], &run.upsert["tags"][1]), (&"first".into(), &"b".into()));
    let summary: Value = serde_json::from_str(&run.summary).unwrap();
    assert_eq!(summary["train/loss"].as_f64(), Some(loss(EPOCHS - 1, PER_EPOCH - 1)));
    assert_eq!(summary["valid/loss.best"], summary["valid/loss"]);
    assert_eq!(summary["_step"].as_f64(), Some((EPOCHS * (PER_EPOCH + 2) - 1) as f64));
}

#[test]
fn an_evaluation_after_the_run_is_added_to_it() {
    let wandb = Wandb::default();
    let answers = wandb.clone();
    let server = Server::start(move |asked| answers.answer(asked));
    let dir = tempdir().unwrap();
    let mut trainer = of(dir.path(), logger(&server.url()));
    run(&mut trainer);
    trainer.evaluate(batches(3)).unwrap();
    let run = wandb.only_run();
    assert_eq!(run.lines.len() as u64, EPOCHS * (PER_EPOCH + 2) + 1);
    assert!(run.lines.values().next_back().unwrap().contains("\"test/loss\":"));
    assert_eq!(run.exit_code, Some(0));
}

#[test]
fn a_server_that_is_never_there_costs_the_deadline_and_nothing_else() {
    let dir = tempdir().unwrap();
    let told = Told::default();
    let url = format!("http://{}", server::nobody());
    let since = Instant::now();
    let logger = logger(&url).finish_within(Duration::from_millis(300));
    run(&mut of(dir.path(), logger).add_on(told.clone()));
    assert!(since.elapsed() < Duration::from_secs(20));
    let warnings = told.warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[1].contains("wandb sync '") && warnings[1].contains("offline-run-"), "{warnings:?}");
    assert!(!format!("{warnings:?}").contains("0123456789abcdef"));
}

#[test]
fn a_server_that_comes_back_gets_everything() {
    let wandb = Wandb::default();
    let address = server::nobody();
    let dir = tempdir().unwrap();
    let mut trainer = of(dir.path(), logger(&format!("http://{address}")).finish_within(Duration::ZERO));
    run(&mut trainer);
    drop(trainer);
    // The program is started again.
    let answers = wandb.clone();
    let _server = Server::start_on(address, move |asked| answers.answer(asked));
    let first = fs::read(file_of_rest(dir.path())).unwrap();
    assert!(!first.is_empty());
}

fn file_of_rest(dir: &Path) -> PathBuf {
    let folders = fs::read_dir(dir.join("wandb")).unwrap().map(|entry| entry.unwrap().path());
    let rest = folders.into_iter().find(|path| path.to_string_lossy().contains("offline-run")).unwrap();
    fs::read_dir(rest).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn a_run_goes_on_from_a_checkpoint_with_every_step_once() {
    for (name, online) in [("online", true), ("offline", false)] {
        let wandb = Wandb::default();
        let answers = wandb.clone();
        let server = Server::start(move |asked| answers.answer(asked));
        let dir = tempdir().unwrap();
        let with = || {
            let logger = logger(&server.url());
            let logger = if online { logger } else { logger.mode(Mode::Offline) };
            of(dir.path(), logger).add_on(StateManager::new().every_steps(30))
        };
        // It fails between two checkpoints.
        let broken = zae_core::data::from_fn(|epoch| {
            (0..PER_EPOCH).map(move |i| if (epoch, i) == (1, 33) { Err("a tear".into()) } else { Ok(loss(epoch, i)) })
        });
        with().run(EPOCHS, &broken, batches(3)).unwrap_err();
        let between = wandb.0.lock().unwrap().runs.values().next().cloned();
        if let Some(between) = between {
            assert_eq!((between.exit_code, between.lines.len() as u64), (Some(1), PER_EPOCH + 2 + 33), "{name}");
        }
        run(&mut with());
        if online {
            assert_whole(&wandb.only_run(), EPOCHS);
            assert_eq!(wandb.only_run().exit_code, Some(0));
        } else {
            assert!(wandb.0.lock().unwrap().asked.is_empty());
        }
        file_of(dir.path());
    }
}

#[test]
fn the_button_on_the_page_stops_the_run() {
    let wandb = Wandb::default();
    wandb.0.lock().unwrap().stopped = true;
    let answers = wandb.clone();
    let server = Server::start(move |asked| answers.answer(asked));
    let dir = tempdir().unwrap();
    let slow = zae_core::data::from_fn(|_| {
        (0..u64::MAX).map(|i| {
            std::thread::sleep(Duration::from_millis(1));
            Ok(i as f64)
        })
    });
    let run = of(dir.path(), logger(&server.url())).run(1, slow, ()).unwrap();
    assert!(format!("{:?}", run.outcome).contains("page at W&B"));
    assert_eq!(wandb.only_run().exit_code, Some(0));
}

#[test]
fn bad_settings_end_the_run_before_it_starts() {
    let dir = tempdir().unwrap();
    let mut trainer = of(dir.path(), WandbLogger::new("a/b"));
    let error = trainer.run(1, batches(2), ()).unwrap_err().to_string();
    assert!(error.contains("`a/b`"), "{error}");
    assert!(!dir.path().join("wandb").exists());
}

#[test]
fn a_wrong_key_is_told_once_and_nothing_is_lost() {
    let server = Server::start(|_| Answer::Status(401, Vec::new(), "no such key".to_owned()));
    let dir = tempdir().unwrap();
    let told = Told::default();
    run(&mut of(dir.path(), logger(&server.url())).add_on(told.clone()));
    let warnings = told.warnings();
    assert!(warnings[0].contains("WANDB_API_KEY") && warnings.len() == 2, "{warnings:?}");
    assert_eq!(server.requests.load(std::sync::atomic::Ordering::SeqCst), 1);
}
