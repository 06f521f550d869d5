//! Runs whose every line is known beforehand, and what is left of them.

// Not every test uses everything.
#![allow(dead_code, unused_imports)]

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
pub(crate) use zae_core::testing::Notices;
use zae_core::{
    data::{Loader, from_fn},
    testing::null::{Echo, batches, loss, trainer},
    trainer::Trainer,
};
use zae_loggers::{Upload, wandb::WandbLogger};

use crate::{
    server::Server,
    wandb_file,
    wandb_server::{RunThere, Wandb},
};

/// Nothing here takes so long by itself.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) const EPOCHS: u64 = 3;
pub(crate) const PER_EPOCH: u64 = 40;

/// A logger that is quick to try again.
pub(crate) fn logger(url: &str) -> WandbLogger {
    let upload = Upload::default()
        .every(Duration::from_millis(20))
        .retry(Duration::from_millis(20), Duration::from_millis(100))
        .timeout(Duration::from_millis(500));
    WandbLogger::new("digits").base_url(url).api_key("0123456789abcdef0123456789abcdef01234567").upload(upload)
}

pub(crate) fn of(dir: &Path, logger: WandbLogger) -> Trainer<Echo> {
    trainer().run_dir(dir).handle_signals(false).add_on(logger)
}

pub(crate) fn run(trainer: &mut Trainer<Echo>) {
    trainer.run(EPOCHS, batches(PER_EPOCH), batches(3)).unwrap();
}

/// Every line that the run has to have on the server, exactly once and in order.
pub(crate) fn assert_whole(run: &RunThere, epochs: u64) {
    let lines: Vec<Value> = run.lines.values().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(run.lines.keys().copied().eq(0..lines.len() as u64), "lines are missing");
    assert_lines(&lines, 0..epochs * (PER_EPOCH + 2));
}

/// The same lines, those of these steps, wherever they come from.
#[track_caller]
pub(crate) fn assert_lines(lines: &[Value], steps: Range<u64>) {
    assert_eq!(lines.len() as u64, steps.end - steps.start);
    for (i, line) in steps.zip(lines) {
        assert_eq!(line["_step"].as_f64(), Some(i as f64));
        let (epoch, within) = (i / (PER_EPOCH + 2), i % (PER_EPOCH + 2));
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

/// All lines that the run has to have.
pub(crate) const LINES: u64 = EPOCHS * (PER_EPOCH + 2);

/// The folders of runs.
pub(crate) fn folders(dir: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<_> = fs::read_dir(dir.join("wandb")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

/// The run's file, and what of it `wandb sync` is to upload, if that was told.
pub(crate) fn files_of(dir: &Path) -> (PathBuf, Option<PathBuf>) {
    let (rests, runs): (Vec<_>, Vec<_>) = folders(dir)
        .into_iter()
        .partition(|path| path.file_name().unwrap().to_string_lossy().starts_with("offline-run-"));
    assert_eq!((runs.len(), rests.len() < 2), (1, true), "{runs:?} {rests:?}");
    (wandb_file::in_folder(&runs[0]), rests.first().map(|rest| wandb_file::in_folder(rest)))
}

/// A server of W&B that behaves.
pub(crate) fn wandb() -> (Wandb, Server) {
    let wandb = Wandb::default();
    let answers = wandb.clone();
    (wandb, Server::start(move |asked| answers.answer(asked)))
}

/// The usual batches; the training thread calls this before each.
pub(crate) fn watched(watch: impl Fn(u64) + Send + Sync + 'static) -> impl Loader<f64> {
    let watch = Arc::new(watch);
    from_fn(move |epoch| {
        let watch = watch.clone();
        (0..PER_EPOCH).map(move |i| {
            watch(epoch * PER_EPOCH + i);
            Ok(loss(epoch, i))
        })
    })
}

/// Waits for something that other threads do.
#[track_caller]
pub(crate) fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < LONG, "{what} does not happen");
        std::thread::yield_now();
    }
}

/// The local file has all of the run, and what was left out for `wandb sync` is what the server has not got.
#[track_caller]
pub(crate) fn assert_on_disk(dir: &Path, on_server: u64) {
    let (file, rest) = files_of(dir);
    assert_lines(&wandb_file::lines(&file), 0..LINES);
    assert_eq!(wandb_file::exits(&file), [0]);
    match rest {
        Some(rest) => assert_lines(&wandb_file::lines(&rest), on_server..LINES),
        None => assert_eq!(on_server, LINES),
    }
}
