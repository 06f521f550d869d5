//! What a manager was told.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use zae_core::{error::Fallible, metrics::Direction};

use super::Resume;
use crate::{
    disk::Disk,
    folder::{Best, Retention},
    format::Format,
    read::CHECKPOINTS,
};

/// What a save that fails does to the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnFailure {
    /// The run goes on, with a warning for each save that has failed.
    #[default]
    Warn,
    /// The run ends with an error at the next step.
    Stop,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) dir: Option<PathBuf>,
    pub(super) epochs: u64,
    pub(super) steps: u64,
    pub(super) time: Option<Duration>,
    pub(super) at_end: bool,
    pub(super) on_signal: bool,
    pub(super) retention: Retention,
    /// Whether the metric of the best is the user's choice: then a validation has to have it.
    pub(super) metric_was_named: bool,
    pub(super) resume: Resume,
    pub(super) format: Format,
    /// Where the weights of the best one go.
    pub(super) export: Option<PathBuf>,
    pub(super) background: bool,
    pub(super) on_failure: OnFailure,
    pub(super) disk: Disk,
}

impl Default for Settings {
    fn default() -> Self {
        let best = Best { metric: "valid/loss".to_owned(), count: 1, direction: Direction::Minimize };
        Self {
            dir: None,
            epochs: 1,
            steps: 0,
            time: None,
            at_end: true,
            on_signal: true,
            retention: Retention { last: 2, best: Some(best), every: None },
            metric_was_named: false,
            resume: Resume::Auto,
            format: Format::default(),
            export: None,
            background: true,
            on_failure: OnFailure::Warn,
            disk: Disk::default(),
        }
    }
}

impl Settings {
    pub(super) fn dir(&self, run_dir: Option<&Path>) -> Fallible<PathBuf> {
        match (&self.dir, run_dir) {
            (Some(dir), _) => Ok(dir.clone()),
            (None, Some(run_dir)) => Ok(run_dir.join(CHECKPOINTS)),
            (None, None) => Err("it has no folder to save into: give the trainer a `.run_dir(..)`, or use \
                                 `StateManager::in_dir(dir)`"
                .into()),
        }
    }
}
