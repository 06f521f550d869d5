//! In what a schedule's time is counted, and how long it is.

use super::{Needs, Schedule, ScheduleAt, check, reacts_as};
use crate::error::Fallible;

/// A schedule that counts epochs: see [`Schedule::per_epoch`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PerEpoch<S>(pub(super) S);

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
    fn check(&self) -> Fallible {
        self.0.check()
    }
    reacts_as!(0);
}

/// A schedule with a length of its own: see [`Schedule::over`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Over<S> {
    pub(super) inner: S,
    pub(super) length: u64,
}

impl<S: Schedule> Schedule for Over<S> {
    fn lr(&self, at: &ScheduleAt) -> f64 {
        let length = Some(self.length);
        self.inner.lr(&match self.inner.needs() {
            Needs::Epochs => ScheduleAt { epochs: length, ..*at },
            Needs::Nothing | Needs::Steps => ScheduleAt { total: length, ..*at },
        })
    }
    /// As the schedule says of a run that long: the two are the same.
    fn describe(&self, _: Option<u64>) -> Option<String> {
        self.inner.describe(Some(self.length))
    }
    fn check(&self) -> Fallible {
        check::at_least_one("`.over(..)`", "length", self.length)?;
        self.inner.check()
    }
    reacts_as!(inner);
}
