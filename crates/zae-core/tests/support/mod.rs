//! What the tests share: a task made of a closure, data, add-ons that log, stop, fail or keep, and runs as bits.

#![allow(dead_code, unreachable_pub)]

pub mod ranks;

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    sync::{Arc, Mutex},
};

use zae_core::{
    add_on::{AddOn, Context, Moment, Pass, Phase},
    error::{Error, Fallible},
    metrics::{EpochSummary, Evaluation, Rows},
    progress::ProgressChecker,
    snapshot::Snapshot,
    state::State,
    step::Step,
    task::{At, Predict, StepResult, Task},
    testing::{
        Architecture, Fixture, Recorder, Samples,
        reference::{Batch, LazyScalar, Net, Reference, ReferenceLearner},
    },
    trainer::{Run, Trainer},
};

pub type Stepped = Fallible<Step<LazyScalar>>;

type OwnStep = Box<dyn Fn(&Net, Batch, &At) -> Stepped>;

/// A task whose step is a closure, for every mode.
pub struct Own(OwnStep);

impl Own {
    pub fn new(step: impl Fn(&Net, Batch, &At) -> Stepped + 'static) -> Self {
        Self(Box::new(step))
    }
}

impl Task for Own {
    type Learner = ReferenceLearner;
    type Batch = Batch;
    fn train_step(&self, model: &Net, batch: Batch, at: &At) -> StepResult<Self> {
        (self.0)(model, batch, at)
    }
    fn test_step(&self, model: &Net, batch: Batch, at: &At) -> StepResult<Self> {
        (self.0)(model, batch, at)
    }
}

impl Predict for Own {
    type Input = Batch;
    /// The batch's place, and its first number.
    type Output = (u64, f32);
    fn predict(&self, model: &Net, input: Batch, at: &At) -> Fallible<Self::Output> {
        let first = (at.cursor.micro_batch, input.inputs[0]);
        (self.0)(model, input, at).map(|_| first)
    }
}

/// Mean loss over the rows, and how many were right.
#[allow(clippy::needless_pass_by_value)]
pub fn step(model: &Net, batch: Batch) -> Stepped {
    let n = batch.labels.len();
    let (loss, hits) = model.loss(&batch)?;
    Ok(Step::new(loss, n).count("hits", hits))
}

pub fn plain() -> Own {
    Own::new(|model, batch, _| step(model, batch))
}

pub const ARCHITECTURE: Architecture = Architecture::Full;

pub fn learner(architecture: Architecture) -> ReferenceLearner {
    Reference { asynchronous: false }.learner(architecture)
}

pub fn bare_learner() -> ReferenceLearner {
    Reference { asynchronous: false }.without_optimizer(ARCHITECTURE)
}

pub fn asynchronous(architecture: Architecture) -> ReferenceLearner {
    Reference { asynchronous: true }.learner(architecture)
}

/// A trainer of the network with dropout and batch norm.
pub fn trainer(task: Own) -> Trainer<Own> {
    with_learner(task, learner(ARCHITECTURE))
}

pub fn with_learner(task: Own, learner: ReferenceLearner) -> Trainer<Own> {
    Trainer::new(task, learner).seed(11).scheduler(0.01).handle_signals(false)
}

/// Batches with these numbers of rows.
pub fn data(rows: &[usize], seed: u64) -> Vec<Batch> {
    let samples = Samples::random(rows.iter().sum(), 6, 3, seed);
    samples.batches(rows).into_iter().map(batch).collect()
}

pub fn batch(samples: Samples) -> Batch {
    Batch { inputs: samples.inputs, labels: samples.labels, device: None }
}

/// Five batches of uneven size.
pub fn train_data() -> Vec<Batch> {
    data(&[5, 3, 4, 5, 2], 1)
}

pub fn valid_data() -> Vec<Batch> {
    data(&[4, 1, 3], 2)
}

/// All of a run but its clock, as bits.
#[derive(PartialEq)]
pub struct Bits {
    pub tensors: BTreeMap<String, Vec<u8>>,
    pub numbers: String,
    pub run: State,
}

/// Short: what differs is found by comparing the parts.
impl fmt::Debug for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = self.tensors.iter().map(|(name, bytes)| (name, &bytes[..bytes.len().min(4)]));
        f.debug_map().entries(heads).finish()?;
        write!(f, " {} {}", self.numbers, String::from_utf8_lossy(&self.run.0))
    }
}

pub fn bits(snapshot: &Snapshot) -> Bits {
    let (run, learner) = (&snapshot.run, &snapshot.learner);
    let bytes = |tensor: &zae_core::learner::SavedTensor| tensor.data.bytes().unwrap().into_owned();
    let p = &run.progress;
    let progress = (p.cursor(), p.step(), p.samples(), p.skipped());
    let settings = (run.due, run.seed, run.window, run.unit, &run.stopped, run.lr);
    let states = (&run.schedule, &run.task, &run.add_ons);
    Bits {
        tensors: learner.tensors.iter().map(|(name, tensor)| (name.clone(), bytes(tensor))).collect(),
        numbers: format!("{:?}", learner.numbers),
        run: State::encode(&(progress, settings, &run.totals, run.history.without_clock(), states)).unwrap(),
    }
}

/// The trainer's run as bits.
pub fn bits_of(trainer: &mut Trainer<Own>) -> Bits {
    bits(&trainer.snapshot().unwrap())
}

/// Weights and optimizer alone.
pub fn weights(trainer: &mut Trainer<Own>) -> BTreeMap<String, Vec<u8>> {
    bits_of(trainer).tensors
}

/// Through the written form, as after a restart of the process.
pub fn written(snapshot: &Snapshot) -> Snapshot {
    Snapshot::new(State::encode(&snapshot.run).unwrap().decode().unwrap(), snapshot.learner.clone())
}

/// One column of a recorder's rows.
pub fn column(recorder: &Recorder, name: &str) -> Vec<f64> {
    let value = |row: &Vec<(String, u64)>| row.iter().find(|cell| cell.0 == name).map(|cell| f64::from_bits(cell.1));
    recorder.get().rows.iter().filter_map(|(_, row)| value(row)).collect()
}

/// A recorder's row: its step, and every column's name and bits.
pub type Row = (u64, Vec<(String, u64)>);

/// Every hook of every add-on that shares it, in order.
pub type Lines = Arc<Mutex<Vec<String>>>;

/// What an add-on does in a hook.
pub type Act = Box<dyn FnMut(&str, &mut Context<'_>) -> Fallible + Send>;

/// An add-on that writes down each hook, then acts.
pub struct Log {
    pub name: String,
    pub phase: Phase,
    pub lines: Lines,
    pub act: Act,
    pub snapshots: bool,
}

impl Log {
    pub fn new(name: &str, phase: Phase, lines: &Lines) -> Self {
        let act = Box::new(|_: &str, _: &mut Context<'_>| Ok(()));
        Self { name: name.to_owned(), phase, lines: lines.clone(), act, snapshots: false }
    }

    pub fn act(mut self, act: impl FnMut(&str, &mut Context<'_>) -> Fallible + Send + 'static) -> Self {
        self.act = Box::new(act);
        self
    }

    pub fn with_snapshots(mut self) -> Self {
        self.snapshots = true;
        self
    }

    fn hook(&mut self, hook: &str, cx: &mut Context<'_>) -> Fallible {
        self.lines.lock().unwrap().push(format!("{}:{hook}", self.name));
        (self.act)(hook, cx)
    }
}

impl AddOn for Log {
    fn name(&self) -> &str {
        &self.name
    }
    fn phase(&self) -> Phase {
        self.phase
    }
    fn on_run_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.hook("run_start", cx)
    }
    fn on_epoch_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.hook("epoch_start", cx)
    }
    fn on_gradients(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.hook("gradients", cx)
    }
    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.hook("step_end", cx)
    }
    fn on_rows(&mut self, rows: &Rows<'_>, cx: &mut Context<'_>) -> Fallible {
        for row in rows.iter() {
            self.lines.lock().unwrap().push(format!("{}:row {}", self.name, row.head.step));
        }
        (self.act)("rows", cx)
    }
    fn on_pass(&mut self, pass: &Pass<'_>, cx: &mut Context<'_>) -> Fallible {
        self.lines.lock().unwrap().push(format!("{}:pass {} {}", self.name, pass.set, pass.done));
        (self.act)("pass", cx)
    }
    fn on_evaluation_end(&mut self, _: &Evaluation, cx: &mut Context<'_>) -> Fallible {
        self.hook("evaluation_end", cx)
    }
    fn on_epoch_end(&mut self, _: &EpochSummary, cx: &mut Context<'_>) -> Fallible {
        self.hook("epoch_end", cx)
    }
    fn on_run_end(&mut self, _: &Run, cx: &mut Context<'_>) -> Fallible {
        self.hook("run_end", cx)
    }
    fn on_error(&mut self, _: &Error, cx: &mut Context<'_>) -> Fallible {
        self.hook("error", cx)
    }
    fn finish(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.hook("finish", cx)
    }
    fn wants_snapshot(&self, moment: Moment, _: &ProgressChecker) -> bool {
        self.snapshots && moment == Moment::Epoch
    }
    fn on_snapshot(&mut self, _: &Arc<Snapshot>, cx: &mut Context<'_>) -> Fallible {
        self.hook("snapshot", cx)
    }
}

/// An add-on that acts on each hook.
pub fn acting(name: &str, act: impl FnMut(&str, &mut Context<'_>) -> Fallible + Send + 'static) -> Log {
    Log::new(name, Phase::Observe, &Lines::default()).act(act)
}

/// An add-on that stops the run after this step.
pub fn stop_at(step: u64) -> Log {
    acting("stopper", move |hook, cx| {
        if hook == "step_end" && cx.progress.step() == step {
            cx.requests.stop("enough");
        }
        Ok(())
    })
}

/// All gradients of each step, one after another.
pub type Gradients = Arc<Mutex<Vec<Vec<f32>>>>;

/// An add-on that copies the gradients of each step.
pub fn copy_gradients(to: &Gradients) -> Log {
    let to = to.clone();
    acting("gradients", move |hook, cx| {
        if hook == "gradients" {
            let mut all = Vec::new();
            cx.engine.gradients(&mut |_, values| {
                all.extend_from_slice(values);
                Ok(())
            })?;
            to.lock().unwrap().push(all);
        }
        Ok(())
    })
}

/// Keeps one snapshot, as a checkpoint add-on does.
#[derive(Clone)]
pub struct Keeper(pub &'static str, pub Option<Arc<Snapshot>>);

impl AddOn for Keeper {
    fn name(&self) -> &str {
        self.0
    }
    fn latest(&mut self, _: Option<&Path>) -> Fallible<Option<Arc<Snapshot>>> {
        Ok(self.1.clone())
    }
}

/// The message of a failure, which has all of these words.
#[track_caller]
pub fn fails<R>(result: Result<R, Error>, words: &[&str]) -> String {
    let Err(error) = result else { panic!("no error, but one with {words:?} was expected") };
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
    message
}
