//! [`Sent`]: how far the server has a spool.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// How far the server has a spool, in a file beside it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Sent {
    /// Of the spool.
    pub(super) key: String,
    /// MLflow's name of the run, once it is there.
    pub(super) run_id: Option<String>,
    /// Settings are there.
    pub(super) params: bool,
    /// Rows of the spool that it has, and that it may have: of those a request was made.
    pub(super) rows: u64,
    pub(super) maybe: u64,
}

impl Sent {
    fn path(folder: &Path) -> PathBuf {
        folder.join("sent.json")
    }

    /// Of the spool in a folder that has this key; nothing is sent if there is no such file.
    pub(super) fn of(folder: &Path, key: &str) -> Self {
        let found = fs::read(Self::path(folder)).ok().and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        found.filter(|found| found.key == key).unwrap_or_else(|| Self { key: key.to_owned(), ..Self::default() })
    }

    /// Remembers it, whole or not at all.
    pub(super) fn save(&self, folder: &Path) -> io::Result<()> {
        let unfinished = folder.join("sent.json.new");
        let mut file = File::create(&unfinished)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_data()?;
        fs::rename(unfinished, Self::path(folder))
    }
}
