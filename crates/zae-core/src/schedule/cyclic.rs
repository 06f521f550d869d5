//! Up and down, again and again.

use super::{Schedule, ScheduleAt, check, decay::power};
use crate::error::Fallible;

/// Climbs from a base to a highest learning rate and comes back, again and again (Smith 2015, arXiv:1506.01186).
///
/// As `torch.optim.lr_scheduler.CyclicLR` with `cycle_momentum=False`.
#[derive(Clone, Copy, PartialEq, Debug)]
#[doc(alias = "CyclicLR")]
pub struct Cyclic {
    base: f64,
    max: f64,
    up: u64,
    down: u64,
    mode: Mode,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Mode {
    Triangular,
    Triangular2,
    ExpRange(f64),
}

impl Cyclic {
    /// From `base_lr` to `max_lr` in `step_size` steps, and back in as many: all cycles alike (`mode="triangular"`).
    #[must_use]
    pub fn new(base_lr: f64, max_lr: f64, step_size: u64) -> Self {
        Self { base: base_lr, max: max_lr, up: step_size, down: step_size, mode: Mode::Triangular }
    }

    /// Another number of steps for the way back.
    #[must_use]
    pub fn step_size_down(mut self, steps: u64) -> Self {
        self.down = steps;
        self
    }

    /// Every cycle is half as high as the one before.
    #[must_use]
    pub fn triangular2(mut self) -> Self {
        self.mode = Mode::Triangular2;
        self
    }

    /// What is above the base is multiplied by `gamma^t`, with `gamma` between 0 and 1.
    #[must_use]
    pub fn exp_range(mut self, gamma: f64) -> Self {
        self.mode = Mode::ExpRange(gamma);
        self
    }
}

impl Schedule for Cyclic {
    fn lr(&self, at: &ScheduleAt) -> f64 {
        let (up, down) = (self.up.max(1), self.down.max(1));
        let period = up.saturating_add(down);
        let (cycle, step) = (at.step / period, at.step % period);
        let height = if step <= up { step as f64 / up as f64 } else { (period - step) as f64 / down as f64 };
        let scale = match self.mode {
            Mode::Triangular => 1.0,
            Mode::Triangular2 => power(0.5, cycle),
            Mode::ExpRange(gamma) => power(gamma, at.step),
        };
        self.base + (self.max - self.base) * height * scale
    }
    fn describe(&self, _: Option<u64>) -> Option<String> {
        Some(format!("{self:?}"))
    }
    fn check(&self) -> Fallible {
        check::rate("Cyclic", "base rate", self.base)?;
        check::rate("Cyclic", "highest rate", self.max)?;
        check::at_least_one("Cyclic", "step size", self.up)?;
        check::at_least_one("Cyclic", "step_size_down", self.down)?;
        match self.mode {
            Mode::ExpRange(gamma) => {
                check::demand((0.0..=1.0).contains(&gamma), "Cyclic", "gamma", gamma, "one between 0 and 1")
            }
            Mode::Triangular | Mode::Triangular2 => Ok(()),
        }
    }
}
