//! Learning-rate schedules: pure functions of the position, so that a resume needs no state and nobody counts steps.

mod cosine;
mod decay;
mod plateau;
#[cfg(test)]
mod tests;
mod warmup;

pub use cosine::Cosine;
pub use decay::{Exponential, MultiStep, StepDecay};
pub use plateau::ReduceOnPlateau;
pub use warmup::Warmup;

use crate::{error::Fallible, metrics::Evaluation, state::State};

/// A position on a schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ScheduleAt {
    /// The optimizer step about to be made, from 0 (or the epoch, under [`Schedule::per_epoch`]).
    pub step: u64,
    /// How many steps (or epochs) the run has, if that is known.
    pub total: Option<u64>,
    /// The epoch, from 0.
    pub epoch: u64,
    /// How many epochs the run has, if that is known.
    pub epochs: Option<u64>,
}

impl ScheduleAt {
    /// A position: step of total, epoch of epochs.
    #[must_use]
    pub fn new(step: u64, total: Option<u64>, epoch: u64, epochs: Option<u64>) -> Self {
        Self { step, total, epoch, epochs }
    }
}

/// What a schedule has to know of a run's length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// How many steps it has.
    Steps,
    /// How many epochs it has.
    Epochs,
}

/// The learning rate at every position of a run.
///
/// A number is the constant schedule, and a closure `|at: &ScheduleAt| ...` is a schedule. Time is counted in optimizer
/// steps unless [`Schedule::per_epoch`] says otherwise; the length comes from the run.
///
/// ```
/// use zae_core::schedule::{Cosine, Schedule, ScheduleAt};
/// let schedule = Cosine::new(1e-3).warmup(100);
/// let lr = |step| schedule.lr(&ScheduleAt::new(step, Some(1_100), 0, None));
/// assert_eq!(lr(49), 0.5e-3);   // the 50th of 100 warm-up steps
/// assert_eq!(lr(100), 1e-3);
/// assert!((lr(600) - 0.5e-3).abs() < 1e-15);
/// ```
pub trait Schedule: Send {
    /// The learning rate of the step about to be made.
    fn lr(&self, at: &ScheduleAt) -> f64;

    /// What it cannot work without.
    fn needs(&self) -> Needs {
        Needs::Nothing
    }

    /// All that it was set up with, in one line, for a run of `total` steps (or epochs, if that is what it needs): a
    /// resumed run whose schedule says something else is not the run that was interrupted, and is refused. `None`, for a
    /// closure, is not compared.
    fn describe(&self, total: Option<u64>) -> Option<String> {
        let _ = total;
        None
    }

    /// Looks at a validation, for schedules that react.
    ///
    /// # Errors
    /// When the metric it watches is not there.
    fn observe(&mut self, evaluation: &Evaluation) -> Fallible {
        let _ = evaluation;
        Ok(())
    }

    /// What has to be saved, for schedules that react.
    ///
    /// # Errors
    /// When it cannot be encoded.
    fn state(&self) -> Fallible<Option<State>> {
        Ok(None)
    }

    /// Takes back what [`Schedule::state`] gave.
    ///
    /// # Errors
    /// When it does not fit.
    fn restore(&mut self, state: &State) -> Fallible {
        let _ = state;
        Ok(())
    }

    /// Puts a linear warm-up of this many steps in front. The schedule itself starts after it.
    fn warmup(self, steps: u64) -> Warmup<Self>
    where
        Self: Sized,
    {
        Warmup::new(self, steps)
    }

    /// Counts epochs instead of steps.
    fn per_epoch(self) -> PerEpoch<Self>
    where
        Self: Sized,
    {
        PerEpoch(self)
    }
}

/// The constant schedule.
impl Schedule for f64 {
    fn lr(&self, _: &ScheduleAt) -> f64 {
        *self
    }
    fn describe(&self, _: Option<u64>) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

/// A schedule of the user's own.
impl<F: Fn(&ScheduleAt) -> f64 + Send> Schedule for F {
    fn lr(&self, at: &ScheduleAt) -> f64 {
        self(at)
    }
}

/// A schedule chosen at run time.
impl Schedule for Box<dyn Schedule> {
    fn lr(&self, at: &ScheduleAt) -> f64 {
        (**self).lr(at)
    }
    fn needs(&self) -> Needs {
        (**self).needs()
    }
    fn describe(&self, total: Option<u64>) -> Option<String> {
        (**self).describe(total)
    }
    fn observe(&mut self, evaluation: &Evaluation) -> Fallible {
        (**self).observe(evaluation)
    }
    fn state(&self) -> Fallible<Option<State>> {
        (**self).state()
    }
    fn restore(&mut self, state: &State) -> Fallible {
        (**self).restore(state)
    }
}

/// A schedule that counts epochs: see [`Schedule::per_epoch`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PerEpoch<S>(S);

impl<S: Schedule> Schedule for PerEpoch<S> {
    fn lr(&self, at: &ScheduleAt) -> f64 {
        self.0.lr(&ScheduleAt { step: at.epoch, total: at.epochs, ..*at })
    }
    fn needs(&self) -> Needs {
        match self.0.needs() {
            Needs::Steps => Needs::Epochs,
            other => other,
        }
    }
    fn describe(&self, total: Option<u64>) -> Option<String> {
        Some(format!("{} per epoch", self.0.describe(total)?))
    }
    fn observe(&mut self, evaluation: &Evaluation) -> Fallible {
        self.0.observe(evaluation)
    }
    fn state(&self) -> Fallible<Option<State>> {
        self.0.state()
    }
    fn restore(&mut self, state: &State) -> Fallible {
        self.0.restore(state)
    }
}
