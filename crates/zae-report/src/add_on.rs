//! [`HtmlReport`]: a report in the run folder.

use std::{
    path::{Path, PathBuf},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde::Serialize;
use zae_core::{
    add_on::{AddOn, Context, Notice, Phase},
    error::{Error, Fallible, Panicked},
    metrics::{EpochSummary, Evaluation},
    trainer::{Outcome, Run},
};

use crate::{
    disk,
    page::Page,
    read::{self, Event, Head, Runs},
    run::{Ending, Environment, FILE, Record, Settings, now},
};

/// While a run goes on, its report is written no more often,
const EVERY: Duration = Duration::from_secs(30);
/// and takes no more than one of so many parts of the time.
const PART: u32 = 50;

/// Writes `report.html` to the run folder when a run ends, in whatever way, and now and then at the end of an epoch: curves of
/// all metrics, the best and last of each, epochs and evaluations, where the time went, settings, machine. It is one file, which
/// loads nothing from anywhere: it can be sent to somebody, or kept.
///
/// Beside it is `run.json`, with all of that but the numbers, so that [`write`](crate::write()) can show several runs in one
/// report. The numbers are those of [`CsvLogger`](zae_core::add_ons::CsvLogger) or
/// [`JsonlLogger`](zae_core::add_ons::JsonlLogger): one of them has to log to the same folder. The phases are those of
/// [`SimpleProfiler`](zae_core::add_ons::SimpleProfiler), if the run has one.
///
/// It reads the log and writes its files on a thread of its own, for which a run waits only when it ends. If that fails, people
/// are told, and nothing else comes of it. What looks like a secret in the program's arguments is left out.
///
/// ```
/// use zae_report::HtmlReport;
/// let report = HtmlReport::new().config(&std::collections::BTreeMap::from([("width", 64), ("layers", 4)]));
/// ```
#[derive(Default)]
pub struct HtmlReport {
    settings: Settings,
    record: Record,
    /// The run folder, once a run has started.
    folder: Option<PathBuf>,
    in_run: bool,
    /// Evaluations after the run, which the log may have yet to write.
    evaluations: Vec<Evaluation>,
    writing: Option<JoinHandle<(Duration, Fallible)>>,
    /// When a report was last begun.
    begun: Option<Instant>,
    /// How long the last one took.
    took: Duration,
    /// What has changed since is not in it yet.
    owed: bool,
    /// It could not be written: people have been told, and the next try is at the end.
    failed: bool,
}

/// What is written, on the thread that does it.
struct Job {
    folder: PathBuf,
    record: Record,
    evaluations: Vec<Evaluation>,
    /// Or the record alone.
    with_report: bool,
}

impl HtmlReport {
    /// A report in the run folder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Settings of the program to be shown beside those of the trainer: any `serde` value that is a map or a struct. Of one whose
    /// name says that it is a secret (`api_key`, `password`), the value is left out.
    #[must_use]
    pub fn config(mut self, settings: &impl Serialize) -> Self {
        self.settings.extend(settings);
        self
    }

    /// Whether there was time enough since the last report.
    fn is_due(&self) -> bool {
        let pause = EVERY.max(self.took * PART);
        self.begun.is_none_or(|begun| begun.elapsed() >= pause)
    }

    fn write(&mut self, with_report: bool) -> Fallible {
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        self.record.written = now();
        let job = Job { folder, record: self.record.clone(), evaluations: self.evaluations.clone(), with_report };
        if with_report {
            self.begun = Some(Instant::now());
            self.owed = false;
        }
        let thread = std::thread::Builder::new().name("zae-report".to_owned());
        let begun = Instant::now();
        let work = move || {
            let written = job.write();
            (begun.elapsed(), written)
        };
        self.writing = Some(thread.spawn(work)?);
        Ok(())
    }

    /// Waits for what is being written.
    fn wait(&mut self) -> Fallible {
        let Some(thread) = self.writing.take() else { return Ok(()) };
        let (took, written) = thread.join().map_err(|panic| Panicked::new(&*panic))?;
        self.took = took;
        written
    }

    /// Writes once nothing else is being written, and waits for it.
    fn write_now(&mut self) -> Fallible {
        // What went wrong before goes wrong again, or it does not matter any more.
        let _ = self.wait();
        self.write(true).and_then(|()| self.wait())
    }

    /// No report is worth a training.
    fn warn_if(&mut self, written: Fallible, cx: &mut Context<'_>) {
        self.failed = written.is_err();
        if let Err(error) = written {
            cx.requests.notice(Notice::Warning(format!("the report is not what it should be: {error}")));
        }
    }

    fn told(&mut self, cx: &Context<'_>) {
        let (record, progress) = (&mut self.record, cx.progress);
        record.steps = progress.step();
        (record.total_steps, record.total_epochs) = (progress.total_steps(), progress.epochs());
        record.steps_per_epoch = progress.steps_per_epoch().or(record.steps_per_epoch);
        record.config.clone_from(cx.config);
        record.config.insert("seed".to_owned(), cx.seed.to_string());
        record.config.extend(self.settings.values.clone());
        record.environment.processes = cx.world_size as u64;
        self.owed = true;
    }

    fn ends(&mut self, ending: Ending, reason: &str, cx: &Context<'_>) {
        self.told(cx);
        reason.clone_into(&mut self.record.reason);
        (self.record.ending, self.record.ended) = (ending, now());
        self.in_run = false;
    }
}

impl Job {
    fn write(self) -> Fallible {
        let Self { folder, record, evaluations, with_report } = self;
        disk::write_whole(&folder.join(FILE), record.text()?.as_bytes())?;
        if !with_report {
            return Ok(());
        }
        let steps = record.steps;
        let name = read::names(std::slice::from_ref(&folder)).remove(0);
        let mut run = read::Run::read(&folder, name)?;
        run.record = record;
        for Evaluation { epoch, step, metrics, .. } in evaluations {
            let cells: Vec<_> = metrics.iter().map(|(name, value)| (run.log.column(name), *value)).collect();
            let seconds = run.log.reached.seconds;
            let head = Head { event: Event::Evaluation, epoch, step, seconds };
            if !run.log.has(head, &cells) {
                run.log.push(head, &cells);
            }
        }
        // A run that fails may have a row of a step that was never counted.
        let is_whole = !matches!(run.record.ending, Ending::Running | Ending::Failed);
        let logged = run.log.reached.step;
        disk::write_whole(&folder.join("report.html"), Page::of(&Runs(vec![run])).html().as_bytes())?;
        if is_whole && logged != steps {
            return Err(format!(
                "the log in `{}` goes to step {logged} and the run to {steps}: does a logger write to another folder, or has the \
                 disk failed?",
                folder.display()
            )
            .into());
        }
        Ok(())
    }
}

impl AddOn for HtmlReport {
    /// Comes after the loggers in the order of add-ons, which is that of names: their files are there when it starts.
    fn name(&self) -> &'static str {
        "report"
    }

    fn phase(&self) -> Phase {
        Phase::Report
    }

    fn on_run_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        if let Some(misuse) = &self.settings.misuse {
            return Err(misuse.clone().into());
        }
        let Some(folder) = cx.run_dir else {
            return Err("it has no folder to write to: give the trainer a `.run_dir(..)`".into());
        };
        read::log_in(folder)?;
        let known = if self.folder.is_some() { Some(std::mem::take(&mut self.record)) } else { before(folder) };
        // A run that begins has no past.
        let mut record = known.filter(|_| cx.progress.step() > 0).unwrap_or_default();
        if record.started == 0.0 {
            record.started = now();
        }
        if self.folder.is_none() || record.starts == 0 {
            record.starts += 1;
        }
        record.environment = Environment::here();
        (record.version, record.ending, record.ended) = (Record::VERSION, Ending::Running, 0.0);
        record.reason.clear();
        (self.record, self.folder, self.in_run) = (record, Some(folder.to_owned()), true);
        self.evaluations.clear();
        self.told(cx);
        let written = self.wait().and_then(|()| self.write(false));
        self.warn_if(written, cx);
        Ok(())
    }

    fn on_epoch_start(&mut self, cx: &mut Context<'_>) -> Fallible {
        self.record.steps_per_epoch = cx.progress.steps_per_epoch();
        Ok(())
    }

    fn on_epoch_end(&mut self, _: &EpochSummary, cx: &mut Context<'_>) -> Fallible {
        if self.failed || self.writing.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return Ok(());
        }
        let mut written = self.wait();
        if written.is_ok() && self.is_due() {
            self.told(cx);
            written = self.write(true);
        }
        self.warn_if(written, cx);
        Ok(())
    }

    fn on_evaluation_end(&mut self, evaluation: &Evaluation, _: &mut Context<'_>) -> Fallible {
        if !self.in_run && self.folder.is_some() {
            self.evaluations.push(evaluation.clone());
            self.owed = true;
        }
        Ok(())
    }

    fn on_notice(&mut self, notice: &Notice, cx: &mut Context<'_>) -> Fallible {
        self.record.tell(notice, cx.progress.step());
        self.owed |= self.folder.is_some();
        Ok(())
    }

    fn on_run_end(&mut self, run: &Run, cx: &mut Context<'_>) -> Fallible {
        let (ending, reason) = match &run.outcome {
            Outcome::Stopped(reason) | Outcome::AlreadyStopped(reason) => (Ending::Stopped, reason.as_str()),
            Outcome::Interrupted { signal } => (Ending::Interrupted, *signal),
            Outcome::OutOfTime => (Ending::OutOfTime, ""),
            _ => (Ending::Complete, ""),
        };
        self.ends(ending, reason, cx);
        Ok(())
    }

    fn on_error(&mut self, error: &Error, cx: &mut Context<'_>) -> Fallible {
        if self.in_run {
            self.ends(Ending::Failed, &error.to_string(), cx);
        }
        Ok(())
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Fallible {
        // A program that keeps the loop over epochs to itself calls for each of them: the last report is written when the
        // trainer is dropped.
        let is_open = cx.progress.epochs().is_none() && cx.progress.total_steps().is_none();
        let goes_on = is_open && self.record.ending == Ending::Complete;
        if self.owed && (!goes_on || self.is_due()) {
            let written = self.write_now();
            self.warn_if(written, cx);
        }
        Ok(())
    }
}

impl Drop for HtmlReport {
    fn drop(&mut self) {
        let written = if self.owed { self.write_now() } else { self.wait() };
        if let Err(error) = written {
            tracing::warn!(%error, "the report is not what it should be");
        }
    }
}

/// What an earlier process has told of a run that goes on.
fn before(folder: &Path) -> Option<Record> {
    Record::read(&folder.join(FILE)).unwrap_or_else(|error| {
        tracing::warn!(%error, "what was told of the run before is lost");
        None
    })
}
