//! Runs of a fixture, as the checks need them.

use std::cell::Cell;

use super::{Architecture, Fixture, Samples};
use crate::{
    error::Fallible,
    learner::{Learner, StateDict},
    snapshot::{RunState, Snapshot},
    state::State,
    step::Step,
    task::{At, Mode, StepResult, Task},
    trainer::Trainer,
};

/// What a [`FixtureTask`] does before each step.
type Before = Box<dyn Fn(&At) -> Fallible>;

/// The task of the suite: the fixture's step, with a state of its own and room for faults.
pub struct FixtureTask<F: Fixture> {
    fixture: F,
    before: Option<Before>,
    steps_seen: Cell<u64>,
}

impl<F: Fixture> FixtureTask<F> {
    /// The fixture's step.
    pub fn new(fixture: &F) -> Self {
        Self { fixture: fixture.clone(), before: None, steps_seen: Cell::new(0) }
    }

    /// Calls `before` ahead of each step of any mode: it may fail or panic.
    #[must_use]
    pub fn before(mut self, before: impl Fn(&At) -> Fallible + 'static) -> Self {
        self.before = Some(Box::new(before));
        self
    }

    /// How many training steps it has computed, over all processes of the run.
    pub fn steps_seen(&self) -> u64 {
        self.steps_seen.get()
    }
}

impl<F: Fixture> Task for FixtureTask<F> {
    type Learner = F::Learner;
    type Batch = F::Batch;

    fn train_step(&self, model: &<F::Learner as Learner>::Model, batch: F::Batch, at: &At) -> StepResult<Self> {
        self.steps_seen.set(self.steps_seen.get() + u64::from(at.mode == Mode::Train));
        self.before.as_ref().map_or(Ok(()), |before| before(at))?;
        self.fixture.step(model, batch, at.mode)
    }
    fn test_step(&self, model: &<F::Learner as Learner>::Model, batch: F::Batch, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
    fn state(&self) -> Fallible<Option<State>> {
        Ok(Some(State::encode(&self.steps_seen.get())?))
    }
    fn restore(&mut self, state: &State) -> Fallible {
        self.steps_seen.set(state.decode()?);
        Ok(())
    }
}

/// Batches of uneven size, the last one short.
pub(super) fn batches<F: Fixture>(fixture: &F, architecture: Architecture, n: usize, seed: u64) -> Vec<F::Batch> {
    let sizes = fixture.sizes(architecture);
    let rows: Vec<usize> = (0..n).map(|i| if i + 1 == n { 2 } else { sizes.rows - i % 3 }).collect();
    let samples = Samples::random(rows.iter().sum(), sizes.features, sizes.classes, seed);
    samples.batches(&rows).iter().map(|samples| fixture.batch(samples)).collect()
}

/// A trainer without add-ons.
pub(super) fn trainer<F: Fixture>(fixture: &F, architecture: Architecture) -> Trainer<FixtureTask<F>> {
    Trainer::new(FixtureTask::new(fixture), fixture.learner(architecture))
        .seed(11)
        .scheduler(0.01)
        .handle_signals(false)
}

/// Loss and hits of one training micro-batch, and its gradients in the learner.
pub(super) fn forward_backward<F: Fixture>(
    fixture: &F,
    learner: &mut F::Learner,
    batch: F::Batch,
    weight: f64,
    last: bool,
) -> Fallible<<F::Learner as Learner>::Scalar> {
    let batch = learner.place(batch, Mode::Train);
    let Step { loss, .. } = learner.train(|model| fixture.step(model, batch, Mode::Train))??;
    learner.backward(loss, weight, last)
}

/// All gradients, by name.
///
/// # Errors
/// As [`Engine::gradients`](crate::engine::Engine::gradients).
pub fn gradients(learner: &mut impl Learner) -> Fallible<Vec<(String, Vec<f32>)>> {
    let mut all = Vec::new();
    learner.gradients(&mut |info, values| {
        all.push((info.name.to_owned(), values.to_vec()));
        Ok(())
    })?;
    Ok(all)
}

/// All parameters and buffers, by name, and whether each is trainable.
///
/// # Errors
/// As [`Engine::parameters`](crate::engine::Engine::parameters).
pub fn parameters(learner: &mut impl Learner) -> Fallible<Vec<(String, bool, Vec<f32>)>> {
    let mut all = Vec::new();
    learner.parameters(&mut |info, values| {
        all.push((info.name.to_owned(), info.trainable, values.to_vec()));
        Ok(())
    })?;
    Ok(all)
}

/// What a run has come to on any of its ranks, as bytes: its history without the clock, weights, and the optimizer's state. Of
/// running statistics rank 0's alone are kept, so they are not in it.
///
/// # Errors
/// When a tensor cannot be read.
pub fn outcome(snapshot: &Snapshot) -> Fallible<Vec<u8>> {
    let mut all = format!("{:?}", snapshot.run.history.without_clock()).into_bytes();
    for (_, tensor) in snapshot.learner.tensors.iter().filter(|(name, _)| !name.contains("running")) {
        all.extend(&*tensor.data.bytes()?);
    }
    Ok(all)
}

/// Fails with the first thing that differs.
pub(super) fn same_state(expected: &StateDict, found: &StateDict) -> Fallible {
    let names = |state: &StateDict| state.tensors.keys().chain(state.numbers.keys()).cloned().collect::<Vec<_>>();
    if names(expected) != names(found) {
        return Err(format!("the states hold {:?} and {:?}", names(expected), names(found)).into());
    }
    for (name, tensor) in &expected.tensors {
        let other = &found.tensors[name];
        let same = tensor.shape == other.shape && tensor.dtype == other.dtype;
        if !same || tensor.data.bytes()? != other.data.bytes()? {
            return Err(format!("`{name}` differs").into());
        }
    }
    for (name, number) in &expected.numbers {
        if *number != found.numbers[name] {
            return Err(format!("`{name}` is {number:?} and {:?}", found.numbers[name]).into());
        }
    }
    Ok(())
}

/// Fails with the first part of two runs that differs, wall-clock times apart.
pub(super) fn same_run(expected: &RunState, found: &RunState) -> Fallible {
    macro_rules! same {
        ($($field:ident).+) => {
            if expected.$($field).+ != found.$($field).+ {
                let (a, b) = (&expected.$($field).+, &found.$($field).+);
                return Err(format!("`{}` is {a:?} and {b:?}", stringify!($($field).+)).into());
            }
        };
    }
    same!(progress.cursor);
    same!(progress.step);
    same!(progress.samples);
    same!(progress.skipped);
    same!(due);
    same!(seed);
    same!(window);
    same!(unit);
    same!(stopped);
    same!(totals);
    same!(schedule);
    same!(task);
    same!(average);
    same!(add_ons);
    if expected.lr.to_bits() != found.lr.to_bits() {
        return Err(format!("`lr` is {} and {}", expected.lr, found.lr).into());
    }
    // NaN metrics compare by bits in the encoded form.
    let (a, b) = (expected.history.without_clock(), found.history.without_clock());
    if State::encode(&a)? != State::encode(&b)? {
        return Err(format!("the histories differ: {a:?} and {b:?}").into());
    }
    Ok(())
}
