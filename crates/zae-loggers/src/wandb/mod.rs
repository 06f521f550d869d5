//! Weights & Biases: [`WandbLogger`].

mod aside;
mod date;
mod ending;
mod environment;
mod fields;
mod files;
mod framing;
mod graphql;
mod json;
mod media;
mod metric;
mod place;
mod record;
mod remainder;
mod remote;
mod scan;
mod sent;
mod settings;
mod summary;
mod unsent;
mod uploads;
mod writer;
mod yaml;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use zae_core::{
    add_on::Notice,
    error::{BoxError, Fallible},
    state::State,
};

use self::{
    ending::Ending,
    place::{Identity, Place},
    record::Run,
    remote::Remote,
    settings::Settings,
    writer::RunFile,
};
use crate::{Entries, Logger, Opened, Sink, Start, Status, Upload, Writer, http::Secret, upload::Uploader};

pub use self::{
    metric::{Aggregate, Goal, Metric},
    settings::{Mode, ResumeRun},
};

/// Between two samples of how the machine is doing: what W&B's own client takes.
const SAMPLE_EVERY: Duration = Duration::from_secs(15);

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
/// Images, histograms, tables, texts, console lines, alerts and files come through a [`LogHandle`](crate::LogHandle): a text is
/// shown as a page, and a table without versions, which would make it an artifact. With the feature `system-metrics` the
/// machine is watched every 15 seconds, as W&B's own client does; `system_metrics(Duration::MAX)` turns that off.
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
pub struct Wandb {
    settings: Settings,
    /// What is to be done by hand was told: a program may end a run many times, after each epoch, or after an evaluation.
    told: bool,
}

impl WandbLogger {
    /// Logs to this project. If it is empty, to `WANDB_PROJECT`.
    #[must_use]
    pub fn new(project: impl Into<String>) -> Self {
        let settings = Settings { project: project.into(), ..Settings::default() };
        let mut logger = Self::with(Wandb { settings, told: false });
        if cfg!(feature = "system-metrics") {
            logger.sample_every = Some(SAMPLE_EVERY);
        }
        logger
    }

    fn set(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(&mut self.sink.settings);
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

    /// How W&B shows a metric, or all metrics whose names begin alike. May be called again for more.
    #[must_use]
    pub fn define_metric(self, metric: Metric) -> Self {
        self.set(|own| metric.add_to(&mut own.metrics))
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
        self.settings.resolve(|name| std::env::var(name).ok()).map(|_| ())
    }

    fn open(&mut self, start: &Start<'_>) -> Fallible<Opened> {
        let settings = self.settings.resolve(|name| std::env::var(name).ok())?;
        let mut mode = settings.mode.unwrap_or(Mode::Online);
        if mode == Mode::Disabled {
            let identity = start.resume.cloned().unwrap_or_default();
            return Ok(Opened { writer: Box::new(Nowhere), identity, ahead: Vec::new() });
        }
        let key = settings.key();
        let told = std::mem::replace(&mut self.told, true);
        if mode == Mode::Online && key.is_none() {
            mode = Mode::Offline;
            if !told {
                let text = "there is no API key, so the run stays on disk: set WANDB_API_KEY, or run `wandb login`";
                start.news.warn(format!("wandb: {text}"));
            }
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
            Ending::Offline { folder: fs::canonicalize(&folder).unwrap_or(folder), base_url: base_url.clone(), told };
        let mut writer = RunFile::open(&place, run, ending, start.news.clone())?;
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
        metrics: settings.metrics.clone(),
        ..Run::default()
    }
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
