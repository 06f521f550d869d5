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
    Mode, remainder,
    scan::{Found, scan},
    sent::{Ask, Sent, with_end},
    settings::Settings,
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
        // There is none either if the run was not logged until now.
        let identity = start.resume.and_then(|identity| identity.decode::<Identity>().ok());
        let Some(identity) = identity else {
            let id = settings.id.clone().unwrap_or_else(random_id);
            let sent = Sent { ask: settings.resume.map(|_| Ask::Other), ..Sent::default() };
            return Ok(Self::new(dir, id, mode, start.entries, now(), sent));
        };
        let file = file(dir, &identity.folder, &identity.id);
        let new = |before| Self::new(dir, identity.id.clone(), mode, before, identity.started, Sent::UNKNOWN);
        if !file.exists() {
            return Ok(new(start.entries));
        }
        let mut sent = Sent::read(&file)?;
        let rest_synced = remainder::was_synced(&file);
        let all_synced = with_end(&file, ".synced").exists();
        remainder::remove(&file);
        let in_any_case = if rest_synced || all_synced { u64::MAX } else { sent.maybe };
        let mut found = match scan(&file, start.entries, in_any_case) {
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
        if all_synced {
            return Ok(Self { ahead, ..new(found.next.max(start.entries)) });
        }
        if rest_synced || sent.maybe > found.entries {
            // What others have sent, or what the disk has lost that the server may have.
            sent = Sent { first_step: sent.first_step, ..Sent::UNKNOWN };
        }
        sent.maybe = sent.maybe.max(sent.entries);
        if found.entries == 0 {
            fs::remove_file(&file)?;
            return Ok(Self { identity, file, found: None, ahead, sent });
        }
        Ok(Self { identity, file, found: Some(found), ahead, sent })
    }

    /// A file that is not there yet, for the entries of a run behind the first `before`.
    fn new(dir: &Path, id: String, mode: Mode, before: u64, started: f64, sent: Sent) -> Self {
        let kind = if mode == Mode::Online { "run" } else { "offline-run" };
        let time = date(now() as u64);
        // Two attempts within a second are two folders.
        let names =
            (0..).map(|n| if n == 0 { format!("{kind}-{time}-{id}") } else { format!("{kind}-{time}_{n}-{id}") });
        let folder = names.into_iter().find(|name| !dir.join(name).exists()).unwrap_or_default();
        let file = file(dir, &folder, &id);
        Self { identity: Identity { id, folder, before, started }, file, found: None, ahead: Vec::new(), sent }
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

/// `YYYYMMDD_HHMMSS`, UTC. From days to a date as in Howard Hinnant's `civil_from_days`.
fn date(seconds: u64) -> String {
    let (days, time) = ((seconds / 86_400) as i64 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}{month:02}{day:02}_{hour:02}{minute:02}{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "19700101_000000");
        assert_eq!(date(951_782_399), "20000228_235959");
        assert_eq!(date(951_782_400), "20000229_000000");
        assert_eq!(date(1_796_083_445), "20261201_000405");
    }

    #[test]
    fn ids_are_what_wandb_takes() {
        let (a, b) = (random_id(), random_id());
        assert!(a != b && a.len() == 8 && a.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()));
    }
}
