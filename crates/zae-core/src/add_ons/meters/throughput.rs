//! [`Throughput`]: how fast a run trains, and how much of its time is not lost.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Clock, EVERY, check_every,
    stopwatch::{Activity, Stopwatch},
};
use crate::{
    add_on::{AddOn, Context},
    error::{Error, Fallible},
    metrics::EpochSummary,
    state::State,
    trainer::Run,
    watch::Watch,
};

/// Measures how fast the run trains:
///
/// - `meter/samples_per_s` and `meter/steps_per_s`: samples (of all processes together) and optimizer steps per second, without
///   the time that evaluations took, in the rows for the last [`Throughput::every`] steps, in an epoch's summary for the epoch,
///   or for what of it this process has trained.
/// - `meter/goodput`: which share of the time since the run was first started was spent on training steps that the run still has.
///   Lost is what evaluations, add-ons, snapshots and starts took, the time in which no process ran, and the steps that a killed
///   process had made since its last snapshot, for they had to be made again.
///
/// The times are those of the host. On an asynchronous device (a GPU) they are right over as many steps as the trainer reads at
/// once ([`Trainer::log_every`](crate::trainer::Trainer::log_every)) or more.
///
/// ```
/// use zae_core::add_ons::Throughput;
/// let meter = Throughput::new().every(100);
/// ```
pub struct Throughput {
    every: u64,
    clock: Clock,
    watch: Stopwatch,
    kept: Kept,
    /// What the window of steps and the epoch began with.
    window: Mark,
    epoch: Mark,
    in_run: bool,
}

/// What has to be saved: times, the only sort of thing that a resumed run does not repeat.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// Since 1970, when the run was first started.
    started_seconds: Option<f64>,
    /// Spent on steps that the run has.
    steps_seconds: f64,
}

/// Where something began.
#[derive(Clone, Copy, Default)]
struct Mark {
    at: Duration,
    evaluations: Duration,
    step: u64,
    samples: f64,
}

impl Throughput {
    /// Measures every 50 steps.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Clock::default())
    }

    fn with(clock: Clock) -> Self {
        let watch = Stopwatch::new(clock.clone());
        let (kept, mark) = (Kept::default(), Mark::default());
        Self { every: EVERY, clock, watch, kept, window: mark, epoch: mark, in_run: false }
    }

    /// After how many steps it measures; 50 by default.
    #[must_use]
    pub fn every(mut self, steps: u64) -> Self {
        self.every = steps;
        self
    }

    /// Reads the time (since 1970) from this clock. For tests; to be called first.
    #[must_use]
    pub fn clock(self, now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { every: self.every, ..Self::with(Clock::new(now)) }
    }

    fn mark(&self, cx: &Context<'_>) -> Mark {
        let evaluations = self.watch.times().of(Activity::Evaluation);
        Mark { at: self.clock.now(), evaluations, step: cx.progress.step(), samples: cx.progress.samples() }
    }

    fn log(&self, from: &Mark, to: &Mark, cx: &mut Context<'_>) -> Fallible {
        let paused = to.evaluations.saturating_sub(from.evaluations);
        let seconds = to.at.saturating_sub(from.at).saturating_sub(paused).as_secs_f64();
        let kept = self.kept();
        let total = to.at.as_secs_f64() - kept.started_seconds.unwrap_or_default();
        if seconds > 0.0 {
            cx.measure("samples_per_s", (to.samples - from.samples) / seconds)?;
            cx.measure("steps_per_s", (to.step - from.step) as f64 / seconds)?;
        }
        if total > 0.0 { cx.measure("goodput", (kept.steps_seconds / total).min(1.0)) } else { Ok(()) }
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.in_run) {
            self.kept = self.kept();
            self.watch.reset();
        }
    }

    fn kept(&self) -> Kept {
        if !self.in_run {
            return self.kept;
        }
        let steps_seconds = self.kept.steps_seconds + self.watch.times().steps().as_secs_f64();
        Kept { steps_seconds, ..self.kept }
    }
}

impl Default for Throughput {
    fn default() -> Self {
        Self::new()
    }
}

impl AddOn for Throughput {
    fn name(&self) -> &'static str {
        "throughput"
    }

    fn watch(&mut self) -> Option<Arc<dyn Watch>> {
        self.watch.reset();
        Some(Arc::new(self.watch.clone()))
    }

    fn on_run_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.kept.started_seconds.get_or_insert(self.clock.now().as_secs_f64());
        self.window = self.mark(cx);
        self.epoch = self.window;
        self.in_run = true;
        check_every(self.every)
    }

    fn on_epoch_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.epoch = self.mark(cx);
        Ok(())
    }

    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        if !self.in_run || !cx.progress.step().is_multiple_of(self.every) {
            return Ok(());
        }
        let now = self.mark(cx);
        let from = std::mem::replace(&mut self.window, now);
        self.log(&from, &now, cx)
    }

    fn on_epoch_end(&mut self, _: &EpochSummary, cx: &mut Context<'_>) -> Fallible {
        let now = self.mark(cx);
        // An epoch's end that was owed when the process started has no step of this one.
        if now.step > self.epoch.step { self.log(&self.epoch, &now, cx) } else { Ok(()) }
    }

    fn on_run_end(&mut self, _: &Run, _: &mut Context<'_>) -> Fallible {
        self.end();
        Ok(())
    }

    fn on_error(&mut self, _: &Error, _: &mut Context<'_>) -> Fallible {
        self.end();
        Ok(())
    }

    fn state(&self) -> Fallible<Option<State>> {
        Ok(Some(State::encode(&self.kept())?))
    }

    fn restore(&mut self, state: &State) -> Fallible {
        self.kept = state.decode()?;
        // What this process did before belongs to another run, or to steps that are taken back.
        self.watch.reset();
        Ok(())
    }
}
