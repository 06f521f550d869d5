//! Runs of the reference learner, for loggers to tell of.

// Not every test uses everything.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used)]

#[path = "../checkpoints/mod.rs"]
mod checkpoints;

use std::{collections::BTreeMap, fs, path::Path};

pub(crate) use checkpoints::remove_newest_checkpoints;
use zae_checkpoint::StateManager;
pub use zae_core::testing::Notices;
use zae_core::{
    add_ons::CsvLogger,
    step::Step,
    task::{At, StepResult, Task},
    testing::{
        Architecture, Fixture, Samples,
        reference::{Batch, Net, Reference, ReferenceLearner},
    },
    trainer::Trainer,
};

/// Metrics of all kinds: some have no number everywhere, one comes with every second step only.
pub struct Classify;

impl Task for Classify {
    type Learner = ReferenceLearner;
    type Batch = Batch;
    fn train_step(&self, model: &Net, batch: Batch, at: &At) -> StepResult<Self> {
        let rows = batch.labels.len();
        let (loss, hits) = model.loss(&batch)?;
        let step = Step::new(loss, rows).count("hits", hits).number("größe/✓", at.cursor.micro_batch as f64 / 3.0);
        let odd = at.cursor.micro_batch % 2 == 1;
        Ok(if odd { step.number("odd", f64::NAN).number("inf", f64::NEG_INFINITY) } else { step })
    }
    fn test_step(&self, model: &Net, batch: Batch, _: &At) -> StepResult<Self> {
        let rows = batch.labels.len();
        let (loss, hits) = model.loss(&batch)?;
        Ok(Step::new(loss, rows).metric("accuracy", hits))
    }
}

fn data(rows: &[usize], seed: u64) -> Vec<Batch> {
    let samples = Samples::random(rows.iter().sum(), 6, 3, seed);
    let batch = |samples: Samples| Batch { inputs: samples.inputs, labels: samples.labels, device: None };
    samples.batches(rows).into_iter().map(batch).collect()
}

/// Five steps.
pub fn train_data() -> Vec<Batch> {
    data(&[5, 3, 4, 5, 2], 1)
}

pub fn valid_data() -> Vec<Batch> {
    data(&[4, 1, 3], 2)
}

/// With a [`CsvLogger`], to compare with, and a checkpoint after every second step.
pub fn trainer(run_dir: &Path) -> Trainer<Classify> {
    trainer_of(Classify, run_dir)
}

/// The same with another task.
pub fn trainer_of<T: Task<Learner = ReferenceLearner>>(task: T, run_dir: &Path) -> Trainer<T> {
    Trainer::new(task, Reference { asynchronous: false }.learner(Architecture::Full))
        .run_dir(run_dir)
        .seed(11)
        .scheduler(0.01)
        .handle_signals(false)
        .add_on((CsvLogger::new(), StateManager::new().every_steps(2).keep_last(100).background(false)))
}

/// Curves by name: steps, and values as their bits (of `f32`: of NaN there is one).
pub type Curves = BTreeMap<String, Vec<(u64, u32)>>;

pub fn bits(value: f64) -> u32 {
    if value.is_nan() { f32::NAN.to_bits() } else { (value as f32).to_bits() }
}

/// What a tracker has to show, by `metrics.csv`.
pub fn expected(run_dir: &Path) -> Curves {
    let text = fs::read_to_string(run_dir.join("metrics.csv")).unwrap();
    let mut lines = text.lines();
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut curves = Curves::new();
    for line in lines {
        let cells: BTreeMap<&str, &str> = columns.iter().copied().zip(line.split(',')).collect();
        let step: u64 = cells["step"].parse().unwrap();
        let metrics = cells.iter().filter(|(name, cell)| (name.contains('/') || **name == "lr") && !cell.is_empty());
        for (name, cell) in metrics {
            if let Some(name) = name_in(cells["event"], name) {
                curves.entry(name).or_default().push((step, bits(cell.parse().unwrap())));
            }
        }
    }
    curves
}

/// The name that a metric has in a row of this event.
fn name_in(event: &str, name: &str) -> Option<String> {
    let of_training = name.starts_with("train/");
    match event {
        "step" => Some(name.to_owned()),
        "evaluation" => (!of_training && name != "lr").then(|| name.to_owned()),
        _ => of_training.then(|| format!("{name}_epoch")),
    }
}
