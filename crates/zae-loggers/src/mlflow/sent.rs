//! [`Sent`]: how far the server has a spool.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::http::Failure;

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
    /// Lines of the spool behind the head, but for ends, that it has, and that it may have: of those a request was made.
    pub(super) rows: u64,
    pub(super) maybe: u64,
}

/// How far it has the files that belong to a spool, in a file of its own: another thread sends them.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SentArtifacts {
    /// Of the run that has them.
    pub(super) run_id: String,
    /// Those of so many bytes of the spool are there.
    pub(super) spool: u64,
    /// So many bytes of the console are there.
    pub(super) console: u64,
}

const FILE: &str = "sent.json";
const ARTIFACTS_FILE: &str = "sent_artifacts.json";

/// What is remembered, if there is something.
fn load<T: DeserializeOwned>(folder: &Path, name: &str) -> Option<T> {
    fs::read(folder.join(name)).ok().and_then(|text| serde_json::from_slice(&text).ok())
}

/// Remembers it, whole or not at all.
fn save(folder: &Path, name: &str, what: &impl Serialize) -> Result<(), Failure> {
    let unfinished = folder.join(format!("{name}.new"));
    let save = || {
        let mut file = File::create(&unfinished)?;
        file.write_all(&serde_json::to_vec(what)?)?;
        file.sync_data()?;
        fs::rename(&unfinished, folder.join(name))
    };
    save().map_err(|e: io::Error| Failure::passing(format!("cannot write in `{}`: {e}", folder.display())))
}

impl Sent {
    /// Of the spool in a folder that has this key; nothing is sent if there is no such file.
    pub(super) fn of(folder: &Path, key: &str) -> Self {
        let found = load(folder, FILE).filter(|found: &Self| found.key == key);
        found.unwrap_or_else(|| Self { key: key.to_owned(), ..Self::default() })
    }

    pub(super) fn save(&self, folder: &Path) -> Result<(), Failure> {
        save(folder, FILE, self)
    }
}

impl SentArtifacts {
    /// Those of this run.
    pub(super) fn of(folder: &Path, run_id: &str) -> Self {
        let found = load(folder, ARTIFACTS_FILE).filter(|found: &Self| found.run_id == run_id);
        found.unwrap_or_else(|| Self { run_id: run_id.to_owned(), ..Self::default() })
    }

    pub(super) fn save(&self, folder: &Path) -> Result<(), Failure> {
        save(folder, ARTIFACTS_FILE, self)
    }
}
