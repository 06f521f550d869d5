//! Runs whose numbers are known, and what of them Neptune has to have.

// Not every test uses everything.
#![allow(dead_code, unused_imports, clippy::unwrap_used)]

#[path = "../checkpoints/mod.rs"]
mod checkpoints;
#[path = "../showing/mod.rs"]
pub(crate) mod showing;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

pub(crate) use checkpoints::remove_newest_checkpoints;
use showing::Showing;
use zae_checkpoint::StateManager;
pub(crate) use zae_core::testing::Notices;
use zae_core::{
    add_ons::CsvLogger,
    step::Step,
    task::{At, StepResult, Task},
    testing::null::{Null, batches},
    trainer::{Run, Trainer},
};
use zae_loggers::{LogHandle, Media, NeptuneLogger};

use crate::neptune_server::{MICRO, Shown};

/// The loss is the batch. Other metrics are what is difficult.
pub(crate) struct Difficult {
    /// So many more metrics.
    pub(crate) more: Vec<&'static str>,
}

impl Task for Difficult {
    type Learner = Null;
    type Batch = f64;
    fn train_step(&self, (): &(), batch: f64, at: &At) -> StepResult<Self> {
        let odd = at.cursor.micro_batch % 2 == 1;
        let mut step = Step::new(batch, 32).number("größe/✓", -batch);
        step = if odd { step.number("odd", f64::NAN).number("inf", f64::NEG_INFINITY) } else { step };
        for name in self.more.iter().copied() {
            step = step.number(name, batch);
        }
        Ok(step)
    }
    fn test_step(&self, (): &(), batch: f64, _: &At) -> StepResult<Self> {
        Ok(Step::new(batch, 32).metric("accuracy", 1.0 - batch))
    }
}

pub(crate) const EPOCHS: u64 = 3;

/// With a [`CsvLogger`] to compare with, and a checkpoint after every second step.
pub(crate) fn trainer(dir: &Path, logger: NeptuneLogger) -> Trainer<Showing<Difficult>> {
    telling_trainer(dir, logger, LogHandle::new())
}

/// With a handle, for what is told beside.
pub(crate) fn telling_trainer(dir: &Path, logger: NeptuneLogger, log: LogHandle) -> Trainer<Showing<Difficult>> {
    let logger = logger.handle(&log);
    Trainer::new(Showing { task: Difficult { more: Vec::new() }, log }, Null::default())
        .scheduler(1e-3)
        .run_dir(dir)
        .handle_signals(false)
        .add_on((CsvLogger::new(), StateManager::new().every_steps(2).keep_last(100).background(false), logger))
}

/// With more metrics, and nothing beside its logger.
pub(crate) fn wide_trainer(dir: &Path, more: Vec<&'static str>, logger: NeptuneLogger) -> Trainer<Difficult> {
    Trainer::new(Difficult { more }, Null::default()).scheduler(1e-3).run_dir(dir).handle_signals(false).add_on(logger)
}

pub(crate) fn run(trainer: &mut Trainer<Showing<Difficult>>, epochs: u64) -> Run {
    trainer.run(epochs, batches(5), batches(3)).unwrap()
}

pub(crate) fn logger() -> NeptuneLogger {
    NeptuneLogger::new("team/digits").run_id("läuft 1").experiment("wider").tags(["adam", "größer"]).offline()
}

/// What Neptune has to have of the metrics, by `metrics.csv`.
pub(crate) fn expected(dir: &Path) -> BTreeMap<String, Vec<(u64, u64)>> {
    let csv = fs::read_to_string(dir.join("metrics.csv")).unwrap();
    let mut lines = csv.lines();
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut all: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    for line in lines {
        let cells: BTreeMap<&str, &str> = columns.iter().copied().zip(line.split(',')).collect();
        let step: u64 = cells["step"].parse().unwrap();
        for (name, cell) in &cells {
            let name = match (cells["event"], *name) {
                _ if cell.is_empty() => continue,
                ("step", name) if name == "lr" || name.contains('/') => name.to_owned(),
                ("evaluation", name) if name.contains('/') => name.to_owned(),
                ("epoch", name) if name.starts_with("train/") => format!("{name}_epoch"),
                _ => continue,
            };
            let series = all.entry(name).or_default();
            let own = step * MICRO;
            let at = series.last().map_or(own, |(last, _)| own.max(last + 1));
            series.push((at, cell.parse::<f64>().unwrap().to_bits()));
        }
    }
    assert!(all.len() > 6, "{:?}", all.keys());
    all
}

/// What Neptune has to have of what a run of so many epochs shows, of so many steps each.
pub(crate) fn expected_shown(epochs: u64, steps: u64) -> BTreeMap<String, Vec<(u64, Shown)>> {
    let mut all: BTreeMap<String, Vec<(u64, Shown)>> = BTreeMap::new();
    for (step, name, media) in showing::of_run(epochs, steps, 3) {
        let mut push = |name: &str, shown| {
            let series = all.entry(name.to_owned()).or_default();
            let own = step * MICRO;
            series.push((series.last().map_or(own, |(last, _)| own.max(last + 1)), shown));
        };
        let file = |mime: &str, content| Shown::File { mime: mime.to_owned(), content };
        match media {
            Media::Image(image) => {
                push(name, file("image/png", image.png().unwrap()));
                if let Some(caption) = image.text() {
                    push(&format!("{name}/caption"), Shown::Text(caption.to_owned()));
                }
            }
            Media::Table(table) => push(name, file("text/csv", table.csv().into_bytes())),
            Media::Text(text) => push(name, Shown::Text(text)),
            Media::Histogram(own) => {
                let edges = own.edges().iter().map(|edge| edge.to_bits()).collect();
                push(name, Shown::Histogram(edges, own.counts().iter().map(|count| *count as u64).collect()));
            }
            _ => {}
        }
    }
    all
}

/// But for what belongs to no step.
pub(crate) fn shown(run: &crate::neptune_server::Run) -> BTreeMap<String, Vec<(u64, Shown)>> {
    let mut shown = run.shown.clone();
    shown.retain(|name, _| name != "alerts" && !name.starts_with("runtime/"));
    shown
}

/// The folder of the last run that was begun. One that is killed before its first checkpoint is begun again.
pub(crate) fn folder(dir: &Path) -> PathBuf {
    let all = fs::read_dir(dir.join("neptune")).unwrap().map(|item| item.unwrap().path());
    all.max_by_key(|path| path.to_str().unwrap().rsplit('_').next().unwrap().parse::<u64>().unwrap()).unwrap()
}

pub(crate) fn database(dir: &Path) -> PathBuf {
    folder(dir).join("run_operations.sqlite3")
}
