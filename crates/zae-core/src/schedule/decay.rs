//! Decay by a factor: in steps, at milestones, or continuously.

use super::{Schedule, ScheduleAt, check};
use crate::error::Fallible;

pub(super) fn power(gamma: f64, times: u64) -> f64 {
    gamma.powi(i32::try_from(times).unwrap_or(i32::MAX))
}

/// lr(t) = lr * gamma^floor(t / every), as `torch.optim.lr_scheduler.StepLR`.
#[derive(Clone, Copy, PartialEq, Debug)]
#[doc(alias = "StepLR")]
pub struct StepDecay {
    lr: f64,
    every: u64,
    gamma: f64,
}

impl StepDecay {
    /// Multiplies by `gamma` every `every` steps.
    #[must_use]
    pub fn new(lr: f64, every: u64, gamma: f64) -> Self {
        Self { lr, every, gamma }
    }
}

impl Schedule for StepDecay {
    fn lr(&self, at: &ScheduleAt) -> f64 {
        self.lr * power(self.gamma, at.step / self.every.max(1))
    }
    fn describe(&self, _: Option<u64>) -> Option<String> {
        Some(format!("{self:?}"))
    }
    fn check(&self) -> Fallible {
        check::rate("StepDecay", "learning rate", self.lr)?;
        check::at_least_one("StepDecay", "number of steps", self.every)?;
        check::rate("StepDecay", "gamma", self.gamma)
    }
}

/// lr(t) = lr * gamma^(milestones at or before t), as `torch.optim.lr_scheduler.MultiStepLR`.
#[derive(Clone, PartialEq, Debug)]
#[doc(alias = "MultiStepLR")]
pub struct MultiStep {
    lr: f64,
    milestones: Vec<u64>,
    gamma: f64,
}

impl MultiStep {
    /// Multiplies by `gamma` at each of the `milestones`, in any order.
    #[must_use]
    pub fn new(lr: f64, milestones: impl Into<Vec<u64>>, gamma: f64) -> Self {
        Self { lr, milestones: milestones.into(), gamma }
    }
}

impl Schedule for MultiStep {
    fn lr(&self, at: &ScheduleAt) -> f64 {
        self.lr * power(self.gamma, self.milestones.iter().filter(|m| **m <= at.step).count() as u64)
    }
    fn describe(&self, _: Option<u64>) -> Option<String> {
        Some(format!("{self:?}"))
    }
    fn check(&self) -> Fallible {
        check::rate("MultiStep", "learning rate", self.lr)?;
        check::rate("MultiStep", "gamma", self.gamma)
    }
}

/// lr(t) = lr * gamma^t, as `torch.optim.lr_scheduler.ExponentialLR`.
#[derive(Clone, Copy, PartialEq, Debug)]
#[doc(alias = "ExponentialLR")]
pub struct Exponential {
    lr: f64,
    gamma: f64,
}

impl Exponential {
    /// Multiplies by `gamma` every step.
    #[must_use]
    pub fn new(lr: f64, gamma: f64) -> Self {
        Self { lr, gamma }
    }
}

impl Schedule for Exponential {
    fn lr(&self, at: &ScheduleAt) -> f64 {
        self.lr * power(self.gamma, at.step)
    }
    fn describe(&self, _: Option<u64>) -> Option<String> {
        Some(format!("{self:?}"))
    }
    fn check(&self) -> Fallible {
        check::rate("Exponential", "learning rate", self.lr)?;
        check::rate("Exponential", "gamma", self.gamma)
    }
}
