//! Where a run is: [`Cursor`] and [`ProgressChecker`].

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A position in the data: the next micro-batch to train on. The end of epoch k is always written as (k + 1, 0).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash, Serialize, Deserialize)]
pub struct Cursor {
    /// The epoch, from 0.
    pub epoch: u64,
    /// The micro-batch (one batch of the loader) within the epoch, from 0.
    pub micro_batch: u64,
}

/// Counts steps, epochs, samples and time, and survives a resume: it is part of every
/// [`Snapshot`](crate::snapshot::Snapshot).
///
/// A *step* is one update of the optimizer, a *micro-batch* one batch of the loader; they differ when gradients are
/// accumulated.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ProgressChecker {
    pub(crate) cursor: Cursor,
    pub(crate) step: u64,
    pub(crate) samples: f64,
    pub(crate) skipped: u64,
    /// Seconds of earlier processes and earlier calls.
    pub(crate) elapsed_before: f64,
    #[serde(skip)]
    pub(crate) clock: Option<Clock>,
    #[serde(skip)]
    pub(crate) plan: Plan,
}

/// The stretch of a run that this process is timing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    since: Instant,
    first_step: u64,
    first_samples: f64,
}

/// How long a run is going to be, as far as that is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) epochs: Option<u64>,
    pub(crate) total_steps: Option<u64>,
    pub(crate) epoch_micro_batches: Option<u64>,
    pub(crate) window: u64,
}

impl ProgressChecker {
    /// The epoch of the next micro-batch, from 0. After the last epoch of a run this is the number of epochs done.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.cursor.epoch
    }

    /// The next micro-batch within the epoch, from 0.
    #[must_use]
    pub fn micro_batch(&self) -> u64 {
        self.cursor.micro_batch
    }

    /// Epoch and micro-batch as one value.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Optimizer steps done.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Steps whose update was left out: the loss or the gradients were not finite, or no sample counted.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Samples (the weights of all steps) trained on.
    #[must_use]
    pub fn samples(&self) -> f64 {
        self.samples
    }

    /// The number of epochs the run goes to, if it is known.
    #[must_use]
    pub fn epochs(&self) -> Option<u64> {
        self.plan.epochs
    }

    /// The number of steps the run goes to, if it is known.
    #[must_use]
    pub fn total_steps(&self) -> Option<u64> {
        self.plan.total_steps
    }

    /// The number of steps of the current epoch, if it is known.
    #[must_use]
    pub fn steps_per_epoch(&self) -> Option<u64> {
        self.plan.epoch_micro_batches.map(|n| n.div_ceil(self.plan.window.max(1)))
    }

    /// Time spent in this run, over all its processes.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds()).unwrap_or_default()
    }

    /// The same in seconds. Read every step, so it is no more than the clock and a sum.
    pub(crate) fn seconds(&self) -> f64 {
        self.elapsed_before + self.clock.map_or(0.0, |c| c.since.elapsed().as_secs_f64())
    }

    /// Optimizer steps per second of this process, validation included. 0 before the first step.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.per_second(|clock| (self.step - clock.first_step) as f64)
    }

    /// Samples per second of this process, validation included.
    #[must_use]
    pub fn samples_per_second(&self) -> f64 {
        self.per_second(|clock| self.samples - clock.first_samples)
    }

    /// The time still needed at the present rate, if the run's length is known and a step was done.
    #[must_use]
    pub fn eta(&self) -> Option<Duration> {
        let left = self.plan.total_steps?.saturating_sub(self.step) as f64;
        Duration::try_from_secs_f64(left / self.rate()).ok()
    }

    fn per_second(&self, done: impl FnOnce(&Clock) -> f64) -> f64 {
        let Some(clock) = &self.clock else { return 0.0 };
        let seconds = clock.since.elapsed().as_secs_f64();
        if seconds > 0.0 { done(clock) / seconds } else { 0.0 }
    }

    pub(crate) fn start_clock(&mut self) {
        self.clock = Some(Clock { since: Instant::now(), first_step: self.step, first_samples: self.samples });
    }

    pub(crate) fn stop_clock(&mut self) {
        self.elapsed_before = self.seconds();
        self.clock = None;
    }

    /// A copy for a snapshot: the clock's time is written down, the plan is left out (a resume makes its own).
    pub(crate) fn saved(&self) -> Self {
        let mut saved = self.clone();
        saved.stop_clock();
        saved.plan = Plan::default();
        saved
    }
}
