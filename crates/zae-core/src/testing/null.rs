//! A learner that learns nothing and a task whose loss is its batch: what add-ons are told is known beforehand, and nothing
//! but the trainer and they take time.

use crate::{
    data::{Loader, from_fn},
    engine::{Engine, Visit},
    error::Fallible,
    learner::{Clip, Learner, Readout, StateDict, Stepped, Update},
    step::Step,
    task::{At, Mode, Predict, StepResult, Task},
    trainer::Trainer,
};

/// Learns nothing.
#[derive(Clone, Copy, Default)]
pub struct Null {
    /// Whether it claims to be on a device that computes by itself.
    pub asynchronous: bool,
}

impl Engine for Null {
    fn name(&self) -> &'static str {
        "null"
    }
    fn gradients(&mut self, _: Visit<'_>) -> Fallible {
        Ok(())
    }
    fn parameters(&mut self, _: Visit<'_>) -> Fallible {
        Ok(())
    }
}

impl Learner for Null {
    type Model = ();
    type Scalar = f64;
    type Device = ();
    fn init(&mut self, _: u64) -> Fallible {
        Ok(())
    }
    fn device(&self, _: Mode) {}
    fn to_device(&mut self, (): &()) -> Fallible {
        Ok(())
    }
    fn is_asynchronous(&self) -> bool {
        self.asynchronous
    }
    fn seed(&mut self, _: u64) {}
    fn train<R>(&mut self, f: impl FnOnce(&()) -> R) -> Fallible<R> {
        Ok(f(&()))
    }
    fn eval<R>(&mut self, f: impl FnOnce(&()) -> R) -> Fallible<R> {
        Ok(f(&()))
    }
    fn backward(&mut self, loss: f64, _: f64, _: bool) -> Fallible<f64> {
        Ok(loss)
    }
    fn detach(&self, value: f64) -> f64 {
        value
    }
    fn read(&self, lazy: &[f64], out: &mut Readout) -> Fallible {
        lazy.iter().for_each(|value| out.push(&[*value]));
        Ok(())
    }
    fn clip(&mut self, _: f64, _: &Clip) -> Fallible<Option<f64>> {
        Ok(None)
    }
    fn step(&mut self, _: &Update) -> Fallible<Stepped> {
        Ok(Stepped::Applied)
    }
    fn zero_grad(&mut self) {}
    fn expect_gradients(&mut self) -> Fallible {
        Ok(())
    }
    fn snapshot(&mut self) -> Fallible<StateDict> {
        Ok(StateDict::default())
    }
    fn load(&mut self, _: &StateDict) -> Fallible {
        Ok(())
    }
    fn model(&mut self) -> Fallible<&()> {
        Ok(&())
    }
    fn into_model(self) -> Fallible {
        Ok(())
    }
}

/// Its loss is its batch, and its accuracy what is left to 1.
pub struct Echo;

impl Task for Echo {
    type Learner = Null;
    type Batch = f64;
    fn train_step(&self, (): &(), batch: f64, _: &At) -> StepResult<Self> {
        Ok(Step::new(batch, 32).metric("accuracy", 1.0 - batch))
    }
    fn test_step(&self, model: &(), batch: f64, at: &At) -> StepResult<Self> {
        self.train_step(model, batch, at)
    }
}

impl Predict for Echo {
    type Input = f64;
    type Output = f64;
    fn predict(&self, (): &(), input: f64, _: &At) -> Fallible<f64> {
        Ok(input)
    }
}

/// A trainer without add-ons.
pub fn trainer() -> Trainer<Echo> {
    Trainer::new(Echo, Null::default()).scheduler(1e-3)
}

/// The loss of a micro-batch: no two are the same.
#[must_use]
pub fn loss(epoch: u64, micro_batch: u64) -> f64 {
    1.0 / (3.0 + 1e3 * epoch as f64 + micro_batch as f64)
}

/// Epochs of so many batches.
pub fn batches(per_epoch: u64) -> impl Loader<f64> {
    from_fn(move |epoch| (0..per_epoch).map(move |i| Ok(loss(epoch, i))))
}
