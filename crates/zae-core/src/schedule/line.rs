//! Straight lines and polynomials over the whole run.

use super::{Anneal, Needs, Schedule, ScheduleAt, check};
use crate::error::Fallible;

/// A straight line from one learning rate to another over the whole run, up or down.
///
/// lr(t) = from + (to - from) * t / T, as `torch.optim.lr_scheduler.LinearLR` with `from = start_factor * lr`,
/// `to = end_factor * lr` and `total_iters = T`. T is the length of the run, or [`Schedule::over`]; then it stays at `to`.
/// Not in the prelude: tensor libraries have a layer of that name.
///
/// ```
/// use zae_core::schedule::{Linear, Schedule};
/// let decay = Linear::new(1e-3, 0.0).warmup(100);       // the fine-tuning default of many a library
/// let torch = Linear::new(0.05 / 3.0, 0.05).over(5);    // LinearLR(optimizer), with the optimizer's lr=0.05
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
#[doc(alias = "LinearLR")]
pub struct Linear {
    from: f64,
    to: f64,
}

impl Linear {
    /// From one learning rate to another.
    #[must_use]
    pub fn new(from: f64, to: f64) -> Self {
        Self { from, to }
    }
}

impl Schedule for Linear {
    fn lr(&self, at: &ScheduleAt) -> f64 {
        Anneal::Linear.between(self.from, self.to, at.fraction())
    }
    fn needs(&self) -> Needs {
        Needs::Steps
    }
    fn describe(&self, total: Option<u64>) -> Option<String> {
        Some(format!("{self:?} over {}", total?))
    }
    fn check(&self) -> Fallible {
        check::rate("Linear", "first rate", self.from)?;
        check::rate("Linear", "last rate", self.to)
    }
}

/// From the first learning rate to the last by a power of the time left.
///
/// lr(t) = min + (lr - min) * (1 - t / T)^power, as `torch.optim.lr_scheduler.PolynomialLR` with `total_iters = T` (which
/// knows no `min`). T is the length of the run, or [`Schedule::over`]; then it stays at its last value.
#[derive(Clone, Copy, PartialEq, Debug)]
#[doc(alias = "PolynomialLR")]
pub struct Polynomial {
    lr: f64,
    power: f64,
    min: f64,
}

impl Polynomial {
    /// From `lr` to 0 in a straight line, which [`Polynomial::power`] bends.
    #[must_use]
    pub fn new(lr: f64) -> Self {
        Self { lr, power: 1.0, min: 0.0 }
    }

    /// The power: above 1, the rate falls fast at first; below 1, at the end.
    #[must_use]
    pub fn power(mut self, power: f64) -> Self {
        self.power = power;
        self
    }

    /// The last learning rate.
    #[must_use]
    pub fn min_lr(mut self, lr: f64) -> Self {
        self.min = lr;
        self
    }
}

impl Schedule for Polynomial {
    fn lr(&self, at: &ScheduleAt) -> f64 {
        self.min + (self.lr - self.min) * (1.0 - at.fraction()).powf(self.power)
    }
    fn needs(&self) -> Needs {
        Needs::Steps
    }
    fn describe(&self, total: Option<u64>) -> Option<String> {
        Some(format!("{self:?} over {}", total?))
    }
    fn check(&self) -> Fallible {
        check::rate("Polynomial", "learning rate", self.lr)?;
        check::rate("Polynomial", "min_lr", self.min)?;
        check::divisor("Polynomial", "power", self.power)
    }
}
