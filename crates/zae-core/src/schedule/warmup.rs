//! Linear warm-up in front of any schedule.

use super::{Needs, Schedule, ScheduleAt, reacts_as};
use crate::error::Fallible;

/// Linear warm-up, then another schedule: see [`Schedule::warmup`].
///
/// During the n warm-up steps, step t has (t + 1) / n times the other schedule's first learning rate; then the other
/// schedule runs over what is left of the run. (Under `per_epoch` the other schedule goes by the epochs of the whole run.)
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Warmup<S> {
    then: S,
    steps: u64,
}

impl<S: Schedule> Warmup<S> {
    pub(super) fn new(then: S, steps: u64) -> Self {
        Self { then, steps }
    }
}

impl<S: Schedule> Schedule for Warmup<S> {
    fn lr(&self, at: &ScheduleAt) -> f64 {
        let lr = self.then.lr(&at.within(self.steps, at.total));
        if at.step < self.steps { lr * (at.step + 1) as f64 / self.steps as f64 } else { lr }
    }
    fn describe(&self, total: Option<u64>) -> Option<String> {
        Some(format!(
            "{} after a warm-up of {} steps",
            self.then.describe(total.map(|total| total.saturating_sub(self.steps)))?,
            self.steps
        ))
    }
    fn needs(&self) -> Needs {
        self.then.needs()
    }
    fn check(&self) -> Fallible {
        self.then.check()
    }
    reacts_as!(then);
}
