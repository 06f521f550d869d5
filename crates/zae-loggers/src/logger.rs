//! [`Logger`]: a tracker as an add-on.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use zae_core::{
    add_on::{AddOn, Context, Durable, Notice, Phase},
    error::{Error, Fallible},
    metrics::{EpochSummary, Evaluation, Metrics, Row, Rows},
    state::State,
    trainer::{Outcome, Run},
};

use crate::{
    Config, Entries, Kind, LogHandle, Media, News, Opened, Sink, Start, Status,
    clock::{later, now},
    entry::Head,
    handle::{Inbox, Noted},
    mark,
    system::Sampler,
    worker::{Ending, Worker},
};

/// How long, over the life of a program, ends of runs wait in vain for servers.
const FINISH_WITHIN: Duration = Duration::from_secs(60);

/// Tells a tracker of a run: its settings, every step, evaluation and epoch, and how it ended.
///
/// The training thread only copies numbers. What is logged of a step is what [`AddOn::on_rows`] gets; evaluations have their
/// own names (`valid/loss`), and the means of an epoch end in `_epoch`. An evaluation outside of a run is added to the run
/// before it.
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
    /// The columns of entries seen so far, as the thread knows them: what they are of, and their names.
    layouts: Vec<Layout>,
    /// Their numbers.
    numbers: HashMap<Layout, usize>,
    /// The one of the last step.
    last: usize,
    saved: Saved,
    /// [`Opened::ahead`], as far as these entries have not come again.
    ahead: VecDeque<u64>,
    status: Status,
}

/// What entries are of, and their columns.
type Layout = (Kind, Arc<[Arc<str>]>);

/// Something to look at, and where in the run it belongs.
struct Shown {
    head: Head,
    name: Arc<str>,
    media: Arc<Media>,
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
            layouts: Vec::new(),
            numbers: HashMap::new(),
            last: 0,
            saved: Saved::default(),
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
    /// time that a run takes.
    #[cfg(feature = "system-metrics")]
    #[must_use]
    pub fn system_metrics(mut self, every: Duration) -> Self {
        self.sample_every = Some(every.max(Duration::from_millis(100)));
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
    fn open(&mut self, cx: &mut Context<'_>) {
        if self.worker.is_some() || self.off || self.hangs {
            return;
        }
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
                self.worker = Some(worker);
                self.saved.identity = Some(identity);
                self.ahead = ahead.into();
                self.layouts.clear();
                self.numbers.clear();
            }
            Err(error) => self.news.warn(format!("{name}: nothing is logged there: {error}")),
        }
    }

    /// Hands on what the threads have to tell.
    fn tell(&self, cx: &mut Context<'_>) {
        if let Some(held) = self.news.take() {
            held.notices.into_iter().for_each(|notice| cx.requests.notice(notice));
            held.stop.into_iter().for_each(|reason| cx.requests.stop(reason));
        }
    }

    /// The number of a list of columns, and the list if the thread has yet to be told of it.
    fn layout(&mut self, kind: Kind, names: &[Arc<str>]) -> (usize, Option<Arc<[Arc<str>]>>) {
        // Nearly always the very names of the step before.
        let same = |(of, layout): &Layout| {
            *of == kind && layout.len() == names.len() && layout.iter().zip(names).all(|(a, b)| Arc::ptr_eq(a, b))
        };
        if self.layouts.get(self.last).is_some_and(same) {
            return (self.last, None);
        }
        let layout: Arc<[Arc<str>]> = names.into();
        let known = self.layouts.len();
        let number = *self.numbers.entry((kind, layout.clone())).or_insert(known);
        if kind == Kind::Step {
            self.last = number;
        }
        if number < known {
            return (number, None);
        }
        self.layouts.push((kind, layout.clone()));
        (number, Some(layout))
    }

    /// Hands over entries with the same names: for each its head, without what is worked out here, and its values.
    fn push<'a>(
        &mut self,
        kind: Kind,
        names: &[Arc<str>],
        rows: impl ExactSizeIterator<Item = (Head, Cow<'a, [f64]>)>,
    ) {
        let mut rows = rows.peekable();
        while let Some((head, _)) = rows.peek()
            && self.is_there(head.step, names)
        {
            rows.next();
        }
        let Some(worker) = self.worker.take() else { return };
        if rows.len() > 0 {
            let time = now();
            worker.push(rows.len() as u64, |entries: &mut Entries| {
                let (layout, new) = self.layout(kind, names);
                new.into_iter().for_each(|new| entries.add_layout(new));
                for (head, values) in rows {
                    let index = self.saved.entries;
                    entries.push(Head { kind, layout, index, time, ..head }, values.iter().copied());
                    self.saved.entries += 1;
                }
            });
        }
        self.worker = Some(worker);
    }

    /// Whether the entry is there already: its step is made again after a resume from an older checkpoint, and the entry
    /// could not be taken back. Then it counts.
    ///
    /// What is there comes again in the order in which it came, but for evaluations that somebody made in between: they stay.
    /// The first entry that is not there is behind them all.
    fn is_there(&mut self, step: u64, names: &[Arc<str>]) -> bool {
        if self.ahead.is_empty() {
            return false;
        }
        let own = mark(step, names.iter().map(|name| &**name));
        let found = self.ahead.iter().position(|mark| *mark == own);
        let passed = found.map_or(self.ahead.len(), |at| at + 1);
        self.ahead.drain(..passed);
        self.saved.entries += passed as u64;
        found.is_some()
    }

    /// Takes what came through the handle: it belongs to what is just done.
    fn collect(&mut self, epoch: u64, step: u64, cx: &mut Context<'_>) {
        let Some(held) = self.inbox.as_ref().and_then(|inbox| inbox.take()) else { return };
        self.open(cx);
        if held.dropped > 0 {
            let name = self.sink.name();
            self.news.warn(format!("{name}: there is no room for {} things that were to be logged", held.dropped));
        }
        let Some(worker) = &self.worker else { return };
        let head =
            Head { kind: Kind::Media, epoch, step, seconds: cx.progress.elapsed().as_secs_f64(), ..Head::default() };
        let mut asides = Vec::new();
        for noted in held.noted {
            match noted {
                Noted::Media(name, media) => self.shown.push_back(Shown { head, name, media }),
                Noted::Aside(aside) => asides.push(aside),
            }
        }
        if !asides.is_empty() {
            worker.push(0, |entries| asides.into_iter().for_each(|aside| entries.push_aside(aside)));
        }
    }

    /// Hands over the first thing to look at of those that wait.
    fn show_next(&mut self) {
        let Some(Shown { head, name, media }) = self.shown.pop_front() else { return };
        let names = [name];
        if self.is_there(head.step, &names) {
            return;
        }
        let Some(worker) = self.worker.take() else { return };
        worker.push(1, |entries| {
            let (layout, new) = self.layout(Kind::Media, &names);
            new.into_iter().for_each(|new| entries.add_layout(new));
            entries.push_media(Head { layout, index: self.saved.entries, time: now(), ..head }, media);
            self.saved.entries += 1;
        });
        self.worker = Some(worker);
    }

    fn show_all(&mut self) {
        while !self.shown.is_empty() {
            self.show_next();
        }
    }

    fn push_rows<'a>(&mut self, names: &[Arc<str>], rows: impl ExactSizeIterator<Item = Row<'a>>) {
        let rows = rows.map(|row| {
            let head = Head {
                epoch: row.head.cursor.epoch,
                step: row.head.step,
                seconds: row.head.seconds,
                ..Head::default()
            };
            (head, Cow::Borrowed(row.values))
        });
        self.push(Kind::Step, names, rows);
    }

    fn push_metrics(&mut self, kind: Kind, head: Head, metrics: Vec<(Arc<str>, f64)>) {
        let (names, values): (Vec<_>, Vec<_>) = metrics.into_iter().unzip();
        self.push(kind, &names, std::iter::once((head, Cow::Owned(values))));
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

impl<S: Sink> AddOn for Logger<S> {
    fn name(&self) -> &str {
        self.sink.name()
    }

    fn phase(&self) -> Phase {
        Phase::Report
    }

    fn claim(&mut self, _: Option<&std::path::Path>) -> Fallible {
        if let Some(misuse) = self.config.misuse() {
            return Err(misuse.into());
        }
        self.sink.check()
    }

    fn on_run_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.off = false;
        self.open(cx);
        self.tell(cx);
        Ok(())
    }

    fn on_step_end(&mut self, cx: &mut Context<'_>) -> Fallible {
        // The step is counted already.
        self.collect(cx.progress.epoch(), cx.progress.step().saturating_sub(1), cx);
        self.tell(cx);
        Ok(())
    }

    fn on_rows(&mut self, rows: &Rows<'_>, cx: &mut Context<'_>) -> Fallible {
        self.open(cx);
        let (names, mut done) = (rows.names(), 0);
        // What is shown comes right behind the row of its step, so that a run that goes on logs all in the same order.
        while let Some(shown) = self.shown.front() {
            let step = shown.head.step;
            let before = rows.iter().take_while(|row| row.head.step <= step).count();
            if rows.iter().last().is_none_or(|row| row.head.step < step) {
                break;
            }
            if before > done {
                self.push_rows(names, rows.iter().take(before).skip(done));
                done = before;
            }
            self.show_next();
        }
        if rows.len() > done {
            self.push_rows(names, rows.iter().skip(done));
        }
        Ok(())
    }

    fn on_evaluation_end(&mut self, evaluation: &Evaluation, cx: &mut Context<'_>) -> Fallible {
        let outside = self.worker.is_none();
        self.open(cx);
        self.collect(evaluation.epoch, evaluation.step, cx);
        self.show_all();
        let head = Head {
            epoch: evaluation.epoch,
            step: evaluation.step,
            seconds: cx.progress.elapsed().as_secs_f64(),
            ..Head::default()
        };
        let metrics = evaluation.metrics.iter().map(|(name, value)| (Arc::from(name.as_str()), *value)).collect();
        self.push_metrics(Kind::Evaluation, head, metrics);
        if outside {
            self.close(self.status.clone());
        }
        self.tell(cx);
        Ok(())
    }

    fn on_epoch_end(&mut self, epoch: &EpochSummary, cx: &mut Context<'_>) -> Fallible {
        self.collect(epoch.epoch, epoch.step, cx);
        self.show_all();
        let head =
            Head { kind: Kind::Epoch, epoch: epoch.epoch, step: epoch.step, seconds: epoch.seconds, ..Head::default() };
        self.push_metrics(Kind::Epoch, head, of_training(&epoch.metrics));
        self.tell(cx);
        Ok(())
    }

    fn on_run_end(&mut self, run: &Run, cx: &mut Context<'_>) -> Fallible {
        self.collect(cx.progress.epoch(), cx.progress.step(), cx);
        self.show_all();
        self.close(match &run.outcome {
            Outcome::Interrupted { signal } => Status::Interrupted(signal),
            _ => Status::Finished,
        });
        Ok(())
    }

    fn on_error(&mut self, error: &Error, cx: &mut Context<'_>) -> Fallible {
        // No run is opened to tell of its end.
        if self.worker.is_some() {
            self.collect(cx.progress.epoch(), cx.progress.step(), cx);
            self.show_all();
        }
        self.close(Status::Failed(error.to_string()));
        Ok(())
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.wait();
        self.tell(cx);
        Ok(())
    }

    fn state(&self) -> Fallible<Option<State>> {
        Ok(Some(State::encode(&self.saved)?))
    }

    fn restore(&mut self, state: &State) -> Fallible {
        self.saved = state.decode()?;
        Ok(())
    }

    fn durable(&self) -> Option<Durable> {
        self.worker.as_ref().map(Worker::durable)
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

/// An epoch's own metrics, by the names that other trainers give them. Those of its validation were logged as such.
fn of_training(metrics: &Metrics) -> Vec<(Arc<str>, f64)> {
    let own = metrics.iter().filter(|(name, _)| name.starts_with("train/"));
    own.map(|(name, value)| (format!("{name}_epoch").into(), *value)).collect()
}
