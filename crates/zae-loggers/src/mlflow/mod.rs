//! MLflow: a run in a spool on disk, and a thread that sends it to the tracking server.
//!
//! # The spool
//!
//! MLflow has no offline format, so the spool is one of ours: the file `mlflow/spool.jsonl` in the run's folder, of lines of
//! JSON in UTF-8. Times are milliseconds since 1970.
//!
//! - The first line tells of the run: `spool` (the format's version, 1), `key` (the run's tag `zae.run`, by which its server
//!   knows it), `tracking_uri` (without a password), `experiment`, `run_name`, `start_time`, `tags`, and `params` (pairs of
//!   name and value).
//! - A line with `index` is an entry, the one before which the run had so many: `kind` (`step`, `evaluation`, `epoch` or
//!   `media`), `time`, `step` (optimizer steps done), `epoch`, and `metrics` by name. NaN and infinities are the texts `"NaN"`,
//!   `"Infinity"` and `"-Infinity"`. Media has no metrics, but a `name` and `artifacts`, the paths of the files that show it.
//! - A line with `sample` is how the machine is doing: the number of the sample, which is its step on the server, `time` and
//!   `metrics`.
//! - A line with `alert` is an alert: the word is `info`, `warning` or `error`, with `time`, `title` and `text`.
//! - A line with `artifacts` and no `index` is a file of the user's that is kept with the run since `time`.
//! - A line with `end` is the end of the run: `FINISHED`, `FAILED` or `KILLED`, at `time`. Without one the program was killed.
//!
//! Beside it are:
//!
//! - `artifacts`, a folder of all files by their paths on the server. They are written before the line that names them. Images
//!   are where MLflow's own `log_image` has them, with a hash of the entry in place of its random number:
//!   `images/NAME+step+STEP+timestamp+TIME+HASH.png`, and a small one beside it, `...+compressed.png`. Of other media there is
//!   `FOLDER/NAME/STEP-HASH.ENDING` in `captions` and `texts` (`.txt`), `tables` (`.csv`) and `histograms` (`.json`, with
//!   `edges` and `counts`). `console.log` has the console's lines, and is in no line of the spool.
//! - `sent.json`: MLflow's `run_id`, and how many lines the server has, and may have (`rows` and `maybe`; ends are not
//!   counted).
//! - `sent_artifacts.json`: the bytes of the spool whose files the server has, and of the console.
//!
//! [`sync`] sends what the server has not got. Lines of a version before there were files and samples are read as ever.

mod api;
mod artifacts;
mod item;
mod line;
mod machine;
mod names;
mod payload;
mod remote;
mod sent;
mod settings;
mod spool;
mod store;
mod writer;

use std::{
    collections::{BTreeMap, hash_map::RandomState},
    hash::BuildHasher,
    path::Path,
};

use api::{Api, Login, Server};
use artifacts::{Artifacts, There};
use line::Head;
use remote::Tracking;
use sent::Sent;
use store::Store;
use writer::SpoolWriter;
use zae_core::{
    add_on::Notice,
    error::{BoxError, Fallible},
    state::State,
};

use crate::{
    Logger, News, Opened, Sink, Start, Upload,
    clock::now,
    http::Secret,
    upload::{self, Remote, Uploader},
    variable::variable,
};

/// Tells an MLflow tracking server of a run.
///
/// Every metric is there by its own name, at the count of optimizer steps; the settings are params. Names are changed where
/// MLflow takes them only so: what is no letter, digit or one of `_-./: ` becomes `_`. A run that is resumed goes on in the
/// same MLflow run, with every step in it once.
///
/// The run needs a folder, in which all of it is written before it is sent: so a server that is slow or away costs nothing
/// but the sight of the curves. What the server has not got in the end is sent when the run goes on, or by [`sync`].
///
/// What is shown through a [`LogHandle`](crate::LogHandle) becomes artifacts, on a thread of its own, so that no metric waits
/// for them: images for the page's image grid, by their names and steps (captions beside them, in `captions`), texts, tables
/// as CSV, which the page shows as tables, and histograms as JSON. Files are artifacts by their own names, the lines of the
/// console are `console.log`, and the latest alerts are the tag `zae.alerts`, for MLflow sends no messages. Samples of the
/// machine are where MLflow has its own, among the system metrics. A server that keeps artifacts elsewhere (`s3://`, a folder)
/// and takes none itself gets everything but these files: they stay in the run's folder, which is told once.
///
/// What is not set here comes from the environment: `MLFLOW_TRACKING_URI`, `MLFLOW_TRACKING_USERNAME` and
/// `MLFLOW_TRACKING_PASSWORD`, or `MLFLOW_TRACKING_TOKEN`.
///
/// ```
/// use zae_loggers::MlflowLogger;
///
/// let logger = MlflowLogger::new("digits").tracking_uri("http://127.0.0.1:5000").run_name("wide").tag("team", "vision");
/// ```
pub type MlflowLogger = Logger<Mlflow>;

/// The sink of an [`MlflowLogger`].
#[derive(Clone, Debug, Default)]
pub struct Mlflow {
    experiment: Option<String>,
    tracking_uri: Option<String>,
    login: Login,
    run_name: Option<String>,
    tags: BTreeMap<String, String>,
    upload: Upload,
}

impl Logger<Mlflow> {
    /// A run of this experiment, which is made if it is not there.
    pub fn new(experiment: impl Into<String>) -> Self {
        Self::with(Mlflow { experiment: Some(experiment.into()), ..Mlflow::default() })
    }

    /// A run of the experiment that `MLFLOW_EXPERIMENT_NAME` names, or else of `Default`.
    #[must_use]
    pub fn from_env() -> Self {
        Self::with(Mlflow::default())
    }

    /// The address of the server, for example `http://127.0.0.1:5000`.
    #[must_use]
    pub fn tracking_uri(mut self, uri: impl Into<String>) -> Self {
        self.sink.tracking_uri = Some(uri.into());
        self
    }

    /// Who asks the server.
    #[must_use]
    pub fn login(mut self, user: impl Into<String>, password: &str) -> Self {
        self.sink.login = Login { user: Some(user.into()), password: Secret::new(password), token: None };
        self
    }

    /// What allows to ask the server.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.sink.login = Login { token: Secret::new(token), ..Login::default() };
        self
    }

    /// The name of the run. MLflow makes one up if there is none.
    #[must_use]
    pub fn run_name(mut self, name: impl Into<String>) -> Self {
        self.sink.run_name = Some(name.into());
        self
    }

    /// A tag of the run. Those that MLflow knows begin with `mlflow.`; some are there anyway (user, program, git commit).
    #[must_use]
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.sink.tags.insert(name.into(), value.into());
        self
    }

    /// The description of the run, in Markdown.
    #[must_use]
    pub fn note(self, text: impl Into<String>) -> Self {
        self.tag("mlflow.note.content", text)
    }

    /// When the server is told, and how patiently.
    #[must_use]
    pub fn upload(mut self, settings: Upload) -> Self {
        self.sink.upload = settings;
        self
    }
}

fn server(uri: Option<&str>, login: &Login) -> Fallible<Server> {
    let uri = uri.map(str::to_owned).or_else(|| variable("MLFLOW_TRACKING_URI"));
    let uri = uri.ok_or("it needs the server's address: `.tracking_uri(..)`, or the variable MLFLOW_TRACKING_URI")?;
    let secret = |name| variable(name).and_then(|text| Secret::new(&text));
    if login.user.is_some() || login.token.is_some() {
        return Server::new(&uri, login);
    }
    let login = Login {
        user: variable("MLFLOW_TRACKING_USERNAME"),
        password: secret("MLFLOW_TRACKING_PASSWORD"),
        token: secret("MLFLOW_TRACKING_TOKEN"),
    };
    Server::new(&uri, &login)
}

impl Sink for Mlflow {
    fn name(&self) -> &'static str {
        "mlflow"
    }

    fn check(&self) -> Fallible {
        server(self.tracking_uri.as_deref(), &self.login).map(drop)
    }

    fn open(&mut self, start: &Start<'_>) -> Fallible<Opened> {
        let dir = start.run_dir.ok_or("it has no folder to write to: give the trainer a `.run_dir(..)`")?;
        let folder = dir.join("mlflow");
        let server = server(self.tracking_uri.as_deref(), &self.login)?;
        let mut key = start.resume.and_then(|identity| identity.decode::<String>().ok());
        let unwritable = |e: BoxError| -> BoxError { format!("cannot write in `{}`: {e}", folder.display()).into() };
        let mut reopened = None;
        if let Some(key) = &key {
            let maybe = Sent::of(&folder, key).maybe;
            reopened = spool::reopen(&folder.join(spool::FILE), key, start.entries, maybe).map_err(unwritable)?;
        }
        let key = key.get_or_insert_with(new_key).clone();
        let (spool, ahead) = match reopened {
            Some((spool, ahead)) => {
                if spool.entries < start.entries {
                    start.news.warn(format!(
                        "mlflow: the last {} entries before the checkpoint are not in `{}`: the disk had not taken them when \
                         the program was killed; their steps are made again only if the run goes on from an older checkpoint",
                        start.entries - spool.entries,
                        spool.path.display()
                    ));
                }
                (spool, ahead)
            }
            None => (spool::create(&folder, &self.head(&key, &server, start)).map_err(unwritable)?, Vec::new()),
        };
        let uploaders = self.uploaders(server, &folder, start.news);
        let uploaders = uploaders.map_err(|e| start.news.warn(format!("mlflow: nothing is sent: {e}")));
        let store = Store::new(folder, start.news.clone());
        let writer = Box::new(SpoolWriter::new(spool, store, uploaders.unwrap_or_default()));
        Ok(Opened { writer, identity: State::encode(&key)?, ahead })
    }
}

impl Mlflow {
    fn head(&self, key: &str, server: &Server, start: &Start<'_>) -> Head {
        let experiment = self.experiment.clone().or_else(|| variable("MLFLOW_EXPERIMENT_NAME"));
        Head {
            spool: 1,
            key: key.to_owned(),
            tracking_uri: server.uri().to_owned(),
            experiment: experiment.unwrap_or_else(|| "Default".to_owned()),
            run_name: self.run_name.clone(),
            start_time: line::milliseconds(now()),
            tags: settings::tags(&self.tags),
            params: settings::params(start.config),
        }
    }

    fn uploaders(&self, server: Server, folder: &Path, news: &News) -> Fallible<Vec<Uploader>> {
        let (tracking, artifacts) = remotes(Api::new(server, self.upload.timeout)?, folder, news)?;
        Ok(vec![
            Uploader::start("mlflow", tracking, self.upload, news.clone())?,
            Uploader::start("mlflow artifacts", artifacts, self.upload, news.clone())?,
        ])
    }
}

/// What sends the spool in a folder, and what sends the files that belong to it.
fn remotes(api: Api, folder: &Path, news: &News) -> Fallible<(Tracking, Artifacts)> {
    let there = There::default();
    let artifacts = Artifacts::new(api.clone(), folder.to_owned(), there.clone(), news.clone());
    Ok((Tracking::new(api, folder.to_owned(), there, news.clone())?, artifacts))
}

/// A name that no other run has.
fn new_key() -> String {
    [0, 1].map(|part: u8| format!("{:016x}", RandomState::new().hash_one((part, now().to_bits())))).concat()
}

/// Sends what the server has not got of a run, given the folder of its spool (`mlflow` in the run's folder), to the server that
/// `MLFLOW_TRACKING_URI` names, or else to the one the run was for. The other variables count as they do for an
/// [`MlflowLogger`]. A run whose program was killed gets the status `KILLED`. Not to be called while the program runs.
///
/// ```no_run
/// zae_loggers::mlflow::sync("runs/wide/mlflow")?;
/// # Ok::<(), zae_core::error::BoxError>(())
/// ```
///
/// # Errors
/// When there is no spool, or the server does not take all of it. What it took is remembered: call it again.
pub fn sync(folder: impl AsRef<Path>) -> Fallible {
    let folder = folder.as_ref();
    let (head, _) = spool::read(&folder.join(spool::FILE)).map_err(|e| format!("`{}`: {e}", folder.display()))?;
    let uri = variable("MLFLOW_TRACKING_URI").unwrap_or(head.tracking_uri);
    let api = Api::new(server(Some(&uri), &Login::default())?, Upload::default().timeout)?;
    let news = News::default();
    let (mut tracking, mut artifacts) = remotes(api, folder, &news)?;
    while tracking.send(true, &|| true)? == upload::Sent::More {}
    while artifacts.send(true, &|| true)? == upload::Sent::More {}
    // There is no run that could tell of files that are left out.
    let told = news.take().map(|held| held.notices).unwrap_or_default();
    let left: Vec<_> =
        told.into_iter().filter_map(|own| if let Notice::Warning(text) = own { Some(text) } else { None }).collect();
    if left.is_empty() { Ok(()) } else { Err(left.join("; ").into()) }
}
