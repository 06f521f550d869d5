//! A way down at the end of any schedule.

use super::{Anneal, Needs, Schedule, ScheduleAt, check, reacts_as};
use crate::error::Fallible;

/// Another schedule, and in the last steps of the run a way down: see [`Schedule::cooldown`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cooldown<S> {
    inner: S,
    steps: u64,
    anneal: Anneal,
    min_ratio: f64,
}

impl<S: Schedule> Cooldown<S> {
    pub(super) fn new(inner: S, steps: u64) -> Self {
        Self { inner, steps, anneal: Anneal::Linear, min_ratio: 0.0 }
    }

    /// The shape of the way down: a straight line if nothing is said.
    #[must_use]
    pub fn anneal(mut self, anneal: Anneal) -> Self {
        self.anneal = anneal;
        self
    }

    /// What part of the learning rate is left at the end, from 0 to 1: none if nothing is said.
    #[must_use]
    #[doc(alias = "min_lr_ratio")]
    pub fn min_ratio(mut self, part: f64) -> Self {
        self.min_ratio = part;
        self
    }
}

impl<S: Schedule> Schedule for Cooldown<S> {
    fn lr(&self, at: &ScheduleAt) -> f64 {
        let lr = self.inner.lr(at);
        let Some(total) = at.total else { return lr };
        let begin = total.saturating_sub(self.steps);
        if at.step < begin || self.steps == 0 {
            return lr;
        }
        lr * self.anneal.between(1.0, self.min_ratio, at.within(begin, Some(total)).fraction())
    }
    fn needs(&self) -> Needs {
        if self.steps == 0 { self.inner.needs() } else { Needs::Steps }
    }
    fn describe(&self, total: Option<u64>) -> Option<String> {
        let inner = self.inner.describe(total)?;
        if self.steps == 0 {
            return Some(inner);
        }
        let Self { steps, anneal, min_ratio, .. } = self;
        Some(format!("{inner} with a cooldown ({anneal:?}) to {min_ratio} of it in the last {steps} of {}", total?))
    }
    fn check(&self) -> Fallible {
        let holds = (0.0..=1.0).contains(&self.min_ratio);
        check::demand(holds, "`.cooldown(..)`", "min_ratio", self.min_ratio, "one between 0 and 1")?;
        self.needs().check(self.inner.needs(), "`.cooldown(..)`")?;
        self.inner.check()
    }
    reacts_as!(inner);
}
