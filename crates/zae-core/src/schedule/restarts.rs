//! A schedule that begins anew.

use super::{Needs, Schedule, ScheduleAt, check, reacts_as};
use crate::error::Fallible;

/// Warm restarts of another schedule: see [`Schedule::restarts`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Restarts<S> {
    inner: S,
    every: u64,
    mult: u64,
}

impl<S: Schedule> Restarts<S> {
    pub(super) fn new(inner: S, every: u64) -> Self {
        Self { inner, every, mult: 1 }
    }

    /// Every cycle is this many times as long as the one before: `T_mult`.
    #[must_use]
    #[doc(alias = "T_mult")]
    pub fn mult(mut self, times: u64) -> Self {
        self.mult = times;
        self
    }

    /// Where the cycle that a step is in begins and ends.
    fn cycle(&self, step: u64) -> (u64, u64) {
        let mut length = self.every.max(1);
        if self.mult <= 1 {
            let begin = step - step % length;
            return (begin, begin.saturating_add(length));
        }
        let (mut begin, mut end) = (0, length);
        while step >= end && end < u64::MAX {
            length = length.saturating_mul(self.mult);
            (begin, end) = (end, end.saturating_add(length));
        }
        (begin, end)
    }
}

impl<S: Schedule> Schedule for Restarts<S> {
    fn lr(&self, at: &ScheduleAt) -> f64 {
        let (begin, end) = self.cycle(at.step);
        self.inner.lr(&at.within(begin, Some(end)))
    }
    fn needs(&self) -> Needs {
        match self.inner.needs() {
            Needs::Epochs => Needs::Epochs,
            Needs::Nothing | Needs::Steps => Needs::Nothing,
        }
    }
    fn describe(&self, total: Option<u64>) -> Option<String> {
        let first = if self.needs() == Needs::Epochs { total } else { Some(self.every) };
        let (inner, Self { every, mult, .. }) = (self.inner.describe(first)?, self);
        Some(format!("{inner} with a restart after {every} steps, cycles {mult} times as long"))
    }
    fn check(&self) -> Fallible {
        check::at_least_one("`.restarts(..)`", "number of steps", self.every)?;
        check::at_least_one("`.restarts(..)`", "factor", self.mult)?;
        self.inner.check()
    }
    reacts_as!(inner);
}
