//! Learning-rate schedules: pure functions of the position, so that a resume needs no state and nobody counts steps.
//!
//! A few shapes, and ways to put them together:
//!
//! | in PyTorch (Hugging Face, ...) | here |
//! |---|---|
//! | `StepLR`, `MultiStepLR`, `ExponentialLR` | [`StepDecay`], [`MultiStep`], [`Exponential`] |
//! | `LinearLR`, `PolynomialLR` | [`Linear`], [`Polynomial`] |
//! | `CosineAnnealingLR`, `CosineAnnealingWarmRestarts` | [`Cosine`], `Cosine::new(lr).restarts(t_0).mult(t_mult)` |
//! | `OneCycleLR`, `CyclicLR` | [`OneCycle`], [`Cyclic`] |
//! | `ConstantLR` | `(lr * factor).then(total_iters, lr)` |
//! | `LambdaLR`, `MultiplicativeLR` | a closure, which gives the rate itself |
//! | `ChainedScheduler` | [`Schedule::times`]: factors are schedules too |
//! | `SequentialLR` | [`Schedule::then`] |
//! | `ReduceLROnPlateau` | [`ReduceOnPlateau`] |
//! | linear with warm-up (`get_linear_schedule_with_warmup`) | `Linear::new(lr, 0.0).warmup(n)` |
//! | inverse square root, Noam, T5 | [`InverseSqrt`] |
//! | warmup-stable-decay, trapezoidal | `lr.warmup(n).cooldown(m)` |
//!
//! Rates are PyTorch's to twelve digits: it mostly multiplies the last rate by what has changed, which gathers rounding
//! errors, where here each is computed from the position. Where more than digits differ, the schedule says so.
//!
//! Momentum is not cycled by any of them: what an engine is told of a step ([`Update`](crate::learner::Update)) is its learning
//! rate.

mod anneal;
mod at;
mod check;
mod cooldown;
mod cosine;
mod cyclic;
mod decay;
mod inverse_sqrt;
mod length;
mod line;
mod needs;
mod one_cycle;
mod plateau;
mod plot;
mod product;
mod restarts;
mod sequential;
#[cfg(test)]
mod tests;
mod values;
mod warmup;

pub use anneal::Anneal;
pub use at::ScheduleAt;
pub use cooldown::Cooldown;
pub use cosine::Cosine;
pub use cyclic::Cyclic;
pub use decay::{Exponential, MultiStep, StepDecay};
pub use inverse_sqrt::InverseSqrt;
pub use length::{Over, PerEpoch};
pub use line::{Linear, Polynomial};
pub use needs::Needs;
pub use one_cycle::OneCycle;
pub use plateau::ReduceOnPlateau;
pub use product::Product;
pub use restarts::Restarts;
pub use sequential::Sequential;
pub use warmup::Warmup;

use crate::{error::Fallible, metrics::Evaluation, state::State};

/// The learning rate at every position of a run.
///
/// A number is the constant schedule, and a closure `|at: &ScheduleAt| ...` is a schedule. Time is counted in optimizer
/// steps unless [`Schedule::per_epoch`] says otherwise; the length comes from the run, unless [`Schedule::over`] gives one.
///
/// ```
/// use zae_core::schedule::{Cosine, Schedule, ScheduleAt};
/// let schedule = Cosine::new(1e-3).warmup(100);
/// let lr = |step| schedule.lr(&ScheduleAt::new(step, Some(1_100), 0, None));
/// assert_eq!(lr(49), 0.5e-3);   // the 50th of 100 warm-up steps
/// assert_eq!(lr(100), 1e-3);
/// assert!((lr(600) - 0.5e-3).abs() < 1e-15);
/// ```
#[doc(alias = "LambdaLR")]
#[doc(alias = "MultiplicativeLR")]
pub trait Schedule: Send {
    /// The learning rate of the step about to be made.
    fn lr(&self, at: &ScheduleAt) -> f64;

    /// What it cannot work without.
    fn needs(&self) -> Needs {
        Needs::Nothing
    }

    /// All that it was set up with, in one line, for a run of `total` steps (or epochs, if that is what it needs): a
    /// resumed run whose schedule says something else is not the run that was interrupted, and is refused. `None`, for a
    /// closure, is not compared.
    fn describe(&self, total: Option<u64>) -> Option<String> {
        let _ = total;
        None
    }

    /// Whether it can work at all. The trainer asks before it begins.
    ///
    /// # Errors
    /// When a setting cannot be meant, with one that can.
    fn check(&self) -> Fallible {
        Ok(())
    }

    /// Looks at a validation, for schedules that react.
    ///
    /// # Errors
    /// When the metric it watches is not there.
    fn observe(&mut self, evaluation: &Evaluation) -> Fallible {
        let _ = evaluation;
        Ok(())
    }

    /// What has to be saved, for schedules that react.
    ///
    /// # Errors
    /// When it cannot be encoded.
    fn state(&self) -> Fallible<Option<State>> {
        Ok(None)
    }

    /// Takes back what [`Schedule::state`] gave.
    ///
    /// # Errors
    /// When it does not fit.
    fn restore(&mut self, state: &State) -> Fallible {
        let _ = state;
        Ok(())
    }

    /// Puts a linear warm-up of this many steps in front. The schedule itself starts after it.
    fn warmup(self, steps: u64) -> Warmup<Self>
    where
        Self: Sized,
    {
        Warmup::new(self, steps)
    }

    /// Multiplies the last steps of the run by a factor that goes down from 1 to 0: in a straight line, unless
    /// [`Cooldown::anneal`] and [`Cooldown::min_ratio`] say otherwise. More steps than the run has are as many as it has.
    ///
    /// With a warm-up before a constant rate, this is the warmup-stable-decay schedule (Hu et al. 2024, arXiv:2404.06395;
    /// Hägele et al. 2024, arXiv:2405.18392); with [`InverseSqrt`], that of Zhai et al. 2021 (arXiv:2106.04560).
    ///
    /// ```
    /// use zae_core::schedule::{Anneal, Schedule};
    /// let wsd = 1e-3.warmup(100).cooldown(200).anneal(Anneal::OneMinusSqrt);
    /// ```
    #[doc(alias = "WSD")]
    #[doc(alias = "warmup-stable-decay")]
    #[doc(alias = "trapezoidal")]
    fn cooldown(self, steps: u64) -> Cooldown<Self>
    where
        Self: Sized,
    {
        Cooldown::new(self, steps)
    }

    /// From `step` on, another schedule, which begins anew then. One that takes its length from the run has what is left
    /// of it; the one before has `step` steps.
    ///
    /// ```
    /// use zae_core::schedule::{Cosine, Linear, Schedule, ScheduleAt};
    /// let up_hold_down = Linear::new(0.0, 0.1).then(10, 0.1).then(50, Cosine::new(0.1));
    /// let lr = |step| up_hold_down.lr(&ScheduleAt::new(step, Some(100), 0, None));
    /// assert_eq!([0, 5, 10, 49, 50, 75].map(lr), [0.0, 0.05, 0.1, 0.1, 0.1, 0.05]);
    /// ```
    #[doc(alias = "SequentialLR")]
    #[doc(alias = "ConstantLR")]
    #[doc(alias = "milestones")]
    fn then(self, step: u64, next: impl Schedule + 'static) -> Sequential
    where
        Self: Sized + 'static,
    {
        Sequential::new(self).then(step, next)
    }

    /// Both at the same time: the rate of one times that of the other, which is usually a factor around 1.
    ///
    /// `torch.optim.lr_scheduler.ChainedScheduler` does the same with schedules that are factors. It has a meaning of its own
    /// for those with a lowest rate that is not 0, which this one does not follow.
    ///
    /// ```
    /// use zae_core::schedule::{Cosine, Exponential, Schedule};
    /// let damped = Cosine::new(0.1).restarts(50).times(Exponential::new(1.0, 0.99));
    /// ```
    #[doc(alias = "ChainedScheduler")]
    fn times<S: Schedule>(self, factor: S) -> Product<Self, S>
    where
        Self: Sized,
    {
        Product(self, factor)
    }

    /// Begins anew after this many steps, again and again: warm restarts. A cycle is the whole run for a schedule that
    /// takes its length from it.
    ///
    /// `Cosine::new(lr).restarts(t_0).mult(t_mult)` is `torch.optim.lr_scheduler.CosineAnnealingWarmRestarts` (SGDR:
    /// Loshchilov, Hutter 2017).
    #[doc(alias = "CosineAnnealingWarmRestarts")]
    #[doc(alias = "T_0")]
    #[doc(alias = "SGDR")]
    fn restarts(self, every: u64) -> Restarts<Self>
    where
        Self: Sized,
    {
        Restarts::new(self, every)
    }

    /// Gives it a length other than the run's: this many steps, or epochs if it counts those. After them it does what it
    /// does after a run's end, which is mostly to stay at its last rate.
    fn over(self, length: u64) -> Over<Self>
    where
        Self: Sized,
    {
        Over { inner: self, length }
    }

    /// Counts epochs instead of steps.
    fn per_epoch(self) -> PerEpoch<Self>
    where
        Self: Sized,
    {
        PerEpoch(self)
    }

    /// The rates of a run of that many steps and epochs as text, to look at before it begins: `size` is how many columns and
    /// rows are drawn (1 to 1,000 of each), beside the labels. Each column shows the rate of one step, from the first to the
    /// last; a rate that is not finite leaves its column empty.
    ///
    /// ```
    /// use zae_core::schedule::{OneCycle, Schedule};
    /// let text = OneCycle::new(0.1).plot(500, 1, (40, 6));
    /// let lines = [
    ///     "1.00e-1 ┤         ▂▆███▇▆▅▄▂",
    ///     "        ┤        ▆███████████▆▄▁",
    ///     "        ┤      ▂████████████████▆▄▁",
    ///     "        ┤     ▃████████████████████▆▄▁",
    ///     "        ┤   ▁▆████████████████████████▆▄▂",
    ///     "        ┤▂▃▅█████████████████████████████▇▆▄▃▁▁",
    ///     "      0 └────────────────────────────────────────",
    ///     "   step  0                                    499",
    /// ];
    /// assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    /// ```
    fn plot(&self, steps: u64, epochs: u64, size: (usize, usize)) -> String {
        plot::draw(&|at| self.lr(at), steps, epochs, size)
    }
}

/// For a schedule around another: only the other reacts.
macro_rules! reacts_as {
    ($inner:tt) => {
        fn observe(&mut self, evaluation: &crate::metrics::Evaluation) -> crate::error::Fallible {
            self.$inner.observe(evaluation)
        }
        fn state(&self) -> crate::error::Fallible<Option<crate::state::State>> {
            self.$inner.state()
        }
        fn restore(&mut self, state: &crate::state::State) -> crate::error::Fallible {
            self.$inner.restore(state)
        }
    };
}
use reacts_as;
