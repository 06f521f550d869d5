//! Schedules at the same time.

use super::{Needs, Schedule, ScheduleAt};
use crate::{error::Fallible, metrics::Evaluation, state::State};

/// Two schedules at the same time: see [`Schedule::times`].
#[derive(Clone, Copy, PartialEq, Debug)]
#[doc(alias = "ChainedScheduler")]
pub struct Product<A, B>(pub(super) A, pub(super) B);

impl<A: Schedule, B: Schedule> Schedule for Product<A, B> {
    fn lr(&self, at: &ScheduleAt) -> f64 {
        self.0.lr(at) * self.1.lr(at)
    }
    fn needs(&self) -> Needs {
        self.0.needs().and(self.1.needs())
    }
    fn describe(&self, total: Option<u64>) -> Option<String> {
        Some(format!("({}) times ({})", self.0.describe(total)?, self.1.describe(total)?))
    }
    fn check(&self) -> Fallible {
        self.0.needs().check(self.1.needs(), "`.times(..)`")?;
        self.0.check()?;
        self.1.check()
    }
    fn observe(&mut self, evaluation: &Evaluation) -> Fallible {
        self.0.observe(evaluation)?;
        self.1.observe(evaluation)
    }
    fn state(&self) -> Fallible<Option<State>> {
        let states = (self.0.state()?, self.1.state()?);
        if states == (None, None) { Ok(None) } else { State::encode(&states).map(Some) }
    }
    fn restore(&mut self, state: &State) -> Fallible {
        let (a, b): (Option<State>, Option<State>) = state.decode()?;
        a.map_or(Ok(()), |state| self.0.restore(&state))?;
        b.map_or(Ok(()), |state| self.1.restore(&state))
    }
}
