//! One cycle: up, and down to far below where it began.

use super::{Anneal, Needs, Schedule, ScheduleAt, check};
use crate::error::Fallible;

/// The 1cycle policy: up from a fraction of the highest learning rate, then down to next to nothing, over the whole run.
///
/// As `torch.optim.lr_scheduler.OneCycleLR` with the same defaults (Smith, Topin 2017, arXiv:1708.07120; two phases as in
/// fastai). The length is the run's, or [`Schedule::over`]. It differs in two things: momentum is not
/// cycled, and after its end it stays at its last value, where PyTorch refuses.
///
/// ```
/// use zae_core::schedule::{Anneal, OneCycle};
/// let default = OneCycle::new(0.1);
/// let paper = OneCycle::new(0.1).anneal(Anneal::Linear).three_phase();
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
#[doc(alias = "OneCycleLR")]
pub struct OneCycle {
    max: f64,
    pct_start: f64,
    anneal: Anneal,
    div_factor: f64,
    final_div_factor: f64,
    three_phase: bool,
}

impl OneCycle {
    /// From `max_lr / 25` in a cosine to `max_lr` within 30 % of the run, and in another to `max_lr / 250,000`.
    #[must_use]
    pub fn new(max_lr: f64) -> Self {
        Self {
            max: max_lr,
            pct_start: 0.3,
            anneal: Anneal::Cosine,
            div_factor: 25.0,
            final_div_factor: 1e4,
            three_phase: false,
        }
    }

    /// The part of the run that the way up takes, from 0 to 1 (with [`OneCycle::three_phase`], to 0.5).
    #[must_use]
    pub fn pct_start(mut self, part: f64) -> Self {
        self.pct_start = part;
        self
    }

    /// The shape of the ways up and down.
    #[must_use]
    pub fn anneal(mut self, anneal: Anneal) -> Self {
        self.anneal = anneal;
        self
    }

    /// What the highest learning rate is divided by to get the first.
    #[must_use]
    pub fn div_factor(mut self, factor: f64) -> Self {
        self.div_factor = factor;
        self
    }

    /// What the first learning rate is divided by to get the last.
    #[must_use]
    pub fn final_div_factor(mut self, factor: f64) -> Self {
        self.final_div_factor = factor;
        self
    }

    /// Comes down to the first learning rate in as many steps as it went up, and only then to the last, as in the paper.
    #[must_use]
    pub fn three_phase(mut self) -> Self {
        self.three_phase = true;
        self
    }

    fn first(&self) -> f64 {
        self.max / self.div_factor
    }

    fn last(&self) -> f64 {
        self.first() / self.final_div_factor
    }
}

impl Schedule for OneCycle {
    fn lr(&self, at: &ScheduleAt) -> f64 {
        let Some(total) = at.total else { return self.first() };
        let last_step = total.saturating_sub(1);
        let (step, end) = (at.step.min(last_step) as f64, last_step as f64);
        // Phases end between two steps, where PyTorch has them end.
        let up = self.pct_start * total as f64 - 1.0;
        let phases = if self.three_phase {
            [(up, self.first(), self.max), (2.0 * up, self.max, self.first()), (end, self.first(), self.last())]
        } else {
            [(up, self.first(), self.max), (end, self.max, self.last()), (end, self.last(), self.last())]
        };
        let mut begin = 0.0;
        for (end, from, to) in phases {
            if step <= end {
                let t = if end > begin { (step - begin) / (end - begin) } else { 1.0 };
                return self.anneal.between(from, to, t);
            }
            begin = end;
        }
        self.last()
    }
    fn needs(&self) -> Needs {
        Needs::Steps
    }
    fn describe(&self, total: Option<u64>) -> Option<String> {
        Some(format!("{self:?} over {}", total?))
    }
    fn check(&self) -> Fallible {
        let most = if self.three_phase { 0.5 } else { 1.0 };
        let range = format!("one between 0 and {most}");
        check::rate("OneCycle", "learning rate", self.max)?;
        check::divisor("OneCycle", "div_factor", self.div_factor)?;
        check::divisor("OneCycle", "final_div_factor", self.final_div_factor)?;
        check::rate("OneCycle", "first rate", self.first())?;
        check::rate("OneCycle", "last rate", self.last())?;
        check::demand((0.0..=most).contains(&self.pct_start), "OneCycle", "pct_start", self.pct_start, &range)
    }
}
