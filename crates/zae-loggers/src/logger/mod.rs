//! [`Logger`]: a tracker as an add-on.

mod columns;
mod entries;
mod hooks;
mod shown;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use zae_core::{
    add_on::{Context, Notice},
    state::State,
};

use self::{columns::Columns, shown::Shown};
use crate::{
    Config, LogHandle, News, Opened, Sink, Start, Status,
    clock::{later, now},
    handle::Inbox,
    system::Sampler,
    worker::{Ending, Worker},
};

/// How long, over the life of a program, ends of runs wait in vain for servers.
const FINISH_WITHIN: Duration = Duration::from_secs(60);

/// So long people wait without a word.
const NOTICED: Duration = Duration::from_millis(300);

/// Tells a tracker of a run: its settings, every step, evaluation and epoch, and how it ended.
///
/// The training thread only copies numbers. What is logged of a step is what
/// [`AddOn::on_rows`](zae_core::add_on::AddOn::on_rows) gets; evaluations have their own names (`valid/loss`), and the means
/// of an epoch end in `_epoch`. An evaluation outside of a run is added to the run before it.
pub struct Logger<S> {
    pub(crate) sink: S,
    pub(crate) config: Config,
    /// Between two samples of how the machine is doing.
    pub(crate) sample_every: Option<Duration>,
    /// What is left of the time for ends.
    pub(crate) finish_within: Duration,
    news: News,
    worker: Option<Worker>,
    /// A run that ends.
    ending: Option<Ending>,
    /// What comes through a handle, and what of it belongs to steps whose rows are not there yet.
    inbox: Option<Arc<Inbox>>,
    shown: VecDeque<Shown>,
    /// It could not be opened: nothing is tried until the next run.
    off: bool,
    /// Its thread hangs at the disk, and has its files.
    hangs: bool,
    columns: Columns,
    saved: Saved,
    /// When the run would have begun, had it never been interrupted: seconds since 1970.
    started: f64,
    /// [`Opened::ahead`], as far as these entries have not come again.
    ahead: VecDeque<u64>,
    status: Status,
}

/// What of a logger is in a checkpoint.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Saved {
    /// Entries so far.
    entries: u64,
    /// [`Opened::identity`].
    identity: Option<State>,
}

impl<S: Sink> Logger<S> {
    /// Logs to a tracker.
    pub fn with(sink: S) -> Self {
        Self {
            sink,
            config: Config::default(),
            sample_every: None,
            finish_within: FINISH_WITHIN,
            news: News::default(),
            worker: None,
            ending: None,
            inbox: None,
            shown: VecDeque::new(),
            off: false,
            hangs: false,
            columns: Columns::default(),
            saved: Saved::default(),
            started: 0.0,
            ahead: VecDeque::new(),
            status: Status::Finished,
        }
    }

    /// Shows these settings beside the curves: a struct or a map of whatever `serde` can write. May be called again for more.
    ///
    /// Settings that the trainer knows (seed, engine, batch size, schedule, ...) are there anyway, under `trainer`.
    #[must_use]
    pub fn config(mut self, settings: &impl Serialize) -> Self {
        self.config.extend(settings);
        self
    }

    /// Logs what is shown and told through this handle.
    #[must_use]
    pub fn handle(mut self, handle: &LogHandle) -> Self {
        self.inbox = Some(handle.subscribe());
        self
    }

    /// Logs how the machine is doing, one sample in so much time: CPU, memory, disk and network of the machine, and of the
    /// program; with the feature `nvml` also NVIDIA's GPUs. They are not among the metrics: how many there are depends on the
    /// time that a run takes. With `Duration::MAX` there is none.
    #[cfg(feature = "system-metrics")]
    #[must_use]
    pub fn system_metrics(mut self, every: Duration) -> Self {
        self.sample_every = (every < Duration::MAX).then(|| every.max(Duration::from_millis(100)));
        self
    }

    /// How long ends of runs wait in vain for the server, all those of the program together: 60 seconds if this is not called.
    /// What has not been sent then is told, with the command that sends it.
    #[must_use]
    pub fn finish_within(mut self, time: Duration) -> Self {
        self.finish_within = time;
        self
    }

    /// Opens the run unless it is open.
    #[inline]
    fn open(&mut self, cx: &mut Context<'_>) {
        if self.worker.is_none() && !self.off && !self.hangs {
            self.open_now(cx);
        }
    }

    fn open_now(&mut self, cx: &mut Context<'_>) {
        self.off = true;
        let mut config = self.config.clone();
        let mut own = serde_json::Map::from_iter([("seed".to_owned(), cx.seed.into())]);
        own.extend(cx.config.iter().map(|(name, value)| (name.clone(), value.as_str().into())));
        config.add("trainer", own);
        let Saved { entries, identity } = &self.saved;
        let start = Start {
            run_dir: cx.run_dir,
            config: &config,
            resume: identity.as_ref(),
            entries: *entries,
            news: &self.news,
        };
        let name = self.sink.name();
        let opened = self.sink.open(&start).and_then(|Opened { writer, identity, ahead }| {
            let worker = Worker::start(name, writer, self.sample_every.map(Sampler::new), self.news.clone())?;
            Ok((worker, identity, ahead))
        });
        match opened {
            Ok((worker, identity, ahead)) => {
                self.off = false;
                self.started = now() - cx.progress.elapsed().as_secs_f64();
                self.worker = Some(worker);
                self.saved.identity = Some(identity);
                self.ahead = ahead.into();
                self.columns = Columns::default();
            }
            Err(error) => self.news.warn(format!("{name}: nothing is logged there: {error}")),
        }
    }

    /// Begins to end the run, and says that there is something to wait for, if it takes longer than people notice.
    fn end(&mut self, status: Status, cx: &mut Context<'_>) {
        self.close(status);
        if let Some(ending) = &self.ending
            && !ending.is_over(NOTICED)
        {
            let (name, seconds) = (self.sink.name(), self.finish_within.as_secs());
            self.news.tell(Notice::Info(format!(
                "{name}: what is left of the log is brought to its place, for {seconds} s at most; all of it is in the files"
            )));
        }
        self.tell(cx);
    }

    /// Hands on what the threads have to tell.
    #[inline]
    fn tell(&self, cx: &mut Context<'_>) {
        if let Some(held) = self.news.take() {
            held.tell(cx.requests);
        }
    }
}

impl<S> Logger<S> {
    /// Begins to end the run for this process.
    fn close(&mut self, status: Status) {
        self.status = status.clone();
        let deadline = later(Instant::now(), self.finish_within);
        self.ending = self.worker.take().map(|worker| worker.end(status, deadline));
    }

    /// Waits until it has ended.
    fn wait(&mut self) {
        let Some(ending) = self.ending.take() else { return };
        let since = ending.since;
        let ended = ending.wait();
        self.hangs = ended.is_err();
        let words = ended.unwrap_or_else(Some);
        // Programs end a run after each epoch, too: what a server takes that gets everything is not counted.
        if let Some(Notice::Warning(_)) = words {
            self.finish_within = self.finish_within.saturating_sub(since.elapsed());
        }
        words.into_iter().for_each(|notice| self.news.tell(notice));
    }
}

/// A program that keeps the loop to itself ends its run so.
impl<S> Drop for Logger<S> {
    fn drop(&mut self) {
        let panicking = std::thread::panicking();
        self.close(if panicking { Status::Failed("the program panicked".to_owned()) } else { Status::Finished });
        self.wait();
        if let Some(held) = self.news.take() {
            held.notices.iter().for_each(|notice| tracing::info!(?notice, "the last of a logger"));
        }
    }
}
