//! The program that the tests kill, cut and corrupt: everything that has a state is in it.

// Not every test uses everything.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use zae_checkpoint::StateManager;
pub use zae_core::testing::Notices;
use zae_core::{
    add_ons::{CsvLogger, EarlyStopping},
    data::{DataLoader, Dataset, Loader},
    error::{Error, Fallible},
    learner::Clip,
    schedule::{Cosine, ReduceOnPlateau, Schedule},
    snapshot::Snapshot,
    state::State,
    step::Step,
    task::{At, StepResult, Task},
    testing::{
        Architecture, Samples, Sizes,
        reference::{Batch, Net, ReferenceLearner},
    },
    trainer::{Run, Trainer},
};

/// Dropout on the input, batch norm; counts its steps, to have a state of its own.
#[derive(Default)]
pub struct Classify {
    steps: std::cell::Cell<u64>,
}

impl Task for Classify {
    type Learner = ReferenceLearner;
    type Batch = Batch;
    fn train_step(&self, model: &Net, batch: Batch, _: &At) -> StepResult<Self> {
        self.steps.set(self.steps.get() + 1);
        let rows = batch.labels.len();
        let (loss, hits) = model.loss(&batch)?;
        Ok(Step::new(loss, rows).count("hits", hits).number("steps", self.steps.get() as f64))
    }
    fn test_step(&self, model: &Net, batch: Batch, _: &At) -> StepResult<Self> {
        let rows = batch.labels.len();
        let (loss, hits) = model.loss(&batch)?;
        Ok(Step::new(loss, rows).metric("accuracy", hits))
    }
    fn state(&self) -> Fallible<Option<State>> {
        Ok(Some(State::encode(&self.steps.get())?))
    }
    fn restore(&mut self, state: &State) -> Fallible {
        self.steps.set(state.decode()?);
        Ok(())
    }
}

pub const EPOCHS: u64 = 6;

fn loader(rows: usize, seed: u64, batch_size: usize) -> impl Loader<Batch> {
    let samples = Samples::random(rows, 6, 3, seed);
    let rows: Vec<(Vec<f32>, usize)> =
        samples.inputs.chunks(6).map(<[f32]>::to_vec).zip(samples.labels.iter().copied()).collect();
    let batch = |rows: Vec<(Vec<f32>, usize)>| {
        let (inputs, labels): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        Ok(Batch { inputs: inputs.concat(), labels, device: None })
    };
    DataLoader::new(rows.collate(batch), batch_size).shuffle(true)
}

/// 11 micro-batches, the last one smaller: 6 steps.
pub fn train_data() -> impl Loader<Batch> {
    loader(43, 1, 4)
}

pub fn valid_data() -> impl Loader<Batch> {
    loader(10, 2, 4)
}

pub fn learner() -> ReferenceLearner {
    let net = Net::new(Architecture::Full, Sizes { hidden: 24, ..Sizes::small() });
    ReferenceLearner::new(net)
}

pub fn schedule() -> impl Schedule {
    ReduceOnPlateau::new(Cosine::new(0.02)).patience(1).factor(0.5)
}

/// The trainer of the program, without a manager.
pub fn trainer(run_dir: &Path) -> Trainer<Classify> {
    Trainer::new(Classify::default(), learner())
        .run_dir(run_dir)
        .seed(7)
        .scheduler(schedule())
        .accumulate(2)
        .gradient_clip(Clip::Norm(1.0))
        .add_on((CsvLogger::new(), EarlyStopping::new("valid/loss").patience(4)))
        .handle_signals(false)
}

/// The manager of the program: many saves, a best list that changes.
pub fn manager() -> StateManager {
    StateManager::new().every_steps(2).keep_best("valid/loss", 2)
}

pub fn run(trainer: &mut Trainer<Classify>) -> Result<Run, Error> {
    trainer.run(EPOCHS, train_data(), valid_data())
}

/// A whole run but for its clock, as bits.
#[derive(PartialEq)]
pub struct Bits {
    pub tensors: BTreeMap<String, Vec<u8>>,
    pub numbers: String,
    pub run: State,
}

impl std::fmt::Debug for Bits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let heads = self.tensors.iter().map(|(name, bytes)| (name, &bytes[..bytes.len().min(4)]));
        f.debug_map().entries(heads).finish()?;
        write!(f, " {} {}", self.numbers, String::from_utf8_lossy(&self.run.0))
    }
}

pub fn bits(snapshot: &Snapshot) -> Bits {
    let (run, learner) = (&snapshot.run, &snapshot.learner);
    let p = &run.progress;
    let progress = (p.cursor(), p.step(), p.samples(), p.skipped());
    let settings = (run.due, run.seed, run.window, run.unit, &run.stopped, run.lr, &run.config);
    let states = (&run.schedule, &run.task, &run.add_ons);
    Bits {
        tensors: learner.tensors.iter().map(|(name, t)| (name.clone(), t.data.bytes().unwrap().into_owned())).collect(),
        numbers: format!("{:?}", learner.numbers),
        run: State::encode(&(progress, settings, &run.totals, run.history.without_clock(), states)).unwrap(),
    }
}

pub fn bits_of(trainer: &mut Trainer<Classify>) -> Bits {
    bits(&trainer.snapshot().unwrap())
}

/// The CSV file without its wall-clock column.
pub fn csv_rows(run_dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(run_dir.join("metrics.csv")).unwrap();
    let clock = text.lines().next().unwrap().split(',').position(|name| name == "seconds").unwrap();
    let without = |line: &str| {
        line.split(',').enumerate().filter(|(i, _)| *i != clock).map(|(_, cell)| cell).collect::<Vec<_>>().join(",")
    };
    text.lines().map(without).collect()
}

/// Names in a folder, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The checkpoints in a folder, oldest first.
pub fn checkpoints(dir: &Path) -> Vec<String> {
    names(dir).into_iter().filter(|name| name.starts_with("step-")).collect()
}

pub fn saved_in(run_dir: &Path) -> PathBuf {
    run_dir.join("checkpoints")
}
