//! What a run can be told: how long, how often to validate, what to do about NaN.

use std::{path::PathBuf, time::Duration};

use super::Accumulation;
use crate::learner::Clip;

/// When a run is over. With several limits, the first one reached ends it.
///
/// Limits count the whole run, also what earlier processes did: `run(10, ..)` on a run resumed after epoch 4 trains six
/// more.
///
/// ```
/// use std::time::Duration;
/// use zae_core::trainer::Until;
/// let ten_epochs: Until = 10.into();
/// let first_of_all = Until::epochs(10).or_steps(5_000).or_time(Duration::from_secs(3600));
/// let not_too_soon = Until::epochs(100).min_epochs(10);
/// # assert_eq!(ten_epochs, Until::epochs(10));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Until {
    pub(super) epochs: Option<u64>,
    pub(super) steps: Option<u64>,
    pub(super) time: Option<Duration>,
    pub(super) min_epochs: u64,
    pub(super) min_steps: u64,
}

impl Until {
    const NEVER: Self = Self { epochs: None, steps: None, time: None, min_epochs: 0, min_steps: 0 };

    /// Until this many epochs are done.
    pub const fn epochs(epochs: u64) -> Self {
        Self { epochs: Some(epochs), ..Self::NEVER }
    }

    /// Until this many optimizer steps are done.
    pub const fn steps(steps: u64) -> Self {
        Self { steps: Some(steps), ..Self::NEVER }
    }

    /// Until this much time was spent in the run.
    pub const fn time(time: Duration) -> Self {
        Self { time: Some(time), ..Self::NEVER }
    }

    /// Or until this many epochs are done.
    pub const fn or_epochs(mut self, epochs: u64) -> Self {
        self.epochs = Some(epochs);
        self
    }

    /// Or until this many optimizer steps are done.
    pub const fn or_steps(mut self, steps: u64) -> Self {
        self.steps = Some(steps);
        self
    }

    /// Or until this much time was spent in the run.
    pub const fn or_time(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// Not before this many epochs are done, whatever early stopping and their like decide: nothing comes of a stop that an
    /// add-on of [`Phase::Decide`](crate::add_on::Phase::Decide) asks for before. A signal, the time and a stop that anything
    /// else asks for end the run all the same. 0 by default.
    pub const fn min_epochs(mut self, epochs: u64) -> Self {
        self.min_epochs = epochs;
        self
    }

    /// Not before this many optimizer steps are done, as with [`Until::min_epochs`]. With both, both have to be reached.
    pub const fn min_steps(mut self, steps: u64) -> Self {
        self.min_steps = steps;
        self
    }

    /// A minimum that cannot be reached.
    pub(super) fn misuse(&self) -> Option<String> {
        let text = |what, most, least| {
            format!("the run is to have at least {least} {what} and at most {most}: raise the one or lower the other")
        };
        match (self.epochs, self.steps) {
            (Some(most), _) if most < self.min_epochs => Some(text("epochs", most, self.min_epochs)),
            (_, Some(most)) if most < self.min_steps => Some(text("steps", most, self.min_steps)),
            _ => None,
        }
    }
}

impl From<u64> for Until {
    fn from(epochs: u64) -> Self {
        Self::epochs(epochs)
    }
}

/// When a run validates.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Every {
    /// At the end of each epoch.
    #[default]
    Epoch,
    /// At the end of each n-th epoch.
    Epochs(u64),
    /// After each n-th optimizer step.
    Steps(u64),
    /// Never.
    Never,
}

/// What happens when a training loss or a computed gradient norm is NaN or infinite.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NonFinite {
    /// The run ends with [`Error::NotFinite`](crate::error::Error::NotFinite). On a synchronous device the weights are
    /// still those from before the step; on an asynchronous one up to `log_every` steps have followed. The gradient norm
    /// is looked at where it is computed: with `.gradient_clip(Clip::Norm(..))`.
    #[default]
    Stop,
    /// The step's update is left out and counted. Reads loss and gradient norm before each update: one transfer per step on
    /// an asynchronous device. (Running statistics of a batch norm have seen the batch all the same.)
    SkipStep,
    /// Nothing.
    Ignore,
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) seed: Option<u64>,
    pub(super) late_seed: bool,
    pub(super) accumulate: Option<Accumulation>,
    pub(super) micro_batches: Option<Accumulation>,
    pub(super) clip: Clip,
    pub(super) validate: Every,
    pub(super) sanity_check: u64,
    pub(super) validate_on_start: bool,
    pub(super) fast_dev_run: Option<u64>,
    pub(super) non_finite: NonFinite,
    pub(super) log_every: u64,
    pub(super) run_dir: Option<PathBuf>,
    pub(super) fresh: bool,
    pub(super) continue_stopped: bool,
    pub(super) accepted: Vec<String>,
    pub(super) signals: bool,
    pub(super) average: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: None,
            late_seed: false,
            accumulate: None,
            micro_batches: None,
            clip: Clip::None,
            validate: Every::Epoch,
            sanity_check: 0,
            validate_on_start: false,
            fast_dev_run: None,
            non_finite: NonFinite::Stop,
            log_every: 50,
            run_dir: None,
            fresh: false,
            continue_stopped: false,
            accepted: Vec::new(),
            signals: true,
            average: true,
        }
    }
}

impl Settings {
    /// What cannot work, each with its mend.
    pub(super) fn misuse(&self) -> Option<&'static str> {
        let bad_clip = match self.clip {
            Clip::None => false,
            Clip::Norm(max) | Clip::Value(max) => max.is_nan() || max <= 0.0,
        };
        let mut windows = self.accumulate.iter().chain(&self.micro_batches);
        if self.late_seed {
            Some("`.seed(..)` came after the first weights were made: call it when the trainer is built")
        } else if windows.clone().any(Accumulation::takes_none) {
            Some("`.accumulate(0)` or `.micro_batches(0)`: give at least 1 micro-batch per optimizer step")
        } else if !windows.all(Accumulation::is_ordered) {
            Some(
                "`.accumulate([..])` or `.micro_batches([..])`: give the epochs from which on each number holds in order, from \
                 epoch 0 on, as in `[(0, 1), (5, 4)]`",
            )
        } else if self.accumulate.is_some() && self.micro_batches.is_some() {
            Some(
                "both `.accumulate(..)` (micro-batches per process) and `.micro_batches(..)` (of all processes) were given: \
                 leave one out",
            )
        } else if bad_clip {
            Some("`.gradient_clip(..)`: the limit must be a number above 0; leave the call out for no clipping")
        } else if self.fast_dev_run == Some(0) {
            Some("`.fast_dev_run(0)`: give at least 1 batch, or leave the call out")
        } else if self.log_every == 0 {
            Some("`.log_every(0)`: give at least 1 step")
        } else if matches!(self.validate, Every::Epochs(0) | Every::Steps(0)) {
            Some("`.validate(..)` every 0: give at least 1, or `Every::Never`")
        } else {
            None
        }
    }
}
