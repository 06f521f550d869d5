//! [`Record`]: `run.json`.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use zae_core::add_on::Notice;

use super::Environment;

/// Its name in the run folder.
pub(crate) const FILE: &str = "run.json";
/// More notices than this are counted only.
const MOST_NOTICES: usize = 100;

/// How a run has ended, if it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    /// It goes on, or its process was killed.
    Running,
    Complete,
    Stopped,
    Interrupted,
    OutOfTime,
    Failed,
    /// Nobody has told.
    #[default]
    #[serde(other)]
    Unknown,
}

/// Something that people were told.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Told {
    pub(crate) warning: bool,
    /// Optimizer steps done before.
    pub(crate) step: u64,
    pub(crate) text: String,
}

/// All but the numbers. What a file lacks is empty, and what it has more is ignored: it may be of another version.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// Of the format.
    pub(crate) version: u64,
    pub(crate) ending: Ending,
    /// Why it was stopped, by which signal, with which error.
    pub(crate) reason: String,
    /// Seconds since 1970: when its first process began, when it ended, and when this was written.
    pub(crate) started: f64,
    pub(crate) ended: f64,
    pub(crate) written: f64,
    /// How many times it was started.
    pub(crate) starts: u64,
    pub(crate) steps: u64,
    /// How long it is to be, as far as that is known.
    pub(crate) total_steps: Option<u64>,
    pub(crate) total_epochs: Option<u64>,
    pub(crate) steps_per_epoch: Option<u64>,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) environment: Environment,
    pub(crate) notices: Vec<Told>,
    pub(crate) notices_left_out: u64,
}

impl Record {
    pub(crate) const VERSION: u64 = 1;

    /// Reads a file, if it is there.
    ///
    /// # Errors
    /// In words for people: a report is not less worth for what it lacks.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, String> {
        let failed = |error: &dyn std::fmt::Display| {
            format!("`{}` cannot be read, so settings and machine are not shown: {error}", path.display())
        };
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| failed(&error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    /// As the text of a file.
    pub(crate) fn text(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    pub(crate) fn tell(&mut self, notice: &Notice, step: u64) {
        if self.notices.len() >= MOST_NOTICES {
            self.notices_left_out += 1;
            return;
        }
        let (warning, text) = match notice {
            Notice::Info(text) => (false, text.clone()),
            Notice::Warning(text) => (true, text.clone()),
        };
        self.notices.push(Told { warning, step, text });
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_was_written_is_read_and_files_of_other_versions_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(Record::read(&path), Ok(None));
        let mut record = Record { ending: Ending::OutOfTime, started: 1.25, starts: 2, ..Record::default() };
        record.config.insert("engine".to_owned(), "</script>".to_owned());
        (0..MOST_NOTICES + 3).for_each(|i| record.tell(&Notice::Warning("w".to_owned()), i as u64));
        assert_eq!((record.notices.len(), record.notices_left_out), (MOST_NOTICES, 3));
        fs::write(&path, record.text().unwrap()).unwrap();
        assert_eq!(Record::read(&path), Ok(Some(record)));
        fs::write(&path, r#"{"ending":"in a new way","steps":7,"more":[]}"#).unwrap();
        assert_eq!(Record::read(&path), Ok(Some(Record { steps: 7, ..Record::default() })));
        fs::write(&path, r#"{"steps":"#).unwrap();
        assert!(Record::read(&path).unwrap_err().contains("run.json` cannot be read"));
    }
}
