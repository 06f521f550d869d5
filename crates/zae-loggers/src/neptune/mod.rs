//! Neptune: [`NeptuneLogger`].

mod beside;
mod content;
mod database;
mod ledger;
mod operation;
mod payload;
mod remote;
mod reply;
mod series;
mod session;
mod storage;
mod store;
mod token;
mod writer;

use std::{
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
};

use remote::Server;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use session::Session;
use store::{Run, Store};
use token::Token;
use writer::{DatabaseWriter, nanos, status_of};
use zae_core::{add_on::Notice, error::Fallible, state::State};

use crate::{
    Config, Logger, News, Opened, Sink, Start, Upload, clock::now, http::Secret, upload::Uploader, variable::variable,
};

/// Neptune's own limit, in bytes.
const LONGEST_ID: usize = 730;

/// Writes what `neptune sync` sends to a server of Neptune's, and sends it there itself if it knows one.
///
/// **Neptune's hosted service ended on 2026-03-05.** What is left are servers that people run themselves. Without the address
/// of one the logger writes files, says so once, and no server is asked for anything.
///
/// The files are those of `neptune-scale`: a folder for each run, in `neptune` in the run folder (else `NEPTUNE_LOG_DIRECTORY`,
/// else `.neptune`), with `run_operations.sqlite3` in it, which holds what the server has not got.
///
/// Each metric is a series of its name over the optimizer step (`train/loss`, `valid/loss`, `train/loss_epoch`). A series has
/// one value per step: a second evaluation after the same step is a millionth of a step behind the first. Settings are under
/// `config`, how the run is doing is `run/status` and `run/error`.
///
/// Of what a [`LogHandle`](crate::LogHandle) shows, texts and histograms are series of their kind, images (PNG) and tables (CSV)
/// series of files; the captions of images are under `NAME/caption`. Files are kept as `files/NAME`. Over the seconds since the
/// run began there are `alerts`, `runtime/stdout` with console lines and `runtime/monitoring/...` with how the machine is
/// doing. What goes to the server's storage for files lies in the run's folder until it is there.
///
/// `NEPTUNE_API_TOKEN` has the key and the server's address in it, `NEPTUNE_PROJECT` the project, and `NEPTUNE_MODE=offline`
/// is as good as [`Logger::offline`]; what is set in code comes first.
///
/// ```
/// use zae_loggers::NeptuneLogger;
/// let logger = NeptuneLogger::new("team/digits").experiment("wider").tags(["adam"]).offline();
/// ```
pub type NeptuneLogger = Logger<Neptune>;

/// The settings of a [`NeptuneLogger`].
#[derive(Clone, Debug)]
pub struct Neptune {
    /// None: of the environment.
    project: Option<String>,
    run_id: Option<String>,
    experiment: Option<String>,
    tags: Vec<String>,
    dir: Option<PathBuf>,
    token: Option<Secret>,
    /// None: whether a server is known decides.
    online: Option<bool>,
    upload: Upload,
    /// That there is no server was told.
    told: bool,
}

/// What a checkpoint knows of the run.
#[derive(Serialize, Deserialize)]
struct Identity {
    run_id: String,
    /// The name of its folder.
    folder: String,
    /// When it began, in nanoseconds since 1970.
    #[serde(default)]
    begun: i64,
}

impl Logger<Neptune> {
    /// Logs to a project, `workspace/name`.
    pub fn new(project: impl Into<String>) -> Self {
        Self::of(Some(project.into()))
    }

    /// Logs to the project that `NEPTUNE_PROJECT` names.
    #[must_use]
    pub fn from_env() -> Self {
        Self::of(None)
    }

    fn of(project: Option<String>) -> Self {
        Self::with(Neptune {
            project,
            run_id: None,
            experiment: None,
            tags: Vec::new(),
            dir: None,
            token: None,
            online: None,
            upload: Upload::default(),
            told: false,
        })
    }

    /// The run's id, at most 730 bytes without a slash. If there is a run of that id it goes on. A resumed run keeps the one
    /// it has. If this is not called, one is made up.
    #[must_use]
    pub fn run_id(mut self, id: impl Into<String>) -> Self {
        self.sink.run_id = Some(id.into());
        self
    }

    /// The experiment that the run is of: the name that people see.
    #[must_use]
    pub fn experiment(mut self, name: impl Into<String>) -> Self {
        self.sink.experiment = Some(name.into());
        self
    }

    /// More tags.
    #[must_use]
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.sink.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// The folder for folders of runs.
    #[must_use]
    pub fn dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.sink.dir = Some(path.into());
        self
    }

    /// Neptune's key. It is never written to a file.
    #[must_use]
    pub fn api_token(mut self, token: &str) -> Self {
        self.sink.token = Secret::new(token);
        self
    }

    /// Only files, whatever is known of a server.
    #[must_use]
    pub fn offline(mut self) -> Self {
        self.sink.online = Some(false);
        self
    }

    /// A run that knows no server is not started.
    #[must_use]
    pub fn online(mut self) -> Self {
        self.sink.online = Some(true);
        self
    }

    /// When the server is told, and how patiently.
    #[must_use]
    pub fn upload(mut self, settings: Upload) -> Self {
        self.sink.upload = settings;
        self
    }
}

impl Neptune {
    fn project(&self) -> Fallible<String> {
        let project = self.project.clone().or_else(|| variable("NEPTUNE_PROJECT"));
        let project = project.ok_or("there is no project: set NEPTUNE_PROJECT, or use `NeptuneLogger::new(..)`")?;
        match project.split('/').collect::<Vec<_>>()[..] {
            [workspace, name] if !workspace.is_empty() && !name.is_empty() => Ok(project),
            _ => Err(format!("`{project}` is no project of Neptune's: it is written `workspace/name`").into()),
        }
    }

    /// The server to send to, if there is one.
    fn server(&self) -> Fallible<Option<Token>> {
        let online = match (self.online, variable("NEPTUNE_MODE").as_deref()) {
            (Some(online), _) => Some(online),
            (None, Some("offline")) => Some(false),
            (None, None | Some("online" | "async" | "sync")) => None,
            (None, Some(other)) => {
                return Err(format!(
                    "NEPTUNE_MODE is `{other}`: `offline` and `online` are known; without the logger, nothing is logged"
                )
                .into());
            }
        };
        if online == Some(false) {
            return Ok(None);
        }
        let token = self.token.clone().or_else(|| Secret::new(&variable("NEPTUNE_API_TOKEN")?));
        let token = token.as_ref().map(Token::parse).transpose()?.filter(|token| !token.is_hosted());
        if token.is_none() && online == Some(true) {
            return Err("Neptune's hosted service ended on 2026-03-05, and no server of your own is named: \
                        `NEPTUNE_API_TOKEN` or `.api_token(..)` has to be of one. Without `.online()` only files are written"
                .into());
        }
        Ok(token)
    }

    fn uploader(&self, token: Token, run: &Run, database: &Path, news: &News) -> Fallible<Uploader> {
        let session = Session::new(token, self.upload.timeout)?;
        let folder = database.parent().unwrap_or(database).to_owned();
        let server = Server::new(session, folder, run.clone(), self.upload.timeout, news.clone())?;
        Uploader::start("neptune", server, self.upload, news.clone())
    }

    fn base(&self, run_dir: Option<&Path>) -> PathBuf {
        let of_environment = || variable("NEPTUNE_LOG_DIRECTORY").map(PathBuf::from);
        let dir = self.dir.clone().or_else(|| run_dir.map(|dir| dir.join("neptune"))).or_else(of_environment);
        dir.unwrap_or_else(|| ".neptune".into())
    }
}

impl Sink for Neptune {
    fn name(&self) -> &'static str {
        "neptune"
    }

    fn check(&self) -> Fallible {
        self.project()?;
        self.server()?;
        let named = [("run id", &self.run_id), ("experiment's name", &self.experiment)];
        for (what, name) in named.into_iter().filter_map(|(what, name)| Some((what, name.as_ref()?))) {
            if name.is_empty() || name.len() > LONGEST_ID {
                return Err(format!("the {what} has {} bytes: Neptune takes 1 to {LONGEST_ID}", name.len()).into());
            }
        }
        if self.run_id.as_ref().is_some_and(|id| id.contains('/')) {
            return Err("a run id of Neptune's has no slash in it".into());
        }
        Ok(())
    }

    fn open(&mut self, start: &Start<'_>) -> Fallible<Opened> {
        let project = self.project()?;
        let now = nanos(now());
        let mut identity = match start.resume {
            Some(identity) => identity.decode()?,
            None => Identity::new(&project, self.run_id.clone(), now),
        };
        if identity.begun == 0 {
            // Of a version that did not know it yet.
            identity.begun = now;
        }
        let run = Run { project, run_id: identity.run_id.clone(), experiment: self.experiment.clone() };
        let base = std::path::absolute(self.base(start.run_dir))?;
        let opened = |folder: &str| -> Fallible<(Store, Vec<u64>)> {
            let mut store = Store::open(&base.join(folder), &run)?;
            let ahead = store.resume(start.entries)?;
            Ok((store, ahead))
        };
        let (store, ahead) = match opened(&identity.folder) {
            Err(error) if base.join(&identity.folder).exists() && start.resume.is_some() => {
                // The run goes on in a new folder; the server knows that it is the same.
                let new = Identity::new(&run.project, Some(run.run_id.clone()), now);
                let old = base.join(std::mem::replace(&mut identity.folder, new.folder));
                start.news.warn(format!(
                    "neptune: the files in `{}` cannot be used ({error}): the run goes on in `{}`",
                    old.display(),
                    identity.folder
                ));
                opened(&identity.folder)?
            }
            result => result.map_err(|e| format!("cannot write in `{}`: {e}", base.display()))?,
        };
        let path = store.path();
        let mut writer = DatabaseWriter::new(store, identity.begun, start.news.clone())?;
        let mut values = settings(start.config);
        values.extend(status_of("running", ""));
        writer.assign(now, &values, &[("sys/tags", &self.tags)])?;
        if let Some(token) = self.server()? {
            // What keeps it from sending does not keep it from writing.
            match self.uploader(token, &run, &path, start.news) {
                Ok(uploader) => writer.set_uploader(uploader),
                Err(error) => start.news.warn(format!("neptune: nothing is sent: {error}")),
            }
        } else if !std::mem::replace(&mut self.told, true) {
            start.news.tell(Notice::Info(format!(
                "neptune: Neptune's hosted service ended on 2026-03-05. The run is written to files, which a server of \
                 your own gets so: neptune sync {}",
                path.display()
            )));
        }
        Ok(Opened { writer: Box::new(writer), identity: State::encode(&identity)?, ahead })
    }
}

impl Identity {
    /// As neptune-scale names folders.
    fn new(project: &str, run_id: Option<String>, now: i64) -> Self {
        let made_up = || format!("zae-{:x}-{:08x}", now / 1_000_000_000, RandomState::new().hash_one(now) as u32);
        let run_id = run_id.unwrap_or_else(made_up);
        let folder = format!("{}_{}_{now}", component(project), component(&run_id));
        Self { run_id, folder, begun: now }
    }
}

/// A text as a part of a file's name.
fn component(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        let c = if c < ' ' || "<>:\" /\\|?*".contains(c) { '_' } else { c };
        if c != '_' || !name.ends_with('_') {
            name.push(c);
        }
    }
    name.chars().take(64).collect()
}

/// The settings of a run as attributes.
fn settings(config: &Config) -> Vec<(String, Value)> {
    config.flat().into_iter().map(|(name, value)| (format!("config/{name}"), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_not_shown() {
        let shown = format!("{:?}", NeptuneLogger::new("team/digits").api_token("hunter2").sink);
        assert!(shown.contains("team/digits") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn folders_have_names_that_every_disk_takes() {
        assert_eq!(component("a/b: \u{1}__c?"), "a_b_c_");
        assert_eq!(component(&"ü".repeat(70)), "ü".repeat(64));
    }
}
