//! Reduce on plateau.

use serde::{Deserialize, Serialize};

use super::{Needs, Schedule, ScheduleAt, check};
use crate::{
    error::Fallible,
    metrics::{Direction, Evaluation},
    state::State,
};

/// Multiplies another schedule's learning rate by a factor each time a metric has stopped getting better, as
/// `torch.optim.lr_scheduler.ReduceLROnPlateau` (relative threshold) does with the same defaults. PyTorch stops when a
/// reduction would be less than 1e-8 (`eps`), this one at [`ReduceOnPlateau::min_lr`]; and of metrics below 0, PyTorch takes for
/// a gain what is worse by less than the threshold.
///
/// ```
/// use zae_core::schedule::{Cosine, ReduceOnPlateau};
/// let constant = ReduceOnPlateau::new(1e-3);
/// let on_top = ReduceOnPlateau::new(Cosine::new(1e-3)).metric("valid/accuracy").factor(0.5).patience(2);
/// ```
#[derive(Clone, PartialEq, Debug)]
#[doc(alias = "ReduceLROnPlateau")]
pub struct ReduceOnPlateau<S> {
    inner: S,
    metric: String,
    direction: Option<Direction>,
    factor: f64,
    patience: u64,
    threshold: f64,
    cooldown: u64,
    min_lr: f64,
    watch: Watch,
}

/// What a plateau is recognised by: everything that has to be saved.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
struct Watch {
    best: Option<f64>,
    bad: u64,
    cooling: u64,
    scale: f64,
}

impl<S: Schedule> ReduceOnPlateau<S> {
    /// Watches `valid/loss`: after more than 10 validations without a gain of 1e-4 (relative), a tenth.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            metric: "valid/loss".to_owned(),
            direction: None,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            cooldown: 0,
            min_lr: 0.0,
            watch: Watch { best: None, bad: 0, cooling: 0, scale: 1.0 },
        }
    }

    /// The metric to watch, by its full name. Whether less or more is better is read off the name
    /// ([`Direction::of`]) unless [`ReduceOnPlateau::direction`] says so.
    #[must_use]
    pub fn metric(mut self, name: impl Into<String>) -> Self {
        self.metric = name.into();
        self
    }

    /// Whether less or more is better.
    #[must_use]
    pub fn direction(mut self, direction: Direction) -> Self {
        self.direction = Some(direction);
        self
    }

    /// What the learning rate is multiplied by.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// How many validations without a gain are let pass.
    #[must_use]
    pub fn patience(mut self, validations: u64) -> Self {
        self.patience = validations;
        self
    }

    /// How much better counts as better, relative to the best.
    #[must_use]
    pub fn threshold(mut self, relative: f64) -> Self {
        self.threshold = relative;
        self
    }

    /// How many validations after a reduction are not counted.
    #[must_use]
    pub fn cooldown(mut self, validations: u64) -> Self {
        self.cooldown = validations;
        self
    }

    /// The learning rate below which it does not go.
    #[must_use]
    pub fn min_lr(mut self, lr: f64) -> Self {
        self.min_lr = lr;
        self
    }
}

impl<S: Schedule> Schedule for ReduceOnPlateau<S> {
    fn lr(&self, at: &ScheduleAt) -> f64 {
        let lr = self.inner.lr(at);
        if self.watch.scale == 1.0 { lr } else { (lr * self.watch.scale).max(self.min_lr.min(lr)) }
    }

    fn needs(&self) -> Needs {
        self.inner.needs()
    }

    fn describe(&self, total: Option<u64>) -> Option<String> {
        let Self { inner, metric, direction, factor, patience, threshold, cooldown, min_lr, watch: _ } = self;
        let direction = direction.unwrap_or_else(|| Direction::of(metric));
        Some(format!(
            "{}, on a plateau of {metric} ({direction:?}) times {factor} (patience {patience}, threshold {threshold}, \
             cooldown {cooldown}, min_lr {min_lr})",
            inner.describe(total)?
        ))
    }

    fn check(&self) -> Fallible {
        let factor = self.factor > 0.0 && self.factor < 1.0;
        check::demand(factor, "ReduceOnPlateau", "factor", self.factor, "one between 0 and 1")?;
        check::rate("ReduceOnPlateau", "threshold", self.threshold)?;
        check::rate("ReduceOnPlateau", "min_lr", self.min_lr)?;
        self.inner.check()
    }

    fn observe(&mut self, evaluation: &Evaluation) -> Fallible {
        self.inner.observe(evaluation)?;
        let value = evaluation.watched(&self.metric, "ReduceOnPlateau")?;
        let direction = self.direction.unwrap_or_else(|| Direction::of(&self.metric));
        let watch = &mut self.watch;
        if watch.best.is_none_or(|best| direction.is_gain(value, best, self.threshold * best.abs())) && !value.is_nan()
        {
            watch.best = Some(value);
            watch.bad = 0;
        } else {
            watch.bad += 1;
        }
        if watch.cooling > 0 {
            watch.cooling -= 1;
            watch.bad = 0;
        }
        if watch.bad > self.patience {
            watch.scale *= self.factor;
            watch.cooling = self.cooldown;
            watch.bad = 0;
        }
        Ok(())
    }

    fn state(&self) -> Fallible<Option<State>> {
        Ok(Some(State::encode(&(self.watch, self.inner.state()?))?))
    }

    fn restore(&mut self, state: &State) -> Fallible {
        let (watch, inner): (Watch, Option<State>) = state.decode()?;
        if let Some(inner) = inner {
            self.inner.restore(&inner)?;
        }
        self.watch = watch;
        Ok(())
    }
}
