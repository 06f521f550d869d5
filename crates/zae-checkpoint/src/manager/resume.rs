//! Which checkpoint a new process goes on from.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use zae_core::{add_on::Notice, error::Fallible, progress::ProgressChecker, snapshot::Snapshot};

use crate::{
    error::Error,
    name::Name,
    read::{find_checkpoint, newest},
};

/// Whether, and from what, a new process goes on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Resume {
    /// From the newest checkpoint that is whole; from the start if there is none.
    #[default]
    Auto,
    /// Always from the start. What is there is moved aside, into `old` in its folder.
    Never,
    /// From this one: a checkpoint's folder, a `.ckpt` file, `last`, `best`, or a folder of checkpoints. Each time the program
    /// is started it goes back there: for a run that is to survive restarts, use `Auto` again once it has begun.
    From(PathBuf),
    /// From the newest checkpoint that is whole; if there is none, the run does not start.
    Must,
}

/// What was found.
#[derive(Default)]
pub(super) struct Resumed {
    notices: Vec<Notice>,
    limit: Option<Limit>,
}

/// Which checkpoints of the folder are older than where the run goes on, and so its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Limit {
    /// None.
    Nothing,
    /// Those up to this one.
    UpTo(Name),
    /// Those up to this step.
    Step(u64),
}

impl Resumed {
    pub(super) fn find(&mut self, resume: &Resume, dir: &Path) -> Fallible<Option<Arc<Snapshot>>> {
        // Of an earlier search that came to nothing.
        self.notices.clear();
        match resume {
            Resume::Never => {
                self.limit = Some(Limit::Nothing);
                Ok(None)
            }
            Resume::From(path) => {
                let (checkpoint, snapshot) = find_checkpoint(path)?;
                self.found(&checkpoint.display().to_string(), &snapshot);
                self.limit = Some(name_in(dir, &checkpoint).map_or(Limit::Nothing, Limit::UpTo));
                Ok(Some(Arc::new(snapshot)))
            }
            Resume::Auto | Resume::Must => self.newest(dir, *resume == Resume::Must),
        }
    }

    fn newest(&mut self, dir: &Path, must: bool) -> Fallible<Option<Arc<Snapshot>>> {
        let (found, skipped) = newest(dir)?;
        // A newer version of this crate would read it: an older checkpoint would throw training away.
        if let Some((_, newer)) = skipped.iter().find(|(_, error)| matches!(error, Error::Newer { .. })) {
            return Err(newer.to_string().into());
        }
        let reasons = skipped.iter().map(|(entry, error)| format!("the checkpoint {} is skipped: {error}", entry.name));
        match found {
            Some((entry, snapshot)) => {
                self.notices.extend(reasons.map(Notice::Warning));
                self.found(&entry.path.display().to_string(), &snapshot);
                self.limit = Some(Limit::UpTo(entry.name));
                Ok(Some(Arc::new(snapshot)))
            }
            None if skipped.is_empty() && !must => {
                self.limit = Some(Limit::Nothing);
                Ok(None)
            }
            None => {
                let reasons: Vec<String> = skipped.into_iter().map(|(_, error)| error.to_string()).collect();
                let none = Error::None { dir: dir.to_owned(), skipped: reasons };
                Err(format!("{none}; to start over use `.fresh()`").into())
            }
        }
    }

    fn found(&mut self, path: &str, snapshot: &Snapshot) {
        let progress = &snapshot.run.progress;
        let (epochs, step) = (progress.epoch(), progress.step());
        self.notices.push(Notice::Info(format!("resumed from {path}: {epochs} epochs and {step} steps are done")));
    }

    pub(super) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Without a search of its own (`.fresh()`, `Trainer::restore`) it goes by where the run is.
    pub(super) fn take_limit(&mut self, progress: &ProgressChecker) -> Limit {
        match (self.limit.take(), progress.step()) {
            (_, 0) => Limit::Nothing,
            (Some(limit), _) => limit,
            (None, step) => Limit::Step(step),
        }
    }
}

/// The name of a checkpoint that is one of this folder's.
fn name_in(dir: &Path, checkpoint: &Path) -> Option<Name> {
    let dir = dir.canonicalize().ok()?;
    checkpoint.canonicalize().ok()?.strip_prefix(dir).ok()?.to_str()?.parse().ok()
}
