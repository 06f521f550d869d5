//! [`Sent`]: how far the server has a run's file.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use zae_core::error::Fallible;

/// How far the server has a run's file: kept beside it, so that a program that goes on sends nothing twice.
///
/// What belongs to no step is counted by kind, for it stays in the file whatever else is cut off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Sent {
    /// Entries of the file that the server has.
    pub(super) entries: u64,
    /// Entries that it may have: of a request that nobody has seen the answer of.
    pub(super) maybe: u64,
    /// Lines of the run that the server has, of this file and of others: the number of the next.
    pub(super) lines: u64,
    /// What is added to each `_step`, for a run that goes on with one of another program.
    pub(super) first_step: u64,
    /// What the server is to be asked before anything is sent.
    pub(super) ask: Option<Ask>,
    /// How the machine is doing, and console lines.
    pub(super) events: Stream,
    pub(super) output: Stream,
    /// Alerts of the file that were sent.
    pub(super) alerts: u64,
    /// Of the file's records of files, those that the server has or will not have.
    pub(super) files: u64,
}

/// Records of one kind, and the lines that the server makes of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Stream {
    /// Records of the file that the server has, unless nobody knows.
    pub(super) records: Option<u64>,
    /// The number of the next line, of this file and of others.
    pub(super) line: u64,
}

impl Default for Stream {
    fn default() -> Self {
        Self { records: Some(0), line: 0 }
    }
}

impl Stream {
    const UNKNOWN: Self = Self { records: None, line: 0 };

    /// So many more are there.
    pub(super) fn add(&mut self, records: u64) {
        self.records = self.records.map(|own| own + records);
        self.line += records;
    }

    /// No more than this is in the file: what the disk has lost since it was sent is not expected there.
    pub(super) fn bounded(self, records: u64) -> Self {
        Self { records: self.records.map(|own| own.min(records)), ..self }
    }
}

/// What the server is asked about the lines that it has of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// Whether there is a run of another program that this one goes on with.
    Other,
    /// How many of this run's own entries it has: nobody here knows for sure.
    Own,
}

impl Sent {
    /// Nothing is known: the server has to be asked.
    pub(super) const UNKNOWN: Self = Self {
        entries: 0,
        maybe: 0,
        lines: 0,
        first_step: 0,
        ask: Some(Ask::Own),
        events: Stream::UNKNOWN,
        output: Stream::UNKNOWN,
        // An alert that comes twice is worse than one that is only in the file; of a file nobody sees a difference.
        alerts: u64::MAX,
        files: 0,
    };

    /// Of a file that is new, of a run that may be on the server.
    pub(super) fn of_new_file() -> Self {
        Self { ask: Some(Ask::Own), ..Self::default() }
    }

    /// What is known of a file, or [`Sent::UNKNOWN`] if what there was is lost or damaged.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn read(file: &Path) -> io::Result<Self> {
        match fs::read(beside(file)) {
            Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or(Self::UNKNOWN)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Self::UNKNOWN),
            Err(e) => Err(e),
        }
    }

    /// # Errors
    /// When the disk does not take it: then nothing may be sent, for nobody would know.
    pub(super) fn write(&self, file: &Path) -> Fallible {
        let (path, new) = (beside(file), with_end(file, ".sent.new"));
        fs::write(&new, serde_json::to_vec(self)?)?;
        Ok(fs::rename(new, path)?)
    }
}

fn beside(file: &Path) -> PathBuf {
    with_end(file, ".sent")
}

/// The path with this behind its name.
pub(super) fn with_end(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    name.into()
}
