//! The seam of a logger: [`Sink`] opens, [`Writer`] writes.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use zae_core::{add_on::Notice, error::Fallible, state::State};

use crate::{Config, Entries, News};

/// How a run ended, for this process.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Status {
    /// It is done, or an add-on has ended it.
    Finished,
    /// It failed, with this error.
    Failed(String),
    /// A signal ended it, for example `SIGTERM`; started again, it goes on.
    Interrupted(&'static str),
}

/// What a run starts from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Start<'a> {
    /// The run's folder, if it has one. It exists.
    pub run_dir: Option<&'a Path>,
    /// Its settings.
    pub config: &'a Config,
    /// What [`Opened::identity`] was when the run was opened before, if it goes on.
    pub resume: Option<&'a State>,
    /// How many entries the run has so far. Those behind are of steps that are going to be made again.
    pub entries: u64,
    /// For whatever the writer or a thread of its own has to tell.
    pub news: &'a News,
}

/// A run that is open.
pub struct Opened {
    /// Writes its entries.
    pub writer: Box<dyn Writer>,
    /// What has to be known of the run to open it again; it is part of checkpoints.
    pub identity: State,
    /// Entries behind the first [`Start::entries`] that stay where they are, because the server may have them: the
    /// [`mark`](crate::mark) of each, in order. When their steps are made again they are not handed over a second time.
    pub ahead: Vec<u64>,
}

/// A tracker, as its settings describe it. Its methods are called on the training thread, between two steps.
pub trait Sink: Send + 'static {
    /// The add-on's name.
    fn name(&self) -> &'static str;

    /// Looks at the settings, before the run starts.
    ///
    /// # Errors
    /// When they can never work. This ends the run.
    fn check(&self) -> Fallible {
        Ok(())
    }

    /// Opens files, and starts what sends them. It never waits for a server.
    ///
    /// # Errors
    /// Told as a warning; the run goes on without this logger. Damage to a file of an earlier process is no error: what
    /// was there is moved aside.
    fn open(&mut self, start: &Start<'_>) -> Fallible<Opened>;
}

/// Writes a run's entries to files. Called on a thread of the logger's own.
pub trait Writer: Send + 'static {
    /// Appends entries; within half a second of their steps.
    ///
    /// # Errors
    /// When the files do not take them: then none of them is there. It is called again with the same ones and more.
    fn write(&mut self, entries: &Entries) -> Fallible;

    /// What was written is on disk when this returns.
    ///
    /// # Errors
    /// When the disk fails. It is called again.
    fn sync(&mut self) -> Fallible;

    /// Ends the run for this process, and waits until the deadline for what sends the files. Returns what people should
    /// know, such as where the files are and how they get to the server.
    ///
    /// # Errors
    /// When the end cannot be written.
    fn end(&mut self, status: &Status, deadline: Instant) -> Fallible<Option<Notice>>;

    /// Where the entries are, for messages.
    fn path(&self) -> PathBuf;
}
