//! [`Sent`]: how far the server has a run's file.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use zae_core::error::Fallible;

/// How far the server has a run's file: kept beside it, so that a program that goes on sends nothing twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Sent {
    /// Behind the last record that the server has.
    pub(super) position: u64,
    /// Entries of the file that the server has.
    pub(super) entries: u64,
    /// Entries that it may have: of a request that nobody has seen the answer of.
    pub(super) maybe: u64,
    /// Lines of the run that are on the server from other files, before those of this one.
    pub(super) before: u64,
}

impl Sent {
    /// What is known of a file; nothing, if nothing was ever sent.
    ///
    /// # Errors
    /// When what is known cannot be read.
    pub(super) fn read(file: &Path) -> Fallible<Self> {
        match fs::read(beside(file)) {
            Ok(text) => Ok(serde_json::from_slice(&text)?),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(e.into()),
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
