//! Weights & Biases: [`WandbLogger`].

mod ending;
mod environment;
mod fields;
mod framing;
mod git;
mod graphql;
mod json;
mod record;
mod remainder;
mod remote;
mod scan;
mod sent;
mod settings;
mod summary;
mod writer;

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use zae_core::{
    add_on::Notice,
    error::{BoxError, Fallible},
    state::State,
};

use self::{
    ending::Ending,
    record::Run,
    remote::Remote,
    sent::{Ask, Sent, with_end},
    settings::Settings,
    writer::RunFile,
};
use crate::{Entries, Logger, Opened, Sink, Start, Status, Upload, Writer, http::Secret, upload::Uploader};

pub use self::settings::{Mode, ResumeRun};

/// Logs to Weights & Biases.
///
/// ```
/// use zae_loggers::WandbLogger;
/// let logger = WandbLogger::new("digits").tags(["cnn"]).config(&std::collections::BTreeMap::from([("dropout", 0.1)]));
/// ```
///
/// Every entry goes to a `.wandb` file in the run folder (`wandb/run-...`), and from there to the server, if there is an API
/// key: from `WANDB_API_KEY`, or where `wandb login` has put it. Without a key, or with `WANDB_MODE=offline`, the file is all, and
/// `wandb sync FOLDER` uploads it at any time. What the server has not got when the run ends is told, with the command that
/// uploads it.
///
/// Curves have the optimizer step as their x-axis (`trainer/global_step`), and each row its `epoch`. The summary has the last
/// value of each metric, and of the metrics of evaluations the best (`valid/loss.best`).
///
/// These variables are honoured where the program says nothing: `WANDB_PROJECT`, `WANDB_ENTITY`, `WANDB_NAME`, `WANDB_RUN_ID`,
/// `WANDB_RUN_GROUP`, `WANDB_JOB_TYPE`, `WANDB_NOTES`, `WANDB_TAGS`, `WANDB_DIR`, `WANDB_MODE`, `WANDB_RESUME`, `WANDB_BASE_URL`,
/// `WANDB_API_KEY`; for the network `HTTPS_PROXY`, `NO_PROXY` and `SSL_CERT_FILE`.
///
/// A button on the run's page stops it, after the step that is being made, and everything is saved.
pub type WandbLogger = Logger<Wandb>;

/// The settings of a [`WandbLogger`].
#[derive(Debug)]
pub struct Wandb(Settings);

/// What has to be known of a run to go on with it.
#[derive(Serialize, Deserialize)]
struct Identity {
    id: String,
    /// The folder of its file, within `wandb`.
    folder: String,
    /// Entries of the run that are in earlier files.
    before: u64,
    /// Seconds since 1970.
    started: f64,
}

impl WandbLogger {
    /// Logs to this project. If it is empty, to `WANDB_PROJECT`.
    #[must_use]
    pub fn new(project: impl Into<String>) -> Self {
        Self::with(Wandb(Settings { project: project.into(), ..Settings::default() }))
    }

    fn set(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(&mut self.sink.0);
        self
    }

    /// The user or team that the project belongs to.
    #[must_use]
    pub fn entity(self, entity: impl Into<String>) -> Self {
        self.set(|own| own.entity = Some(entity.into()))
    }

    /// The name that people see; W&B makes one up if there is none.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        self.set(|own| own.name = Some(name.into()))
    }

    /// The name by which W&B knows the run, which no other run of the project has. Eight random letters if there is none.
    #[must_use]
    pub fn id(self, id: impl Into<String>) -> Self {
        self.set(|own| own.id = Some(id.into()))
    }

    /// The group of runs that this one is shown with.
    #[must_use]
    pub fn group(self, group: impl Into<String>) -> Self {
        self.set(|own| own.group = Some(group.into()))
    }

    /// What kind of run it is, for example `train`.
    #[must_use]
    pub fn job_type(self, job_type: impl Into<String>) -> Self {
        self.set(|own| own.job_type = Some(job_type.into()))
    }

    /// A longer description.
    #[must_use]
    pub fn notes(self, notes: impl Into<String>) -> Self {
        self.set(|own| own.notes = Some(notes.into()))
    }

    /// Words to find it by.
    #[must_use]
    pub fn tags<S: Into<String>>(self, tags: impl IntoIterator<Item = S>) -> Self {
        self.set(|own| own.tags = Some(tags.into_iter().map(Into::into).collect()))
    }

    /// The folder in which there will be a folder `wandb`: the run folder if this is not called, or the present one if there
    /// is none.
    #[must_use]
    pub fn dir(self, dir: impl Into<PathBuf>) -> Self {
        self.set(|own| own.dir = Some(dir.into()))
    }

    /// Where entries go.
    #[must_use]
    pub fn mode(self, mode: Mode) -> Self {
        self.set(|own| own.mode = Some(mode))
    }

    /// What is done about a run of the same [`id`](Self::id) that is on the server.
    #[must_use]
    pub fn resume(self, resume: ResumeRun) -> Self {
        self.set(|own| own.resume = Some(resume))
    }

    /// The key, where neither the environment nor `.netrc` should have it. It is in no file, log or message.
    #[must_use]
    pub fn api_key(self, key: &str) -> Self {
        self.set(|own| own.api_key = Secret::new(key))
    }

    /// A server of one's own: its address, for example `https://wandb.example.com`.
    #[must_use]
    pub fn base_url(self, url: impl Into<String>) -> Self {
        self.set(|own| own.base_url = Some(url.into()))
    }

    /// When the server is told, and how patiently.
    #[must_use]
    pub fn upload(self, upload: Upload) -> Self {
        self.set(|own| own.upload = upload)
    }
}

impl Sink for Wandb {
    fn name(&self) -> &'static str {
        "wandb"
    }

    fn check(&self) -> Fallible {
        self.0.resolve(|name| std::env::var(name).ok()).map(|_| ())
    }

    fn open(&mut self, start: &Start<'_>) -> Fallible<Opened> {
        let settings = self.0.resolve(|name| std::env::var(name).ok())?;
        let mut mode = settings.mode.unwrap_or(Mode::Online);
        if mode == Mode::Disabled {
            let identity = start.resume.cloned().unwrap_or_default();
            return Ok(Opened { writer: Box::new(Nowhere), identity, ahead: Vec::new() });
        }
        let key = settings.key();
        if mode == Mode::Online && key.is_none() {
            mode = Mode::Offline;
            start
                .news
                .warn("wandb: there is no API key, so the run stays on disk: set WANDB_API_KEY, or run `wandb login`");
        }
        let dir = settings.dir.clone().or_else(|| start.run_dir.map(Path::to_owned)).unwrap_or_default().join("wandb");
        let place = Place::find(&dir, &settings, mode, start)?;
        let folder = place.file.parent().unwrap_or(&dir).to_owned();
        fs::create_dir_all(&folder)
            .map_err(|e| -> BoxError { format!("the folder `{}` cannot be made: {e}", dir.display()).into() })?;
        place.sent.write(&place.file)?;

        let run = run(&settings, &place.identity, start);
        let base_url = settings.base_url.clone();
        let ending =
            Ending::Offline { folder: fs::canonicalize(&folder).unwrap_or(folder), base_url: base_url.clone() };
        let mut writer = match &place.found {
            Some(found) => RunFile::go_on(&place.file, found, &run, ending)?,
            None => RunFile::create(&place.file, &run, ending)?,
        };
        // Not before the file is what it is going to be.
        if let (Mode::Online, Some(key)) = (mode, key) {
            let remote = Remote::new(&key, &settings, &place, writer.readable(), start);
            let uploader =
                remote.and_then(|remote| Uploader::start("wandb", remote, settings.upload, start.news.clone()));
            let uploader = uploader.map_err(|error| error.to_string());
            if let Err(error) = &uploader {
                start.news.warn(format!("wandb: nothing can be sent ({error}); all of it is in the files"));
            }
            writer.ending = Ending::Online { uploader, file: place.file.clone(), base_url };
        }
        Ok(Opened { writer: Box::new(writer), identity: State::encode(&place.identity)?, ahead: place.ahead })
    }
}

fn run(settings: &Settings, identity: &Identity, start: &Start<'_>) -> Run {
    let text = |own: &Option<String>| own.clone().unwrap_or_default();
    Run {
        id: identity.id.clone(),
        entity: text(&settings.entity),
        project: settings.project.clone(),
        name: text(&settings.name),
        notes: text(&settings.notes),
        tags: settings.tags.clone().unwrap_or_default(),
        group: text(&settings.group),
        job_type: text(&settings.job_type),
        host: environment::host(),
        started: identity.started,
        starting_step: identity.before,
        config: start.config.values().clone(),
        ..Run::default()
    }
}

/// The file of a run.
struct Place {
    identity: Identity,
    file: PathBuf,
    /// What is kept of it, if it is there.
    found: Option<scan::Found>,
    /// [`Opened::ahead`].
    ahead: Vec<u64>,
    sent: Sent,
}

impl Place {
    fn find(dir: &Path, settings: &Settings, mode: Mode, start: &Start<'_>) -> Fallible<Self> {
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
        let mut found = match scan::scan(&file, start.entries, in_any_case) {
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

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
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

/// For `Mode::Disabled`.
struct Nowhere;

impl Writer for Nowhere {
    fn write(&mut self, _: &Entries) -> Fallible {
        Ok(())
    }

    fn sync(&mut self) -> Fallible {
        Ok(())
    }

    fn end(&mut self, _: &Status, _: Instant) -> Fallible<Option<Notice>> {
        Ok(None)
    }

    fn path(&self) -> PathBuf {
        PathBuf::new()
    }
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
