//! What a [`StateManager`] can be told.

use std::{path::PathBuf, time::Duration};

use zae_core::metrics::Direction;

use super::{OnFailure, Resume, Saver, StateManager};
use crate::{disk::Disk, folder::Best, format::Format};

impl StateManager {
    /// Saves into `checkpoints` in the run folder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Saves into this folder, which is made if it is not there. It must be this run's alone.
    #[must_use]
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        let mut manager = Self::new();
        manager.settings.dir = Some(dir.into());
        manager
    }

    /// Saves after every n-th epoch: 1 by default, 0 for never.
    #[must_use]
    pub fn every_epochs(mut self, epochs: u64) -> Self {
        self.settings.epochs = epochs;
        self
    }

    /// Saves after every n-th step too: 0, for never, by default.
    #[must_use]
    pub fn every_steps(mut self, steps: u64) -> Self {
        self.settings.steps = steps;
        self
    }

    /// Saves also after a step when this much time has gone by since the last save.
    #[must_use]
    pub fn every(mut self, time: Duration) -> Self {
        self.settings.time = Some(time);
        self
    }

    /// Whether the run is saved when it ends. On by default.
    #[must_use]
    pub fn at_end(mut self, on: bool) -> Self {
        self.settings.at_end = on;
        self
    }

    /// Whether the run is saved when a signal ends it. On by default.
    #[must_use]
    pub fn on_signal(mut self, on: bool) -> Self {
        self.settings.on_signal = on;
        self
    }

    /// How many of the newest checkpoints are kept: 2 by default, at least 1.
    #[must_use]
    pub fn keep_last(mut self, checkpoints: usize) -> Self {
        self.settings.retention.last = checkpoints.max(1);
        self
    }

    /// Keeps the `k` checkpoints with the best value of a validation's metric, by its full name, and points `best` at the
    /// first of them: `valid/loss` and 1 by default. A validation among the best is always saved, and one that lacks a metric
    /// named here ends the run with an error that says which there are, as it does for early stopping: of several sets, each has
    /// its own, `valid/clean/loss`. Whether less or more is better is read off the name ([`Direction::of`]).
    #[must_use]
    pub fn keep_best(self, metric: impl Into<String>, k: usize) -> Self {
        let metric = metric.into();
        let direction = Direction::of(&metric);
        self.keep_best_by(metric, k, direction)
    }

    /// The same, told whether less or more is better.
    #[must_use]
    pub fn keep_best_by(mut self, metric: impl Into<String>, k: usize, direction: Direction) -> Self {
        self.settings.retention.best = (k > 0).then(|| Best { metric: metric.into(), count: k, direction });
        self.settings.metric_was_named = true;
        self
    }

    /// Keeps every checkpoint after a multiple of this many steps for good, and saves there: 0, for none, by default.
    #[must_use]
    pub fn keep_every(mut self, steps: u64) -> Self {
        self.settings.retention.every = (steps > 0).then_some(steps);
        self
    }

    /// Whether, and from what, a new process goes on.
    #[must_use]
    pub fn resume(mut self, resume: Resume) -> Self {
        self.settings.resume = resume;
        self
    }

    /// The format of the files.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.settings.format = format;
        self
    }

    /// Keeps the weights of the best checkpoint (of the newest, if none is the best) in one file too, for use elsewhere:
    /// `.safetensors` in the engine's names and layouts, or `.pt` and the like in PyTorch's. See
    /// [`SaveLoad::save_weights`](crate::SaveLoad::save_weights).
    #[must_use]
    pub fn export_weights(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.export = Some(path.into());
        self
    }

    /// Whether saves are written while training goes on. On by default; off, each save is on disk before the next step.
    #[must_use]
    pub fn background(mut self, on: bool) -> Self {
        self.settings.background = on;
        self
    }

    /// What a save that fails does to the run.
    #[must_use]
    pub fn on_failure(mut self, policy: OnFailure) -> Self {
        self.settings.on_failure = policy;
        self
    }

    /// Writes to this disk: one with a hook plays full disks and kills the process in the middle of a save, in tests.
    #[must_use]
    pub fn disk(mut self, disk: Disk) -> Self {
        self.settings.disk = disk;
        self
    }

    /// A handle that asks for a save, for a signal handler's thread or a button.
    #[must_use]
    pub fn saver(&self) -> Saver {
        self.asked.clone()
    }
}
