//! [`Place`]: the file of a run, new or of an earlier process.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    time::Instant,
};

use serde::{Deserialize, Serialize};
use zae_core::error::Fallible;

use super::{
    Mode, date, remainder,
    scan::{Found, scan},
    sent::{Ask, Sent, with_end},
    settings::Settings,
    summary::Summary,
};
use crate::{Start, clock::now};

/// What has to be known of a run to go on with it.
#[derive(Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) id: String,
    /// The folder of its file, within `wandb`.
    pub(super) folder: String,
    /// Entries of the run that are in earlier files.
    pub(super) before: u64,
    /// Seconds since 1970.
    pub(super) started: f64,
}

/// The file of a run.
pub(super) struct Place {
    pub(super) identity: Identity,
    pub(super) file: PathBuf,
    /// What is kept of it, if it is there.
    pub(super) found: Option<Found>,
    /// The summary of what is in earlier files, if there is none.
    pub(super) summary: Summary,
    /// What belongs to no step, of a file that has no entry and is begun anew.
    pub(super) asides: Vec<(u32, Vec<u8>)>,
    /// [`Opened::ahead`].
    pub(super) ahead: Vec<u64>,
    pub(super) sent: Sent,
}

impl Place {
    /// Where a run goes on, or begins.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn find(dir: &Path, settings: &Settings, mode: Mode, start: &Start<'_>) -> Fallible<Self> {
        let empty = || Summary::of(&settings.metrics);
        // There is none either if the run was not logged until now.
        let identity = start.resume.and_then(|identity| identity.decode::<Identity>().ok());
        let Some(identity) = identity else {
            let id = settings.id.clone().unwrap_or_else(random_id);
            let sent = Sent { ask: settings.resume.map(|_| Ask::Other), ..Sent::default() };
            return Ok(Self { summary: empty(), ..Self::new(dir, id, mode, start.entries, now(), sent) });
        };
        let file = file(dir, &identity.folder, &identity.id);
        let new = |before| {
            let sent = Sent::of_new_file();
            Self { summary: empty(), ..Self::new(dir, identity.id.clone(), mode, before, identity.started, sent) }
        };
        if !file.exists() {
            return Ok(new(start.entries));
        }
        let mut sent = Sent::read(&file)?;
        let rest_synced = remainder::was_synced(&file);
        let all_synced = with_end(&file, ".synced").exists();
        remainder::remove(&file);
        let in_any_case = if rest_synced || all_synced { u64::MAX } else { sent.maybe };
        let mut found = match scan(&file, start.entries, in_any_case, sent.files, empty()) {
            Ok(found) => found,
            Err(error) => {
                start
                    .news
                    .warn(format!("wandb: `{}` cannot be gone on with ({error}): a new file is begun", file.display()));
                return Ok(new(start.entries));
            }
        };
        if found.next < start.entries {
            let missing = start.entries - found.next;
            start.news.warn(format!("wandb: `{}` lacks {missing} entries of the run that goes on", file.display()));
        }
        let ahead = std::mem::take(&mut found.ahead);
        let summary = found.summary.clone();
        if all_synced {
            return Ok(Self { ahead, summary, ..new(found.next.max(start.entries)) });
        }
        let [events, output, alerts, files] = found.counts;
        if rest_synced || sent.maybe > found.entries {
            // What others have sent, or what the disk has lost that the server may have.
            sent = Sent { entries: 0, maybe: 0, lines: 0, ask: Some(Ask::Own), ..sent };
        }
        if rest_synced {
            (sent.events.records, sent.output.records) = (Some(events), Some(output));
            (sent.alerts, found.files_sent) = (alerts, files);
        }
        (sent.events, sent.output) = (sent.events.bounded(events), sent.output.bounded(output));
        (sent.alerts, sent.files) = (sent.alerts.min(alerts), found.files_sent);
        sent.maybe = sent.maybe.max(sent.entries);
        if found.entries == 0 {
            fs::remove_file(&file)?;
            let asides = std::mem::take(&mut found.asides);
            return Ok(Self { identity, file, found: None, summary, asides, ahead, sent });
        }
        Ok(Self { identity, file, found: Some(found), summary, asides: Vec::new(), ahead, sent })
    }

    /// A file that is not there yet, for the entries of a run behind the first `before`.
    fn new(dir: &Path, id: String, mode: Mode, before: u64, started: f64, sent: Sent) -> Self {
        let kind = if mode == Mode::Online { "run" } else { "offline-run" };
        let time = date::compact(now() as u64);
        // Two attempts within a second are two folders.
        let names =
            (0..).map(|n| if n == 0 { format!("{kind}-{time}-{id}") } else { format!("{kind}-{time}_{n}-{id}") });
        let folder = names.into_iter().find(|name| !dir.join(name).exists()).unwrap_or_default();
        let file = file(dir, &folder, &id);
        Self {
            identity: Identity { id, folder, before, started },
            file,
            found: None,
            summary: Summary::default(),
            asides: Vec::new(),
            ahead: Vec::new(),
            sent,
        }
    }
}

fn file(dir: &Path, folder: &str, id: &str) -> PathBuf {
    dir.join(folder).join(format!("run-{id}.wandb"))
}

/// Eight small letters and digits.
fn random_id() -> String {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = RandomState::new().hash_one(Instant::now());
    let letter = |_| {
        let letter = LETTERS[(random % 36) as usize];
        random /= 36;
        char::from(letter)
    };
    (0..8).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_what_wandb_takes() {
        let (a, b) = (random_id(), random_id());
        assert!(a != b && a.len() == 8 && a.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()));
    }
}
