//! Numbers, closures and boxes are schedules.

use super::{Needs, Schedule, ScheduleAt, check};
use crate::{error::Fallible, metrics::Evaluation, state::State};

/// The constant schedule.
impl Schedule for f64 {
    fn lr(&self, _: &ScheduleAt) -> f64 {
        *self
    }
    fn describe(&self, _: Option<u64>) -> Option<String> {
        Some(format!("{self:?}"))
    }
    fn check(&self) -> Fallible {
        check::rate("the schedule", "learning rate", *self)
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
    fn check(&self) -> Fallible {
        (**self).check()
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
