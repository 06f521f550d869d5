//! Cosine annealing.

use std::f64::consts::PI;

use super::{Needs, Schedule, ScheduleAt, check};
use crate::error::Fallible;

/// Half a cosine from the first learning rate to the last, over the whole run.
///
/// lr(t) = min + (max - min) * (1 + cos(pi * t / T)) / 2, as `torch.optim.lr_scheduler.CosineAnnealingLR` with
/// `T_max = T` (Loshchilov, Hutter 2017; with [`Schedule::restarts`], as `CosineAnnealingWarmRestarts`). T is the length of
/// the run, or [`Cosine::over`]; then it stays at its last value, where PyTorch's climbs again.
#[doc(alias = "CosineAnnealingLR")]
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cosine {
    max: f64,
    min: f64,
    over: Option<u64>,
}

impl Cosine {
    /// From `lr` to 0 over the run.
    #[must_use]
    pub fn new(lr: f64) -> Self {
        Self { max: lr, min: 0.0, over: None }
    }

    /// The last learning rate.
    #[must_use]
    pub fn min_lr(mut self, lr: f64) -> Self {
        self.min = lr;
        self
    }

    /// A length other than the run's; after it the learning rate stays at its last value.
    #[must_use]
    pub fn over(mut self, steps: u64) -> Self {
        self.over = Some(steps);
        self
    }
}

impl Schedule for Cosine {
    fn lr(&self, at: &ScheduleAt) -> f64 {
        let Some(total) = self.over.or(at.total) else { return self.max };
        let t = if total == 0 { 1.0 } else { at.step.min(total) as f64 / total as f64 };
        self.min + (self.max - self.min) * (1.0 + (PI * t).cos()) / 2.0
    }
    fn describe(&self, total: Option<u64>) -> Option<String> {
        Some(format!("{:?}", Self { over: self.over.or(total), ..*self }))
    }
    fn needs(&self) -> Needs {
        if self.over.is_none() { Needs::Steps } else { Needs::Nothing }
    }
    fn check(&self) -> Fallible {
        check::rate("Cosine", "learning rate", self.max)?;
        check::rate("Cosine", "min_lr", self.min)?;
        self.over.map_or(Ok(()), |length| check::at_least_one("Cosine", "length", length))
    }
}
